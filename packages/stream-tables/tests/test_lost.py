"""A running worker whose disk fails: nothing that was counted is lost, and what can be mended is mended while it lives."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from rocksdict import Rdict

from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.engine.participants import Interval, Reading
from stream_core.errors import ProduceError, StoreCorruptError, StoreError, WorkerError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.ports import Stores
from stream_core.primitives import TP, StoredRecord, TopicSpec
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.values.schemas import Schema
from stream_tables.changelog import claim, decode_claim, encode_origin
from stream_tables.options import RocksDBOptions
from stream_tables.partition import Facts, State
from stream_tables.rocksdb import RocksDBStores
from stream_tables.table import Table
from stream_tables.tables import Tables

from .bank import AtOnce

pytestmark = pytest.mark.looptime

SOURCE, CHANGELOG, GROUP = "words", "counts-changelog", "counting"
UNREADABLE = "recovery waits: reading topic counts-changelog, partition 0: wrong checksum"


class World:
    """A cluster, and one worker at a time that counts words in a table.

    Args:
        exactly_once: the guarantee.
        partitions: of the words.
    """

    def __init__(self, *, exactly_once: bool, partitions: int = 1) -> None:
        self.exactly_once = exactly_once
        self.transport = MemoryTransport(uuid4().hex)
        self.cluster = self.transport.cluster
        self.cluster.create(TopicSpec(SOURCE, partitions))
        self.partitions = partitions
        self.stores = MemoryStores()
        self.disk: Stores = self.stores
        self.said: Counter[str] = Counter()
        self.engine: Engine | None = None
        self.tables: Tables
        self.table: Table[str, int]
        self.failing: Callable[[str], None] = lambda word: None

    def say(self, *words: str, partition: int = 0) -> None:
        """Produce some words."""
        self.said.update(words)
        self.cluster.append(TP(SOURCE, partition), [Entry(0, None, json.dumps(word).encode()) for word in words])

    async def start(self, disk: Stores | None = None, **options: Any) -> None:
        """Start a worker on its disk, or on another one; ``options`` are of its agent."""
        await self.stop()
        self.disk = disk or self.disk
        self.table = Table("counts", schema=Schema.for_table(str, int), changelog=CHANGELOG, default=int)
        self.tables = Tables(self.disk, lambda: self.transport.reader(read_committed=True))
        self.tables.add(self.table)
        source: Topic[Any, Any] = Topic(SOURCE, schema=Schema(key_type=str))

        async def count(stream: Any) -> None:
            async for word in stream:
                self.failing(word)
                self.table[word] += 1

        self.engine = Engine(
            self.transport,
            EngineSettings(GROUP, transactional_id="worker" if self.exactly_once else None, commit_interval=0.2),
            topics=[source],
            agents=[Agent(count, name="count", topic=source, **options)],
            participants=[self.tables],
        )
        async with asyncio.timeout(60):
            await self.engine.start()

    async def begin(self) -> None:
        """Start, and count a, b, c and d."""
        await self.start()
        self.say("a", "b", "c", "d")
        await self.caught_up()

    async def stop(self) -> None:
        """Stop the worker."""
        engine, self.engine = self.engine, None
        if engine is not None:
            await engine.stop()

    def states(self) -> set[State]:
        """The states of the partitions that can be read."""
        return {part.state for part in self.table.parts.values()}

    def contents(self) -> dict[str, int]:
        """What the table holds."""
        return dict(self.table.items())

    async def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something holds, while the worker lives."""
        for _ in range(600):
            assert self.engine is None or not self.engine.failure.done(), self.engine.failure.result()
            if condition():
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within a minute: {what}")

    async def caught_up(self) -> None:
        """Wait until all words are counted, and that is stored."""
        tps = [TP(SOURCE, partition) for partition in range(self.partitions)]
        fetch = self.cluster.group(GROUP).offsets.fetch

        def done() -> bool:
            offsets = [fetch([tp])[tp] for tp in tps]
            behind = any(o is None or o.offset < self.cluster.log(tp).end for o, tp in zip(offsets, tps, strict=True))
            return not behind and self.states() == {State.RUNNING}

        await self.until(done, "all words are counted")
        await asyncio.sleep(1)
        assert self.contents() == self.said

    async def everywhere(self) -> None:
        """Compare the counts here, after a restart on this disk, and on an empty one."""
        await self.caught_up()
        await self.start()
        assert self.contents() == self.said
        await self.start(MemoryStores())
        assert self.contents() == self.said

    def changelog(self, partition: int = 0) -> list[StoredRecord]:
        """The records of the changelog."""
        return list(self.cluster.log(TP(CHANGELOG, partition)).read(0, 100_000, committed=True).records)


