"""``@app.task()``, ``@app.timer()`` and ``@app.service``."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import mode
import pytest
from mode.threads import ServiceThread

from stream_app import App

from .programs import take, until

Make = Callable[..., App]


@pytest.mark.parametrize("parentheses", [True, False])
async def test_a_task_runs_when_the_app_is_operational(make: Make, parentheses: bool) -> None:
    """A task runs once, on the event loop, when the app has partitions to read from."""
    app = make()
    ready: list[bool] = []

    @app.agent(app.topic("names"))
    async def process(stream: Any) -> None:
        async for _ in stream:
            pass

    async def mytask() -> None:
        assert asyncio.current_task() is not None
        ready.append(app.engine.ready)

    (app.task() if parentheses else app.task)(mytask)
    async with app:
        await until(lambda: ready)
    assert ready == [True]


@pytest.mark.looptime
async def test_a_timer_ticks_after_each_interval(make: Make) -> None:
    """A timer of 30 seconds ticks first 30 seconds after the app is operational, and then every 30 seconds."""
    app = make()
    loop = asyncio.get_running_loop()
    ticks: list[float] = []

    @app.timer(30.0)
    async def my_periodic_task() -> None:
        ticks.append(loop.time())

    async with app:
        start = loop.time()
        await asyncio.sleep(95)
    assert [round(tick - start) for tick in ticks] == [30, 60, 90]


@pytest.mark.looptime
async def test_a_timer_on_the_leader_ticks_on_one_worker(make: Make) -> None:
    """``on_leader=True`` ticks on one of two workers, and on the other when the first has gone."""
    loop = asyncio.get_running_loop()
    ticks: list[tuple[str, float]] = []
    apps = {name: make("leading", datadir=name) for name in ("one", "two")}

    def lead(name: str) -> Callable[[], Any]:
        async def tick() -> None:
            ticks.append((name, loop.time()))

        return tick

    for name, app in apps.items():
        app.timer(1.0, on_leader=True)(lead(name))

    async with apps["two"]:
        async with apps["one"]:
            await asyncio.sleep(10)
        assert len({name for name, _ in ticks[-5:]}) == 1
        ticks.clear()
        await asyncio.sleep(30)
    assert {name for name, _ in ticks} == {"two"}
    times = [at for _, at in ticks]
    assert len(times) == len(set(times))


class MyService(mode.Service):
    """A service with hooks, and something that runs in the background."""

    told: list[str]

    async def on_start(self) -> None:
        """It starts."""
        type(self).told = ["starting"]

    async def on_stop(self) -> None:
        """It stops."""
        self.told.append("stopping")

    @mode.Service.task
    async def _background_task(self) -> None:
        while not self.should_stop:
            self.told.append("waking up")
            await self.sleep(1.0)


@pytest.mark.looptime
async def test_a_service_starts_and_stops_with_the_app(make: Make) -> None:
    """A class under ``@app.service`` starts with the app, runs its background task, and stops with the app."""
    app = make("service-example")
    assert app.service(MyService) is MyService
    async with app:
        await asyncio.sleep(2.5)
    assert MyService.told == ["starting", "waking up", "waking up", "waking up", "stopping"]


async def test_a_subclass_of_the_app_adds_services(make: Make, faust: Any) -> None:
    """``self.service(SomeService())`` in the constructor of a subclass gives the service back, which runs with the app."""

    class MyApp(faust.App):  # type: ignore[misc]  # either spelling of the library
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.some_service = self.service(MyService())

    app = make(cls=MyApp)
    async with app:
        await until(lambda: app.some_service.started)  # type: ignore[attr-defined]  # of the subclass
    assert MyService.told[-1] == "stopping"


async def test_a_service_sees_the_app_at_work(make: Make) -> None:
    """A service may send to agents while it runs."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent()
    async def listen(stream: Any) -> None:
        async for value in stream:
            await done.put(value)

    @app.service
    class Feeder(mode.Service):
        async def on_start(self) -> None:
            await listen.cast("from a service")

    async with app:
        assert await take(done) == ["from a service"]


async def test_a_service_runs_in_a_thread(make: Make) -> None:
    """A service of mode that has a thread of its own starts and stops with the app, too."""
    app = make()
    where: list[bool] = []

    @app.service
    class Apart(ServiceThread):
        async def on_start(self) -> None:
            where.append(threading.current_thread() is threading.main_thread())

        @mode.Service.task
        async def _background_task(self) -> None:
            where.append(threading.current_thread() is threading.main_thread())

    async with app:
        await until(lambda: len(where) == 2)
    assert where == [False, False]


@pytest.mark.looptime
async def test_a_service_has_timers(make: Make) -> None:
    """``@Service.timer`` ticks while the app runs."""
    app = make()
    ticks: list[int] = []

    @app.service
    class Ticking(mode.Service):
        @mode.Service.timer(1.0)
        async def _tick(self) -> None:
            ticks.append(1)

    async with app:
        await asyncio.sleep(3.5)
    assert len(ticks) == 3


def test_apps_and_workers_are_services(make: Make, faust: Any) -> None:
    """An app is a service of mode, and so is a worker; agents, streams and tables are parts of the app that it starts itself."""
    app = make()

    @app.agent()
    async def process(stream: Any) -> None:
        async for _ in stream:
            pass

    assert isinstance(app, mode.Service)
    assert issubclass(faust.Worker, mode.Worker)
    parts: list[Any] = [process, app.Table("t"), app.topic("t")]
    assert not any(isinstance(one, mode.Service) for one in parts)
