"""Where sends go: at once, or held until the event that makes them finishes.

Two producers (decisions 6 and 21 in docs/adr): one carries the effects of events, is transactional under exactly-once, and sends nothing
once the lease of the group is over; the other, of :mod:`stream_core.sending.aside`, carries what happens outside events, at once.

Under exactly-once the sends of an event are held until it finishes, so that a failed event leaves nothing behind, and while a
transaction is being committed the sends of the next interval wait behind a gate.

The broker refuses whole batches. Which event sent the record that it does not want is found when the interval is replayed: meanwhile
every send is acknowledged by itself before the next one leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping
from concurrent.futures import Future
from threading import get_ident
from typing import Any, TypeVar

import msgspec

from stream_core.errors import BatchRefusedError, EncodeError, ProduceError, RecordRefusedError, TransportError
from stream_core.ports import Delivery, Producer
from stream_core.primitives import TP, Headers, RecordMetadata
from stream_core.sending.aside import NOT_STARTED, Aside, Encoded
from stream_core.streams.cursor import Cursor, Session, current_cursor

__all__ = ["SETTLE", "HeldSend", "OnProduce", "Outbox", "Sent"]

T = TypeVar("T")

OnProduce = Callable[[bytes | None, bytes | None, int | None, float | None, list[tuple[str, bytes]]], None]
"""Told of what is sent: key, value, partition, timestamp in seconds, and headers."""

SETTLE = 0.002
"""Seconds between two looks at events that have to finish first."""

BACKLOG = 16 * 1024 * 1024
"""Bytes of held sends from which an event waits: for the gate, or, when it holds so many itself, until it may let them go."""

HOLD = 1.0
"""Seconds for which a cut that waits lets no other event pin itself; then those that want to may, for a moment."""

AJAR = 0.05
"""Seconds of that moment."""

OVERHEAD = 100
"""Bytes of a record beside key, value and headers, with those of its batch, at most."""


async def _run(send: Callable[[], Awaitable[T]]) -> T:
    return await send()


async def _result(delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    return await delivery


class HeldSend(msgspec.Struct, eq=False):
    """A send whose event is not finished; awaiting it releases the sends of that event first.

    Attributes:
        outbox: that holds it.
        cursor: of the actor whose event it is.
        session: of that event.
        record: what is sent.
        size: its bytes.
        delivery: the acknowledgement, once it has left.
        dropped: it will never leave.
        parked: its event is finished, and one before it is not.
    """

    outbox: Outbox
    cursor: Cursor
    session: Session | None
    record: Encoded
    size: int
    delivery: Delivery | None = None
    dropped: bool = False
    parked: bool = False

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self.outbox.deliver(self).__await__()


class Sent:
    """A send of another thread, or one that nobody waited for.

    Args:
        future: has the metadata, once it is acknowledged.
    """

    def __init__(self, future: Future[RecordMetadata]) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait for the metadata in a thread that has no event loop; up to ``timeout`` seconds. Raises TimeoutError."""
        return self._future.result(timeout)

    def done(self) -> bool:
        """Whether it is acknowledged, or has failed."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return asyncio.wrap_future(self._future).__await__()


class Outbox:
    """The sends of one engine.

    Args:
        transactional: hold the sends of events until they finish, and let them through a gate.

    Attributes:
        aside: sends what is no effect of an event.
        topics: what events have sent to.
        on_broken: told when the producer of effects refuses to send: the interval cannot be committed any more.
        may_answer: whether the answer to a question may go to a topic of that name.
        on_produce: called with key, value, partition, timestamp and a list of headers, which it may change, before each send of a topic.
    """

    def __init__(self, *, transactional: bool) -> None:
        self._transactional = transactional
        self._effects: Producer | None = None
        self.aside = Aside()
        self.topics: set[str] = set()
        self.on_broken: Callable[[ProduceError], None] = lambda error: None
        self.may_answer: Callable[[str], bool] = bool
        self.on_produce: OnProduce | None = None
        self._careful: dict[TP, int] = {}
        self._alone = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._gate = asyncio.Event()
        self._held_since: float | None = None
        self._waiting: list[HeldSend] = []
        self._held_bytes = 0

    def connect(self, effects: Producer) -> None:
        """Send the effects of events by this producer from now on; it must know the partitions of :attr:`topics`."""
        self._effects = effects

    @property
    def effects(self) -> Producer:
        """The producer of the effects of events."""
        if self._effects is None:
            raise ProduceError(NOT_STARTED)
        return self._effects

    def post(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
    ) -> Awaitable[RecordMetadata] | None:
        """Do what :meth:`send` does when there is nothing to wait for, as for nearly every record; ``None`` when there is.

        It is the path of every record that events send: a coroutine would cost as much as all that it does.
        """
        if get_ident() != self._thread:
            return None
        cursor = current_cursor()
        if cursor is None or cursor.record is None or ((session := cursor.session) and session.partition < 0):
            return self.aside.post((topic, partition, key, value, timestamp, headers))
        producer = self._effects
        if topic not in self.topics or producer is None or producer.crowded or self._careful:
            return None
        if not self._transactional:
            try:
                return producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)
            except ProduceError as error:
                self.on_broken(error)
                raise
        if self._held_bytes > BACKLOG or cursor.held_bytes > BACKLOG:
            return None
        return self._hold(cursor, (topic, partition, key, value, timestamp, headers))

    async def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
        *,
        aside: bool = False,
        optional: bool = False,
    ) -> Awaitable[RecordMetadata]:
        """Send one encoded record; returns once it is in its partition's builder, or held by its event.

        With ``aside`` it is no effect of the open event: it goes at once, and is not taken back when the event fails. ``optional`` is
        an answer that nobody misses whose topic refuses it.

        Waits only for the metadata of a topic that was not used before, while more bytes are on the way than the producer's bound
        allows, and, outside of events, for a producer.
        """
        if get_ident() != self._thread:
            return await self._hop(lambda: self.send(topic, partition, key, value, timestamp, headers, aside=True))
        cursor, record = current_cursor(), (topic, partition, key, value, timestamp, headers)
        if cursor is None or _in_memory(cursor) or (cursor.record is None and not aside):
            return await self.aside.send(record)
        if aside:  # also right behind the event, as the refusal of one that failed
            if not self._careful:
                return await self.aside.send(record, of_event=True, optional=optional)
            kept = await self.aside.send(record, optional=optional)
            await kept  # refused, it fails here, in its event
            return kept
        producer = await self._effects_for(topic)
        if self._transactional:
            return await self._held(cursor, record)
        if self._careful:
            async with self._alone:
                delivery = self._leave(producer, record)
                await _by_itself(topic, delivery)
            return delivery
        delivery = self._leave(producer, record)
        await producer.room()
        return delivery

    def _leave(self, producer: Producer, record: Encoded) -> Delivery:
        topic, partition, key, value, timestamp, headers = record
        try:
            return producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)
        except ProduceError as error:
            self.on_broken(error)
            raise

    async def _effects_for(self, topic: str) -> Producer:
        """The producer of effects, which knows the partitions of ``topic`` then."""
        while topic not in self.topics:
            producer = self.effects
            try:
                await producer.partitions(topic)
            except TransportError:
                if producer is self._effects:
                    raise
            else:
                if producer is self._effects:  # else it was replaced meanwhile: its successor is asked
                    self.topics.add(topic)
        return self.effects

    async def _hop(self, send: Callable[[], Awaitable[Awaitable[RecordMetadata]]]) -> Awaitable[RecordMetadata]:
        """Send in the thread of the engine; the metadata can be awaited here."""
        delivery = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_run(send), self._loop))
        return Sent(asyncio.run_coroutine_threadsafe(_result(delivery), self._loop))

    def soon(self, send: Callable[[], Awaitable[Awaitable[RecordMetadata]]]) -> Sent:
        """Send from any thread, without waiting."""

        async def sent() -> RecordMetadata:
            return await _result(await send())

        return Sent(asyncio.run_coroutine_threadsafe(sent(), self._loop))

    def _hold(self, cursor: Cursor, record: Encoded) -> HeldSend:
        held = HeldSend(self, cursor, cursor.session, record, self._size(*record))
        cursor.held.append(held)
        cursor.held_bytes += held.size
        cursor.attention = True
        return held

    async def _held(self, cursor: Cursor, record: Encoded) -> HeldSend:
        held = self._hold(cursor, record)
        if self._held_bytes > BACKLOG:
            await self._gate.wait()
        if cursor.held_bytes > BACKLOG:
            await self._released(held)
        if self._gate.is_set():
            await self.effects.room()
        if self._careful:
            await self.deliver(held)
        return held

    def _size(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        _timestamp: int | None,
        headers: Headers,
    ) -> int:
        """The bytes of a record, at most. Raises EncodeError for what the producer would not take: later, that were too late."""
        size, producer = OVERHEAD + len(key or b"") + len(value or b""), self.effects
        if headers:
            size += sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
        if size > producer.max_record_size:
            limit = producer.max_record_size
            raise EncodeError(f"a record of {size} bytes for topic {topic} is larger than {limit}", topic)
        if partition is not None and not 0 <= partition < (count := producer.count(topic)):
            raise EncodeError(f"topic {topic} has {count} partitions, and no partition {partition}", topic)
        return size

    def emit(self, held: list[HeldSend]) -> None:
        """Send what a finished event held, or keep it for the next interval while the gate is closed."""
        if not self._gate.is_set():
            self._waiting.extend(held)
            self._held_bytes += sum(send.size for send in held)
            return
        for send in held:
            self._go(send)

    def _go(self, held: HeldSend) -> None:
        held.delivery = self._leave(self.effects, held.record)

    async def deliver(self, held: HeldSend) -> RecordMetadata:
        """Wait for the acknowledgement of a held send; inside its event that lets all sends of the event go now.

        The event is pinned then: the next cut waits for it, because its records are in the open transaction. When actors
        overtake each other it waits for the events before it first, so that no cut ever has to wait for those.
        """
        await self._released(held)
        assert held.delivery is not None
        if not self._careful:
            return await held.delivery
        async with self._alone:  # free, if this send has just left: nothing was awaited since
            return await _by_itself(held.record[0], held.delivery)

    async def _released(self, held: HeldSend) -> None:
        """Wait until a held send has left; see :meth:`deliver`."""
        cursor = held.cursor
        while held.delivery is None:
            if held.dropped or (held.session is not None and held.session.dead):
                raise ProduceError(f"not sent to {held.record[0]}: the event that sent it failed")
            if held in cursor.held and self._may_release(cursor) and not self._alone.locked():
                sends, cursor.held = cursor.held, []
                cursor.held_bytes = 0
                cursor.pinned = cursor.attention = True
                for send in sends:
                    self._go(send)
            elif held in cursor.held or held.parked or held in self._waiting:
                await asyncio.sleep(SETTLE)
            else:
                held.dropped = True

    def _may_release(self, cursor: Cursor) -> bool:
        first = cursor.session is None or cursor.session.first(cursor)
        return self._gate.is_set() and first and (cursor.pinned or self._releasing())

    def _releasing(self) -> bool:
        """Whether an event may pin itself. A cut that waits forbids it, but not for ever: what it waits for may wait for this event."""
        since = self._held_since
        return since is None or (self._loop.time() - since) % (HOLD + AJAR) > HOLD

    @property
    def backlog(self) -> int:
        """Bytes that are sent and not acknowledged, of events and of others."""
        aside = self.aside.producer
        return (0 if self._effects is None else self._effects.backlog) + (0 if aside is None else aside.backlog)

    @property
    def careful(self) -> bool:
        """Whether records are sent one at a time, to find the one that is refused."""
        return bool(self._careful)

    def take_care(self, until: Mapping[TP, int]) -> None:
        """A record was refused: send one at a time until these positions are committed, so that the one is found."""
        self._careful = {**until, **{tp: max(end, until.get(tp, end)) for tp, end in self._careful.items()}}

    def relax(self, committed: Mapping[TP, int]) -> None:
        """These positions are committed: what lies below them needs no care. Partitions that are not in it are not ours any more."""
        if self._careful:
            self._careful = {tp: end for tp, end in self._careful.items() if committed.get(tp, end) < end}

    def hold_releases(self) -> None:
        """A cut waits for pinned events: let no other event pin itself, for most of the time."""
        if self._held_since is None:
            self._held_since = self._loop.time()

    def allow_releases(self) -> None:
        """The cut is made."""
        self._held_since = None

    def close_gate(self) -> None:
        """Keep what is sent from now on for the next interval."""
        self._gate.clear()

    def open_gate(self) -> None:
        """A transaction is open: let the sends that waited go, in order, and everything after them."""
        self._gate.set()
        waiting, self._waiting = self._waiting, []
        self._held_bytes = 0
        for held in waiting:
            self._go(held)

    def drop(self) -> None:
        """The interval was aborted: what waited for the next one is replayed with it."""
        self._gate.clear()
        self._held_bytes = 0
        for held in self._waiting:
            held.dropped = True
        self._waiting.clear()
        self.aside.drop()


async def _by_itself(topic: str, delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    try:
        return await delivery
    except BatchRefusedError as error:
        raise RecordRefusedError(f"topic {topic}: the broker refused the record: {error}", topic) from error


def _in_memory(cursor: Cursor) -> bool:
    """Whether the open event exists in memory only: it belongs to no interval."""
    return cursor.session is not None and cursor.session.partition < 0
