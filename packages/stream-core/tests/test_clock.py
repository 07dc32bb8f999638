"""The clock that tests drive by hand, and an engine that goes by it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from stream_core.agents.chores import Chore, crontab, timer
from stream_core.clocks import Clock
from stream_core.runs import Run, current_clock
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.testing import ManualClock

from .harness import Lab

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()


async def pass_by(chore: Chore, clock: ManualClock, seconds: float) -> None:
    """Run a chore while so many seconds pass on its clock, and none on that of the machine."""
    with Run(clock=clock).entered():
        running = asyncio.create_task(chore.run(lambda: True))
    await clock.pass_by(seconds)
    running.cancel()
    await asyncio.wait([running])


async def test_sleepers_wake_in_their_moments() -> None:
    """Time that passes wakes each in turn; a jump wakes all at once, late; a clock on the wall that is set wakes nobody."""
    clock: ManualClock = ManualClock(100)
    checked: Clock = clock  # for the type checker: it is one
    woken: list[tuple[str, float]] = []

    async def sleep(name: str, *seconds: float) -> None:
        for each in seconds:
            await checked.sleep(each)
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleep("a", 1, 1))
        group.create_task(sleep("b", 1.5, 10))
        group.create_task(sleep("c", 0, -1))
        await clock.pass_by(1.75)
        assert woken == [("c", 100), ("c", 100), ("a", 101), ("b", 101.5)]
        clock.set_wall(0)
        await clock.pass_by(0)
        assert (len(woken), clock.wall()) == (4, 0)
        clock.advance(60)
        assert clock.wall() == 60
    assert woken[4:] == [("a", 161.75), ("b", 161.75)]


async def test_a_block_that_takes_too_long() -> None:
    """It ends with TimeoutError in its moment, or is left in time, which nobody hears of."""
    clock = ManualClock()
    ends: list[float] = []

    async def wait(event: asyncio.Event) -> bool:
        try:
            async with clock.timeout_at(5):
                await event.wait()
        except TimeoutError:
            ends.append(clock.monotonic())
            return False
        return True

    late, early = asyncio.create_task(wait(asyncio.Event())), asyncio.create_task(wait(event := asyncio.Event()))
    await clock.pass_by(4)
    event.set()
    await clock.pass_by(4)
    assert (await late, await early, ends) == (False, True, [5])
    assert await wait(asyncio.Event()) is False  # it is past already


async def test_a_timer_goes_by_the_clock() -> None:
    """It ticks once each second that passes; behind a jump, as after a suspend, it goes on without the ticks that it has missed."""
    clock, ticks = ManualClock(10), list[float]()

    async def body() -> None:
        ticks.append(clock.monotonic())
        if len(ticks) == 2:
            clock.advance(5.5)

    await pass_by(timer(body, timedelta(seconds=1)), clock, 8)
    assert ticks == [11, 12, 17.5, 18]


async def test_a_calendar_goes_by_the_clock_on_the_wall() -> None:
    """It ticks at its moments, also when the clock is set: by NTP, or since it was wrong."""
    clock, ticks = ManualClock(NOON), list[str]()

    async def body() -> None:
        ticks.append(f"{datetime.fromtimestamp(clock.wall(), UTC):%H:%M}")
        if len(ticks) == 2:
            clock.set_wall(clock.wall() + 2.25 * 3600)

    await pass_by(crontab(body, "30 * * * *"), clock, 3 * 3600)
    assert ticks == ["12:30", "13:30", "16:30"]


async def test_an_engine_goes_by_the_clock(lab: Lab) -> None:
    """Lists of ``take``, timestamps on channels and checkpoints come when the clock says so, and not before."""
    clock, lists = ManualClock(NOON), list[list[int]]()
    topic, channel = lab.topic("numbers"), Channel[str, int]("local")

    async def body(stream: Stream[int]) -> None:
        async for numbers in stream.take(10, within=5):
            assert current_clock() is clock
            lists.append(numbers)

    engine = lab.engine([lab.agent(body, topic)], commit_interval=100, run=Run("app", clock))
    lab.engines.append(engine)
    await engine.start()
    lab.put(topic, [1, 2, 3])
    await clock.pass_by(4.9)
    assert lists == []
    await clock.pass_by(0.2)
    assert lists == [[1, 2, 3]]
    with engine.run.entered():
        assert (await (await channel.send(1))).timestamp == round((NOON + 5.1) * 1000)
    lab.put(topic, [4])
    await clock.pass_by(94.8)
    assert (committed := lab.committed(topic)) is not None
    assert committed.offset == 0
    await clock.pass_by(0.2)
    assert (committed := lab.committed(topic)) is not None
    assert committed.offset == 4


def test_time_does_not_go_back() -> None:
    """A clock refuses to be advanced by less than nothing."""
    with pytest.raises(ValueError, match="cannot be advanced by -1 seconds"):
        ManualClock().advance(-1)
