"""Followers: a changelog without end, with owners that write, die, are replaced and come late, until one takes the store over."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from stream_core.engine.participants import Change, Interval, Reading, Shard
from stream_core.errors import StoreError, TransportError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.ports import Stores
from stream_core.primitives import TP, StoredRecord, TopicSpec
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session
from stream_core.values.schemas import Schema
from stream_tables.changelog import claim, encode_origin
from stream_tables.follower import Follower
from stream_tables.following import Following
from stream_tables.options import RocksDBOptions
from stream_tables.partition import Facts, State, TablePartition
from stream_tables.recovery import begin
from stream_tables.rocksdb import RocksDBStores
from stream_tables.stores import CHUNK
from stream_tables.table import Table
from stream_tables.tables import Tables
from stream_tables.values import ABSENT

pytestmark = pytest.mark.looptime

CHANGELOG = TP("changelog", 0)
SHARD = Shard(1, 0)
SOURCE = TP("source", 0)
COUNT = Reading(SOURCE, "count")
SCHEMA = Schema.for_table(str, int)
KEYS = "abcdef"


class World:
    """A source of amounts by key, the changelog of their sums, and what is committed."""

    def __init__(self) -> None:
        self.transport = MemoryTransport(uuid4().hex)
        self.cluster = self.transport.cluster
        self.cluster.create(TopicSpec("changelog", 1, config={"cleanup.policy": "compact"}))
        self.events: list[tuple[str, int | None]] = []
        self.committed = 0
        self.generation = 0
        self.settled = 0
        self._times = count(int(time.time() * 1000) - 10_000)

    def feed(self, random: Random, number: int) -> None:
        """Append events to the source: an amount that is added to a key, or ``None`` to delete it."""
        for _ in range(number):
            self.events.append((random.choice(KEYS), random.choice([None, *range(1, 9)])))

    def fold(self, end: int) -> dict[str, int]:
        """The sums after the events before an offset."""
        sums: dict[str, int] = {}
        for key, amount in self.events[:end]:
            if amount is None:
                sums.pop(key, None)
            else:
                sums[key] = sums.get(key, 0) + amount
        return sums

    async def append(self, change: Change) -> int:
        """Append a changelog record."""
        return self.cluster.append(CHANGELOG, [Entry(next(self._times), *change[2:])]).offset

    def put(self, values: Mapping[str, Any], origin: tuple[int, int, int] | None = None) -> None:
        """Append records to the changelog, with the epoch and interval of their header; ``None`` deletes."""
        headers = () if origin is None else encode_origin(origin[0], {COUNT: Interval(*origin[1:])})
        for key, value in values.items():
            data = None if value is None else json.dumps(value).encode()
            self.cluster.append(CHANGELOG, [Entry(next(self._times), json.dumps(key).encode(), data, headers)])

    @property
    def end(self) -> int:
        """The end of the changelog."""
        return self.cluster.log(CHANGELOG).end

    def now(self) -> int:
        """A time behind all records."""
        return next(self._times)

    def compact(self) -> None:
        """Compact what is settled: records that are younger than the compaction lag are not."""
        self.cluster.log(CHANGELOG).compact(self.settled, self.settled, 2**40)


class Owner:
    """A worker that has the table partition.

    Args:
        world: where it works.
        stores: its disk.
    """

    def __init__(self, world: World, stores: Stores) -> None:
        self.world = world
        self.table: Table[str, int] = Table("table", schema=SCHEMA, changelog="changelog", partitions=1)
        self.tables = Tables(stores, lambda: world.transport.reader(read_committed=True))
        self.tables.add(self.table)
        self.tables.specs({"source": 1})
        self.tables.attend(lambda reason, error: self.reasons.append(reason))
        self.reasons: list[str] = []
        self.unsent: list[Change] = []
        self._position = 0
        self._checkpoint: int | None = None

    async def start(self) -> None:
        """Take the partition over."""
        await self.tables.start()
        await self.open()

    async def open(self) -> None:
        """Recover from what is committed."""
        world = self.world
        world.generation += 1
        self.reasons.clear()
        committed = {COUNT: world.committed, Reading(SOURCE, ""): world.committed}
        async with asyncio.timeout(60):
            await self.tables.open(SHARD, committed, world.generation, send=world.append)
        self._position, self._checkpoint = world.committed, None

    def work(self, until: int) -> None:
        """Process the events before an offset."""
        part, cursor = self.table.parts[0], Cursor("count[0]", "count", lambda held: None)
        cursor.session = Session(SOURCE, Schema(), 1)
        for offset in range(self._position, until):
            name, amount = self.world.events[offset]
            key = json.dumps(name).encode()
            cursor.record = StoredRecord(offset, 0, key, b"")
            if amount is None:
                part.delete(cursor, key)
            else:
                value = part.get(cursor, key)
                part.set(cursor, key, amount + (0 if value is ABSENT else value))
            cursor.finish()
        cursor.record = None
        self._position = until

    async def checkpoint(self, random: Random, *, dies: str = "") -> None:
        """Make a checkpoint, and die at a step of it: ``"sending"``, ``"sent"`` or ``"committed"``."""
        world = self.world
        self.tables.cut([])
        shards = self.tables.changes({COUNT: Interval(world.committed, self._position)})
        self.unsent = [shard.change(*record) for shard in shards for record in shard.records]
        changed = len(self.unsent)
        for _ in range(random.randrange(changed + 1) if dies == "sending" else changed):
            await world.append(self.unsent.pop(0))
        if dies in ("sending", "sent"):
            return
        self.unsent.clear()
        world.committed = self._position
        if dies == "committed":
            return
        await self.tables.committed({CHANGELOG: world.end} if changed else {})
        if self.reasons:  # somebody else has written: what the engine does then
            self.tables.aborted()
            await self.open()
        else:
            world.settled = (
                self._checkpoint or world.settled
            )  # by now everybody sees that the checkpoint before was committed
            self._checkpoint = world.now()

    def contents(self) -> dict[str, int]:
        """What the table holds."""
        return dict(self.table.items())


class Standby:
    """Somebody who follows the changelog into a store of its own.

    Args:
        world: where it follows.
        stores: its disk.
    """

    def __init__(self, world: World, stores: Stores | None = None) -> None:
        self.world = world
        self.stores: Any = stores or MemoryStores()
        self.following = Following(lambda: world.transport.reader(read_committed=True))
        self.follower: Follower
        self._task: asyncio.Task[None] | None = None

    async def start(self, topic_id: str = "") -> None:
        """Follow on from where the store is."""
        await self.following.start()
        part = TablePartition("table", CHANGELOG, 1, SCHEMA, self.stores.open("table", 0))
        part.topic_id = topic_id
        first, end = await self.following.bounds(CHANGELOG)
        self.follower = Follower(part, begin(part, first, end))
        part.enter(State.REPLAYING)
        self._task = asyncio.create_task(self.following.run(self.follower))

    async def stop(self) -> None:
        """Give the store up, at whatever step."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, TransportError):
                await self._task
            self._task = None
            self.follower.part.store.close()
            await self.following.stop()

    async def has_all(self) -> dict[str, int]:
        """What the store holds when everything was met that is in the changelog."""
        await position(self.follower, self.world.end)
        return self.contents()

    def contents(self) -> dict[str, int]:
        """What the store holds."""
        return {json.loads(key): json.loads(value) for key, value in self.follower.part.store.range()}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world of the test's own."""
    world = World()
    yield world
    MemoryCluster.discard(world.cluster.name)


