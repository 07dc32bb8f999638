"""What events see of a table with windows: relativity, reads, operators, views, late events, several actors, other codecs."""

from __future__ import annotations

import asyncio
import operator
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Event as Signal
from typing import Any

import pytest

from stream_core.engine.idle import Rest
from stream_core.engine.participants import Interval, Reading
from stream_core.errors import ConfigurationError, RecordRefusedError, StoreError
from stream_core.primitives import TP, StoredRecord
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import set_effects
from stream_core.streams.events import Event
from stream_core.values.record import Record
from stream_core.values.schemas import Schema
from stream_tables.errors import NotAssignedError, TableError, TableKeyError
from stream_tables.overlay import Overlay
from stream_tables.partition import State
from stream_tables.windows.aligned import HoppingWindow, TumblingWindow
from stream_tables.windows.closing import Closer
from stream_tables.windows.kinds import Window
from stream_tables.windows.late import Late, LateError
from stream_tables.windows.rows import EARLIEST, NEVER, ROWS, TIME, big_endian
from stream_tables.windows.session import SessionWindow
from stream_tables.windows.sliding import SlidingWindow

from .bench import SOURCE, WindowBench


class Order(Record):
    """An event that says when it was made."""

    made_at: float
    written: str = ""
    day: datetime = datetime(1970, 1, 1, tzinfo=UTC)


WINDOWS: list[Window] = [
    TumblingWindow(10, 60),
    HoppingWindow(10, 5, 60),
    SessionWindow(10, 60),
    SlidingWindow(10, 0, 60),
]

ORDERS = Schema(value_type=Order)


def order(at: float, value: Order) -> Event[Order]:
    """An event of an order, whose record is of another instant."""
    data = ORDERS.encode_value(value)
    return Event(ORDERS, SOURCE, StoredRecord(0, round(at * 1000), None, data), value)


@pytest.fixture
def bench() -> WindowBench:
    """Windows of ten seconds that can be read for a minute."""
    return WindowBench(TumblingWindow(10, expires=60))


# -- relativity


def test_a_handle_says_which_instant_counts(bench: WindowBench) -> None:
    """That of the record, of the clock, of a field as number, text or datetime, of a function, or a fixed one."""
    day = datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC)
    made = order(1, Order(made_at=25.5, written="1970-01-01T00:00:40+00:00", day=day))
    windows = bench.windows
    handles: dict[float, Any] = {
        1.0: windows,
        1000.0: windows.relative_to_now(),
        25.5: windows.relative_to_field(Order.made_at),
        40.0: windows.relative_to_field(Order.written),
        30.0: windows.relative_to(Order.day),
        26.5: windows.relative_to(lambda event: event.value.made_at + 1),
        77.0: windows.relative_to(77.0),
        31.0: windows.relative_to_timestamp(datetime(1970, 1, 1, 0, 0, 31, tzinfo=UTC)),
    }
    assert {at: handle.get_timestamp(made) for at, handle in handles.items()} == {at: at for at in handles}
    assert handles[77.0].clone().get_timestamp(made) == handles[77.0].relative_to_stream().get_timestamp(made) == 1.0
    assert windows.clone(5.0).get_timestamp() == 5.0
    assert windows["a"][made].timestamp == 1.0
    for wrong in ("soon", None, True, object()):
        with pytest.raises(TableError, match="is not an instant"):
            windows.relative_to(lambda event, wrong=wrong: wrong).get_timestamp(made)
    with pytest.raises(ConfigurationError, match="needs a field of a record"):
        windows.relative_to_field(5.0)


def test_reads_are_of_the_window_that_their_name_says(bench: WindowBench) -> None:
    """value() and delta() go by the relativity, current() by the record, now() by the clock."""
    bench.add("a", 12, 1)
    bench.add("a", 25, 2)
    bench.add("a", 33, 3)
    bench.clock.advance(30 - 1000 % 30 + 0.0)
    fixed = bench.windows.relative_to(29.0)
    with bench.event(34):
        assert (fixed["a"].value(), fixed["a"].current(), fixed["a"].delta(10)) == (2, 3, 1)
        assert bench.windows["a"].delta(25) == 0
        assert fixed["a"].now() == 0
        assert dict(fixed.items()) == {"a": 2}
        assert list(fixed.items().current()) == [("a", 3)]
        assert list(fixed.values().delta(10)) == [1]
        assert list(fixed.keys().now()) == []
        assert list(fixed.keys()) == ["a"]
        assert (len(fixed), "a" in fixed.keys(), "b" in fixed) == (1, True, False)  # noqa: SIM118 - the view


