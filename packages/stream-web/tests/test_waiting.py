"""A web server that is loaded by its first client, over real sockets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import aiohttp
import pytest

from stream_core.engine.snapshot import Status
from stream_core.errors import ConfigurationError
from stream_core.event_loops import loop_factory
from stream_web import Health, WebServer
from stream_web.listening import Address
from stream_web.waiting import WaitingServer

READY = Status("running", ready=True, reason="", failed=False)
PATIENCE = 30.0
"""Seconds after which a test gives up."""


class Told:
    """What has become of a server that waits."""

    def __init__(self) -> None:
        self.loaded = 0
        self.sampling = asyncio.Event()
        self.sampled = asyncio.Event()

    def load(self) -> None:
        """Count how often it is loaded."""
        self.loaded += 1

    async def meanwhile(self) -> None:
        """Run until cancelled."""
        self.sampling.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.sampled.set()


def make() -> WebServer:
    """The server that is waited for."""
    return WebServer(
        bind="127.0.0.1", port=0, explicit_port=True, app_id="bank", routes=Health("bank", lambda: READY).routes()
    )


def waiting(
    told: Told, *, load: Callable[[], None] | None = None, bind: str = "127.0.0.1", port: int = 0, explicit: bool = True
) -> WaitingServer:
    """A server that waits, not started."""
    address = Address(bind=bind, port=port, explicit_port=explicit, app_id="bank")
    return WaitingServer(address, load=load or told.load, make=make, meanwhile=told.meanwhile)


@asynccontextmanager
async def started(server: WaitingServer) -> AsyncIterator[WaitingServer]:
    """It listens until the end of the block."""
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def ask(server: WaitingServer) -> int:
    """The status of an answer on a connection of its own."""
    timeout = aiohttp.ClientTimeout(PATIENCE)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{server.url}/health/live") as response:
        return response.status


def address_of(server: WaitingServer) -> tuple[str, int]:
    """Where it listens."""
    return "127.0.0.1", int(server.url.rpartition(":")[2])


async def test_the_first_client_has_it_loaded_and_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """It is told of in the log from the start on, and once; what runs until then ends."""
    caplog.set_level("INFO")
    told = Told()
    async with started(waiting(told)) as server:
        assert f"the web server of bank listens on {server.url}" in caplog.text
        await told.sampling.wait()
        assert told.loaded == 0
        url = server.url
        assert await ask(server) == 200
        await told.sampled.wait()
        assert await ask(server) == 200
        assert (told.loaded, server.url) == (1, url)
    assert caplog.text.count("listens on") == 1


@pytest.mark.parametrize("loop", ["aio", "uvloop"])
def test_each_event_loop_hands_the_socket_over(loop: str) -> None:
    """Whoever comes first, and whoever comes then, is answered."""
    if loop == "uvloop":
        pytest.importorskip("uvloop")

    async def use() -> list[int]:
        async with started(waiting(Told())) as server:
            first = await asyncio.gather(*(ask(server) for _ in range(5)))
            return [*first, await ask(server)]

    with asyncio.Runner(loop_factory=loop_factory(loop)) as runner:
        assert runner.run(use()) == [200] * 6


async def test_clients_wait_while_it_is_loaded() -> None:
    """All of them are answered."""
    told, go = Told(), threading.Event()
    async with started(waiting(told, load=lambda: bool(go.wait(PATIENCE)) or None)) as server:
        asking = [asyncio.create_task(ask(server)) for _ in range(20)]
        await asyncio.sleep(0)
        go.set()
        assert await asyncio.gather(*asking) == [200] * 20


async def test_threads_that_are_busy_do_not_hold_it_up() -> None:
    """Functions of users may have all threads of the event loop."""
    go = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(go.wait, PATIENCE))
    try:
        async with started(waiting(Told())) as server:
            assert await ask(server) == 200
    finally:
        go.set()
        await busy


async def test_clients_are_refused_when_it_cannot_be_loaded(caplog: pytest.LogCaptureFixture) -> None:
    """The log says why, and nobody waits for an answer."""

    def fail() -> None:
        raise ImportError("aiohttp is damaged")

    async with started(waiting(Told(), load=fail)) as server:
        with pytest.raises(aiohttp.ClientError):
            await ask(server)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address_of(server))
    assert f"the web server at {server.url} cannot be loaded" in caplog.text
    assert "aiohttp is damaged" in caplog.text


async def test_it_is_stopped_before_anybody_has_come() -> None:
    """Its port is free then; a second stop, and one of a server that has not started, do nothing."""
    told = Told()
    never = waiting(told)
    await never.stop()
    async with started(waiting(told)) as server:
        pass
    await server.stop()
    assert told.loaded == 0
    with socket.create_server(address_of(server)):
        pass


async def test_it_is_stopped_while_it_is_loaded() -> None:
    """The client is let go, and the port is free."""
    told, loading, go = Told(), threading.Event(), threading.Event()

    def load() -> None:
        loading.set()
        go.wait(PATIENCE)

    async with started(waiting(told, load=load)) as server:
        asking = asyncio.create_task(ask(server))
        await asyncio.to_thread(loading.wait, PATIENCE)
    go.set()
    with pytest.raises(aiohttp.ClientError):
        await asking
    with socket.create_server(address_of(server)):
        pass


async def test_a_taken_port_is_an_error_or_moves_on() -> None:
    """As for a server that does not wait."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        server = waiting(Told(), port=taken)
        with pytest.raises(ConfigurationError, match=f"web_port={taken} is taken by another program"):
            await server.start()
        await server.stop()
        async with started(waiting(Told(), port=taken, explicit=False)) as moved:
            assert address_of(moved)[1] > taken
            assert await ask(moved) == 200


async def test_ipv6() -> None:
    """The URL can be used as it is."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    async with started(waiting(Told(), bind="::1")) as server:
        assert server.url.startswith("http://[::1]:")
        assert await ask(server) == 200