@pytest.fixture
async def standby(world: World) -> AsyncIterator[Standby]:
    """A standby that follows."""
    standby = Standby(world)
    await standby.start()
    yield standby
    await standby.stop()


# -- what it shows


@pytest.mark.parametrize(
    ("seed", "kind"), [*((seed, "memory") for seed in range(40)), (40, "rocksdb"), (41, "rocksdb")]
)
async def test_a_standby_of_owners_that_die(world: World, seed: int, kind: str, tmp_path: Path) -> None:
    """Whatever owners do, a follower shows what was committed at some time, and whoever takes its store over has what is committed now.

    Owners write, delete, die at any step of a checkpoint, on any disk, and write late; the changelog is compacted; the follower is ended
    at any time and begun again. Another follower, and an owner with an empty disk, find the same.
    """
    random = Random(seed)
    disks = [MemoryStores(), MemoryStores()]
    folds, late = [world.fold(0)], list[Change]()
    owner = Owner(world, random.choice(disks))
    await owner.start()
    standby = Standby(world, MemoryStores() if kind == "memory" else RocksDBStores(tmp_path, RocksDBOptions()))
    await standby.start()
    for _ in range(30):
        world.feed(random, random.randrange(1, 6))
        owner.work(random.randint(world.committed + 1, len(world.events)))
        dies = random.choice(["", "", "", "", "sending", "sent", "committed"])
        await owner.checkpoint(random, dies=dies)
        folds.append(world.fold(world.committed))
        if late and random.random() < 0.5:
            await world.append(late.pop(0))
        if dies:
            late.extend(owner.unsent)
            await owner.tables.stop()
            owner = Owner(world, random.choice([*disks, MemoryStores()]))
            await owner.start()
        match random.randrange(6):
            case 0:
                world.compact()
            case 1:
                await standby.stop()
                await standby.start()
            case 2 | 3:
                assert await standby.has_all() in folds
    shown = await standby.has_all()
    assert shown in folds
    other = Standby(world)
    await other.start()
    assert await other.has_all() == shown
    for stopped in (standby, other, owner.tables):
        await stopped.stop()

    promoted, cold = Owner(world, standby.stores), Owner(world, MemoryStores())
    for successor in (promoted, cold):
        await successor.start()
        assert successor.contents() == world.fold(world.committed)
        successor.work(len(world.events))
        await successor.tables.stop()


