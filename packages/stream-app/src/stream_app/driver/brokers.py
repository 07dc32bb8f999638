"""The brokers that a driver works with: one in this process, made for the test, or a real Kafka, whose topics are deleted in the end."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

from stream_app.running.wiring import make_transport
from stream_app.settings import Settings
from stream_core.errors import ConfigurationError, DeadlineError, EncodeError, TransportError, UnknownTopicError
from stream_core.memory import MemoryCluster
from stream_core.memory.log import Entry
from stream_core.partitioner import partition_for
from stream_core.primitives import TP, Headers, RawRecord, RecordMetadata, TopicSpec

__all__ = ["AnyBroker", "DrivenBroker", "KafkaBroker", "MemoryBroker"]

PATIENCE = 20.0
"""Seconds for a real broker to do what it was asked for."""

LOOK = 0.05
"""Seconds between two looks at whether a topic is gone, or a transaction has ended."""

MARKERS = 2.0
"""Seconds for the end of a transaction to arrive in the topics: a broker says that it is committed before that."""


class MemoryBroker:
    """A broker of its own in this process."""

    def __init__(self, clock: Callable[[], float], partitioner: Any = None) -> None:
        self._name = f"driver-{uuid4().hex}"
        self._partitioner = partitioner
        self._turns: Counter[str] = Counter()
        self._committed = False
        self.cluster = MemoryCluster.named(self._name)
        self.cluster.clock = clock

    @property
    def url(self) -> str:
        """The URL, for the settings of the apps."""
        return f"memory://{self._name}"

    async def start(self, names: Collection[str], conf: Settings, *, committed: bool) -> None:
        """Say whether committed records alone are read; it is there, and empty."""
        self._committed = committed

    async def stop(self, names: Collection[str]) -> None:
        """Forget the broker, with all that is in it."""
        MemoryCluster.discard(self._name)

    async def append(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
    ) -> RecordMetadata:
        """Write a record; the timestamp is in milliseconds. Raises UnknownTopicError, EncodeError."""
        count = await self.partitions(topic)
        if partition is None:
            partition = self._choose(topic, key, count)
        elif not 0 <= partition < count:
            raise EncodeError(f"topic {topic} has {count} partitions, and no partition {partition}", topic)
        millis = round(self.cluster.clock() * 1000) if timestamp is None else timestamp
        where = self.cluster.append(TP(topic, partition), [Entry(millis, key, value, headers)])
        return RecordMetadata(topic, partition, where.offset, millis if where.timestamp < 0 else where.timestamp)

    def _choose(self, topic: str, key: bytes | None, count: int) -> int:
        if self._partitioner is not None:
            chosen: int = self._partitioner(key, range(count), range(count))
            return chosen
        if key is not None:
            return partition_for(key, count)
        self._turns[topic] += 1
        return (self._turns[topic] - 1) % count

    async def partitions(self, topic: str) -> int:
        """Give the number of partitions of a topic. Raises UnknownTopicError."""
        return self.cluster.topic(topic).partitions

    async def create(self, topic: str, partitions: int) -> None:
        """Create a topic; one that exists is left as it is."""
        self.cluster.create(TopicSpec(topic, partitions))

    async def read(self, topic: str) -> Sequence[tuple[TP, RawRecord]]:
        """Read all records of a topic, by time, partition and offset; none of one that does not exist."""
        found: list[tuple[TP, RawRecord]] = []
        if (info := self.cluster.topics().get(topic)) is not None:
            for tp in (TP(topic, partition) for partition in range(info.partitions)):
                log = self.cluster.log(tp)
                found += [
                    (tp, record) for record in log.read(log.start, len(log) + 1, committed=self._committed).records
                ]
        return sorted(found, key=_place)

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Give the offset after the last record of each partition that can be read."""
        known, damaged = self.cluster.topics(), self.cluster.faults.damaged
        logs = {tp: self.cluster.log(tp) for tp in tps if tp.topic in known and tp not in damaged}
        return {tp: log.stable if self._committed else log.end for tp, log in logs.items()}


def _place(found: tuple[TP, RawRecord]) -> tuple[int, int, int]:
    tp, record = found
    return record.timestamp, tp.partition, record.offset


