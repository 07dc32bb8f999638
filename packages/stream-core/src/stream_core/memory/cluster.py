"""The in-process broker: topics, groups and transactions with Kafka's semantics, shared by all clients of one name."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

from stream_core.errors import ProduceError, TransportError, UnknownTopicError
from stream_core.memory.faults import Faults
from stream_core.memory.groups import Group
from stream_core.memory.log import Entry, PartitionLog
from stream_core.memory.transactions import Identity, Transactions
from stream_core.memory.wakeup import Wakeup
from stream_core.records import TP, TopicInfo, TopicSpec

__all__ = ["MemoryCluster"]

_DEFAULTS = {
    "cleanup.policy": "delete",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "1048588",
    "min.compaction.lag.ms": "0",
    "retention.ms": "604800000",
}
_TOPIC_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class MemoryCluster:
    """A broker without network and disk. It belongs to one event loop at a time and lives as long as the process.

    Topics are created by an admin client or by :meth:`create`, never by themselves. Compaction and retention happen
    when :meth:`clean` is called. Failures are provoked by :attr:`faults`, :meth:`expire` and :attr:`transactions`.

    Args:
        name: what the URL ``memory://name`` says.
        clock: seconds since the epoch, for records that are sent without a timestamp and for :meth:`clean`.

    Attributes:
        faults: what is to fail.
        transactions: the transaction coordinator; its ``expire`` lets a transaction time out.
        wakeup: rung at each change.
        request_timeout: seconds that a client waits for an answer.
        session_timeout: seconds that a member's :meth:`~stream_core.ports.Consumer.lease` lasts.
        rebalance_timeout: seconds that members get to give up their partitions and join again.
    """

    _clusters: ClassVar[dict[str, MemoryCluster]] = {}

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.clock = clock
        self.faults = Faults()
        self.wakeup = Wakeup()
        self.transactions = Transactions(self.wakeup)
        self.request_timeout = 40.0
        self.session_timeout = 30.0
        self.rebalance_timeout = 30.0
        self._topics: dict[str, TopicInfo] = {}
        self._logs: dict[TP, PartitionLog] = {}
        self._groups: dict[str, Group] = {}

    @classmethod
    def named(cls, name: str) -> MemoryCluster:
        """The cluster of that name in this process; made at the first call."""
        return cls._clusters.setdefault(name, cls(name))

    @classmethod
    def discard(cls, name: str) -> None:
        """Forget the cluster of that name: the next client of it finds an empty one."""
        cls._clusters.pop(name, None)

    @asynccontextmanager
    async def request(self, operation: str) -> AsyncIterator[None]:
        """Wrap what the broker does for a request that a client awaits: other tasks run first, and it may be made to fail."""
        await asyncio.sleep(0)
        with self.faults.at(operation):
            yield

    def create(self, spec: TopicSpec) -> None:
        """Create a topic; one that exists is left as it is. Raises TransportError for a name or count that Kafka refuses."""
        if spec.name in self._topics:
            return
        if not _TOPIC_NAME.fullmatch(spec.name) or spec.name in {".", ".."}:
            raise TransportError(f"topic name {spec.name!r} is refused: up to 249 letters, digits, dots, '_' and '-'")
        if spec.partitions < 1:
            raise TransportError(f"topic {spec.name} cannot have {spec.partitions} partitions; give one or more")
        self._set_topic(TopicInfo(spec.name, spec.partitions, {**_DEFAULTS, **spec.config}))

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have ``partitions`` partitions, more than it has. Raises UnknownTopicError."""
        info = self.topic(topic)
        if partitions <= info.partitions:
            raise TransportError(f"topic {topic} has {info.partitions} partitions and cannot be given {partitions}")
        self._set_topic(TopicInfo(topic, partitions, info.config))

    def delete(self, topic: str) -> None:
        """Delete a topic, its records and the offsets committed for it; an unknown one is ignored."""
        info = self._topics.pop(topic, None)
        if info is None:
            return
        for partition in range(info.partitions):
            del self._logs[TP(topic, partition)]
        for group in self._groups.values():
            group.offsets.forget(topic)
            group.topic_changed(topic)

    def topics(self) -> dict[str, TopicInfo]:
        """All topics by name."""
        return dict(self._topics)

    def topic(self, name: str) -> TopicInfo:
        """One topic. Raises UnknownTopicError."""
        if name not in self._topics:
            raise UnknownTopicError(f"topic {name} does not exist on {self}: create it first")
        return self._topics[name]

    def log(self, tp: TP) -> PartitionLog:
        """The log of a partition. Raises UnknownTopicError."""
        if tp not in self._logs:
            raise UnknownTopicError(f"topic {tp.topic} has no partition {tp.partition} on {self}: create it first")
        return self._logs[tp]

    def append(self, tp: TP, entries: Sequence[Entry], identity: Identity | None = None) -> int:
        """Append records as a produce request does, in a transaction when ``identity`` is given.

        Returns:
            the offset of the first.

        Raises:
            ProduceError: a record breaks a rule of its topic.
            FencedError: a newer producer took over.
            UnknownTopicError: there is no such partition.
        """
        log = self.log(tp)
        _validate(self._topics[tp.topic], tp, entries)
        base = log.append(entries) if identity is None else self.transactions.append(identity, log, entries)
        self.wakeup.notify()
        return base

    def clean(self, topic: str) -> None:
        """Do now what ``cleanup.policy`` of a topic says: drop what is past ``retention.ms``, compact, or both."""
        info = self.topic(topic)
        now = int(self.clock() * 1000)
        for partition in range(info.partitions):
            log = self._logs[TP(topic, partition)]
            if "delete" in info.config["cleanup.policy"] and int(info.config["retention.ms"]) >= 0:
                log.retain(now - int(info.config["retention.ms"]))
            if "compact" in info.config["cleanup.policy"]:
                until = now - int(info.config["min.compaction.lag.ms"])
                log.compact(until, now - int(info.config["delete.retention.ms"]))
        self.wakeup.notify()

    def group(self, name: str) -> Group:
        """A consumer group; made at the first call."""
        if name not in self._groups:
            self._groups[name] = Group(name, self._partition_counts, self.wakeup)
        return self._groups[name]

    def groups(self) -> Collection[str]:
        """The names of all groups."""
        return list(self._groups)

    def expire(self, group: str, member: str, *, told: bool = True) -> None:
        """End the session of a group member, as when its heartbeats stay away.

        Args:
            group: group id.
            member: member id.
            told: the member learns of it at once; otherwise it is a zombie until a commit of it is refused.
        """
        self.group(group).leave(member, told=told)

    def __str__(self) -> str:
        return f"memory://{self.name}"

    def _partition_counts(self) -> dict[str, int]:
        """The number of partitions of each topic."""
        return {name: info.partitions for name, info in self._topics.items()}

    def _set_topic(self, info: TopicInfo) -> None:
        """Store a topic with a log for each of its partitions, and tell the groups."""
        self._topics[info.name] = info
        for partition in range(info.partitions):
            self._logs.setdefault(TP(info.name, partition), PartitionLog())
        for group in self._groups.values():
            group.topic_changed(info.name)
        self.wakeup.notify()


def _validate(info: TopicInfo, tp: TP, entries: Sequence[Entry]) -> None:
    """Raise ProduceError when the broker would refuse one of these records."""
    limit = int(info.config["max.message.bytes"])
    compacted = "compact" in info.config["cleanup.policy"]
    for entry in entries:
        size = len(entry.key or b"") + len(entry.value or b"")
        if size > limit:
            raise ProduceError(f"a record of {size} bytes is larger than max.message.bytes={limit} of topic {tp.topic}")
        if compacted and entry.key is None:
            raise ProduceError(f"a record without key was sent to topic {tp.topic}, which is compacted by key")
