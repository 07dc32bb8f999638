"""Apps inside of other programs: without side effects, for a client only, in an ASGI server, and without a broker."""

from __future__ import annotations

import asyncio
import gc
import http.client
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import stream_app as faust
from stream_core.errors import BrokerUnavailableError, ConfigurationError, WorkerError

from .apps import make, until


async def test_a_start_has_no_side_effects(capfd: pytest.CaptureFixture[str]) -> None:
    """It sets up no signal handlers, no logging and no title, changes no directory, and prints nothing."""

    def state() -> tuple[Any, ...]:
        return (
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
            logging.root.handlers[:],
            logging.root.level,
            logging.getLogger("stream").handlers[:],
            Path.cwd(),
            dict(os.environ),
            (sys.stdout, sys.stderr, sys.excepthook),
            (gc.get_threshold(), gc.get_freeze_count()),
            asyncio.get_running_loop().get_exception_handler(),
        )

    gc.unfreeze()  # what the worker of another test has frozen ends at any time
    before, threads, tasks = state(), threading.enumerate(), asyncio.all_tasks()
    app = make()

    @app.agent("numbers", value_type=int)
    async def note(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    async with app:
        assert app.engine.ready
        assert state() == before
    assert (state(), threading.enumerate(), asyncio.all_tasks()) == (before, threads, tasks)
    assert capfd.readouterr() == ("", "")


async def test_a_start_in_the_background() -> None:
    """``asyncio.ensure_future(app.start())`` lets the program go on, and ends when the app is operational."""
    app = make()
    starting = asyncio.ensure_future(app.start())
    assert not app.running
    await starting
    assert app.engine.ready
    await app.stop()


def test_nothing_touches_a_loop_before_the_start() -> None:
    """Apps with all kinds of definitions, and workers, are made where no event loop is, and none is made by that."""
    asyncio.set_event_loop(None)
    app = make()
    app.agent("numbers", value_type=int)(_agent)
    app.timer(1.0)(_nothing)
    app.channel()
    app.Table("counts", default=int)
    app.on_before_shutdown(_handler)
    worker = faust.Worker(app, daemon=False, loglevel="CRITICAL")
    with pytest.raises(RuntimeError):
        asyncio.get_event_loop_policy().get_event_loop()
    for _ in range(2):

        async def run() -> None:
            await worker.start()
            assert app.engine.ready
            await worker.stop()

        asyncio.run(run())


async def _agent(stream: faust.Stream[int]) -> None:
    async for _ in stream:
        pass


async def _nothing() -> None: ...


def _handler(app: faust.App, **kwargs: Any) -> None: ...


async def test_a_client_asks() -> None:
    """It runs no agents of its own, and gets answers from those of a worker."""
    name = make().conf.broker

    def program() -> tuple[faust.App, Any]:
        app = faust.App("shop", broker=name, web_enabled=False)

        @app.agent("doubles", name="double", value_type=int)
        async def double(stream: faust.Stream[int]) -> Any:
            async for number in stream:
                yield number * 2

        return app, double

    (server, _), (client, double) = program(), program()
    async with server:
        await client.maybe_start_client()
        await client.maybe_start_client()
        assert client.client_only
        async with asyncio.timeout(20):
            assert await double.ask(21) == 42
        assert not client.engine.ownership.sessions
        await client.stop()
    await client.start()  # it is not a client for ever
    assert not client.client_only
    await client.stop()


def nobody() -> str:
    """The URL of a broker that is not there."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return f"kafka://127.0.0.1:{one.getsockname()[1]}"


@pytest.mark.parametrize("client", [True, False])
async def test_without_a_broker_a_start_gives_up(client: bool) -> None:
    """When its time is over, in a sentence that names the broker; nothing is left, and it can be tried again."""
    app, before = (
        faust.App("shop", broker=nobody().replace("://", "://joe:secret@"), web_enabled=False),
        asyncio.all_tasks(),
    )
    start = app.start_client if client else app.start
    for _ in range(2):
        with pytest.raises(
            BrokerUnavailableError, match=r"app shop was not started within 0\.1 s: no broker .* at kafka://"
        ) as why:
            await start(timeout=0.1)
        assert "secret" not in str(why.value)
        assert not app.running
    assert asyncio.all_tasks() == before


async def test_a_client_that_waits_for_a_broker_can_be_stopped() -> None:
    """By whoever stops it, and by whoever cancels its start."""
    for by in ("stop", "cancel"):
        app, before = faust.App("shop", broker=nobody(), web_enabled=False), asyncio.all_tasks()
        starting = asyncio.create_task(app.start_client())
        await until(lambda app=app: app._wiring is not None and app._wiring.engine is not None)
        async with asyncio.timeout(20):
            if by == "stop":
                await app.stop()
                with pytest.raises(WorkerError, match="was stopped before it had started"):
                    await starting
            else:
                starting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await starting
        assert asyncio.all_tasks() == before


@pytest.mark.looptime
async def test_the_time_of_a_start_is_for_the_broker() -> None:
    """Once it has answered, the rest may take longer."""
    app, begun = make(), asyncio.Event()

    @app.service
    class Slow:
        async def start(self) -> None:
            begun.set()
            await asyncio.sleep(50)

        async def stop(self) -> None:
            pass

    await app.start(timeout=20)
    assert begun.is_set()
    await app.stop()


SCRIPT = """
    import asyncio, os, signal, sys
    import stream_app as faust

    app = faust.App("script", broker=sys.argv[1], web_enabled=False)


    async def main():
        asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGTERM)
        await app.start_client()


    asyncio.run(main())
