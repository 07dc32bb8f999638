"""A value that an event changes in place and does not assign is noticed when the event finishes."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest
from msgspec import field

from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_tables.errors import NotAssignedError
from stream_tables.in_place import MOST
from stream_tables.table import Table

from .bench import Bench, used


class Account(Record):
    """A value with structure."""

    count: int = 0
    tags: list[str] = field(default_factory=list)


class Color(Enum):
    """A value of a few."""

    RED = "red"


def accounts(*, check_mutations: bool = True, default: Callable[[], Any] | None = Account) -> Bench:
    """A table of records, with one account in it, whose changes in place are looked for."""
    schema = Schema.for_table(str, Account)
    bench = used(Bench(schema, default=default, limits={"check_mutations": check_mutations}))
    with bench.event() as table:
        table["x"] = Account(1, ["a"])
    return bench


def add(account: Account) -> Account:
    """Change an account in place."""
    account.count += 1
    return account


def set_default(table: Table[Any, Any]) -> None:
    """Change what was stored by ``setdefault``."""
    add(table.setdefault("new", Account()))


def assign_and_change(table: Table[Any, Any]) -> None:
    """Change a value behind its assignment."""
    account = table["x"]
    table["x"] = add(account)
    add(account)


WAYS = {
    "read": lambda table: add(table["x"]),
    "inside": lambda table: table["x"].tags.append("b"),
    "default": lambda table: add(table["missing"]),
    "get": lambda table: add(table.get("x")),
    "committed": lambda table: add(table.get("x", committed=True)),
    "values": lambda table: [add(account) for account in table.values()],
    "items": lambda table: [add(account) for _, account in list(table.items())],
    "setdefault of a key that is there": lambda table: add(table.setdefault("x", Account())),
    "setdefault of one that is not": set_default,
    "behind the assignment": assign_and_change,
    "broken": lambda table: table["x"].tags.append(object()),
}


@pytest.mark.parametrize("stored", [False, True], ids=["uncommitted", "stored"])
@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
def test_a_change_that_is_not_assigned(change: Callable[[Table[Any, Any]], Any], stored: bool) -> None:
    """However the event came by the value: it fails, names table and key, says what to write, and leaves nothing."""
    bench = accounts()
    bench.checkpoint()
    if not stored:
        with bench.event() as table:
            table["x"] = Account(1, ["a"])
    before = dict(bench.table.items())

    def run() -> None:
        with bench.event() as table:
            change(table)

    with pytest.raises(
        NotAssignedError, match=r"table table: the value of '(x|new|missing)' was changed but not assigned.*table\['"
    ):
        run()
    assert dict(bench.table.items()) == before
    assert not bench.cursor.checks
    with bench.event() as table:  # nothing of it is left for the next event
        assert table["x"] == Account(1, ["a"])


@pytest.mark.parametrize("kind", [list, dict, set, bytearray])
def test_every_kind_that_can_change(kind: type) -> None:
    """Lists, dictionaries and sets are looked at as records are, also where no type is declared."""
    bench = used(Bench(Schema.for_table(str), default=kind, limits={"check_mutations": True}))

    def change() -> None:
        with bench.event() as table:
            value = table["k"]
            if kind is dict:
                value["a"] = 1
            elif kind is set:
                value.add(1)
            else:
                value.append(1)

    with pytest.raises(NotAssignedError):
        change()


def move(table: Table[Any, Any]) -> None:
    """Change a value and assign it elsewhere."""
    table["y"] = add(table["x"])


def replace(table: Table[Any, Any]) -> None:
    """Change a value, and assign another one made of it."""
    account = table["x"]
    account.tags.append("b")
    table["x"] = Account(account.count, account.tags[-1:])


def remove(table: Table[Any, Any]) -> None:
    """Change a value and delete its key."""
    add(table["x"])
    del table["x"]


def take_out(table: Table[Any, Any]) -> None:
    """Change what was taken out."""
    add(table.pop("x"))


def change_back(table: Table[Any, Any]) -> None:
    """Change a value and take that back."""
    account = table["x"]
    account.tags.append("b")
    account.tags.pop()


def use_again(table: Table[Any, Any]) -> None:
    """Assign one object to several keys, changed between."""
    account = Account()
    for key in ("a", "b", "c"):
        table[key] = add(account)


def read_again(table: Table[Any, Any]) -> None:
    """Change and assign, and read what is there now."""
    table["x"] = add(table["x"])
    assert table["x"].count == 2
    table["x"] = add(table["x"])


GOOD = {
    "nothing changed": lambda table: [table["x"], table["missing"], list(table.items())],
    "assigned": lambda table: table.__setitem__("x", add(table["x"])),
    "default assigned": lambda table: table.__setitem__("new", add(table["new"])),
    "changed back": change_back,
    "the caller's default": lambda table: add(table.get("missing", Account())),
    "moved": move,
    "replaced": replace,
    "deleted": remove,
    "taken out": take_out,
    "used again": use_again,
    "read again": read_again,
}


@pytest.mark.parametrize("use", GOOD.values(), ids=GOOD)
def test_a_change_that_is_assigned(use: Callable[[Table[Any, Any]], Any]) -> None:
    """An event that assigns what it changed, or has used a value for something else, finishes."""
    bench = accounts()
    if use is take_out:
        bench.checkpoint()
    with bench.event() as table:
        use(table)
    assert not bench.cursor.checks


def test_what_cannot_change_is_not_looked_at() -> None:
    """Numbers, text and the like cost nothing: the event has nothing to check."""
    for type_, value in ((int, 1), (str, "x" * 1000), (bytes, b"x"), (Color, Color.RED)):
        bench = used(Bench(Schema.for_table(str, type_), limits={"check_mutations": True}))
        with bench.event() as table:
            table["k"] = value
            assert table["k"] == value
            assert not bench.cursor.checks


def test_values_are_looked_at_within_an_event_only() -> None:
    """What an event kept and the next one changes is not a value of the table any more; outside of events nothing is looked at."""
    bench = accounts()
    with bench.event() as table:
        kept = table["x"]
    with bench.event():
        add(kept)
    add(bench.table["x"])
    add(bench.table["missing"])


def test_a_large_iteration_is_bounded() -> None:
    """Of an iteration over a large table no more than a thousand values are remembered."""
    bench = accounts()
    with bench.event() as table:
        table.update({f"k{number}": Account() for number in range(MOST + 10)})
    with bench.event() as table:
        assert len(list(table.values())) == MOST + 11
        assert bench.parts[0].in_place is not None
        assert len(bench.parts[0].in_place._lent[bench.cursor]) == MOST


def test_it_is_done_only_where_it_is_asked_for() -> None:
    """Without being asked a table does not look: the event finishes, and the change is lost."""
    bench = accounts(check_mutations=False)
    with bench.event() as table:
        add(table["x"])
        add(table["missing"])
        assert not bench.cursor.checks
        assert table["x"] == Account(1, ["a"])
