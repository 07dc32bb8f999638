"""Where a web server listens, and which port it gets. No library of the web is imported here: the server may be loaded later."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from stream_core.errors import ConfigurationError

__all__ = ["Address", "is_loopback"]

logger = logging.getLogger("stream_web.server")

PORTS = 100
"""How many ports are tried when nobody chose one."""

T = TypeVar("T")


def is_loopback(bind: str) -> bool:
    """Tell whether only this machine reaches what listens on ``bind``."""
    try:
        return ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


class Address:
    """Where a web server listens.

    Args:
        bind: address to listen on.
        port: port to listen on; 0 is any free one.
        explicit_port: whether somebody chose the port: if it is taken, that is an error, else the next free one is used.
        app_id: id of the app, for messages.
        scheme: ``http``, or ``https``.
        socket: listen at this path, and neither at an address nor at a port.

    Attributes:
        port: the port that it got, once it listens.
    """

    def __init__(
        self,
        *,
        bind: str,
        port: int,
        explicit_port: bool,
        app_id: str,
        scheme: str = "http",
        socket: Path | None = None,
    ) -> None:
        self.bind = bind
        self.port = port
        self.scheme = scheme
        self.socket = socket
        self._explicit = explicit_port
        self._app_id = app_id

    @property
    def url(self) -> str:
        """Where the server is reached; once it listens this is the port that it got."""
        if self.socket is not None:
            return f"unix://{self.socket}"
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{self.scheme}://{host}:{self.port}"

    async def listen(self, attempt: Callable[[int], Awaitable[T | None]]) -> T:
        """Listen at the port, or at the next one that is free.

        Args:
            attempt: listens at a port. It raises OSError where it cannot, and returns ``None`` where another program came first.

        Raises:
            ConfigurationError: the address cannot be listened on, or the port is taken.
        """
        first = self.port
        ports = range(first, first + 1 if self._explicit else min(first + PORTS, 65536))
        for port in ports:
            try:
                if (listener := await attempt(port)) is not None:
                    return listener
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise ConfigurationError(
                        f"the web server cannot listen on web_bind={self.bind}, web_port={port}: {error};"
                        " choose others, or set web_enabled=false"
                    ) from error
        if self._explicit:
            raise ConfigurationError(
                f"web_port={first} is taken by another program: choose another, or none to get the next free one"
            )
        raise ConfigurationError(f"the ports {first} to {ports[-1]} are all taken: choose a web_port that is free")

    def announce(self, asked: int) -> None:
        """Log where the server is reached.

        Args:
            asked: the port that was asked for.
        """
        if asked in (0, self.port):
            logger.info("the web server of %s listens on %s", self._app_id, self.url)
        else:
            logger.warning("port %d is taken: the web server of %s listens on %s", asked, self._app_id, self.url)
