"""A table partition: its states, and what it does when its store is damaged or takes no writes."""

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise, product

import pytest

from stream_core.errors import IllegalStateError, StoreCorruptError, StoreError
from stream_core.memory import MemoryStores
from stream_core.primitives import TP
from stream_core.streams.cursor import Cursor
from stream_core.values.schemas import Schema
from stream_tables.partition import Facts, State, TablePartition
from stream_tables.stores import CHUNK
from stream_tables.values import Encoded

LEGAL = {
    (State.OPENING, State.OPENING),
    (State.OPENING, State.REPLAYING),
    (State.OPENING, State.LOST),
    (State.OPENING, State.CLOSED),
    (State.REPLAYING, State.OPENING),
    (State.REPLAYING, State.RUNNING),
    (State.REPLAYING, State.LOST),
    (State.REPLAYING, State.CLOSED),
    (State.RUNNING, State.OPENING),
    (State.RUNNING, State.BEHIND),
    (State.RUNNING, State.LOST),
    (State.RUNNING, State.CLOSED),
    (State.BEHIND, State.LOST),
    (State.BEHIND, State.CLOSED),
    (State.LOST, State.OPENING),
    (State.LOST, State.CLOSED),
}


class Bench:
    """A running partition that holds a, b and c, on a disk that can fail."""

    def __init__(self) -> None:
        self.stores = MemoryStores()
        self.told: list[tuple[str, BaseException]] = []
        store = self.stores.open("table", 0)
        store.write({b"a": b"1", b"b": b"2", b"c": b"3"}, {Facts.POSITION: b"3"})
        self.part = TablePartition(
            "table",
            TP("changelog", 0),
            1,
            Schema(bytes, bytes),
            store,
            lambda reason, error: self.told.append((reason, error)),
        )
        self.part.enter(State.REPLAYING)
        self.part.enter(State.RUNNING)

    @property
    def position(self) -> bytes | None:
        """The changelog position in the store."""
        return self.part.store.fact(Facts.POSITION)

    def change(self, count: int = 1) -> None:
        """Freeze some changes, as a checkpoint does."""
        for number in range(count):
            self.part.overlay.seed(b"new-%d" % number, b"4")
        self.part.overlay.cut([])


@pytest.fixture
def bench() -> Bench:
    """A bench of the test's own."""
    return Bench()


@pytest.mark.parametrize(("before", "after"), list(product(State, State)))
def test_only_the_ways_in_the_table_are_open(bench: Bench, before: State, after: State) -> None:
    """A state follows another one that is meant to be before it; anything else is a fault, and is said."""
    bench.part._state.state = before
    if (before, after) in LEGAL:
        bench.part.enter(after)
        assert bench.part.state is after
    else:
        with pytest.raises(IllegalStateError, match=f"changelog-0 is {before.value}, and cannot become {after.value}"):
            bench.part.enter(after)
        assert bench.part.state is before


READS = {
    "get": lambda part: part.get(None, b"b"),
    "get in an event": lambda part: part.get(Cursor("agent[0]", "agent", lambda held: None), b"b"),
    "committed": lambda part: part.committed_value(b"b"),
    "range": lambda part: list(part.range(None)),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_a_read_that_meets_damage_loses_the_partition_and_wipes_nothing(bench: Bench, read: object) -> None:
    """It raises, whoever drives the partition is told once, and what is on the disk is left to the recovery."""
    bench.stores.damage("table", 0, b"b")
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match="damaged at key b'b'"):
            read(bench.part)  # type: ignore[operator]

    assert bench.part.state is State.LOST
    ((reason, error),) = bench.told
    assert reason == "table partition changelog-0 is lost here"
    assert isinstance(error, StoreCorruptError)
    assert bench.part.get(None, b"a") == b"1"
    assert bench.position == b"3"


def test_a_lost_partition_gets_no_position(bench: Bench) -> None:
    """A checkpoint that was under way when damage was met writes neither values nor a position."""
    bench.change()
    bench.stores.damage("table", 0, b"b")
    with pytest.raises(StoreCorruptError):
        bench.part.get(None, b"b")

    asyncio.run(bench.part.commit(9))

    assert bench.position == b"3"
    assert bench.part.store.get(b"new-0") is None


