"""Recovery of tables on a real Kafka, when a changelog is not what a store has known.

It was made again, truncated or compacted away, or has transactions at its end. How it is kept on disk, and when an open transaction
ends, only a broker shows; the same cases run on ``memory://`` in the tests of stream-tables.
"""

from __future__ import annotations

import asyncio
import shutil
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.protocol.admin import DeleteGroupsRequest

import stream_app as faust
from chaos.waiting import until
from operators import administration

QUICKLY_COMPACTED = {
    "segment.ms": "500",
    "min.cleanable.dirty.ratio": "0.001",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "500",
    "delete.retention.ms": "100",
}


class Shop:
    """One app that counts, on a cluster; each run of it is a new worker.

    Args:
        bootstrap: address of a broker.
        datadir: what the workers find again.
    """

    def __init__(self, bootstrap: str, datadir: Path) -> None:
        self.bootstrap = bootstrap
        self.datadir = datadir
        self.name = f"recovery-{uuid.uuid4().hex[:8]}"
        self.changelog = f"{self.name}-counts-changelog"
        self.config: dict[str, str] = {}
        self._read = 0

    async def run(self, *numbers: tuple[str, int], exactly_once: bool = False) -> dict[str, int]:
        """Run a worker until it has counted these numbers; returns what its table holds. A zero deletes its key."""
        app = faust.App(
            self.name,
            broker=f"kafka://{self.bootstrap}",
            store="rocksdb://",
            datadir=self.datadir,
            web_enabled=False,
            topic_partitions=1,
            broker_commit_interval=0.1,
            processing_guarantee="exactly_once" if exactly_once else "at_least_once",
        )
        source = app.topic(f"{self.name}-numbers", key_type=str, value_type=int, partitions=1)
        counts = app.Table("counts", default=int, key_type=str, value_type=int, extra_topic_configs=self.config)
        done = asyncio.Queue[str]()

        @app.agent(source)
        async def count(stream: Any) -> None:
            async for key, number in stream.items():
                if number:
                    counts[key] += number
                else:
                    del counts[key]
                await done.put(key)

        async with app, asyncio.timeout(60):
            before = dict(counts.items())
            for key, number in numbers:
                await source.send(number, key=key)
            for _ in numbers:
                await done.get()
            after = dict(counts.items())
        return after if numbers else before

    async def end(self) -> int:
        """The end of the changelog."""
        consumer, tp = AIOKafkaConsumer(bootstrap_servers=self.bootstrap), TopicPartition(self.changelog, 0)
        await consumer.start()
        try:
            consumer.assign([tp])
            return int((await consumer.end_offsets([tp]))[tp])
        finally:
            await consumer.stop()

    async def keys(self) -> list[bytes | None]:
        """The keys of all records that are in the changelog now, deletions too; claims have headers alone."""
        consumer, tp = AIOKafkaConsumer(bootstrap_servers=self.bootstrap), TopicPartition(self.changelog, 0)
        await consumer.start()
        try:
            consumer.assign([tp])
            end = (await consumer.end_offsets([tp]))[tp]
            await consumer.seek_to_beginning(tp)
            found: list[bytes | None] = []
            while await consumer.position(tp) < end:
                for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, []):
                    found.append(record.key)
            return found
        finally:
            await consumer.stop()

    @asynccontextmanager
    async def transaction(self, timeout: float) -> AsyncIterator[AIOKafkaProducer]:
        """Somebody whose transaction has a record at the end of the changelog, and is open."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            transactional_id=uuid.uuid4().hex,
            transaction_timeout_ms=int(timeout * 1000),
        )
        await producer.start()
        try:
            await producer.begin_transaction()
            await producer.send_and_wait(self.changelog, b"1000", key=b'"intruder"', partition=0)
            yield producer
        finally:
            with_open = producer._txn_manager.is_in_transaction()
            if with_open:
                await producer.abort_transaction()
            await producer.stop()


@pytest.fixture
def shop(bootstrap: str, tmp_path: Path) -> Shop:
    """An app that no other test has."""
    return Shop(bootstrap, tmp_path / "data")


async def test_a_changelog_that_was_deleted(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """It is made again and has another id: the store is emptied, which is said, and what is counted from now on is right."""
    assert await shop.run(("a", 1), ("b", 2)) == {"a": 1, "b": 2}
    async with administration(shop.bootstrap) as admin:
        await admin.delete_topics([shop.changelog])
    assert await shop.run(("b", 3)) == {"b": 3}
    assert "the topic was deleted and created again" in caplog.text
    assert await shop.run() == {"b": 3}


async def test_a_changelog_that_was_lost_with_the_disk(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is left to begin with, which is said; a table that is new in an app is told of once."""
    assert await shop.run(("a", 1)) == {"a": 1}
    assert "begins empty" not in caplog.text
    async with administration(shop.bootstrap) as admin:
        await admin.delete_topics([shop.changelog])
    shutil.rmtree(shop.datadir)
    assert await shop.run(("b", 3)) == {"b": 3}
    assert f"{shop.changelog}-0 begins empty, though events of its sources are committed" in caplog.text
    caplog.clear()
    assert await shop.run() == {"b": 3}
    assert "begins empty" not in caplog.text