class DrivenBroker:
    """The broker of a driver, for tests of what happens when it fails.

    Args:
        broker: of the driver.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._cluster = broker.cluster

    def fail(
        self, operation: str, error: TransportError | None = None, *, times: int = 1, applied: bool = False
    ) -> None:
        """Let the next requests of a kind fail that the app makes; records that the driver writes itself arrive.

        Args:
            operation: one of :data:`stream_core.memory.faults.OPERATIONS`, such as ``"produce"`` or ``"offset_commit"``.
            error: what the client of the app raises; that the broker has not answered in time when left out.
            times: how many requests fail.
            applied: the broker does what it is asked for, and only its answer is lost.

        Raises:
            ConfigurationError: there is no such operation.
        """
        for _ in range(times):
            what = error or DeadlineError(f"the broker has not answered {operation} in time, as the test wants it")
            self._cluster.faults.fail_next(operation, what, applied=applied)

    def damage(self, topic: str, partition: int, why: str = "the test has damaged it") -> None:
        """Let a partition be one that cannot be read, until :meth:`mend`.

        Raises:
            UnknownTopicError: there is no such topic.
            ConfigurationError: it has no such partition.
        """
        if not 0 <= partition < (count := self._cluster.topic(topic).partitions):
            raise ConfigurationError(f"topic {topic} has {count} partitions, and no partition {partition}")
        self._cluster.faults.damaged[TP(topic, partition)] = why
        self._cluster.wakeup.notify()

    def mend(self) -> None:
        """Let everything work again: every partition can be read."""
        self._cluster.faults.damaged.clear()
        self._cluster.wakeup.notify()


class KafkaBroker:
    """A real Kafka. It must have none of the topics of the apps at the start, and those that they make are deleted at the end."""

    def __init__(self, url: str) -> None:
        self.url = url if "://" in url else f"kafka://{url}"
        self._before: frozenset[str] = frozenset()
        self.datadir = Path(mkdtemp(prefix="stream-driver-"))

    async def start(self, names: Collection[str], conf: Settings, *, committed: bool) -> None:
        """Connect; ``names`` are topics that must not exist yet, and ``committed`` says whether committed records alone are read.

        Raises:
            ConfigurationError: one of them exists: what is in it may be wanted.
            TransportError: there is no such broker.
        """
        transport = make_transport(conf)
        self._admin, self._producer = transport.admin(), transport.producer()
        self._reader = transport.reader(read_committed=committed)
        self._committed = committed
        await self._admin.start()
        self._before = frozenset(await self._admin.topics())
        if there := sorted(self._before.intersection(names)):
            await self._admin.stop()
            raise ConfigurationError(
                f"the topics {', '.join(there)} exist on {self.url}: a test begins without them and deletes them in the end, so use a "
                "broker for tests, or delete them there"
            )
        await self._producer.start()
        await self._reader.start()

    async def stop(self, names: Collection[str]) -> None:
        """Delete the topics ``names``, less those that were there before, and disconnect."""
        shutil.rmtree(self.datadir, ignore_errors=True)
        if not hasattr(self, "_reader"):
            return
        try:
            ours = set(names) - self._before
            await self._admin.delete(ours)
            async with asyncio.timeout(PATIENCE):
                while ours & await self._admin.topics():  # noqa: ASYNC110 - nobody else knows when they are gone
                    await asyncio.sleep(LOOK)
        finally:
            await self._producer.stop()
            await self._reader.stop()
            await self._admin.stop()

    async def append(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None,
        headers: Headers,
    ) -> RecordMetadata:
        """Write a record; the timestamp is in milliseconds. Raises UnknownTopicError, EncodeError."""
        count = await self._producer.partitions(topic)
        if partition is not None and not 0 <= partition < count:
            raise EncodeError(f"topic {topic} has {count} partitions, and no partition {partition}", topic)
        return await self._producer.send(topic, partition, key, value, timestamp, headers)

    async def partitions(self, topic: str) -> int:
        """Give the number of partitions of a topic. Raises UnknownTopicError."""
        found = await self._admin.describe([topic], config=False)
        if topic not in found:
            raise UnknownTopicError(f"there is no topic {topic}: create it first")
        return found[topic].partitions

    async def create(self, topic: str, partitions: int) -> None:
        """Create a topic; one that exists is left as it is."""
        await self._admin.create([TopicSpec(topic, partitions)])

    async def read(self, topic: str) -> Sequence[tuple[TP, RawRecord]]:
        """Read all records of a topic, by time, partition and offset; none of one that does not exist."""
        info = (await self._admin.describe([topic], config=False)).get(topic)
        tps = [TP(topic, partition) for partition in range(0 if info is None else info.partitions)]
        starts, ends = await self._reader.start_offsets(tps), await self._settled_ends(tps)
        positions = {tp: start for tp, start in starts.items() if start < ends[tp]}
        await self._reader.assign(positions)
        found: list[tuple[TP, RawRecord]] = []
        async with asyncio.timeout(PATIENCE):
            while any(position < ends[tp] for tp, position in positions.items()):
                for batch in await self._reader.poll(1.0):
                    found += [(batch.tp, record) for record in batch.records]
                    positions[batch.tp] = batch.next_offset
        await self._reader.assign({})
        return sorted(found, key=_place)

    async def _settled_ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Give :meth:`ends` when no transaction is open, or some time later: what has just been committed is wanted."""
        ends = await self.ends(tps)
        for _ in range(round(MARKERS / LOOK) if self._committed else 0):
            if ends == await self._reader.end_offsets(tps):
                break
            await asyncio.sleep(LOOK)
            ends = await self.ends(tps)
        return ends

    async def ends(self, tps: Collection[TP]) -> Mapping[TP, int]:
        """Give the offset after the last record of each partition that can be read."""
        return await self._reader.end_offsets(tps, committed=self._committed)


AnyBroker = MemoryBroker | KafkaBroker
"""What a driver works with: it looks at it from outside, whatever is to fail for the app."""