def test_damage_met_while_others_get_a_turn_ends_the_write(bench: Bench) -> None:
    """When a read meets damage between two chunks of a checkpoint, the last one, with the position, is not written."""

    async def main() -> None:
        bench.change(3 * CHUNK)
        bench.stores.damage("table", 0, b"b")
        writing = asyncio.create_task(bench.part.commit(9))
        await asyncio.sleep(0)
        stored = [bench.part.store.get(b"new-%d" % number) for number in (0, CHUNK, 3 * CHUNK - 1)]
        assert stored == [None, b"4", None]  # the newest in the order of keys, and the oldest last
        with pytest.raises(StoreCorruptError):
            bench.part.get(None, b"b")
        await writing

    asyncio.run(main())
    assert bench.position == b"3"


@pytest.mark.parametrize("count", [CHUNK + 1, 3 * CHUNK // 2, 5 * CHUNK])
def test_turns_in_a_checkpoint_of_many_changes_see_each_value_once(bench: Bench, count: int) -> None:
    """Between two turns some changes go from memory into the store, and whoever reads in a turn finds each of them in one of the two.

    The position comes with the last of them, so that no cut is taken for one behind it before it is there.
    """

    async def main() -> list[int]:
        bench.change(count)
        left = [len(bench.part.overlay.frozen)]
        writing = asyncio.create_task(bench.part.commit(9))
        while not writing.done():
            await asyncio.sleep(0)
            left.append(len(bench.part.overlay.frozen))
            assert bench.part.get(None, b"new-0") == bench.part.get(None, b"new-%d" % (count - 1)) == b"4"
            assert len(list(bench.part.range(None))) == count + 3
            assert (bench.position == b"9") == (left[-1] == 0)
        return left

    left = asyncio.run(main())
    steps = [before - after for before, after in pairwise(left) if before > after]
    assert sum(steps) == count
    assert max(steps) == CHUNK


def test_an_entry_is_nothing_for_the_garbage_collector() -> None:
    """However many changes wait for a checkpoint, the collector, which stops the loop, walks over none of them."""
    assert not gc.is_tracked({b"a": 1, b"b": Encoded(b"[]")})


def test_damage_that_a_write_meets_loses_the_partition(bench: Bench) -> None:
    """A database that refuses writes since it found damage in the background is replayed; the worker goes on."""
    bench.change()
    bench.stores.refuse_writes("table", 0, StoreCorruptError("block checksum mismatch"))

    asyncio.run(bench.part.commit(9))

    assert (bench.part.state, bench.position, len(bench.told)) == (State.LOST, b"3", 1)


def test_a_partition_that_is_behind_gets_no_position(bench: Bench) -> None:
    """After a write that failed nothing can be cut or stored: a later position would hide what is missing."""
    bench.change()
    bench.stores.refuse_writes("table", 0, StoreError("no space left"))
    with pytest.raises(StoreError, match="no space left"):
        asyncio.run(bench.part.commit(9))
    assert bench.part.state is State.BEHIND

    bench.stores.refuse_writes("table", 0, None)
    with pytest.raises(StoreError, match="1 changes of the checkpoint before are not stored"):
        bench.part.overlay.cut([])
    asyncio.run(bench.part.commit(10))

    assert bench.position == b"3"
    assert bench.part.get(None, b"new-0") == b"4"


@pytest.mark.parametrize("known", [3, None])
def test_changes_whose_offsets_are_not_told(bench: Bench, known: int | None) -> None:
    """Records that the broker has and does not say where are stored, without a position, and the partition is opened again."""
    bench.part.end = known
    bench.change()

    asyncio.run(bench.part.commit(None))

    assert bench.part.get(None, b"new-0") == bench.part.store.get(b"new-0") == b"4"
    assert bench.position == b"3"
    assert [reason for reason, _ in bench.told] == ["table partition changelog-0 does not know where its records are"]


def test_a_partition_that_was_given_up_writes_nothing(bench: Bench) -> None:
    """A checkpoint that ends after a partition was closed is not an error: its next owner has the changelog."""
    bench.change()
    bench.part.enter(State.CLOSED)
    bench.part.store.close()

    asyncio.run(bench.part.commit(9))

    assert bench.stores.open("table", 0).fact(Facts.POSITION) == b"3"
