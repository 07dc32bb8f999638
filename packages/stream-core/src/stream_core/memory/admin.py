"""The admin client of the in-process broker."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from stream_core.memory.cluster import MemoryCluster
from stream_core.primitives import TP, TopicInfo, TopicSpec

__all__ = ["MemoryAdmin"]


class MemoryAdmin:
    """The in-process side of :class:`~stream_core.ports.Admin`.

    Args:
        cluster: what to look after.
    """

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def start(self) -> None:
        """Connect; see :meth:`MemoryCluster.connect`."""
        await self._cluster.connect()

    async def stop(self) -> None:
        """Close."""

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Describe those of ``topics`` that exist."""
        async with self._cluster.request("metadata"):
            known = self._cluster.topics()
            found = {name: known[name] for name in topics if name in known}
            return found if config else {name: replace(info, config={}) for name, info in found.items()}

    async def cluster_id(self) -> str:
        """Return the id of the cluster."""
        async with self._cluster.request("metadata"):
            return self._cluster.id

    async def topics(self) -> set[str]:
        """Return the names of all topics."""
        async with self._cluster.request("metadata"):
            return set(self._cluster.topics())

    async def sizes(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the bytes of the records of each partition; none with :attr:`Faults.sizes_hidden`. Raises UnknownTopicError."""
        async with self._cluster.request("describe_log_dirs"):
            sizes = {tp: self._cluster.log(tp).size for tp in tps}
            return {} if self._cluster.faults.sizes_hidden else sizes

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create topics; those that exist are left as they are. Raises TransportError for what Kafka would refuse."""
        async with self._cluster.request("create_topics"):
            for spec in specs:
                self._cluster.create(spec)

    async def delete(self, topics: Collection[str]) -> None:
        """Delete topics; those that do not exist are ignored."""
        async with self._cluster.request("delete_topics"):
            for topic in topics:
                self._cluster.delete(topic)

    async def remove_member(self, group: str, member: str) -> None:
        """Take a member out of its group; unknown ones are ignored."""
        async with self._cluster.request("leave_group"):
            self._cluster.group(group).leave(member)
