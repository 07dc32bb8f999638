"""Sends that are no effects of an event: of timers, views and programs, questions, answers.

No offset depends on them, and no replay repeats them. So their producer has no fence, no aborted interval takes them back, and each
record is kept until it is acknowledged: when the producer fails, its successor sends again what is left, in the same order. Whoever
sends meanwhile waits for the successor, for as long as the broker is away.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any

import msgspec

from stream_core.errors import (
    AuthenticationError,
    BatchRefusedError,
    BrokerUnavailableError,
    DeadlineError,
    EncodeError,
    FencedError,
    ProduceError,
    RecordRefusedError,
    StreamError,
    TransportError,
    UnknownTopicError,
)
from stream_core.ports import Delivery, Producer
from stream_core.primitives import Headers, RecordMetadata

__all__ = ["Aside", "Encoded", "Kept"]

logger = logging.getLogger(__name__)

Encoded = tuple[str, int | None, bytes | None, bytes | None, int | None, Headers]
"""What is sent: topic, partition or ``None``, key, value, timestamp in milliseconds or ``None`` for now, headers."""

LOOK = 1.0
"""Seconds between two looks at whether a record failed that nobody waits for."""

PATIENCE = 5
"""How often a record may fail for a reason that waiting does not mend, before it is taken for one that the broker refuses."""

SAY = 10.0
"""Seconds between two lines about a broker that is waited for."""

NOT_STARTED = "the app is not started: start a worker, or await app.start(), or, in a program that only sends and asks, app.start_client()"


class Kept(msgspec.Struct, eq=False):
    """A record that is kept until it is acknowledged; await it for its place. A struct is made in C, and one is made for every send.

    Attributes:
        aside: what sent it.
        record: what is sent.
        delivery: of the last attempt.
        of_event: an event sent it, which must not be committed before it is acknowledged.
        optional: it is an answer in the place of another one: when the broker refuses it, that is logged, and nobody fails.
        error: why it will never be sent.
        failures: how often its producer failed, for a reason that waiting does not mend.
        refusals: how often the broker refused it when it was alone.
        suspect: it is sent alone, because it may be to blame.
        awaited: whoever sent it hears of its error.
    """

    aside: Aside
    record: Encoded
    delivery: Delivery
    of_event: bool = False
    optional: bool = False
    error: StreamError | None = None
    failures: int = 0
    refusals: int = 0
    suspect: bool = False
    awaited: bool = False

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        self.awaited = True
        return self._place().__await__()

    async def _place(self) -> RecordMetadata:
        while self.error is None:
            delivery = self.delivery
            try:
                return await delivery
            except StreamError:
                if self.error is None and self.delivery is delivery:
                    self.aside.failed()
                    await self.aside.moved()
        raise self.error


class Aside:
    """Sends records aside, and keeps each until it is acknowledged.

    Attributes:
        producer: what sends; ``None`` before the start, behind the stop, and while it is replaced.
    """

    def __init__(self) -> None:
        self.producer: Producer | None = None
        self._known: set[str] = set()
        self._kept: deque[Kept] = deque()
        self._full = 64  # kept records from which those that are acknowledged are looked for
        self._old: Producer | None = None
        self._refused: BatchRefusedError | None = None
        self._unusable: str | None = NOT_STARTED
        self._trouble = asyncio.Event()
        self._bell = asyncio.Event()
        self._said = -SAY
        self._missing: Counter[str] = Counter()

    # -- sending

    def post(self, record: Encoded) -> Kept | None:
        """Do what :meth:`send` does when there is nothing to wait for, as for nearly every record; ``None`` when there is."""
        producer = self.producer
        if producer is None or record[0] not in self._known or producer.crowded:
            return None
        return self._put(producer, record)

    async def send(self, record: Encoded, *, of_event: bool = False, optional: bool = False) -> Kept:
        """Send a record; returns once it is in its partition's builder.

        Waits for the metadata of a topic that was not used before, while more bytes are on the way than the producer's bound
        allows, and for a producer, for as long as the broker is away.

        Args:
            record: what to send.
            of_event: it is sent in an event, as an answer is: :meth:`acknowledged` waits for it.
            optional: see :class:`Kept`.

        Raises:
            EncodeError: the record is too large, or there is no such partition.
            UnknownTopicError: there is no such topic.
            ProduceError: the app is not started, or stopped.
        """
        while True:
            producer = await self._working()
            if await self._learn(producer, record[0]):
                kept = self._put(producer, record, of_event=of_event, optional=optional)
                if kept is not None:
                    break
        await self._room()
        return kept

    def _put(
        self, producer: Producer, record: Encoded, *, of_event: bool = False, optional: bool = False
    ) -> Kept | None:
        try:
            delivery = _send(producer, record)
        except ProduceError:
            self._replace(producer)
            return None
        kept = Kept(self, record, delivery, of_event, optional)
        line = self._kept
        while line and line[0].delivery.acknowledged():
            line.popleft()
        line.append(kept)
        if len(line) >= self._full:  # those behind a partition that is slow
            self._sweep()
            self._full = max(64, 2 * len(self._kept))
        return kept

    async def _working(self) -> Producer:
        while (producer := self.producer) is None:
            if self._unusable is not None:
                raise ProduceError(self._unusable)
            await self.moved()
        return producer

    async def _learn(self, producer: Producer, topic: str) -> bool:
        """Learn the partitions of a topic; returns false when that has to be tried again."""
        if topic in self._known:
            return True
        try:
            await producer.partitions(topic)
        except UnknownTopicError:
            raise
        except TransportError as error:
            if self.producer is producer:
                if not isinstance(error, DeadlineError | BrokerUnavailableError):
                    raise
                self._say("sends outside of events wait: %s", error)
                await asyncio.sleep(_pause(1))
            return False
        if self.producer is not producer:  # replaced meanwhile: its successor knows nothing of the topic
            return False
        self._known.add(topic)
        return True

    async def _room(self) -> None:
        while (producer := await self._working()).crowded:
            try:
                await producer.room()
            except DeadlineError as error:
                self._say("sends outside of events wait: %s", error)
            except TransportError:
                self._replace(producer)

    # -- acknowledgements

    async def acknowledged(self) -> None:
        """Wait until everything is acknowledged that events have sent aside so far.

        Raises:
            BatchRefusedError: the broker refuses a record of an event, which is to be found: by sending it once more, in its event.
        """
        await self._settle([kept for kept in self._open() if kept.of_event])
        if self._refused is not None:
            error, self._refused = self._refused, None
            raise error

    async def flush(self) -> None:
        """Wait until everything that was sent so far is acknowledged, or refused; there is no deadline."""
        await self._settle(self._open())

    def _open(self) -> list[Kept]:
        self._sweep()
        return list(self._kept)

    async def _settle(self, records: list[Kept]) -> None:
        """Wait until these are acknowledged or given up; who has to be told of those was told then."""
        for kept in records:
            while kept.error is None and kept.delivery.acknowledged() is not True:
                waits = [asyncio.ensure_future(kept._place()), asyncio.ensure_future(self.moved())]
                try:
                    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for wait in waits:
                        wait.cancel()
                    await asyncio.gather(*waits, return_exceptions=True)

    async def moved(self) -> None:
        """Wait until records were sent again or given up, or there is another producer."""
        await self._bell.wait()

    def _ring(self) -> None:
        self._bell.set()
        self._bell = asyncio.Event()

    def failed(self) -> None:
        """Take note that a record failed: the producer is of no more use."""
        if self.producer is not None:
            self._replace(self.producer)

    def _replace(self, producer: Producer) -> None:
        if self.producer is producer:
            self._old, self.producer = producer, None
        self._trouble.set()

    def _sweep(self) -> bool:
        """Forget what is acknowledged; returns whether anything failed."""
        states = [(kept, kept.delivery.acknowledged()) for kept in self._kept]
        self._kept = deque(kept for kept, state in states if state is not True)
        failed = any(state is False for _, state in states)
        if failed and self.producer is not None:
            self._replace(self.producer)
        return failed

    # -- life

    def connect(self, producer: Producer) -> None:
        """Send through this producer, which is started, from now on."""
        self._unusable = None
        self._known.clear()
        self.producer = producer
        self._ring()

    async def keep(self, make: Callable[[], Awaitable[Producer]]) -> None:
        """Replace the producer whenever it fails; runs until it is cancelled.

        Args:
            make: gives a producer that is started.

        Raises:
            AuthenticationError: brokers refuse this client, for which waiting does not help.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._trouble.wait()
            self._trouble.clear()
            self._sweep()
            if (producer := self.producer) is not None:
                try:
                    producer.check()
                except AuthenticationError:
                    raise
                except TransportError as error:
                    logger.warning("the producer of sends outside of events is replaced: %s", error)
                    self._replace(producer)
            if self.producer is None:
                await self._mend(make)
            elif slow := {kept.record[0] for kept in self._kept}:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE * LOOK):
                        await self._look_for(slow)

    async def _look_for(self, topics: set[str]) -> None:
        """Give up what is on its way to a topic that is gone: the client would try again until its deadline, and a checkpoint wait."""
        for topic in topics:
            if (producer := self.producer) is None:
                return
            try:
                await self._find(producer, topic)
            except UnknownTopicError as error:
                self._give_up_topic(topic, error)
            except TransportError as error:
                self._say("sends outside of events wait: %s", error)

    async def _find(self, producer: Producer, topic: str) -> None:
        """Learn the partitions of a topic that was there before.

        Raises:
            UnknownTopicError: it is gone.
            TransportError: it is not known; a broker that has just started may not know it yet.
        """
        try:
            await producer.partitions(topic)
        except UnknownTopicError as error:
            self._missing[topic] += 1
            if self._missing[topic] > PATIENCE:
                raise
            raise TransportError(str(error)) from error
        self._missing.pop(topic, None)
        self._known.add(topic)

    def _give_up_topic(self, topic: str, error: UnknownTopicError) -> None:
        self._known.discard(topic)
        self._missing.pop(topic, None)
        for kept in [kept for kept in self._kept if kept.record[0] == topic]:
            self._give_up(kept, error)

    async def _mend(self, make: Callable[[], Awaitable[Producer]]) -> None:
        failures, silent = 0, False
        while True:
            await self._retire()
            if (
                silent
            ):  # a partition without a leader must not hold up the others for as long as something is searched for
                for kept in self._kept:
                    kept.suspect, kept.failures = False, 0
            try:
                self._old = await make()
                await self._send_again(self._old)
            except AuthenticationError:
                raise
            except TransportError as error:
                failures, silent = failures + 1, _waiting_helps(error)
                self._say("sends outside of events wait for another producer: %s", error)
                await asyncio.sleep(_pause(failures))
            else:
                self.producer, self._old = self._old, None
                self._ring()
                return

    async def _retire(self) -> None:
        """Stop the producer that failed, wholly: nothing of it may come behind what its successor sends."""
        if self._old is not None:
            await self._old.stop()
            self._old = None
        self._sweep()
        self._known.clear()
        for kept in self._kept:
            if kept.delivery.acknowledged() is False:
                try:
                    await kept.delivery
                except BatchRefusedError:
                    kept.suspect = True
                except StreamError as error:
                    kept.failures += not _waiting_helps(error)
                    kept.suspect = kept.failures > 1

    async def _send_again(self, producer: Producer) -> None:
        """Send what is kept, in order. Where a record has been refused, those of its batch go one at a time, so that it is found.

        Raises:
            TransportError: the producer failed again.
        """
        before: defaultdict[str, list[Kept]] = defaultdict(list)
        for kept in list(self._kept):
            topic = kept.record[0]
            if kept.error is not None:
                continue
            try:
                if topic not in self._known:
                    await self._find(producer, topic)
                if kept.suspect:
                    for earlier in before.pop(topic, ()):  # which might be in one batch with it
                        await earlier.delivery
                kept.delivery = _send(producer, kept.record)
                before[topic].append(kept)
            except UnknownTopicError as error:
                self._give_up_topic(topic, error)
                continue
            except EncodeError as error:
                self._give_up(kept, error)
                continue
            if kept.suspect:
                await self._alone(kept)
            elif producer.crowded:
                await producer.room()

    async def _alone(self, kept: Kept) -> None:
        try:
            await kept.delivery
        except StreamError as error:
            kept.refusals += not _waiting_helps(error)
            if isinstance(error, BatchRefusedError) or kept.refusals > PATIENCE:
                self._refuse(kept, error)
            raise

    def _refuse(self, kept: Kept, error: StreamError) -> None:
        if kept.error is not None:
            return  # dropped while it was alone: its event is replayed, and sends it again
        # Without a cause: where a refused batch is one, the producer of events is broken, and their interval has to be dropped.
        refused = RecordRefusedError(f"topic {kept.record[0]}: the broker refused the record: {error}", kept.record[0])
        if kept.of_event and not kept.optional and self._refused is None:
            self._refused = BatchRefusedError(str(refused))
            self._refused.__cause__ = error
        self._give_up(kept, refused)

    def _give_up(self, kept: Kept, error: StreamError) -> None:
        """Send a record no more. Whoever waits for it hears why; if nobody does, the log does. Of a dropped one they have heard."""
        if kept.error is not None:
            return
        self._kept.remove(kept)
        kept.error = error
        if not kept.awaited and (kept.optional or self._refused is None or not kept.of_event):
            logger.error("a record for topic %s is not sent: %s", kept.record[0], error)
        self._ring()

    def drop(self) -> None:
        """Forget what events have sent: their interval was dropped, and they send it again when they are replayed."""
        self._refused = None
        dropped = [kept for kept in self._kept if kept.of_event]
        for kept in dropped:
            self._kept.remove(kept)
            kept.error = ProduceError(f"not sent again to {kept.record[0]}: the event that sent it is replayed")
        if dropped:
            self._ring()

    async def close(self, left: float) -> None:
        """Wait up to ``left`` seconds for what is not acknowledged, then send nothing more; says how many records are left.

        The task that runs :meth:`keep` has to run meanwhile, and is of no more use afterwards.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self.flush()
        self._unusable = "the app is stopped, so that the record was not sent: send before app.stop()"
        self._sweep()
        if lost := self._kept:
            topics = Counter(kept.record[0] for kept in lost)
            logger.error(
                "%d records that were sent outside of events are not acknowledged after %.1f s, and may be lost: %s",
                len(lost),
                left,
                ", ".join(f"{count} for topic {topic}" for topic, count in topics.items()),
            )
            stopped = ProduceError("the app was stopped before the record was acknowledged")
            for kept in lost:
                kept.error = stopped
        self._kept.clear()
        if self.producer is not None:
            self._old, self.producer = self.producer, None
        self._ring()

    async def stop(self) -> None:
        """Stop whatever producer there is; within its deadline."""
        for producer in (self._old, self.producer):
            if producer is not None:
                await producer.stop()
        self._old = self.producer = None

    def _say(self, what: str, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said >= SAY:
            self._said = now
            logger.warning(what, error)


def _send(producer: Producer, record: Encoded) -> Delivery:
    topic, partition, key, value, timestamp, headers = record
    return producer.send(topic, partition, key, value, timestamp=timestamp, headers=headers)


def _pause(failures: int) -> float:
    """Seconds before another attempt."""
    return min(0.05 * 2.0**failures, 5.0)


def _waiting_helps(error: BaseException | None) -> bool:
    """Whether the broker, or its being away, is behind an error, and not the record."""
    while error is not None:
        if isinstance(error, DeadlineError | BrokerUnavailableError | FencedError):
            return True
        error = error.__cause__
    return False