@pytest.fixture(params=["at_least_once", "exactly_once"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """A world under each guarantee."""
    world = World(exactly_once=request.param == "exactly_once")
    yield world
    await world.stop()
    MemoryCluster.discard(world.cluster.name)


# -- damage


VIEWS: dict[str, Callable[[Table[str, int]], object]] = {
    "one value": lambda table: table["a"],
    "get": lambda table: table.get("a"),
    "committed": lambda table: table.get("a", committed=True),
    "items": lambda table: list(table.items()),
    "len": len,
}


@pytest.mark.parametrize("look", VIEWS.values(), ids=VIEWS.keys())
async def test_damage_met_outside_of_events(world: World, look: Callable[[Table[str, int]], object]) -> None:
    """A page or a timer that meets damage gets an error; the partition is replayed at once, without an event."""
    await world.begin()
    world.stores.damage("counts", 0, b'"a"')
    with pytest.raises(StoreCorruptError):
        look(world.table)

    await world.until(lambda: world.states() == {State.RUNNING}, "the partition is recovered")
    assert world.contents() == world.said
    world.say("a", "x")
    await world.everywhere()


@pytest.mark.parametrize("look", [lambda table: table["a"], lambda table: list(table.items())])
async def test_damage_met_in_another_thread(world: World, look: Callable[[Table[str, int]], object]) -> None:
    """What follows from damage happens in the thread of the engine, whichever thread has met it; however many do."""
    await world.begin()
    told: list[int] = []
    assert world.engine is not None
    spoil = world.engine.interval.status.spoil
    world.tables.attend(lambda reason, error: (told.append(threading.get_ident()), spoil(reason, error))[1])
    world.stores.damage("counts", 0, b'"a"')
    loop = asyncio.get_running_loop()
    looks = [loop.run_in_executor(None, look, world.table) for _ in range(4)]
    assert {type(error) for error in await asyncio.gather(*looks, return_exceptions=True)} == {StoreCorruptError}
    await world.until(lambda: told and world.states() == {State.RUNNING}, "the partition is replayed")
    assert told == [threading.get_ident()]
    world.say("a")
    await world.everywhere()


@pytest.mark.parametrize("policy", ["crash", "skip"])
async def test_damage_met_by_an_event(world: World, policy: str) -> None:
    """The event is not to blame: it comes again when the partition is recovered, and counts once."""
    await world.begin()
    await world.start(on_failure=policy)
    world.stores.damage("counts", 0, b'"a"')
    world.say("x", "y", "a", "z")
    await world.everywhere()


async def test_damage_that_a_body_swallows(world: World) -> None:
    """A body that catches the error and goes on counts nothing wrong: the interval is dropped."""
    await world.begin()
    lost: list[StoreCorruptError] = []

    def reads_first(word: str) -> None:
        try:
            world.table.get("a")
        except StoreCorruptError as error:
            lost.append(error)

    world.failing = reads_first
    world.stores.damage("counts", 0, b'"a"')
    world.say("x", "y", "z")
    await world.everywhere()
    assert lost


async def test_damage_that_is_met_by_the_write_of_a_checkpoint(world: World) -> None:
    """A database that takes no more writes since it met damage is replayed; the worker goes on."""
    await world.begin()
    world.stores.refuse_writes("counts", 0, StoreCorruptError("block checksum mismatch"))
    world.say("x", "a")
    await world.everywhere()


async def test_a_lost_store_is_empty_after_the_worker_ended(world: World) -> None:
    """A worker that ends of the damage does not meet it again at each start."""
    await world.begin()
    world.stores.damage("counts", 0, b'"a"')
    with pytest.raises(StoreCorruptError):
        world.table.get("a")
    await world.stop()
    store = world.stores.open("counts", 0)
    assert (list(store.range()), store.fact(Facts.POSITION)) == ([], None)
    store.close()
    await world.start()
    assert world.contents() == world.said


ROOM = RocksDBOptions(write_buffer=256 << 10, cache=320 << 10)
"""So little memory that most reads go to the disk."""


def compact(directory: Path) -> None:
    """Merge the table files into one, so that RocksDB has no reason to replace files while they are being damaged."""
    store = Rdict(str(directory / "counts-0.db"))
    store.compact_range(None, None)
    store.close()


def damage_files(directory: Path, random: Random, places: int) -> None:
    """Overwrite some bytes at random places of the table files."""
    files = [file for file in sorted(directory.glob("counts-0.db/*.sst")) if file.stat().st_size > 4_000]
    assert files
    for _ in range(places):
        file = random.choice(files)
        with file.open("r+b") as stream:
            stream.seek(random.randrange(file.stat().st_size - 64))
            stream.write(random.randbytes(random.choice([1, 8, 64])))


@pytest.mark.parametrize("seed", range(6))
async def test_damage_at_random_places(
    world: World, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is damaged on a real disk, while the worker runs or while it does not: every count comes back."""
    asyncio.get_running_loop().set_default_executor(AtOnce())  # the clock must not jump while a thread closes a store
    random = Random(seed)
    words = [f"{random.randrange(1 << 60):015x}-{'long ' * 10}{number}" for number in range(3_080)]
    disk = RocksDBStores(tmp_path, ROOM)
    await world.start(disk)
    for _ in range(4):
        world.say(*random.sample(words, 1_500))
        await world.caught_up()
    await world.stop()  # writes what is in memory to table files

    if seed % 2:
        damage_files(tmp_path, random, places=19)
        await world.start(disk)
    else:
        compact(tmp_path)
        await world.start(disk)
        damage_files(tmp_path, random, places=19)
    for _ in range(4):
        world.say(*random.sample(words, 300))
        with suppress(StoreCorruptError):
            assert len(list(world.table.items())) <= len(words)
        with suppress(StoreCorruptError):
            world.table.get(random.choice(words))
        await asyncio.sleep(random.random())
    await world.until(lambda: world.states() == {State.RUNNING}, "the partition is recovered")
    await world.everywhere()
    assert "is damaged: wipe it and replay the changelog" in caplog.text


# -- a store that takes no writes


async def test_a_store_that_fails_after_the_commit(world: World) -> None:
    """The worker ends, and no later checkpoint moves a position past what was never stored: a restart has all."""
    await world.begin()
    world.stores.refuse_writes("counts", 0, StoreError("no space left"))
    world.say("x", "a")
    assert world.engine is not None
    async with asyncio.timeout(60):
        error = await world.engine.failure
    assert isinstance(error, WorkerError)
    assert "no space left" in str(error)
    world.say("y", "a")
    await asyncio.sleep(2)
    await world.start()
    await world.everywhere()


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_the_other_stores_are_written(exactly_once: bool) -> None:
    """One store that fails keeps none of the others from being written; later words of these come back as well."""
    world = World(exactly_once=exactly_once, partitions=3)
    await world.start()
    for partition in range(3):
        world.say(f"first-{partition}", partition=partition)
    await world.caught_up()
    world.stores.refuse_writes("counts", 1, StoreError("no space left"))
    for partition in range(3):
        world.say(*[f"second-{partition}"] * 5, partition=partition)
    assert world.engine is not None
    async with asyncio.timeout(60):
        await world.engine.failure
    for partition in 0, 2:
        assert world.table.parts[partition].store.get(json.dumps(f"second-{partition}").encode()) == b"5"
    world.say("third", partition=2)
    await asyncio.sleep(2)
    await world.start()
    await world.everywhere()
    await world.stop()


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_changelog_that_cannot_be_read_stops_no_other(
    exactly_once: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """While one partition is damaged the other is recovered, worked on and committed, and the log names the one; mended, it goes on."""
    world = World(exactly_once=exactly_once, partitions=2)
    await world.start()
    for partition in range(2):
        world.say(f"first-{partition}", partition=partition)
    await world.caught_up()
    await world.stop()
    world.cluster.faults.damaged[TP(CHANGELOG, 0)] = "wrong checksum"
    for partition in range(2):
        world.say(f"second-{partition}", partition=partition)

    starting = asyncio.create_task(world.start(MemoryStores()))
    await world.until(lambda: caplog.messages.count(UNREADABLE) >= 10, "it is named, by one reader after the other")
    world.say("third-1", partition=1)
    await world.until(lambda: world.table.get("third-1", committed=True), "the other is worked on")

    assert world.contents() == {"first-1": 1, "second-1": 1, "third-1": 1}
    committed = world.cluster.group(GROUP).offsets.fetch([TP(SOURCE, 0), TP(SOURCE, 1)])
    assert [offset and offset.offset for offset in committed.values()] == [1, 3]
    assert not starting.done()
    world.cluster.faults.damaged.clear()
    await starting
    await world.everywhere()
    await world.stop()


# -- who owns a partition


async def test_an_owner_claims_its_partition_before_its_first_event() -> None:
    """Under at-least-once the first record of each owner has only its epoch, and is not a value of the table."""
    world = World(exactly_once=False)
    world.say("a")
    for _ in range(3):
        await world.start()
        await world.caught_up()
    claims = [decode_claim(record.headers) for record in world.changelog()]
    epochs = [epoch for epoch in claims if epoch is not None]
    assert claims[0] is not None
    assert len(epochs) == 3
    assert epochs == sorted(set(epochs))
    await world.stop()


async def test_a_claim_is_tried_again() -> None:
    """When a claim is not acknowledged, the partitions are opened once more, with another producer."""
    world = World(exactly_once=False)
    await world.start()
    await world.stop()
    world.cluster.faults.fail_next("produce", ProduceError("provoked"))
    world.say("a")
    await world.start()
    await world.everywhere()
    await world.stop()


async def test_nobody_claims_under_exactly_once() -> None:
    """There a replaced owner cannot commit records; and none names an interval."""
    world = World(exactly_once=True)
    world.say("a")
    await world.start()
    await world.caught_up()
    (record,) = world.changelog()
    assert record.headers == encode_origin(world.table.parts[0].epoch, {})
    await world.stop()


async def test_a_late_record_of_a_replaced_owner() -> None:
    """What arrives behind the claim of the next owner, before that wrote anything, is passed over by the owner after it."""
    world = World(exactly_once=False)
    world.say("a")
    await world.start()
    await world.caught_up()
    old = world.table.parts[0].epoch
    await world.start()  # the next owner, which has done nothing yet
    late = encode_origin(old, {Reading(TP(SOURCE, 0), "count"): Interval(0, 1)})
    world.cluster.append(TP(CHANGELOG, 0), [Entry(0, b'"a"', b"100", late)])
    await world.start(MemoryStores())
    assert world.contents() == {"a": 1}
    world.say("b")
    await world.everywhere()
    await world.stop()


async def test_a_late_record_between_those_of_a_running_owner(caplog: pytest.LogCaptureFixture) -> None:
    """It is met by the owner at its next checkpoint and overwritten: when compaction takes the claim, nobody meets it any more."""
    world = World(exactly_once=False)
    world.say("a")
    await world.start()
    await world.caught_up()
    old = world.table.parts[0].epoch
    await world.start()
    late = encode_origin(old, {Reading(TP(SOURCE, 0), "count"): Interval(0, 1)})
    world.cluster.append(TP(CHANGELOG, 0), [Entry(0, b'"a"', b"100", late)])
    world.say("b")
    await world.caught_up()
    assert "counts-changelog-0 is not written by this worker alone" in caplog.text
    assert "written by a replaced owner; passed over" in caplog.text
    caplog.clear()
    world.say("c")
    await world.caught_up()
    assert "alone" not in caplog.text

    await world.start()
    await world.stop()
    world.cluster.log(TP(CHANGELOG, 0)).compact(2**62, 0, 0)
    assert [decode_claim(record.headers) for record in world.changelog()].count(None) == len(world.changelog()) - 1
    await world.start(MemoryStores())
    assert world.contents() == world.said
    await world.stop()


async def test_a_claim_of_somebody_who_is_newer() -> None:
    """An owner that meets a higher epoch between the end it saw and its claim takes one above that."""
    world = World(exactly_once=False)
    world.say("a")
    await world.start()
    await world.caught_up()
    await world.stop()
    changelog = TP(CHANGELOG, 0)
    append, rivals = world.cluster.append, [1000]

    def rival_first(tp: TP, entries: Any, identity: Any = None) -> Any:
        if tp == changelog and rivals:
            rival = claim(changelog, rivals.pop())
            append(tp, [Entry(0, rival.key, rival.value, rival.headers)])
        return append(tp, entries, identity)

    world.cluster.append = rival_first  # type: ignore[method-assign]
    await world.start()
    assert world.table.parts[0].epoch > 1000
    assert [decode_claim(record.headers) for record in world.changelog()][-1] == world.table.parts[0].epoch
    await world.everywhere()
    await world.stop()


# -- which topic an offset belongs to


async def test_an_agent_that_is_renamed_after_a_crash(world: World) -> None:
    """What the last worker wrote of events that it did not commit counts once, when they come again to an agent of another name."""
    await world.begin()
    await world.stop()
    world.say("a", "e")
    headers = encode_origin(100, {Reading(TP(SOURCE, 0), "its old name"): Interval(4, 6)})
    now = int(time.time() * 1000)
    entries = [Entry(now, json.dumps(word).encode(), json.dumps(world.said[word]).encode(), headers) for word in "ae"]
    world.cluster.append(TP(CHANGELOG, 0), entries)

    await world.start()

    await world.everywhere()


async def test_a_source_that_was_made_again(world: World) -> None:
    """What was counted from the old topic stays counted, although the new one has the same offsets."""
    await world.begin()
    for word in ("a", "a", "b"):  # intervals of one event each
        world.say(word)
        await world.caught_up()
    await world.stop()
    world.cluster.delete(SOURCE)
    world.cluster.create(TopicSpec(SOURCE, 1))
    world.say("c")
    await world.start(MemoryStores())
    await world.everywhere()


async def test_a_changelog_that_was_made_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A store is not continued in another changelog of the same name, though its position is in there; that is said."""
    await world.begin()
    disk = world.stores
    await world.stop()
    world.cluster.delete(CHANGELOG)
    await world.start(MemoryStores())
    world.said.clear()
    world.say(*"efghefgh")
    await world.caught_up()
    await world.start(disk)
    assert world.contents() == world.said
    assert "wiped and replayed: the topic was deleted and created again" in caplog.text


async def test_a_store_without_an_id_takes_it(world: World) -> None:
    """A store of a version before ids goes on where it was, and is told from then on."""
    await world.begin()
    disk = world.stores
    await world.stop()
    del disk._data["counts", 0].facts[Facts.TOPIC_ID]
    disk._data["counts", 0].values[b'"kept"'] = b"7"
    await world.start()
    assert world.table["kept"] == 7
    assert world.table.parts[0].store.fact(Facts.TOPIC_ID) == world.cluster.topic(CHANGELOG).id.encode()


# -- what the broker refuses


async def test_changes_that_the_broker_refuses_come_without_end(world: World) -> None:
    """While one is looked for checkpoints come early, so that what is good is committed, and the worker goes on."""
    limits = {"cleanup.policy": "compact", "max.message.bytes": "20000"}
    world.cluster.create(TopicSpec(CHANGELOG, 1, config=limits))
    await world.start(on_failure="skip")
    for number in range(60):
        good, bad = [f"{number} {i}" for i in range(8)], [f"{number} {i}" + "x" * 30_000 for i in range(2)]
        world.say(bad[0], *good, bad[1])
        world.said -= Counter(bad)
        await asyncio.sleep(0.3)
    await world.everywhere()


async def test_a_change_that_was_refused_costs_no_partition(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The changes that are sent one by one behind it are stored with their position, and nothing is opened once more."""
    limits = {"cleanup.policy": "compact", "max.message.bytes": "20000"}
    world.cluster.create(TopicSpec(CHANGELOG, 1, config=limits))
    await world.start(on_failure="skip")
    bad = "x" * 30_000
    world.say("a", "b", bad, "c")
    del world.said[bad]
    await world.caught_up()

    assert world.engine is not None
    assert world.engine.snapshot().drops == {"BatchRefusedError": 1, "ChangeRefusedError": 1}
    assert "does not know where its records are" not in caplog.text
    assert world.table.parts[0].store.fact(Facts.POSITION) == b"%d" % (world.changelog()[-1].offset + 1)
    await world.everywhere()
