"""The clients of one engine: made once, watched every second, and replaced when they are of no more use."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from stream_core.counters import TopicTraffic
from stream_core.errors import BrokerUnavailableError, DeadlineError, TransportError, UnknownTopicError
from stream_core.ports import Admin, Consumer, Producer, Transport
from stream_core.sending.outbox import Outbox
from stream_core.sending.resending import Resending
from stream_core.settings import EngineSettings

__all__ = ["Clients"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

FLUSH = 0.8
"""Part of the time for closing that may be spent on waiting for acknowledgements."""

FENCE = 0.2
"""Part of the session timeout before its end from which nothing is sent any more."""


class Clients:
    """Consumer, producers and admin client of one engine.

    Args:
        transport: the driver that makes them.
        settings: of the engine.
        outbox: gets the producers.
        sent: counts what the producers send.
    """

    def __init__(self, transport: Transport, settings: EngineSettings, outbox: Outbox, sent: TopicTraffic) -> None:
        self._sent = sent
        self._transport = transport
        self._settings = settings
        self._outbox = outbox
        self._retired: set[asyncio.Task[None]] = set()
        self.admin: Admin = transport.admin()
        self.consumer: Consumer = transport.consumer(settings.group, read_committed=settings.exactly_once)
        self.member = False
        self._stopping: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None

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
        self._keeping = asyncio.create_task(
            Resending(self._outbox.aside, self._make_aside).run(), name="sends outside of events"
        )
        await self.patiently(self.consumer.start)

    async def _produce(self) -> None:
        """Start both producers side by side; when one fails the other is given up, too."""
        making = [asyncio.create_task(self._make_aside()), asyncio.create_task(self._make_effects())]
        try:
            aside, effects = await asyncio.gather(*making)
        except BaseException:
            for task in making:
                task.cancel()
            await asyncio.wait(making)
            for task in making:
                if not task.cancelled() and task.exception() is None:
                    self._retire(task.result())
            raise
        self._outbox.connect(effects)
        self._outbox.aside.connect(aside)

    async def _make_aside(self) -> Producer:
        """Make the producer for sends that no offset depends on; it has no fence."""
        return await self._started(self._transport.producer(sent=self._sent))

    async def _make_effects(self) -> Producer:
        settings = self._settings
        producer = await self._started(
            self._transport.producer(transactional_id=settings.transactional_id, fence=self.lease_over, sent=self._sent)
        )
        if settings.exactly_once:
            await self._whole(producer, producer.begin)
        return producer

    async def _started(self, producer: Producer) -> Producer:
        await self._whole(producer, producer.start)
        return producer

    async def _whole(self, producer: Producer, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step of the start of a producer; stop the producer when the step fails or is cancelled, because nobody else knows it."""
        try:
            await step()
        except BaseException:
            self._retire(producer)
            raise

    @property
    def connected(self) -> bool:
        """Whether there are producers to send by."""
        return self._outbox.producer is not None and self._outbox.aside.producer is not None

    def lease_over(self) -> bool:
        """Tell whether the group may have given our partitions to somebody else, so that nothing may be sent any more."""
        if not self.member:
            return False
        return self.consumer.lease() < FENCE * self._settings.session_timeout

    def discard(self) -> None:
        """Let nothing of a dropped interval leave any more; :meth:`renew` makes another producer.

        At least once the producer is stopped at once. In a transaction whatever leaves comes to nothing: its successor aborts it.
        """
        if self._outbox.producer is not None and not self._settings.exactly_once:
            self._stopping = self._retire(self._outbox.producer)

    async def renew(self) -> None:
        """Replace the producer of effects: after a failure the old one cannot send any more.

        It is stopped before there is another one, so that nothing of it comes late. Under exactly-once the start of its successor aborts
        the transaction that it left open. Topics that were deleted meanwhile, such as those of answers, are forgotten.

        Raises:
            TransportError: there is no other one yet; try again.
        """
        if (producer := self._outbox.producer) is not None:
            # Not cancelled when this is: nothing of the old one may come late.
            await asyncio.wait([self._stopping or self._retire(producer)])
            self._stopping = None
        effects = await self._make_effects()
        await self._whole(effects, partial(_learn, effects, self._outbox.topics))
        self._outbox.connect(effects)

    def _retire(self, producer: Producer) -> asyncio.Task[None]:
        task = asyncio.create_task(producer.stop(), name="stopping a producer")
        self._retired.add(task)
        task.add_done_callback(self._retired.discard)
        return task

    def check(self) -> None:
        """Raise TransportError when a background task of a client has died."""
        self.consumer.check()
        if self._keeping is not None and self._keeping.done() and not self._keeping.cancelled():
            self._keeping.result()

    async def stop(self, left: float = 10.0) -> None:
        """Leave the group and close everything.

        An open transaction is aborted, so that whoever reads its records need not wait for its timeout; and before the group is left,
        because no request of a producer may leave once the lease of the group is over.

        Args:
            left: seconds that all of this may take, also without a broker.
        """
        end = asyncio.get_running_loop().time() + left
        await asyncio.gather(self._leave(end, left), self._close_aside(end, left))

    async def _leave(self, end: float, left: float) -> None:
        producer = self._outbox.producer
        if self._settings.exactly_once and producer is not None:
            # Half of the time at most: whoever gets the partitions waits for our leaving first, and then for the transaction.
            await _by(end - left / 2, self._abort(producer), "aborting the open transaction")
        steps: list[tuple[Awaitable[None], str]] = [
            (self.consumer.stop(), "leaving the group"),
            (self.admin.stop(), "closing the admin client"),
        ]
        if (producer := self._outbox.producer) is not None:
            steps.append((producer.stop(), "closing a producer"))
        steps += [(task, "closing a producer") for task in self._retired]
        await asyncio.gather(*(_by(end, step, what) for step, what in steps))

    async def _close_aside(self, end: float, left: float) -> None:
        """Wait for the sends outside of events that are on their way: what a program has sent before it stops the app is not lost."""
        aside, keeping = self._outbox.aside, self._keeping
        if keeping is not None:
            await aside.close(0.0 if keeping.done() else left * FLUSH)
            keeping.cancel()
            await asyncio.wait([keeping], timeout=left * (1 - FLUSH))
            if keeping.done() and not keeping.cancelled():
                keeping.exception()  # check() has raised it, if anybody looked
        await _by(end, aside.stop(), "closing a producer")

    async def _abort(self, effects: Producer) -> None:
        try:
            await effects.abort()
        except TransportError as error:
            logger.warning("the open transaction is not aborted, and ends with its timeout: %s", error)


async def _learn(producer: Producer, topics: set[str]) -> None:
    """Let a producer learn the partitions of ``topics``, and remove from ``topics`` those that do not exist any more."""
    for topic in list(topics):
        try:
            await producer.partitions(topic)
        except UnknownTopicError:
            topics.discard(topic)


async def _by(end: float, step: Awaitable[None], what: str) -> None:
    """Await a step of the stop until ``end``, on the clock of the event loop; cancel a late one, log that, and go on without it."""
    task = asyncio.ensure_future(step)
    try:
        await asyncio.wait([task], timeout=max(0.0, end - asyncio.get_running_loop().time()))
    finally:
        if not task.done():
            task.cancel()
            logger.warning("%s: not done in time, and given up", what)
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        logger.warning("%s: %s", what, error)
