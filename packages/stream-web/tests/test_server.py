"""The server of a worker over real sockets: its pages, its ports, and what hostile clients get."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from stream_core.engine.snapshot import Recovery, Status
from stream_core.errors import ConfigurationError
from stream_web import Health, Limits, WebServer

READY = Status("running", ready=True, reason="", failed=False)
RECOVERING = Status("recovering", ready=False, reason="recovering", failed=False)
PATIENCE = 10.0
"""Seconds after which a test gives up waiting for the server to close a connection."""


@asynccontextmanager
async def serving(
    status: Callable[[], Status] = lambda: READY,
    *routes: web.AbstractRouteDef,
    bind: str = "127.0.0.1",
    port: int = 0,
    explicit_port: bool = True,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
) -> AsyncIterator[WebServer]:
    """A server of the pages of health and ``routes`` that listens until the end of the block."""
    server = WebServer(
        bind=bind,
        port=port,
        explicit_port=explicit_port,
        app_id="bank",
        routes=[*Health("bank", status).routes(), *routes],
        hosts=hosts,
        limits=limits,
    )
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(url: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    """One request on a connection of its own: the status and the JSON of the answer."""
    async with aiohttp.ClientSession() as session, session.request(method, url, **options) as response:
        return response.status, await response.json()


def port_of(server: WebServer) -> int:
    """The port that the server listens on."""
    return int(server.url.rpartition(":")[2])


async def converse(server: WebServer, sent: bytes) -> bytes:
    """Send bytes, and return all that comes until the server closes the connection."""
    # What is sent is there before the server, which is in this thread, accepts the connection and begins to count.
    connection = socket.create_connection(("127.0.0.1", port_of(server)))
    connection.sendall(sent)
    reader, writer = await asyncio.open_connection(sock=connection)
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


# -- pages


async def test_the_index_says_what_runs() -> None:
    """It names the app, the version and the status, which is the reason while it is not ready."""
    state = [RECOVERING]
    async with serving(lambda: state[0]) as server:
        expected = {"app": "bank", "version": version("stream-web")}
        assert await ask(server.url) == (200, expected | {"status": "recovering"})
        state[0] = READY
        assert await ask(server.url) == (200, expected | {"status": "ready"})


async def test_readiness_follows_the_status_and_liveness_does_not() -> None:
    """A worker that recovers is alive, and gets no traffic yet."""
    state = [RECOVERING]
    async with serving(lambda: state[0]) as server:
        assert await ask(f"{server.url}/health/live") == (200, {"status": "live"})
        assert await ask(f"{server.url}/health/ready") == (503, {"status": "not ready", "reason": "recovering"})
        state[0] = replace(RECOVERING, recovery=Recovery(2, 250, 1000, 99.6, 7.53))
        told = {"partitions": 2, "done": 250, "total": 1000, "per_second": 100, "seconds_left": 7.5}
        expected = {"status": "not ready", "reason": "recovering", "recovery": told}
        assert await ask(f"{server.url}/health/ready") == (503, expected)
        state[0] = READY
        assert await ask(f"{server.url}/health/ready") == (200, {"status": "ready"})


async def test_a_worker_that_failed_is_not_live() -> None:
    """It cannot go on: whoever watches it may start it again."""
    async with serving(lambda: Status("failed", ready=False, reason="failed", failed=True)) as server:
        assert await ask(f"{server.url}/health/live") == (503, {"status": "failed"})
        assert await ask(f"{server.url}/health/ready") == (503, {"status": "not ready", "reason": "failed"})


async def test_an_answer_says_little_about_the_server_and_is_not_kept() -> None:
    """No versions of libraries in the headers, and nothing that a cache may hold."""
    async with serving() as server, aiohttp.ClientSession() as session, session.get(server.url) as response:
        assert response.headers["Server"] == "stream"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# -- errors


async def test_a_page_that_fails_is_an_error_of_that_request_only(caplog: pytest.LogCaptureFixture) -> None:
    """The client gets no traceback, the log gets it, and the next request is answered."""

    def status() -> Status:
        raise RuntimeError("secret detail")

    async def fine(request: web.Request) -> web.Response:
        return web.json_response("fine")

    async with serving(status, web.get("/fine", fine)) as server:
        code, answer = await ask(f"{server.url}/health/ready?token=s3cret")
        assert (code, answer) == (500, {"error": "Internal Server Error", "id": answer["id"]})
        assert await ask(f"{server.url}/fine") == (200, "fine")
    assert f"GET /health/ready failed (error {answer['id']})" in caplog.text
    assert "secret detail" in caplog.text
    assert "s3cret" not in caplog.text


async def test_an_unknown_path_is_answered_in_json() -> None:
    """Also when it tries to leave its directory."""
    async with serving() as server:
        assert await ask(f"{server.url}/nothing") == (404, {"error": "Not Found"})
        assert await ask(f"{server.url}/health/..%2f..%2fetc/passwd") == (404, {"error": "Not Found"})


async def test_a_method_that_is_not_allowed_is_told_those_that_are() -> None:
    """The answer keeps the header that the standard asks for."""
    async with serving() as server, aiohttp.ClientSession() as session, session.post(server.url) as response:
        assert response.status == 405
        assert response.headers["Allow"] == "GET,HEAD"
        assert await response.json() == {"error": "Method Not Allowed"}


# -- ports and addresses


async def test_a_taken_default_port_moves_to_the_next_free_one(taken: int, caplog: pytest.LogCaptureFixture) -> None:
    """The port that was got is in the URL and in the log."""
    async with serving(port=taken, explicit_port=False) as server:
        assert port_of(server) > taken
        assert (await ask(server.url))[0] == 200
        assert f"port {taken} is taken: the web server of bank listens on {server.url}" in caplog.text


async def test_a_taken_port_that_somebody_chose_is_an_error(taken: int) -> None:
    """The message names the setting; the server that did not start can be stopped."""
    server = WebServer(bind="127.0.0.1", port=taken, explicit_port=True, app_id="bank", routes=[])
    with pytest.raises(ConfigurationError, match=f"web_port={taken} is taken by another program"):
        await server.start()
    await server.stop()


async def test_no_port_is_tried_above_the_last() -> None:
    """The search for a free port ends with the ports there are."""
    with socket.socket() as last:
        last.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        last.bind(("127.0.0.1", 65535))
        last.listen()
        with pytest.raises(ConfigurationError, match="the ports 65535 to 65535 are all taken"):
            async with serving(port=65535, explicit_port=False):
                pass


async def test_an_address_of_another_machine_is_an_error() -> None:
    """The message names the settings, also when the port was not chosen."""
    with pytest.raises(ConfigurationError, match=r"cannot listen on web_bind=203\.0\.113\.1, web_port=6066"):
        async with serving(bind="203.0.113.1", port=6066, explicit_port=False):
            pass


async def test_an_open_address_is_said_to_be_open(caplog: pytest.LogCaptureFixture) -> None:
    """The warning lists what is open; any name of the machine is answered then."""
    async with serving(bind="0.0.0.0") as server:
        url = f"http://127.0.0.1:{port_of(server)}"
        assert (await ask(url, headers={"Host": "worker-1.example"}))[0] == 200
    assert "open to the network and asks for no password: /, /health/live, /health/ready" in caplog.text


async def test_a_loopback_address_is_not_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """The default is quiet."""
    async with serving():
        pass
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_an_ipv6_address_is_in_brackets_in_the_url() -> None:
    """The URL can be used as it is."""
    async with serving(bind="::1") as server:
        assert server.url == f"http://[::1]:{port_of(server)}"
        assert (await ask(server.url))[0] == 200


# -- hosts


@pytest.mark.parametrize("host", ["localhost", "localhost:6066", "LOCALHOST", "127.0.0.1:1", "[::1]", "[::1]:6066"])
async def test_the_names_of_this_machine_are_answered(host: str) -> None:
    """With and without a port: a tunnel may have another."""
    async with serving() as server:
        assert (await ask(server.url, headers={"Host": host}))[0] == 200


async def test_a_name_that_the_server_is_told_is_answered() -> None:
    """A proxy on this machine passes on the name that it is asked by."""
    async with serving(hosts=["Worker-1.example"]) as server:
        assert (await ask(server.url, headers={"Host": "worker-1.example"}))[0] == 200
        assert (await ask(server.url, headers={"Host": "worker-2.example"}))[0] == 403


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:6066", "localhost.evil.example", "evil.example:[::1]", ""]
)
async def test_a_foreign_name_is_refused_on_loopback(host: str) -> None:
    """A page whose name was made to resolve to this machine reads nothing."""
    async with serving() as server:
        assert await ask(f"{server.url}/health/live", headers={"Host": host}) == (
            403,
            {"error": "This server answers to localhost only"},
        )


# -- limits


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
    ],
    ids=["nothing", "line", "headers", "second"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(sent: bytes) -> None:
    """The connection is closed at the deadline, whatever has come, also after a request that was answered."""
    async with serving(limits=Limits(head=0.1)) as server:
        answer = await converse(server, sent)
        assert answer.count(b"HTTP/1.1 200") == sent.count(b"\r\n\r\n")


async def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """A page that needs no body answers without it, and the connection is closed at the deadline."""
    async with serving(limits=Limits(head=0.1)) as server:
        answer = await converse(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nx")
        assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"\x16\x03\x01 this is not HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad\xff Header: x\r\n\r\n",
    ],
    ids=["url", "header", "headers", "tls", "utf8"],
)
async def test_what_is_no_request_is_refused(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is a 400 without traceback; clients cannot fill the log, and the server goes on."""
    async with serving() as server:
        answer = await converse(server, sent)
        assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
        assert b"Traceback" not in answer
        assert (await ask(server.url))[0] == 200
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


