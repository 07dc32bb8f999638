"""Tasks, timers and calendars: when they run, and on which worker."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

import looptime
import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.agents.chores import Chore, crontab, task, timer
from stream_core.clocks import SYSTEM, Clock, SystemClock
from stream_core.errors import ConfigurationError
from stream_core.runs import Run

pytestmark = pytest.mark.looptime


async def run_for(
    chore: Chore, seconds: float, is_leader: Callable[[], bool] = lambda: True, *, by: Clock = SYSTEM
) -> None:
    """Run a chore for so many seconds, by a clock; what it raises is raised."""
    try:
        with Run(clock=by).entered():
            async with asyncio.timeout(seconds):
                await chore.run(is_leader)
    except TimeoutError:
        pass


def clock() -> float:
    """The time of the event loop."""
    return asyncio.get_running_loop().time()


async def test_a_task_runs_once() -> None:
    """It runs, and what it raises comes out."""
    runs: list[float] = []

    async def body() -> None:
        runs.append(clock())
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await task(body).run(lambda: False)
    assert len(runs) == 1


async def test_a_timer_keeps_its_beat() -> None:
    """The first tick is one interval after the start, and the time that the body takes does not shift the others."""
    start, ticks = clock(), list[float]()

    async def body() -> None:
        ticks.append(round(clock() - start, 3))
        await asyncio.sleep(0.4)

    await run_for(timer(body, timedelta(seconds=1)), 4.9)
    assert ticks == [1, 2, 3, 4]


async def test_a_slow_timer_leaves_ticks_out(caplog: pytest.LogCaptureFixture) -> None:
    """Ticks that are past are not made up for, and that is said."""
    start, ticks = clock(), list[float]()

    async def body() -> None:
        ticks.append(round(clock() - start, 3))
        await asyncio.sleep(2.5 if len(ticks) == 1 else 0)

    await run_for(timer(body, 1.0), 5.5)
    assert ticks == [1, 3.5, 4, 5]
    assert "leaves 1 ticks out" in caplog.text


@pytest.mark.parametrize(
    ("correction", "expected"), [(None, [1, 2.9, 3, 4, 5]), (0.3, [1, 2.9, 3.6, 4.3, 5]), (0, [1, 2.9, 3.9, 4.9])]
)
async def test_a_tick_makes_up_for_one_that_was_late(correction: float | None, expected: list[float]) -> None:
    """By as much as is said: without a bound the timer keeps to its beat, with 0 an interval is never shorter."""
    start, ticks = clock(), list[float]()

    async def body() -> None:
        ticks.append(round(clock() - start, 3))
        await asyncio.sleep(1.9 if len(ticks) == 1 else 0)

    await run_for(timer(body, 1.0, max_drift_correction=correction), 5.2)
    assert ticks == expected


async def test_timers_have_names() -> None:
    """The name is that of the function unless one is given."""

    async def body() -> None:
        pass

    assert timer(body, 1.0).name == "timer test_timers_have_names.<locals>.body"
    assert timer(body, 1.0, name="beat").name == "timer beat"
    with pytest.raises(ConfigurationError, match="timer beat: max_drift_correction=-1"):
        timer(body, 1.0, name="beat", max_drift_correction=-1)


async def test_timers_of_others(caplog: pytest.LogCaptureFixture) -> None:
    """A timer on the leader ticks only while this worker is it."""
    start, ticks = clock(), list[float]()

    async def body() -> None:
        ticks.append(round(clock() - start, 3))

    await run_for(timer(body, 1.0, on_leader=True), 5.5, lambda: 2.5 < clock() - start < 4.5)
    assert ticks == [3, 4]


async def test_a_task_on_the_leader() -> None:
    """It runs while its worker leads: cancelled when another does, and run again when it is its turn once more."""
    start, spans = clock(), list[tuple[str, float]]()

    async def body() -> None:
        spans.append(("begin", round(clock() - start)))
        try:
            await asyncio.sleep(1000)
        finally:
            spans.append(("end", round(clock() - start)))

    await run_for(task(body, on_leader=True), 40, lambda: 10 <= clock() - start < 20 or clock() - start >= 30)
    assert spans == [("begin", 10), ("end", 20), ("begin", 30), ("end", 40)]


async def test_a_finished_task_waits_for_its_next_turn() -> None:
    """A task that ends by itself runs once for each time that its worker becomes the leader."""
    start, runs = clock(), list[float]()

    async def body() -> None:
        runs.append(round(clock() - start))

    await run_for(task(body, on_leader=True), 40, lambda: clock() - start < 10 or clock() - start >= 30)
    assert runs == [0, 30]


class Wall(SystemClock):
    """A clock on the wall that goes with the event loop."""

    def __init__(self, now: datetime) -> None:
        self._at = now
        self._since = clock()

    def __call__(self, zone: tzinfo | None) -> datetime:
        """The time in a zone."""
        return (self._at + timedelta(seconds=clock() - self._since)).astimezone(zone)

    def wall(self) -> float:
        """The time in seconds since the epoch."""
        return self(UTC).timestamp()


async def test_a_calendar() -> None:
    """A cron expression is read in its zone, and missed moments are not made up for."""
    wall = Wall(datetime(2026, 3, 1, 16, 0, tzinfo=UTC))
    seen: list[str] = []

    async def body() -> None:
        seen.append(wall(UTC).isoformat())

    berlin = ZoneInfo("Europe/Berlin")
    await run_for(crontab(body, "30 18 * * *", zone=berlin), 86400 * 2, by=wall)
    assert seen == ["2026-03-01T17:30:00+00:00", "2026-03-02T17:30:00+00:00"]


async def test_what_is_refused() -> None:
    """Functions that are not async, intervals of nothing, and expressions that say no time are errors that say so."""

    async def body() -> None: ...

    with pytest.raises(ConfigurationError, match="async def"):
        task(lambda: None)
    with pytest.raises(ConfigurationError, match="not more than 0"):
        timer(body, 0)
    with pytest.raises(ConfigurationError, match=r"'61 \* \* \* \*' is no cron expression"):
        crontab(body, "61 * * * *")


# -- calendars over changes of the clock

ZONES = (
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "UTC",
)
"""Zones that change their clocks by an hour, by half of one and by two, at night, at midnight and in a month of fasting."""

SPECS = (
    "* * * * *",
    "0 * * * *",
    "*/20 * * * *",
    "30 2 * * *",
    "15 1,2,3 * * *",
    "*/30 1-3 * * *",
    "0 0 * * *",
    "45 */2 * * *",
)


@cache
def changes(zone: tzinfo) -> list[datetime]:
    """When the clock of a zone is changed in 2026, in UTC; a day in summer where it never is."""
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(365 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    found = [hour for hour, one, other in zip(hours[1:], offsets, offsets[1:], strict=False) if one != other]
    return found or [datetime(2026, 7, 1, tzinfo=UTC)]


def ticks_of(spec: str, zone: tzinfo, start: datetime, seconds: float) -> list[datetime]:
    """When a calendar ticks, on a wall with a clock that nobody sets."""
    seen: list[datetime] = []

    async def run() -> None:
        wall = Wall(start)

        async def body() -> None:
            seen.append(wall(UTC))

        await run_for(crontab(body, spec, zone=zone), seconds, by=wall)

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(run())
    return seen


@given(st.data(), st.sampled_from(ZONES), st.sampled_from(SPECS), st.integers(-200, 60), st.integers(0, 59))
@settings(max_examples=40)
def test_the_moments_of_a_calendar_are_those_of_cron(
    data: st.DataObject, zone: str, spec: str, minutes: int, second: int
) -> None:
    """However the clock is changed meanwhile, the body runs at each moment that CronSim lists, once, and at no other."""
    here = ZoneInfo(zone)
    start = data.draw(st.sampled_from(changes(here))) + timedelta(minutes=minutes, seconds=second)
    end = start + timedelta(
        hours=6, seconds=30.5
    )  # at no moment of a calendar: whether a body runs at the last one is chance
    listed = itertools.takewhile(
        lambda moment: moment <= end, (moment.astimezone(UTC) for moment in CronSim(spec, start.astimezone(here)))
    )

    expected = [moment for moment in listed if moment > start]
    seen = ticks_of(spec, here, start, (end - start).total_seconds())

    assert [moment.replace(microsecond=0) for moment in seen] == expected


class SetWall(Wall):
    """A clock on the wall that somebody sets."""

    def set(self, by: timedelta) -> None:
        """Set it forward, or back."""
        self._at += by


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        (timedelta(hours=-1), ["01 10:00", "01 11:00", "01 12:00"]),  # nothing is repeated
        (timedelta(minutes=30), ["01 10:00", "01 11:00", "01 12:00", "01 13:00"]),
        (timedelta(days=-3), ["01 10:00", "29 11:00", "29 12:00", "29 13:00"]),  # it was wrong before
        (
            timedelta(days=365),
            ["01 10:00", "01 10:21", "01 11:00", "01 12:00", "01 13:00"],
        ),  # once, and not 8,760 times
    ],
)
async def test_a_clock_that_is_set_by_hand(by: timedelta, expected: list[str]) -> None:
    """Set back a little, a calendar repeats nothing; set back or forward by much, it goes on from there, and makes up for nothing."""
    wall, seen = SetWall(datetime(2026, 6, 1, 9, 30, tzinfo=UTC)), list[str]()

    async def body() -> None:
        seen.append(f"{wall(UTC):%d %H:%M}")

    running = asyncio.create_task(
        run_for(crontab(body, "0 * * * *", zone=ZoneInfo("Europe/Berlin")), 4 * 3600, by=wall)
    )
    await asyncio.sleep(50.5 * 60)
    wall.set(by)
    await running
    assert seen == expected


async def test_a_body_that_takes_longer_than_the_moments_of_its_calendar() -> None:
    """Moments that pass while it runs are left out, but for one within the last minute."""
    wall, seen = Wall(datetime(2026, 6, 1, 9, 30, tzinfo=UTC)), list[str]()

    async def body() -> None:
        seen.append(f"{wall(UTC):%H:%M:%S}")
        await asyncio.sleep(150 if len(seen) == 1 else 0)

    await run_for(crontab(body, "* * * * *"), 6 * 60, by=wall)
    assert seen == ["09:31:00", "09:33:30", "09:34:00", "09:35:00"]


async def test_a_timer_that_is_always_late_says_so_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Ticks that are left out meanwhile are counted."""

    async def body() -> None:
        await asyncio.sleep(0.25)

    await run_for(timer(body, 0.1), 150)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "leaves 1 ticks out" in lines[0]
    assert int(re.findall(r"leaves (\d+) ticks out", lines[1])[0]) > 300
    assert "it takes longer than 0.1 s" in lines[1]


async def test_a_calendar_without_a_day_is_refused() -> None:
    """An expression that no day ever matches is an error that says so."""

    async def body() -> None: ...

    with pytest.raises(ConfigurationError, match=r"crontab .*body: '0 0 30 2 \*' is no cron expression"):
        crontab(body, "0 0 30 2 *")
