"""What the harness asks a broker: the stock client on its own, so that nothing under test checks itself.

Every call makes its own connection and has a deadline: the broker is killed while the harness runs, and a fresh client has no memory
of that. Topics are never named to a broker that may not have them, because metadata requests create topics.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from chaos.verify import Entry
from chaos.waiting import until

__all__ = ["Kafka"]

REQUEST = 10.0
"""Seconds that one request may take."""


class Kafka:
    """A view of one cluster.

    Args:
        address: ``host:port`` of a broker.
    """

    def __init__(self, address: str) -> None:
        self.address = address

    async def recreate(self, topic: str, partitions: int, *, group: str, stale: Collection[str]) -> None:
        """Make ``topic`` new and empty, and remove what an earlier row left.

        Args:
            topic: the input topic.
            partitions: its number of partitions.
            group: the consumer group: its members are waited out, its offsets for ``topic`` and all topics that begin with its
                name and a hyphen (changelogs) are removed.
            stale: further topics to delete.
        """

        async def empty() -> bool:
            return await self.members(group) == 0

        async def gone() -> bool:
            async with self._admin() as admin:
                names = await admin.list_topics()
                old = [name for name in names if name == topic or name in stale or name.startswith(f"{group}-")]
                if old:
                    await admin.delete_topics(old)
            return not old and not await self.committed(group, topic)

        async def created() -> bool:
            async with self._admin() as admin:
                if topic not in await admin.list_topics():
                    await admin.create_topics([NewTopic(topic, partitions, 1)])
            return len(await self.ends(topic)) == partitions

        await until(empty, seconds=60, what=lambda: f"the members of group {group} are gone")
        await until(gone, seconds=30, what=lambda: "topics and offsets of the row before are deleted")
        await until(created, seconds=30, what=lambda: f"topic {topic} has {partitions} partitions")

    async def ends(self, topic: str, *, stable: bool = False) -> dict[int, int]:
        """The end offset of each partition, or the last stable offset (open transactions are past it); empty without the topic."""
        async with asyncio.timeout(REQUEST), self._admin() as admin:
            found = [described for described in await admin.describe_topics() if described["topic"] == topic]
        if not found:
            return {}
        tps = [TopicPartition(topic, partition["partition"]) for partition in found[0]["partitions"]]
        async with asyncio.timeout(REQUEST), self._consumer(stable=stable) as consumer:
            consumer.assign(tps)
            return {tp.partition: offset for tp, offset in (await consumer.end_offsets(tps)).items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """The committed offsets of a group."""

        async def ask() -> tuple[dict[int, int]]:
            async with asyncio.timeout(REQUEST), self._admin() as admin:
                offsets = await admin.list_consumer_group_offsets(group)
            return ({tp.partition: at.offset for tp, at in offsets.items() if tp.topic == topic and at.offset >= 0},)

        (offsets,) = await until(ask, seconds=30, what=lambda: f"group {group} has a coordinator")
        return offsets

    async def members(self, group: str) -> int | None:
        """The number of members that share the partitions now, or ``None`` while the group rebalances."""
        async with asyncio.timeout(REQUEST), self._admin() as admin:
            (response,) = await admin.describe_consumer_groups([group])
        _error, _group, state, *_protocol, members = response.groups[0][:6]
        return None if "Rebalance" in state else len(members)

    async def read(self, topic: str, *, stable: bool = True, seconds: float = 60.0) -> list[Entry]:
        """Every record that the topic holds now, in the order of its partitions.

        Args:
            topic: name of the topic; one that does not exist reads as empty.
            stable: leave out what was aborted; wait until no transaction is open before the end.
            seconds: deadline in seconds.

        Raises:
            RowError: the end was not reached, because a transaction stays open.
        """
        ends = await self.ends(topic)
        entries: list[Entry] = []
        if not ends:
            return entries
        async with self._consumer(stable=stable) as consumer:
            targets = {TopicPartition(topic, partition): end for partition, end in ends.items()}
            consumer.assign(list(targets))
            await asyncio.wait_for(consumer.seek_to_beginning(*targets), REQUEST)
            behind = dict(targets)

            async def at_end() -> bool:
                for tp, records in (await consumer.getmany(timeout_ms=200)).items():
                    entries.extend(Entry(tp.partition, r.offset, r.key, r.value, r.timestamp) for r in records)
                for tp, end in targets.items():
                    if await consumer.position(tp) >= end:
                        behind.pop(tp, None)
                return not behind

            await until(at_end, seconds=seconds, what=lambda: f"{topic} is read to its end, open: {behind}", every=0.0)
        return entries

    async def first_after(self, topic: str, ends: dict[int, int], *, seconds: float) -> Entry:
        """The first record behind the offsets ``ends`` of a topic, as soon as it is there, committed or not."""
        async with self._consumer(stable=False) as consumer:
            consumer.assign([TopicPartition(topic, partition) for partition in ends])
            for partition, end in ends.items():
                consumer.seek(TopicPartition(topic, partition), end)

            async def found() -> Entry | None:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    return Entry(tp.partition, records[0].offset, records[0].key, records[0].value)
                return None

            return await until(found, seconds=seconds, what=lambda: f"a new record in {topic}", every=0.0)

    @asynccontextmanager
    async def _consumer(self, *, stable: bool) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.address,
            isolation_level="read_committed" if stable else "read_uncommitted",
            auto_offset_reset="none",
            enable_auto_commit=False,
        )
        async with _running(consumer.start, consumer.stop):
            yield consumer

    @asynccontextmanager
    async def _admin(self) -> AsyncIterator[Any]:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        async with _running(admin.start, admin.close):
            yield admin


@asynccontextmanager
async def _running(start: Any, stop: Any) -> AsyncIterator[None]:
    try:
        await asyncio.wait_for(start(), REQUEST)
        yield
    finally:
        await asyncio.wait_for(stop(), REQUEST)
