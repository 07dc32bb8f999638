"""How a stream takes events out of its inbox: the loops behind ``async for``, and what they have open.

Batches move between the layers, and an iteration costs one generator step per event: no await of ours, no queue, no task and
no object but the decoded value. Every few events it looks at the clock, and after a few
milliseconds it gives the event loop a turn. Streams with processors, and those that acknowledge by hand, take a slower path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from itertools import islice
from time import monotonic
from typing import Any, Literal, Protocol

from stream_core.errors import ConfigurationError, DecodeError, Skip
from stream_core.primitives import TP, RawRecord
from stream_core.streams.cursor import Cursor, Session
from stream_core.streams.events import Acknowledgement, Event, ManualEvent
from stream_core.streams.sessions import Chunk, Decoded, Feed, Rejected, Subscription, Verdict
from stream_core.values.schemas import Schema, decode_error

__all__ = [
    "QUANTUM",
    "SKIPPED",
    "TURN",
    "Exhausted",
    "Form",
    "Iteration",
    "Processor",
    "Taken",
    "event",
    "give_back",
    "leave",
    "open_records",
    "reject_open",
    "remember_open",
    "withdraw",
]

QUANTUM = 32
"""Events between two looks at the clock."""

TURN = 0.004
"""Seconds for which a stream may keep the event loop while its body does not wait for anything."""

Form = Literal["values", "events", "items"]
"""What an iteration yields: the value, an :class:`~stream_core.streams.events.Event`, or ``(key, value)``."""

Processor = Callable[[Any], Any | Awaitable[Any]]
"""A step between the decoded value and the body; raises :class:`~stream_core.errors.Skip` to drop the event."""

SKIPPED = object()
"""Stands for an event that a processor dropped."""

Taken = tuple[Feed, Chunk]
"""A chunk out of an inbox, and the progress of the subscription that it is for."""


class Exhausted(Exception):  # noqa: N818 - it is no error
    """The inbox of a stream over something finite has nothing more."""


class Lists(Protocol):
    """Several events as one: what :class:`~stream_core.streams.buffers.Buffers` is to the iteration in front of it."""

    def finish_open(self) -> None:
        """Finish the open list, if one is open."""

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on each event of the open list."""

    async def reject_open(self, verdict: Verdict) -> None:
        """Reject each event of the open list, and finish the list."""


