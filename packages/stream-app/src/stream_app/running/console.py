"""The debugging console of a worker: aiomonitor, on this machine only."""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from contextlib import AbstractContextManager
from typing import Any, cast

__all__ = ["start_console"]

logger = logging.getLogger("stream")

HOST = "127.0.0.1"
TRIED = 100
"""How many ports are tried, from the one on that was asked for."""


def start_console(port: int) -> AbstractContextManager[Any] | None:
    """Start aiomonitor for the running event loop: a console by telnet on ``port``, and a page on the port after it.

    Args:
        port: the first of three ports; where one of them is in use, the next three that are not.

    Returns:
        what ends it; ``None`` where aiomonitor is not installed or no port is free, which is logged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of click, which it uses by an old name
            import aiomonitor  # noqa: PLC0415 - optional
    except ImportError:
        logger.warning("there is no debugging console: pip install 'stream-app[debug]'")
        return None
    first = next((one for one in range(port, port + TRIED, 3) if all(map(_free, range(one, one + 3)))), None)
    if first is None:
        logger.warning("there is no debugging console: the ports from %d on are in use", port)
        return None

    class Monitor(aiomonitor.Monitor):  # type: ignore[misc]  # it has no types
        """Tells of a failure of its thread: whoever starts it would wait for that thread for ever."""

        failure: BaseException | None = None

        def _ui_main(self) -> None:
            try:
                super()._ui_main()
            except BaseException as error:
                self.failure = error
                self._ui_started.set()

    monitor = Monitor(
        asyncio.get_running_loop(), host=HOST, termui_port=first, webui_port=first + 1, console_port=first + 2
    )
    monitor.start()
    if monitor.failure is not None:
        logger.warning("there is no debugging console: %r", monitor.failure)
        return None
    logger.warning(
        "debugging console, for whoever is on this machine: telnet %s %d, or http://%s:%d", HOST, first, HOST, first + 1
    )
    return cast("AbstractContextManager[Any]", monitor)


def _free(port: int) -> bool:
    """Tell whether a port of this machine can be listened on; aiomonitor would wait for ever."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True
