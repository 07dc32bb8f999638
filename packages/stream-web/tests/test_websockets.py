"""WebSockets of pages: they last, they are refused to foreign sites, and they hear of the end."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web as aiohttp_web

from stream_core.errors import ConfigurationError
from stream_web import Forwarder, Limits, View, Web, WebServer
from stream_web.exceptions import ServiceUnavailable

from .test_views import ask, serving


@pytest.fixture
def pages() -> Web:
    """Pages with a WebSocket that answers each message, made by the view or as aiohttp does it."""
    pages = Web(object())

    @pages.page("/live/{name}")
    async def live(view: View, request: aiohttp_web.Request, name: str) -> aiohttp_web.WebSocketResponse:
        socket = await view.websocket(request) if name == "view" else aiohttp_web.WebSocketResponse()
        if name != "view":
            await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{name} {message.data}")
        return socket

    return pages


@pytest.mark.parametrize("name", ["view", "aiohttp"])
async def test_a_websocket_lasts(pages: Web, name: str) -> None:
    """The deadline of requests, which is over at once here, is not its own."""
    async with (
        serving(pages, limits=Limits(request=1e-9)) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/live/{name}") as socket,
    ):
        for number in range(4):
            await socket.send_str(f"{number}")
            assert await socket.receive_str() == f"{name} {number}"
        await socket.close()
        assert socket.close_code == 1000


async def test_messages_are_answered(pages: Web) -> None:
    """In order."""
    async with (
        serving(pages) as url,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}/live/view") as socket,
    ):
        await socket.send_str("a")
        await socket.send_str("b")
        assert [await socket.receive_str(), await socket.receive_str()] == ["view a", "view b"]


async def test_a_foreign_site_opens_no_websocket(pages: Web) -> None:
    """A browser lets pages of any site ask; only those of the settings and of this machine are answered."""
    async with serving(pages) as url, aiohttp.ClientSession() as session:
        for origin, status in (("https://evil.example", 403), (url, 101)):
            try:
                async with session.ws_connect(f"{url}/live/view", headers={"Origin": origin}):
                    got = 101
            except aiohttp.WSServerHandshakeError as error:
                got = error.status
            assert got == status, origin


async def test_a_request_that_is_none(pages: Web) -> None:
    """It is answered with an error, as JSON."""
    async with serving(pages) as url:
        status, text = await ask(f"{url}/live/view")
    assert (status, "error" in text) == (400, True)


async def test_a_server_that_stops_says_goodbye(pages: Web) -> None:
    """Open WebSockets end with the code 1001, and hold up no stop."""
    server = WebServer(
        bind="127.0.0.1",
        port=0,
        explicit_port=True,
        app_id="shop",
        routes=[],
        pages=pages.routes(),
        forwarder=Forwarder("a"),
    )
    await server.start()
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/live/view") as socket:
        await socket.send_str("a")
        assert await socket.receive_str() == "view a"
        stopping = asyncio.create_task(server.stop())
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        await stopping


async def test_a_websocket_is_not_passed_on(pages: Web) -> None:
    """Whoever asks the wrong worker is told which one to ask."""

    class Elsewhere:
        """Another worker has it."""

        class host:  # noqa: N801 - an attribute
            """That worker."""

            url = "http://other:6066"
            instance = "other"

    @pages.page("/routed")
    async def routed(view: View, request: aiohttp_web.Request) -> Any:
        with pytest.raises(ServiceUnavailable, match="open it at http://other:6066"):
            await pages.elsewhere(request, Elsewhere())
        return "told"

    async with serving(pages) as url:
        assert await ask(f"{url}/routed", headers={"Upgrade": "websocket", "Connection": "upgrade"}) == (200, "told")
    with pytest.raises(ConfigurationError):
        _ = pages.url