async def test_offsets_that_have_expired(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Events that were counted come again, and are counted twice: that is said where the table has values, and once."""
    assert await shop.run(("a", 1)) == {"a": 1}
    assert await shop.run(("b", 3)) == {"a": 1, "b": 3}
    assert "nothing is committed" not in caplog.text
    async with administration(shop.bootstrap) as admin:
        deleted = await admin._send_request(DeleteGroupsRequest([shop.name]))
        assert [error for _, error in deleted.results] == [0]
    again = await shop.run(("c", 1), ("c", 1), ("c", 1))  # three events are waited for, of which two are old ones
    assert (again["a"], again["b"]) == (2, 6)
    said = f"{shop.changelog}-0 has values, and nothing is committed of its sources: {shop.name}-numbers-0 is read from offset 0 on"
    assert caplog.text.count(said) == 1
    caplog.clear()
    await shop.run(("b", 1))
    assert "nothing is committed" not in caplog.text


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_changelog_that_was_truncated(shop: Shop, caplog: pytest.LogCaptureFixture, exactly_once: bool) -> None:
    """A store that is older than what the changelog still has is emptied, and has what is there; a newer one goes on.

    Under exactly-once the end of its last transaction lies after the position of a store, and was deleted with the rest. Only a changelog
    that also deletes by age can be truncated: brokers refuse to delete records of one that is compacted alone.
    """
    shop.config = {"cleanup.policy": "compact,delete"}
    assert await shop.run(("a", 1), exactly_once=exactly_once) == {"a": 1}
    old = shop.datadir.with_name("old")
    shutil.copytree(shop.datadir, old)
    assert await shop.run(("b", 2), exactly_once=exactly_once) == {"a": 1, "b": 2}
    async with administration(shop.bootstrap) as admin:
        await admin.delete_records({TopicPartition(shop.changelog, 0): RecordsToDelete(before_offset=await shop.end())})
    assert await shop.run(("c", 3), exactly_once=exactly_once) == {"a": 1, "b": 2, "c": 3}
    assert "wiped" not in caplog.text
    shop.datadir = old
    assert await shop.run(exactly_once=exactly_once) == {"c": 3}
    assert "and the changelog begins at" in caplog.text


async def test_aborted_transactions_at_the_end(shop: Shop) -> None:
    """What was never committed does not count, and neither it nor the marker behind it holds up a recovery."""
    assert await shop.run(("a", 1)) == {"a": 1}
    for _ in range(3):
        async with shop.transaction(60.0):
            pass  # it is aborted
    assert await shop.run() == {"a": 1}
    shutil.rmtree(shop.datadir)
    assert await shop.run(("a", 1)) == {"a": 2}


async def test_an_open_transaction_at_the_end(shop: Shop) -> None:
    """A recovery waits for it, and has what it commits."""
    assert await shop.run(("a", 1)) == {"a": 1}
    shutil.rmtree(shop.datadir)
    async with shop.transaction(60.0) as producer:
        recovering = asyncio.create_task(shop.run())
        done, _ = await asyncio.wait([recovering], timeout=2.0)
        assert not done
        await producer.commit_transaction()
        assert await recovering == {"a": 1, "intruder": 1000}


async def test_a_transaction_that_nobody_ends(shop: Shop) -> None:
    """The broker aborts it when its time is over; until then a recovery waits."""
    assert await shop.run(("a", 1), exactly_once=True) == {"a": 1}
    shutil.rmtree(shop.datadir)
    async with shop.transaction(1.0) as producer:
        assert await shop.run(exactly_once=True) == {"a": 1}
        with pytest.raises(Exception, match=r"."):  # it was ended by the broker
            await producer.commit_transaction()


async def test_a_changelog_of_deletions_alone(shop: Shop) -> None:
    """When all keys are deleted and compaction has removed them, an empty disk and an old one are both empty."""
    shop.config = QUICKLY_COMPACTED
    assert await shop.run(("a", 1), ("b", 2)) == {"a": 1, "b": 2}
    old = shop.datadir.with_name("old")
    shutil.copytree(shop.datadir, old)
    assert await shop.run(("a", 0), ("b", 0)) == {}

    async def compacted() -> bool:
        await shop.run()  # its claim begins a new segment
        return not {b'"a"', b'"b"'} & set(await shop.keys())

    await until(compacted, seconds=60, what=lambda: "the deleted keys are gone from the changelog")
    assert await shop.run() == {}
    for datadir in (shop.datadir.with_name("fresh"), old):
        shop.datadir = datadir
        assert await shop.run() == {}
        assert await shop.run(("a", 5)) == {"a": 5}
        assert await shop.run(("a", 0)) == {}