async def test_connections_above_the_bound_are_closed_at_once() -> None:
    """Those that are open are answered, and one that ends makes room."""
    get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with serving(limits=Limits(connections=1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(get)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        with pytest.raises(aiohttp.ClientError):
            await ask(server.url)
        writer.write(get.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).count(b"HTTP/1.1 200") == 1
        writer.close()
        assert (await ask(server.url))[0] == 200


# -- the end


async def test_stop_closes_connections_and_the_port() -> None:
    """Nobody is answered any more, connections that wait for a next request are closed, and stopping again does nothing."""
    async with aiohttp.ClientSession() as session:
        async with serving() as server:
            async with session.get(server.url) as response:
                assert response.status == 200
            url = server.url
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(url)
        await server.stop()


# -- routes


async def test_what_the_server_answers_is_what_it_is_given() -> None:
    """Methods and parts of paths are those of the routes, and all that holds for every page holds for them."""

    async def add(request: web.Request) -> web.Response:
        return web.json_response([request.match_info["name"], await request.json()])

    async with serving(lambda: READY, web.post("/table/{name}", add), limits=Limits(body=100)) as server:
        url = f"{server.url}/table/totals"
        assert await ask(url, "POST", json=3) == (200, ["totals", 3])
        assert (await ask(url))[0] == 405
        assert (await ask(url, "POST", json="x" * 100))[0] == 413
        assert (await ask(url, "POST", json=3, headers={"Host": "evil.example"}))[0] == 403
        async with aiohttp.ClientSession() as session, session.post(url, json=3) as response:
            assert response.headers["Cache-Control"] == "no-store"


async def test_a_page_that_takes_too_long_is_given_up() -> None:
    """Its client is told; the page is cancelled."""
    ended = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    async with serving(lambda: READY, web.get("/hang", hang), limits=Limits(request=0.1)) as server:
        assert await ask(f"{server.url}/hang") == (408, {"error": "Request Timeout"})
        assert ended.is_set()


async def test_a_client_that_does_not_read_holds_up_nobody() -> None:
    """Its answer is given up at the deadline of the request; others are answered meanwhile."""
    ended = asyncio.Event()

    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65536)
        finally:
            ended.set()

    async with serving(lambda: READY, web.get("/flood", flood), limits=Limits(request=0.3)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        writer.write(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await ask(server.url))[0] == 200
        async with asyncio.timeout(PATIENCE):
            await ended.wait()
        assert (await ask(server.url))[0] == 200
        writer.close()


async def test_stop_ends_requests_that_are_in_progress() -> None:
    """A page that waits and a connection that is idle are closed, and the server has stopped in a few seconds."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with serving(lambda: READY, web.get("/hang", hang)) as server:
        asking = asyncio.create_task(converse(server, b"GET /hang HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        idle = asyncio.create_task(converse(server, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        await begun.wait()
        async with asyncio.timeout(PATIENCE):
            await server.stop()
            assert cancelled.is_set()
            await asking
            assert (await idle).startswith(b"HTTP/1.1 200")
