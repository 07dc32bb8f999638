"""Session windows: which events make one session, what merging does, what is late, and what is left behind restarts and recoveries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from operator import add
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError, WorkerError
from stream_core.ports import Store
from stream_core.primitives import TP, Batch, StoredRecord
from stream_core.values.schemas import Schema
from stream_tables.follower import Follower
from stream_tables.partition import Facts, State
from stream_tables.stores import CHUNK
from stream_tables.windows.keyed import KEYED, SWEEP
from stream_tables.windows.rows import ROWS
from stream_tables.windows.session import SessionWindow

from .bench import WindowBench

Ranges = dict[tuple[str, float, float], Any]

LISTS = Schema.for_table(str, list[int])

TIMES = st.integers(0, 60)


def lists(gap: float, grace: float | None = None, expires: float | None = None, **options: Any) -> WindowBench:
    """A bench whose sessions are lists of what was added, on a clock that is far ahead."""
    window = SessionWindow(gap, expires, grace=grace)
    return WindowBench(window, schema=LISTS, default=list, now=1000, **options)


def sessions(bench: WindowBench) -> Ranges:
    """All sessions that can be read."""
    found = bench.window.everything(bench.part, None)
    return {(bench.schema.decode_key(key), span.start, span.end): value for key, span, value in found}


class Oracle:
    """Sessions in plain Python: a list of what is open and what is closed, searched from one end to the other."""

    def __init__(self, gap: int, grace: int | None) -> None:
        self.gap, self.grace = gap, grace
        self.time = -1
        self.sessions: list[tuple[str, int, int, list[int]]] = []

    def is_open(self, end: int, time: int) -> bool:
        return self.grace is None or time <= end + self.gap + self.grace

    def add(self, key: str, at: int, value: int) -> bool:
        time = max(self.time, at)
        near = sorted(
            (
                one
                for one in self.sessions
                if one[0] == key and one[1] - self.gap <= at <= one[2] + self.gap and self.is_open(one[2], time)
            ),
            key=lambda one: one[1],
        )
        if not self.is_open(at, time) and not any(start <= at <= end for _, start, end, _ in near):
            return False
        values = [item for one in near for item in one[3]]
        merged = (key, min([at, *(one[1] for one in near)]), max([at, *(one[2] for one in near)]), [*values, value])
        self.sessions = [one for one in self.sessions if one not in near] + [merged]
        self.time = time
        return True

    def all(self) -> Ranges:
        return {(key, float(start), float(end)): values for key, start, end, values in self.sessions}


def test_sessions_are_as_in_the_vector() -> None:
    """Events within the gap are one session; a closed one takes no more, and one that would begin behind the grace is late."""
    bench = lists(5, grace=0)
    for value, at in ((1, 10), (2, 12), (3, 20), (4, 16)):
        with bench.event(at) as windows:
            windows["A"] += [value]
    assert sessions(bench) == {("A", 10, 12): [1, 2], ("A", 16, 20): [3, 4]}
    for key, at in (("B", 25), ("A", 26), ("B", 31), ("A", 14), ("B", 32)):
        with bench.event(at) as windows:
            windows[key] += [at]
    assert sessions(bench) == {
        ("A", 10, 12): [1, 2],
        ("A", 16, 20): [3, 4],
        ("A", 26, 26): [26],
        ("B", 25, 25): [25],
        ("B", 31, 32): [31, 32],
    }
    assert bench.windows.late.count == 1


@pytest.mark.parametrize("distance", [5, 6])
def test_a_distance_of_the_gap_is_within_the_gap(distance: int) -> None:
    """Two events that are exactly the gap apart are one session, and a millisecond more makes two."""
    bench = lists(5)
    for at in (10.0, 10 + distance - (distance == 6) * 0.999):
        with bench.event(at) as windows:
            windows["A"] += [1]
    assert len(sessions(bench)) == distance - 4


@pytest.mark.parametrize(("at", "late"), [(21.0, 0), (21.001, 1)])
def test_the_last_instant_at_which_a_session_takes_events(at: float, late: int) -> None:
    """A session of one event at 10 with gap 5 and grace 6 takes events while time is not beyond 21."""
    bench = lists(5, grace=6)
    bench.add("A", 10, [1])
    bench.add("B", at, [1])
    bench.add("A", 10, [2])
    assert bench.windows.late.count == late


def test_what_is_read_is_the_session_of_the_instant() -> None:
    """It is the one that the instant lies in, or would join; ranges, views and deletions speak of the same."""
    bench = lists(5, grace=100, expires=100)
    for at in (10, 12, 30):
        bench.add("A", at, [at])
    bench.add("B", 31, [0])
    with bench.event(31) as windows:
        assert windows["A"].value() == [30]
        assert windows["A"].delta(20) == [10, 12]
        assert windows["A"].delta(15) == [10, 12]
        assert windows["A"].delta(9) == []
        assert windows["A"][10.0, 12.0] == [10, 12]
        assert windows["A"][10.0, 13.0] == []
        assert dict(windows["A"].items()) == {(10.0, 12.0): [10, 12], (30.0, 30.0): [30]}
        assert dict(windows.items()) == {"A": [30], "B": [0]}
        assert list(windows.keys().delta(20)) == ["A"]
        assert list(windows) == ["A", "B"]
        assert "A" in windows
        windows["A"] = [5, 5]
        assert windows["A"].value() == [5, 5]
        del windows["B"]
        assert "B" not in windows
        with pytest.raises(KeyError):
            del windows["C"]
    assert sessions(bench) == {("A", 10, 12): [10, 12], ("A", 30, 31): [5, 5]}


def test_an_assignment_replaces_what_was_merged_and_functions_merge_too() -> None:
    """``=`` gives the session that came of a merge its value; ``apply`` with any function combines the values of both."""
    bench = WindowBench(SessionWindow(5))
    for at, amount in ((10, 3), (20, 4)):
        bench.add("A", at, amount)
    with bench.event(15) as windows:
        windows["A"].apply(lambda before, value: before * 10 + value, 9)
    assert sessions(bench) == {("A", 10, 20): 349}
    with bench.event(25) as windows:
        windows["A"] = 1
    assert sessions(bench) == {("A", 10, 25): 1}


def test_a_merge_writes_tombstones_and_an_extension_one_record() -> None:
    """The changelog has a session under its key and beginning, with the end before its value; a swallowed one is deleted."""
    bench = WindowBench(SessionWindow(5), now=1_600_000_000)
    bench.add("k", 1_600_000_000, 3)
    bench.add("k", 1_600_000_008, 4)
    bench.checkpoint()
    later, end = b'["k",[1600000008.0]]', (1_600_000_008_000 + 2**63).to_bytes(8)
    assert bench.logged[later] == end + b"4"
    bench.add("k", 1_600_000_004, 5)
    bench.checkpoint()
    assert bench.logged[later] is None
    assert bench.logged[b'["k",[1600000000.0]]'] == end + b"12"


def test_an_event_that_fails_takes_its_merge_back() -> None:
    """Both sessions are there again, and the next event goes on with the right one."""
    bench = lists(5)
    for at in (10, 20):
        bench.add("A", at, [at])
    with suppress(ZeroDivisionError), bench.event(15) as windows:
        windows["A"] += [15]
        assert sessions(bench) == {("A", 10, 20): [10, 20, 15]}
        raise ZeroDivisionError
    bench.add("A", 21, [21])
    assert sessions(bench) == {("A", 10, 10): [10], ("A", 20, 21): [20, 21]}
    with suppress(ZeroDivisionError), bench.event(15) as windows:
        windows["A"] += [15]
        raise ZeroDivisionError
    bench.add("A", 15, [15])
    assert sessions(bench) == {("A", 10, 21): [10, 20, 21, 15]}


def test_changes_of_a_key_are_found_between_cut_and_commit() -> None:
    """Sessions of a checkpoint that is under way, and of events that it leaves open, are read as any other."""
    bench = lists(5)
    bench.add("A", 10, [10])
    with bench.event(20) as windows:
        windows["A"] += [20]
        bench.part.overlay.cut([bench.cursor])
        assert dict(windows["A"].items()) == {(10.0, 10.0): [10], (20.0, 20.0): [20]}
        asyncio.run(bench.part.commit(None))
        bench.checkpoint(bench.cursor)
        assert dict(windows["A"].items()) == {(10.0, 10.0): [10], (20.0, 20.0): [20]}
    bench.add("A", 15, [15])
    assert sessions(bench) == {("A", 10, 20): [10, 20, 15]}
    assert dict(bench.windows["A"].items()) == {(10.0, 20.0): [10, 20, 15]}


EVENTS = st.lists(st.tuples(st.sampled_from("AB"), TIMES), max_size=25)


@given(
    EVENTS,
    st.integers(1, 12),
    st.one_of(st.none(), st.integers(0, 15)),
    st.sets(st.integers(0, 25)),
    st.sets(st.integers(0, 25)),
)
@settings(max_examples=300)
def test_sessions_are_those_of_the_oracle(
    events: list[tuple[str, int]], gap: int, grace: int | None, cuts: set[int], restarts: set[int]
) -> None:
    """Whatever the order of events, wherever checkpoints and restarts fall: the same events count, in the same sessions."""
    bench, oracle = lists(gap, grace), Oracle(gap, grace)
    for count, (key, at) in enumerate(events):
        before = bench.windows.late.count
        bench.add(key, at, [count])
        assert oracle.add(key, at, count) is (bench.windows.late.count == before)
        if count in cuts | restarts:
            bench.checkpoint()
        if count in restarts:
            bench.restart()
        assert sessions(bench) == oracle.all()


FAR_APART = st.builds(add, st.sampled_from([0, 70, 4200, 10_000]), st.integers(0, 3))
"""Instants that are further apart than the steps in which sessions of one key are looked for."""


@given(st.lists(FAR_APART, max_size=25), st.one_of(st.none(), st.just(5000)), st.sets(st.integers(0, 25)))
def test_sessions_that_are_far_apart_are_those_of_the_oracle(
    events: list[int], grace: int | None, cuts: set[int]
) -> None:
    """However long ago the session before began: it is found, and reads give the session that the instant lies in."""
    bench, oracle = WindowBench(SessionWindow(1, grace=grace), schema=LISTS, default=list, now=1e6), Oracle(1, grace)
    for count, at in enumerate(events):
        if oracle.add("A", at, count):
            bench.add("A", at, [count])
        if count in cuts:
            bench.checkpoint()
        assert sessions(bench) == oracle.all()
    for (_, start, end), values in oracle.all().items():
        for at in {start, end}:
            assert bench.windows.relative_to(at)["A"].value() == values


class Counted:
    """A store that counts the rows that ranges hand out.

    Args:
        store: has them.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.rows = 0

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Hand out a range."""
        for item in self._store.range(begin, end):
            self.rows += 1
            yield item

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_an_event_of_a_busy_key_looks_at_few_of_its_sessions() -> None:
    """What an event and a read cost stays the same however many sessions of its key can be read."""
    bench = WindowBench(SessionWindow(1), now=1e6)
    for at in range(500):
        bench.add("A", at * 3.0)
    bench.checkpoint()
    bench.part.store = counted = cast("Any", Counted(bench.part.store))

    bench.add("A", 1500.0)
    assert 0 < counted.rows <= 64
    counted.rows = 0
    for at in range(501, 600):  # the latest session of the key is known by now
        bench.add("A", at * 3.0)
    assert counted.rows == 0
    assert bench.windows.relative_to(750.0)["A"].value() == 1
    assert counted.rows <= 64
    assert len(sessions(bench)) == 600


@given(st.lists(st.integers(0, 80), unique=True, max_size=15), st.integers(1, 12), st.randoms())
def test_the_order_of_arrival_changes_nothing_while_nothing_is_closed(times: list[int], gap: int, random: Any) -> None:
    """Sessions are further apart than the gap, and have all events between their ends."""
    shuffled = [*times]
    random.shuffle(shuffled)
    results = []
    for order in (times, shuffled):
        bench = lists(gap)
        for at in order:
            bench.add("A", at, [at])
        results.append({span: sorted(values) for span, values in sessions(bench).items()})
    assert results[0] == results[1]
    assert sorted(at for values in results[0].values() for at in values) == sorted(times)
    spans = sorted((start, end) for _, start, end in results[0])
    assert all(later[0] - earlier[1] > gap for earlier, later in pairwise(spans))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SessionWindow(0), "gap=0: windows are measured in whole milliseconds"),
        (lambda: SessionWindow(10, 5, grace=6), "gone after expires=5"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    """A gap has at least a millisecond, and a session is not gone while it takes events."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_added_values_follow_each_other() -> None:
    """Operators of the standard library are the same as signs."""
    bench = WindowBench(SessionWindow(5))
    with bench.event(1) as windows:
        windows["A"].apply(add, 4)
    assert sessions(bench) == {("A", 1, 1): 4}