class Iteration:
    """The events of one actor, and which of them are open.

    An event is finished when the next one is asked for; never because the body raised or was cancelled.

    Args:
        subscription: where the events come from.
        cursor: of whoever iterates.

    Attributes:
        processors: the subscriptions, several in a combined stream, with the steps between each of them and the body.
        taken: the chunks that are not finished, oldest first.
        turn: the time, as :func:`time.monotonic` tells it, at which the event loop gets a turn.
        lists: hands over several events at a time; ``None`` where each comes by itself.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self.processors: dict[Subscription, list[Processor]] = {subscription: []}
        self.taken: list[Taken] = []
        self.lists: Lists | None = None
        self.turn = 0.0

    # -- the loops

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """The loop that fits: the fast one unless there is something to do for each event."""
        if any(processors or subscription.manual for subscription, processors in self.processors.items()):
            return self._one_by_one(form)
        return self._straight(form)

    async def _straight(self, form: Form) -> AsyncGenerator[Any, None]:
        """The fast path."""
        cursor = self.cursor
        await self.begin()
        while True:
            feed, chunk = await self.next_chunk()
            session, (records, values, rejected) = chunk.session, self.decoded(feed, chunk, form)
            items = map(partial(Event, session.schema, session.tp), records, values) if form == "events" else values
            pairs, at = zip(records, items, strict=False), 0
            for one in (*rejected, None):
                end = len(values) if one is None else one.at
                while at < end and session.open:
                    step = min(QUANTUM, end - at)
                    at += step
                    for record, item in islice(pairs, step):
                        cursor.record = record
                        yield item
                        if cursor.attention and not cursor.finish():
                            break
                    feed.reach(record.offset)
                    cursor.record = None
                    if monotonic() >= self.turn:
                        await self.give_turn()
                if one is not None and session.open:
                    await self.reject(feed, one)
                    cursor.finish()
                    feed.reach(one.record.offset)
                    cursor.record = None
                    if monotonic() >= self.turn:
                        await self.give_turn()
            self.leave(feed, chunk)

    async def _one_by_one(self, form: Form) -> AsyncGenerator[Any, None]:
        """The path with processors, or without automatic acknowledgement."""
        cursor = self.cursor
        await self.begin()
        while True:
            feed, chunk = await self.next_chunk()
            manual = feed.subscription.manual
            for record, value in self.sequence(feed, chunk):
                if not chunk.session.open:
                    break
                item = await self.prepare(feed, record, value, form)
                if chunk.session.dead:  # while a processor waited: what it did is dropped with the interval
                    cursor.abandon()
                    cursor.record = None
                    break
                acknowledgement = cursor.acknowledgement = Acknowledgement(feed, chunk) if manual else None
                if item is not SKIPPED:
                    yield event(chunk, record, item, acknowledgement) if form == "events" else item
                elif acknowledgement is not None:
                    acknowledgement.give()
                cursor.finish()
                cursor.record = cursor.acknowledgement = None
                if acknowledgement is None:
                    feed.reach(record.offset)
                else:
                    self.taken.clear()
                    acknowledgement.close()
                if monotonic() >= self.turn:
                    await self.give_turn()
            if self.taken:
                self.leave(feed, chunk)

    # -- steps

    async def begin(self, lists: Lists | None = None) -> None:
        """Begin a loop, behind the event at which the loop before it was left. That is finished: the body asks for the next one.

        Args:
            lists: what the loop hands over, when that is several events at a time.

        Raises:
            Exception: that event may not finish.
        """
        if self.taken:
            await self.give_turn()  # a body that is left and begun again and again does not keep the event loop
            if self.has_open_event:
                self._finish_open()
            give_back(self.withdraw({}))
        self.lists = lists

    def _finish_open(self) -> None:
        if self.lists is not None:
            self.lists.finish_open()
            return
        cursor, (feed, chunk, record) = self.cursor, self.find_open()
        acknowledgement: Acknowledgement | None = cursor.acknowledgement
        cursor.finish()
        cursor.record = cursor.acknowledgement = None
        if acknowledgement is not None:
            self.taken.remove((feed, chunk))
            acknowledgement.close()
            return
        feed.reach(record.offset)
        if feed.progress is not None:  # its chunk has no other record
            self.leave(feed, chunk)

    async def next_chunk(self) -> tuple[Feed, Chunk]:
        """The next chunk, which is open from now on; waits for it."""
        inbox = self.subscription.inbox
        self.cursor.asked()
        while (taken := inbox.take()) is None:
            self.subscription.on_progress()  # chunks of closed sessions may have been dropped: there is room
            await inbox.wait()
            self.turn = monotonic() + TURN
        feed, chunk = taken
        if not self.taken and self not in self.cursor.iterations:
            self.cursor.iterations.append(self)
        self.taken.append(taken)
        self.cursor.session = chunk.session
        self.cursor.subscription = feed.subscription.name
        return taken

    async def give_turn(self) -> None:
        """Let the event loop do something else: this iteration had its time."""
        self.subscription.on_progress()
        await asyncio.sleep(0)
        self.turn = monotonic() + TURN

    def leave(self, feed: Feed, chunk: Chunk) -> None:
        """Nothing of the chunk is open any more."""
        if (feed, chunk) not in self.taken:
            raise ConfigurationError(
                f"subscription {self.subscription.name}: two loops read one stream at a time; use one, or give the other "
                "an agent of its own"
            )
        self.taken.remove((feed, chunk))
        if chunk.session.open:
            feed.finish(chunk)
        else:
            self.subscription.on_progress()

    def forget_closed(self) -> None:
        """Nothing of closed sessions comes any more."""
        self.taken = [taken for taken in self.taken if taken[1].session.open]

    def decoded(self, feed: Feed, chunk: Chunk, form: Form) -> Decoded:
        """The decoded values of a chunk, or pairs of key and value, and what the body does not get."""
        decoded = chunk.decoded()
        if verdicts := feed.verdicts(chunk):
            decoded = _judged(decoded, verdicts)
        return _with_keys(chunk.session.schema, chunk.session.tp, decoded) if form == "items" else decoded

    def sequence(self, feed: Feed, chunk: Chunk) -> Iterable[tuple[RawRecord, Any]]:
        """All records of a chunk in order, with their values or the :class:`Rejected` that stands for it."""
        records, values, rejected = self.decoded(feed, chunk, "values")
        good = zip(records, values, strict=False)
        at = 0
        for one in rejected:
            yield from islice(good, one.at - at)
            at = one.at
            yield one.record, one
        yield from good

    async def prepare(self, feed: Feed, record: RawRecord, value: Any, form: Form) -> Any:
        """Open an event and make of it what the body gets (the value where the form is events), or ``SKIPPED``."""
        session = feed.session
        self.cursor.record = record
        if type(value) is Rejected:
            await self.reject(feed, value)
            return SKIPPED
        try:
            key = _key(session.schema, session.tp, record) if form == "items" else None
            for process in self.processors[feed.subscription]:
                value = process(value)
                if isawaitable(value):
                    value = await value
        except Skip:
            return SKIPPED
        except DecodeError as error:
            if form != "items" or error.offset != record.offset or error.tp != session.tp:
                raise
            await self.reject(feed, Rejected(0, record, error))
            return SKIPPED
        return (key, value) if form == "items" else value

    async def reject(self, feed: Feed, one: Rejected) -> None:
        """Let the policy decide on a record that the body does not get; raises when that is an error of the body."""
        self.cursor.record = one.record
        await feed.subscription.reject(feed.session.tp, one)

    async def reject_open(self, verdict: Verdict) -> None:
        """Do with the open event what was decided on it, and finish it; see :func:`reject_open`."""
        if self.lists is not None:
            await self.lists.reject_open(verdict)
            return
        cursor, (feed, chunk, record) = self.cursor, self.find_open()
        await self.reject(feed, Rejected(0, record, verdict))
        cursor.finish()
        feed.reach(record.offset)
        if cursor.acknowledgement is not None:
            cursor.acknowledgement.given = True  # when the body of before gives it, nothing happens
        cursor.record = cursor.acknowledgement = None
        if feed.progress is not None:  # its chunk has no other record
            self.leave(feed, chunk)

    @property
    def has_open_event(self) -> bool:
        """Whether the event that is open at the cursor was taken by this iteration, and not by another one of the same cursor."""
        cursor = self.cursor
        return cursor.record is not None and any(
            chunk.session is cursor.session and feed.subscription.name == cursor.subscription
            for feed, chunk in self.taken
        )

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on the open event until it is committed."""
        if self.lists is not None:
            self.lists.judge_open(verdict)
        else:
            feed, _, record = self.find_open()
            feed.judge(record.offset, verdict)

    def find_open(self) -> tuple[Feed, Chunk, RawRecord]:
        """Where the open record comes from."""
        cursor, record = self.cursor, self.cursor.record
        assert record is not None
        feed, chunk = next(
            (feed, chunk)
            for feed, chunk in self.taken
            if chunk.session is cursor.session and feed.subscription.name == cursor.subscription
        )
        return feed, chunk, record

    def withdraw(self, offsets: Mapping[Session, int]) -> list[Taken]:
        """Give up all that was taken and is not finished; see :func:`withdraw`.

        Args:
            offsets: where the open event begins, by session.
        """
        taken, self.taken = self.taken, []
        rest: list[Taken] = []
        for feed, chunk in taken:
            if feed.progress is not None:  # chunks of one record, each of which is finished by itself
                rest.append((feed, chunk))
                continue
            # Behind the fast path the events before the open one are finished, although `done` does not know it yet.
            # A list may have more partitions than its open records say, and knows how far each of them is.
            mine = self.lists is None and feed.subscription.name == self.cursor.subscription
            begin = offsets.get(chunk.session, feed.done) if mine else feed.done
            rest += [(feed, piece) for piece in feed.rest(chunk, begin)]
        return rest


