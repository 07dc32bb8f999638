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


async def test_two_restarts_at_once() -> None:
    """The app runs behind both, whoever asks: neither has failed because the other one has started it."""
    app = make()
    async with asyncio.timeout(20):
        await app.start()
        await asyncio.gather(app.restart(), app.restart())
        assert app.engine.ready
        await app.stop()
    assert not app.running


async def test_two_tasks_ask_for_a_restart_at_once() -> None:
    """Both are cancelled by the stop, and nothing has crashed."""
    app, asked, go = make(), list[int](), asyncio.Event()

    async def again() -> None:
        await go.wait()
        if len(asked) < 2:
            asked.append(1)
            await app.restart()

    async def again_too() -> None:
        await again()

    app.task(again)
    app.task(again_too)
    async with asyncio.timeout(20):
        await app.start()
        first = app.engine
        go.set()
        await until(lambda: app.running and app.engines and app.engine is not first and app.engine.ready)
        for _ in range(10):
            await asyncio.sleep(0)
        assert app.running
        await app.stop()
    assert app.crash_reason is None


async def test_two_restarts_overtake_a_start() -> None:
    """Who waits for it waits for whichever start there is in the end."""
    app = held()
    async with asyncio.timeout(20):
        start = asyncio.create_task(app.start())
        await until(lambda: app.entered)
        both = asyncio.gather(app.restart(), app.restart())
        await until(lambda: len(app.entered) == 2)
        app.go_on.set()
        await both
        await start
        assert app.engine.ready
        await app.stop()


async def test_a_restart_behind_one_that_fails() -> None:
    """The later one starts the service; where that raises, the earlier one does."""
    restarts, go_on = list[int](), asyncio.Event()

    class Once(faust.Service):
        async def on_stop(self) -> None:
            await go_on.wait()

        async def on_restart(self) -> None:
            restarts.append(1)
            if len(restarts) == 1:
                raise ValueError("not this time")

    service = Once()
    async with asyncio.timeout(20):
        await service.start()
        both = asyncio.gather(service.restart(), service.restart(), return_exceptions=True)
        await until(lambda: service.should_stop)
        go_on.set()
        first, second = await both
    assert (first, str(second)) == (None, "not this time")
    assert service.running
    await service.stop()


@pytest.mark.parametrize(
    ("hook", "met"), [("on_started", "stop"), ("on_start", "second start"), ("on_started", "second start")]
)
async def test_a_start_is_cancelled_during_a_restart_of_its_own(hook: str, met: str) -> None:
    """It leaves nothing behind, whatever the restart does in that moment, and that is no crash."""
    told, go_on = list[str](), asyncio.Event()

    class Again(faust.App):
        async def tell(self, name: str) -> None:
            told.append(name)
            if name == met:
                await go_on.wait()
            if name == hook and told.count(name) == 1:
                await self.restart()

        async def on_start(self) -> None:
            await self.tell("second start" if "on_start" in told else "on_start")

        async def on_started(self) -> None:
            await self.tell("on_started")

        async def on_stop(self) -> None:
            await self.tell("stop")

    app = make(kind=Again)
    before = asyncio.all_tasks()
    async with asyncio.timeout(20):
        start = asyncio.create_task(app.start())
        await until(lambda: met in told)
        start.cancel()
        go_on.set()
        await asyncio.wait([start])
        await until(lambda: asyncio.all_tasks() == before)
    assert start.cancelled()
    assert not app.running
    assert not app.engines
    assert app.crash_reason is None


async def test_a_service_is_stopped_by_the_one_above_while_it_restarts() -> None:
    """It does not come back below one that has ended."""
    stopping, go_on = asyncio.Event(), asyncio.Event()

    class Child(faust.Service):
        async def on_stop(self) -> None:
            stopping.set()
            await go_on.wait()

    child, parent = Child(), faust.Service()
    parent.add_dependency(child)
    async with asyncio.timeout(20):
        await parent.start()
        again = asyncio.create_task(child.restart())
        await stopping.wait()
        above = asyncio.create_task(parent.stop())
        await until(lambda: parent.should_stop)
        go_on.set()
        await above
        await again
    assert not child.running