def test_a_drop_while_sessions_are_stored_is_mended_by_the_changelog() -> None:
    """Others get a turn between two writes; where they drop the interval nothing more is stored, and the replay brings the rest."""
    bench = WindowBench(SessionWindow(5, 60))
    bench.add("A", 1)
    bench.checkpoint()
    position = bench.part.store.fact(Facts.POSITION)
    for number in range(3 * CHUNK):
        bench.add(f"B{number}", 2)
    expected = sessions(bench)

    async def main() -> None:
        bench.part.overlay.cut(())
        shard = bench.part.changes({})
        for key, value in shard.records:
            bench.log.append(StoredRecord(len(bench.log), 0, key, value, shard.headers))
        writing = asyncio.create_task(bench.part.commit(len(bench.log)))
        await asyncio.sleep(0)
        assert sessions(bench) == expected
        bench.drop()
        await writing
        assert len(sessions(bench)) == 1 + CHUNK  # A, and the first chunk, without the time of the partition
        assert bench.part.store.fact(Facts.POSITION) == position
        bench.part.enter(State.OPENING)
        bench.part.enter(State.REPLAYING)
        follower = Follower(bench.part, int(position or 0), len(bench.log), {})
        await follower.apply(Batch(TP("changelog", 0), bench.log[int(position or 0) :], len(bench.log)))
        follower.finish()

    asyncio.run(main())
    assert (bench.part.stored_time, sessions(bench)) == (2000, expected)
    assert len(list(bench.part.store.range(ROWS, KEYED))) == len(expected)


