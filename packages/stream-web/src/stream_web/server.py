"""The server: its listener, its limits, and its end."""

from __future__ import annotations

import asyncio
import logging
import socket as sockets
import ssl
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from stream_core.errors import ConfigurationError
from stream_core.runs import Run
from stream_web.forwarding import ANSWERED, FORWARDED, Forwarder
from stream_web.listening import Address, is_loopback
from stream_web.middlewares import SOCKETS, Limits, close_sockets, protect
from stream_web.middlewares import middlewares as limiting
from stream_web.pages import Node, Routes

__all__ = ["WebServer"]

logger = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds for requests in progress at stop, and again for those that must be cancelled."""


class WebServer:
    """The web server of one worker.

    It runs in the event loop of the worker and shares nothing else with it: a request that fails, hangs or floods ends alone. Limits,
    deadlines, the check of hosts and the form of errors hold for all routes.

    Args:
        bind: address to listen on.
        port: port to listen on; 0 is any free one.
        explicit_port: whether somebody chose the port: if it is taken, that is an error, else the next free one is used.
        app_id: id of the app, for messages.
        routes: what it answers: method, path and handler. One at a path that a page of ``pages`` has is left out.
        joining: called with the application of aiohttp, for what starts and stops with the server.
        pages: the pages of the app.
        cors: which sites may read pages that do not say it, in a browser.
        middlewares: put around all that is answered, within limits and deadlines.
        forwarder: passes requests on to other workers; it is closed with the server.
        tls: for https.
        socket: listen at this path, and neither at an address nor at a port.
        hosts: further names that it is asked by, where it listens to this machine only.
        limits: what one client may take.
        watch: put around everything else, to count answers.
    """

    def __init__(
        self,
        *,
        bind: str,
        port: int,
        explicit_port: bool,
        app_id: str,
        routes: Iterable[web.AbstractRouteDef],
        joining: Iterable[Callable[[web.Application], None]] = (),
        pages: Routes | None = None,
        cors: Mapping[str, Any] | None = None,
        middlewares: Iterable[Middleware] = (),
        forwarder: Forwarder | None = None,
        tls: ssl.SSLContext | None = None,
        socket: Path | None = None,
        hosts: Collection[str] = (),
        limits: Limits | None = None,
        watch: Middleware | None = None,
    ) -> None:
        scheme = "http" if tls is None else "https"
        self._address = Address(
            bind=bind, port=port, explicit_port=explicit_port, app_id=app_id, scheme=scheme, socket=socket
        )
        self._routes = tuple(routes)
        self._joining = tuple(joining)
        self._pages = pages
        self._cors = cors
        self._middlewares = tuple(middlewares)
        self.forwarder = forwarder
        self._tls = tls
        self._hosts = hosts
        self._limits = limits or Limits()
        self._watch = () if watch is None else (watch,)
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where the server is reached; once started this is the port that it got."""
        return self._address.url

    async def start(self, listening: sockets.socket | None = None) -> None:
        """Listen and answer.

        Args:
            listening: a socket that listens already, in the place of one at the address.

        Raises:
            ConfigurationError: the address cannot be listened on, or the port is taken.
        """
        app = self._application()
        self._runner = web.AppRunner(
            app,
            access_log=None,
            logger=_protocol_logger,
            keepalive_timeout=self._limits.head,
            lingering_time=self._limits.head,
            max_line_size=self._limits.line,
            max_field_size=self._limits.line,
            shutdown_timeout=GRACE,
        )
        await self._runner.setup()
        try:
            self._listener = await self._listen(listening)
        except BaseException:
            await self.stop()
            raise
        address, asked = self._address, self._address.port
        if address.socket is None:
            address.port = self._listener.sockets[0].getsockname()[1]
        if listening is None:
            address.announce(asked)
        if address.socket is None and not is_loopback(address.bind):
            paths = ", ".join(resource.canonical for resource in app.router.resources())
            logger.warning("it is open to the network and asks for no password: %s", paths)

    async def stop(self) -> None:
        """Close the listener and all connections; takes at most four seconds, and does nothing when not started."""
        listener, self._listener = self._listener, None
        runner, self._runner = self._runner, None
        if listener is not None:
            listener.close()
            if self._address.socket is not None:
                self._address.socket.unlink(missing_ok=True)
        if runner is not None:
            await runner.cleanup()
        if self.forwarder is not None:
            await self.forwarder.close()

    def abandon(self) -> None:
        """Give its port back, where its event loop is closed, and it cannot be stopped any more."""
        if self._listener is not None:
            self._listener.close()

    def answer_for(self, run: Run, url: str, neighbour: Callable[[str], str] = lambda instance: "") -> None:
        """Let pages know where they are reached, from the start on until the end of ``run``.

        Args:
            run: the worker that they belong to.
            url: where other workers reach it; its own URL when there is none.
            neighbour: gives the URL of a worker of this machine by its id; empty when there is none.
        """
        if self.forwarder is not None and self._pages is not None:
            for nodes in self._pages.nodes:
                nodes.bind(run, Node(url or self.url, self.forwarder, neighbour))

    def _application(self) -> web.Application:
        bind = self._address.bind if self._address.socket is None else None
        origins = set() if self._pages is None else self._pages.origins(self._cors)
        around = [*self._watch, *limiting(bind, self._limits, self._hosts, origins), *self._middlewares]
        app = web.Application(middlewares=around, client_max_size=self._limits.body)
        app.on_response_prepare.append(protect)
        app.on_response_prepare.append(self._sign)
        app[SOCKETS] = WeakSet()
        app.on_shutdown.append(close_sockets)
        for join in self._joining:
            join(app)
        taken = set() if self._pages is None else self._pages.paths
        app.add_routes(one for one in self._routes if getattr(one, "path", None) not in taken)
        if self._pages is not None:
            self._pages.put_into(app, self._cors)
        return app

    async def _sign(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell a worker that has passed a request on who answers it."""
        if self.forwarder is not None and FORWARDED in request.headers:
            response.headers[ANSWERED] = self.forwarder.instance

    async def _listen(self, listening: sockets.socket | None) -> asyncio.Server:
        loop, address = asyncio.get_running_loop(), self._address
        handshake = None if self._tls is None else self._limits.head
        if listening is not None:
            return await loop.create_server(
                self._connection, sock=listening, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        if address.socket is not None:
            return await self._listen_at(address.socket, handshake)

        async def attempt(port: int) -> asyncio.Server | None:
            listener = await loop.create_server(
                self._connection, address.bind, port, ssl=self._tls, ssl_handshake_timeout=handshake
            )
            if None not in listener.sockets:
                return listener
            listener.close()  # uvloop has closed it already: another program came first, between our bind and our listen
            return None

        return await address.listen(attempt)

    async def _listen_at(self, path: Path, handshake: float | None) -> asyncio.Server:
        """Listen at a path. What nobody listens at any more is replaced."""
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except OSError:
            pass
        else:
            writer.close()
            raise ConfigurationError(f"web_transport=unix://{path} is taken by another program: choose another path")
        try:
            return await asyncio.get_running_loop().create_unix_server(
                self._connection, path, ssl=self._tls, ssl_handshake_timeout=handshake
            )
        except OSError as error:
            raise ConfigurationError(
                f"the web server cannot listen on web_transport=unix://{path}: {error}; choose another path"
            ) from error

    def _connection(self) -> asyncio.Protocol:
        """Make the protocol of a new connection: one that closes it when there are too many, or the server is stopping."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= self._limits.connections:
            return _Refusal()
        return server()


class _Refusal(asyncio.Protocol):
    """Closes its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def _is_ours(record: logging.LogRecord) -> bool:
    """Tell whether a record is about this server, and not about a client that does not speak HTTP, or breaks off."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError | web.RequestPayloadError))


_protocol_logger = logging.getLogger(f"{__name__}.protocol")
_protocol_logger.addFilter(_is_ours)
