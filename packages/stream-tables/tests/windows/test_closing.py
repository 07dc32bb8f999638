"""The task of a partition that tells of windows and lets time go on: from where it goes on, and what it says of itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from stream_core.engine.idle import Rest
from stream_core.memory import MemoryStores
from stream_core.memory.store import MemoryStore
from stream_core.ports import KeyRange
from stream_core.streams.effects import set_effects
from stream_tables.partition import Facts
from stream_tables.stores import CHUNK
from stream_tables.windows.aligned import TumblingWindow
from stream_tables.windows.closing import Closer
from stream_tables.windows.rows import CLOSED, TIME

from .bench import WindowBench


class Writing(MemoryStore):
    """A store that notes what each write brings: the keys of the values, and the names of the facts."""

    writes: list[tuple[set[bytes], set[str]]]

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        facts: Mapping[str, bytes] | None = None,
        *,
        deleted: Collection[KeyRange] = (),
    ) -> None:
        """Note a write, and do it."""
        self.writes.append((set(changes), set(facts or ())))
        super().write(changes, facts, deleted=deleted)


class WritingStores(MemoryStores):
    """A disk with these.

    Attributes:
        writes: those of all its stores.
    """

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[set[bytes], set[str]]] = []

    def open(self, table: str, partition: int) -> MemoryStore:
        """Open one."""
        super().open(table, partition).close()
        store = Writing(f"table {table}", self._data[table, partition])
        store.writes = self.writes
        return store


class Idle:
    """A bench whose inputs are looked at now and then.

    Args:
        told: whether somebody is told that windows close.
    """

    def __init__(self, *, told: bool) -> None:
        on_close = self.tell if told else None
        options = {"on_window_close": on_close} if told else {}
        self.bench = WindowBench(TumblingWindow(10, expires=10, grace=0), **options)
        self.told: list[Any] = []
        keys = self.bench.windows._keys
        self.closer = Closer("table", self.bench.part, self.bench.window, keys, on_close, self.bench.work)  # type: ignore[arg-type]

    def tell(self, key: Any, value: int) -> None:
        """Take in a window."""
        self.told.append((key, value))

    def look(self, since: float, until: float) -> float:
        """Look when inputs have had nothing new for a while; returns the time of the partition in seconds."""
        self.bench.work.rest = Rest(since, until)
        asyncio.run(self.closer._go_on())
        set_effects(self.bench.cursor)
        return self.bench.part.time(None) / 1000


@pytest.mark.parametrize("told", [True, False])
def test_time_goes_on_from_the_last_event(told: bool) -> None:
    """Also where each look finds the inputs at rest, for as long as the one before: an event may have come and gone between them."""
    idle = Idle(told=told)
    for number, at in enumerate(range(5, 5000, 30)):
        idle.bench.add("a", at)
        assert idle.look(number, number) == at
    began = 1000
    idle.bench.add("a", 5003)
    assert idle.look(began, began + 3) == 5003
    assert idle.look(began, began + 20) == 5023
    assert idle.look(began, began + 20) == 5023  # the broker did not answer: nothing is known of the time since
    idle.bench.add("a", 6001)
    assert idle.look(began + 30, began + 70) == 6041  # a look that came late
    idle.bench.add("a", 6045)
    assert idle.look(began + 80, began + 86) == 6051


def test_time_goes_on_from_where_others_have_moved_it() -> None:
    """What is done when windows of another table close may change this one: from there on it is the pace of the clock, too."""
    idle = Idle(told=True)
    idle.bench.add("a", 5)
    assert idle.look(0, 6) == 11
    idle.bench.add("b", 1000)
    assert idle.look(0, 16) == 1010


def test_a_message_names_the_window_that_somebody_is_told_of() -> None:
    """As where a function of a user hangs."""
    idle = Idle(told=True)
    for at in (1, 12, 20):
        idle.bench.add("a", at)
    seen: list[str] = []
    idle.bench.close(lambda key, value: seen.append(str(idle.bench.work.names[-1])))
    assert seen == ["on_window_close of 'a' in (0.0, 9.9)", "on_window_close of 'a' in (10.0, 19.9)"]


@pytest.mark.parametrize("moved", ["first", "last"])
def test_the_time_and_what_is_closed_are_stored_with_the_last_of_many_changes(moved: str) -> None:
    """A store that has some of them still says the time of before, whenever the time was moved: it comes with the position."""
    stores = WritingStores()
    bench = WindowBench(TumblingWindow(10, expires=60), stores)
    bench.add("a", 5)
    bench.add("b", 60)
    bench.checkpoint()

    def close() -> None:
        told: list[Any] = []
        bench.add("b", 80)
        bench.close(lambda key, value: told.append(key))
        assert told == [("a", (0.0, 9.9))]

    if moved == "first":
        close()
    for number in range(3 * CHUNK):
        bench.add(f"c{number}", 55)
    if moved == "last":
        close()
    assert {TIME, CLOSED} < set(bench.part.overlay.active)
    stores.writes.clear()
    bench.checkpoint()

    *others, (keys, facts) = stores.writes
    assert len(others) > 2
    assert {TIME, CLOSED} < keys
    assert Facts.POSITION in facts
    for before, said in others:
        assert not {TIME, CLOSED} & before
        assert not said
    assert bench.part.store.fact(Facts.POSITION) == b"%d" % len(bench.log)
