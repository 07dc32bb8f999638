"""Starting an app: by a worker, by hand, as a part of other programs, and as a client."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mode
import pytest

from stream_app import Agent, App
from stream_core.errors import ConfigurationError

from .programs import take, until

Make = Callable[..., App]


def listening(app: App, done: Any = None) -> Agent:
    """Give an app an agent that puts aside what it hears; returns the agent."""

    @app.agent(name=f"{app.id}.listen")
    async def listen(stream: Any) -> Any:
        async for value in stream:
            if done is not None:
                await done.put(value)
            yield value

    return listen


def ready(app: App) -> bool:
    """Whether an app is operational."""
    try:
        return app.engine.ready
    except ConfigurationError:
        return False


def ending(app: App) -> None:
    """Let the worker of an app stop as soon as it is operational."""

    @app.task
    async def end() -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_a_worker_runs_from_synchronous_code(make: Make, faust: Any) -> None:
    """``Worker(app).execute_from_commandline()`` runs until SIGTERM, and gives exit code 0."""
    app = make()
    worker = faust.Worker(app, loglevel="CRITICAL")
    ending(app)
    assert worker.execute_from_commandline() == 0


def test_a_worker_runs_in_a_loop_of_ones_own(make: Make, faust: Any) -> None:
    """``await worker.start()`` runs in a loop that was given, and ``stop_and_shutdown_loop()`` ends both."""
    loop = asyncio.new_event_loop()
    app = make()
    worker = faust.Worker(app, loop=loop, loglevel="CRITICAL")
    ending(app)

    async def start_worker(worker: Any) -> None:
        await worker.start()

    try:
        loop.run_until_complete(start_worker(worker))
    finally:
        worker.stop_and_shutdown_loop()
    assert loop.is_closed()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_worker_stops_at_a_signal(make: Make, faust: Any, number: signal.Signals) -> None:
    """TERM, INT and HUP stop a worker in order, with exit code 0."""
    app = make()
    running = asyncio.create_task(faust.Worker(app, loglevel="CRITICAL").start())

    @app.task
    async def end() -> None:
        os.kill(os.getpid(), number)

    assert await running == 0


async def test_a_worker_cries_at_usr1(make: Make, faust: Any, caplog: pytest.LogCaptureFixture) -> None:
    """USR1 logs where everything waits, and the worker goes on."""
    app = make()

    @app.task
    async def linger() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.Event().wait()

    worker = faust.Worker(app, loglevel="WARNING")
    running = asyncio.create_task(worker.start())
    await until(lambda: "SIGUSR1" in caplog.text)
    assert "linger" in caplog.text
    await worker.stop()
    assert await running == 0


async def test_a_worker_changes_its_directory(
    make: Make, faust: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``workdir`` is the directory of the process when the app starts."""
    monkeypatch.chdir("/")
    app = make()
    where: list[str] = []

    @app.task
    async def look() -> None:
        where.append(os.getcwd())
        os.kill(os.getpid(), signal.SIGTERM)

    assert await faust.Worker(app, workdir=tmp_path, loglevel="CRITICAL").start() == 0
    assert where == [str(tmp_path)]


async def test_a_worker_serves_the_web(make: Make, faust: Any) -> None:
    """A worker starts the web server of its app, on the port of the settings."""
    (port,) = free_ports(1)
    app = make(web_enabled=True, web_port=port)
    answers: list[int] = []

    @app.task
    async def look() -> None:
        answers.append(await live(port))
        os.kill(os.getpid(), signal.SIGTERM)

    assert await faust.Worker(app, loglevel="CRITICAL").start() == 0
    assert answers == [200]


async def test_a_worker_runs_several_apps(make: Make, faust: Any) -> None:
    """The extra apps start with the first one, which is ``worker.app``."""
    apps = [make(f"app{number}") for number in range(1, 5)]
    done: asyncio.Queue[Any] = asyncio.Queue()
    agents = [listening(app, done) for app in apps]
    worker = faust.Worker(*apps, loglevel="CRITICAL")
    assert worker.app is apps[0]
    running = asyncio.create_task(worker.start())
    await until(lambda: all(ready(app) for app in apps))
    for number, agent in enumerate(agents):
        await agent.cast(number)
    assert sorted(await take(done, 4)) == [0, 1, 2, 3]
    await worker.stop()
    assert await running == 0


