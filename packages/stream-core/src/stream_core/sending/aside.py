"""Sends that are no effects of an event: of timers, views and programs, questions, answers.

No offset depends on them, and no replay repeats them. So their producer has no fence, no aborted interval takes them back, and each
record is kept until it is acknowledged: when the producer fails, its successor sends again what is left, in the same order
(:mod:`~stream_core.sending.resending`). Whoever sends meanwhile waits for the successor, for as long as the broker is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from stream_core.errors import (
    BrokerUnavailableError,
    DeadlineError,
    ProduceError,
    TransportError,
    UnknownTopicError,
)
from stream_core.ports import Producer
from stream_core.primitives import Outgoing
from stream_core.runs import NOT_STARTED
from stream_core.sending.kept import Kept, KeptRecords

__all__ = ["Aside", "pause"]

logger = logging.getLogger(__name__)

SAY = 10.0
"""Seconds between two lines about a broker that is waited for."""


class Aside:
    """Sends records aside, and keeps each until it is acknowledged.

    Attributes:
        producer: what sends; ``None`` before the start, behind the stop, and while it is replaced.
        retired: the producer that has failed, until it is stopped.
        records: those that are not acknowledged.
        known: the topics whose partitions the producer knows.
        trouble: is set when the producer has to be replaced.
        prepare: awaited with the name of a topic before its partitions are asked for the first time.
    """

    def __init__(self) -> None:
        self.producer: Producer | None = None
        self.retired: Producer | None = None
        self.records = KeptRecords(self.failed)
        self.known: set[str] = set()
        self.trouble = asyncio.Event()
        self.prepare: Callable[[str], Awaitable[None]] | None = None
        self._unusable: str | None = NOT_STARTED
        self._said = -SAY

    # -- sending

    def put(self, record: Outgoing, *, of_event: bool = False, optional: bool = False) -> Kept | None:
        """Send a record; return ``None`` when something has to be waited for before, which :meth:`send` does."""
        producer = self.producer
        if producer is None or record[0] not in self.known or producer.crowded:
            return None
        try:
            delivery = producer.send(*record)
        except ProduceError:
            self.retire(producer)
            return None
        kept = Kept(self.records, record, delivery, of_event, optional)
        self.records.keep(kept)
        return kept

    async def send(self, record: Outgoing, *, of_event: bool = False, optional: bool = False) -> Kept:
        """Send a record; return once it is in its partition's builder.

        Wait for the metadata of a topic that was not used before, while more bytes are on the way than the producer's bound
        allows, and for a producer, for as long as the broker is away.

        Args:
            record: what to send.
            of_event: it is sent in an event, as an answer is: :meth:`acknowledged` waits for it.
            optional: see :class:`~stream_core.sending.kept.Kept`.

        Raises:
            EncodeError: the record is too large, or there is no such partition.
            UnknownTopicError: there is no such topic.
            ProduceError: the app is not started, or stopped.
        """
        while (kept := self.put(record, of_event=of_event, optional=optional)) is None:
            producer = await self._working()
            if record[0] not in self.known:
                await self._learn(producer, record[0])
            elif producer.crowded:
                await self._room(producer)
        return kept

    async def _working(self) -> Producer:
        while (producer := self.producer) is None:
            if self._unusable is not None:
                raise ProduceError(self._unusable)
            await self.records.moved()
        return producer

    async def _learn(self, producer: Producer, topic: str) -> None:
        """Learn the partitions of a topic; a broker that is away is asked again later."""
        try:
            if self.prepare is not None:
                await self.prepare(topic)
            await producer.partitions(topic)
        except UnknownTopicError:
            raise
        except TransportError as error:
            if self.producer is producer:
                if not isinstance(error, DeadlineError | BrokerUnavailableError):
                    raise
                self.say("sends outside of events wait: %s", error)
                await asyncio.sleep(pause(1))
        else:
            if self.producer is producer:  # one that has replaced it meanwhile knows nothing of the topic
                self.known.add(topic)

    async def _room(self, producer: Producer) -> None:
        try:
            await producer.room()
        except DeadlineError as error:
            self.say("sends outside of events wait: %s", error)
        except TransportError:
            self.retire(producer)

    # -- acknowledgements

    async def acknowledged(self) -> None:
        """Wait until everything is acknowledged that events have sent aside so far.

        Raises:
            BatchRefusedError: the broker refuses a record of an event, which is to be found: by sending it once more, in its event.
        """
        await self.records.settled(of_events=True)

    def failed(self) -> None:
        """Take note that a record failed: the producer is of no more use."""
        if self.producer is not None:
            self.retire(self.producer)

    def retire(self, producer: Producer) -> None:
        """Send nothing more by a producer, which has failed."""
        if self.producer is producer:
            self.retired, self.producer = producer, None
        self.trouble.set()

    def drop(self) -> None:
        """Forget what events have sent: their interval was dropped, and they send it again when they are replayed."""
        self.records.drop_those_of_events()

    # -- life

    def connect(self, producer: Producer) -> None:
        """Send through this producer, which is started, from now on."""
        self._unusable = None
        self.known.clear()
        self.producer = producer
        self.records.ring()

    async def close(self, left: float) -> None:
        """Wait up to ``left`` seconds for what is not acknowledged, then send nothing more; say how many records are left.

        The task that replaces producers has to run meanwhile, and is of no more use afterwards.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self.records.settled()
        self._unusable = "the app is stopped, so that the record was not sent: send before app.stop()"
        if self.producer is not None:
            self.retired, self.producer = self.producer, None
        self.records.drop_all(left)

    async def stop(self) -> None:
        """Stop whatever producer there is; within its deadline."""
        for producer in (self.retired, self.producer):
            if producer is not None:
                await producer.stop()
        self.retired = self.producer = None

    def say(self, what: str, error: Exception) -> None:
        """Log why sends wait, not more often than every :data:`SAY` seconds."""
        now = asyncio.get_running_loop().time()
        if now - self._said >= SAY:
            self._said = now
            logger.warning(what, error)


def pause(failures: int) -> float:
    """Return how many seconds to wait before another attempt."""
    return min(0.05 * 2.0**failures, 5.0)
