"""Tables as user code sees them: a dictionary inside events, read-only outside, sharded by the partition of the event."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.primitives import TP, StoredRecord
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session, set_effects
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.table import Table

from .bench import Bench, used


class Account(Record):
    """A value with structure."""

    owner: str
    amounts: list[int]


class Color(Enum):
    """A value of a few."""

    RED = "red"


@pytest.fixture
def bench() -> Bench:
    """A table from text to numbers, used by an actor."""
    return used(Bench(default=int))


# -- a dictionary


def test_it_is_a_dictionary(bench: Bench) -> None:
    """Assigning, reading, deleting, counting and iterating work as on a dict."""
    with bench.event() as table:
        table["a"] = 1
        table["b"] = 2
        table["a"] += 10
        table.update({"c": 3}, d=4)
        table.update([("e", 5)])
        assert (table["a"], table.get("b"), "c" in table, "x" in table, len(table)) == (11, 2, True, False, 5)
        del table["b"]
        assert (table.pop("c"), table.pop("c", 0), table.setdefault("d", 9), table.setdefault("f", 6)) == (3, 0, 4, 6)
        assert dict(table.items()) == {"a": 11, "d": 4, "e": 5, "f": 6}
        assert sorted(table) == sorted(table.keys()) == ["a", "d", "e", "f"]
        assert sorted(table.values()) == [4, 5, 6, 11]


def test_missing_keys() -> None:
    """Without a default a missing key is a KeyError that names it."""
    bench = used(Bench())
    with bench.event() as table:
        for access in (lambda: table["x"], lambda: table.pop("x"), lambda: table.__delitem__("x")):
            with pytest.raises(KeyError, match="x"):
                access()
        assert table.get("x") is None
        assert table.get("x", 7) == 7


def test_a_default_is_not_stored(bench: Bench) -> None:
    """Reading a missing key gives a new default each time, and leaves the table as it was; ``get`` knows no default."""
    bench = used(Bench(Schema.for_table(str, list[int]), default=list))
    with bench.event() as table:
        table["x"].append(1)
        assert table["x"] == []
        assert ("x" in table, len(table), table.get("x")) == (False, 0, None)


def test_deleted_keys_stay_deleted(bench: Bench) -> None:
    """A key that is in the store and deleted in the overlay is gone; it may come again."""
    with bench.event() as table:
        table["a"], table["b"] = 1, 2
    bench.checkpoint()
    with bench.event() as table:
        del table["a"]
        assert ("a" in table, table["a"], dict(table.items())) == (False, 0, {"b": 2})
        with pytest.raises(KeyError):
            del table["a"]
        table["a"] += 5
        assert table["a"] == 5
        del table["a"]
    bench.checkpoint()
    assert dict(bench.table.items()) == {"b": 2}


def test_iteration_merges_overlay_and_store(bench: Bench) -> None:
    """Iteration shows each key once: what is under way over what is frozen over what is stored."""
    with bench.event() as table:
        table.update(a=1, b=2, c=3)
    bench.checkpoint()
    with bench.event() as table:
        table.update(b=20, d=40)
    for part in bench.parts:
        part.overlay.cut([])
    with bench.event() as table:
        table.update(c=300, e=500)
        del table["a"]
        assert dict(table.items()) == {"b": 20, "c": 300, "d": 40, "e": 500}
        assert len(table) == 4


def test_an_iteration_may_change_the_table(bench: Bench) -> None:
    """Changing the table while it is iterated does not disturb the iteration."""
    with bench.event() as table:
        table.update(a=1, b=2, c=3)
    bench.checkpoint()
    with bench.event() as table:
        for key in table:
            del table[key]
        assert len(table) == 0


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (int, 2**63 - 1),
        (str, "ü"),
        (float, 0.5),
        (bool, True),
        (bytes, b"\x00"),
        (Decimal, Decimal("1.50")),
        (UUID, UUID(int=5)),
        (datetime, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (date, date(2026, 1, 2)),
        (Color, Color.RED),
        (int | None, None),
        (Account, Account(owner="me", amounts=[1, 2])),
        (dict[str, list[int]], {"a": [1]}),
    ],
)
def test_values_come_back(type_: Any, value: Any) -> None:
    """A value is the same in its event, from the overlay, and from the store."""
    bench = used(Bench(Schema.for_table(str, type_)))
    with bench.event() as table:
        table["k"] = value
        assert table["k"] == value
    assert bench.table["k"] == value
    bench.checkpoint()
    assert bench.table.get("k", committed=True) == value
    assert type(bench.table["k"]) is type(value)
    assert "k" in bench.table


@pytest.mark.parametrize("key", ["a", "a-b", "ü", ""])
def test_text_keys(bench: Bench, key: str) -> None:
    """Any text is a key."""
    with bench.event() as table:
        table[key] += 1
        table[key] += 1
        assert (table[key], list(table)) == (2, [key])


@pytest.mark.parametrize(
    ("type_", "key"), [(int, 5), (bytes, b"\x00"), (tuple[str, int], ("a", 1)), (UUID, UUID(int=1))]
)
def test_other_keys(type_: Any, key: Any) -> None:
    """Keys of other types come back as what they were."""
    bench = used(Bench(Schema.for_table(type_, int), default=int))
    with bench.event() as table:
        table[key] += 1
        assert list(table.items()) == [(key, 1)]


def test_none_is_no_key(bench: Bench) -> None:
    """``None`` is refused as a key: on the changelog it would be no key."""
    with bench.event() as table, pytest.raises(TableError, match="table table: None is not a key"):
        table[None] = 1


def test_equal_keys_are_one(bench: Bench) -> None:
    """Keys that are equal but not the same object meet."""
    with bench.event() as table:
        table["key"] = 1
        table["".join(["k", "ey"])] += 1
        assert table["key"] == 2


# -- values that change in place


def test_changes_in_place_must_be_assigned() -> None:
    """What is read is a copy: changing it has no effect until it is assigned."""
    bench = used(Bench(Schema.for_table(str, Account)))
    with bench.event() as table:
        mine = Account(owner="me", amounts=[1])
        table["k"] = mine
        mine.amounts.append(2)
        assert table["k"].amounts == [1]
        table["k"].amounts.append(3)
        assert table["k"].amounts == [1]

        account = table["k"]
        account.amounts.append(4)
        table["k"] = account
        assert table["k"].amounts == [1, 4]
    bench.checkpoint()
    bench.table["k"].amounts.append(5)
    assert bench.table["k"].amounts == [1, 4]


# -- events


def test_a_failed_event_leaves_nothing(bench: Bench) -> None:
    """What an event changed before it failed is taken back, also what it changed twice or deleted."""
    with bench.event() as table:
        table.update(a=1, b=2)

    def failing() -> None:
        with bench.event() as table:
            table["a"] += 10
            table["a"] += 10
            table["new"] = 5
            del table["b"]
            raise ValueError("provoked")

    with pytest.raises(ValueError, match="provoked"):
        failing()
    assert dict(bench.table.items()) == {"a": 1, "b": 2}


def test_committed_reads(bench: Bench) -> None:
    """``committed=True`` reads the state of the last checkpoint, inside events and outside."""
    with bench.event() as table:
        table["a"] = 1
        assert (table.get("a"), table.get("a", committed=True)) == (1, None)
    bench.checkpoint()
    with bench.event() as table:
        table["a"] = 2
        assert (table.get("a"), table.get("a", committed=True)) == (2, 1)
    assert (bench.table.get("a"), bench.table.get("a", committed=True)) == (2, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.__setitem__("a", 1),
        lambda table: table.__delitem__("a"),
        lambda table: table.pop("a"),
        lambda table: table.setdefault("x", 1),
        lambda table: table.update(x=1),
    ],
)
def test_changes_outside_events_are_refused(bench: Bench, change: Any) -> None:
    """Outside of an event a table cannot be changed; the error says where it can."""
    with bench.event() as table:
        table["a"] = 1
    with pytest.raises(TableError, match="cannot be changed outside of an event: change it in the loop over a stream"):
        change(bench.table)
    assert dict(bench.table.items()) == {"a": 1}


def test_agents_with_concurrency_are_refused() -> None:
    """An agent whose events finish out of order cannot change a table."""
    bench = Bench()
    bench.cursor = Cursor("crowd[1]", "crowd", lambda held: None, concurrent=True)
    set_effects(bench.cursor)
    with bench.event() as table, pytest.raises(TableError, match=r"crowd\[1\].*give the agent concurrency=1"):
        table["a"] = 1


# -- partitions


def test_an_event_uses_its_partition(bench: Bench) -> None:
    """In an event reads, writes and iteration are about the partition of the event; the same key may be in others."""
    for partition in range(2):
        with bench.event(partition) as table:
            table["a"] = partition + 1
            table[f"only-{partition}"] = 1
    with bench.event(1) as table:
        assert (table["a"], "only-0" in table, len(table)) == (2, False, 2)
    assert len(bench.table) == 4


def test_reads_outside_events_probe(bench: Bench) -> None:
    """Without an event a key is found in whatever partition has it, also after it moved to another."""
    with bench.event(1) as table:
        table["a"] = 1
    assert (bench.table["a"], bench.table.get("x"), bench.table["x"]) == (1, None, 0)
    with bench.event(1) as table:
        del table["a"]
    with bench.event(0) as table:
        table["a"] = 2
    assert bench.table["a"] == 2
    bench.table.detach(bench.run, 0)
    assert bench.table["a"] == 0


def test_a_partition_that_is_not_here(bench: Bench) -> None:
    """An event of a partition that this worker does not hold is refused, by name."""
    bench.table.detach(bench.run, 1)
    with (
        bench.event(1) as table,
        pytest.raises(TableError, match=r"does not hold the partition of the event .*source-1"),
    ):
        table["a"] = 1


def test_a_list_of_several_partitions(bench: Bench) -> None:
    """In a list of ``take`` that mixes partitions nothing says which state is meant; one of a single partition works."""
    with bench.event(1) as table:
        bench.cursor.others = [(Session(TP("source", 0), Schema(), 2), StoredRecord(0, 0, None, b""))]
        for access in (lambda: table["x"], lambda: table.__setitem__("x", 1), lambda: table.get("x")):
            with pytest.raises(TableError, match="by_partition=True"):
                access()
        assert bench.cursor.session is not None
        bench.cursor.others = [(bench.cursor.session, StoredRecord(0, 0, None, b""))]
        table["x"] = 1
        assert table["x"] == 1
        bench.cursor.others = []


def test_an_event_in_memory(bench: Bench) -> None:
    """An event of a channel belongs to no partition: there is no state for it."""
    with bench.event(-1, topic="local") as table, pytest.raises(TableError, match=r"local.*in memory only"):
        table["x"] = 1


def test_another_partition_count(bench: Bench) -> None:
    """Events of a topic with another partition count cannot change the table."""
    with (
        bench.event(1, topic="other", partitions=8) as table,
        pytest.raises(PartitionsMismatchError, match="table table has 2 partitions, and topic other has 8"),
    ):
        table["a"] = 1


def test_another_partition_count_where_the_partition_is_not_here() -> None:
    """The counts are the reason, and not that nobody has the partition here."""
    bench = used(Bench(default=int))
    bench.table.partitions = 2
    told = "table table has 2 partitions, and topic other has 8: repartition the stream"
    with bench.event(5, topic="other", partitions=8) as table, pytest.raises(PartitionsMismatchError, match=told):
        table["a"] = 1


def test_another_partition_count_when_reading(bench: Bench) -> None:
    """Events of a topic with another partition count cannot read the table either: they would see foreign state."""
    with bench.event(1) as table:
        table["a"] = 1
    with bench.event(1, topic="other", partitions=8) as table, pytest.raises(PartitionsMismatchError):
        assert table["a"]


# -- definitions and damage


@pytest.mark.parametrize("name", ["", "a/b", "ä", "a b", "x" * 201])
def test_names_are_checked(name: str) -> None:
    """Names become file and topic names: others are refused."""
    with pytest.raises(ConfigurationError, match="is not a table name"):
        Table(name, schema=Schema(), changelog="c")


def test_repr(bench: Bench) -> None:
    """A table shows its name and how much of it is here."""
    assert repr(bench.table) == "<Table table: 2 partitions here>"


def test_a_value_of_another_type_fails_in_its_event(bench: Bench) -> None:
    """What could not be read again is refused when it is written, not after a restart."""
    with bench.event(1) as table:
        with pytest.raises(EncodeError, match="table table, with value_type int: the value of 'a' cannot be 'text'"):
            table["a"] = "text"
        assert "a" not in table
