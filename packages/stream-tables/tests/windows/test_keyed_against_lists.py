"""Sessions and sliding windows against plain lists: events in any order that may fail, checkpoints, drops, restarts, recovery, closing."""

from __future__ import annotations

from typing import Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from stream_tables.windows.rows import NEVER, ROWS
from stream_tables.windows.session import SessionWindow
from stream_tables.windows.sliding import SlidingWindow

from . import against
from .against import EXPIRES, INSTANTS, KEYS, Against, OnRocksDB, Told

LENGTHS = st.integers(1, 20)


class Oracle(against.Oracle, Protocol):
    """What is to come out, in milliseconds."""

    def value(self, key: str, at: int) -> int | None:
        """What an event reads; ``None`` for nothing."""

    def readable(self) -> dict[tuple[str, float], int]:
        """What can be read, by key and begin in seconds."""

    def due(self) -> list[tuple[int, bytes, Told]]:
        """All windows that are closed, in order: of ends, then keys."""

    def lowest(self) -> int:
        """No event is kept that was at this instant or before."""


class Sessions:
    """Sessions as a list."""

    def __init__(self, gap: int, expires: int | None, grace: int | None) -> None:
        self.gap, self.expires = gap, expires
        self.grace = expires if grace is None else grace
        self.sessions: list[tuple[str, int, int, int]] = []
        self.time = NEVER

    def is_open(self, end: int, time: int) -> bool:
        return self.grace is None or time <= end + self.gap + self.grace

    def near(self, key: str, at: int, time: int) -> list[tuple[str, int, int, int]]:
        return [
            (other, start, end, value)
            for other, start, end, value in sorted(self.sessions)
            if key == other and start - self.gap <= at <= end + self.gap and self.is_open(end, time)
        ]

    def takes(self, key: str, at: int) -> bool:
        time = max(at, self.time)
        return self.is_open(at, time) or any(start <= at <= end for _, start, end, _ in self.near(key, at, time))

    def add(self, key: str, at: int, amount: int) -> None:
        if self.takes(key, at):
            self.time = max(at, self.time)
            near = self.near(key, at, self.time)
            start, end = min([at, *(one[1] for one in near)]), max([at, *(one[2] for one in near)])
            self.sessions = [one for one in self.sessions if one not in near]
            self.sessions.append((key, start, end, sum(one[3] for one in near) + amount))

    def delete(self, key: str, at: int) -> None:
        time = max(at, self.time)
        if self.takes(key, at) and (near := self.near(key, at, time)):
            self.time = time
            self.sessions = [one for one in self.sessions if one not in near]

    def is_gone(self, end: int) -> bool:
        return self.expires is not None and self.time > end + self.gap + self.expires

    def value(self, key: str, at: int) -> int | None:
        of_key = [one for one in sorted(self.sessions) if one[0] == key]
        for _, start, end, value in of_key:
            if start <= at <= end:
                return None if self.is_gone(end) else value
        near = self.near(key, at, self.time)
        return near[-1][3] if near else None

    def readable(self) -> dict[tuple[str, float], int]:
        return {(key, start / 1000): value for key, start, end, value in self.sessions if not self.is_gone(end)}

    def due(self) -> list[tuple[int, bytes, Told]]:
        return sorted(
            (end, f'"{key}"'.encode(), (key, start, value))
            for key, start, end, value in self.sessions
            if self.time != NEVER and not self.is_open(end, self.time)
        )

    def lowest(self) -> int:
        return NEVER if self.expires is None else self.time - self.gap - self.expires - 1


class Slides:
    """All events as a list; windows are added up anew each time."""

    def __init__(self, before: int, after: int, expires: int | None, grace: int | None) -> None:
        self.before, self.after, self.expires = before, after, expires
        self.grace = expires if grace is None else grace
        self.events: list[tuple[str, int, int, int | None]] = []
        self.time = NEVER

    def takes(self, at: int) -> bool:
        return self.grace is None or at + self.grace >= self.time

    def add(self, key: str, at: int, amount: int) -> None:
        if self.takes(at):
            self.time = max(at, self.time)
            self.events.append((key, at, len(self.events), amount))

    def fold(self, key: str, at: int) -> int | None:
        value: int | None = None
        for _, _, _, amount in sorted(
            one for one in self.events if one[0] == key and at - self.before <= one[1] <= at + self.after
        ):
            value = None if amount is None else (value or 0) + amount
        return value

    def delete(self, key: str, at: int) -> None:
        if self.takes(at) and self.fold(key, at) is not None:
            self.time = max(at, self.time)
            self.events.append((key, at, len(self.events), None))

    def value(self, key: str, at: int) -> int | None:
        gone = self.expires is not None and self.time > at + self.after + self.expires
        return None if gone else self.fold(key, at)

    def windows(self) -> list[tuple[str, int]]:
        return sorted({(key, at) for key, at, _, _ in self.events})

    def readable(self) -> dict[tuple[str, float], int]:
        found = {(key, (at - self.before) / 1000): self.value(key, at) for key, at in self.windows()}
        return {where: value for where, value in found.items() if value is not None}

    def due(self) -> list[tuple[int, bytes, Told]]:
        assert self.grace is not None
        found = [
            (at, key, self.fold(key, at)) for key, at in self.windows() if self.time > at + self.after + self.grace
        ]
        return sorted(
            (at, f'"{key}"'.encode(), (key, at - self.before, value)) for at, key, value in found if value is not None
        )

    def lowest(self) -> int:
        return NEVER if self.expires is None else self.time - self.before - self.after - self.expires - 1


