"""Tasks, timers and calendars: when they run, and on which worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest

from stream_core.chores import Chore, crontab, task, timer
from stream_core.errors import ConfigurationError

pytestmark = pytest.mark.looptime


async def run_for(chore: Chore, seconds: float, is_leader: Callable[[], bool] = lambda: True) -> None:
    """Run a chore for so many seconds; what it raises is raised."""
    try:
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


class Wall:
    """A clock on the wall that goes with the event loop."""

    def __init__(self, now: datetime) -> None:
        self._at = now
        self._since = clock()

    def __call__(self, zone: tzinfo | None) -> datetime:
        """The time in a zone."""
        return (self._at + timedelta(seconds=clock() - self._since)).astimezone(zone)


async def test_a_calendar() -> None:
    """A cron expression is read in its zone, and missed moments are not made up for."""
    wall = Wall(datetime(2026, 3, 1, 16, 0, tzinfo=UTC))
    seen: list[str] = []

    async def body() -> None:
        seen.append(wall(UTC).isoformat())

    berlin = ZoneInfo("Europe/Berlin")
    await run_for(crontab(body, "30 18 * * *", zone=berlin, now=wall), 86400 * 2)
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
