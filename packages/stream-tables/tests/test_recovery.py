"""Recovery: where it begins and ends, when a store is wiped, which records count, and what interrupts it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import pytest

from stream_core.engine.participants import Change, Interval, Reading, Shard
from stream_core.errors import DeadlineError, StoreCorruptError, StoreError, TransportError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.memory.reader import MemoryReader
from stream_core.memory.store import MemoryStore
from stream_core.ports import Reader
from stream_core.primitives import TP, Batch, Headers, TopicSpec
from stream_core.values.schemas import Schema
from stream_tables.changelog import decode_claim, decode_origin, encode_origin
from stream_tables.follower import COMPACTION_LAG, REWRITE
from stream_tables.partition import Facts
from stream_tables.recovery import TOMBSTONES
from stream_tables.stores import CHUNK
from stream_tables.table import Table
from stream_tables.tables import Tables

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
        config: what the table says of its changelog.
    """

    def __init__(
        self, *, read_committed: bool = False, partitions: int = 1, config: Mapping[str, str] | None = None
    ) -> None:
        self.config = config
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
        source_id: str = "",
    ) -> None:
        """Append records to the changelog; ``None`` deletes.

        Args:
            values: by key.
            origin: epoch and interval of their header; ``None`` for records without one.
            age: seconds since they were written.
            partition: of the changelog.
            source_id: topic id of the source that the interval is of.
        """
        headers: Headers = ()
        if origin is not None:
            epoch, start, end = origin
            headers = encode_origin(epoch, {COUNT: Interval(start, end)}, {"source": source_id})
        timestamp = int((time.time() - age) * 1000)
        entries = [
            Entry(timestamp, json.dumps(key).encode(), None if value is None else json.dumps(value).encode(), headers)
            for key, value in values.items()
        ]
        self.cluster.append(TP("changelog", partition), entries)

    def reader(self) -> Reader:
        """A reader of changelogs."""
        return self.transport.reader(read_committed=self.read_committed)

    async def start(self) -> Tables:
        """A worker, without partitions."""
        await self.stop()
        self.table = Table(
            "table",
            schema=Schema.for_table(str, int),
            changelog_config=self.config,
            changelog="changelog",
            partitions=self.partitions,
        )
        self.tables = Tables(self.stores, self.reader)
        self.tables.add(self.table)
        self.tables.specs({"source": self.partitions})
        await self.tables.start()
        return self.tables

    async def stop(self) -> None:
        """The worker ends."""
        if self.tables is not None:
            await self.tables.stop()
            self.tables = None

    async def recover(
        self,
        committed: int = 0,
        generation: int = 0,
        *,
        source_id: str = "",
        claiming: bool = False,
        unread: bool = False,
    ) -> Contents:
        """A new worker recovers partition 0; returns what its table holds.

        Args:
            committed: position of the reading in the headers.
            generation: of the group that it is assigned in.
            source_id: topic id of the source.
            claiming: whether it claims the changelog, as under at-least-once.
            unread: nothing was committed of its source before.
        """
        tables = await self.start()
        ids = {"source": source_id} if source_id else {}
        readings = {COUNT: committed, Reading(COUNT.tp, ""): committed}
        send = self.append if claiming else None
        async with asyncio.timeout(60):
            await tables.open(SHARD, readings, generation, ids=ids, send=send, unread=unread)
        return dict(self.table.items())

    async def append(self, change: Change) -> int:
        """Append a record to the changelog, as the engine sends a claim."""
        entry = Entry(int(time.time() * 1000), change.key, change.value, change.headers)
        return self.cluster.append(TP(change.topic, change.partition), [entry]).offset

    async def checkpoint(self, start: int = 0, end: int = 0) -> Contents:
        """What the next checkpoint writes to the changelog, which is committed and stored."""
        assert self.tables is not None
        self.tables.cut([])
        shards = self.tables.changes({COUNT: Interval(start, end)})
        changes = [shard.change(*record) for shard in shards for record in shard.records]
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


