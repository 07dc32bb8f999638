"""Which way a send goes.

================================  =======================================================================================
who sends                         where it goes
================================  =======================================================================================
an event, at least once           to the producer of effects, at once
an event, exactly once            held until the event finishes (:mod:`~stream_core.sending.held`), then to that producer
either, after a refused record    one at a time (:mod:`~stream_core.sending.one_by_one`)
anybody else; questions, answers  aside: to a producer of its own (:mod:`~stream_core.sending.aside`)
another thread or loop            to the event loop of the engine, and aside (:mod:`~stream_core.sending.threads`)
================================  =======================================================================================

The producer of effects is transactional under exactly-once, and sends nothing once the lease of the group is over. Decisions 6 and 21 in
docs/adr say why there are two producers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from threading import get_ident

from stream_core.errors import EncodeError, ProduceError, TransportError
from stream_core.ports import Delivery, Producer
from stream_core.primitives import Headers, Outgoing, RecordMetadata
from stream_core.runs import NOT_STARTED
from stream_core.sending.aside import Aside
from stream_core.sending.held import HeldSends
from stream_core.sending.one_by_one import OneByOne
from stream_core.sending.threads import Send, Sent, send_in, send_soon_in
from stream_core.sending.watched import SendWatch
from stream_core.streams.effects import Effects, HeldSend, current_effects
from stream_core.streams.targets import SendCallback

__all__ = ["OnProduce", "Outbox"]

logger = logging.getLogger(__name__)

OnProduce = Callable[[bytes | None, bytes | None, int | None, float | None, list[tuple[str, bytes]]], None]
"""Told of what is sent: key, value, partition, timestamp in seconds, and headers."""

OVERHEAD = 100
"""Bytes of a record beside key, value and headers, with those of its batch, at most."""


class Outbox:
    """The sends of one engine.

    Args:
        transactional: hold the sends of events until they finish, and let them through a gate.

    Attributes:
        producer: sends the effects of events; ``None`` before the start.
        aside: sends what is no effect of an event.
        one_by_one: whether each record is acknowledged before the next one leaves.
        held: the sends that wait for their event, or for a transaction.
        topics: what events have sent to.
        on_broken: told when the producer of effects refuses to send: the interval cannot be committed any more.
        late: by name of a topic that was described since the start, what makes it where it does not exist; it is awaited before the first
            record goes there.
        may_answer: whether the answer to a question may go to a topic of that name.
        on_produce: called with key, value, partition, timestamp and a list of headers, which it may change, before each send of a topic.
        watch: tells sensors of the sends of topics, where one wants to hear of each.
    """

    def __init__(self, *, transactional: bool) -> None:
        self._transactional = transactional
        self.producer: Producer | None = None
        self.aside = Aside()
        self.one_by_one = OneByOne()
        self.held = HeldSends(self._append, self.one_by_one)
        self.topics: set[str] = set()
        self.late: dict[str, Callable[[], Awaitable[None]]] = {}
        self._making = asyncio.Lock()
        self.aside.prepare = self._prepare
        self.on_broken: Callable[[ProduceError], None] = lambda error: None
        self.may_answer: Callable[[str], bool] = bool
        self.on_produce: OnProduce | None = None
        self._unheard: set[str] = set()
        self.watch: SendWatch | None = None
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def connect(self, effects: Producer) -> None:
        """Send the effects of events by this producer from now on; it must know the partitions of :attr:`topics`."""
        self.producer = effects

    @property
    def effects(self) -> Producer:
        """The producer of the effects of events. Raises ProduceError before there is one."""
        if self.producer is None:
            raise ProduceError(NOT_STARTED)
        return self.producer

    @property
    def backlog(self) -> int:
        """Bytes that are sent and not acknowledged, of events and of others."""
        return sum(producer.backlog for producer in (self.producer, self.aside.producer) if producer is not None)

    def put(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
    ) -> Awaitable[RecordMetadata] | None:
        """Send a record, or hold it; return ``None`` when something has to be waited for before, which :meth:`send` does.

        Nearly every record of an event goes this way and no other: a coroutine would cost as much as all that is done here, and a tuple
        would be made and taken apart again.

        Args:
            topic: these six are what an :data:`~stream_core.primitives.Outgoing` has.
            partition: ``None`` lets the producer choose.
            key: its bytes.
            value: its bytes.
            timestamp: in milliseconds.
            headers: as tuples.

        Raises:
            EncodeError: the record is too large, or there is no such partition.
            ProduceError: the producer is broken.
        """
        if get_ident() != self._thread:  # asking for the loop that runs takes ten times as long
            return None
        cursor = current_effects()
        if cursor is None or cursor.atom is None or ((session := cursor.session) and session.partition < 0):
            return (
                self.aside.put((topic, partition, key, value, timestamp, headers)) if self._loop.is_running() else None
            )
        producer = self.producer
        if producer is None or topic not in self.topics or self.one_by_one.until:
            return None
        if self._transactional:
            if self.held.full(cursor) or (producer.crowded and self.held.open):
                return None
            return self._hold(cursor, (topic, partition, key, value, timestamp, headers))
        if producer.crowded:
            return None
        try:
            return producer.send(topic, partition, key, value, timestamp, headers)
        except ProduceError as error:
            self.on_broken(error)
            raise

    async def send(self, record: Outgoing, *, aside: bool = False, optional: bool = False) -> Awaitable[RecordMetadata]:
        """Send a record; return once it is in its partition's builder, or held by its event.

        Wait for the metadata of a topic that was not used before, while more bytes are on the way than the producer's bound
        allows, and, outside of events, for a producer.

        Args:
            record: what to send.
            aside: send it at once, and not as an effect of the open event: it is not taken back when the event fails.
            optional: it is an answer that nobody misses when the broker refuses it.

        Raises:
            EncodeError: the record is too large, or there is no such partition.
            UnknownTopicError: there is no such topic.
            ProduceError: the producer is broken, or the app is not started.
        """
        if get_ident() != self._thread or not self._loop.is_running():
            return await send_in(self._loop, lambda: self.send(record, aside=True))
        cursor = current_effects()
        in_memory = cursor is not None and cursor.session is not None and cursor.session.partition < 0
        if cursor is None or in_memory or (cursor.atom is None and not aside):
            return await self.aside.send(record)
        if aside:  # also right behind the event, as the refusal of one that failed
            if not self.one_by_one:
                return await self.aside.send(record, of_event=True, optional=optional)
            kept = await self.aside.send(record, optional=optional)
            await kept  # refused, it fails here, in its event
            return kept
        while (sent := self.put(*record)) is None:
            await self._ready(cursor, record[0])
            if self.one_by_one:
                return await self._send_alone(cursor, record)
        return sent

    def send_soon(self, send: Send, topic: str, callback: SendCallback | None = None) -> Sent:
        """Send from any thread, without waiting: ``send`` is called in the event loop of the engine, and then ``callback``.

        An error that nobody asks for is logged, the first one of each topic.
        """

        def unheard(error: BaseException) -> None:
            if topic not in self._unheard:
                self._unheard.add(topic)
                logger.error(
                    "a record that was sent by send_soon() to topic %s is lost, and nobody asked for its result: %s; further ones "
                    "of this topic are not told: give send_soon() a callback=, or await what it returns",
                    topic,
                    error,
                )

        return send_soon_in(self._loop, send, topic, callback, unheard)

    def settled(self, sent: Awaitable[RecordMetadata]) -> Awaitable[RecordMetadata]:
        """Give what waits until it is decided what becomes of ``sent``, and releases nothing that an event holds."""
        return self.held.delivered(sent) if isinstance(sent, HeldSend) else sent

    async def _send_alone(self, cursor: Effects, record: Outgoing) -> Awaitable[RecordMetadata]:
        if not self._transactional:
            return await self.one_by_one.send(record[0], lambda: self._append(record))
        held = self._hold(cursor, record)
        await self.held.deliver(held)
        return held

    async def _ready(self, cursor: Effects, topic: str) -> None:
        """Wait for what :meth:`put` misses to send to ``topic`` in the open event of ``cursor``."""
        while topic not in self.topics:
            await self._learn(self.effects, topic)
        if self._transactional:
            await self.held.room(cursor)
        if not self._transactional or self.held.open:
            try:
                await self.effects.room()
            except ProduceError as error:
                self.on_broken(error)
                raise

    async def _learn(self, producer: Producer, topic: str) -> None:
        """Learn the partitions of ``topic``; when the producer is replaced meanwhile, its successor is to be asked."""
        try:
            await self._prepare(topic)
            await producer.partitions(topic)
        except TransportError:
            if producer is self.producer:
                raise
        else:
            if producer is self.producer:
                self.topics.add(topic)

    async def _prepare(self, topic: str) -> None:
        """Make a topic that was described late, if it does not exist. Raises TransportError, TopicMismatchError."""
        if topic not in self.late:
            return
        async with self._making:  # of very many that send there first, one makes it
            if (make := self.late.get(topic)) is not None:
                await make()
                self.late.pop(topic, None)  # not before: what has failed is tried again with the next record

    def _hold(self, cursor: Effects, record: Outgoing) -> HeldSend:
        """Hold a record. Raises EncodeError for one that the producer would not take: when the event has finished, that is too late."""
        topic, partition, key, value, _, headers = record
        producer = self.effects
        size, limit = OVERHEAD + len(key or b"") + len(value or b""), producer.max_record_size
        if headers:
            size += sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
        if size > limit:
            raise EncodeError(f"a record of {size} bytes for topic {topic} is larger than {limit}", topic)
        if partition is not None and not 0 <= partition < (count := producer.count(topic)):
            raise EncodeError(f"topic {topic} has {count} partitions, and no partition {partition}", topic)
        return self.held.hold(cursor, record, size)

    def _append(self, record: Outgoing) -> Delivery:
        try:
            return self.effects.send(*record)
        except ProduceError as error:
            self.on_broken(error)
            raise

    def drop(self) -> None:
        """Forget what was not committed: the interval was dropped, and is replayed."""
        self.held.drop()
        self.aside.drop()
