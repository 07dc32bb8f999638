"""The last minutes of a worker, in memory: what it had counted every two seconds."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

import msgspec

from stream_core.engine.snapshot import Snapshot

__all__ = ["PERIOD", "Sample", "Samples"]

logger = logging.getLogger(__name__)

PERIOD = 2
"""Seconds between two samples."""

EDGE = 0.05
"""Seconds after the beginning of a period at which its sample is taken, so that all workers count the same ones."""

KEPT = 300
"""How many samples are kept: ten minutes."""

RATED = 5
"""Over how many periods the rates of single agents and topics are taken."""

Counts = dict[tuple[str, str], int]


class Sample(msgspec.Struct, array_like=True, frozen=True):
    """What a worker had counted at one moment, from its start on.

    Attributes:
        slot: the moment, in periods since the epoch: those of several workers have the same ones.
        received: records that came.
        finished: events that were finished.
        sent: records that brokers have acknowledged.
        lag: records that wait now.
    """

    slot: int
    received: int
    finished: int
    sent: int
    lag: int


class Samples:
    """A bounded number of samples, the oldest of which goes first."""

    def __init__(self) -> None:
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._counts: deque[tuple[float, Counts]] = deque(maxlen=RATED + 1)

    async def keep(self, snapshot: Callable[[], Snapshot]) -> None:
        """Take a sample in each period, until cancelled.

        Args:
            snapshot: gives the snapshot of the worker; it must not wait.
        """
        while True:
            try:
                self.add(snapshot())
            except Exception:
                logger.exception("the dashboard cannot take a sample")
            await asyncio.sleep(PERIOD - time.time() % PERIOD + EDGE)

    def add(self, snapshot: Snapshot) -> None:
        """Take a sample; a second one of the same period takes the place of the first."""
        slot = int(snapshot.time // PERIOD)
        if self._kept and self._kept[-1].slot >= slot:
            if self._kept[-1].slot > slot + 1:  # somebody has set the clock back
                self._kept.clear()
            else:
                return
        self._kept.append(
            Sample(
                slot,
                sum(one.records for one in snapshot.received),
                sum(one.finished for one in snapshot.agents),
                sum(one.records for one in snapshot.sent),
                sum(one.lag or 0 for one in snapshot.partitions),
            )
        )
        self._counts.append((snapshot.time, _counts(snapshot)))

    @property
    def all(self) -> tuple[Sample, ...]:
        """The samples, the oldest first."""
        return tuple(self._kept)

    def rates(self) -> dict[tuple[str, str], float]:
        """Give what was counted per second in the last ten seconds, by ``(kind, name)``."""
        if len(self._counts) < 2:
            return {}
        (begin, first), (end, last) = self._counts[0], self._counts[-1]
        seconds = end - begin
        if seconds <= 0:
            return {}
        return {key: max(count - first.get(key, 0), 0) / seconds for key, count in last.items()}


def _counts(snapshot: Snapshot) -> Counts:
    return (
        {("agent", one.name): one.finished for one in snapshot.agents}
        | {("received", one.topic): one.records for one in snapshot.received}
        | {("sent", one.topic): one.records for one in snapshot.sent}
    )
