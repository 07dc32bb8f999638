"""The client that looks at groups of the in-process broker from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_core.errors import FencedError, UnknownTopicError
from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.settings import MemorySettings
from stream_core.primitives import TP, Offset

__all__ = ["MemoryGroups"]


class MemoryGroups:
    """The in-process side of :class:`~stream_core.ports.Groups`.

    Args:
        cluster: where the groups are.
        settings: its deadline.
    """

    def __init__(self, cluster: MemoryCluster, settings: MemorySettings) -> None:
        self._cluster = cluster
        self._settings = settings

    async def start(self) -> None:
        """Connect; see :meth:`MemoryCluster.connect`."""
        await self._cluster.connect()

    async def stop(self) -> None:
        """Close."""

    async def members(self, group: str) -> Collection[str]:
        """Return the ids of the members of a group."""
        async with self._cluster.request("describe_groups"):
            return list(self._cluster.group(group).members)

    async def offsets(self, group: str) -> dict[TP, Offset]:
        """Return all committed offsets of a group; waits while an open transaction wants to commit one. Raises DeadlineError."""
        async with self._cluster.request("offset_fetch"):
            offsets = self._cluster.group(group).offsets
            what = f"stable committed offsets of group {group}"
            await self._cluster.wakeup.until(offsets.decided, self._settings.request_timeout, what)
            return offsets.all()

    async def change(self, group: str, offsets: Mapping[TP, Offset]) -> None:
        """Commit offsets for a group without members, of the partitions that exist. Raises FencedError, CommitError, UnknownTopicError."""
        async with self._cluster.request("offset_commit"):
            found = self._cluster.group(group)
            if found.members:
                raise FencedError(
                    f"group {group} has {len(found.members)} members, which commit its offsets: stop them first"
                )
            known, refusal = {}, None
            for tp, offset in offsets.items():
                try:
                    self._cluster.log(tp)
                    known[tp] = offset
                except UnknownTopicError as error:
                    refusal = error
            found.offsets.commit(known)
            if refusal is not None:
                raise refusal
