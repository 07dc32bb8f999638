"""A table has every method of a mapping, with both stores, and its views are those of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_tables.driver import open_stores
from stream_tables.errors import TableError

from .bench import Bench, used


class Place(Record, frozen=True):
    """A key with structure."""

    town: str
    number: int


@pytest.fixture(params=["memory", "rocksdb"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """Each driver of stores."""
    made: Stores = MemoryStores() if request.param == "memory" else open_stores(tmp_path)
    yield made
    made.close()


@pytest.fixture
def bench(stores: Stores) -> Bench:
    """A table that has two keys stored, one in each partition, and one that is not committed."""
    bench = used(Bench(default=int, stores=stores))
    with bench.event(0) as table:
        table["a"] = 1
    with bench.event(1) as table:
        table["z"] = 26
    bench.checkpoint()
    with bench.event(0) as table:
        table["b"] = 2
    return bench


def test_it_is_a_mapping(bench: Bench) -> None:
    """It is one to whoever asks for one, and is equal to itself alone."""
    table = bench.table
    assert isinstance(table, MutableMapping)
    assert isinstance(table, Mapping)
    assert table == bench.table
    assert table != {"a": 1, "b": 2, "z": 26}
    assert {table: 1}[table] == 1
    assert dict(table) == table.copy() == {**table} == {"a": 1, "b": 2, "z": 26}


def test_views(bench: Bench) -> None:
    """They are counted, looked into and combined like those of a dictionary; a default is in none of them."""
    with bench.event(0) as table:
        keys, values, items = table.keys(), table.values(), table.items()
        assert (len(keys), len(values), len(items)) == (2, 2, 2)
        assert ("a" in keys, "z" in keys, 2 in values, 26 in values) == (True, False, True, False)
        assert (("a", 1) in items, ("a", 2) in items, ("z", 0) in items, "a" in items) == (True, False, False, False)
        assert keys & {"a", "z"} == {"a"}
        assert keys == {"a", "b"}
        assert items - {("a", 1)} == {("b", 2)}
        table["c"] = 3
        assert sorted(items) == [("a", 1), ("b", 2), ("c", 3)]
        seen = iter(items)
        table["d"] = 4
        assert sorted(seen) == [("a", 1), ("b", 2), ("c", 3)]


def test_many_keys_at_once(bench: Bench) -> None:
    """``update`` takes what that of a dictionary takes, another table too; so does ``|=``."""
    other = bench.table
    with bench.event(0) as table:
        table.update({"c": 3}, d=4)
        table.update([("e", 5)])
        table |= {"f": 6}
        table.update(other)
        assert table.copy() == {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6}
    assert bench.table is other


def test_clear_and_popitem(bench: Bench) -> None:
    """They empty the partition of the event, whatever is stored, and are taken back with it."""
    with suppress(RuntimeError), bench.event(0) as table:
        table.clear()
        assert list(table) == []
        raise RuntimeError("it fails")
    assert bench.table.copy() == {"a": 1, "b": 2, "z": 26}
    with bench.event(0) as table:
        taken = {table.popitem(), table.popitem()}
        assert taken == {("a", 1), ("b", 2)}
        with pytest.raises(KeyError):
            table.popitem()
        table["c"] = 3
        table.clear()
    bench.checkpoint()
    assert bench.table.copy() == {"z": 26}
    bench.restart()
    assert bench.table.copy() == {"z": 26}


def test_clear_deletes_keys_of_another_type_too(stores: Stores) -> None:
    """Keys of a version before, which no iteration shows."""
    bench = used(Bench(Schema.for_table(int, int), stores=stores))
    bench.parts[0].store.write({b'"text"': b"1", b"5": b"1"})
    with bench.event(0) as table:
        assert list(table) == [5]
        table.clear()
    bench.checkpoint()
    assert list(bench.parts[0].store.range()) == []


@pytest.mark.parametrize(
    "change", [lambda table: table.clear(), lambda table: table.popitem(), lambda table: table.update(b=3)]
)
def test_outside_of_events_nothing_is_changed(bench: Bench, change: Callable[[Any], object]) -> None:
    """A sentence says what to do."""
    with pytest.raises(TableError, match="cannot be changed outside of an event: change it in the loop over a stream"):
        change(bench.table)
    assert bench.table.copy() == {"a": 1, "b": 2, "z": 26}


def test_as_text(bench: Bench) -> None:
    """It is drawn with a title and two columns; what would tell a terminal something is escaped."""
    with bench.event(0) as table:
        table["b\x1b[2J"] = 10
        assert table.as_ansitable(sort=True, sortkey=lambda item: -item[1]).splitlines() == [
            "table",
            "+------------+-------+",
            "| Key        | Value |",
            "+------------+-------+",
            "| 'b\\x1b[2J' | 10    |",
            "| b          | 2     |",
            "| a          | 1     |",
            "+------------+-------+",
        ]
        table.clear()
        assert table.as_ansitable(title="", key="k", value="v") == "+---+---+\n| k | v |\n+---+---+"


PLACES = st.builds(Place, town=st.text(max_size=3), number=st.integers(0, 3))


@pytest.mark.parametrize(
    ("type_", "keys"),
    [
        (str, st.text(max_size=3)),
        (int, st.integers()),
        (bytes, st.binary(max_size=3)),
        (tuple[str, int], st.tuples(st.text(max_size=2), st.integers(0, 3))),
        (Place, PLACES),
    ],
)
def test_keys_of_each_type_are_those_of_a_dictionary(type_: Any, keys: st.SearchStrategy[Any]) -> None:
    """Whatever is assigned, deleted and stored, a table has what a dictionary would have."""

    @given(st.lists(st.tuples(st.sampled_from(["set", "pop", "clear", "store"]), keys, st.integers(0, 9)), max_size=12))
    def check(steps: list[tuple[str, Any, int]]) -> None:
        bench, expected = used(Bench(Schema.for_table(type_, int))), dict[Any, int]()
        for step, key, value in steps:
            if step == "store":
                bench.checkpoint()
                continue
            with bench.event(0) as table:
                if step == "set":
                    table[key] = expected[key] = value
                elif step == "pop":
                    assert table.pop(key, None) == expected.pop(key, None)
                elif value == 0:  # seldom
                    table.clear()
                    expected.clear()
                assert table.copy() == expected
                assert (key in table, len(table)) == (key in expected, len(expected))

    check()