def open_records(cursor: Cursor) -> list[tuple[Session, RawRecord]]:
    """The records of the open event: one, or all of a list of ``take``; none outside of an event."""
    if cursor.record is None or cursor.session is None:
        return []
    return [*cursor.others, (cursor.session, cursor.record)]


def remember_open(cursor: Cursor, verdict: Verdict) -> None:
    """Remember what was decided on the open event of a body that ended early: when it comes again it is rejected, not worked on."""
    for iteration in cursor.iterations:
        if iteration.has_open_event:
            iteration.judge_open(verdict)
            return


async def reject_open(cursor: Cursor, verdict: Verdict) -> None:
    """Do with the open event of a body that ended early what was decided on it, and finish the event."""
    for iteration in cursor.iterations:
        if iteration.has_open_event:
            await iteration.reject_open(verdict)
            return


def withdraw(cursor: Cursor) -> list[Taken]:
    """Give up all that a body which ended early has taken and not finished, its open event first.

    Returns:
        what :func:`give_back` lets be taken again; until then nobody gets it.
    """
    offsets = _close_event(cursor)
    iterations, cursor.iterations = cursor.iterations, []
    return [taken for iteration in iterations for taken in iteration.withdraw(offsets)]


def leave(iteration: Iteration) -> bool:
    """Give back what one of the iterations of a cursor has taken; the open event of another one stays open.

    Returns:
        True when the effects of its open event could not be taken back: the whole interval must be replayed.
    """
    cursor, pinned = iteration.cursor, False
    if iteration not in cursor.iterations:  # it has nothing, or its actor has given it back already
        return False
    cursor.iterations.remove(iteration)
    offsets: dict[Session, int] = {}
    if iteration.has_open_event:
        pinned, offsets = cursor.rollback(), _close_event(cursor)
    give_back(iteration.withdraw(offsets))
    return pinned


