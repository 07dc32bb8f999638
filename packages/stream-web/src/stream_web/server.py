"""The server: its listener, its limits, and its end."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Collection, Iterable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from stream_core.errors import ConfigurationError
from stream_web.middlewares import Limits, is_loopback, middlewares, protect

__all__ = ["WebServer"]

logger = logging.getLogger(__name__)

PORTS = 100
"""How many ports are tried when nobody chose one."""

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
        routes: what it answers: method, path and handler.
        hosts: further names that it is asked by, where it listens to this machine only.
        limits: what one client may take.
    """

    def __init__(
        self,
        *,
        bind: str,
        port: int,
        explicit_port: bool,
        app_id: str,
        routes: Iterable[web.AbstractRouteDef],
        hosts: Collection[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self._bind = bind
        self._port = port
        self._explicit_port = explicit_port
        self._app_id = app_id
        self._routes = tuple(routes)
        self._hosts = hosts
        self._limits = limits or Limits()
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where the server is reached; once started this is the port that it got."""
        host = f"[{self._bind}]" if ":" in self._bind else self._bind
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Listen and answer.

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
            self._listener = await self._listen()
        except BaseException:
            await self.stop()
            raise
        asked, self._port = self._port, self._listener.sockets[0].getsockname()[1]
        self._announce(asked, [resource.canonical for resource in app.router.resources()])

    async def stop(self) -> None:
        """Close the listener and all connections; takes at most four seconds, and does nothing when not started."""
        listener, self._listener = self._listener, None
        runner, self._runner = self._runner, None
        if listener is not None:
            listener.close()
        if runner is not None:
            await runner.cleanup()

    def _application(self) -> web.Application:
        app = web.Application(
            middlewares=middlewares(self._bind, self._limits, self._hosts), client_max_size=self._limits.body
        )
        app.on_response_prepare.append(protect)
        app.add_routes(self._routes)
        return app

    async def _listen(self) -> asyncio.Server:
        loop, first = asyncio.get_running_loop(), self._port
        ports = range(first, first + 1 if self._explicit_port else min(first + PORTS, 65536))
        for port in ports:
            try:
                return await loop.create_server(self._connection, self._bind, port)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise ConfigurationError(
                        f"the web server cannot listen on web_bind={self._bind}, web_port={port}: {error};"
                        " choose others, or set web_enabled=false"
                    ) from error
        if self._explicit_port:
            raise ConfigurationError(
                f"web_port={first} is taken by another program: choose another, or none to get the next free one"
            )
        raise ConfigurationError(f"the ports {first} to {ports[-1]} are all taken: choose a web_port that is free")

    def _connection(self) -> asyncio.Protocol:
        """The protocol of a new connection: one that closes it when there are too many, or the server is stopping."""
        server = self._runner.server if self._runner is not None else None
        if server is None or len(server.connections) >= self._limits.connections:
            return _Refusal()
        return server()

    def _announce(self, asked: int, paths: Iterable[str]) -> None:
        if asked in (0, self._port):
            logger.info("the web server of %s listens on %s", self._app_id, self.url)
        else:
            logger.warning("port %d is taken: the web server of %s listens on %s", asked, self._app_id, self.url)
        if not is_loopback(self._bind):
            logger.warning("it is open to the network and asks for no password: %s", ", ".join(paths))


class _Refusal(asyncio.Protocol):
    """Closes its connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a record is about this server, and not about a client that does not speak HTTP."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_protocol_logger = logging.getLogger(f"{__name__}.protocol")
_protocol_logger.addFilter(_is_ours)