@pytest.mark.parametrize("claiming", [False, True])
async def test_values_of_events_that_nobody_has_committed(
    shop: Workshop, claiming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the offsets of the sources have expired, events are counted twice: said where the table has values, and only there."""
    assert await shop.recover(unread=True, claiming=claiming) == {}
    assert await shop.recover(unread=True, claiming=claiming) == {}  # with claims alone in the changelog
    shop.put({"a": 1})
    assert await shop.recover(claiming=claiming) == {"a": 1}
    assert "nothing is committed" not in caplog.text
    assert await shop.recover(unread=True, claiming=claiming) == {"a": 1}
    assert (
        "changelog-0 has values, and nothing is committed of its sources: source-0 is read from offset 0 on"
        in caplog.text
    )


async def test_all_of_it(shop: Workshop) -> None:
    """The last value of each key counts, deletions included; the position is the end."""
    shop.put({"a": 1, "b": 2, "c": 3})
    shop.put({"a": 10, "b": None})
    assert await shop.recover() == {"a": 10, "c": 3}
    assert shop.position == 5


async def test_claims_alone_are_not_written(shop: Workshop) -> None:
    """An owner that meets nothing but claims writes nothing, so that the next one opens the store as fast; at most for a day."""
    shop.put({"a": 1})
    assert await shop.recover(claiming=True) == {"a": 1}
    first = shop.position
    for _ in range(3):
        assert await shop.recover(claiming=True) == {"a": 1}
        assert shop.position == first < shop.cluster.log(CHANGELOG).end
    store = shop.table.parts[0].store
    store.write({}, {Facts.WRITTEN_AT: b"%d" % (time.time() - REWRITE - 1)})
    assert await shop.recover(claiming=True) == {"a": 1}
    assert shop.position > first
    shop.put({"b": 2})
    assert await shop.recover(claiming=True) == {"a": 1, "b": 2}


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


async def test_a_store_without_a_position(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """Values of a first write that was cut off before its position are not taken for those of this changelog."""
    store = shop.stores.open("table", 0)
    store.write({b'"old"': b"1"})
    store.close()
    shop.put({"a": 1})
    assert await shop.recover() == {"a": 1}
    assert "it has values and no position" in caplog.text


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


async def test_a_changelog_that_keeps_deletions_for_a_short_time(caplog: pytest.LogCaptureFixture) -> None:
    """How long a store may have been away follows from what the table says of its changelog, not from what is usual."""
    shop = Workshop(config={"delete.retention.ms": "60000"})
    shop.put({"a": 1, "b": 2})
    await shop.recover()
    for seconds, kept in ((20, True), (40, False)):
        await shop.stop()
        shop.put({f"c{seconds}": 3})
        shop.stores.open("table", 0).write({}, {Facts.WRITTEN_AT: b"%d" % (time.time() - seconds)})
        shop.stores.close()
        await shop.recover()
        assert ("deletions may be gone" not in caplog.text) is kept
    await shop.stop()


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


@pytest.mark.parametrize(("offset", "expected"), [(5, 1), (6, 100), (9, 100)])
async def test_an_agent_that_has_another_name(shop: Workshop, offset: int, expected: int) -> None:
    """What an agent did that is called otherwise now, or is gone, does not count when it begins at the committed offset of its source."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    shop.put({"a": 100}, origin=(1, 5, 9))
    tables = await shop.start()
    await tables.open(SHARD, {Reading(COUNT.tp, "renamed"): offset, Reading(COUNT.tp, ""): offset})
    assert dict(shop.table.items()) == {"a": expected}


async def test_a_commit_that_arrives_late(shop: Workshop) -> None:
    """When the committed offset was turned back into an interval, that interval comes again: what it wrote does not count."""
    shop.put({"a": 3}, origin=(1, 0, 3))
    shop.put({"a": 4}, origin=(1, 3, 4))  # not committed in time; the commit arrives behind that of the replay
    shop.put({"a": 9}, origin=(2, 3, 9))
    assert await shop.recover(committed=9) == {"a": 9}
    shop.stores = MemoryStores()
    assert await shop.recover(committed=4) == {"a": 4}
    assert await shop.checkpoint(4, 9) == {"a": 4}


async def test_several_readings_of_one_partition(shop: Workshop) -> None:
    """An interval is passed over when the events of one of its agents come again, wherever the others are."""
    other = Reading(TP("source", 0), "mirror")
    headers = encode_origin(1, {COUNT: Interval(0, 5), other: Interval(0, 9)})
    shop.put({"a": 1}, origin=(1, 0, 0))
    shop.cluster.append(CHANGELOG, [Entry(int(time.time() * 1000), b'"a"', b"100", headers)])
    for committed, value in (
        ({COUNT: 5, other: 9}, 100),
        ({COUNT: 5, other: 8}, 1),
        ({COUNT: 0, other: 9}, 1),
        ({}, 100),
    ):
        shop.stores = MemoryStores()
        tables = await shop.start()
        await tables.open(SHARD, committed)
        assert dict(shop.table.items()) == {"a": value}


@pytest.mark.parametrize(
    ("then", "now", "counts"),
    [("one", "two", True), ("one", "one", False), ("", "two", False), ("one", "", False), ("", "", False)],
)
async def test_intervals_of_a_source_that_was_made_again(shop: Workshop, then: str, now: str, counts: bool) -> None:
    """Offsets of another topic of the same name say nothing; where an id is not known, the offsets decide."""
    shop.put({"a": 1}, origin=(1, 0, 5), source_id=then)
    shop.put({"a": 2}, origin=(1, 5, 9), source_id=then)
    assert await shop.recover(committed=5, source_id=now) == {"a": 2 if counts else 1}
    assert await shop.checkpoint() == ({} if counts else {"a": 1})


async def test_records_name_the_source_they_are_of(shop: Workshop) -> None:
    """What a checkpoint writes carries the id of the source as it was when the partition was opened."""
    await shop.recover(source_id="one")
    part = shop.table.parts[0]
    part.overlay.seed(b'"a"', b"1")
    part.overlay._readings.add(COUNT)
    await shop.checkpoint(0, 5)
    (record,) = shop.cluster.log(CHANGELOG).read(0, 100, committed=False).records
    origin = decode_origin(record.headers)
    assert origin is not None
    assert origin.ids == {"source": "one"}


async def test_a_late_record_before_the_claim(shop: Workshop) -> None:
    """What a replaced owner sent before its successor's claim is judged by that successor, though it saw an earlier end."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    send = shop.append

    async def late_first(change: Change) -> int:
        shop.put({"a": 100, "b": 100}, origin=(1, 5, 9))
        return await send(change)

    shop.append = late_first  # type: ignore[method-assign]
    assert await shop.recover(committed=5, claiming=True) == {"a": 1}
    assert await shop.checkpoint(5, 6) == {"a": 1, "b": None}


async def test_a_late_record_behind_the_claim(shop: Workshop) -> None:
    """What a replaced owner sent behind its successor's claim is passed over by the third owner, whatever its interval says."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    await shop.recover(committed=5, claiming=True)
    shop.put({"a": 100, "b": 100}, origin=(1, 5, 9))
    shop.stores = MemoryStores()
    assert await shop.recover(committed=9, claiming=True) == {"a": 1}
    assert await shop.checkpoint(9, 10) == {"a": 1, "b": None}


async def test_claims_outlive_compaction_and_are_no_values(shop: Workshop) -> None:
    """A changelog keeps the last claim; no table shows one, and a store that is recovered has the epoch."""
    shop.put({"a": 1}, origin=(1, 0, 5), age=100)
    for _ in range(3):
        assert await shop.recover(committed=5, claiming=True) == {"a": 1}
    shop.cluster.log(CHANGELOG).compact(2**62, 0, 0)
    records = shop.cluster.log(CHANGELOG).read(0, 100, committed=False).records
    assert [decode_claim(record.headers) for record in records] == [None, shop.table.parts[0].epoch]
    assert list(shop.table.parts[0].store.range()) == [(b'"a"', b"1")]
    shop.stores = MemoryStores()
    epoch = shop.table.parts[0].epoch
    assert await shop.recover(committed=5) == {"a": 1}
    assert shop.table.parts[0].epoch == epoch + 1


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
    shop.put({"z": 1}, age=3 * COMPACTION_LAG)
    shop.put({"a": 1, "z": None}, age=2 * COMPACTION_LAG)
    shop.put({"a": 100, "b": 100}, origin=(1, 0, 5), age=COMPACTION_LAG + 60)
    shop.put({"c": 100}, origin=(1, 0, 5), age=COMPACTION_LAG - 60)
    shop.cluster.log(CHANGELOG).compact(int((time.time() - 1.5 * COMPACTION_LAG) * 1000), 0, 0)
    assert await shop.recover(committed=0) == {"a": 1, "b": 100}
    assert "older than the compaction lag" in caplog.text
    assert await shop.checkpoint() == {"a": 1, "c": None}


@pytest.mark.parametrize("position", [0, 1])
async def test_old_uncommitted_records_of_a_whole_changelog(shop: Workshop, position: int) -> None:
    """However old a record is: where nothing was compacted, a key without a value before it had none, and its events count once."""
    shop.put({"a": 1}, origin=(1, 0, 2), age=2 * COMPACTION_LAG)
    if position:
        await shop.recover(committed=2)
    shop.put({"b": 100}, origin=(1, 2, 5), age=COMPACTION_LAG + 60)
    assert await shop.recover(committed=2) == {"a": 1}
    assert await shop.checkpoint(2, 5) == {"b": None}


async def test_a_claim_whose_offset_is_not_told(shop: Workshop) -> None:
    """A broker that has a claim already may not say where: then the end is asked for, and what lies before it is judged."""
    shop.put({"a": 1}, origin=(1, 0, 5))
    send = shop.append

    async def untold(change: Change) -> int:
        shop.put({"a": 100}, origin=(1, 5, 9))
        await send(change)
        return -1

    shop.append = untold  # type: ignore[method-assign]
    assert await shop.recover(committed=5, claiming=True) == {"a": 1}
    assert shop.table.parts[0].end == shop.cluster.log(CHANGELOG).end == 3
    assert await shop.checkpoint(5, 6) == {"a": 1}


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


HOSTILE: list[Any] = [
    None,
    b"",
    b"\xff\xfe",
    b'[1,[["\xff",0,"count",5,9]]]',
    b"[" * 100_000,
    b'[1,[["source",0,"count",5,9,' + b"[" * 100_000,
    b"[1" + b"0" * 5_000 + b",[]]",
    b"[9223372036854775807,[]]",
    b"[-1,[]]",
    b'[1,[["source",0,"count",null,9]]]',
    b'{"epoch":1}',
    b"9223372036854775807",
    b"-1",
    b'"one"',
]
"""Values of headers that others may write."""


@pytest.mark.parametrize("name", ["stream-origin", "stream-claim", "other"])
async def test_headers_of_anybody(shop: Workshop, name: str) -> None:
    """No header stops a recovery, or keeps records of the real owners from counting, now or later."""
    now = int(time.time() * 1000)
    for number, value in enumerate(HOSTILE):
        shop.cluster.log(CHANGELOG).append([Entry(now, b'"h%d"' % number, b"1", [(name, value), ("", None)])])
    shop.put({"a": 1}, origin=(1, 0, 5))
    expected = {f"h{number}": 1 for number in range(len(HOSTILE))} | {"a": 1}
    for _ in range(2):
        assert await shop.recover(committed=5, claiming=True) == expected
    shop.stores = MemoryStores()
    assert await shop.recover(committed=5) == expected


# -- a disk that fails while it is recovered


@pytest.mark.parametrize("key", ["a", "b"])
async def test_damage_met_by_the_replay(shop: Workshop, key: str, caplog: pytest.LogCaptureFixture) -> None:
    """A store whose damage is met by a look-up of the replay, or at its end, is emptied and replayed from the beginning."""
    shop.put({"a": 1, "b": 2, "c": 3}, origin=(1, 0, 5))
    await shop.recover(committed=5)
    await shop.stop()
    shop.stores.damage("table", 0, json.dumps(key).encode())
    shop.put({"a": 100, "b": 100}, origin=(1, 5, 9))
    assert await shop.recover(committed=5) == {"a": 1, "b": 2, "c": 3}
    assert await shop.checkpoint() == {"a": 1, "b": 2}
    assert "changelog-0 is emptied and replayed" in caplog.text


async def test_damage_met_by_somebody_who_looks_while_it_is_replayed() -> None:
    """A page may meet the damage of a partition that is opened again: then that begins once more."""
    shop = Workshop(read_committed=True)
    shop.put({"a": 1}, origin=(1, 0, 5))
    await shop.recover(committed=5)
    assert shop.tables is not None
    producer = shop.transport.producer(transactional_id="other")
    await producer.start()
    await producer.partitions("changelog")
    await producer.begin()
    producer.send("changelog", 0, b'"b"', b"2")
    await producer.flush()
    opening = asyncio.create_task(shop.tables.open(SHARD, {COUNT: 5}))
    await asyncio.sleep(5)  # it waits for the transaction
    shop.stores.damage("table", 0, b'"a"')
    with pytest.raises(StoreCorruptError):
        shop.table.get("a")
    await producer.commit({}, None)
    async with asyncio.timeout(60):
        await opening
    assert dict(shop.table.items()) == {"a": 1, "b": 2}
    await shop.stop()


class RottenStores(MemoryStores):
    """A disk that damages whatever is written."""

    def open(self, table: str, partition: int) -> MemoryStore:
        """Open a store that is damaged at its first write."""
        store = super().open(table, partition)
        self.refuse_writes(table, partition, StoreCorruptError("block checksum mismatch"))
        return RottenStore(store)


class RottenStore(MemoryStore):
    """A store on such a disk."""

    def __init__(self, store: MemoryStore) -> None:
        super().__init__(store._name, store._opened)

    def wipe(self) -> None:
        """Empty it, which does not help."""
        refused = self._opened.refused
        super().wipe()
        self._opened.refused = refused


async def test_a_disk_that_damages_everything(shop: Workshop) -> None:
    """A partition is not replayed for ever: after some attempts the disk is named."""
    shop.stores = RottenStores()
    shop.put({"a": 1})
    with pytest.raises(StoreError, match=r"emptied and replayed 3 times, and is damaged again .* check the disk"):
        await shop.recover()


async def test_a_store_that_takes_no_writes_fails_alone() -> None:
    """One partition whose disk is full ends with its error; the others are recovered meanwhile."""
    shop = Workshop(partitions=2)
    for partition in range(2):
        shop.put({f"key-{partition}": 1}, partition=partition)
    tables = await shop.start()
    shop.stores.open("table", 0).close()
    full = asyncio.create_task(tables.open(Shard(2, 0), {}))
    await turns_until(lambda: stored_on(shop, 0))
    shop.stores.refuse_writes("table", 0, StoreError("no space left"))
    await tables.open(Shard(2, 1), {})
    with pytest.raises(StoreError, match="no space left"):
        await full
    assert dict(shop.table.items()) == {"key-1": 1}
    await shop.stop()


async def test_a_store_that_is_behind_is_opened_anew(shop: Workshop) -> None:
    """A store that failed to write takes no more writes until it is opened anew: so it is, and what it lacks is replayed."""
    shop.put({"a": 1})
    await shop.recover()
    part = shop.table.parts[0]
    part.overlay.seed(b'"b"', b"2")
    shop.stores.refuse_writes("table", 0, StoreError("no space left"))
    with pytest.raises(StoreError, match="no space left"):
        await shop.checkpoint()
    assert shop.tables is not None
    shop.tables.aborted()
    await shop.tables.open(SHARD, {COUNT: 0})
    assert shop.table.parts[0] is not part
    assert dict(shop.table.items()) == {"a": 1, "b": 2}
    assert shop.position == 2


def stored_on(shop: Workshop, partition: int) -> bool:
    """Whether the store of a partition is open."""
    return shop.stores._data["table", partition].store is not None


# -- what interrupts it


async def test_the_broker_is_asked_again(shop: Workshop) -> None:
    """A poll that fails is repeated."""
    shop.put({"a": 1})
    for _ in range(3):
        shop.cluster.faults.fail_next("fetch", DeadlineError("no answer"))
    assert await shop.recover() == {"a": 1}


class BadReader(MemoryReader):
    """A reader of which every poll fails."""

    error: Exception = TransportError("the metadata task has died")

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Fail."""
        raise self.error


async def test_a_reader_that_is_dead_is_replaced(shop: Workshop) -> None:
    """A client whose tasks have died raises for ever: after some errors there is another one."""
    made: list[Reader] = []

    def reader() -> Reader:
        kind = MemoryReader if made else BadReader
        made.append(kind(shop.cluster, read_committed=False))
        return made[-1]

    shop.reader = reader  # type: ignore[method-assign]
    shop.put({"a": 1})
    assert await shop.recover() == {"a": 1}
    assert len(made) == 2


async def test_an_error_that_nobody_expects_is_tried_again_with_another_reader(shop: Workshop) -> None:
    """One error of the client that is none of the broker's ends neither the recovery nor the worker."""
    BadReader.error = AssertionError("of the client library")
    try:
        await test_a_reader_that_is_dead_is_replaced(shop)
    finally:
        BadReader.error = TransportError("the metadata task has died")


async def test_an_error_that_stays_comes_out(shop: Workshop) -> None:
    """When no reader helps, whoever waits gets the error; and a later attempt finds a recovery that works."""
    good, error = shop.reader, AssertionError("of the client library")
    bad = type("Worse", (BadReader,), {"error": error})
    shop.reader = lambda: bad(shop.cluster, read_committed=False)  # type: ignore[method-assign]
    shop.put({"a": 1})
    with pytest.raises(AssertionError, match="of the client library"):
        await shop.recover()
    assert shop.tables is not None
    recovery = shop.tables._following
    assert recovery is not None
    recovery._make_reader = good
    async with asyncio.timeout(60):
        await shop.tables.open(SHARD, {})
    assert dict(shop.table.items()) == {"a": 1}


async def test_a_recovery_task_that_dies_is_begun_again() -> None:
    """Whoever waits for it is told, as of a broker that is away, and the next attempt has another task."""
    shop = Workshop(read_committed=True)
    producer = shop.transport.producer(transactional_id="other")
    await producer.start()
    await producer.partitions("changelog")
    await producer.begin()
    producer.send("changelog", 0, b'"a"', b"1")
    await producer.flush()
    tables = await shop.start()
    opening = asyncio.create_task(tables.open(SHARD, {}))
    await asyncio.sleep(5)
    (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "changelogs")
    task.cancel()
    with pytest.raises(TransportError, match="the task that reads changelogs has ended"):
        await opening
    await producer.commit({}, None)
    async with asyncio.timeout(60):
        await tables.open(SHARD, {})
    assert dict(shop.table.items()) == {"a": 1}
    await shop.stop()


async def test_what_is_short_is_not_told(shop: Workshop, caplog: pytest.LogCaptureFixture) -> None:
    """A recovery of a few records leaves no line on the level INFO; one of many does."""
    caplog.set_level("INFO", "stream_tables")
    shop.put({"a": 1, "b": 2})
    await shop.recover()
    assert caplog.records == []
    for _ in range(2):
        shop.put({f"key-{number}": number for number in range(CHUNK)})
    await shop.recover()
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == [
        "recovered changelog-0: 2000 changelog offsets"
    ]


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
    assert dict(store.range()) == {b'"key-%d"' % number: b"%d" % (turn * 10_000 + number) for number in range(CHUNK)}
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


async def test_keep_before_anything_is_open() -> None:
    """It can be called at once, and closes what moved even if one of them cannot be closed."""
    shop = Workshop(partitions=3)
    tables = await shop.start()
    await tables.keep([Shard(3, 1)])
    for partition in range(3):
        await tables.open(Shard(3, partition), {})

    def fails() -> None:
        raise StoreError("permission denied")

    shop.stores.when_closing("table", 0, fails)
    await tables.keep([Shard(3, 1)])
    assert [stored_on(shop, partition) for partition in range(3)] == [True, True, False]
    assert list(shop.table.parts) == [1]

    shop.stores.when_closing("table", 0, lambda: None)
    await shop.stop()
    assert [stored_on(shop, partition) for partition in range(3)] == [False, False, False]


async def test_stopping_closes_the_stores_whatever_the_reader_does(
    shop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that cannot be stopped leaves no store locked."""

    class StuckReader(MemoryReader):
        async def stop(self) -> None:
            raise AssertionError("of the client library")

    shop.reader = lambda: StuckReader(shop.cluster, read_committed=False)  # type: ignore[method-assign]
    shop.put({"a": 1})
    await shop.recover()
    await shop.stop()
    assert not stored_on(shop, 0)
    assert "the reader of changelogs could not be stopped" in caplog.text


async def test_a_cut_freezes_all_or_nothing() -> None:
    """While one partition is not stored, no other is cut either: the changes of an interval belong together."""
    shop = Workshop(partitions=2)
    tables = await shop.start()
    for partition in range(2):
        await tables.open(Shard(2, partition), {})
    one, two = shop.table.parts[0], shop.table.parts[1]
    two.overlay.seed(b'"a"', b"1")
    tables.cut([])
    one.overlay.seed(b'"b"', b"2")
    with pytest.raises(StoreError, match="are not stored"):
        tables.cut([])
    assert (one.overlay.active.keys(), one.overlay.frozen) == ({b'"b"'}, {})
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