async def test_one_interval_is_held(world: World, standby: Standby) -> None:
    """Under at-least-once the last interval is held until its owner has written for the next one; the position stays in front of it."""
    world.put({"a": 1, "b": 1}, origin=(1, 0, 5))
    assert await standby.has_all() == {}
    world.put({"a": 2}, origin=(1, 5, 9))
    assert await standby.has_all() == {"a": 1, "b": 1}
    assert standby.follower.part.store.fact(Facts.POSITION) == b"2"
    world.put({"c": 3}, origin=(1, 9, 12))
    assert await standby.has_all() == {"a": 2, "b": 1}
    assert standby.follower.part.store.fact(Facts.POSITION) == b"3"


async def test_what_counts_at_once(world: World, standby: Standby) -> None:
    """Records without an interval, as under exactly-once, are applied when they come, and take the place of what is held of their keys."""
    world.put({"a": 1, "b": 1}, origin=(1, 0, 5))
    await world.append(Change(*CHANGELOG, b'"b"', b"7", encode_origin(2, {})))
    world.put({"c": 1})
    assert await standby.has_all() == {"b": 7, "c": 1}
    world.put({"d": 1}, origin=(3, 5, 6))
    world.put({"e": 1}, origin=(3, 6, 7))
    assert await standby.has_all() == {"a": 1, "b": 7, "c": 1, "d": 1}


async def test_an_interval_that_came_again(world: World, standby: Standby) -> None:
    """The values of an interval that was never committed are never shown: the next owner writes the values before them again."""
    world.put({"a": 1}, origin=(1, 0, 1))
    world.put({"a": 2, "b": 2}, origin=(1, 1, 4))
    assert await standby.has_all() == {"a": 1}
    await world.append(claim(CHANGELOG, 5))
    world.put({"a": 1, "b": None, "c": 2}, origin=(5, 1, 4))
    assert await standby.has_all() == {"a": 1}
    world.put({"c": 3}, origin=(5, 4, 5))
    assert await standby.has_all() == {"a": 1, "c": 2}


async def test_nothing_but_values_before(world: World, standby: Standby) -> None:
    """An owner that has only values before to write names no interval: these were committed, and are applied when they come."""
    world.put({"a": 1, "b": 1}, origin=(1, 0, 1))
    world.put({"a": 2}, origin=(2, 1, 4))
    await world.append(claim(CHANGELOG, 3))
    await world.append(Change(*CHANGELOG, b'"a"', b"1", encode_origin(3, {})))
    assert await standby.has_all() == {"a": 1}
    world.put({"c": 1}, origin=(3, 1, 4))
    assert await standby.has_all() == {"a": 1, "b": 1}


async def test_a_replaced_owner_decides_nothing(world: World, standby: Standby) -> None:
    """What comes late of an owner before is passed over, and is not a sign that anything was committed."""
    world.put({"a": 1}, origin=(1, 0, 1))
    world.put({"b": 1}, origin=(1, 1, 2))
    await world.append(claim(CHANGELOG, 5))
    world.put({"c": 1}, origin=(5, 1, 3))
    world.put({"d": 1}, origin=(1, 2, 3))
    world.put({"e": 1}, origin=(1, 3, 4))
    assert await standby.has_all() == {"a": 1}
    world.put({"c": 2, "d": None, "e": None}, origin=(5, 3, 5))
    assert await standby.has_all() == {"a": 1, "b": 1, "c": 1}
    world.put({"c": 3}, origin=(5, 5, 6))
    assert await standby.has_all() == {"a": 1, "b": 1, "c": 2}
    assert standby.follower.part.store.fact(Facts.POSITION) == b"%d" % (world.end - 1)


async def test_more_is_held_than_is_written_at_once(world: World, standby: Standby) -> None:
    """A large interval is written in parts when it is decided; the position comes with the last of them."""
    world.put({f"key-{number}": number for number in range(3 * CHUNK)}, origin=(1, 0, 5))
    assert await standby.has_all() == {}
    world.put({"a": 1}, origin=(1, 5, 6))
    assert await standby.has_all() == {f"key-{number}": number for number in range(3 * CHUNK)}
    assert standby.follower.part.store.fact(Facts.POSITION) == b"%d" % (3 * CHUNK)


# -- what interrupts it


