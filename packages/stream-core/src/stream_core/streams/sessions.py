"""What hangs on one assigned partition in one generation: chunks of records, and who has finished how much of them.

A :class:`PartitionSession` is made at assignment and closed at revocation; nothing of it survives a generation, and no value
of a closed session reaches user code.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from stream_core.counters import ReaderCounts, Traffic
from stream_core.errors import WorkerError
from stream_core.states import SessionState
from stream_core.streams.cursor import Acknowledgement, Cursor
from stream_core.streams.effects import Effects, Emit, HeldSend, Session
from stream_core.streams.progress import Progress
from stream_core.streams.units import UnitCount
from stream_core.streams.verdicts import Verdict, Verdicts

if TYPE_CHECKING:
    from stream_core.primitives import TP, Batch, RawRecord
    from stream_core.streams.decoded import Decoded, Decoder, Rejected
    from stream_core.streams.watching import Watch
    from stream_core.values.schemas import Schema

__all__ = ["CHUNK", "Chunk", "Feed", "Inbox", "PartitionSession", "Subscription"]

CHUNK = 1000
"""Records that are decoded in one go; a few hundred microseconds."""

PIECE = 32
"""Records in the first of the two chunks that the rest of a chunk becomes when it is taken again."""


class Chunk:
    """Some records of one session: decoded once, whoever reads them first.

    Args:
        session: where the records come from.
        records: at least one record.
        next_offset: the position behind this chunk.
    """

    __slots__ = ("_decoded", "next_offset", "records", "session")

    def __init__(self, session: PartitionSession, records: Sequence[RawRecord], next_offset: int) -> None:
        self.session = session
        self.records = records
        self.next_offset = next_offset
        self._decoded: Decoded | None = None

    def decoded(self) -> Decoded:
        """Decode the records, at the first call; see :mod:`stream_core.streams.decoded`."""
        if self._decoded is None:
            session, records, garbled = self.session, self.records, self.session.garbled
            if not garbled:
                self._decoded = session.decode(session.tp, records)
            else:
                decoded = session.decode(session.tp, [record for record in records if record.offset not in garbled])
                lost = [record for record in records if record.offset in garbled]
                self._decoded = decoded.with_garbled(session.tp, lost, garbled)
        return self._decoded

    def rest(self, offset: int) -> Chunk | None:
        """Return the part of this chunk from ``offset`` on, to be decoded anew; ``None`` when nothing is left."""
        at = bisect_left(self.records, offset, key=lambda record: record.offset)
        return Chunk(self.session, self.records[at:], self.next_offset) if at < len(self.records) else None

    def pieces(self) -> list[Chunk]:
        """Split the records into a small chunk and a large one.

        Where many events fail one after the other, each failure takes the chunk again: it costs the decoding of a few records then.
        """
        records = self.records
        if len(records) <= PIECE:
            return [self]
        first = Chunk(self.session, records[:PIECE], records[PIECE - 1].offset + 1)
        return [first, Chunk(self.session, records[PIECE:], self.next_offset)]


class Inbox:
    """The chunks that wait for one reader, over all its partitions, in the order they arrived.

    Streams that are combined share one inbox.

    Attributes:
        records: how many records wait, those of closed sessions included until they are dropped.
        asked: set once somebody has waited for a record.
        held: nothing is taken now, though something waits; see :meth:`hold`.
        ended: why nothing will come any more; empty while something may.
    """

    __slots__ = ("_chunks", "_waiter", "asked", "ended", "held", "records")

    def __init__(self) -> None:
        self.records = 0
        self.held = False
        self.ended = ""
        self.asked = asyncio.Event()
        self._chunks: deque[tuple[Feed, Chunk]] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, feed: Feed, chunk: Chunk, *, front: bool = False) -> None:
        """Add a chunk for the subscription of ``feed``; ``front`` puts back what was taken and not finished."""
        if front:
            self._chunks.appendleft((feed, chunk))
        else:
            self._chunks.append((feed, chunk))
        self.records += len(chunk.records)
        self._wake()

    def drop(self, subscription: Subscription) -> None:
        """Drop what waits for a subscription that reads no more, and leave what waits for others that share this inbox."""
        self._chunks = deque((feed, chunk) for feed, chunk in self._chunks if feed.subscription is not subscription)
        self.records = sum(len(chunk.records) for _, chunk in self._chunks)

    def hold(self, held: bool) -> None:
        """Let nothing be taken, or again what waits."""
        if held is not self.held:
            self.held = held
            if self._chunks:
                self._wake()

    def end(self, why: str) -> None:
        """Let whoever waits, now or later, get an error that says ``why``: nothing will come any more."""
        self.ended = why
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def take(self) -> tuple[Feed, Chunk] | None:
        """Take the oldest chunk of an open session out; return ``None`` when there is none, or nothing may be taken now."""
        while self._chunks and not self.held:
            feed, chunk = self._chunks.popleft()
            self.records -= len(chunk.records)
            if chunk.session.open:
                return feed, chunk
        return None

    async def wait(self) -> None:
        """Wait until :meth:`take` may have something; several actors may wait.

        Raises:
            WorkerError: nothing will come any more.
        """
        if self.ended:
            raise WorkerError(self.ended)
        self.asked.set()
        if self._chunks and not self.held:
            return
        if self._waiter is None or self._waiter.done():
            self._waiter = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiter)


class Subscription:
    """One reader of topics: an agent with its actors, or another stream.

    Args:
        name: unique in the app and stable over restarts, because it names the reader's lead in committed metadata.
        topics: what it reads; nothing when it reads a channel.
        concurrency: how many actors share it; more than one finish events out of order.

    Attributes:
        inbox: what waits for its actors.
        cursors: of its actors.
        counts: what it has done with its events.
        fed: a partition was assigned to it.
        listed: how many events the lists hold that its actors fill from one partition: as many may wait in addition.
        manual: events are finished by :meth:`~stream_core.streams.events.Event.ack`, in any order.
        on_progress: called when there may be room for more.
        emit: takes the sends of finished events.
        reader: the stream outside of agents that reads it now; when one that read it before is closed at last, this one goes on.
        reject: called with the partition and a record that the body does not get, as an open event; returns to go on behind it, or raises.
        feeds: how far it is in each of its sessions.
        watch: tells sensors of its events, where one wants to hear of each.
        verdicts: on events that have failed for good and are not committed yet, by partition.
        isolate: called with a partition that has no actor yet, where each has one of its own; starts it and returns what waits for it.
        lanes: what waits for the actors of these partitions.
    """

    def __init__(self, name: str, topics: Sequence[str], concurrency: int = 1) -> None:
        self.name = name
        self.topics = tuple(topics)
        self.concurrency = concurrency
        self.inbox = Inbox()
        self.cursors: list[Cursor] = []
        self.counts = ReaderCounts()
        self.manual = False
        self.watch: Watch | None = None
        self.fed = False
        self.listed = 0
        self.on_progress: Callable[[], None] = _nothing
        self.emit: Emit = _nowhere
        self.reader: object = None
        self.reject: Callable[[TP, Rejected], Awaitable[None]] = _raise
        self.feeds: list[Feed] = []
        self.verdicts: dict[TP, Verdicts] = {}
        self.isolate: Callable[[TP], Inbox] | None = None
        self.lanes: dict[TP, Inbox] = {}

    @property
    def out_of_order(self) -> bool:
        """Whether its events finish in any order."""
        return self.manual or self.concurrency > 1

    @property
    def isolated(self) -> bool:
        """Whether each partition has an actor of its own."""
        return self.isolate is not None

    def lane_of(self, tp: TP) -> Inbox | None:
        """Return where the records of a partition wait for an actor of its own, which is started by that; ``None`` without one."""
        if self.isolate is not None and tp not in self.lanes:
            self.lanes[tp] = self.isolate(tp)
        return self.lanes.get(tp)

    @property
    def inboxes(self) -> Sequence[Inbox]:
        """Where its records wait: in one place, or in one for each partition."""
        return (self.inbox, *self.lanes.values()) if self.lanes else (self.inbox,)

    @property
    def waiting(self) -> int:
        """How many records wait."""
        return sum(inbox.records for inbox in self.inboxes)

    def hungry(self, low: int) -> bool:
        """Tell whether somebody who reads has fewer than ``low`` records left."""
        return min(inbox.records for inbox in self.lanes.values() or (self.inbox,)) < low

    @property
    def unacknowledged(self) -> int:
        """How many events its bodies have had, and left to be finished by hand."""
        return sum(feed.unacknowledged for feed in self.feeds if not feed.session.dead)


def _nothing() -> None:
    """Tell nobody: nobody waits for room."""


def _nowhere(_sends: list[HeldSend]) -> None:
    """Send nothing."""


async def _raise(_tp: TP, rejected: Rejected) -> None:
    """Raise why the body cannot get a record, as an error of the body."""
    if not isinstance(rejected.why, Verdict):
        raise rejected.why


class Feed:
    """How far one subscription is in one session.

    Attributes:
        done: every event below it is finished (in order); the start position at first.
        committed: the position of the last checkpoint; the start position at first.
        backlog: records delivered to the inbox and not finished, counted by chunks.
        progress: finished offsets when actors finish out of order, else ``None``.
        unacknowledged: how many events a body has had and left to be finished by hand.
    """

    __slots__ = (
        "_lane",
        "_parked",
        "_verdicts",
        "backlog",
        "committed",
        "done",
        "progress",
        "session",
        "start",
        "subscription",
        "unacknowledged",
    )

    def __init__(self, session: PartitionSession, subscription: Subscription, start: int) -> None:
        subscription.fed = True
        self.session = session
        self.subscription = subscription
        self._lane = subscription.lane_of(session.tp)
        self.start = start
        self.done = start
        self.committed = start
        self.backlog = 0
        self.progress = Progress(start) if subscription.out_of_order else None
        self.unacknowledged = 0
        self._parked: dict[int, list[HeldSend]] = {}
        self._verdicts = subscription.verdicts.setdefault(session.tp, Verdicts())
        subscription.feeds = [*(feed for feed in subscription.feeds if not feed.session.dead), self]

    @property
    def inbox(self) -> Inbox:
        """Where its records wait. Streams that are combined later share the inbox of the subscription."""
        return self.subscription.inbox if self._lane is None else self._lane

    def deliver(self, chunk: Chunk) -> None:
        """Put a chunk into the inbox, less what this subscription finished before a restart."""
        if chunk.next_offset <= self.start:
            return
        rest = chunk if chunk.records[0].offset >= self.start else chunk.rest(self.start)
        if rest is None:
            return
        if not self.backlog:
            self.done = max(self.done, rest.records[0].offset)  # control records before it moved the position already
        self.backlog += len(rest.records)
        inbox, progress = self.inbox, self.progress
        if progress is None:
            inbox.put(self, rest)
            return
        for record in rest.records:  # actors share events one by one: none waits behind a slow one
            progress.deliver(record.offset)
            inbox.put(self, Chunk(self.session, (record,), record.offset + 1))
        progress.advance(chunk.next_offset)

    def judge(self, offset: int, verdict: Verdict) -> None:
        """Remember what was decided on an event, until no replay can bring it again."""
        self._forget_verdicts()
        self._verdicts.add(offset, verdict)

    def verdicts(self, chunk: Chunk) -> Mapping[int, Verdict]:
        """Return what was decided on events of a chunk by their offsets, and maybe on others."""
        self._forget_verdicts()
        return self._verdicts.since(chunk.records[0].offset)

    def _forget_verdicts(self) -> None:
        if self._verdicts:  # an event in memory comes again only when it was not finished
            self._verdicts.forget_below(self.committed if self.session.partition >= 0 else self.position)

    def reach(self, offset: int) -> None:
        """Take the event at ``offset`` for finished, and in order all before it; its chunk may go on."""
        self.done = offset + 1
        if self.progress is not None:
            self.progress.finish(offset)
            self._release(self.progress.position)
        if self.session.watch is not None:
            self.session.watch.finished(self.session, offset)

    def finish(self, chunk: Chunk) -> None:
        """Take every event of a chunk for finished."""
        count = len(chunk.records)
        self.subscription.counts.finished += count
        self.backlog -= count
        self.done = chunk.next_offset
        if self.progress is not None:
            self.progress.finish(chunk.records[0].offset)
            self._release(self.progress.position)
        self._forget_verdicts()
        self.subscription.on_progress()

    def close(self, chunk: Chunk, acknowledgement: Acknowledgement) -> None:
        """Finish an event that the body has left, alone in its chunk; when it is not acknowledged, as soon as it is."""
        if acknowledgement.given:
            self._close(chunk)
        else:
            self.unacknowledged += 1
            acknowledgement.late = partial(self._acknowledged, chunk)

    def _acknowledged(self, chunk: Chunk) -> None:
        self.unacknowledged -= 1
        self._close(chunk)

    def _close(self, chunk: Chunk) -> None:
        self.finish(chunk)
        if self.session.watch is not None:
            self.session.watch.finished(self.session, chunk.records[0].offset)

    def put_back(self, chunk: Chunk) -> None:
        """Let what was taken and not finished be taken again, before anything else; of a closed session it is dropped."""
        if self.session.open:
            self.inbox.put(self, chunk, front=True)

    def park(self, offset: int, sends: list[HeldSend]) -> None:
        """Keep the sends of an event that finished out of order until everything below it has finished too.

        Else they would be committed before their event is, and sent again after a crash. The event itself is not finished yet, so its
        sends wait at least for :meth:`reach`.
        """
        self._parked[offset] = sends
        for send in sends:
            send.parked = True

    def _release(self, position: int) -> None:
        if self.session.dead:
            return
        for offset in sorted(offset for offset in self._parked if offset < position):
            self.subscription.emit(self._parked.pop(offset))

    def rest(self, chunk: Chunk, offset: int) -> list[Chunk]:
        """Finish the events of a chunk below ``offset``; returns those that are left, in the chunks in which they are taken again."""
        rest = chunk.rest(offset)
        if rest is None:
            self.finish(chunk)
            return []
        finished = len(chunk.records) - len(rest.records)
        self.subscription.counts.finished += finished
        self.backlog -= finished
        self.done = offset
        return rest.pieces()

    @property
    def position(self) -> int:
        """The smallest offset delivered and unfinished, else the fetch position."""
        if not self.backlog:
            return max(self.done, self.session.fetch_position)
        if self.progress is not None:
            return self.progress.position
        for cursor in self.subscription.cursors:
            if cursor.record is not None and cursor.session is self.session and not cursor.others:
                return cursor.record.offset
        return self.done


class PartitionSession(Session):
    """One partition in one generation.

    Args:
        tp: the partition.
        schema: how its keys and values are decoded.
        partitions: how many partitions the topic has.
        decode: decodes its records by schema and decode policy.

    Attributes:
        feeds: progress of each subscription by name.
        fetch_position: the offset behind what the consumer delivered.
        committed: the last committed offset.
        lag: records behind the fetch position, -1 when unknown.
        timestamp: of the last record that the consumer delivered, in milliseconds since the epoch; -1 before the first.
        traffic: counts what is delivered; set by whoever fetches.
        watch: tells sensors of what is delivered, where one wants to hear of each record; set likewise.
        prepare: awaited with records before they are decoded, and with what tells whether they are wanted still; set by whoever fetches
            where decoding needs a schema registry.
        maxsize: records that may wait before the partition is paused; set by whoever fetches.
        garbled: why, by offset, for records that came and are none.
        unit_count: counts the intervals with units of work that no record brought.
    """

    __slots__ = (
        "_left",
        "_record_size",
        "committed",
        "decode",
        "feeds",
        "fetch_position",
        "garbled",
        "lag",
        "maxsize",
        "prepare",
        "timestamp",
        "traffic",
        "unit_count",
        "watch",
    )

    def __init__(self, tp: TP, schema: Schema, partitions: int, decode: Decoder) -> None:
        super().__init__(tp, schema, partitions, SessionState.RESTORING)
        self.decode = decode
        self.prepare: Callable[[Sequence[RawRecord], Callable[[], bool]], Awaitable[None]] | None = None
        self.garbled: dict[int, str] = {}
        self.feeds: dict[str, Feed] = {}
        self.fetch_position = -1
        self.committed = -1
        self.lag = -1
        self.timestamp = -1
        self.traffic = Traffic()
        self.unit_count = UnitCount()
        self.watch: Watch | None = None
        self.maxsize, self._record_size = 0, 0.0
        self._left = -1

    def run(self, position: int, subscriptions: Sequence[Subscription], leads: Mapping[str, int]) -> None:
        """Begin delivery at the committed ``position``; ``leads`` are the positions of subscriptions that are ahead of it."""
        self.fetch_position = self.committed = self._left = position
        for subscription in subscriptions:
            start = max(position, leads.get(subscription.name, position))
            self.feeds[subscription.name] = Feed(self, subscription, start)
        self._to(SessionState.RUNNING)

    @property
    def running(self) -> bool:
        """Whether it is restored and not given up: what its events did, and still do where they are open, counts."""
        return self.state in (SessionState.RUNNING, SessionState.SUSPENDED)

    def deliver(self, batch: Batch) -> None:
        """Hand a batch to every subscription, in chunks."""
        records = batch.records
        self.fetch_position = batch.next_offset
        self.lag = batch.end_offset - batch.next_offset if batch.end_offset >= 0 else -1
        if batch.garbled:
            self.garbled.update(batch.garbled)
        count = len(records)
        if count:
            self.timestamp = records[-1].timestamp
            size = batch.size
            self.traffic.add(count, int(size))
            self._record_size = (self.backlog_bytes + size) / (self.backlog + count)
        if self.watch is not None:
            self.watch.arrived(self, [feed.start for feed in self.feeds.values()], records)
        for at in range(0, count, CHUNK):
            part = records[at : at + CHUNK] if count > CHUNK else records
            last = at + CHUNK >= count
            chunk = Chunk(self, part, batch.next_offset if last else part[-1].offset + 1)
            for feed in self.feeds.values():
                feed.deliver(chunk)

    def forget(self, readers: Collection[str]) -> None:
        """Drop the feeds of readers that read no more. With none left the position stays where they left it."""
        if readers:
            self._left = self.position
            for name in readers:
                del self.feeds[name]

    def first(self, reader: str, offset: int) -> bool:
        """Tell whether ``reader`` has finished all events before the one at ``offset``."""
        progress = self.feeds[reader].progress
        return progress is None or progress.position >= offset

    def suspend(self) -> None:
        """Take no more events: chunks of this session are dropped, open events may finish. Without any it is closed at once."""
        if self.state is SessionState.RUNNING:
            self._to(SessionState.SUSPENDED)
            for effects in self.open_work():
                effects.attention = True
        elif self.state is SessionState.RESTORING:
            self._to(SessionState.CLOSED)

    def close(self) -> list[Effects]:
        """Give the partition up; returns the effects of the work that is open, which come to nothing."""
        self.suspend()
        work = self.open_work()
        for effects in work:
            effects.abandon()
        if self.state is SessionState.SUSPENDED:
            self._to(SessionState.CLOSED)
        return work

    def open_work(self) -> list[Effects]:
        """Return the effects of the open events of this session, and of its other open units of work."""
        cursors = [cursor for feed in self.feeds.values() for cursor in feed.subscription.cursors]
        return [*(one for one in cursors if one.session is self and one.record is not None), *self.units]

    @property
    def position(self) -> int:
        """The offset to commit: the lowest position of all subscriptions. Without any it stays where it is: nobody has read."""
        return min((feed.position for feed in self.feeds.values()), default=self._left)

    @property
    def leads(self) -> dict[str, int]:
        """Positions of the subscriptions that are ahead of :attr:`position`."""
        position = self.position
        return {name: feed.position for name, feed in self.feeds.items() if feed.position > position}

    @property
    def backlog(self) -> int:
        """Records that the slowest subscription has not finished."""
        return max((feed.backlog for feed in self.feeds.values()), default=0)

    @property
    def waiting(self) -> int:
        """The same without those that a list of ``take`` waits for: it is handed over when it is full, however long it is."""
        return max((feed.backlog - feed.subscription.listed for feed in self.feeds.values()), default=0)

    @property
    def waiting_bytes(self) -> float:
        """About how many bytes of keys and values these have."""
        return self.waiting * self._record_size

    @property
    def backlog_bytes(self) -> float:
        """About how many bytes of keys and values these records have."""
        return self.backlog * self._record_size
