"""How a stream takes events out of its inbox: the loops behind ``async for``, and what they have open.

Batches move between the layers, and an iteration costs one generator step per event: no await of ours, no queue, no task and
no object but the decoded value. Every few events it looks at the clock, and after a few
milliseconds it gives the event loop a turn. Streams with processors, and those that acknowledge by hand, take a slower path, on which
one event may become several values, or none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from inspect import isawaitable
from itertools import islice
from time import monotonic
from typing import Any, Literal, Protocol

from stream_core.errors import ConfigurationError, DecodeError, Skip
from stream_core.primitives import RawRecord
from stream_core.streams.cursor import Acknowledgement, Cursor, GiveBack, give_back
from stream_core.streams.decoded import Decoded, Rejected, key_of
from stream_core.streams.effects import Session
from stream_core.streams.events import Event, make_event
from stream_core.streams.sessions import Chunk, Feed, Inbox, Subscription
from stream_core.streams.verdicts import Verdict

__all__ = ["QUANTUM", "TURN", "Exhausted", "Form", "Iteration", "Processor", "Several"]

QUANTUM = 32
"""Events between two looks at the clock."""

TURN = 0.004
"""Seconds for which a stream may keep the event loop while its body does not wait for anything."""

Form = Literal["values", "events", "items"]
"""What an iteration yields: the value, an :class:`~stream_core.streams.events.Event`, or ``(key, value)``."""

Processor = Callable[[Any], Any | Awaitable[Any]]
"""A step between the decoded value and the body. It returns one value, or :class:`Several`, or raises
:class:`~stream_core.errors.Skip` to drop the one that it got."""


class Several(tuple[Any, ...]):
    """What a processor returns that makes several values of one, or none. The body gets each by itself.

    All of them are one event: it finishes when the body asks for what follows the last of them, and fails as a whole. A loop that is left
    between two of them cannot be begun again in the same event.
    """

    __slots__ = ()


PLAIN = frozenset({bool, bytes, dict, float, int, list, str, Several, type(None)})
"""Types that cannot be awaited, of most values: to ask for it costs more than all else that is done for an event."""

NOTHING = Several()
"""Stands for an event that the body does not get."""


class Exhausted(Exception):  # noqa: N818 - it is no error
    """The inbox of a stream over something finite has nothing more."""


class Lists(Protocol):
    """Several events as one: what :class:`~stream_core.streams.buffers.Buffers` is to the iteration in front of it."""

    def finish_open(self) -> None:
        """Finish the open list, if one is open."""

    def forget(self) -> None:
        """Forget the lists that fill: their events are taken again."""

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
        inbox: where they wait; that of the subscription when left out.

    Attributes:
        processors: the subscriptions, several in a combined stream, with the steps between each of them and the body.
        taken: the chunks that are not finished, oldest first, each with the progress of the subscription that it is for.
        left: how many values of the open event, or lists of its values, the body has not had yet.
        turn: the time, as :func:`time.monotonic` tells it, at which the event loop gets a turn.
        lists: hands over several events at a time; ``None`` where each comes by itself.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor, inbox: Inbox | None = None) -> None:
        self.subscription = subscription
        self.cursor = cursor
        self.processors: dict[Subscription, list[Processor]] = {subscription: []}
        self.taken: list[tuple[Feed, Chunk]] = []
        self.left = 0
        self.lists: Lists | None = None
        self.turn = 0.0
        self._since = 0.0
        self._inbox = inbox

    # -- the loops

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """Choose the loop that fits: the fast one unless there is something to do for each event."""
        subscriptions = self.processors
        if any(steps or one.manual or one.watch is not None for one, steps in subscriptions.items()):
            return self._one_by_one(form)
        return self._straight(form)

    async def _straight(self, form: Form) -> AsyncGenerator[Any, None]:
        """Yield the values of whole chunks: the fast path.

        In ``yield`` the body works on the event. Its effects are finished before the next record is at the cursor, because they belong to
        the record that is there; the feed learns of it only every few events, and until then asks the cursor.
        """
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
        """Yield what the processors make of each event: the path with processors, or without automatic acknowledgement."""
        cursor = self.cursor
        await self.begin()
        while True:
            feed, chunk = await self.next_chunk()
            session, manual, acknowledgement = chunk.session, feed.subscription.manual, None
            watch = feed.subscription.watch
            for record, value in self.decoded(feed, chunk).in_order():
                if not session.open:
                    break
                if watch is not None:
                    watch.begin(cursor, feed.subscription, session, record, value)
                item = await self.prepare(feed, record, value, form)
                if session.dead:  # while a processor waited: what it did is dropped with the interval
                    cursor.abandon()
                    cursor.record = None
                    break
                if manual:
                    acknowledgement = cursor.acknowledgement = Acknowledgement()
                if type(item) is not Several:
                    yield make_event(session, record, item, acknowledgement) if form == "events" else item
                elif not item:
                    if acknowledgement is not None:
                        acknowledgement.give()
                else:
                    for self.left, one in zip(range(len(item) - 1, -1, -1), item, strict=True):
                        yield make_event(session, record, one, acknowledgement) if form == "events" else one
                        if self.left and not await self.goes_on(session):
                            self.left = 0
                            break
                if acknowledgement is None:  # what close_open() does, without the call
                    cursor.finish()
                    cursor.record = None
                    feed.reach(record.offset)
                else:
                    self.close_open(feed, chunk, record)
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
        if self.left:
            raise ConfigurationError(
                f"subscription {self.subscription.name}: a loop was left between the values that a processor made of one event, and begun "
                "again: go on with the same loop until it gives a value of the next event"
            )
        if self.lists is not None:
            self.lists.finish_open()
            return
        feed, chunk, record = self.find_open()
        if self.close_open(feed, chunk, record) and feed.progress is not None:  # its chunk has no other record
            self.leave(feed, chunk)

    def close_open(self, feed: Feed, chunk: Chunk, record: RawRecord) -> bool:
        """Finish the open event, whose body asks for the next one; returns whether its chunk still has to be left."""
        cursor = self.cursor
        acknowledgement = cursor.acknowledgement
        cursor.finish()  # before its offset counts: it may refuse
        self.left, cursor.record, cursor.acknowledgement = 0, None, None
        if acknowledgement is None:
            feed.reach(record.offset)
            return True
        self.take_out(feed, chunk)
        feed.close(chunk, acknowledgement)
        return False

    async def goes_on(self, session: Session) -> bool:
        """Let the body have the next value of the open event; returns whether its effects still can count."""
        self.cursor.asked()
        if monotonic() >= self.turn:
            await self.give_turn()
        return not session.dead

    async def next_chunk(self) -> tuple[Feed, Chunk]:
        """Wait for the next chunk, which is open from now on."""
        inbox = self.subscription.inbox if self._inbox is None else self._inbox
        self.cursor.asked()
        while (taken := inbox.take()) is None or (
            taken[1].session.prepare is not None and not await self.can_decode(*taken)
        ):
            self.subscription.on_progress()  # chunks of closed sessions may have been dropped: there is room
            await inbox.wait()
            self.turn = monotonic() + TURN
        feed, chunk = taken
        if not self.taken and self not in self.cursor.takers:
            self.cursor.takers.append(self)
        self.taken.append(taken)
        self._since = monotonic()
        self.cursor.session = chunk.session
        self.cursor.subscription = feed.subscription.name
        return taken

    async def can_decode(self, feed: Feed, chunk: Chunk) -> bool:
        """Wait until a chunk can be decoded; return whether it may be taken still. It is put back if not, and when this is cancelled."""
        session, inbox = chunk.session, feed.inbox
        if session.prepare is None:
            return True
        try:
            await session.prepare(chunk.records, lambda: session.open and not inbox.held)
        except BaseException:
            feed.put_back(chunk)
            raise
        if session.open and not inbox.held:
            return True
        feed.put_back(chunk)
        return False

    async def give_turn(self) -> None:
        """Let the event loop do something else: this iteration had its time."""
        self.subscription.on_progress()
        await asyncio.sleep(0)
        self.turn = monotonic() + TURN

    def leave(self, feed: Feed, chunk: Chunk) -> None:
        """Take a chunk for finished: nothing of it is open any more."""
        self.take_out(feed, chunk)
        if chunk.session.open:
            if self.lists is None:  # whose chunks overlap
                feed.subscription.counts.busy += monotonic() - self._since
            feed.finish(chunk)
        else:
            self.subscription.on_progress()

    def take_out(self, feed: Feed, chunk: Chunk) -> None:
        """Forget a chunk that was taken. Raises ConfigurationError when another loop has given it back."""
        if (feed, chunk) not in self.taken:
            raise ConfigurationError(
                f"subscription {self.subscription.name}: two loops read one stream at a time; use one, or give the other "
                "an agent of its own"
            )
        self.taken.remove((feed, chunk))

    def forget_closed(self) -> None:
        """Forget what was taken of closed sessions."""
        self.taken = [taken for taken in self.taken if taken[1].session.open]

    def decoded(self, feed: Feed, chunk: Chunk, form: Form = "values") -> Decoded:
        """Decode a chunk to values, or pairs of key and value, and what the body does not get."""
        decoded = chunk.decoded()
        if verdicts := feed.verdicts(chunk):
            decoded = decoded.judged(verdicts)
        return decoded.with_keys(chunk.session.schema, chunk.session.tp) if form == "items" else decoded

    async def prepare(self, feed: Feed, record: RawRecord, value: Any, form: Form) -> Any:
        """Open an event, and make of it what the body gets: where the form is events, the value.

        Args:
            feed: progress of its subscription.
            record: the record.
            value: its value, or the :class:`Rejected` that stands for it.
            form: what the iteration yields.

        Returns:
            one item, or :class:`Several`, which is empty when the body does not get the event.
        """
        self.cursor.record = record
        if type(value) is Rejected:
            await self.reject(feed, value)
            return NOTHING
        pairs = form == "items"
        try:
            key = key_of(feed.session.schema, feed.session.tp, record) if pairs else None
            steps = iter(self.processors[feed.subscription])
            for process in steps:
                value = process(value)
                if type(value) not in PLAIN and isawaitable(value):
                    value = await value
                if type(value) is Several:
                    value = await _process_each(value, steps)  # all that are left, so that this loop ends
        except Skip:
            return NOTHING
        except DecodeError as error:
            if not pairs or error.offset != record.offset or error.tp != feed.session.tp:
                raise
            await self.reject(feed, Rejected(0, record, error))
            return NOTHING
        if not pairs:
            return value
        return Several((key, one) for one in value) if type(value) is Several else (key, value)

    # -- what becomes of events

    async def reject(self, feed: Feed, one: Rejected) -> None:
        """Let the policy decide on a record that the body does not get; raises when that is an error of the body."""
        self.cursor.record = one.record
        await feed.subscription.reject(feed.session.tp, one)

    async def reject_open(self, verdict: Verdict) -> None:
        """Do with the open event what was decided on it, and finish it; see :meth:`Cursor.reject_open`."""
        if self.lists is not None:
            await self.lists.reject_open(verdict)
            return
        feed, chunk, record = self.find_open()
        await self.reject(feed, Rejected(0, record, verdict))
        if self.cursor.acknowledgement is not None:
            self.cursor.acknowledgement.given = True  # when the body of before gives it, nothing happens
        if self.close_open(feed, chunk, record) and feed.progress is not None:  # its chunk has no other record
            self.leave(feed, chunk)

    @property
    def has_open_event(self) -> bool:
        """Whether the event that is open at the cursor was taken by this iteration, and not by another one of the same cursor."""
        return self.cursor.record is not None and self._source() is not None

    def judge_open(self, verdict: Verdict) -> None:
        """Remember what was decided on the open event until it is committed."""
        if self.lists is not None:
            self.lists.judge_open(verdict)
        else:
            feed, _, record = self.find_open()
            feed.judge(record.offset, verdict)

    def find_open(self) -> tuple[Feed, Chunk, RawRecord]:
        """Return where the open record comes from, and the record."""
        source, record = self._source(), self.cursor.record
        assert source is not None
        assert record is not None
        return *source, record

    def _source(self) -> tuple[Feed, Chunk] | None:
        cursor = self.cursor
        for feed, chunk in self.taken:
            if chunk.session is cursor.session and feed.subscription.name == cursor.subscription:
                return feed, chunk
        return None

    def withdraw(self, offsets: Mapping[Session, int]) -> list[GiveBack]:
        """Give up all that was taken and is not finished; see :meth:`Cursor.withdraw`.

        Args:
            offsets: where the open event begins, by session.
        """
        taken, self.taken, self.left = self.taken, [], 0
        rest: list[GiveBack] = []
        if self.lists is not None:
            self.lists.forget()
        for feed, chunk in taken:
            if feed.progress is not None:  # chunks of one record, each of which is finished by itself
                rest.append(partial(feed.put_back, chunk))
                continue
            # Behind the fast path the events before the open one are finished, although `done` does not know it yet.
            # A list may have more partitions than its open records say, and knows how far each of them is.
            mine = self.lists is None and feed.subscription.name == self.cursor.subscription
            begin = offsets.get(chunk.session, feed.done) if mine else feed.done
            rest += [partial(feed.put_back, piece) for piece in feed.rest(chunk, begin)]
        return rest

    def quit(self) -> bool:
        """Give back what this iteration has taken; the open event of another one of the same cursor stays open.

        Returns:
            True when the effects of its open event could not be taken back: the whole interval must be replayed.
        """
        cursor, pinned = self.cursor, False
        if self not in cursor.takers:  # it has nothing, or its actor has given it back already
            return False
        cursor.takers.remove(self)
        offsets: dict[Session, int] = {}
        if self.has_open_event:
            pinned, offsets = cursor.rollback(), cursor.close_event()
        give_back(self.withdraw(offsets))
        return pinned


async def _process_each(values: Several, steps: Iterator[Processor]) -> Several:
    """Take each of several values through the steps that are left; a step that skips one leaves the others."""
    for process in steps:
        made: list[Any] = []
        for value in values:
            try:
                new = process(value)
                if isawaitable(new):
                    new = await new
            except Skip:
                continue
            made += new if type(new) is Several else (new,)
        values = Several(made)
    return values
