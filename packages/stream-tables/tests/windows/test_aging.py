"""Values that age: what can be read at which time, what is left in the store, and what follows drops, restarts and recoveries."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError
from stream_core.ports import Stores
from stream_core.primitives import TP, StoredRecord
from stream_core.values.schemas import Schema
from stream_tables.driver import open_stores
from stream_tables.errors import NotAssignedError
from stream_tables.partition import State
from stream_tables.stores import CHUNK
from stream_tables.table import Table
from stream_tables.windows.kinds import Seconds
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import CLOSED, TIME
from stream_tables.windows.session import SessionWindow

from .bench import WindowBench


class AgingBench(WindowBench):
    """A table whose values age, of which this worker holds one partition.

    Args:
        ttl: of the table.
        stores: where it is.
        options: of the bench.
    """

    def __init__(self, ttl: Seconds | None, stores: Stores | None = None, **options: Any) -> None:
        super().__init__(SessionWindow(1), stores, ttl=ttl, **options)

    def _open(self, name: str) -> None:
        self.table = Table[Any, Any]("table", schema=self.schema, changelog="changelog", **self.options)
        self.windows: Any = self.table
        self.table.join(self._run)
        self.part = self._part(name)
        self.part.ready()
        self.part.enter(State.RUNNING)
        self.table.attach(self._run, 0, self.part)

    def all(self, part: WindowedPartition[Any] | None = None) -> dict[Any, Any]:
        """All that can be read."""
        part = part or self.part
        rows = part.range(None)
        return {self.table._keys.decode(part.changelog, row): part.value_of(None, row, found) for row, found in rows}

    @property
    def rows(self) -> int:
        """How many rows are stored, without that of the time."""
        return sum(1 for row, _ in self.part.store.range() if row not in (TIME, CLOSED))

    def assign(self, key: Any, at: float, value: Any = 1) -> None:
        """Let an event assign a value."""
        with self.event(at) as table:
            table[key] = value


def test_a_value_is_gone_behind_its_time() -> None:
    """Its last millisecond included it can be read, in events and outside of them; assigned again it is young again."""
    bench = AgingBench(10)
    bench.assign("a", 100)
    bench.assign("b", 105)
    with bench.event(110) as table:
        assert (table["a"], "a" in table, len(table), table.get("a")) == (1, True, 2, 1)
    with bench.event(110.001) as table:
        assert ("a" in table, list(table), table.get("a"), table["a"], table.pop("a", 7)) == (False, ["b"], None, 0, 7)
        assert table.setdefault("a", 3) == 3
        with pytest.raises(KeyError):
            del table["c"]
    assert bench.table.copy() == {"a": 3, "b": 1}
    bench.assign("c", 118)
    assert bench.table.copy() == {"a": 3, "c": 1}
    assert bench.table.get("b") is None


def test_an_event_that_is_late_assigns_at_the_time_of_its_partition() -> None:
    """Else what it assigns would be gone at once, or earlier than what it replaces."""
    bench = AgingBench(10)
    bench.assign("a", 100)
    bench.assign("b", 50)
    bench.assign("a", 95, 2)
    assert bench.table.copy() == {"a": 2, "b": 1}
    with bench.event(110) as table:
        assert table.copy() == {"a": 2, "b": 1}


def test_a_timestamp_that_cannot_be_true_moves_no_time() -> None:
    """An event from next year leaves the others as old as they were; without any other time that of the clock counts."""
    bench = AgingBench(10, now=1000.0)
    bench.assign("first", 1e9)
    assert bench.part.time(None) == 1_000_000
    bench.assign("second", 1005)
    bench.assign("third", 1e9)
    assert bench.part.time(None) == 1_005_000
    assert bench.table.copy() == {"first": 1, "second": 1, "third": 1}


def test_timestamps_that_are_negative() -> None:
    """Years before 1970, and records without a timestamp, which have -1 millisecond."""
    bench = AgingBench(10)
    bench.assign("a", -100)
    bench.assign("b", -95)
    bench.checkpoint()
    with bench.event(-89.5) as table:
        assert table.copy() == {"b": 1}
    bench.assign("c", -0.001)
    bench.checkpoint()
    assert bench.table.copy() == {"c": 1}
    assert bench.rows == 2


def test_an_event_that_fails_takes_the_time_back() -> None:
    """What was gone in it is there again."""
    bench = AgingBench(10)
    bench.assign("a", 100)
    with suppress(RuntimeError), bench.event(200) as table:
        table["b"] = 1
        assert table.copy() == {"b": 1}
        raise RuntimeError("it fails")
    assert bench.table.copy() == {"a": 1}


def test_committed_reads() -> None:
    """They are of the last checkpoint, by the time of then."""
    bench = AgingBench(10)
    bench.assign("a", 100, 5)
    assert bench.table.get("a", committed=True) is None
    bench.checkpoint()
    bench.assign("b", 200)
    assert bench.table.get("a") is None
    assert bench.table.get("a", committed=True) == 5
    bench.checkpoint()
    assert bench.table.get("a", committed=True) is None


@pytest.mark.parametrize("moved", ["first", "last"])
def test_committed_reads_while_a_checkpoint_is_stored(moved: str) -> None:
    """The time of a partition is stored behind all that it may make old: a value that was assigned anew is there all along."""
    bench = AgingBench(60)
    bench.assign("z", 10, 1)
    bench.checkpoint()
    if moved == "first":
        bench.assign("z", 60, 2)
    for number in range(3 * CHUNK):
        bench.assign(f"k{number}", 10)
    bench.assign("z", 60, 2)
    bench.assign("z", 100, 3)
    bench.part.overlay.cut(())
    assert len(list(bench.part.changes({}).records)) > 3 * CHUNK

    async def main() -> set[Any]:
        writing = asyncio.create_task(bench.part.commit(None))
        seen = set[Any]()
        while not writing.done():
            await asyncio.sleep(0)
            seen.add(bench.table.get("z", committed=True))
        return seen

    assert asyncio.run(main()) == ({1, 3} if moved == "first" else {3})


def test_values_that_change_in_place_are_assigned() -> None:
    """As in any table, with the key as the user has it in the message."""
    bench = AgingBench(10, schema=Schema.for_table(str, list[int]), default=list)
    part = bench.table.make_part(TP("changelog", 0), 1, bench.part.store, clock=bench.clock, check_mutations=True)
    bench.table.attach(bench._run, 0, part)
    with bench.event(100) as table:
        table["a"] = table["a"] + [1]
    with pytest.raises(NotAssignedError, match=r"write table\['a'\] = value"), bench.event(101) as table:
        table["a"].append(2)
    with bench.event(102) as table:
        value = table["a"]
        value.append(3)
        table["a"] = value
    assert bench.table.copy() == {"a": [1, 3]}


@pytest.mark.parametrize("type_", [str, bytes, tuple[str, int]])
def test_the_changelog_has_keys_as_they_are(type_: Any) -> None:
    """Whoever reads it without a worker finds what can be read, by the keys of the table."""
    bench = AgingBench(10, schema=Schema.for_table(type_, int))
    keys: list[Any] = {str: ["a", "b"], bytes: [b"\xff\0", b""]}.get(type_, [("a", 1), ("b", 2)])
    bench.assign(keys[0], 100)
    bench.assign(keys[1], 120, 2)
    bench.checkpoint()
    assert {bench.schema.encode_key(key) for key in keys} < set(bench.logged)
    for only, expected in (None, {keys[1]: 2}), ({bench.schema.encode_key(keys[0]) or b""}, {}):
        replay = bench.table.replay(only)
        for record in bench.log:
            replay.apply(record)
        assert dict(replay.items()) == expected


def test_values_of_before_stay_until_they_are_assigned() -> None:
    """The table had no ttl when they were written, and the changelog has them without a time."""
    bench = AgingBench(10)
    log = [StoredRecord(0, 0, b'"a"', b"1"), StoredRecord(1, 0, b'"b"', b"2")]
    bench.part.store.write({bench.part.row(record.key or b""): record.value for record in log})
    bench.assign("b", 100, 3)
    bench.assign("c", 200, 4)
    bench.checkpoint()
    assert bench.table.copy() == {"a": 1, "c": 4}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "set", "del", "fail", "checkpoint", "drop", "restart"]),
        st.sampled_from("abc"),
        st.integers(-5, 60),
        st.integers(0, 9),
    ),
    max_size=25,
)


@pytest.mark.parametrize("driver", ["memory", "rocksdb"])
def test_against_a_dictionary(driver: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Through checkpoints, drops, restarts and recoveries a table has what a dictionary with times has, and its store nothing else."""

    @settings(max_examples=100 if driver == "memory" else 15)  # opening RocksDB takes a while
    @given(STEPS)
    def check(steps: list[tuple[str, str, int, int]]) -> None:
        stores = None if driver == "memory" else open_stores(tmp_path_factory.mktemp("stores"))
        bench = AgingBench(10, stores)
        time, model = -1000, dict[str, tuple[int, int]]()
        committed = time, model.copy()

        def alive(at: int, values: dict[str, tuple[int, int]]) -> dict[str, int]:
            return {key: value for key, (value, since) in values.items() if since + 10 >= at}

        for step, key, at, value in steps:
            if step == "set":
                bench.assign(key, at, value)
                time = max(time, at)
                model[key] = value, time
            elif step == "del":
                with bench.event(at) as table:
                    now = alive(max(time, at), model)
                    assert table.copy() == now
                    assert table.pop(key, None) == now.get(key)
                    if key in now:
                        del model[key]
            elif step == "fail":
                with suppress(RuntimeError), bench.event(at) as table:
                    table[key] = value
                    raise RuntimeError("it fails")
            elif step == "checkpoint":
                bench.checkpoint()
                committed = time, model.copy()
                assert bench.rows == 2 * len(alive(time, model))
            elif step == "drop":
                bench.drop()
                time, model = committed[0], committed[1].copy()
            else:
                bench.restart()
                time, model = committed[0], committed[1].copy()
            assert bench.all() == bench.table.copy() == alive(time, model)
        bench.checkpoint()
        found, _ = bench.rebuild(len(bench.log), "rebuilt")
        assert found == bench.all()
        bench.stores.close()

    check()


@pytest.mark.parametrize("ttl", [0, -1, 0.0001, "1m", float("nan")])
def test_what_is_no_length_of_time(ttl: Any) -> None:
    """It is refused with its name."""
    with pytest.raises(ConfigurationError, match="ttl="):
        Table[str, int]("t", schema=Schema.for_table(str, int), changelog="c", ttl=ttl)


def test_windows_expire_by_themselves() -> None:
    """A table has either windows or a ttl."""
    table = Table[str, int]("t", schema=Schema.for_table(str, int), changelog="c", ttl=60)
    with pytest.raises(ConfigurationError, match="has ttl=60, and cannot have windows as well: give those expires="):
        table.tumbling(60)
