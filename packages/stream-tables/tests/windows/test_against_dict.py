"""Windows against a plain dictionary: events in any order of time that may fail, checkpoints, drops, restarts, recovery, and closing."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores
from stream_tables.windows.aligned import HoppingWindow
from stream_tables.windows.rows import NEVER, ROWS

from .bench import WindowBench

SIZES = [(10, 10), (10, 5), (10, 4), (7, 3), (1, 1)]
KEYS = st.sampled_from(["a", "b", "ab", ""])
INSTANTS = st.integers(-20, 120)


class FailedError(Exception):
    """The event fails."""


class Oracle:
    """What is to come out: sums by key and start, in milliseconds."""

    def __init__(self, size: int, step: int, expires: int | None, grace: int | None) -> None:
        self.size, self.step, self.expires, self.grace = size, step, expires, grace
        self.sums: dict[tuple[str, int], int] = {}
        self.time = NEVER
        self.closed: set[tuple[str, int]] = set()

    def open(self, at: int) -> list[int]:
        """The starts of the windows of an instant that take it."""
        starts = [s for s in range(at - self.size + 1, at + 1) if (s + self.size) % self.step == 0]
        grace = self.expires if self.grace is None else self.grace
        time = max(at, self.time)
        return [s for s in starts if grace is None or s + self.size + grace > time]

    def add(self, key: str, at: int, amount: int) -> None:
        """Count it in each of them."""
        if starts := self.open(at):
            self.time = max(at, self.time)
        for start in starts:
            self.sums[key, start] = self.sums.get((key, start), 0) + amount

    def delete(self, key: str, at: int) -> None:
        """Delete each of them."""
        found = [start for start in self.open(at) if (key, start) in self.sums]
        for start in found:
            del self.sums[key, start]
        if found:
            self.time = max(at, self.time)

    def readable(self) -> dict[tuple[str, float], int]:
        """What can be read, by key and start in seconds."""
        return {
            (key, start / 1000): value
            for (key, start), value in self.sums.items()
            if self.expires is None or start + self.size + self.expires > self.time
        }

    def copy(self) -> Oracle:
        """The same, apart from it."""
        made = Oracle(self.size, self.step, self.expires, self.grace)
        made.sums, made.time, made.closed = dict(self.sums), self.time, set(self.closed)
        return made


class WindowsAgainstDict(RuleBasedStateMachine):
    """One actor on one partition, in memory; times are milliseconds, so that windows of a few of them hold the events."""

    told = False

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[Oracle] = []
        self.calls: list[tuple[str, int, int]] = []
        self.committed_calls: list[tuple[str, int, int]] = []
        self.rebuilt = 0

    def make_stores(self) -> Stores:
        """The stores of the table."""
        return MemoryStores()

    @initialize(
        sizes=st.sampled_from(SIZES), expires=st.sampled_from([None, 0, 5, 30]), grace=st.sampled_from([None, 0, 3])
    )
    def begin(self, sizes: tuple[int, int], expires: int | None, grace: int | None) -> None:
        """Define the table."""
        if expires is not None and grace is not None:
            grace = min(grace, expires)
        if self.told and expires is None and grace is None:
            expires = 5
        self.oracle = Oracle(*sizes, expires, grace)
        self.before = self.oracle.copy()
        window = HoppingWindow(
            sizes[0] / 1000,
            sizes[1] / 1000,
            None if expires is None else expires / 1000,
            grace=None if grace is None else grace / 1000,
        )
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

    @rule(key=KEYS, at=INSTANTS)
    def read(self, key: str, at: int) -> None:
        """An event that reads its latest window, and all windows of a key."""
        readable = self.oracle.readable()
        start = max(
            s for s in range(at - self.oracle.size + 1, at + 1) if (s + self.oracle.size) % self.oracle.step == 0
        )
        with self.bench.event(at / 1000) as windows:
            assert windows[key].value() == readable.get((key, start / 1000), 0)
            assert (key in windows) == ((key, start / 1000) in readable)
            found = {span.start: value for span, value in windows[key].items()}
            assert found == {s: value for (other, s), value in readable.items() if other == key}
            assert dict(windows.items()) == {k: value for (k, s), value in readable.items() if s == start / 1000}

    @rule()
    def checkpoint(self) -> None:
        """Commit."""
        self.bench.checkpoint()
        self.before = self.oracle.copy()
        self.committed_calls = list(self.calls)

    @rule()
    def drop(self) -> None:
        """Drop the interval."""
        self.bench.drop()
        self.oracle = self.before.copy()
        self.calls = list(self.committed_calls)

    @rule()
    def restart(self) -> None:
        """Begin anew with what is stored."""
        self.bench.restart()
        self.oracle = self.before.copy()
        self.calls = list(self.committed_calls)

    @rule(data=st.data())
    def recover(self, data: st.DataObject) -> None:
        """The changelog up to any checkpoint gives what the table had then."""
        if self.bench.cuts:
            at = data.draw(st.integers(0, len(self.bench.cuts) - 1))
            end, had, time = self.bench.cuts[at]
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

    @invariant()
    def nothing_is_stored_that_is_expired(self) -> None:
        """No row lies below what expired by the stored time."""
        if hasattr(self, "bench") and self.oracle.expires is not None and self.before.time != NEVER and not self.told:
            rows = [row for row, _ in self.bench.part.store.range(ROWS)]
            gone = self.before.time - self.oracle.size - self.oracle.expires
            assert all(int.from_bytes(row[:8]) - 2**63 > gone for row in rows)


class WindowsOnRocksDB(WindowsAgainstDict):
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


class WindowsThatClose(WindowsAgainstDict):
    """The same where somebody is told that windows close."""

    told = True

    @rule()
    def close(self) -> None:
        """All windows that are closed by now are told of once, in order of their ends and keys, with their last value."""
        before = len(self.calls)
        self.bench.close(self.tell)
        oracle, told = self.oracle, {(key, start) for key, start, _ in self.calls[:before]}
        grace = oracle.expires if oracle.grace is None else oracle.grace
        assert grace is not None
        due = [
            (key, start, value)
            for (key, start), value in oracle.sums.items()
            if oracle.time != NEVER and start + oracle.size + grace <= oracle.time and (key, start) not in told
        ]
        assert self.calls[before:] == sorted(due, key=lambda one: (one[1], f'"{one[0]}"'.encode()))

    @invariant()
    def none_is_told_twice(self) -> None:
        """A window closes once, and those that end earlier close first."""
        told = [(start, f'"{key}"'.encode()) for key, start, _ in self.calls]
        assert len(told) == len(set(told))


TestWindowsAgainstDict = WindowsAgainstDict.TestCase
TestWindowsAgainstDict.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWindowsThatClose = WindowsThatClose.TestCase
TestWindowsThatClose.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestWindowsOnRocksDB = WindowsOnRocksDB.TestCase
TestWindowsOnRocksDB.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
