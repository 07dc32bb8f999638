"""Workers and services: what starts together, stops together, and whose failure ends the process."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import mode
import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError

from .apps import make, until


class Plain:
    """A service that is no class of anybody's."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> None:
        """Start."""
        self.told.append("start")

    async def stop(self) -> None:
        """Stop."""
        self.told.append("stop")


class Broken(Plain):
    """A service that cannot stop."""

    async def stop(self) -> None:
        """Fail."""
        raise ValueError("cannot stop")


async def test_several_apps_and_services_in_one_worker() -> None:
    """They start together, and a stop that is asked for ends them all, with exit code 0."""
    one, two, plain = make("one"), make("two"), Plain()
    inits: list[str] = []
    for app in (one, two):

        @app.on_worker_init.connect
        def init(app: faust.App, **kwargs: Any) -> None:
            inits.append(app.id)

    worker = faust.Worker(one, two, plain, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: started(one) and started(two))
    assert (inits, plain.told, worker.app) == (["one", "two"], ["start"], one)
    await worker.stop()
    assert await running == 0
    assert plain.told == ["start", "stop"]
    assert not started(one)
    assert not started(two)


def started(app: faust.App) -> bool:
    """Whether an app runs."""
    try:
        return app.engine.ready
    except ConfigurationError:
        return False


async def test_the_failure_of_one_app_ends_the_worker() -> None:
    """The others are stopped, and the exit code is 1."""
    one, two = make("one"), make("two")

    @two.task
    async def fail() -> None:
        raise ValueError("no")

    assert await faust.Worker(one, two, loglevel="CRITICAL").start() == 1
    assert not started(one)
    assert not started(two)


async def test_an_app_that_cannot_start_ends_the_worker() -> None:
    """So does an app whose topics do not fit."""
    one, two = make("one"), make("two", topic_disable_leader=True)
    two.task(on_leader=True)(one.stop)
    assert await faust.Worker(one, two, loglevel="CRITICAL").start() == 1
    assert not started(one)


async def test_signals_of_the_process() -> None:
    """SIGUSR1 logs where the tasks wait, and SIGTERM stops."""
    app = make()

    @app.task
    async def linger() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(faust.Worker(app, loglevel="CRITICAL").start())
    await until(lambda: started(app))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_where_tasks_wait(caplog: pytest.LogCaptureFixture) -> None:
    """SIGUSR1 logs the line in which each task waits."""
    app = make()

    @app.task
    async def linger() -> None:
        await asyncio.Event().wait()

    worker = faust.Worker(app, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: started(app))
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: "linger" in caplog.text)
    assert "test_worker.py" in caplog.text
    await worker.stop()
    assert await running == 0


def test_a_loop_of_ones_own() -> None:
    """A worker runs in the loop that it is given, and closes it when it is told to."""
    loop = asyncio.new_event_loop()
    app = make()
    worker = faust.Worker(app, loop=loop, loglevel="CRITICAL")

    async def end() -> None:
        await until(lambda: started(app))
        await worker.stop()

    ending = loop.create_task(end())
    assert worker.execute_from_commandline() == 0
    assert ending.done()
    worker.stop_and_shutdown_loop()
    assert loop.is_closed()


async def test_services_of_an_app() -> None:
    """A service of mode, as a class or object, and any other object with start and stop run as long as the app."""
    app, plain, told = make(), Plain(), list[str]()
    app.service(plain)

    @app.service
    class Told(mode.Service):
        async def on_start(self) -> None:
            told.append("start")

        async def on_stop(self) -> None:
            told.append("stop")

    app.service(Broken())
    await app.start()
    assert (plain.told, told) == (["start"], ["start"])
    with pytest.raises(ConfigurationError, match="while app shop runs"):
        app.service(Plain())
    await app.stop()
    assert (plain.told, told) == (["start", "stop"], ["start", "stop"])


async def test_a_service_that_crashes_ends_the_app() -> None:
    """Its reason is the failure."""
    app = make()

    @app.service
    class Crashing(mode.Service):
        @mode.Service.task
        async def fall(self) -> None:
            raise ValueError("fallen")

    await app.start()
    async with asyncio.timeout(10):
        failure = await asyncio.shield(app.engine.failure)
    assert "crashed: ValueError: fallen" in str(failure)
    await app.stop()


def test_what_is_no_service() -> None:
    """It is refused in a sentence, by apps and by workers."""
    with pytest.raises(ConfigurationError, match="is no service: give it"):
        make().service(object())
    with pytest.raises(ConfigurationError, match="is no service: give it"):
        faust.Worker(make(), object())
