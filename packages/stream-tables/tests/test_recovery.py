"""Recovery: where it begins and ends, when a store is wiped, which records count, and what interrupts it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from uuid import uuid4

import pytest

from stream_core.errors import DeadlineError, StoreError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.participants import Interval, Reading, Shard
from stream_core.records import TP, Headers, TopicSpec
from stream_core.schemas import Schema
from stream_tables.changelog import decode_origin, encode_origin
from stream_tables.partition import Facts
from stream_tables.recovery import COMPACTION_LAG
from stream_tables.stores import CHUNK
from stream_tables.table import Table
from stream_tables.tables import TOMBSTONES, Tables

pytestmark = pytest.mark.looptime

CHANGELOG = TP("changelog", 0)
SHARD = Shard(1, 0)
COUNT = Reading(TP("source", 0), "count")
Contents = dict[str, Any]


class Workshop:
    """A changelog on a cluster, and one worker at a time that recovers a table from it.

    Args:
        read_committed: what the reader of changelogs sees, as under exactly-once.
        partitions: of the table.
    """

    def __init__(self, *, read_committed: bool = False, partitions: int = 1) -> None:
        self.transport = MemoryTransport(uuid4().hex)
        self.cluster = self.transport.cluster
        self.cluster.create(TopicSpec("changelog", partitions, config={"cleanup.policy": "compact"}))
        self.stores = MemoryStores()
        self.partitions = partitions
        self.read_committed = read_committed
        self.table: Table[Any, Any]
        self.tables: Tables | None = None

    def put(
        self,
        values: Mapping[str, Any],
        *,
        origin: tuple[int, int, int] | None = None,
        age: float = 0.0,
        partition: int = 0,
    ) -> None:
        """Append records to the changelog; ``None`` deletes.

        Args:
            values: by key.
            origin: epoch and interval of their header; ``None`` for records without one.
            age: seconds since they were written.
            partition: of the changelog.
        """
        headers: Headers = ()
        if origin is not None:
            epoch, start, end = origin
            headers = encode_origin(epoch, {COUNT: Interval(start, end)})
        timestamp = int((time.time() - age) * 1000)
        entries = [
            Entry(timestamp, json.dumps(key).encode(), None if value is None else json.dumps(value).encode(), headers)
            for key, value in values.items()
        ]
        self.cluster.append(TP("changelog", partition), entries)

    async def start(self) -> Tables:
        """A worker, without partitions."""
        await self.stop()
        self.table = Table(
            "table", schema=Schema.for_table(str, int), changelog="changelog", partitions=self.partitions
        )
        self.tables = Tables(self.stores, lambda: self.transport.reader(read_committed=self.read_committed))
        self.tables.add(self.table)
        self.tables.specs({"source": self.partitions})
        await self.tables.start()
        return self.tables

    async def stop(self) -> None:
        """The worker ends."""
        if self.tables is not None:
            await self.tables.stop()
            self.tables = None

    async def recover(self, committed: int = 0, generation: int = 0) -> Contents:
        """A new worker recovers partition 0; returns what its table holds.

        Args:
            committed: position of the reading in the headers.
            generation: of the group that it is assigned in.
        """
        tables = await self.start()
        async with asyncio.timeout(60):
            await tables.open(SHARD, {COUNT: committed}, generation)
        return dict(self.table.items())

    async def checkpoint(self, start: int = 0, end: int = 0) -> Contents:
        """What the next checkpoint writes to the changelog, which is committed and stored."""
        assert self.tables is not None
        self.tables.cut([])
        changes = list(self.tables.changes({COUNT: Interval(start, end)}))
        for change in changes:
            self.cluster.append(CHANGELOG, [Entry(int(time.time() * 1000), change.key, change.value, change.headers)])
        await self.tables.committed({CHANGELOG: self.cluster.log(CHANGELOG).end} if changes else {})
        return {json.loads(c.key): None if c.value is None else json.loads(c.value) for c in changes}

    @property
    def position(self) -> int:
        """The changelog position that the store of partition 0 knows."""
        return int(self.table.parts[0].store.fact(Facts.POSITION) or 0)


@pytest.fixture
async def shop() -> AsyncIterator[Workshop]:
    """A workshop of the test's own."""
    shop = Workshop()
    yield shop
    await shop.stop()
    MemoryCluster.discard(shop.cluster.name)


