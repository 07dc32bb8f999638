"""A web server that waits for its first client: it listens from the start on, and is loaded when somebody connects."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from stream_core.runs import Run
from stream_web.listening import Address

if TYPE_CHECKING:
    from stream_web.server import WebServer

__all__ = ["WaitingServer"]

logger = logging.getLogger("stream_web.server")


class WaitingServer:
    """Listens in the place of a :class:`~stream_web.server.WebServer`, which is loaded and started when the first client connects.

    A worker that nobody looks at does without it, which is 13 MB and a third of its start. Clients that connect while it is loaded wait
    in the queue of the socket.

    Args:
        address: where to listen; its host must be a number.
        load: loads what the server is made of; called in a thread of its own, so that the event loop goes on meanwhile.
        make: makes the server, in the event loop; it raises nothing that was not known at the start.
        meanwhile: runs until there is a server.
    """

    def __init__(
        self,
        address: Address,
        *,
        load: Callable[[], None],
        make: Callable[[], WebServer],
        meanwhile: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._address = address
        self._load = load
        self._make = make
        self._meanwhile = meanwhile
        self._socket: socket.socket | None = None
        self._bind: Callable[[WebServer], None] = _nothing
        self._tasks: list[asyncio.Task[None]] = []
        self._server: WebServer | None = None

    @property
    def url(self) -> str:
        """Where it is reached; once started this is the port that it got."""
        return self._address.url

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigurationError: the address cannot be listened on, or the port is taken.
        """
        asked = self._address.port
        self._socket = await self._address.listen(self._listen)
        self._address.port = self._socket.getsockname()[1]
        self._address.announce(asked)
        self._tasks.append(asyncio.create_task(self._meanwhile(), name="before the web server"))
        try:
            asyncio.get_running_loop().add_reader(self._socket, self._connected)
        except NotImplementedError:  # the event loop of Windows
            self._begin()

    async def stop(self) -> None:
        """Close it, and the server if there is one; takes at most four seconds, and does nothing when not started."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._close()
        if self._server is not None:
            await self._server.stop()

    def abandon(self) -> None:
        """Give its port back; see :meth:`WebServer.abandon <stream_web.server.WebServer.abandon>`."""
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.abandon()

    def answer_for(self, run: Run, url: str, neighbour: Callable[[str], str] = lambda instance: "") -> None:
        """Let pages know where they are reached; see :meth:`WebServer.answer_for <stream_web.server.WebServer.answer_for>`."""
        self._bind = lambda server: server.answer_for(run, url, neighbour)

    async def _listen(self, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._address.bind else socket.AF_INET
        listening = socket.create_server((self._address.bind, port), family=family)
        listening.setblocking(False)
        return listening

    def _connected(self) -> None:
        assert self._socket is not None
        asyncio.get_running_loop().remove_reader(self._socket)
        self._begin()

    def _begin(self) -> None:
        self._tasks.append(asyncio.create_task(self._start(), name="start of the web server"))

    async def _start(self) -> None:
        """Load the server, and hand the socket over to it. Where that fails clients are refused, and do not wait."""
        try:
            await self._load_apart()
            self._server = server = self._make()
            self._bind(server)
            await server.start(self._socket)
            self._socket = None  # it is closed with the server
        except Exception:
            logger.exception("the web server at %s cannot be loaded, and does not answer", self.url)
            self._close()
        self._tasks[0].cancel()

    async def _load_apart(self) -> None:
        """Load in a thread of its own: those of the event loop may all be busy, with what users call."""
        thread = ThreadPoolExecutor(1, "loading of the web server")
        try:
            await asyncio.get_running_loop().run_in_executor(thread, self._load)
        finally:
            thread.shutdown(wait=False)

    def _close(self) -> None:
        listening, self._socket = self._socket, None
        if listening is None:
            return
        with suppress(NotImplementedError):  # the event loop of Windows, which has had none
            asyncio.get_running_loop().remove_reader(listening)
        listening.close()


def _nothing(server: WebServer) -> None: ...