def test_the_clock_is_the_instant_of_reads_and_changes() -> None:
    """Relative to now, changes go to the window of the clock, and to the next one when it has moved on."""
    bench = WindowBench(TumblingWindow(10, expires=60), now=1000.0)
    windows = bench.windows.relative_to_now()
    with bench.event(3):
        windows["a"] += 1
    bench.clock.advance(10)
    with bench.event(3):
        windows["a"] += 5
        assert (windows["a"].value(), windows["a"].now(), windows["a"].delta(10)) == (5, 5, 1)
    assert bench.all() == {("a", 1000.0): 1, ("a", 1010.0): 5}


def test_outside_of_events_there_is_no_instant(bench: WindowBench) -> None:
    """Reading needs one that is named; changing is refused as of any table."""
    bench.add("a", 995, 4)
    with pytest.raises(TableError, match="outside of events there is no instant"):
        bench.windows["a"].value()
    assert bench.windows["a"][990.0, 999.9] == 4
    assert bench.windows.relative_to(991.0)["a"].value() == 4
    bench.clock.advance(-0.0)
    assert bench.windows["a"].now() == 0
    with pytest.raises(TableError, match="cannot be changed outside of an event"):
        bench.windows["a"] += 1


# -- changing


def test_operators_change_each_window_by_its_value() -> None:
    """All operators of a number, of a set and of a text, a function of one's own, and assignment."""
    bench = WindowBench(HoppingWindow(10, 5), schema=Schema.for_table(str, None), default=None)
    with bench.event(1) as windows:
        windows["n"] = 7
    with bench.event(6) as windows:
        with pytest.raises(TableKeyError):
            windows["n"] += 1
        windows["n"] = 7
        windows["n"] += 5
        windows["n"] -= 2
        windows["n"] *= 6
        windows["n"] //= 7
        windows["n"] %= 5
        windows["n"] **= 5
        windows["n"] <<= 2
        windows["n"] >>= 1
        windows["n"] &= 0b11110
        windows["n"] |= 0b1
        windows["n"] ^= 0b10
        expected = ((((7 + 5 - 2) * 6 // 7 % 5) ** 5 << 2 >> 1) & 0b11110 | 0b1) ^ 0b10
        assert windows["n"].value() == windows["n"][0.0, 9.9] == expected
        windows["n"] /= 2
        assert windows["n"].value() == expected / 2
        windows["n"].apply(max, 100).apply(operator.add, 1)
        assert windows["n"].value() == 101
        windows["t"] = "a"
        windows["t"] += "b"
        assert windows["t"].value() == "ab"
    assert bench.all()["n", -5.0] == 7


def test_windows_are_no_values(bench: WindowBench) -> None:
    """What table[key] gives is not assigned to another key, nor to the same without a change."""
    with bench.event(1) as windows:
        windows["a"] += 1
        for key in ("a", "b"):
            with pytest.raises(TableError, match="no value: assign one"):
                windows[key] = windows["a"]
        with pytest.raises(TableError, match="no value: assign one"):
            windows["b"] = windows["a"].apply(operator.add, 1)


def test_deleting_takes_the_windows_of_the_instant() -> None:
    """The others stay; where none has a value it is a KeyError."""
    bench = WindowBench(HoppingWindow(10, 5, expires=60))
    bench.add("a", 1)
    bench.add("a", 6)
    with bench.event(11) as windows:
        del windows["a"]
        assert [span.start for span in windows["a"]] == [-5.0, 0.0]
        assert list(windows["a"].values()) == [1, 2]
        with pytest.raises(KeyError):
            del windows["a"]
    bench.checkpoint()
    assert bench.logged[b'["a",[5.0,14.9]]'] is None


def test_the_table_itself_is_read_by_ranges_and_not_written(bench: WindowBench) -> None:
    """Its keys are those of Faust; past the time nothing is written."""
    bench.add("a", 12, 3)
    with bench.event(13):
        assert bench.table["a", (10.0, 19.9)] == 3
        assert dict(bench.table.items()) == {("a", (10.0, 19.9)): 3}
        with pytest.raises(TableError, match="has windows: change it by"):
            bench.table["a", (10.0, 19.9)] = 4
        with pytest.raises(TableError, match=r"its keys are \(key, \(start, end\)\)"):
            bench.table["a"]


# -- values and instants that are easily taken for nothing


@pytest.mark.parametrize("window", [TumblingWindow(10, 60), SessionWindow(10, 60), SlidingWindow(10, 0, 60)])
@pytest.mark.parametrize(("kind", "value"), [(bool, False), (list[int], []), (int | None, None)])
def test_a_value_that_is_false_is_a_value(window: Window, kind: Any, value: Any) -> None:
    """It is read as what it is, and neither missing nor the default of the table; in an event, and outside of one."""
    for default in (None, lambda: "the default"):
        bench = WindowBench(window, schema=Schema.for_table(str, kind), default=default)
        with bench.event(5) as windows:
            windows["a"] = value
            assert "a" in windows
            assert (windows["a"].value(), windows["a"].current()) == (value, value)
            assert list(windows["a"].values()) == list(windows.values()) == [value]
            span = next(iter(windows["a"]))
            assert windows["a"][span] == value
        set_effects(None)
        assert bench.windows.relative_to(5.0)["a"].value() == value
        assert list(bench.windows["a"].items()) == [(span, value)]


def test_the_windows_of_another_event_are_changed(bench: WindowBench) -> None:
    """By operators, by assigning and by deleting; those of labels by the instant alone, which a message says."""
    other = order(25, Order(made_at=0.0))
    with bench.event(31) as windows:
        windows["a"][other] += 2
        windows["a"][other] += 3
        windows["b"][other] = 7
        windows["c"][other] = 1
        del windows["c"][other]
        with pytest.raises(KeyError):
            del windows["c"][other]
        with pytest.raises(TableError, match="of one event"):
            windows["a"][other] = windows["b"].apply(operator.add, 1)
        for change in (
            lambda: operator.setitem(windows["a"], (20.0, 29.9), 1),
            lambda: operator.delitem(windows["a"], (20.0, 29.9)),
        ):
            with pytest.raises(TableError, match=r"relative_to\(start\)"):
                change()
    assert bench.all() == {("a", 20.0): 5, ("b", 20.0): 7, ("b", 30.0): 1}


@pytest.mark.parametrize(
    "labels", [(float("nan"), 1), (0, float("inf")), (1e18, 1e18), ("0", "9.9"), (1, 2, 3), 5, "ab", None]
)
def test_what_is_no_label_is_told(bench: WindowBench, labels: Any) -> None:
    """Reading a window by it is an error of the table, and none of Python's arithmetic."""
    bench.add("a", 5)
    with pytest.raises(TableError, match="not an event, and no"):
        bench.windows["a"][labels]


# -- late events


def test_a_late_event_can_fail() -> None:
    """Where the table says so, with a sentence that names time and key."""
    bench = WindowBench(TumblingWindow(10, expires=60, grace=5), late="crash")
    bench.add("a", 100)
    with (
        pytest.raises(LateError, match=r"'a' at 84.000 comes when all its windows are closed.* to 100.000"),
        bench.event(84),
    ):
        bench.windows["a"] += 1
    with pytest.raises(LateError), bench.event(84):
        del bench.windows["a"]
    bench.add("a", 91)
    assert bench.all() == {("a", 100.0): 1, ("a", 90.0): 1}


def test_part_of_a_hopping_event_counts() -> None:
    """It counts in the windows that are open; late it is when none is."""
    late: list[Late] = []
    bench = WindowBench(HoppingWindow(10, 5, grace=0), late=late.append)
    bench.add("a", 11)
    bench.add("b", 8)
    bench.add("c", 4)
    assert bench.all() == {("a", 5.0): 1, ("a", 10.0): 1, ("b", 5.0): 1}
    assert [(one.key, one.timestamp, one.time) for one in late] == [("c", 4.0, 11.0)]


def test_windows_without_expiry_never_close(bench: WindowBench) -> None:
    """However late an event comes, it counts; with a grace they close, and stay."""
    for_ever = WindowBench(TumblingWindow(10), now=100_000)
    for_ever.add("a", 100_000)
    for_ever.add("a", 1)
    assert for_ever.all() == {("a", 0.0): 1, ("a", 100_000.0): 1}
    graceful = WindowBench(TumblingWindow(10, grace=0), now=100_000)
    graceful.add("a", 1)
    graceful.add("a", 100_000)
    graceful.add("a", 1)
    graceful.checkpoint()
    assert graceful.all() == {("a", 0.0): 1, ("a", 100_000.0): 1}


# -- several actors


def test_who_sees_the_time_of_an_open_event_pins_it(bench: WindowBench) -> None:
    """Another actor whose event is judged by that time is cut together with it."""
    one, other = (Cursor(name, name, lambda held: None) for name in ("one[0]", "other[0]"))
    bench.add("a", 1)
    for cursor, at in ((one, 50.0), (other, 3.0)):
        cursor.session, cursor.record = bench.session, StoredRecord(0, round(at * 1000), None, b"")
        set_effects(cursor)
        bench.windows["b"] += 1
    assert one.pinned
    assert not other.pinned
    assert bench.part.finished_time() == 1000
    other.finish()
    other.record = None
    assert one.rollback()


def test_one_that_closes_leaves_the_short_way_to_others(bench: WindowBench) -> None:
    """After a unit of work that moved the time the only actor writes without looking at others, and its reading is known."""
    bench.add("a", 1)
    told = Counter[Any]()
    bench.add("a", 100)
    bench.close(lambda key, value: told.update([key]))
    overlay: Overlay = bench.part.overlay
    assert told == {("a", (0.0, 9.9)): 1}
    assert overlay.writer is bench.cursor
    overlay.cut([])
    overlay.thaw()
    bench.add("a", 101)
    bench.add("a", 130)
    bench.close(lambda key, value: told.update([key]))
    bench.add("a", 131)
    overlay.cut([])
    assert {reading.subscription for reading in overlay.frozen_readings} == {"agent"}


@pytest.mark.parametrize(("then", "time"), [(Rest(0, 100), 101_000), (Rest(99, 200), 1000), (None, 1000)])
def test_an_event_that_comes_while_the_first_window_is_looked_for(
    bench: WindowBench, then: Rest | None, time: int
) -> None:
    """Looking whether a window closes gives turns: where an event comes in one, it says itself what time it is."""
    bench.add("a", 1)
    closer = Closer("table", bench.part, bench.window, bench.windows._keys, lambda key, value: None, bench.work)

    async def main() -> None:
        bench.work.rest = Rest(0, 100)
        looking = asyncio.create_task(closer._go_on())
        await asyncio.sleep(0)
        assert not looking.done()
        bench.work.rest = then
        await looking

    asyncio.run(main())
    assert bench.part.time(None) == time


@pytest.mark.parametrize("where", ["active", "frozen", "stored", "deleted"])
def test_the_first_window_is_found_wherever_it_is(bench: WindowBench, where: str) -> None:
    """It may have changed in this interval or in the one that is stored just then, or before; one that was deleted is none."""
    bench.add("a", 1)
    if where in ("stored", "deleted"):
        bench.checkpoint()
    bench.add("b", 30)
    if where == "frozen":
        bench.part.overlay.cut([])
    if where == "deleted":
        with bench.event(1) as windows:
            del windows["a"]
    first = 30 if where == "deleted" else 0
    assert asyncio.run(bench.part.first(ROWS)) == big_endian(first * 1000) + (b'"b"' if first else b'"a"')
    assert asyncio.run(bench.part.first(big_endian(31_000))) is None


# -- codecs


@pytest.mark.parametrize(
    ("key_type", "key", "logged"),
    [
        (int, 5, b"[5,[0.0,9.9]]"),
        (str, 'é"', '["é\\"",[0.0,9.9]]'.encode()),
        (tuple[str, int], ("a", 1), b'[["a",1],[0.0,9.9]]'),
        (bytes, b"\x00\xff", b"\xff\x02\x80\0\0\0\0\0\0\0\x80\0\0\0\0\0\x26\xac\x00\xff"),
        (bytes, b"", b"\xff\x02\x80\0\0\0\0\0\0\0\x80\0\0\0\0\0\x26\xac"),
    ],
)
def test_keys_of_other_types(key_type: Any, key: Any, logged: bytes) -> None:
    """They stand in the changelog as JSON, bytes behind both labels; a recovery and the command line read them again."""
    bench = WindowBench(TumblingWindow(10, expires=60), schema=Schema.for_table(key_type, int))
    with bench.event(3) as windows:
        windows[key] += 2
        assert windows[key].value() == 2
    bench.checkpoint()
    assert logged in bench.logged
    assert list(bench.windows.relative_to(3.0).items()) == [(key, 2)]
    replay = bench.table.replay()
    for record in bench.log:
        replay.apply(record)
    assert dict(replay.items()) == bench.table.copy() == {(key, (0.0, 9.9)): 2}
    assert bench.rebuild(len(bench.log), "again") == (bench.all(), 3000)


def test_the_command_line_reads_windows_of_a_changelog(bench: WindowBench) -> None:
    """All of them, or those of a key; the time and what is closed are no windows."""
    bench.add("a", 1)
    bench.add("b", 12)
    bench.checkpoint()
    for only, expected in (
        (None, {("a", (0.0, 9.9)): 1, ("b", (10.0, 19.9)): 1}),
        ({b'"b"'}, {("b", (10.0, 19.9)): 1}),
    ):
        replay = bench.table.replay(only)
        for record in bench.log:
            replay.apply(record)
        assert dict(replay.items()) == expected


def test_records_of_other_windows_are_passed_over(bench: WindowBench) -> None:
    """What a table wrote before it got windows, or with windows of another size, is not a window of it."""
    part = bench.part
    assert part.row(b'"a"') is None
    assert part.row(b'["a",[0.0,59.9]]') is None
    assert part.row(b'["a",[5.0,14.9]]') is None
    assert part.row(b'["a",[0.0,9.9]]') == b"\x80\0\0\0\0\0\0\0" + b'"a"'
    assert part.row(b"\xff\xfestream-time") == TIME


def test_records_of_another_size_are_passed_over_whatever_keys_are() -> None:
    """Keys that are no JSON have both labels, too: a window of ten seconds is none of twenty that begins with it."""
    schema = Schema.for_table(bytes, int)
    bench, other = (WindowBench(TumblingWindow(size), schema=schema) for size in (10, 20))
    with bench.event(3) as windows:
        windows[b"\xff"] += 1
    bench.checkpoint()
    (logged,) = (key for key in bench.logged if not key.startswith(b"\xff\xfe"))
    assert bench.part.row(logged) is not None
    assert other.part.row(logged) is None
    assert bench.part.row(logged[:10]) is bench.part.row(b"\xff") is bench.part.row(b"") is None


def test_foreign_labels_fit_into_no_row(bench: WindowBench) -> None:
    """Whatever somebody has written into the changelog, reading it goes on."""
    for label in (b"1e300", b"-1e300", b"1e12", b"[]", b"null"):
        assert bench.part.row(b'["a",[%b,%b]]' % (label, label)) is None
    assert bench.part.row(b'["a",[]]') is None


def test_a_refused_record_fails_in_its_event(bench: WindowBench) -> None:
    """An event that makes a change again which the broker refused is told so, and others are not."""
    bench.add("a", 1)
    bench.part.overlay.cut([])
    shard = bench.part.changes({Reading(SOURCE, "agent"): Interval(0, 1)})
    (change,) = (shard.change(*record) for record in shard.records if b"a" in record[0][:4])
    bench.drop()
    bench.part.refuse(change, RecordRefusedError("too large", "changelog"))
    with pytest.raises(RecordRefusedError, match="too large"):
        bench.add("a", 2)
    bench.add("b", 2)
    assert bench.all() == {("b", 0.0): 1}


def test_a_partition_that_is_given_up_while_it_is_read_has_nothing() -> None:
    """Who reads from outside of events finds what is held here at that time; one that is still held tells of its store."""

    class Leaving(TumblingWindow):
        """Windows of a partition that a rebalance takes away when somebody looks at them."""

        leaves = True

        def value(self, part: Any, *looked_for: Any) -> Any:
            part.store.close()
            if self.leaves:
                bench.table.parts.pop(0)
            return super().value(part, *looked_for)

    window = Leaving(10, expires=60)
    bench = WindowBench(window)
    bench.add("a", 5)
    bench.checkpoint()
    set_effects(None)
    window.leaves = False
    with pytest.raises(StoreError):
        bench.windows.relative_to(5.0)["a"].value()
    window.leaves = True
    assert bench.windows.relative_to(5.0)["a"].value() == 0


def test_another_partition_has_its_own_time(bench: WindowBench) -> None:
    """Nothing of one partition is late because of another one."""
    other = bench.table.make_part(TP("changelog", 1), 1, bench.stores.open("table", 1), clock=bench.clock)
    bench.add("a", 900)
    assert bench.part.time(None) == 900_000
    assert other.time(None) < 0  # type: ignore[attr-defined]


def test_a_snapshot_tells_which_time_a_partition_is_at() -> None:
    """From what is in memory: before the first event, and before somebody has looked into the store, nothing is known."""
    bench = WindowBench(TumblingWindow(10.0, expires=60.0))
    assert bench.part.snapshot("table", None).event_time is None
    bench.add("a", 12.5)
    assert bench.part.snapshot("table", None).event_time == 12.5
    bench.checkpoint()
    bench.add("a", 11.0)
    assert bench.part.snapshot("table", None).event_time == 12.5
    bench.checkpoint()
    bench.restart()
    assert bench.part.time(None) == 12_500
    assert bench.part.snapshot("table", None).event_time == 12.5


KINDS = (TumblingWindow(5), HoppingWindow(5, 2, 60), SessionWindow(5), SlidingWindow(5, 2), SlidingWindow(5, 2, 60))


@pytest.mark.parametrize("window", KINDS, ids=repr)
@pytest.mark.parametrize("at", [-(2**63), NEVER, EARLIEST])
def test_an_instant_that_no_label_can_say_changes_nothing(window: Window, at: int) -> None:
    """It would be lost with the next recovery: its event is handed to the policy for late ones, and reads find nothing."""
    met: list[Late] = []
    bench = WindowBench(window, late=met.append)
    with bench.event(at / 1000) as windows:
        windows["A"] += 1
        assert windows["A"].value() == 0
        del windows["A"]
    assert [str(late).partition(", ")[2] for late in met] == [
        "tens of thousands of years ago, of which no windows are kept"
    ] * 2

    bench.add("A", (EARLIEST + 1) / 1000)
    with bench.event(at / 1000) as windows:  # where events go the short way
        windows["A"] += 1
    assert len(met) == 3
    bench.checkpoint()
    assert bench.all()
    assert bench.rebuild(len(bench.log), "again") == (bench.all(), EARLIEST + 1)


@pytest.mark.parametrize("window", KINDS, ids=repr)
def test_the_last_instant_that_a_record_can_have_is_read(window: Window) -> None:
    """Its event changes nothing, and what it reads is not there."""
    met: list[Late] = []
    bench = WindowBench(window, late=met.append)
    with bench.event((2**63 - 1) / 1000) as windows:
        windows["a"] += 1
        assert (windows["a"].value(), "a" in windows, list(windows.items())) == (0, False, [])
    assert [late.is_future for late in met] == [True]


@pytest.mark.parametrize("key_type", [str, bytes])
@pytest.mark.parametrize(
    ("before", "behind"), [(one, other) for one in WINDOWS for other in WINDOWS if one.name != other.name]
)
def test_windows_of_another_kind_begin_anew(before: Window, behind: Window, key_type: type) -> None:
    """What a changelog has of another kind is passed over, also where a session begins when a window does; what fits can be read."""
    schema = Schema.for_table(key_type, int)
    bench, other = (WindowBench(window, schema=schema) for window in (before, behind))
    for at in (0, 10, 35, 55):
        bench.add(b"\xff" if key_type is bytes else "a", at)
    bench.checkpoint()
    other.log = bench.log
    found, time = other.rebuild(len(bench.log), "other", committed=1)
    aligned = isinstance(before, HoppingWindow) and isinstance(behind, HoppingWindow)
    assert found == (
        {(key, start): value for (key, start), value in bench.all().items() if start % 10 == 0} if aligned else {}
    )
    assert time == 55_000


CHANGES: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "a value": (lambda windows: windows["a"].value().append(1), True),
    "that of the record": (lambda windows: windows["a"].current().append(1), True),
    "a default": (lambda windows: windows["b"].value().append(1), True),
    "a default of the clock": (lambda windows: windows["b"].now().append(1), True),
    "a default of labels": (lambda windows: windows["b"][0.0, 9.9].append(1), True),
    "all of a key": (lambda windows: [value.append(1) for value in windows["a"].values()], True),
    "all": (lambda windows: [value.append(1) for value in windows.values()], True),
    "the operand of an operator": (
        lambda windows: operator.iadd(windows["b"], operand := [1]) and operand.append(2),
        False,
    ),
    "what was assigned": (lambda windows: operator.setitem(windows, "b", value := [1]) or value.append(2), True),
    "a value that is assigned": (lambda windows: operator.setitem(windows, "a", [*windows["a"].value(), 1]), False),
    "a default that is assigned": (
        lambda windows: (value := windows["b"].value()).append(1) or operator.setitem(windows, "b", value),
        False,
    ),
}


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("what", CHANGES)
def test_what_is_changed_in_place_is_assigned(window: Window, what: str) -> None:
    """As in any table, defaults included; the message has the key as the user has it."""
    change, fails = CHANGES[what]
    bench = WindowBench(window, schema=Schema.for_table(str, list[int]), default=list, check_mutations=True)
    with bench.event(5) as windows:
        windows["a"] += [0]
    bench.checkpoint()
    if fails:
        with pytest.raises(NotAssignedError, match=r"write table\['[ab]'\] = value"), bench.event(6) as windows:
            change(windows)
    else:
        with bench.event(6) as windows:
            change(windows)


@pytest.mark.parametrize("window", WINDOWS)
def test_what_is_told_of_a_window_that_closes_may_be_changed(window: Window) -> None:
    """It is a copy of what no event changes any more, and cannot be assigned."""
    bench = WindowBench(window, schema=Schema.for_table(str, list[int]), default=list, check_mutations=True)
    for at in (5, 500):
        with bench.event(at) as windows:
            windows["a"] += [0]
    told: list[Any] = []
    bench.close(lambda key, value: told.append(value) or value.append(1))
    assert told == [[0, 1]] * len(told) != []


class Slow:
    """A store whose first reader gets what it has read when somebody lets it go.

    Args:
        store: the store.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self.read, self.go = Signal(), Signal()

    def get(self, key: bytes) -> bytes | None:
        """Read a key."""
        found: bytes | None = self._store.get(key)
        if not self.read.is_set():
            self.read.set()
            assert self.go.wait(30)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def test_a_thread_that_reads_while_a_checkpoint_is_stored_sets_no_time_back() -> None:
    """What it has read is of before; who works on events goes on with what is stored."""
    bench = WindowBench(TumblingWindow(10, expires=60))
    bench.add("a", 5)
    bench.checkpoint()
    bench.restart()
    part = bench.part
    part.enter(State.OPENING)  # as behind a drop: what was known of the store is read again
    part.enter(State.REPLAYING)
    part.enter(State.RUNNING)
    store: Any = Slow(part.store)
    part.store = store
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: part.stored_time)
        assert store.read.wait(30)
        bench.add("a", 50)
        bench.checkpoint()
        store.go.set()
        assert reading.result() == 5_000
    assert part.time(None) == 50_000
