"""Tables are read in any thread: what is read is whole, and never older than what the same thread has read before."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest

from stream_core.errors import StoreError
from stream_core.memory import MemoryStores
from stream_core.ports import Store, Stores
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores
from stream_tables.stores import open_when_free
from stream_tables.table import Table

from .bench import Bench, used

THREADS, ROUNDS, KEYS = 3, 100, [f"k{number}" for number in range(8)]


@pytest.fixture(params=["memory", "rocksdb"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    """Both drivers; threads take turns as often as they can."""
    made: Stores = MemoryStores() if request.param == "memory" else RocksDBStores(tmp_path, RocksDBOptions())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield made
    sys.setswitchinterval(interval)
    made.close()


def bench(stores: Stores | None = None, partitions: int = 1) -> Bench:
    """A table of pairs: the same number twice."""
    return used(Bench(Schema.for_table(str, list[int]), partitions, stores=stores, default=lambda: [0, 0]))


class Waiting:
    """Opens stores as a worker does: a thread that is in the middle of a read keeps the lock of a closed store until it has read."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self.destroy, self.close = stores.destroy, stores.close

    def open(self, table: str, partition: int) -> Store:
        """Open a store, once it is free."""
        return asyncio.run(open_when_free(self._stores, table, partition, timeout=60.0))


def elsewhere(body: Callable[[], Any]) -> Any:
    """Run a function in another thread, with the context of this one, as ``asyncio.to_thread`` does."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, body).result()


LOOKS: dict[str, Callable[[Table[str, list[int]]], dict[str, list[int]]]] = {
    "one by one": lambda table: {key: table[key] for key in KEYS},
    "get": lambda table: {key: table.get(key, [0, 0]) for key in KEYS if key in table},
    "committed": lambda table: {key: table.get(key, [0, 0], committed=True) for key in KEYS},
    "items": lambda table: dict(table.items()),
}


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS.keys())
def test_readers_meet_whole_values_and_go_forward(
    stores: Stores, look: Callable[[Table[str, list[int]]], dict[str, list[int]]]
) -> None:
    """While events come and fail and checkpoints come between: no value is torn, missing, taken back, or older than before."""
    world = bench(stores, 2)
    table, over = world.table, threading.Event()
    with world.event(0):
        for key in KEYS:
            table[key] = [1, 1]

    def read() -> int:
        seen, looks = dict.fromkeys(KEYS, 1), 0
        while True:
            found = look(table)
            if look is not LOOKS["committed"]:
                assert found.keys() == set(KEYS)
            for key, (first, second) in found.items():
                assert first == second
                if first:  # else nothing was committed yet
                    assert first >= seen[key], key
                    seen[key] = first
            looks += 1
            if over.is_set():
                return looks

    with ThreadPoolExecutor(THREADS) as pool:
        reading = [pool.submit(read) for _ in range(THREADS)]
        try:
            for number in range(2, ROUNDS):
                with world.event(0):
                    for key in KEYS:
                        table[key] = [number, number]
                    if number % 3 == 0:  # the checkpoint comes while the event is open: it belongs to the next one
                        for part in world.parts:
                            part.overlay.cut([world.cursor])
                            _commit(part)
                if number % 3 == 1:
                    world.checkpoint()
                if any(one.done() for one in reading):
                    break
        finally:
            over.set()
        assert all(one.result() > 0 for one in reading)


def _commit(part: Any) -> None:
    asyncio.run(part.commit(1))


def test_partitions_come_and_go_while_threads_read(stores: Stores) -> None:
    """A reader finds what is held at that time, and no error of a partition that was given up."""
    world = bench(Waiting(stores), 4)
    table, over = world.table, threading.Event()
    for number in range(4):
        with world.event(number):
            for key in KEYS[number::4]:
                table[key] = [1, 1]
    world.checkpoint()

    def read() -> int:
        looks = 0
        while True:
            assert {key for key in KEYS if key in table} <= set(KEYS)
            assert {tuple(table.get(key, [1, 1])) for key in KEYS} == {(1, 1)}
            assert {tuple(table[key]) for key in KEYS} <= {(1, 1), (0, 0)}
            try:
                assert set(table) <= set(KEYS)
                assert len(table) <= len(KEYS)
            except StoreError as error:  # iterations begin with what was held, and say so when that ends
                assert "closed or wiped during an iteration" in str(error)  # noqa: PT017
            looks += 1
            if over.wait(0.001):  # else the threads leave nothing of the interpreter to whoever opens stores
                return looks

    with ThreadPoolExecutor(THREADS) as pool:
        reading = [pool.submit(read) for _ in range(THREADS)]
        try:
            for number in range(20):
                part = table.parts[number % 4]
                table.detach(world.run, number % 4)
                part.store.close()
                world._part(number % 4, 4)
                if any(one.done() for one in reading):
                    break
        finally:
            over.set()
        assert all(one.result() > 0 for one in reading)


def test_an_event_reads_its_own_values_in_another_thread(stores: Stores) -> None:
    """As ``asyncio.to_thread`` in a body does: it sees its partition, with what it has changed itself."""
    world = bench(stores, 2)
    with world.event(1) as table:
        table["a"] = [5, 5]
        assert elsewhere(lambda: (table["a"], table.get("a"), "a" in table, dict(table.items()))) == (
            [5, 5],
            [5, 5],
            True,
            {"a": [5, 5]},
        )
    with world.event(0) as table:
        assert elsewhere(lambda: ("a" in table, table.get("a"))) == (False, None)


CHANGES: dict[str, Callable[[Table[str, Any], Any], object]] = {
    "assignment": lambda table, value: table.__setitem__("a", value),
    "deletion": lambda table, value: table.__delitem__("b"),
    "pop": lambda table, value: table.pop("b"),
    "update": lambda table, value: table.update(a=value),
    "default": lambda table, value: table.setdefault("a", value),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("value", [1, [1, 1]])
def test_a_table_is_changed_in_the_thread_of_its_event(value: Any, change: Callable[[Any, Any], object]) -> None:
    """A change from another thread could meet a checkpoint in its midst, or the next event: it is refused, and nothing of it stays."""
    world = used(Bench(Schema.for_table(str, int if value == 1 else list[int]), 1))
    with world.event() as table:
        table["b"] = value
    with world.event() as table:
        with pytest.raises(TableError, match="in another thread than that of its event"):
            elsewhere(lambda: change(table, value))
        assert list(table) == ["b"]
