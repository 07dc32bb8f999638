"""How a stream takes events out of its inbox: the loops behind ``async for``, and what they have open.

Batches move between the layers, and an iteration costs one generator step per event: no await of ours, no queue, no task and
no object but the decoded value (design decision 1). Every few events it looks at the clock, and after a few
milliseconds it gives the event loop a turn. Streams with processors, and those that acknowledge by hand, take a slower path.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from inspect import isawaitable
from itertools import islice
from time import monotonic
from typing import Any, Literal

from stream_core.cursor import Cursor, Session
from stream_core.errors import DecodeError, HandlerError, Skip
from stream_core.events import Acknowledgement, Event, ManualEvent
from stream_core.policies import FailurePolicy
from stream_core.records import TP, RawRecord
from stream_core.schemas import Schema
from stream_core.sessions import Chunk, Decoded, Feed, Rejected, Subscription, Verdict

__all__ = [
    "QUANTUM",
    "SKIPPED",
    "TURN",
    "Exhausted",
    "Form",
    "Iteration",
    "Processor",
    "event",
    "open_records",
    "restore",
    "rewind",
    "withdraw",
]

QUANTUM = 32
"""Events between two looks at the clock."""

TURN = 0.004
"""Seconds for which a stream may keep the event loop while its body does not wait for anything."""

Form = Literal["values", "events", "items"]
"""What an iteration yields: the value, an :class:`~stream_core.events.Event`, or ``(key, value)``."""

Processor = Callable[[Any], Any | Awaitable[Any]]
"""A step between the decoded value and the body; raises :class:`~stream_core.errors.Skip` to drop the event."""

SKIPPED = object()
"""Stands for an event that a processor dropped."""


class Exhausted(Exception):  # noqa: N818 - it is no error
    """The inbox of a stream over something finite has nothing more."""


class Iteration:
    """The events of one actor, and which of them are open.

    An event is finished when the next one is asked for; never because the body raised or was cancelled.

    Args:
        subscription: where the events come from.
        cursor: of whoever iterates.

    Attributes:
        processors: the subscriptions, several in a combined stream, with the steps between each of them and the body.
        taken: the chunks that are not finished, oldest first.
        buffered: several events are handed over at a time.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self.processors: dict[Subscription, list[Processor]] = {subscription: []}
        self.taken: list[tuple[Feed, Chunk]] = []
        self.buffered = False
        self._turn = 0.0

    # -- the loops

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """The loop that fits: the fast one unless there is something to do for each event."""
        if any(processors or subscription.manual for subscription, processors in self.processors.items()):
            return self._one_by_one(form)
        return self._straight(form)

    async def _straight(self, form: Form) -> AsyncGenerator[Any, None]:
        """The fast path."""
        cursor = self.cursor
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
                    if monotonic() >= self._turn:
                        await self.give_turn()
                if one is not None and session.open:
                    await self.reject(feed, one)
                    cursor.finish()
                    feed.reach(one.record.offset)
                    cursor.record = None
            self.leave(feed, chunk)

    async def _one_by_one(self, form: Form) -> AsyncGenerator[Any, None]:
        """The path with processors, or without automatic acknowledgement."""
        cursor = self.cursor
        while True:
            feed, chunk = await self.next_chunk()
            manual = feed.subscription.manual
            for record, value in self.sequence(feed, chunk):
                if not chunk.session.open:
                    break
                item = await self.prepare(feed, record, value, form)
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
                if monotonic() >= self._turn:
                    await self.give_turn()
            if self.taken:
                self.leave(feed, chunk)

    # -- steps

    async def next_chunk(self) -> tuple[Feed, Chunk]:
        """The next chunk, which is open from now on; waits for it."""
        inbox = self.subscription.inbox
        while (taken := inbox.take()) is None:
            self.subscription.on_progress()  # chunks of closed sessions may have been dropped: there is room
            await inbox.wait()
            self._turn = monotonic() + TURN
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
        self._turn = monotonic() + TURN

    def leave(self, feed: Feed, chunk: Chunk) -> None:
        """Nothing of the chunk is open any more."""
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

    def give_back(self, events: Mapping[Session, Sequence[int]]) -> list[tuple[Feed, Chunk]]:
        """Let what is not finished be taken again, before anything else; returns the part for which the caller does so.

        Args:
            events: the offsets of the open event by session.
        """
        taken, self.taken = self.taken, []
        targets = [(feed, chunk, _target(feed, chunk, events, buffered=self.buffered)) for feed, chunk in taken]
        shared: list[tuple[Feed, Chunk]] = []
        for feed, chunk, offset in reversed(targets):
            if feed.progress is not None:
                shared.append((feed, chunk))
                continue
            if chunk.session.open:
                feed.put_back(chunk, offset)
            feed.done = offset  # what lies below it may still be committed
        return shared


