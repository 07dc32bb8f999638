"""Where sends go: at once, or held until the event that makes them finishes.

Two producers (design decision 6): one carries the effects of events, transactional under exactly-once; the other carries what
happens outside events and goes at once, plain and idempotent. Under at-least-once they are the same producer.

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

from stream_core.cursor import Cursor, active_cursor
from stream_core.errors import BatchRefusedError, EncodeError, ProduceError, RecordRefusedError, TransportError
from stream_core.ports import Producer
from stream_core.records import TP, Headers, RecordMetadata

__all__ = ["SETTLE", "HeldSend", "OnProduce", "Outbox", "Sent"]

T = TypeVar("T")

OnProduce = Callable[[bytes | None, bytes | None, int | None, float | None, list[tuple[str, bytes]]], None]
"""Told of what is sent: key, value, partition, timestamp in seconds, and headers."""

SETTLE = 0.002
"""Seconds between two looks at events that have to finish first."""

BACKLOG = 16 * 1024 * 1024
"""Bytes of held sends from which an event waits."""

OVERHEAD = 100
"""Bytes of a record beside key, value and headers, with those of its batch, at most."""


async def _run(send: Callable[[], Awaitable[T]]) -> T:
    return await send()


async def _result(delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    return await delivery


class HeldSend:
    """A send whose event is not finished; awaiting it releases the sends of that event first.

    Attributes:
        cursor: of the actor whose event it is.
        session: of that event.
        record: what is sent.
        delivery: the acknowledgement, once it has left.
        dropped: it will never leave.
        parked: its event is finished, and one before it is not.
    """

    __slots__ = ("_outbox", "cursor", "delivery", "dropped", "parked", "record", "session")

    def __init__(self, outbox: Outbox, cursor: Cursor, record: tuple[Any, ...]) -> None:
        self._outbox = outbox
        self.cursor = cursor
        self.record = record
        self.session = cursor.session
        self.delivery: Awaitable[RecordMetadata] | None = None
        self.dropped = False
        self.parked = False

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._outbox.deliver(self).__await__()


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
        topics: what events have sent to, with the number of partitions.
        broken: a producer that refused to send, for whoever replaces it.
        on_produce: called with key, value, partition, timestamp and a list of headers, which it may change, before each send of a topic.
    """

    def __init__(self, *, transactional: bool) -> None:
        self._transactional = transactional
        self._effects: Producer | None = None
        self._plain: Producer | None = None
        self.topics: dict[str, int] = {}
        self.on_produce: OnProduce | None = None
        self.broken: Producer | None = None
        self._plain_topics: dict[str, int] = {}
        self._careful: dict[TP, int] = {}
        self._alone = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._gate = asyncio.Event()
        self._releasing = True
        self._waiting: list[HeldSend] = []
        self._held_bytes = 0

    def connect(self, effects: Producer, plain: Producer) -> None:
        """Use these producers from now on; ``effects`` must know the partitions of :attr:`topics`."""
        if plain is not self._plain:
            self._plain_topics.clear()
        self._effects, self._plain = effects, plain

    @property
    def effects(self) -> Producer:
        """The producer of the effects of events."""
        if self._effects is None:
            raise ProduceError("the app is not started: start a worker, or await app.start() first")
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
        producer = self._effects
        if (
            topic not in self.topics
            or producer is None
            or producer.crowded
            or self._careful
            or get_ident() != self._thread
        ):
            return None
        if not self._transactional:
            try:
                return producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)
            except ProduceError:
                self.broken = producer
                raise
        cursor = active_cursor()
        if cursor is None or _in_memory(cursor) or self._held_bytes > BACKLOG:
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
    ) -> Awaitable[RecordMetadata]:
        """Send one encoded record; returns once it is in its partition's builder, or held by its event.

        With ``aside`` it is no effect of the open event: it goes at once, and is not taken back when the event fails.

        Waits only for the metadata of a topic that was not used before, and while more bytes are on the way than the
        producer's bound allows.
        """
        if get_ident() != self._thread:
            return await self._hop(lambda: self.send(topic, partition, key, value, timestamp, headers, aside=True))
        cursor = active_cursor() if self._transactional and not aside else None
        if cursor is not None and _in_memory(cursor):
            cursor = None
        producer = self.effects if cursor is not None or not self._transactional else self._plain
        if producer is None:
            raise ProduceError("the app is not started: start a worker, or await app.start() first")
        known = self.topics if producer is self._effects else self._plain_topics
        if topic not in known:
            count = 0
            try:
                count = await producer.partitions(topic)
            except TransportError:
                if producer in (self._effects, self._plain):
                    raise
            if producer not in (self._effects, self._plain):  # replaced meanwhile: ask its successor
                return await self.send(topic, partition, key, value, timestamp, headers, aside=aside)
            known[topic] = count
        if cursor is not None:
            return await self._held(cursor, (topic, partition, key, value, timestamp, headers))
        if self._careful:
            async with self._alone:
                delivery = producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)
                await _by_itself(topic, delivery)
            return delivery
        delivery = self._leave(producer, topic, partition, key, value, timestamp, headers)
        await producer.room()
        return delivery

    def _leave(
        self,
        producer: Producer,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
    ) -> Awaitable[RecordMetadata]:
        try:
            return producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)
        except ProduceError:
            self.broken = producer
            raise

    async def _hop(self, send: Callable[[], Awaitable[Awaitable[RecordMetadata]]]) -> Awaitable[RecordMetadata]:
        """Send in the thread of the engine; the metadata can be awaited here."""
        delivery = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_run(send), self._loop))
        return Sent(asyncio.run_coroutine_threadsafe(_result(delivery), self._loop))

    def soon(self, send: Callable[[], Awaitable[Awaitable[RecordMetadata]]]) -> Sent:
        """Send from any thread, without waiting."""

        async def sent() -> RecordMetadata:
            return await _result(await send())

        return Sent(asyncio.run_coroutine_threadsafe(sent(), self._loop))

    def _hold(self, cursor: Cursor, record: tuple[Any, ...]) -> HeldSend:
        self._check(*record)
        held = HeldSend(self, cursor, record)
        cursor.held.append(held)
        cursor.attention = True
        return held

    async def _held(self, cursor: Cursor, record: tuple[Any, ...]) -> HeldSend:
        held = self._hold(cursor, record)
        if self._held_bytes > BACKLOG:
            await self._gate.wait()
        elif self._gate.is_set():
            await self.effects.room()
        if self._careful:
            await self.deliver(held)
        return held

    def _check(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        _timestamp: int | None,
        headers: Headers,
    ) -> None:
        """Raise EncodeError for what the producer would not take: later, when the event is finished, that were too late."""
        size = OVERHEAD + len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
        if size > self.effects.max_record_size:
            limit = self.effects.max_record_size
            raise EncodeError(f"a record of {size} bytes for topic {topic} is larger than {limit}", topic)
        if partition is not None and not 0 <= partition < self.topics[topic]:
            raise EncodeError(f"topic {topic} has {self.topics[topic]} partitions, and no partition {partition}", topic)

    def emit(self, held: list[HeldSend]) -> None:
        """Send what a finished event held, or keep it for the next interval while the gate is closed."""
        if not self._gate.is_set():
            self._waiting.extend(held)
            self._held_bytes += sum(len(send.record[3] or b"") + 64 for send in held)
            return
        for send in held:
            self._go(send)

    def _go(self, held: HeldSend) -> None:
        topic, partition, key, value, timestamp, headers = held.record
        held.delivery = self.effects.send(topic, partition, key, value, timestamp=timestamp, headers=headers)

    async def deliver(self, held: HeldSend) -> RecordMetadata:
        """Wait for the acknowledgement of a held send; inside its event that lets all sends of the event go now.

        The event is pinned then: the next cut waits for it, because its records are in the open transaction. When actors
        overtake each other it waits for the events before it first, so that no cut ever has to wait for those.
        """
        cursor = held.cursor
        while held.delivery is None:
            if held.dropped or (held.session is not None and held.session.dead):
                raise ProduceError(f"not sent to {held.record[0]}: the event that sent it failed")
            if held in cursor.held and self._may_release(cursor) and not self._alone.locked():
                sends, cursor.held = cursor.held, []
                cursor.pinned = cursor.attention = True
                for send in sends:
                    self._go(send)
            elif held in cursor.held or held.parked or held in self._waiting:
                await asyncio.sleep(SETTLE)
            else:
                held.dropped = True
        if not self._careful:
            return await held.delivery
        async with self._alone:  # free, if this send has just left: nothing was awaited since
            return await _by_itself(held.record[0], held.delivery)

    def _may_release(self, cursor: Cursor) -> bool:
        first = cursor.session is None or cursor.session.first(cursor)
        return self._gate.is_set() and first and (self._releasing or cursor.pinned)

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
        """A cut waits for pinned events: let no other event pin itself."""
        self._releasing = False

    def allow_releases(self) -> None:
        """The cut is made."""
        self._releasing = True

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


async def _by_itself(topic: str, delivery: Awaitable[RecordMetadata]) -> RecordMetadata:
    try:
        return await delivery
    except BatchRefusedError as error:
        raise RecordRefusedError(f"topic {topic}: the broker refused the record: {error}", topic) from error


def _in_memory(cursor: Cursor) -> bool:
    """Whether the open event exists in memory only: it belongs to no interval."""
    return cursor.session is not None and cursor.session.partition < 0