def test_what_is_stored_of_a_key_is_found_while_the_rest_is() -> None:
    """An event that comes in a turn between two writes joins the session that is in the store already, or still in memory."""
    bench = WindowBench(SessionWindow(5))
    for number in range(3 * CHUNK):
        bench.add(f"B{number}", 2)

    async def main() -> None:
        bench.part.overlay.cut(())
        writing = asyncio.create_task(bench.part.commit(None))
        while not writing.done():
            await asyncio.sleep(0)
            for number in (0, 3 * CHUNK - 1):
                bench.add(f"B{number}", 3)
        await writing

    asyncio.run(main())
    found = sessions(bench)
    assert len(found) == 3 * CHUNK
    assert found["B0", 2, 3] == found[f"B{3 * CHUNK - 1}", 2, 3] > 1


def test_a_value_of_another_type_that_closes_says_what_helps() -> None:
    """A window that closes can be neither deleted nor assigned: the worker ends, and says how the table is to be defined."""
    bench = WindowBench(SessionWindow(5, 60, grace=1))
    bench.add("A", 1)
    bench.checkpoint()
    ((row, data),) = bench.part.store.range(KEYED)
    bench.part.store.write({row: data[:8] + b'"text"'})
    bench.add("B", 100)
    with pytest.raises(WorkerError, match="so only the type of the table helps"):
        bench.close(lambda key, value: None)


