"""The last minutes of a worker, in memory: what it had counted every two seconds."""

from __future__ import annotations

from collections import deque

from stream_core.engine.snapshot import Snapshot
from stream_web.dashboard.views import PERIOD, Sample

__all__ = ["Samples"]

KEPT = 300
"""How many samples are kept: ten minutes."""

RATED = 5
"""Over how many periods the rates of single agents and topics are taken."""

Counts = dict[tuple[str, str], int]


class Samples:
    """A bounded number of samples, the oldest of which goes first."""

    def __init__(self) -> None:
        self._kept: deque[Sample] = deque(maxlen=KEPT)
        self._counts: deque[tuple[float, Counts]] = deque(maxlen=RATED + 1)

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