def open_records(cursor: Cursor) -> list[tuple[Session, RawRecord]]:
    """The records of the open event: one, or all of a buffer of ``take``; none outside of an event."""
    if cursor.record is None or cursor.session is None:
        return []
    return [*cursor.others, (cursor.session, cursor.record)]


def withdraw(
    cursor: Cursor, error: BaseException | None = None, policy: FailurePolicy | None = None
) -> list[tuple[Feed, Chunk]]:
    """After a body ended early: give what it did not finish back, so that it comes first when it runs again.

    Args:
        cursor: of the actor whose body it was.
        error: why it failed.
        policy: what happens to the open event when it comes again; ``None`` lets the body have it again.

    Returns:
        what other actors would take at once, and is not given back yet; see :func:`restore`.
    """
    events: dict[Session, list[int]] = {}
    for session, record in open_records(cursor):
        events.setdefault(session, []).append(record.offset)
    cursor.record, cursor.others, cursor.acknowledgement = None, [], None
    iterations, cursor.iterations = cursor.iterations, []
    if policy is not None:
        for feed in {feed: None for iteration in iterations for feed, _ in iteration.taken}:
            verdicts = feed.subscription.verdicts.setdefault(feed.session.tp, {})
            for offset in events.get(feed.session, ()):
                verdicts[offset] = Verdict(HandlerError.of(error, feed.session.tp, offset), policy)
    return [taken for iteration in iterations for taken in iteration.give_back(events)]


def restore(withdrawn: Iterable[tuple[Feed, Chunk]]) -> None:
    """Give back what was withdrawn from a cursor."""
    for feed, chunk in withdrawn:
        if chunk.session.open:
            feed.put_back(chunk, chunk.records[0].offset)


def rewind(cursor: Cursor) -> None:
    """After a body ended early: give all that it did not finish back at once."""
    restore(withdraw(cursor))


def event(chunk: Chunk, record: RawRecord, value: Any, acknowledgement: Acknowledgement | None) -> Event[Any]:
    """The event of a record; one to acknowledge where that is done by hand."""
    schema, tp = chunk.session.schema, chunk.session.tp
    if acknowledgement is None:
        return Event(schema, tp, record, value)
    return ManualEvent(schema, tp, record, value, acknowledgement)


def _target(feed: Feed, chunk: Chunk, events: Mapping[Session, Sequence[int]], *, buffered: bool) -> int:
    """The offset from which a chunk is given back."""
    if feed.progress is not None:  # chunks of one record
        return chunk.records[0].offset
    mine = events.get(feed.session, ())
    return feed.done if buffered or not mine else mine[0]


def _key(schema: Schema, tp: TP, record: RawRecord) -> Any:
    try:
        return schema.read_key(record)
    except Exception as cause:
        raise DecodeError(f"cannot decode the key: {cause}", tp, record.offset) from cause


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
        return value if verdict is None else Rejected(0, record, *verdict)

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
