"""Hooks of the start that Faust has, and the client for HTTP that an app offers."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError
from stream_web import Blueprint

from .apps import make


class Hooked(faust.App):
    """Tells in which order its hooks are called."""

    def on_init(self) -> None:
        self.told: list[str] = []

    async def on_start(self) -> None:
        self.told.append("start")

    async def on_started_init_extra_tasks(self) -> None:
        self.told.append("tasks")
        self.add_future(self.extra())

    async def extra(self) -> None:
        self.told.append("extra")

    async def on_started_init_extra_services(self) -> None:
        assert self.engine.ready
        self.told.append("services")
        await self.add_runtime_dependency(More(self.told))

    async def on_started(self) -> None:
        self.told.append("started")

    def on_webserver_init(self, web: Any) -> None:
        @web.page("/more/", name="more")
        async def more(view: Any, request: Any) -> str:
            return "more"


class More(faust.Service):
    """A service that begins late."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    async def on_start(self) -> None:
        self.told.append("service")

    async def on_stop(self) -> None:
        self.told.append("service stops")


def hooked(**options: Any) -> Hooked:
    """An app with hooks."""
    return Hooked("hooked", broker="memory://", **options)


async def test_hooks_of_the_start_come_in_the_order_of_faust() -> None:
    """When the app is operational, extra tasks and services, then ``on_started``; what they add ends with the app."""
    app = hooked()
    for _ in range(2):
        app.told.clear()
        async with app:
            order = [one for one in app.told if one != "extra"]
            assert order == ["start", "tasks", "services", "service", "started"]
        assert {"extra", "service stops"} <= set(app.told)


async def test_a_hook_that_raises_stops_the_start() -> None:
    """As those of mode do."""

    class Broken(Hooked):
        async def on_started_init_extra_tasks(self) -> None:
            raise RuntimeError("no task")

    app = Broken("broken", broker="memory://")
    with pytest.raises(RuntimeError, match="no task"):
        await app.start()
    assert not app.running


async def test_a_hook_defines_pages() -> None:
    """Before the web server starts."""
    app = hooked()
    async with app, aiohttp.ClientSession() as session, session.get(f"{app.web.url}/more/") as answer:
        assert await answer.text() == "more"


async def test_an_app_has_a_client_for_http() -> None:
    """One for all, made at the first use, in each start anew, and closed by the stop; one of one's own may take its place."""
    app = hooked()
    with pytest.raises(ConfigurationError, match="while the app runs"):
        _ = app.http_client
    async with app:
        client = app.http_client
        assert app.http_client is client
        async with client.get(f"{app.web.url}/more/") as answer:
            assert answer.status == 200
        with pytest.raises(ConfigurationError, match="in the event loop of app hooked"):
            await asyncio.to_thread(lambda: app.http_client)
    assert client.closed
    own = aiohttp.ClientSession()
    app = make()
    app.http_client = own
    async with app:
        assert app.http_client is own
    assert own.closed


async def test_a_hook_that_defines_pages_and_raises_is_called_again(tmp_path: Path) -> None:
    """By the next start, which finds nothing of what it had defined."""
    parts = Blueprint("parts")

    @parts.route("/part/")
    async def part(view: Any, request: Any) -> str:
        return "part"

    class Broken(Hooked):
        fails = True

        def on_webserver_init(self, web: Any) -> None:
            super().on_webserver_init(web)
            web.static("/files/", tmp_path)
            web.blueprints.add("/parts", parts)
            if self.fails:
                self.fails = False
                raise RuntimeError("not yet")

    app = Broken("broken", broker="memory://")

    @app.page("/before/")
    async def before(view: Any, request: Any) -> str:
        return "before"

    with pytest.raises(RuntimeError, match="not yet"):
        await app.start()
    assert [page.path for page in app.web.pages] == ["/before/"]
    async with app, aiohttp.ClientSession() as session:
        for path in ("before", "more", "parts/part"):
            async with session.get(f"{app.web.url}/{path}/") as answer:
                assert await answer.text() == path.split("/")[-1]


class Reporting(Hooked):
    """Uses its client for HTTP until the very end."""

    used: list[aiohttp.ClientSession]

    def on_init(self) -> None:
        super().on_init()
        self.used = []

    @faust.Service.task
    async def report(self) -> None:
        await self.wait_until_stopped()
        self.used.append(self.http_client)

    async def on_shutdown(self) -> None:
        self.used.append(self.http_client)


def test_a_client_for_http_that_is_used_last() -> None:
    """It is closed behind the tasks of the class and ``on_shutdown``, and the next start, in another event loop, gets one of its own."""
    app = Reporting("reporting", broker="memory://")

    async def run() -> None:
        async with app:
            client = app.http_client
            assert not client.closed
        assert app.used == [client, client]
        assert client.closed
        app.used.clear()

    for _ in range(2):
        asyncio.run(run())


def test_a_client_for_http_of_a_closed_event_loop() -> None:
    """It is not given to the next start of an app that was not stopped before its event loop was closed."""
    app = make()

    async def run() -> aiohttp.ClientSession:
        await app.start()
        return app.http_client

    async def close(client: aiohttp.ClientSession) -> None:
        await client.close()

    left = asyncio.run(run())
    with pytest.raises(ConfigurationError):
        asyncio.run(app.stop())

    async def again() -> None:
        async with app:
            assert app.http_client is not left

    asyncio.run(again())
    asyncio.run(close(left))


async def test_names_of_faust_for_the_state() -> None:
    """``configured``, ``in_transaction``, ``maybe_start_producer``."""
    app = make(processing_guarantee="exactly_once")
    assert (app.configured, app.in_transaction) == (False, False)
    await app.maybe_start_producer()
    assert (app.configured, app.client_only) == (True, True)
    await app.stop()
    app.in_worker = True
    assert app.in_transaction


@pytest.mark.parametrize(
    ("options", "served"),
    [({}, False), ({"web_port": 0}, True), ({"web_enabled": True}, True), ({"web_enabled": False}, False)],
    ids=str,
)
async def test_an_embedded_app_opens_no_port_unless_it_is_asked(options: dict[str, Any], served: bool) -> None:
    """A setting that says where the web server is asks for it, and so do pages; a worker starts it anyway."""
    if options.get("web_port") == 0:
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            options = {"web_port": free.getsockname()[1]}
    app = faust.App("embedded", broker="memory://", **options)
    async with app:
        wiring = app._wiring
        assert wiring is not None
        assert (wiring._web is not None) is served
    app.in_worker = True
    async with app:
        wiring = app._wiring
        assert wiring is not None
        assert (wiring._web is not None) is (options.get("web_enabled") is not False)
