"""The reader of the in-process broker: partitions without a group."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from stream_core.memory.fetcher import Fetcher
from stream_core.primitives import TP, Batch

__all__ = ["MemoryReader"]


class MemoryReader(Fetcher):
    """The in-process side of :class:`~stream_core.ports.Reader`."""

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return what has arrived, as :meth:`Fetcher.poll`. Raises TransportError for an unreadable partition when nothing has."""
        batches = await super().poll(timeout)
        if not batches and (unreadable := self.unreadable):
            raise next(iter(unreadable.values()))
        return batches

    async def offsets_since(self, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
        """Return the offset of the first record of a time or later. Raises UnknownTopicError."""
        async with self._cluster.request("list_offsets"):
            return {tp: self._cluster.log(tp).since(max(0, timestamp)) for tp in tps}

    async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole. Nothing waits here for ``ends``."""
        self._positions = dict(positions)
        self._cluster.wakeup.notify()
