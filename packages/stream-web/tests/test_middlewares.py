"""What holds for every page, with pages that take a body and their time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stream_web.listening import is_loopback
from stream_web.middlewares import Limits, middlewares

Client = TestClient[web.Request, web.Application]


async def echo(request: web.Request) -> web.Response:
    """A page that needs the whole body."""
    return web.json_response(len(await request.read()))


async def impatient(request: web.Request) -> web.Response:
    """A page with a deadline of its own."""
    async with asyncio.timeout(0):
        await asyncio.Event().wait()
    raise AssertionError


async def moved(request: web.Request) -> web.Response:
    """A page that is elsewhere."""
    raise web.HTTPFound("/echo")


@asynccontextmanager
async def serve(limits: Limits) -> AsyncIterator[Client]:
    """A client of a server with the pages above."""
    app = web.Application(middlewares=middlewares("127.0.0.1", limits), client_max_size=limits.body)
    app.add_routes([web.post("/echo", echo), web.get("/impatient", impatient), web.get("/moved", moved)])
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of a server that takes small bodies, however busy the machine is."""
    async with serve(Limits(request=60.0, body=100)) as client:
        yield client


async def test_a_body_within_the_bound_is_read(client: Client) -> None:
    """Limits are not in the way of ordinary requests."""
    async with client.post("/echo", data=b"x" * 100) as response:
        assert (response.status, await response.json()) == (200, 100)


async def test_a_body_above_the_bound_is_refused(client: Client) -> None:
    """In JSON, as every error."""
    async with client.post("/echo", data=b"x" * 101) as response:
        assert (response.status, await response.json()) == (413, {"error": HTTPStatus(413).phrase})


async def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    """A page that reads a body waits for it up to the deadline."""

    async def never() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async with serve(Limits(request=0.1, body=100)) as client, client.post("/echo", data=never()) as response:
        assert (response.status, await response.json()) == (408, {"error": "Request Timeout"})


async def test_a_deadline_of_the_page_is_its_own_error(client: Client) -> None:
    """It is not the client that was slow."""
    async with client.get("/impatient") as response:
        answer = await response.json()
        assert (response.status, answer) == (500, {"error": "Internal Server Error", "id": answer["id"]})


async def test_a_redirection_is_no_error(client: Client) -> None:
    """It passes as it is."""
    async with client.get("/moved", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/echo")


@pytest.mark.parametrize(
    ("bind", "expected"),
    [
        ("127.0.0.1", True),
        ("127.0.0.2", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.0.2.1", False),
        ("worker-1", False),
    ],
)
def test_which_addresses_only_this_machine_reaches(bind: str, expected: bool) -> None:
    """A name other than localhost may be anything, and so counts as open."""
    assert is_loopback(bind) is expected
