"""Tumbling and hopping windows: which windows an instant lies in, what events change, what is read, and what the changelog says."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError
from stream_core.streams.effects import set_effects
from stream_tables.windows.aligned import HoppingWindow, TumblingWindow
from stream_tables.windows.rows import big_endian

from .bench import WindowBench

SIZES = st.integers(1, 50)


@given(SIZES, SIZES, st.integers(-1000, 1000))
def test_an_instant_lies_in_the_windows_that_begin_before_it_and_end_behind_it(size: int, step: int, at: int) -> None:
    """Starts are multiples of the step counted from minus the size; all windows that hold the instant are given, and no other."""
    step = min(size, step)
    window = HoppingWindow(size / 1000, step / 1000)
    expected = [
        start for start in range(at - size, at + 1) if (start + size) % step == 0 and start <= at < start + size
    ]
    assert list(window.starts(at)) == expected
    assert len(expected) in (size // step, -(-size // step))
    assert window.latest(at) == expected[-1]


def test_windows_lie_as_in_the_vectors() -> None:
    """Windows of 10 each 5 and each 4, and before the epoch; a label ends a tenth of a second early."""
    starts = [span.start for span in HoppingWindow(10, 5).ranges(0)]
    assert starts == [-5.0, 0.0]
    assert [span.start for span in HoppingWindow(10, 5).ranges(6)] == [0.0, 5.0]
    assert [span.start for span in HoppingWindow(10, 5).ranges(-1)] == [-10.0, -5.0]
    assert [span.start for span in HoppingWindow(10, 4).ranges(7)] == [-2.0, 2.0, 6.0]
    assert TumblingWindow(60).current(1600000000.5) == (1599999960.0, 1600000019.9)
    assert TumblingWindow(0.3).current(0.1) == (0.0, 0.19999999999999998)


@pytest.mark.parametrize("size", [0.001, 0.005, 0.1, 0.25, 10])
def test_a_window_ends_behind_its_start(size: float) -> None:
    """A tenth of a second before the next one, as in Faust; the shortest, which Faust does not have, with their last millisecond."""
    start, end = TumblingWindow(size).current(100.0)
    assert start <= end < start + size
    assert [round(one.start, 3) for one in HoppingWindow(0.003, 0.001).ranges(100.0)] == [99.998, 99.999, 100.0]


def test_each_window_of_the_instant_is_changed() -> None:
    """An operator changes all of them, each by its value; a read gives the latest."""
    bench = WindowBench(HoppingWindow(10, 5, expires=100))
    bench.add("a", 1)
    bench.add("a", 6)
    with bench.event(7) as windows:
        windows["a"] += 1
        assert windows["a"].value() == 2
        assert windows["a"].delta(5) == 3
        assert windows["a"][0.0, 9.9] == 3
        assert dict(windows["a"].items()) == {(-5.0, 4.9): 1, (0.0, 9.9): 3, (5.0, 14.9): 2}
        assert "a" in windows
        assert "b" not in windows
        assert windows["b"].value() == 0
    assert bench.all() == {("a", -5.0): 1, ("a", 0.0): 3, ("a", 5.0): 2}


def test_the_changelog_has_the_keys_of_faust() -> None:
    """The key is JSON of the key and the labels of its window, and the value is that of the table."""
    bench = WindowBench(TumblingWindow(60, expires=60), now=1_600_000_000)
    bench.add("k", 1_600_000_000, 3)
    bench.checkpoint()
    assert bench.logged == {
        b'["k",[1599999960.0,1600000019.9]]': b"3",
        b"\xff\xfestream-time": b"1600000000000",
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TumblingWindow(0), "size=0: windows are measured in whole milliseconds"),
        (lambda: TumblingWindow(0.0005), "size=0.0005: windows are measured in whole milliseconds"),
        (lambda: TumblingWindow(-1), "must have at least 1"),
        (lambda: TumblingWindow(float("nan")), "too long"),
        (lambda: TumblingWindow(float("inf")), "too long"),
        (lambda: TumblingWindow("60"), "not a length of time"),  # type: ignore[arg-type]
        (lambda: HoppingWindow(10, 11), "would leave gaps"),
        (lambda: TumblingWindow(10, expires=-1), "must have at least 0"),
        (lambda: TumblingWindow(10, expires=5, grace=timedelta(seconds=6)), "gone after expires=5"),
    ],
)
def test_lengths_that_make_no_sense_are_refused(make: object, message: str) -> None:
    """A window has whole milliseconds, leaves no gaps, and is not gone while it takes events."""
    with pytest.raises(ConfigurationError, match=message):
        make()  # type: ignore[operator]


def test_windows_of_a_changelog_without_a_time_are_listed() -> None:
    """Faust has written none: before the first event all that is there can be read."""
    bench = WindowBench(TumblingWindow(10, expires=86_400))
    bench.part.store.write({big_endian(20_000) + b'"a"': b"3"})
    set_effects(None)
    assert list(bench.windows["a"].items()) == [((20.0, 29.9), 3)]
    assert list(bench.windows.keys()) == ["a"]
    assert bench.windows["a"][20.0, 29.9] == 3
