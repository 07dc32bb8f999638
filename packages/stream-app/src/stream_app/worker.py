"""The worker: one process that runs apps until it is told to stop, or cannot go on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO

from stream_app.definitions.signals import BoundSyncSignal
from stream_app.running.loops import run_in
from stream_app.running.process import (
    allow_open_files,
    collect_less_often,
    end_soon,
    running_tasks,
    set_up_logging,
)
from stream_app.running.services import Services, check_service
from stream_core.background import Background
from stream_core.engine.engine import Engine
from stream_core.errors import StreamError
from stream_core.event_loops import loop_factory
from stream_core.together import together

__all__ = ["Worker"]

logger = logging.getLogger("stream")

STOP = (signal.SIGINT, signal.SIGTERM)

AT_ONCE = 1.0
"""Seconds within which signals are one: ``timeout`` and terminals send one to the process, and one to its group."""


class Signals:
    """Tells the first signal, which asks for a stop, from the second, which ends the process.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: float | None = None

    def heard(self) -> Literal["first", "again", "second"]:
        """Hear a signal; ``again`` is one that comes at once behind the first."""
        if self._first is None:
            self._first = self._clock()
            return "first"
        return "again" if self._clock() - self._first <= AT_ONCE else "second"


class Served(Protocol):
    """An app."""

    @property
    def id(self) -> str:
        """Name for messages."""

    @property
    def engine(self) -> Engine:
        """The engine, once started."""

    @property
    def failure(self) -> BaseException | None:
        """Why it cannot go on, which is logged already."""

    @property
    def outcome(self) -> str:
        """What had become of its work when it was stopped, in words."""

    @property
    def on_worker_init(self) -> BoundSyncSignal:
        """Sent before the start."""

    @property
    def on_worker_shutdown(self) -> BoundSyncSignal:
        """Sent when it has stopped."""

    def finalize(self) -> None:
        """Make the settings final, and import what belongs to it."""

    def doubts(self) -> Iterable[str]:
        """What looks as if it was not meant, in sentences for the log."""

    async def start(self, *, fail_fast: bool = False) -> None:
        """Start, and return when operational."""

    async def stop(self) -> None:
        """Stop within the deadlines of the settings."""


