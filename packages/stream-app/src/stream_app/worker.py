"""The worker: one process that runs an app until it is told to stop, or cannot go on."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TextIO, cast

from stream_core.engine import Engine
from stream_core.errors import StreamError

__all__ = ["Service", "Worker"]

logger = logging.getLogger("stream")

YOUNG_OBJECTS = 20_000
"""New objects after which the garbage collector looks at them."""

FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"


class Service(Protocol):
    """What a worker runs: an app."""

    @property
    def id(self) -> str:
        """Name for messages."""

    @property
    def engine(self) -> Engine:
        """The engine, once started."""

    async def start(self, *, fail_fast: bool = False) -> None:
        """Start, and return when operational."""

    async def stop(self) -> None:
        """Stop within the deadlines of the settings."""


class Worker:
    """Runs an app in this process: event loop, signals, logging, exit code.

    The first SIGINT or SIGTERM drains: open events finish, everything finished is committed, the group is left. A second one
    ends the process at once; what is uncommitted is replayed by whoever comes next.

    Args:
        app: what to run.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logfile: where to log; standard error when left out.
        fail_fast: exit with 1 when no broker answers at start, instead of waiting for one.
        stop_timeout: seconds for the whole stop, after which the process ends all the same.
    """

    def __init__(
        self,
        app: Service,
        *,
        loglevel: str | int = "INFO",
        logfile: str | Path | TextIO | None = None,
        fail_fast: bool = False,
        stop_timeout: float = 60.0,
    ) -> None:
        self._app = app
        self._loglevel = loglevel
        self._logfile = logfile
        self._fail_fast = fail_fast
        self._stop_timeout = stop_timeout

    def execute_from_commandline(self) -> int:
        """Run until stopped; returns the exit code: 0 after a stop that was asked for, else 1."""
        self._set_up_logging()
        _allow_open_files()
        _collect_less_often()
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(self.run())

    async def run(self) -> int:
        """Run in the current event loop until a signal or a failure; returns the exit code."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled, number, asked)
        try:
            return await self._run(asked)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _signalled(self, number: int, asked: asyncio.Event) -> None:
        name = signal.Signals(number).name
        if asked.is_set():
            logger.warning("second signal (%s): ending now", name)
            logging.shutdown()
            os._exit(1)
        logger.info("%s: finishing open events and committing; a second signal ends at once", name)
        asked.set()

    async def _run(self, asked: asyncio.Event) -> int:
        stop = asyncio.create_task(asked.wait())
        start = asyncio.create_task(self._app.start(fail_fast=self._fail_fast))
        code = 0
        try:
            await asyncio.wait([stop, start], return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                logger.info("worker of %s is ready", self._app.id)
                failure = self._app.engine.failure
                await asyncio.wait([stop, failure], return_when=asyncio.FIRST_COMPLETED)
                if failure.done():
                    code = self._failed(failure.result())
            else:
                start.cancel()
                await asyncio.wait([start])
        except StreamError as error:
            code = self._failed(error)
        finally:
            stop.cancel()
        return await self._stop() or code

    def _failed(self, error: BaseException) -> int:
        expected = isinstance(error, StreamError)
        logger.critical("the worker ends: %s", error, exc_info=None if expected else error)
        return 1

    async def _stop(self) -> int:
        try:
            async with asyncio.timeout(self._stop_timeout):
                await self._app.stop()
        except TimeoutError:
            logger.error("not stopped within %.0f s; ending all the same", self._stop_timeout)
            return 1
        return 0

    def _set_up_logging(self) -> None:
        handler: logging.Handler
        if isinstance(self._logfile, (str, Path)):
            handler = logging.FileHandler(self._logfile)
        else:
            handler = logging.StreamHandler(self._logfile or sys.stderr)
        level = self._loglevel.upper() if isinstance(self._loglevel, str) else self._loglevel
        logging.basicConfig(level=level, format=FORMAT, handlers=[handler])


def _allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each store of a table partition takes some."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _collect_less_often() -> None:
    """Let the garbage collector run after ``YOUNG_OBJECTS`` new objects instead of 700.

    A fetch makes that many records at a time, and none of them is garbage: at Python's default the collector walks them over and
    over, which takes a third of the time of a consumer. What is loaded already lives as long as the process, and is left out.
    """
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's event loop when it is installed, else the standard one."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)
