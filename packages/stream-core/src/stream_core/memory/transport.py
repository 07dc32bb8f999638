"""The driver ``memory://``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stream_core.counters import TopicTraffic
from stream_core.memory.admin import MemoryAdmin
from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.consumer import MemoryConsumer
from stream_core.memory.outside import MemoryGroups
from stream_core.memory.producer import MemoryProducer
from stream_core.memory.reader import MemoryReader
from stream_core.memory.settings import MemorySettings

__all__ = ["MemoryTransport"]


class MemoryTransport:
    """Makes the clients of one in-process cluster: the in-process side of :class:`~stream_core.ports.Transport`.

    Args:
        url_or_name: ``memory://``, ``memory://name`` or a bare name; all that give one name share one cluster.
        settings: fields of :class:`MemorySettings`.

    Attributes:
        cluster: that cluster, for tests.
        settings: of the clients.
    """

    def __init__(self, url_or_name: str = "memory://", **settings: Any) -> None:
        self.cluster = MemoryCluster.named(url_or_name.removeprefix("memory://").rstrip("/"))
        self.settings = MemorySettings(**settings)

    def consumer(self, group: str, *, read_committed: bool) -> MemoryConsumer:
        """Make a member of ``group``."""
        return MemoryConsumer(self.cluster, group, self.settings, read_committed=read_committed)

    def reader(self, *, read_committed: bool) -> MemoryReader:
        """Make a reader without a group."""
        return MemoryReader(self.cluster, read_committed=read_committed)

    def producer(
        self,
        *,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> MemoryProducer:
        """Make a producer, transactional with a transactional id."""
        return MemoryProducer(self.cluster, self.settings, transactional_id=transactional_id, fence=fence, sent=sent)

    def admin(self) -> MemoryAdmin:
        """Make an admin client."""
        return MemoryAdmin(self.cluster)

    def groups(self) -> MemoryGroups:
        """Make a client that looks at groups from outside."""
        return MemoryGroups(self.cluster, self.settings)
