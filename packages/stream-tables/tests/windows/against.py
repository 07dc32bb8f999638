"""Windows against something plain that says what is to come out: events that may fail, checkpoints, drops, restarts, recovery, closing."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Generic, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores
from stream_tables.windows.kinds import Window
from stream_tables.windows.rows import NEVER

from .bench import WindowBench

__all__ = ["EXPIRES", "INSTANTS", "KEYS", "Against", "OnRocksDB", "Told"]

KEYS = st.sampled_from(["a", "b", "ab", ""])
INSTANTS = st.integers(-20, 120)
EXPIRES = st.sampled_from([None, 0, 5, 30])

Told = tuple[str, int, int]
"""Key, begin in milliseconds and value of a window that closes."""


class Oracle(Protocol):
    """What is to come out, in milliseconds."""

    time: int

    def add(self, key: str, at: int, amount: int) -> None:
        """Count an event, unless it is late."""

    def delete(self, key: str, at: int) -> None:
        """Delete what it belongs to."""

    def readable(self) -> dict[tuple[str, float], int]:
        """What can be read, by key and begin in seconds."""


O = TypeVar("O", bound=Oracle)  # noqa: E741


class FailedError(Exception):
    """The event fails."""


class Against(RuleBasedStateMachine, Generic[O]):
    """One actor on one partition, in memory; times are milliseconds, so that windows of a few of them hold the events."""

    told = False
    """Whether somebody is told that windows close."""

    oracle: O
    before: O
    bench: WindowBench

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Told] = []
        self.committed_calls: list[Told] = []
        self.rebuilt = 0

    def make_stores(self) -> Stores:
        """The stores of the table."""
        return MemoryStores()

    def lengths(self, expires: int | None, grace: int | None) -> tuple[int | None, int | None]:
        """Lengths that fit together, and such that windows close where somebody is told of it."""
        if expires is not None and grace is not None:
            grace = min(grace, expires)
        return 5 if self.told and expires is None and grace is None else expires, grace

    def define(self, oracle: O, window: Window) -> None:
        """Define the table."""
        self.oracle, self.before = oracle, deepcopy(oracle)
        options = {"on_window_close": self.tell} if self.told else {}
        self.bench = WindowBench(window, self.make_stores(), **options)

    def teardown(self) -> None:
        """Close the stores."""
        if hasattr(self, "bench"):
            self.bench.part.store.close()

    def tell(self, key: tuple[str, Any], value: int) -> None:
        """Take in a window that closes."""
        self.calls.append((key[0], round(key[1].start * 1000), value))

    @rule(key=KEYS, at=INSTANTS, amount=st.integers(1, 5))
    def add(self, key: str, at: int, amount: int) -> None:
        """An event."""
        self.bench.add(key, at / 1000, amount)
        self.oracle.add(key, at, amount)

    @rule(key=KEYS, at=INSTANTS)
    def delete(self, key: str, at: int) -> None:
        """An event that deletes."""
        with suppress(KeyError), self.bench.event(at / 1000) as windows:
            del windows[key]
        self.oracle.delete(key, at)

    @rule(key=KEYS, at=INSTANTS)
    def fail(self, key: str, at: int) -> None:
        """An event that fails."""
        with suppress(FailedError), self.bench.event(at / 1000) as windows:
            windows[key] += 1
            raise FailedError

    @rule()
    def checkpoint(self) -> None:
        """Commit."""
        self.bench.checkpoint()
        self.before = deepcopy(self.oracle)
        self.committed_calls = list(self.calls)

    @rule()
    def drop(self) -> None:
        """Drop the interval."""
        self.bench.drop()
        self._go_back()

    @rule()
    def restart(self) -> None:
        """Begin anew with what is stored."""
        self.bench.restart()
        self._go_back()

    def _go_back(self) -> None:
        self.oracle = deepcopy(self.before)
        self.calls = list(self.committed_calls)

    @rule(data=st.data())
    def recover(self, data: st.DataObject) -> None:
        """The changelog up to any checkpoint gives what the table had then."""
        if self.bench.cuts:
            end, had, time = data.draw(st.sampled_from(self.bench.cuts))
            self.rebuilt += 1
            assert self.bench.rebuild(end, f"rebuilt-{self.rebuilt}") == (had, time)

    @rule(data=st.data())
    def recover_what_is_committed(self, data: st.DataObject) -> None:
        """A checkpoint whose offsets were not committed is passed over: the table has what it had before, and its time."""
        if self.bench.cuts:
            at = data.draw(st.integers(0, len(self.bench.cuts) - 1))
            end, before = self.bench.cuts[at][0], self.bench.cuts[at - 1][1:] if at else ({}, NEVER)
            self.rebuilt += 1
            assert self.bench.rebuild(end, f"rebuilt-{self.rebuilt}", at) == before

    @invariant()
    def is_what_the_oracle_says(self) -> None:
        """All windows, and the time."""
        if hasattr(self, "bench"):
            assert self.bench.all() == self.oracle.readable()
            assert self.bench.part.time(None) == self.oracle.time


class OnRocksDB(Against[O]):
    """The same on a disk."""

    def make_stores(self) -> Stores:
        """The stores of the table."""
        self.directory = Path(mkdtemp())
        return RocksDBStores(self.directory, RocksDBOptions())

    def teardown(self) -> None:
        """Remove them."""
        super().teardown()
        if hasattr(self, "directory"):
            rmtree(self.directory, ignore_errors=True)