# -- begin and end


async def test_an_empty_changelog(shop: Workshop) -> None:
    """There is nothing to recover, and nothing is written."""
    assert await shop.recover() == {}
    assert await shop.checkpoint() == {}


async def test_all_of_it(shop: Workshop) -> None:
    """The last value of each key counts, deletions included; the position is the end."""
    shop.put({"a": 1, "b": 2, "c": 3})
    shop.put({"a": 10, "b": None})
    assert await shop.recover() == {"a": 10, "c": 3}
    assert shop.position == 5


async def test_a_store_goes_on_where_it_was(shop: Workshop) -> None:
    """A store that knows its position gets what came after it, and nothing else again."""
    shop.put({"a": 1, "b": 2})
    await shop.recover()
    await shop.stop()
    shop.stores.open("table", 0).write({b'"b"': b"99"})
    shop.stores.close()
    shop.put({"a": 10})
    assert await shop.recover() == {"a": 10, "b": 99}
    assert shop.position == 3


async def test_many_records(shop: Workshop) -> None:
    """A changelog of many chunks is applied in order."""
    for turn in range(3):
        shop.put({f"key-{number}": number + turn for number in range(CHUNK)})
    assert await shop.recover() == {f"key-{number}": number + 2 for number in range(CHUNK)}


async def test_a_compacted_changelog(shop: Workshop) -> None:
    """Gaps in the offsets do not matter, also at the end."""
    for turn in range(3):
        shop.put({"a": turn, "b": turn}, age=100)
    shop.put({"b": None}, age=100)
    shop.cluster.clean("changelog")
    assert await shop.recover() == {"a": 2}
    assert shop.position == 7


async def test_control_records_at_the_tail() -> None:
    """The target is the end, which may be a control record: recovered is who stands there, not who saw the last record."""
    shop = Workshop(read_committed=True)
    producer = shop.transport.producer(transactional_id="other")
    await producer.start()
    await producer.partitions("changelog")
    for value, commit in ((b"1", True), (b"2", False)):
        await producer.begin()
        producer.send("changelog", 0, b'"a"', value)
        await producer.flush()
        await (producer.commit({}, None) if commit else producer.abort())

    assert await shop.recover() == {"a": 1}
    assert shop.position == 4
    await shop.stop()


async def test_an_undecided_transaction_is_waited_for() -> None:
    """What a predecessor is about to commit lies below the target: recovery ends when it is decided, and has it."""
    shop = Workshop(read_committed=True)
    producer = shop.transport.producer(transactional_id="predecessor")
    await producer.start()
    await producer.partitions("changelog")
    await producer.begin()
    producer.send("changelog", 0, b'"a"', b"1")
    await producer.flush()

    recovery = asyncio.create_task(shop.recover())
    await asyncio.sleep(30)
    assert not recovery.done()
    await producer.commit({}, None)

    assert await recovery == {"a": 1}
    await shop.stop()


async def test_partitions_are_recovered_together() -> None:
    """One reader serves all partitions; one that waits for a decision does not hold up the others."""
    shop = Workshop(read_committed=True, partitions=3)
    for partition in range(3):
        shop.put({f"key-{partition}": partition}, partition=partition)
    producer = shop.transport.producer(transactional_id="predecessor")
    await producer.start()
    await producer.partitions("changelog")
    await producer.begin()
    producer.send("changelog", 1, b'"late"', b"1")
    await producer.flush()

    tables = await shop.start()
    opening = [asyncio.create_task(tables.open(Shard(3, partition), {})) for partition in range(3)]
    await asyncio.sleep(5)
    assert [task.done() for task in opening] == [True, False, True]
    await producer.commit({}, None)
    await asyncio.gather(*opening)
    assert dict(shop.table.items()) == {"key-0": 0, "key-1": 1, "late": 1, "key-2": 2}
    await shop.stop()


