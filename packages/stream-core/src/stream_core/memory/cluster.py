"""The in-process broker: topics, groups and transactions with Kafka's semantics, shared by all clients of one name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, NamedTuple
from uuid import uuid4

from stream_core.errors import ConfigurationError, UnknownTopicError
from stream_core.memory.faults import Faults
from stream_core.memory.groups import Group
from stream_core.memory.log import Entry, PartitionLog
from stream_core.memory.topics import Topic
from stream_core.memory.transactions import Identity, Transactions
from stream_core.memory.wakeup import Wakeup
from stream_core.primitives import TP, TopicInfo, TopicSpec

__all__ = ["Appended", "MemoryCluster"]


class Appended(NamedTuple):
    """Where records were appended: the offset of the first, and the timestamp the broker gave to all, or -1."""

    offset: int
    timestamp: int


class MemoryCluster:
    """A broker without network and disk. It belongs to one event loop at a time and lives as long as the process.

    Topics are created by an admin client or by :meth:`create`, never by themselves. Failures are provoked by
    :attr:`faults`, :meth:`expire` and :attr:`transactions`.

    Args:
        name: what the URL ``memory://name`` says.
        clock: seconds since the epoch, for timestamps, compaction and retention.

    Attributes:
        id: of this cluster; one of the same name that is made later has another.
        faults: what is to fail.
        transactions: the transaction coordinator; its ``expire`` lets a transaction time out.
        wakeup: rung at each change.
        clean_after: records that a partition takes before it is compacted, and loses what is past its retention, by itself;
            a compacted one must have grown by ``min.cleanable.dirty.ratio`` as well. :meth:`clean` does it at once.
    """

    _clusters: ClassVar[dict[str, MemoryCluster]] = {}

    def __init__(self, name: str = "", *, clock: Callable[[], float] = time.time) -> None:
        self.name = name
        self.id = uuid4().hex
        self.clock = clock
        self.faults = Faults()
        self.wakeup = Wakeup()
        self.transactions = Transactions(self.wakeup)
        self.clean_after = 50_000
        self._loop: asyncio.AbstractEventLoop | None = None
        self._topics: dict[str, Topic] = {}
        self._groups: dict[str, Group] = {}

    @classmethod
    def named(cls, name: str) -> MemoryCluster:
        """Return the cluster of that name in this process; the first call makes it."""
        return cls._clusters.setdefault(name, cls(name))

    @classmethod
    def discard(cls, name: str) -> None:
        """Forget the cluster of that name: the next client of it finds an empty one."""
        cls._clusters.pop(name, None)

    async def connect(self) -> None:
        """Begin to use the cluster in this event loop, as each client does when it starts.

        Members and open transactions of a loop before it that is over are dead, as if their process had ended.

        Raises:
            ConfigurationError: it is in use by another loop that runs.
            TransportError: it was told to fail.
        """
        async with self.request("connect"):
            loop = asyncio.get_running_loop()
            if self._loop is loop:
                return
            if self._loop is not None and self._loop.is_running():
                raise ConfigurationError(
                    f"{self} is in use by another event loop: give each of them a cluster, memory://name"
                )
            self._loop = loop
            self.wakeup.forget()
            for group in self._groups.values():
                group.disband()
            self.transactions.expire_all()

    @asynccontextmanager
    async def request(self, operation: str) -> AsyncIterator[None]:
        """Wrap what the broker does for a request that a client awaits: other tasks run first, and it may be made to fail."""
        await asyncio.sleep(0)
        with self.faults.at(operation):
            yield

    def create(self, spec: TopicSpec) -> None:
        """Create a topic; one that exists is left as it is. Raises TransportError for what Kafka refuses."""
        if spec.name not in self._topics:
            self._set(Topic.made(spec, uuid4().hex))

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have ``partitions`` partitions, more than it has. Raises UnknownTopicError, TransportError."""
        self._set(self._topic(topic).grown(partitions))

    def delete(self, topic: str) -> None:
        """Delete a topic, its records and the offsets committed for it; an unknown one is ignored."""
        if self._topics.pop(topic, None) is not None:
            for group in self._groups.values():
                group.offsets.forget(topic)
                group.topic_changed(topic)

    def topics(self) -> dict[str, TopicInfo]:
        """Return all topics by name."""
        return {name: topic.info for name, topic in self._topics.items()}

    def topic(self, name: str) -> TopicInfo:
        """Return one topic. Raises UnknownTopicError."""
        return self._topic(name).info

    def log(self, tp: TP) -> PartitionLog:
        """Return the log of a partition. Raises UnknownTopicError."""
        topic = self._topics.get(tp.topic)
        if topic is None or not 0 <= tp.partition < len(topic.logs):
            raise UnknownTopicError(f"topic {tp.topic} has no partition {tp.partition} on {self}: create it first")
        return topic.logs[tp.partition]

    def append(self, tp: TP, entries: Sequence[Entry], identity: Identity | None = None) -> Appended:
        """Append records as a produce request does, in a transaction when ``identity`` is given.

        Raises:
            ProduceError: a record breaks a rule of its topic.
            FencedError: a newer producer took over.
            UnknownTopicError: there is no such partition.
        """
        log, topic, now = self.log(tp), self._topics[tp.topic], self._now()
        entries, timestamp = topic.accept(tp, entries, now)
        base = log.append(entries) if identity is None else self.transactions.append(identity, log, entries)
        if topic.due(log, self.clean_after):
            topic.clean(log, now)
        self.wakeup.notify()
        return Appended(base, timestamp)

    def clean(self, topic: str) -> None:
        """Do now what ``cleanup.policy`` of a topic says: drop what is past its retention, compact, or both."""
        found = self._topic(topic)
        for log in found.logs:
            found.clean(log, self._now())
        self.wakeup.notify()

    def group(self, name: str) -> Group:
        """Return a consumer group; the first call makes it."""
        if name not in self._groups:
            self._groups[name] = Group(name, self._partition_counts, self.wakeup)
        return self._groups[name]

    def groups(self) -> Collection[str]:
        """Return the names of all groups."""
        return list(self._groups)

    def expire(self, group: str, member: str, *, told: bool = True) -> None:
        """End the session of a group member at once, as when its heartbeats have stayed away.

        Args:
            group: group id.
            member: member id.
            told: the member learns of it at once; otherwise it is muted as well (:attr:`Faults.muted`): a zombie.
        """
        if not told:
            self.faults.muted.add(member)
        self.group(group).leave(member, told=told)

    def __str__(self) -> str:
        return f"memory://{self.name}"

    def _now(self) -> int:
        """Return the milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def _topic(self, name: str) -> Topic:
        """Return one topic. Raises UnknownTopicError."""
        if name not in self._topics:
            raise UnknownTopicError(f"topic {name} does not exist on {self}: create it first")
        return self._topics[name]

    def _partition_counts(self) -> dict[str, int]:
        """Return the number of partitions of each topic."""
        return {name: topic.info.partitions for name, topic in self._topics.items()}

    def _set(self, topic: Topic) -> None:
        """Keep a topic that is new or has changed, and tell the groups."""
        self._topics[topic.info.name] = topic
        for group in self._groups.values():
            group.topic_changed(topic.info.name)
        self.wakeup.notify()
