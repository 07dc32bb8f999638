"""The worker: one process that runs apps until it is told to stop, or cannot go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TextIO

from stream_app.process import allow_open_files, collect_less_often, loop_factory, running_tasks, set_up_logging
from stream_app.services import Services, check_service
from stream_app.signals import BoundSignal
from stream_core.background import Background
from stream_core.engine import Engine
from stream_core.errors import StreamError
from stream_core.tasks import together

__all__ = ["Worker"]

logger = logging.getLogger("stream")

STOP = (signal.SIGINT, signal.SIGTERM)


class Served(Protocol):
    """An app."""

    @property
    def id(self) -> str:
        """Name for messages."""

    @property
    def engine(self) -> Engine:
        """The engine, once started."""

    @property
    def on_worker_init(self) -> BoundSignal:
        """Sent before the start."""

    async def start(self, *, fail_fast: bool = False) -> None:
        """Start, and return when operational."""

    async def stop(self) -> None:
        """Stop within the deadlines of the settings."""


class Worker:
    """Runs apps in this process: event loop, signals, logging, exit code.

    The first SIGINT or SIGTERM drains: open events finish, everything finished is committed, the group is left. A second one
    ends the process at once; what is uncommitted is replayed by whoever comes next. SIGUSR1 logs where every task waits.

    Args:
        app: what to run.
        services: more apps, and services (``async start()`` and ``async stop()``), that start and stop together with it.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logfile: where to log; standard error when left out.
        fail_fast: exit with 1 when no broker answers at start, instead of waiting for one.
        stop_timeout: seconds for the whole stop, after which the process ends all the same.
        loop: the event loop of :meth:`execute_from_commandline`; a new one, uvloop's when that is installed, when left out.
        workdir: directory to change to first.

    Raises:
        ConfigurationError: one of ``services`` is no service.
    """

    def __init__(
        self,
        app: Served,
        *services: Any,
        loglevel: str | int = "INFO",
        logfile: str | Path | TextIO | None = None,
        fail_fast: bool = False,
        stop_timeout: float = 60.0,
        loop: asyncio.AbstractEventLoop | None = None,
        workdir: str | Path | None = None,
    ) -> None:
        for service in services:
            check_service(service)
        self.app = app
        self._apps: list[Served] = [app, *(one for one in services if hasattr(type(one), "engine"))]
        self._services = Services(one for one in services if not hasattr(type(one), "engine"))
        self._loglevel = loglevel
        self._logfile = logfile
        self._fail_fast = fail_fast
        self._stop_timeout = stop_timeout
        self._loop = loop
        self._workdir = workdir
        self._asked: asyncio.Event | None = None
        self._ended: asyncio.Event | None = None

    # -- in a process of its own, and in a loop that runs

    def execute_from_commandline(self) -> int:
        """Run until stopped; returns the exit code: 0 after a stop that was asked for, else 1."""
        allow_open_files()
        collect_less_often()
        if self._loop is not None:
            return self._loop.run_until_complete(self.start())
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(self.start())

    async def start(self) -> int:
        """Run in the current event loop until a signal, :meth:`stop` or a failure; returns the exit code."""
        if self._workdir is not None:
            os.chdir(self._workdir)
        set_up_logging(self._loglevel, self._logfile)
        self._asked, self._ended = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, ValueError, RuntimeError):  # on Windows; in threads other than the main one
            for number in STOP:
                loop.add_signal_handler(number, self._signalled, number, self._asked)
            loop.add_signal_handler(signal.SIGUSR1, _log_tasks, loop)
        try:
            return await self._run(self._asked)
        finally:
            with suppress(NotImplementedError, ValueError, RuntimeError):
                for number in (*STOP, signal.SIGUSR1):
                    loop.remove_signal_handler(number)
            self._ended.set()

    async def stop(self) -> None:
        """Let :meth:`start` end, as a signal does, and wait for that."""
        if self._asked is not None and self._ended is not None:
            self._asked.set()
            await self._ended.wait()

    def stop_and_shutdown_loop(self) -> None:
        """Stop, and close the loop that was given; for whoever called ``run_until_complete(worker.start())`` on it."""
        loop = self._loop or asyncio.get_event_loop()
        loop.run_until_complete(self.stop())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    # -- parts

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
        background = Background()
        start = asyncio.create_task(self._start(background))
        code = 0
        try:
            await asyncio.wait([stop, start], return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                failures = [background.failure, *(app.engine.failure for app in self._apps)]
                await asyncio.wait([stop, *failures], return_when=asyncio.FIRST_COMPLETED)
                for failure in failures:
                    if failure.done():
                        code = self._failed(failure.result())
            else:
                start.cancel()
                await asyncio.wait([start])
        except Exception as error:
            code = self._failed(error)
        finally:
            stop.cancel()
        return await self._stop(background) or code

    async def _start(self, background: Background) -> None:
        for app in self._apps:
            app.on_worker_init.send()
        await self._services.start(background.spawn)
        await together(app.start(fail_fast=self._fail_fast) for app in self._apps)
        for app in self._apps:
            logger.info("worker of %s is ready", app.id)

    def _failed(self, error: BaseException) -> int:
        expected = isinstance(error, StreamError)
        logger.critical("the worker ends: %s", error, exc_info=None if expected else error)
        return 1

    async def _stop(self, background: Background) -> int:
        try:
            async with asyncio.timeout(self._stop_timeout):
                await asyncio.gather(*(app.stop() for app in self._apps))
                await background.stop(self._stop_timeout)
                await self._services.stop()
        except TimeoutError:
            logger.error("not stopped within %.0f s; ending all the same", self._stop_timeout)
            return 1
        return 0


def _log_tasks(loop: asyncio.AbstractEventLoop) -> None:
    logger.warning("SIGUSR1: these tasks run:\n%s", "\n".join(running_tasks(loop)))
