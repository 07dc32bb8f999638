"""Windows against a plain dictionary: events in any order of time that may fail, checkpoints, drops, restarts, recovery, and closing."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from stream_tables.windows.aligned import HoppingWindow
from stream_tables.windows.rows import NEVER, ROWS

from .against import EXPIRES, INSTANTS, KEYS, Against, OnRocksDB

SIZES = [(10, 10), (10, 5), (10, 4), (7, 3), (1, 1)]


class Oracle:
    """What is to come out: sums by key and start, in milliseconds."""

    def __init__(self, size: int, step: int, expires: int | None, grace: int | None) -> None:
        self.size, self.step, self.expires, self.grace = size, step, expires, grace
        self.sums: dict[tuple[str, int], int] = {}
        self.time = NEVER

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


class WindowsAgainstDict(Against[Oracle]):
    """Windows of one size."""

    @initialize(sizes=st.sampled_from(SIZES), expires=EXPIRES, grace=st.sampled_from([None, 0, 3]))
    def begin(self, sizes: tuple[int, int], expires: int | None, grace: int | None) -> None:
        """Define the table."""
        expires, grace = self.lengths(expires, grace)
        size, step = (one / 1000 for one in sizes)
        keeps, waits = (None if one is None else one / 1000 for one in (expires, grace))
        self.define(Oracle(*sizes, expires, grace), HoppingWindow(size, step, keeps, grace=waits))

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

    @invariant()
    def nothing_is_stored_that_is_expired(self) -> None:
        """No row lies below what expired by the stored time."""
        if hasattr(self, "bench") and self.oracle.expires is not None and self.before.time != NEVER and not self.told:
            rows = [row for row, _ in self.bench.part.store.range(ROWS)]
            gone = self.before.time - self.oracle.size - self.oracle.expires
            assert all(int.from_bytes(row[:8]) - 2**63 > gone for row in rows)


class WindowsOnRocksDB(WindowsAgainstDict, OnRocksDB[Oracle]):
    """The same on a disk."""


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