class Worker:
    """Runs apps in this process: event loop, signals, logging, exit code.

    The first SIGINT or SIGTERM drains: open events finish, everything finished is committed, the group is left. A second one, more than a
    second later, ends the process at once; what is uncommitted is replayed by whoever comes next. SIGUSR1 logs where every task waits.

    Args:
        app: what to run.
        services: more apps, and services (``async start()`` and ``async stop()``), that start and stop together with it.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL.
        logfile: where to log; standard error when left out.
        fail_fast: exit with 1 when no broker answers at start, instead of waiting for one.
        stop_timeout: seconds for the whole stop, after which the process ends all the same.
        loop: the event loop of :meth:`execute_from_commandline`, or the name of a new one: ``aio``, ``uvloop``, or ``auto``, which is
            uvloop where it is installed.
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
        loop: asyncio.AbstractEventLoop | str | None = None,
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
        self._loop = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        self._loop_name = loop if isinstance(loop, str) else "auto"
        self._workdir = workdir
        self._asked: asyncio.Event | None = None
        self._ended: asyncio.Event | None = None
        self._ready = False
        self._home: asyncio.AbstractEventLoop | None = None

    # -- in a process of its own, and in a loop that runs

    def execute_from_commandline(self) -> int:
        """Run until stopped; returns the exit code: 0 after a stop that was asked for, else 1."""
        allow_open_files()
        collect_less_often()
        if self._loop is not None:
            return self._loop.run_until_complete(self.start())
        with asyncio.Runner(loop_factory=loop_factory(self._loop_name)) as runner:
            code = runner.run(self.start())
            overdue = end_soon(code)
        overdue.cancel()
        return code

    async def start(self) -> int:
        """Run in the current event loop until a signal, :meth:`stop`, a failure, or a cancellation; returns the exit code."""
        if self._workdir is not None:
            os.chdir(self._workdir)
        set_up_logging(self._loglevel, self._logfile)
        self._asked, self._ended = asyncio.Event(), asyncio.Event()
        loop = self._home = asyncio.get_running_loop()
        signals = Signals(loop.time)
        with suppress(NotImplementedError, ValueError, RuntimeError):  # on Windows; in threads other than the main one
            for number in STOP:
                loop.add_signal_handler(number, self._signalled, number, signals, self._asked)
            loop.add_signal_handler(signal.SIGUSR1, _log_tasks, loop)
        try:
            return await self._run(self._asked)
        finally:
            for app in self._apps:
                app.on_worker_shutdown.send()
            with suppress(NotImplementedError, ValueError, RuntimeError):
                for number in (*STOP, signal.SIGUSR1):
                    loop.remove_signal_handler(number)
            self._ended.set()

    async def stop(self) -> None:
        """Let :meth:`start` end, as a signal does, and wait for that. It may be called from any thread."""
        asked, ended = self._asked, self._ended
        if asked is None or ended is None or self._home is None or ended.is_set():
            return

        async def ask() -> None:
            asked.set()
            await ended.wait()

        await run_in(self._home, ask, "the worker")

    def stop_and_shutdown_loop(self) -> None:
        """Stop, and close the loop that was given; for whoever called ``run_until_complete(worker.start())`` on it."""
        loop = self._loop or asyncio.get_event_loop()
        loop.run_until_complete(self.stop())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    # -- parts

    def _signalled(self, number: int, signals: Signals, asked: asyncio.Event) -> None:
        name = signal.Signals(number).name
        match signals.heard():
            case "first":
                logger.info("%s: finishing open events and committing; a second signal ends at once", name)
                asked.set()
            case "again":
                logger.debug("%s again within %g s: it counts once", name, AT_ONCE)
            case "second":
                logger.warning("second signal (%s): ending now", name)
                logging.shutdown()
                os._exit(1)

    async def _run(self, asked: asyncio.Event) -> int:
        stop = asyncio.create_task(asked.wait())
        background = Background()
        background.name = self.app.id
        start = asyncio.create_task(self._start(background))
        code = 0
        try:
            await asyncio.wait([stop, start], return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                failures = [background.failure, *(app.engine.failure for app in self._apps)]
                await asyncio.wait([stop, *failures], return_when=asyncio.FIRST_COMPLETED)
                code = int(any(failure.done() for failure in failures))
        except Exception as error:
            self._log(error, background)
            code = 1
        finally:  # also when whoever awaits the worker is cancelled: apps do not run on without it
            stop.cancel()
            if not start.done():
                start.cancel()
                await asyncio.wait([start])
            end = await self._stop(background)
        return end or code

    async def _start(self, background: Background) -> None:
        for app in self._apps:
            app.on_worker_init.send()
        for app in self._apps:
            app.finalize()
            for doubt in app.doubts():
                logger.warning("%s", doubt)
        await self._services.start(background)
        await together(app.start(fail_fast=self._fail_fast) for app in self._apps)
        self._ready = True
        for app in self._apps:
            logger.info("worker of %s is ready", app.id)

    def _log(self, error: BaseException, background: Background) -> None:
        """Log an error, unless it is a failure that is logged already."""
        failures = [app.failure for app in self._apps]
        if background.failure.done():
            failures.append(background.failure.result())
        if not any(error is failure for failure in failures):
            expected = isinstance(error, StreamError)
            logger.critical("the worker ends: %s", error, exc_info=None if expected else error)

    async def _stop(self, background: Background) -> int:
        try:
            async with asyncio.timeout(self._stop_timeout):
                ends = await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
                await background.stop(self._stop_timeout)
                await self._services.stop()
        except TimeoutError:
            logger.error("not stopped within %.0f s; ending all the same", self._stop_timeout)
            return 1
        for app, end in zip(self._apps, ends, strict=True):
            if end is not None:
                self._log(end, background)
            if self._ready:
                level = logging.INFO if app.failure is None and end is None else logging.WARNING
                logger.log(level, "worker of %s has stopped: %s", app.id, app.outcome)
            else:
                logger.info("worker of %s has stopped before it was ready", app.id)
        return int(any(end is not None for end in ends))


def _log_tasks(loop: asyncio.AbstractEventLoop) -> None:
    logger.warning("SIGUSR1: these tasks run:\n%s", "\n".join(running_tasks(loop)))