class AgainstLists(Against[Oracle]):
    """Sessions and sliding windows."""

    @initialize(
        sizes=st.one_of(st.tuples(LENGTHS), st.tuples(LENGTHS, st.sampled_from([0, 0, 3, 15]))),
        expires=EXPIRES,
        grace=st.sampled_from([None, 0, 3, 20]),
    )
    def begin(self, sizes: tuple[int, ...], expires: int | None, grace: int | None) -> None:
        """Define the table: sessions by one length, sliding windows by two."""
        expires, grace = self.lengths(expires, grace)
        first, *more = (size / 1000 for size in sizes)
        keeps, waits = (None if one is None else one / 1000 for one in (expires, grace))
        if more:
            self.define(Slides(*sizes, expires, grace), SlidingWindow(first, more[0], keeps, grace=waits))
        else:
            self.define(Sessions(*sizes, expires, grace), SessionWindow(first, keeps, grace=waits))

    @rule(key=KEYS, steps=st.lists(st.integers(-3, 12), min_size=2, max_size=6))
    def visit(self, key: str, steps: list[int]) -> None:
        """Some events of a key, near to each other and to the last one."""
        at = max(self.oracle.time, 0)
        for step in steps:
            at += step
            self.add(key, at, 1)

    @rule(key=KEYS, at=INSTANTS)
    def read(self, key: str, at: int) -> None:
        """An event that reads one window, all of the key, and all keys."""
        readable = self.oracle.readable()
        with self.bench.event(at / 1000) as windows:
            value = self.oracle.value(key, at)
            assert windows[key].value() == (value or 0)
            assert (key in windows) == (value is not None)
            found = {span.start: value for span, value in windows[key].items()}
            assert found == {start: value for (other, start), value in readable.items() if other == key}
            for span, value in windows[key].items():
                assert windows[key][span] == value
            values = {other: self.oracle.value(other, at) for other in ("a", "b", "ab", "")}
            assert dict(windows.items()) == {other: value for other, value in values.items() if value is not None}

    @invariant()
    def nothing_is_stored_that_is_expired(self) -> None:
        """No row of an event lies below what expired by the stored time, and each has one row by time."""
        if hasattr(self, "bench") and self.before.time != NEVER and not self.told:
            rows = [row for row, _ in self.bench.part.store.range(ROWS)]
            by_time = [row for row in rows if row[:1] != b"\xff"]
            by_key = [row[5:] for row in rows if row[:1] == b"\xff"]
            assert all(int.from_bytes(row[:8]) - 2**63 > self.before.lowest() for row in by_time)
            assert not by_time or sorted(row[8:] for row in by_time) == sorted(by_key)


class KeyedOnRocksDB(AgainstLists, OnRocksDB[Oracle]):
    """The same on a disk."""


class KeyedThatClose(AgainstLists):
    """The same where somebody is told that windows close."""

    told = True

    @rule()
    def close(self) -> None:
        """All windows that are closed by now are told of once, in order of their ends and keys, with their last value."""
        before = len(self.calls)
        self.bench.close(self.tell)
        told = {(key, start) for key, start, _ in self.calls[:before]}
        due = [call for _, _, call in self.oracle.due() if call[:2] not in told]
        assert self.calls[before:] == due

    @invariant()
    def none_is_told_twice_and_none_changes(self) -> None:
        """A window closes once, and has the value that was told for as long as it can be read."""
        assert len({call[:2] for call in self.calls}) == len(self.calls)
        if hasattr(self, "bench"):
            readable = self.bench.all()
            for key, start, value in self.calls:
                assert readable.get((key, start / 1000), value) == value


TestKeyedAgainstLists = AgainstLists.TestCase
TestKeyedAgainstLists.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestKeyedThatClose = KeyedThatClose.TestCase
TestKeyedThatClose.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestKeyedOnRocksDB = KeyedOnRocksDB.TestCase
TestKeyedOnRocksDB.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