def _close_event(cursor: Cursor) -> dict[Session, int]:
    """No event is open any more; returns where the one began that was, by session."""
    offsets: dict[Session, int] = {}
    for session, record in open_records(cursor):
        offsets.setdefault(session, record.offset)
    cursor.record, cursor.others, cursor.acknowledgement = None, [], None
    return offsets


def give_back(withdrawn: Iterable[Taken]) -> None:
    """Let what was withdrawn be taken again before anything else; what belongs to closed sessions is dropped."""
    for feed, chunk in reversed(list(withdrawn)):
        if chunk.session.open:
            feed.subscription.inbox.put(feed, chunk, front=True)


def event(chunk: Chunk, record: RawRecord, value: Any, acknowledgement: Acknowledgement | None) -> Event[Any]:
    """The event of a record; one to acknowledge where that is done by hand."""
    schema, tp = chunk.session.schema, chunk.session.tp
    if acknowledgement is None:
        return Event(schema, tp, record, value)
    return ManualEvent(schema, tp, record, value, acknowledgement)


def _key(schema: Schema, tp: TP, record: RawRecord) -> Any:
    try:
        return schema.read_key(record)
    except Exception as cause:
        raise decode_error("key", record.key, cause, tp, record.offset) from cause


def _with_keys(schema: Schema, tp: TP, decoded: Decoded) -> Decoded:
    """Pairs of key and value; records whose keys cannot be decoded are rejected."""

    def pair(record: RawRecord, value: Any) -> Any:
        try:
            return _key(schema, tp, record), value
        except DecodeError as error:
            return Rejected(0, record, error)

    return _sift(decoded, pair)


def _judged(decoded: Decoded, verdicts: Mapping[int, Verdict]) -> Decoded:
    """The same, with the events on which something was decided rejected."""

    def judge(record: RawRecord, value: Any) -> Any:
        verdict = verdicts.get(record.offset)
        return value if verdict is None else Rejected(0, record, verdict)

    rejected = [judge(one.record, one)._replace(at=one.at) for one in decoded.rejected]
    return _sift(decoded._replace(rejected=rejected), judge)


def _sift(decoded: Decoded, make: Callable[[RawRecord, Any], Any]) -> Decoded:
    """What ``make`` gives for each value; the :class:`Rejected` among it join those that there are, in order."""
    records: list[RawRecord] = []
    items: list[Any] = []
    rejected: list[Rejected] = []
    others = list(reversed(decoded.rejected))
    for index, (record, value) in enumerate(zip(decoded.records, decoded.values, strict=True)):
        while others and others[-1].at <= index:
            rejected.append(others.pop()._replace(at=len(items)))
        item = make(record, value)
        if type(item) is Rejected:
            rejected.append(item._replace(at=len(items)))
        else:
            records.append(record)
            items.append(item)
    rejected += [other._replace(at=len(items)) for other in reversed(others)]
    return Decoded(records, items, rejected)