async def test_each_app_of_a_worker_has_a_port(make: Make, faust: Any, caplog: pytest.LogCaptureFixture) -> None:
    """With ``app.conf.web_port = port + i`` each app of a worker serves the web on its own port."""
    ports = free_ports(2)
    apps = [make("one", web_enabled=True), make("two", web_enabled=True)]
    for app, port in zip(apps, ports, strict=True):
        app.conf.web_port = port
        listening(app)
    caplog.set_level("INFO", logger="stream")
    worker = faust.Worker(*apps, loglevel="INFO")
    running = asyncio.create_task(worker.start())
    await until(lambda: all(f"worker of {app.id} is ready" in caplog.text for app in apps))
    for port in ports:
        assert await live(port) == 200
    await worker.stop()
    assert await running == 0


async def live(port: int) -> int:
    """What the web server on a port answers when it is asked whether it lives."""
    answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/health/live")
    return int(answer.status)


def free_ports(count: int) -> list[int]:
    """Ports that are free now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


async def test_an_app_starts_without_side_effects(make: Make) -> None:
    """``await app.start()`` installs no handlers of signals or of the log: the program around it keeps its own."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()
    listen = listening(app, done)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    handlers, level = logging.getLogger().handlers.copy(), logging.getLogger().level
    await app.start()
    try:
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before
        assert (logging.getLogger().handlers, logging.getLogger().level) == (handlers, level)
        await listen.cast("hello")
        assert await take(done) == ["hello"]
    finally:
        await app.stop()


async def test_an_app_starts_in_the_background(make: Make) -> None:
    """``asyncio.ensure_future(app.start())`` starts it while the program goes on."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()
    listen = listening(app, done)
    starting = asyncio.ensure_future(app.start())
    await until(lambda: app.started)
    await starting
    await listen.cast("hello")
    assert await take(done) == ["hello"]
    await app.stop()


async def test_an_app_is_a_dependency_of_a_service(make: Make) -> None:
    """A service of mode that names the app in ``on_init_dependencies`` starts and stops it."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()
    listen = listening(app, done)

    class MyService(mode.Service):
        def on_init_dependencies(self) -> Any:
            return [app]

    service = MyService()
    await service.start()
    assert isinstance(app, mode.Service)
    await listen.cast("hello")
    assert await take(done) == ["hello"]
    await service.stop()
    assert app.should_stop


async def test_a_client_asks_agents_of_others(make: Make) -> None:
    """``start_client()`` sends questions and gets answers; it reads no topics itself."""
    worker, client = make("asked"), make("asked", datadir="client")

    def define(app: App, heard: list[Any]) -> Any:
        @app.agent(name="double")
        async def double(stream: Any) -> Any:
            async for value in stream:
                heard.append(value)
                yield value * 2

        return double

    of_worker: list[Any] = []
    of_client: list[Any] = []
    define(worker, of_worker)
    double = define(client, of_client)
    async with worker:
        await client.start_client()
        assert await double.ask(21, timeout=20) == 42
        await client.stop()
    assert (of_worker, of_client) == ([21], [])


def test_an_app_is_stopped_from_another_thread(make: Make) -> None:
    """An app that runs in one thread is stopped by another."""
    app = make()
    listening(app)
    started = threading.Event()

    async def run() -> None:
        await app.start()
        started.set()
        await app.wait()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert started.wait(20)
    asyncio.run(app.stop())
    thread.join(20)
    assert not thread.is_alive()


async def test_an_app_that_was_stopped_starts_again(make: Make) -> None:
    """After ``stop`` the same app can be started again."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()
    listen = listening(app, done)
    for round_ in range(2):
        async with app:
            await listen.cast(round_)
            assert await take(done) == [round_]


async def test_a_subclass_has_hooks(make: Make, faust: Any) -> None:
    """Methods of a subclass of the app are called as it starts and stops."""
    told: list[str] = []

    class MyApp(faust.App):  # type: ignore[misc]  # either spelling of the library
        async def on_first_start(self) -> None:
            told.append("first")

        async def on_start(self) -> None:
            told.append("start")

        async def on_started(self) -> None:
            told.append("started")

        async def on_stop(self) -> None:
            told.append("stop")

        async def on_shutdown(self) -> None:
            told.append("shutdown")

    app = make(cls=MyApp)
    for _ in range(2):
        async with app:
            pass
    assert told == ["first", *["start", "started", "stop", "shutdown"] * 2]