"""


def test_a_script_that_waits_for_a_broker_ends_at_sigterm(tmp_path: Path) -> None:
    """A client sets up no handler, so that the signal ends it as it ends every script."""
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, "script.py", nobody()], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGTERM


# -- ASGI


async def test_the_lifespan_of_an_asgi_application() -> None:
    """The app runs between its beginning and its end, which raises why it could not go on."""
    app = make()
    async with faust.lifespan(app)(object()):
        assert app.engine.ready
        assert not app.client_only
    assert not app.running
    async with faust.lifespan(app, client_only=True)(object()):
        assert app.client_only

    async def fail() -> None:
        async with faust.lifespan(app)(object()):
            app.engine.fail(ValueError("no"))

    with pytest.raises(ValueError, match="no"):
        await fail()


API = """
    import os
    import stream_app as faust
    from fastapi import FastAPI

    app = faust.App("api", broker=os.environ["BROKER"], web_enabled=False)


    @app.agent("doubles", value_type=int)
    async def double(stream):
        async for number in stream:
            yield number * 2


    api = FastAPI(lifespan=faust.lifespan(app, timeout=float(os.environ["TIMEOUT"])))


    @api.get("/double/{number}")
    async def answer(number: int) -> dict[str, int]:
        return {"double": await double.ask(number)}
"""


def serve(directory: Path, broker: str, timeout: float, descriptor: int) -> subprocess.Popen[str]:
    """Serve it with uvicorn, on a socket that listens already."""
    (directory / "served.py").write_text(textwrap.dedent(API))
    return subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "served:api", "--fd", str(descriptor)],
        cwd=directory,
        env={**os.environ, "BROKER": broker, "TIMEOUT": str(timeout)},
        pass_fds=[descriptor],
        stderr=subprocess.PIPE,
        text=True,
    )


def test_an_app_in_fastapi(tmp_path: Path) -> None:
    """It answers requests by its agents, and stops with the server at SIGTERM."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        serve(tmp_path, "memory://", 30, listening.fileno()) as server,
    ):
        connection = http.client.HTTPConnection(*listening.getsockname(), timeout=60)
        connection.request("GET", "/double/21")
        assert connection.getresponse().read() == b'{"double":42}'
        connection.close()
        server.terminate()
        _, errors = server.communicate(timeout=60)
    assert "Application shutdown complete" in errors
    assert "Traceback" not in errors


def test_an_app_in_fastapi_without_a_broker(tmp_path: Path) -> None:
    """The server says why it cannot start, and ends."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        serve(tmp_path, nobody(), 0.2, listening.fileno()) as server,
    ):
        _, errors = server.communicate(timeout=60)
    assert server.returncode == 3
    assert "app api was not started within 0.2 s: no broker answers at kafka://127.0.0.1" in errors


async def test_an_app_that_runs_is_not_started_twice() -> None:
    """Also not as a client."""
    async with (app := make()):
        for start in (app.start, app.start_client):
            with pytest.raises(ConfigurationError, match="app shop runs already"):
                await start()
