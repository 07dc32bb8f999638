"""The reader of the in-process broker: partitions without a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stream_core.memory.fetcher import Fetcher
from stream_core.primitives import TP, Batch

__all__ = ["MemoryReader"]


class MemoryReader(Fetcher):
    """The in-process side of :class:`~stream_core.ports.Reader`."""

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """As :meth:`Fetcher.poll`; a partition that cannot be read raises TransportError when nothing else has come."""
        batches = await super().poll(timeout)
        if not batches and (unreadable := self.unreadable):
            raise next(iter(unreadable.values()))
        return batches

    async def assign(self, positions: Mapping[TP, int]) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole."""
        self._positions = dict(positions)
        self._cluster.wakeup.notify()
