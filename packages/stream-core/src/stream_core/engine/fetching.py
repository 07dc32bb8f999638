"""Records in: from the consumer to the sessions of their partitions, while agents want more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from stream_core.engine.backpressure import BackPressure
from stream_core.engine.interval import RunningInterval
from stream_core.engine.ownership import Ownership
from stream_core.errors import AuthenticationError, FencedError, OffsetOutOfRangeError, TransportError
from stream_core.garbage import COLLECTOR
from stream_core.ports import Consumer
from stream_core.primitives import Batch

__all__ = ["Fetching"]

logger = logging.getLogger(__name__)

POLL = 1.0
"""Seconds that one poll waits for records."""


class Fetching:
    """Fetches records, and hands them to the sessions that take them.

    Args:
        consumer: what to poll.
        ownership: the sessions.
        interval: is committed before a partition goes on elsewhere in its log.
        pressure: says when to go on.
    """

    def __init__(
        self, consumer: Consumer, ownership: Ownership, interval: RunningInterval, pressure: BackPressure
    ) -> None:
        self._consumer = consumer
        self._ownership = ownership
        self._interval = interval
        self._pressure = pressure

    async def run(self) -> None:
        """Fetch until cancelled. Raises AuthenticationError, for which waiting does not help, and what breaks the consumer for good."""
        try:
            while True:
                try:
                    batches = await self._consumer.poll(POLL)
                except OffsetOutOfRangeError as error:
                    await self._out_of_range(error)
                    continue
                self._deliver(batches)
                await self._pressure.hungry()
        finally:
            COLLECTOR.wait(self, 0)

    def _deliver(self, batches: Sequence[Batch]) -> None:
        sessions = self._ownership.sessions
        for batch in batches:
            session = sessions.get(batch.tp)
            if session is not None and session.open:
                session.deliver(batch)
        if COLLECTOR.managed:
            COLLECTOR.wait(self, sum(session.backlog for session in sessions.values()))

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        """Let the partition go on elsewhere in its log. The error comes again with the next poll when that did not work."""
        try:
            await self._ownership.out_of_range(error.tp, error.offset, self._interval.checkpoint)
        except FencedError:
            await asyncio.sleep(POLL)  # a rebalance: whoever gets the partition decides
        except AuthenticationError:
            raise
        except TransportError as trouble:
            logger.warning("%s; it cannot be decided yet where to go on: %s", error, trouble)
            await asyncio.sleep(POLL)