async def test_ended_while_a_large_interval_is_written(world: World) -> None:
    """A follower that ends between two parts of what it held has written nothing wrong: the next one finds all of it."""
    standby = Standby(world)
    world.put({f"key-{number}": number for number in range(3 * CHUNK)}, origin=(1, 0, 5))
    world.put({"a": 1}, origin=(1, 5, 6))
    await standby.start()
    for _ in range(10_000):
        if standby.contents():
            break
        await asyncio.sleep(0)
    some = standby.contents()
    await standby.stop()
    assert 0 < len(some) < 3 * CHUNK
    await standby.start()
    assert await standby.has_all() == {f"key-{number}": number for number in range(3 * CHUNK)}
    await standby.stop()


async def test_a_changelog_that_loses_its_beginning(
    world: World, standby: Standby, caplog: pytest.LogCaptureFixture
) -> None:
    """A follower whose position is not held any more empties its store and goes on from the first record there is."""
    world.put({"a": 1, "b": 1})
    assert await standby.has_all() == {"a": 1, "b": 1}
    await standby.stop()
    world.put({"a": 2, "c": 2})
    world.cluster.log(CHANGELOG).truncate(3)
    await standby.start()
    world.put({"d": 3})
    assert await standby.has_all() == {"c": 2, "d": 3}
    assert "is wiped and replayed" in caplog.text


async def test_a_changelog_that_was_made_again(world: World, standby: Standby) -> None:
    """A changelog of the same name with less in it is met by its offsets, one with as much when its id is known."""
    world.put({"a": 1, "b": 1, "c": 1})
    assert await standby.has_all() == {"a": 1, "b": 1, "c": 1}
    await standby.stop()
    await standby.start("first")
    assert await standby.has_all() == {"a": 1, "b": 1, "c": 1}
    await standby.stop()
    world.cluster.delete("changelog")
    world.cluster.create(TopicSpec("changelog", 1, config={"cleanup.policy": "compact"}))
    world.put({"d": 1, "e": 1, "f": 1, "g": 1})
    await standby.start("second")
    assert await standby.has_all() == {"d": 1, "e": 1, "f": 1, "g": 1}


async def test_a_store_that_fails_ends_its_follower(world: World) -> None:
    """Whoever runs a follower is told when its store takes no writes; nothing goes on behind the failure."""
    standby = Standby(world)
    await standby.start()
    world.put({"a": 1})
    assert await standby.has_all() == {"a": 1}
    standby.stores.refuse_writes("table", 0, StoreError("no space left"))
    world.put({"b": 1})
    assert standby._task is not None
    with pytest.raises(StoreError, match="no space left"):
        async with asyncio.timeout(60):
            await standby._task
    standby.stores.refuse_writes("table", 0, None)
    world.put({"c": 1})
    await asyncio.sleep(5)
    assert standby.contents() == {"a": 1}
    standby._task = None
    standby.follower.part.store.close()
    await standby.following.stop()
    await standby.start()
    assert await standby.has_all() == {"a": 1, "b": 1, "c": 1}
    await standby.stop()


async def test_stopping_the_reader_ends_all_followers(world: World, standby: Standby) -> None:
    """Nobody waits for a reader that was stopped."""
    await standby.following.stop()
    assert standby._task is not None
    with pytest.raises(TransportError, match="the task that reads changelogs has ended"):
        async with asyncio.timeout(60):
            await standby._task


# -- side by side


async def position(follower: Follower, offset: int) -> None:
    """Wait until a follower has come to an offset."""
    async with asyncio.timeout(60):
        while follower.position < offset:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.001)


class Ticking:
    """A clock on which each look takes a second."""

    def __init__(self) -> None:
        self._seconds = count()

    def __call__(self) -> float:
        """The time."""
        return float(next(self._seconds))


async def test_followers_without_end_rest(world: World) -> None:
    """Followers without end rest for as long as they worked; one with a target is run at once, and alone."""
    world.cluster.create(TopicSpec("other", 1))
    following = Following(lambda: world.transport.reader(read_committed=True), clock=Ticking())
    await following.start()
    loop, stores = asyncio.get_running_loop(), MemoryStores()
    parts = [TablePartition(tp.topic, tp, 1, SCHEMA, stores.open(tp.topic, 0)) for tp in (CHANGELOG, TP("other", 0))]
    endless, hurried = Follower(parts[0], 0), Follower(parts[1], 0, 1, {})
    task = asyncio.create_task(following.run(endless))
    world.put({"a": 1})
    await position(endless, 1)
    began = loop.time()
    world.put({"b": 1})
    await position(endless, 2)
    assert loop.time() - began >= 1
    world.cluster.append(TP("other", 0), [Entry(0, b'"x"', b"1")])
    began = loop.time()
    await following.run(hurried)
    assert loop.time() - began < 1
    assert parts[1].store.get(b'"x"') == b"1"
    task.cancel()
    await asyncio.wait([task])
    await following.stop()
