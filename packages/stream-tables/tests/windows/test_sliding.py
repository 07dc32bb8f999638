"""Sliding windows: what happened around an instant, whatever is done and in whatever order it came; what is kept, and in which bytes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError
from stream_tables.windows.kinds import OPERATIONS
from stream_tables.windows.rows import ROWS
from stream_tables.windows.sliding import SlidingWindow

from .bench import WindowBench

LISTS = Schema.for_table(str, list[int])


def read(bench: WindowBench, at: float) -> Any:
    """The window of A at an instant, without an event."""
    return bench.windows.relative_to(at)["A"].value()


def test_windows_are_as_in_the_first_vector() -> None:
    """Of 5 seconds: each reaches back from its instant, both ends included."""
    bench = WindowBench(SlidingWindow(5.0, expires=10), schema=LISTS, default=list)
    for value, at in ((1, 8.0), (2, 9.2), (3, 12.4)):
        bench.add("A", at, [value])
    assert [read(bench, at) for at in (8.0, 9.2, 12.4, 13.0, 13.001, 14.201)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 3],
        [2, 3],
        [3],
    ]


def test_windows_are_as_in_the_second_vector() -> None:
    """An event that comes late takes its place in the order of time."""
    bench = WindowBench(SlidingWindow(10, expires=100), schema=LISTS, default=list)
    for value, at in ((1, 10), (2, 15), (3, 21), (4, 12)):
        bench.add("A", at, [value])
    expected = {10: [1], 12: [1, 4], 15: [1, 4, 2], 21: [4, 2, 3], 23: [2, 3], 26: [3]}
    assert {at: read(bench, at) for at in expected} == expected
    assert bench.windows.window.name == "sliding 10000 0"
    assert [span for span, _ in bench.windows["A"].items()] == [(0, 10), (2, 12), (5, 15), (11, 21)]


def test_a_window_that_was_deleted_is_no_entry_of_its_table() -> None:
    """Whoever reads the table itself finds the windows that have a value, and no other."""
    bench = WindowBench(SlidingWindow(10, expires=100), default=int)
    for key, at in (("A", 1), ("A", 2), ("B", 2)):
        bench.add(key, at, 1)
    with bench.event(2):
        del bench.windows["A"]
    table, gone = bench.table, ("A", (-8.0, 2.0))
    with bench.event(3):
        kept = list(table.items())
        assert [(key[0], value) for key, value in kept] == [("A", 1), ("B", 1)]
        assert (len(table), list(table.values()), list(table)) == (2, [1, 1], [key for key, _ in kept])
        assert gone not in table
        assert all(key in table for key in table)


def test_a_window_that_was_deleted_has_a_value_again_by_a_later_event() -> None:
    """One that is within its reach, which an event behind it is not."""
    bench = WindowBench(SlidingWindow(10, 5, expires=100), default=int)
    bench.add("A", 1, 1)
    with bench.event(2):
        del bench.windows["A"]
    with bench.event(2):
        assert list(bench.table.items()) == []
    bench.add("A", 4, 7)
    with bench.event(20):
        assert set(bench.table.values()) == {7}
        assert len(bench.table) == len(list(bench.table))


NUMBERS = st.integers(1, 3)


@given(
    st.lists(st.tuples(st.sampled_from(list(OPERATIONS)), st.integers(0, 4), NUMBERS), max_size=12),
    st.integers(0, 12),
    st.integers(1, 8),
    st.integers(0, 4),
    st.sets(st.integers(0, 12)),
)
@example([("-", 0, 1), ("+", 0, 2), ("+", 0, 2), ("*", 0, 3), ("+", 0, 1)], 0, 1, 0, set())
def test_any_operator_is_done_in_the_order_of_time(
    events: list[tuple[str, int, int]], at: int, before: int, after: int, cuts: set[int]
) -> None:
    """The value is what the operators make of the default one after the other, those of one instant as they came."""
    bench = WindowBench(SlidingWindow(before, after), default=lambda: 1)
    accepted = []
    for count, (name, instant, operand) in enumerate(events):
        function = operator.add if name == "=" else OPERATIONS[name]
        if (
            name == "/"
        ):  # operands of one operator are put together, which floats give back exactly for powers of two alone
            operand = 2 ** (operand - 1)
        if name in ("<<", ">>", "&", "^", "|", "**"):
            name, function = "*", operator.mul
        with bench.event(instant) as windows:
            if name == "=":
                windows["A"] = operand
            else:
                windows["A"].apply(function, operand)
        accepted.append((instant, count, name, operand))
        if count in cuts:
            bench.checkpoint()
    value: float = 1
    for instant, _, name, operand in sorted(accepted):
        if at - before <= instant <= at + after:
            value = OPERATIONS[name](value, operand)
    assert read(bench, at) == value


@pytest.mark.parametrize(("at", "late"), [(13.0, 0), (13.001, 1)])
def test_an_event_counts_while_it_is_no_further_behind_than_the_grace(at: float, late: int) -> None:
    """So that a window which is closed, its end and the grace behind, never changes."""
    bench = WindowBench(SlidingWindow(5, 5, grace=3))
    bench.add("B", at)
    bench.add("A", 10)
    assert bench.windows.late.count == late


def test_counts_of_one_instant_are_kept_as_one_number() -> None:
    """A thousand events of one instant take no more room than one; the changelog has them under the labels of Faust."""
    bench = WindowBench(SlidingWindow(5, 1), now=1_600_000_000)
    for _ in range(1000):
        bench.add("k", 1_600_000_000, 2)
    bench.checkpoint()
    assert bench.logged[b'["k",[1599999995.0,1600000001.0]]'] == b"\0+\0\0\0\x042000"


def test_what_faust_has_written_is_read_as_an_assignment() -> None:
    """A plain value under the labels of a window is the value of its instant."""
    bench = WindowBench(SlidingWindow(5))
    row = bench.part.row(b'["A",[5.0,10.0]]')
    assert row is not None
    bench.part.store.write({row: b"7"})
    assert read(bench, 12) == 7
    assert bench.part.row(b'["A",[5.0,11.0]]') is None


def test_what_a_window_that_is_not_told_of_needs_stays() -> None:
    """Events that are expired for their own window are kept for a later one until somebody was told that it is closed."""
    told: list[Any] = []

    def tell(key: Any, value: int) -> None:
        told.append((key[1].end, value))

    bench = WindowBench(SlidingWindow(10, expires=0), on_window_close=tell)
    for at in (1, 5):
        bench.add("A", at)
    bench.close(tell)
    bench.add("A", 30)
    bench.checkpoint()
    bench.close(tell)
    assert told == [(1, 1), (5, 2)]
    bench.checkpoint()
    assert [span.end for _, span, _ in bench.window.everything(bench.part, None)] == [30]
    assert bench.part.data(None, next(row for row, *_ in bench.part.all(None)))  # type: ignore[attr-defined]


def test_many_events_expire_with_a_few_checkpoints() -> None:
    """What is expired goes a part at a time, more with each checkpoint than comes; meanwhile it is not read."""
    bench = WindowBench(SlidingWindow(1, expires=0))
    for number in range(25_000):
        bench.add(str(number), 1)
    bench.checkpoint()
    counts = []
    for key in "ABC":
        bench.add(key, 100)
        bench.checkpoint()
        counts.append(sum(1 for _ in bench.part.store.range(b"\xff")))
        assert {at for _, at in bench.all()} == {99.0}
    assert counts == [14_001, 3_002, 3]
    assert sum(1 for _ in bench.part.store.range(ROWS)) == 6


def test_a_deletion_counts_from_its_instant_on() -> None:
    """What came before is gone for all that includes the deletion, and is still there for what ends before it."""
    bench = WindowBench(SlidingWindow(10))
    bench.add("A", 1, 3)
    bench.add("A", 5, 4)
    with bench.event(4) as windows:
        del windows["A"]
        assert "A" not in windows
        with pytest.raises(KeyError):
            del windows["B"]
    assert (read(bench, 3), read(bench, 4), read(bench, 5)) == (3, 0, 4)


def test_what_cannot_be_kept_is_refused_in_the_event() -> None:
    """A function cannot be kept until the window is read, and neither can an operand of another type."""
    bench = WindowBench(SlidingWindow(10))
    with bench.event(1) as windows:
        with pytest.raises(TableError, match="table table: apply\\(\\) takes operators only"):
            windows["A"].apply(lambda before, value: value, 1)
        with pytest.raises(EncodeError):
            windows["A"] += "text"
        windows["A"].apply(operator.mul, 2)
    bench = WindowBench(SlidingWindow(10), default=None)
    with bench.event(1) as windows:
        with pytest.raises(TableError, match="operators need a table with default="):
            windows["A"] += 1
        windows["A"] = 3
        assert windows["A"].value() == 3


def test_the_arithmetic_of_faust() -> None:
    """Ranges are labels of one window; both ends are what they say."""
    window = SlidingWindow(10, 5, 60)
    assert window.ranges(100.0) == [(90.0, 105.0)]
    assert window.current(100.0) == window.earliest(100.0) == (90.0, 105.0)
    assert window.delta(100.0, 20) == (70.0, 85.0)
    assert not window.stale(100, 165)
    assert window.stale(100, 165.001)
    assert (window.before, window.after, window.expires) == (10, 5, 60)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SlidingWindow(0), "before=0 and after=0 holds nothing"),
        (lambda: SlidingWindow(-1, 2), "must have at least 0"),
        (lambda: SlidingWindow(1, expires=5, grace=6), "gone after expires=5"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(make: Callable[[], object], message: str) -> None:
    """A window reaches somewhere, and is not gone while it takes events."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_the_command_line_shows_the_values_of_windows() -> None:
    """The changelog has what each event does; a window has what all of them do that lie in it."""
    bench = WindowBench(SlidingWindow(5, 1))
    bench.add("A", 4, 10)
    bench.add("A", 1)
    bench.add("B", 10, 3)
    with bench.event(4) as windows:
        windows["A"] *= 2
    bench.checkpoint()
    replay = bench.table.replay()
    for record in bench.log:
        replay.apply(record)
    assert dict(replay.items()) == {("A", (-4.0, 2.0)): 1, ("A", (-1.0, 5.0)): 22, ("B", (5.0, 11.0)): 3}
    assert dict(replay.items()) == dict(bench.table.items())