# -- when a store is wiped


async def test_a_store_that_is_ahead(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """A store whose changelog was recreated, and is shorter, is wiped and replayed, and that is said."""
    shop.put({"a": 1, "b": 2, "c": 3})
    await shop.recover()
    await shop.stop()
    shop.cluster.delete("changelog")
    shop.cluster.create(TopicSpec("changelog", 1, config={"cleanup.policy": "compact"}))
    shop.put({"x": 1})
    assert await shop.recover() == {"x": 1}
    assert "is at offset 3 and the changelog ends at 1: the topic was recreated or truncated" in caplog.text


async def test_a_store_that_is_behind(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """A store that is older than the beginning of its changelog is wiped and replayed."""
    shop.put({"a": 1})
    await shop.recover()
    await shop.stop()
    shop.put({"b": 2, "c": 3})
    shop.cluster.log(CHANGELOG).truncate(2)
    assert await shop.recover() == {"c": 3}
    assert "is at offset 1 and the changelog begins at 2" in caplog.text


async def test_a_store_of_long_ago(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """A store that missed records for so long that deletions may be gone is wiped; one that missed nothing is kept."""
    shop.put({"a": 1, "b": 2})
    await shop.recover()
    await shop.stop()
    shop.stores.open("table", 0).write({}, {Facts.WRITTEN_AT: b"%d" % (time.time() - TOMBSTONES)})
    shop.stores.close()
    assert await shop.recover() == {"a": 1, "b": 2}
    assert "wiped" not in caplog.text

    await shop.stop()
    shop.put({"b": None, "c": 3})
    for now in range(2):
        shop.cluster.log(CHANGELOG).compact(2**62, now, 0)  # the second time the deletion itself goes
    shop.cluster.log(CHANGELOG).truncate(0)
    shop.stores.open("table", 0).write({}, {Facts.WRITTEN_AT: b"%d" % (time.time() - TOMBSTONES)})
    shop.stores.close()
    assert await shop.recover() == {"a": 1, "c": 3}
    assert "deletions may be gone" in caplog.text


async def test_out_of_range_while_replaying() -> None:
    """When retention overtakes the replay, the partition begins again with an empty store at what there is."""
    shop = Workshop(read_committed=True)
    shop.put({"a": 1, "b": 2})
    producer = shop.transport.producer(transactional_id="predecessor")
    await producer.start()
    await producer.partitions("changelog")
    await producer.begin()
    producer.send("changelog", 0, b'"c"', b"3")
    producer.send("changelog", 0, b'"d"', b"4")
    await producer.flush()
    recovery = asyncio.create_task(shop.recover())
    await asyncio.sleep(5)

    shop.cluster.faults.fail_next("list_offsets", DeadlineError("no answer"))  # the first try to find the new beginning
    shop.cluster.log(CHANGELOG).truncate(3)
    await producer.commit({}, None)

    assert await recovery == {"d": 4}
    await shop.stop()


# -- which records count


async def test_committed_intervals_count(shop: Workshop) -> None:
    """Records whose interval ends at or before the committed position count; nothing is written again."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 2}, origin=(1, 5, 9))
    assert await shop.recover(committed=9) == {"a": 2}
    assert await shop.checkpoint() == {}


async def test_an_uncommitted_interval_is_passed_over(shop: Workshop) -> None:
    """Records of the interval that was never committed do not count, and the values before are written again."""
    shop.put({"a": 1, "b": 2}, origin=(1, 0, 5))
    shop.put({"a": 100, "b": None, "new": 100}, origin=(1, 5, 9))
    assert await shop.recover(committed=5) == {"a": 1, "b": 2}
    assert await shop.checkpoint() == {"a": 1, "b": 2, "new": None}
    assert shop.position == 8
    assert await shop.recover(committed=9) == {"a": 1, "b": 2}


async def test_a_seed_that_the_next_interval_changes(shop: Workshop) -> None:
    """A record behind the one that was passed over decides: a key is written again only when it ends on a foreign value."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 100, "b": 100}, origin=(1, 5, 9))
    shop.put({"a": 2}, origin=(2, 3, 5))
    assert await shop.recover(committed=5) == {"a": 2}
    assert await shop.checkpoint() == {"b": None}


async def test_seeds_survive_until_they_are_committed(shop: Workshop) -> None:
    """A worker that ends before its first checkpoint has not hidden the foreign values: its successor sees them as well."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 100}, origin=(1, 5, 9))
    for _ in range(3):
        assert await shop.recover(committed=5) == {"a": 1}
        assert shop.position <= 1
    assert await shop.checkpoint(5, 6) == {"a": 1}
    assert shop.position == 3

    await shop.stop()
    shop.stores = MemoryStores()
    assert await shop.recover(committed=6) == {"a": 1}


async def test_an_abort_keeps_the_seeds(shop: Workshop) -> None:
    """When the first checkpoint after a recovery fails, the partition is opened again, with what is to be written again."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 100}, origin=(1, 5, 9))
    await shop.recover(committed=5)
    assert shop.tables is not None
    shop.tables.cut([])
    shop.tables.aborted()
    await shop.tables.open(SHARD, {COUNT: 5})
    assert await shop.checkpoint(5, 6) == {"a": 1}


async def test_old_uncommitted_records_count(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """Behind the compaction lag the value before may be gone: then the record is applied, and that is said."""
    shop.put({"a": 1}, age=2 * COMPACTION_LAG)
    shop.put({"a": 100, "b": 100}, origin=(1, 0, 5), age=COMPACTION_LAG + 60)
    shop.put({"c": 100}, origin=(1, 0, 5), age=COMPACTION_LAG - 60)
    assert await shop.recover(committed=0) == {"a": 1, "b": 100}
    assert "older than the compaction lag" in caplog.text
    assert await shop.checkpoint() == {"a": 1, "c": None}


async def test_records_of_a_replaced_owner(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """What an owner wrote that slept while it was replaced is passed over, whatever its interval says."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 2}, origin=(2, 5, 9))
    shop.put({"a": 100, "b": 100}, origin=(1, 5, 7))
    shop.put({"c": 3}, origin=(2, 9, 12))
    assert await shop.recover(committed=12) == {"a": 2, "c": 3}
    assert "written by a replaced owner" in caplog.text
    assert await shop.checkpoint() == {"a": 2, "b": None}
    assert await shop.recover(committed=12) == {"a": 2, "c": 3}


async def test_each_owner_has_a_higher_epoch(shop: Workshop) -> None:
    """Each recovery begins an epoch above all it met, which its records carry; the store remembers it."""
    epochs = []
    for turn in range(3):
        await shop.recover(committed=turn)
        shop.table.parts[0].overlay.seed(b'"a"', b"1")
        await shop.checkpoint(turn, turn + 1)
        (record, *_) = reversed(shop.cluster.log(CHANGELOG).read(0, 100, committed=False).records)
        origin = decode_origin(record.headers)
        assert origin is not None
        epochs.append(origin.epoch)
    shop.stores = MemoryStores()
    await shop.recover(committed=3)
    epochs.append(shop.table.parts[0].epoch)
    assert epochs == sorted(set(epochs))


async def test_an_owner_that_wrote_nothing_is_older_than_its_successor(shop: Workshop) -> None:
    """However far the epochs in the log are ahead of the generations, what the first of two owners writes late is passed over."""
    shop.put({"a": 1}, origin=(40, 0, 1))
    epochs = []
    for generation in 5, 6:
        await shop.recover(1, generation)
        epochs.append(shop.table.parts[0].epoch)
    late, current = epochs
    shop.put({"a": 3}, origin=(current, 1, 3))
    shop.put({"a": 2}, origin=(late, 1, 2))
    assert await shop.recover(3, 7) == {"a": 3}


async def test_foreign_records(shop: Workshop) -> None:
    """Records of other programs count by their key: with other headers, with damaged ones, and those without key not at all."""
    now = int(time.time() * 1000)
    tracing, ours = ("traceparent", b"1"), encode_origin(1, {COUNT: Interval(5, 9)})
    entries = [
        Entry(now, b'"a"', b"1", [tracing]),
        Entry(now, b'"b"', b"1", [("stream-origin", b"damaged")]),
        Entry(now, b'"c"', b"1", [tracing, *ours]),
    ]
    shop.cluster.log(CHANGELOG).append([*entries, Entry(now, None, b"1")])
    assert await shop.recover(committed=5) == {"a": 1, "b": 1}


# -- what interrupts it


async def test_the_broker_is_asked_again(shop: Workshop) -> None:
    """A poll that fails is repeated."""
    shop.put({"a": 1})
    for _ in range(3):
        shop.cluster.faults.fail_next("fetch", DeadlineError("no answer"))
    assert await shop.recover() == {"a": 1}


async def test_cancellation_leaves_a_consistent_position(shop: Workshop) -> None:
    """A recovery that is cancelled between two chunks stops there: what the store holds fits its position."""
    for turn in range(20):
        shop.put({f"key-{number}": turn * 10_000 + number for number in range(CHUNK)})
    tables = await shop.start()
    opening = asyncio.create_task(tables.open(SHARD, {}))
    await turns_until(lambda: stored(shop, Facts.POSITION) is not None)
    opening.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    position = int(stored(shop, Facts.POSITION) or 0)
    assert 0 < position < 20 * CHUNK

    turn = position // CHUNK - 1
    await shop.stop()
    store = shop.stores.open("table", 0)
    assert dict(store.items()) == {b'"key-%d"' % number: b"%d" % (turn * 10_000 + number) for number in range(CHUNK)}
    store.close()
    assert await shop.recover() == {f"key-{number}": 19 * 10_000 + number for number in range(CHUNK)}


async def turns_until(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until ``condition`` holds: a test that looks between two chunks cannot wait any longer."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("the condition does not come true")


def stored(shop: Workshop, fact: str) -> bytes | None:
    """A fact of the store of partition 0 that a worker has open."""
    data = shop.stores._data.get(("table", 0))
    return data.facts.get(fact) if data is not None else None


async def test_a_cancelled_recovery_spares_the_others() -> None:
    """A partition that is given up in the middle of its recovery does not disturb the recovery of those that are kept."""
    shop = Workshop(partitions=2)
    for partition in range(2):
        for turn in range(20):
            shop.put({f"key-{partition}-{n}": turn for n in range(CHUNK)}, partition=partition)
    tables = await shop.start()
    lost, kept = (asyncio.create_task(tables.open(Shard(2, partition), {})) for partition in range(2))
    await turns_until(lambda: stored(shop, Facts.POSITION) is not None)

    lost.cancel()
    await asyncio.wait([lost])
    await tables.keep([Shard(2, 1)])
    await kept

    assert dict(shop.table.items()) == {f"key-1-{n}": 19 for n in range(CHUNK)}
    await shop.stop()


async def test_a_recovery_begun_again_at_once(shop: Workshop) -> None:
    """When a partition is opened again while the recovery before is still ending, the new one gets to its end."""
    for turn in range(5):
        shop.put({f"key-{number}": turn for number in range(CHUNK)})
    tables = await shop.start()
    for _ in range(5):
        opening = asyncio.create_task(tables.open(SHARD, {}))
        for _ in range(5):
            await asyncio.sleep(0)
        opening.cancel()
    async with asyncio.timeout(60):
        await tables.open(SHARD, {})
    assert dict(shop.table.items()) == {f"key-{number}": 4 for number in range(CHUNK)}


async def test_a_store_that_fails_ends_the_recovery(shop: Workshop) -> None:
    """An error of the store comes out where the partition is opened."""
    shop.put({"a": 1})
    tables = await shop.start()
    opening = asyncio.create_task(tables.open(SHARD, {}))
    await turns_until(lambda: ("table", 0) in shop.stores._data)
    shop.stores.close()
    with pytest.raises(StoreError, match="is closed"):
        await opening
