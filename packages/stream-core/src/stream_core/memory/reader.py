"""The reader of the in-process broker: partitions without a group."""

from __future__ import annotations

from collections.abc import Mapping

from stream_core.memory.fetcher import Fetcher
from stream_core.records import TP

__all__ = ["MemoryReader"]


class MemoryReader(Fetcher):
    """The in-process side of :class:`~stream_core.ports.Reader`."""

    async def assign(self, positions: Mapping[TP, int]) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole."""
        self._positions = dict(positions)
        self._cluster.wakeup.notify()
