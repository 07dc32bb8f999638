"""The clients of one engine: made once, watched every second, and replaced when they are of no more use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from stream_core.errors import BrokerUnavailableError, DeadlineError, TransportError, UnknownTopicError
from stream_core.outbox import Outbox
from stream_core.ports import Admin, Consumer, Producer, Transport

__all__ = ["Clients", "EngineSettings"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

FENCE = 0.2
"""Part of the session timeout before its end from which nothing is sent any more."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine needs to know; times in seconds.

    Attributes:
        group: consumer group.
        transactional_id: makes the guarantee exactly-once; ``None`` is at-least-once.
        commit_interval: between two checkpoints.
        commit_every: finished events that make a checkpoint come earlier; ``None`` for none.
        commit_bytes: changes in memory that do.
        buffer_maxsize: records of one partition that may wait for an agent.
        buffer_max_bytes: bytes of keys and values of all partitions that may wait for agents.
        session_timeout: of the consumer group.
        deadline: for one checkpoint, and for any other wait on the broker.
        drain_timeout: for open events at revocation and stop.
        stop_timeout: for a stop, all in all.
        processing_timeout: for one event, before it is reported as stuck.
        discovery_interval: between two looks for new topics that match a pattern.
        offset_reset: where a partition without committed offset begins, ``earliest`` or ``latest``.
        max_restarts: how often one event may fail before the worker gives up.
        default_partitions: partitions of a topic to create when nothing else says so.
        replication: replication factor of topics to create.
        allow_declare: whether topics may be created at all.
        reply_to: topic for answers to questions; ``None`` for one of this engine's own, which is deleted at the end.
        reply_prefix: begin of the name of that topic.
        reply_expires: for which unread answers are kept.
        reply_create: make that topic at the start, not at the first question.
        fail_fast: give up at start when no broker answers, instead of waiting for one.
        predecessor: member id of a dead worker whose place this one takes.
    """

    group: str
    transactional_id: str | None = None
    commit_interval: float = 2.8
    commit_every: int | None = None
    commit_bytes: int = 32 * 1024 * 1024
    buffer_maxsize: int = 4096
    buffer_max_bytes: int = 128 * 1024 * 1024
    session_timeout: float = 30.0
    deadline: float = 40.0
    drain_timeout: float = 10.0
    stop_timeout: float = 25.0
    processing_timeout: float = 300.0
    discovery_interval: float = 30.0
    offset_reset: str = "earliest"
    max_restarts: int = 5
    default_partitions: int | None = None
    replication: int = 1
    allow_declare: bool = True
    reply_to: str | None = None
    reply_prefix: str = "f-reply-"
    reply_expires: float = 86_400.0
    reply_create: bool = False
    fail_fast: bool = False
    predecessor: str | None = None

    @property
    def exactly_once(self) -> bool:
        """Whether effects and offsets are committed in one transaction."""
        return self.transactional_id is not None


class Clients:
    """Consumer, producers and admin client of one engine.

    Args:
        transport: the driver that makes them.
        settings: of the engine.
        outbox: gets the producers.
    """

    def __init__(self, transport: Transport, settings: EngineSettings, outbox: Outbox) -> None:
        self._transport = transport
        self._settings = settings
        self._outbox = outbox
        self._retired: set[asyncio.Task[None]] = set()
        self.admin: Admin = transport.admin()
        self.consumer: Consumer = transport.consumer(settings.group, read_committed=settings.exactly_once)
        self.member = False
        self.plain: Producer | None = None
        self.effects: Producer | None = None
        self._discarded: Producer | None = None

    async def patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step of the start as often as it takes for the broker to answer, unless ``fail_fast`` is set.

        Why it waits is said every ten seconds.

        Args:
            step: what to do; it can be done again after it failed.

        Raises:
            BrokerUnavailableError: no broker answers and ``fail_fast`` is set.
            DeadlineError: likewise, it answered too late.
        """
        said = -1000.0
        loop = asyncio.get_running_loop()
        while True:
            try:
                return await step()
            except (BrokerUnavailableError, DeadlineError) as error:
                if self._settings.fail_fast:
                    raise
                if loop.time() - said >= 10:
                    said = loop.time()
                    logger.warning("%s; waiting for it", error)
                await asyncio.sleep(0.5)

    async def start(self) -> None:
        """Connect, and start producers and consumer; waits for the broker unless ``fail_fast`` is set."""
        await self.patiently(self.admin.start)
        await self.patiently(self._produce)
        await self.patiently(self.consumer.start)

    async def _produce(self) -> None:
        for old in {self.plain, self.effects} - {None}:
            self._retire(cast("Producer", old))  # of an attempt before this one
        self.plain = self._transport.producer(fence=None if self._settings.exactly_once else self.lease_over)
        await self.plain.start()
        self.effects = self.plain
        if self._settings.exactly_once:
            await self._transact()
        self._outbox.connect(self.effects, self.plain)

    async def _transact(self) -> None:
        self.effects = self._transport.producer(transactional_id=self._settings.transactional_id, fence=self.lease_over)
        await self.effects.start()
        await self.effects.begin()

    def lease_over(self) -> bool:
        """Whether the group may have given our partitions to somebody else: nothing may be sent any more."""
        if not self.member:
            return False
        return self.consumer.lease() < FENCE * self._settings.session_timeout

    def discard(self) -> None:
        """Let nothing of a dropped interval leave any more; :meth:`renew` makes another producer.

        At least once the producer is stopped at once. In a transaction whatever leaves comes to nothing: its successor aborts it.
        """
        if self.effects is not None and not self._settings.exactly_once:
            self._retire(self.effects)
            self._discarded = self.effects

    async def renew(self) -> None:
        """Replace the producer of effects: after any failure the old one is of no more use.

        Under exactly-once the start of its successor aborts the transaction that it left open. Topics that were deleted meanwhile, such as
        those of answers, are forgotten.
        """
        old, exactly_once = self.effects, self._settings.exactly_once
        if old is not None and old is not self._discarded:
            self._retire(old)
        self._discarded = None
        if exactly_once:
            await self._transact()
        else:
            self.plain = self.effects = self._transport.producer(fence=self.lease_over)
            await self.effects.start()
        if self.effects is not None and self.plain is not None:
            for topic in list(self._outbox.topics):
                try:
                    await self.effects.partitions(topic)
                except UnknownTopicError:
                    del self._outbox.topics[topic]
            self._outbox.connect(self.effects, self.plain)

    async def mend(self, broken: Producer) -> None:
        """Replace a producer that refused to send, unless it is one whose checkpoint will do so."""
        if broken is not self.plain or (self.member and not self._settings.exactly_once):
            return
        fresh = self._transport.producer(fence=None if self._settings.exactly_once else self.lease_over)
        try:
            await fresh.start()
        except TransportError as error:
            logger.warning("sends outside of events fail until there is another producer: %s", error)
            self._retire(fresh)
            return
        self._retire(broken)
        self.plain = fresh
        if self.effects is broken:
            self.effects = fresh
            self._outbox.topics.clear()
        self._outbox.connect(cast("Producer", self.effects), fresh)

    def _retire(self, producer: Producer) -> None:
        task = asyncio.create_task(producer.stop())
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)

    def check(self) -> None:
        """Raise TransportError when a background task of a client has died."""
        self.consumer.check()
        if self.plain is not None and self.plain is not self.effects:
            self.plain.check()

    async def stop(self, left: float = 10.0) -> None:
        """Leave the group and close everything.

        An open transaction is aborted, so that whoever reads its records need not wait for its timeout; and before the group is left,
        because no request of a producer may leave once the lease of the group is over.

        Args:
            left: seconds that all of this may take, also without a broker.
        """
        clock = asyncio.get_running_loop().time
        end = clock() + left
        if self._settings.exactly_once and self.effects is not None:
            # Half of the time at most: whoever gets the partitions waits for our leaving first, and then for the transaction.
            await _by(end - left / 2, self._abort(self.effects), "aborting the open transaction")
        steps: list[tuple[Awaitable[None], str]] = [
            (self.consumer.stop(), "leaving the group"),
            (self.admin.stop(), "closing the admin client"),
        ]
        steps += [
            (producer.stop(), "closing a producer") for producer in {self.effects, self.plain} if producer is not None
        ]
        steps += [(task, "closing a producer") for task in self._retired]
        await asyncio.gather(*(_by(end, step, what) for step, what in steps))

    async def _abort(self, effects: Producer) -> None:
        try:
            await effects.abort()
        except TransportError as error:
            logger.warning("the open transaction is not aborted, and ends with its timeout: %s", error)


async def _by(end: float, step: Awaitable[None], what: str) -> None:
    """Await a step of the stop until ``end`` on the clock of the loop; one that is late is cancelled, which is said, and left behind."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.wait([task], timeout=max(0.0, end - asyncio.get_running_loop().time()))
    finally:
        if not task.done():
            task.cancel()
            logger.warning("%s: not done in time, and given up", what)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("%s: %s", what, error)
