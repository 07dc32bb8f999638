"""Replaces the producer of :mod:`~stream_core.sending.aside` when it fails: the next one sends again what is not acknowledged, in order.

A broker refuses whole batches. So records of a batch that was refused are suspects: each is sent alone, behind all that is before it,
until the one is found that the broker does not want.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress

from stream_core.errors import (
    AuthenticationError,
    BatchRefusedError,
    BrokerUnavailableError,
    DeadlineError,
    EncodeError,
    FencedError,
    StreamError,
    TransportError,
    UnknownTopicError,
)
from stream_core.ports import Producer
from stream_core.sending.aside import Aside, pause
from stream_core.sending.kept import Kept

__all__ = ["Resending"]

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at whether a record failed that nobody waits for."""

PATIENCE = 5
"""How often a record may fail for a reason that waiting does not mend, before it is taken for one that the broker refuses."""


class Resending:
    """Watches over the producer of sends outside of events, and replaces it.

    Args:
        aside: what sends by it.
        make: gives a producer that is started.
    """

    def __init__(self, aside: Aside, make: Callable[[], Awaitable[Producer]]) -> None:
        self._aside = aside
        self._records = aside.records
        self._make = make
        self._missing: Counter[str] = Counter()

    async def run(self) -> None:
        """Replace the producer whenever it fails, until this is cancelled.

        Raises:
            AuthenticationError: brokers refuse this client, for which waiting does not help.
        """
        aside = self._aside
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await aside.trouble.wait()
            aside.trouble.clear()
            self._records.sweep()
            self._check()
            if aside.producer is None:
                await self._replace()
            elif slow := {kept.record[0] for kept in self._records}:
                with suppress(TimeoutError):
                    async with asyncio.timeout(PATIENCE * LOOK):
                        await self._look_for(slow)

    def _check(self) -> None:
        if (producer := self._aside.producer) is not None:
            try:
                producer.check()
            except AuthenticationError:
                raise
            except TransportError as error:
                logger.warning("the producer of sends outside of events is replaced: %s", error)
                self._aside.retire(producer)

    # -- topics that are gone

    async def _look_for(self, topics: set[str]) -> None:
        """Give up what is on its way to a topic that is gone: the client would try again until its deadline, and a checkpoint wait."""
        for topic in topics:
            if (producer := self._aside.producer) is None:
                return
            try:
                await self._find(producer, topic)
            except UnknownTopicError as error:
                self._give_up_topic(topic, error)
            except TransportError as error:
                self._aside.say("sends outside of events wait: %s", error)

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
        self._aside.known.add(topic)

    def _give_up_topic(self, topic: str, error: UnknownTopicError) -> None:
        self._aside.known.discard(topic)
        self._missing.pop(topic, None)
        for kept in self._records:
            if kept.record[0] == topic:
                self._records.give_up(kept, error)

    # -- another producer

    async def _replace(self) -> None:
        """Make producers until one of them has sent again all that is kept."""
        aside, failures, silent = self._aside, 0, False
        while True:
            await self._retire()
            if silent:
                # A partition without a leader must not hold up the others for as long as something is searched for.
                for kept in self._records:
                    kept.suspect, kept.failures = False, 0
            try:
                aside.retired = producer = await self._make()
                await self._send_again(producer)
            except AuthenticationError:
                raise
            except TransportError as error:
                failures, silent = failures + 1, _waiting_helps(error)
                aside.say("sends outside of events wait for another producer: %s", error)
                await asyncio.sleep(pause(failures))
            else:
                aside.producer, aside.retired = producer, None
                self._records.ring()
                return

    async def _retire(self) -> None:
        """Stop the producer that failed, wholly: nothing of it may come behind what its successor sends."""
        if self._aside.retired is not None:
            await self._aside.retired.stop()
            self._aside.retired = None
        self._records.sweep()
        self._aside.known.clear()
        for kept in self._records:
            if kept.delivery.acknowledged() is False:
                try:
                    await kept.delivery
                except BatchRefusedError:
                    kept.suspect = True
                except StreamError as error:
                    kept.failures += not _waiting_helps(error)
                    kept.suspect = kept.failures > 1

    async def _send_again(self, producer: Producer) -> None:
        """Send what is kept, in order, and suspects alone.

        Raises:
            TransportError: the producer failed again.
        """
        before: defaultdict[str, list[Kept]] = defaultdict(list)
        for kept in self._records:
            topic = kept.record[0]
            if kept.error is not None:
                continue
            try:
                if topic not in self._aside.known:
                    await self._find(producer, topic)
                if kept.suspect:
                    for earlier in before.pop(topic, ()):  # which might be in one batch with it
                        await earlier.delivery
                kept.delivery = producer.send(*kept.record)
                before[topic].append(kept)
            except UnknownTopicError as error:
                self._give_up_topic(topic, error)
                continue
            except EncodeError as error:
                self._records.give_up(kept, error)
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
                self._records.refuse(kept, error)
            raise


def _waiting_helps(error: BaseException | None) -> bool:
    """Tell whether the broker, or its being away, is behind an error, and not the record."""
    while error is not None:
        if isinstance(error, DeadlineError | BrokerUnavailableError | FencedError):
            return True
        error = error.__cause__
    return False
