"""Starts that a restart or a stop overtakes, wherever they are: whoever awaits one hears what became of it, and nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import stream_app as faust
from stream_core.errors import WorkerError

from .apps import make, until

OVERTAKEN = "app shop was stopped before it had started"


class Held(faust.App):
    """An app whose starts wait in ``on_start`` until they may go on, but for the first ones."""

    free = 0
    entered: list[int]
    go_on: asyncio.Event

    async def on_start(self) -> None:
        """Wait, unless it is one of the first."""
        self.entered.append(len(self.entered))
        if len(self.entered) > self.free:
            await self.go_on.wait()


def held(*, free: int = 0, kind: type[Held] = Held) -> Held:
    """Make an app whose first starts, so many, do not wait."""
    app = make(kind=kind)
    app.free, app.entered, app.go_on = free, [], asyncio.Event()
    return app


async def test_a_restart_whose_start_is_stopped() -> None:
    """Both end, and so does each start that is stopped later."""
    before = asyncio.all_tasks()
    app = held(free=1)
    async with asyncio.timeout(20):
        await app.start()
        again = asyncio.create_task(app.restart())
        await until(lambda: len(app.entered) == 2)
        await app.stop()
        await again
        assert not app.running

        start = asyncio.create_task(app.start())
        await until(lambda: len(app.entered) == 3)
        await app.stop()
        with pytest.raises(WorkerError, match=OVERTAKEN):
            await start
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_service_whose_restart_is_stopped() -> None:
    """The same for a service that is no app, stopped by its own hook."""
    starts = list[int]()

    class Stopping(faust.Service):
        async def on_start(self) -> None:
            starts.append(1)
            if len(starts) == 2:
                await self.stop()

    service = Stopping()
    async with asyncio.timeout(20):
        await service.start()
        await service.restart()
    assert not service.running


async def test_a_restart_that_a_task_has_asked_for_and_a_stop_overtakes() -> None:
    """The stop has the last word: that the other start did not come about is no crash."""
    app = held(free=1)

    @app.task
    async def again() -> None:
        if len(app.entered) == 1:
            await app.restart()

    async with asyncio.timeout(20):
        start = asyncio.create_task(app.start())
        await until(lambda: len(app.entered) == 2)
        await app.stop()
        await asyncio.wait([start])
    assert not app.running
    assert app.crash_reason is None


@pytest.mark.parametrize("fails", [False, True])
async def test_a_start_is_overtaken_by_a_restart_that_waits(*, fails: bool) -> None:
    """A restart may wait in its hook while nothing runs: the start is not over before that."""
    hold = asyncio.Event()

    class Waiting(Held):
        async def on_restart(self) -> None:
            await hold.wait()
            if fails:
                raise ValueError("no restart")

    app = held(kind=Waiting)
    async with asyncio.timeout(20):
        start = asyncio.create_task(app.start())
        await until(lambda: app.entered)
        again = asyncio.create_task(app.restart())
        await until(lambda: not app.running)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not start.done()
        app.go_on.set()
        hold.set()
        if fails:
            with pytest.raises(ValueError, match="no restart"):
                await again
            with pytest.raises(WorkerError, match=OVERTAKEN):
                await start
        else:
            await again
            await start
            assert app.engine.ready
    await app.stop()


def in_a_service(app: faust.App, reached: list[int], go_on: asyncio.Event) -> None:
    """Let the app wait in the start of a service."""

    class Slow(faust.Service):
        async def on_start(self) -> None:
            reached.append(1)
            await go_on.wait()

    app.service(Slow)


def in_the_engine(app: faust.App, reached: list[int], go_on: asyncio.Event) -> None:
    """Let the app wait in its engine: its first assignment is not over."""

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    async def assigned(*_: Any, **__: Any) -> None:
        reached.append(1)
        await go_on.wait()

    app.on_partitions_assigned.connect(assigned, weak=False)


@pytest.mark.parametrize("wait", [in_a_service, in_the_engine])
@pytest.mark.parametrize("who", ["app", "worker"])
async def test_a_restart_overtakes_a_start_that_is_far(
    who: str, wait: Callable[[faust.App, list[int], asyncio.Event], None]
) -> None:
    """Services and the engine start last, and take longest: a worker that starts them waits for the other start, and goes on."""
    app, reached, go_on = make(), list[int](), asyncio.Event()
    wait(app, reached, go_on)
    worker = faust.Worker(app, override_logging=False)
    async with asyncio.timeout(20):
        start: asyncio.Task[Any] = asyncio.create_task((app if who == "app" else worker).start())
        await until(lambda: reached)
        again = asyncio.create_task(app.restart())
        await until(lambda: len(reached) == 2)
        go_on.set()
        await again
        assert app.engine.ready
        if who == "app":
            await start
            await app.stop()
        else:
            assert not start.done()
            await worker.stop()
            assert not await start
    assert not app.running


async def stops_and_starts(app: faust.App) -> None:
    """Overtake a start, and begin another one in the same turn."""
    await app.stop()
    await app.start()


async def test_a_start_is_overtaken_by_a_stop_and_another_start() -> None:
    """It has failed, though the app starts: that start may fail as well, and is of somebody else."""
    app = held()
    async with asyncio.timeout(20):
        first = asyncio.create_task(app.start())
        await until(lambda: app.entered)
        second = asyncio.create_task(stops_and_starts(app))
        with pytest.raises(WorkerError, match=OVERTAKEN):
            await first
        assert not second.done()
        app.go_on.set()
        await second
        assert app.engine.ready
    await app.stop()


async def fail(app: faust.App) -> None:
    """Raise."""
    raise ValueError("after the restart")


async def wait_for_ever(app: faust.App) -> None:
    """Wait until the start is cancelled."""
    await asyncio.Event().wait()


@pytest.mark.parametrize("then", [fail, wait_for_ever])
async def test_a_start_fails_behind_a_restart_of_its_own(then: Callable[[faust.App], Awaitable[None]]) -> None:
    """What a hook has restarted is a part of the start: it leaves nothing behind, whether it raises or is cancelled."""
    starts, restarted = list[int](), asyncio.Event()

    class Again(faust.App):
        async def on_start(self) -> None:
            starts.append(1)
            if len(starts) == 1:
                await self.restart()
                restarted.set()
                await then(self)

    app = make(kind=Again)
    before = asyncio.all_tasks()
    async with asyncio.timeout(20):
        start = asyncio.create_task(app.start())
        await restarted.wait()
        if then is wait_for_ever:
            start.cancel()
        await asyncio.wait([start])
    if then is wait_for_ever:
        assert start.cancelled()
    else:
        assert isinstance(start.exception(), ValueError)
    assert len(starts) == 2
    assert not app.running
    assert not app.engines
    await until(lambda: asyncio.all_tasks() == before)
