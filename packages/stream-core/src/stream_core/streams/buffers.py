"""Several events as one: the loop behind ``take``.

A buffer is one event that consists of several: its effects, its failure and its acknowledgement are those of all of them
together. While it fills, nothing of it is open.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from stream_core.errors import ConfigurationError
from stream_core.primitives import RawRecord
from stream_core.runs import current_clock
from stream_core.streams.cursor import Acknowledgement
from stream_core.streams.decoded import Rejected
from stream_core.streams.effects import HeldSend, Session
from stream_core.streams.events import make_event
from stream_core.streams.iteration import Exhausted, Form, Iteration, Several
from stream_core.streams.sessions import Chunk, Feed
from stream_core.streams.verdicts import Verdict

__all__ = ["Buffers"]


class Entry(NamedTuple):
    """One event in a buffer.

    Attributes:
        feed: progress of its subscription.
        chunk: where it comes from.
        record: the record.
        items: what the body gets of it, nearly always one.
        held: the sends of its processors.
        last: whether its chunk ends with it.
        acknowledgement: finishes it, where that is done by hand.
    """

    feed: Feed
    chunk: Chunk
    record: RawRecord
    items: Sequence[Any]
    held: list[HeldSend]
    last: bool
    acknowledgement: Acknowledgement | None


@dataclass(slots=True)
class Buffer:
    """Events that are handed over together.

    Attributes:
        due: the time of the event loop at which it is handed over although it is not full; infinite when it may wait.
        entries: the events, in the order they came.
        size: how many values the body gets of them.
    """

    due: float
    entries: list[Entry] = field(default_factory=list)
    size: int = 0


class Buffers:
    """Fills buffers from an iteration and hands them over.

    Args:
        iteration: where events come from.
        size: how many events a full buffer has.
        within: seconds after its first event when a buffer is handed over although it is not full; ``None`` waits until it is.
        by_partition: never mix partitions. Where events finish in any order they never are.
    """

    def __init__(self, iteration: Iteration, size: int, within: float | None, *, by_partition: bool) -> None:
        self._iteration = iteration
        self._size = size
        self._within = inf if within is None else within
        self._by_partition = by_partition or iteration.subscription.out_of_order
        self._buffers: dict[Session | None, Buffer] = {}
        self._ended = False
        self._clock = current_clock()
        self._handed: list[Entry] = []
        for subscription in iteration.processors:
            subscription.listed = max(subscription.listed, size * subscription.concurrency)

    async def read(self, form: Form) -> AsyncGenerator[list[Any], None]:
        """Yield lists of values, events, or pairs of key and value."""
        iteration, buffers, clock = self._iteration, self._buffers, self._clock.monotonic
        cursor = iteration.cursor
        await iteration.begin(self)
        records: Iterator[tuple[RawRecord, Any]] = iter(())
        ready: Sequence[Session | None] = ()
        while True:
            for place in ready:  # not `key`: the rest of the chunk goes on into the buffer of its own partition
                if (entries := self._open(place)) is None:
                    continue
                for values in self._lists(entries):
                    yield values
                    if iteration.left and not await iteration.goes_on(entries[-1].feed.session):
                        break
                self._finish(entries)
            ready = ()
            if (taken := next(records, None)) is None:  # the chunk is used up
                if self._ended:
                    return
                if (source := await self._next_chunk()) is None:
                    ready = self._due(max(clock(), self._first_due()))  # a timer may end a little before its time
                else:
                    feed, chunk = source
                    key = chunk.session if self._by_partition else None
                    records = iter(iteration.decoded(feed, chunk).in_order())
                    end = chunk.records[-1].offset
                continue
            if not chunk.session.open:
                records = iter(())
                continue
            record, value = taken
            last = record.offset == end  # and not the same object: questions are unwrapped
            if (buffer := buffers.get(key)) is None:
                buffer = buffers[key] = Buffer(clock() + self._within)
            buffer.entries.append(await self._entry(feed, chunk, record, value, form, last=last))
            buffer.size += len(buffer.entries[-1].items)
            if buffer.size >= self._size or self._is_urgent(buffer):
                ready = (key,)
            elif self._within != inf and next(iter(buffers.values())).due <= clock():  # the first is due first
                ready = self._due(clock())
            # What has left is handed over in the same moment: between the two no event would be open that a revocation waits for.
            if monotonic() >= iteration.turn and not cursor.pinned:
                await iteration.give_turn()

    def _is_urgent(self, buffer: Buffer) -> bool:
        """Tell whether a buffer that is not full must not wait for more.

        One with nothing that the body gets does not wait for another chunk, nor with sends: when it is opened the position passes what is
        before the first event that the body gets. And no cut passes a send that has left, which must not wait for events that may never
        come.
        """
        entry = buffer.entries[-1]
        return self._iteration.cursor.pinned or (not buffer.size and (entry.last or bool(entry.held)))

    def _due(self, now: float) -> list[Session | None]:
        """Return the keys of the buffers that are handed over although they are not full."""
        return [key for key, buffer in self._buffers.items() if buffer.due <= now]

    def _first_due(self) -> float:
        return min((buffer.due for buffer in self._buffers.values()), default=inf)

    def _lists(self, entries: list[Entry]) -> Iterator[list[Any]]:
        """Give what the body gets of the open event: several lists when processors made more values of its last record than fit in one."""
        values, size = [item for entry in entries for item in entry.items], self._size
        for at in range(0, len(values), size):
            self._iteration.left = max(0, len(values) - at - size)
            yield values[at : at + size]

    async def _next_chunk(self) -> tuple[Feed, Chunk] | None:
        """Wait for the next chunk; return ``None`` when a buffer is due before there is one, or all of them because there will be none."""
        due = self._first_due()
        try:
            if due == inf:
                return await self._iteration.next_chunk()
            with suppress(TimeoutError):
                async with self._clock.timeout_at(due):
                    return await self._iteration.next_chunk()
        except Exhausted:
            self._ended = True
            for buffer in self._buffers.values():
                buffer.due = 0.0
        return None

    async def _entry(self, feed: Feed, chunk: Chunk, record: RawRecord, value: Any, form: Form, *, last: bool) -> Entry:
        """Prepare one event. What its processors send waits for the buffer, and nothing is open afterwards."""
        iteration, cursor = self._iteration, self._iteration.cursor
        item = await iteration.prepare(feed, record, value, form)
        items: Sequence[Any] = item if type(item) is Several else (item,)
        if cursor.undo:
            raise ConfigurationError(
                f"subscription {feed.subscription.name}: a processor changed a table in front of take(); change it in the body"
            )
        held, cursor.held, cursor.held_bytes = cursor.held, [], 0
        for send in held:
            send.parked = True
        cursor.attention = cursor.pinned
        cursor.record = None
        acknowledgement = Acknowledgement() if feed.subscription.manual else None
        if acknowledgement is not None and not items:
            acknowledgement.give()
        if form == "events":
            items = [make_event(feed.session, record, item, acknowledgement) for item in items]
        return Entry(feed, chunk, record, items, held, last, acknowledgement)

    def _open(self, key: Session | None) -> list[Entry] | None:
        """Make a buffer the open event; ``None`` when the body gets nothing of it."""
        cursor = self._iteration.cursor
        # What has left counts with its event only, which therefore goes on when the partition is given up, as an open one does.
        entries = self._buffers.pop(key).entries
        entries = [
            entry for entry in entries if entry.chunk.session.open or (cursor.pinned and not entry.chunk.session.dead)
        ]
        if not entries:
            self._iteration.forget_closed()
            return None
        shown = _shown(entries)
        *others, last = shown or entries
        cursor.others = [(entry.feed.session, entry.record) for entry in others]
        cursor.session, cursor.record = last.feed.session, last.record
        cursor.subscription = last.feed.subscription.name
        self._hold(entries)
        self._handed = entries
        for entry in entries:
            reader = entry.feed.subscription
            if reader.watch is not None:
                value = entry.items[0] if len(entry.items) == 1 else entry.items
                reader.watch.begin(cursor, reader, entry.feed.session, entry.record, value)
        if shown:
            return entries
        self._finish(entries)
        return None

    def _hold(self, entries: list[Entry]) -> None:
        """Let the open event hold what the processors of these events have sent."""
        cursor = self._iteration.cursor
        cursor.held = [send for entry in entries for send in entry.held]
        cursor.held_bytes = sum(send.size for send in cursor.held)
        cursor.attention = True
        for send in cursor.held:
            send.parked = False

    def forget(self) -> None:
        """Forget what fills: its events are taken again, and sent again is what their processors have sent."""
        for buffer in self._buffers.values():
            for entry in buffer.entries:
                for send in entry.held:
                    send.dropped = True

    def finish_open(self) -> None:
        """Finish the list that the body has; an event that failed while its list fills comes again."""
        if self._handed:
            self._finish(self._handed)
        else:
            self._iteration.cursor.rollback()
            self._iteration.cursor.record = None

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on each event of the list that the body has, or on the one that failed while the list fills."""
        if not self._handed:
            feed, _, record = self._iteration.find_open()
            feed.judge(record.offset, verdict)
        for entry in _shown(self._handed):
            entry.feed.judge(entry.record.offset, verdict)

    async def reject_open(self, verdict: Verdict) -> None:
        """Reject each event of the list that the body has, and finish the list.

        Events that a processor dropped belong to the list, too. They have not failed, so what their processors sent counts. An event that
        failed while its list fills cannot be finished before the others: it is rejected when the list fills again.
        """
        entries = self._handed
        if not entries:
            return
        self._hold([entry for entry in entries if not entry.items])
        for entry in _shown(entries):
            await entry.feed.subscription.reject(entry.feed.session.tp, Rejected(0, entry.record, verdict))
            if entry.acknowledgement is not None:
                entry.acknowledgement.give()
        self._finish(entries)

    def _finish(self, entries: list[Entry]) -> None:
        """Finish a buffer: the body has asked for the next one."""
        cursor = self._iteration.cursor
        cursor.finish()
        cursor.record, cursor.others = None, []
        self._handed, self._iteration.left = [], 0
        for entry in entries:
            if entry.acknowledgement is not None:
                self._iteration.take_out(entry.feed, entry.chunk)
                entry.feed.close(entry.chunk, entry.acknowledgement)
            else:
                entry.feed.reach(entry.record.offset)
                if entry.last:
                    self._iteration.leave(entry.feed, entry.chunk)
        self._iteration.forget_closed()


def _shown(entries: list[Entry]) -> list[Entry]:
    """Leave out the events that the body does not get."""
    return [entry for entry in entries if entry.items]