def test_the_command_line_and_the_table_itself_show_the_end_of_a_session() -> None:
    """Keys have its beginning only, and what they stand for the end beside the value."""
    bench = WindowBench(SessionWindow(5))
    bench.add("A", 1)
    bench.add("A", 4)
    assert list(bench.table) == [("A", (1.0, 4.0))]
    bench.checkpoint()
    assert dict(bench.table.items()) == {("A", (1.0, 4.0)): 2}
    replay = bench.table.replay()
    for record in bench.log:
        replay.apply(record)
    assert list(replay.items()) == [(("A", (1.0, 4.0)), 2)]


def test_sessions_that_begin_and_expire_in_one_interval_go_some_at_a_time() -> None:
    """However many a checkpoint finds expired, it deletes some of them at once, and the others with turns behind it."""
    bench = WindowBench(SessionWindow(1, 0))
    for number in range(2 * SWEEP + 10):
        bench.add(f"A{number}", 1)
    bench.add("B", 100)
    changes = {row: bench.part._stored(row, entry) for row, entry in bench.part.overlay.active.items()}
    changes |= bench.part.derived(changes)
    before = len(changes)
    assert bench.window.expire(bench.part.store, changes, 100_000, None, ROWS)
    assert before - len(changes) == SWEEP
    bench.checkpoint()
    assert len(list(bench.part.store.range(ROWS))) == 2
