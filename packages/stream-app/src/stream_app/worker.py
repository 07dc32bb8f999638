"""The worker: one process that runs apps until it is told to stop, or cannot go on. It loads mode's, so it is loaded where one is made."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from mode.utils.logging import FileLogProxy, redirect_logger
from mode.worker import Worker as ModeWorker

from stream_app.definitions.checked import checked
from stream_app.life import Life
from stream_app.running.blocking import BlockingDetector
from stream_app.running.console import start_console
from stream_app.running.logs import LogFormat, set_up_logging
from stream_app.running.process import (
    Title,
    allow_open_files,
    end_soon,
    other_threads,
    running_tasks,
)
from stream_app.running.service import Service, call_hook
from stream_app.running.services import Services, check_service
from stream_core.background import Background
from stream_core.calls import run_in
from stream_core.errors import ConfigurationError, StreamError
from stream_core.event_loops import loop_factory
from stream_core.garbage import COLLECTOR
from stream_core.signals import AT_ONCE, StopSignals, end_with_the_stop, look_signals, outlive_looks, stop_signals
from stream_core.together import together

__all__ = ["Worker"]

logger = logging.getLogger("stream")

BLOCKED = 10.0
"""Seconds for which the event loop may be blocked, under ``debug``, where nobody says how many."""


class Worker(ModeWorker, Service):
    """Runs apps in this process: event loop, signals, logging, exit code. A worker of mode, with its hooks.

    The first SIGINT, SIGTERM or SIGHUP drains: open events finish, everything finished is committed, the group is left. A second one, more
    than a second later, ends the process at once; what is uncommitted is replayed by whoever comes next. A SIGHUP that is ignored at the
    start, as under ``nohup``, stays so. SIGUSR1 and SIGUSR2 log where every task waits, and the stacks of other threads; in a process of
    its own, where the event loop does not run yet or any more, they print the stacks of all threads.

    Args:
        app: what to run. What is left out below and is one of its settings is read from these at the start.
        services: more apps, and services (``async start()`` and ``async stop()``), that start and stop together with it.
        debug: start a debugging console on this machine (aiomonitor), and log who blocks the event loop; a setting.
        quiet: print nothing by :meth:`say` and :meth:`carp`.
        loglevel: DEBUG, INFO, WARNING, ERROR or CRITICAL, or a number; INFO when left out.
        logfile: where to log; standard error when left out.
        log_format: ``text``, in colours on a terminal, or ``json``, an object a line.
        loghandlers: log to these, too; a setting.
        logging_config: configure logging by this mapping, for :func:`logging.config.dictConfig`, instead; with ``merge=True`` in it beside
            level and file. A setting.
        override_logging: whether to set up logging at all.
        redirect_stdouts: whether what the program prints becomes records of the log; the setting ``worker_redirect_stdouts``.
        redirect_stdouts_level: their level; the setting ``worker_redirect_stdouts_level``.
        blocking_timeout: seconds for which the event loop may be blocked before that is logged; a setting. Under ``debug`` 10 where none
            is given, else nobody looks.
        console_port: the first of the three ports of the debugging console.
        fail_fast: exit with 1 when no broker answers at start, instead of waiting for one.
        stop_timeout: seconds for the whole stop, after which the process ends all the same.
        loop: the event loop of :meth:`execute_from_commandline`, or the name of a new one: ``aio``, ``uvloop``, or ``auto``, which is
            uvloop where it is installed.
        workdir: directory to change to first.
        daemon: whether :meth:`start` returns at the end of the worker, or when it is ready.
        stdout: what :meth:`say` prints to; standard output when left out.
        stderr: what :meth:`carp` prints to; standard error when left out.
        sensors: who is told of what the app does, beside those that were added to it.

    Raises:
        ConfigurationError: one of ``services`` is not a service.
    """

    mundane_level = "debug"  # of mode's messages: a worker says when it is ready, and when it has stopped

    @checked
    def __init__(
        self,
        app: Life,
        *services: Any,
        debug: bool | None = None,
        quiet: bool = False,
        loglevel: str | int | None = None,
        logfile: str | Path | TextIO | None = None,
        log_format: LogFormat = "text",
        loghandlers: Sequence[logging.Handler] | None = None,
        logging_config: Mapping[str, Any] | None = None,
        override_logging: bool = True,
        redirect_stdouts: bool | None = None,
        redirect_stdouts_level: str | int | None = None,
        blocking_timeout: float | None = None,
        console_port: int = 50101,
        fail_fast: bool = False,
        stop_timeout: float = 60.0,
        loop: asyncio.AbstractEventLoop | str | None = None,
        workdir: str | Path | None = None,
        daemon: bool = True,
        stdout: IO[str] | None = None,
        stderr: IO[str] | None = None,
        sensors: Iterable[Any] | None = None,
    ) -> None:
        for service in services:
            check_service(service)
        for sensor in sensors or ():
            app.sensors.add(sensor)
        self.app = app
        self._apps = [app, *(one for one in services if isinstance(one, Life))]
        self._services = Services(one for one in services if not isinstance(one, Life))
        self._log_file = logfile
        self._log_format: LogFormat = log_format
        self._given: dict[str, Any] = {
            "debug": debug,
            "loghandlers": None if loghandlers is None else list(loghandlers),
            "logging_config": logging_config,
            "worker_redirect_stdouts": redirect_stdouts,
            "worker_redirect_stdouts_level": redirect_stdouts_level,
            "blocking_timeout": blocking_timeout,
        }
        self._logging_config: Mapping[str, Any] | None = None
        self._refusal: Exception | None = None
        self._watched = False
        self._fail_fast = fail_fast
        self._stop_timeout = stop_timeout
        self._given_loop = loop if isinstance(loop, asyncio.AbstractEventLoop) else None
        self._loop_name = loop if isinstance(loop, str) else "auto"
        self._workdir = workdir
        self._ready = False
        self._alone = False
        self._told: list[Life] = []  # of the start: they hear of the end
        self._run_apart: asyncio.Task[int] | None = None
        self._title = Title("Stream:Worker", lambda: _title_of(app))
        super().__init__(
            *(one for one in (app, *services) if hasattr(one, "beacon") and not isinstance(one, type)),
            quiet=quiet,
            loglevel=loglevel,
            override_logging=override_logging,
            console_port=console_port,
            daemon=daemon,
            stdout=stdout,
            stderr=stderr,
            loop=self._given_loop,
        )

    # -- in a process of its own, and in a loop that runs

    def execute_from_commandline(self) -> int:  # type: ignore[override]  # mode's never returns
        """Run until stopped; returns 0 after a stop that was asked for.

        Raises:
            SystemExit: with the exit code 1, when the worker could not go on.
        """
        allow_open_files()
        COLLECTOR.look_less_often()
        outlive_looks()
        self._alone = True
        if self._given_loop is not None:
            code = self._given_loop.run_until_complete(self.start())
        else:
            with end_with_the_stop() as stopped:
                with asyncio.Runner(loop_factory=loop_factory(self._loop_name)) as runner:
                    code = runner.run(self.start())
                    stopped()
                    overdue = end_soon(code)
                overdue.cancel()
        if code:
            raise SystemExit(code)
        return code

    async def start(self) -> int:  # type: ignore[override]  # mode's tells nothing
        """Run in the current event loop until a signal, :meth:`stop`, a failure, or a cancellation; returns the exit code.

        With ``daemon=False`` it returns when the worker is ready, and the worker runs until :meth:`stop`.

        Raises:
            ConfigurationError: logging cannot be set up, or the worker or one of its apps runs already.
        """
        if self.running:
            raise ConfigurationError("the worker runs already: stop it first")
        if busy := [app.id for app in self._apps if app.running]:  # else the worker would stop what it has not started
            raise ConfigurationError(f"a worker cannot start {', '.join(busy)}: it runs already; stop it first")
        if self._done.is_set():
            self.service_reset()
            self._ready = False
        self._bind(asyncio.get_running_loop())
        self._started.set()
        try:
            self._take_settings()
            await self.on_first_start()
        except BaseException:
            self._tear_down()
            raise
        if self.daemon:
            return await self._run(Background())
        ready = self.loop.create_future()
        self._run_apart = asyncio.create_task(self._run(Background(), ready), name="worker")
        try:
            await asyncio.wait([ready, self._run_apart], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:  # nobody would stop it
            self._stopped_set()
            await asyncio.wait([self._run_apart])
            raise
        return self._run_apart.result() if self._run_apart.done() else 0

    async def stop(self) -> None:
        """Let the worker end, as a signal does, and wait for that. It may be called from any thread."""
        if self.running:
            await run_in(self.loop, self._end, "the worker")

    async def _end(self) -> None:
        self._stopped_set()
        await self._wait_for_end()

    def stop_and_shutdown_loop(self) -> None:
        """Stop, end what else runs in the event loop, and close it; for whoever called ``run_until_complete(worker.start())`` on it."""
        loop = self._given_loop or self._loop or asyncio.get_event_loop()
        if loop.is_closed():
            return

        async def end() -> None:
            await self.stop()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            await loop.shutdown_asyncgens()
            await loop.shutdown_default_executor()

        loop.run_until_complete(end())
        loop.close()

    stop_and_shutdown = stop_and_shutdown_loop  # mode's name

    # -- hooks, beside those of every service

    def on_init_dependencies(self) -> Iterable[Any]:
        """Override to return services that start before the apps, and stop after them."""
        return ()

    async def on_first_start(self) -> None:
        """Set up the process, at each start; override to set up more."""
        await self.default_on_first_start()

    async def default_on_first_start(self) -> None:
        """Change the directory, set up title, log, debugging and signal handlers.

        :meta private:
        """
        if self._workdir is not None:
            os.chdir(self._workdir)
        self._title.show("starting")
        if self.override_logging:
            self._setup_logging()
        await self.on_execute()
        if self.debug:
            await self._add_monitor()
        await self.maybe_start_blockdetection()
        self.install_signal_handlers()

    async def on_started(self) -> None:
        """Override to do something when all apps are operational."""

    def on_worker_shutdown(self) -> None:
        """Override to do something when all has stopped."""

    # -- parts

    def _take_settings(self) -> None:
        """Let handlers assign the settings, and read those that are for the worker, unless it was given others."""
        self._refusal = None
        try:
            for app in self._apps:
                self._told.append(app)
                app.worker_init()
            for app in self._apps:
                app.configure()
        except Exception as error:
            self._refusal = error  # it is raised when there is a log
        conf = self.app.conf
        chosen: dict[str, Any] = {
            name: getattr(conf, name) if given is None else given for name, given in self._given.items()
        }
        self.debug = chosen["debug"]
        self.loghandlers = chosen["loghandlers"]
        self.redirect_stdouts = chosen["worker_redirect_stdouts"]
        self.redirect_stdouts_level = chosen["worker_redirect_stdouts_level"]
        self._logging_config = chosen["logging_config"]
        self._watched = self.debug or chosen["blocking_timeout"] is not None
        self.blocking_timeout = chosen["blocking_timeout"] or BLOCKED

    def _setup_logging(self) -> None:
        set_up_logging(
            self.loglevel if self.loglevel is not None else "INFO",
            self._log_file,
            log_format=self._log_format,
            handlers=self.loghandlers,
            config=self._logging_config,
        )
        self.on_setup_root_logger(logging.root, logging.root.level)
        if self.redirect_stdouts:
            proxy = FileLogProxy(redirect_logger, severity=self.redirect_stdouts_level)
            self.add_context(redirect_stdout(proxy))
            self.add_context(redirect_stderr(proxy))

    async def _add_monitor(self) -> None:
        if (console := start_console(self.console_port)) is not None:
            self.add_context(console)

    async def maybe_start_blockdetection(self) -> None:
        """Start to watch who blocks the event loop, where that is wanted.

        :meta private:
        """
        if not self._watched:
            return
        detector = BlockingDetector(float(self.blocking_timeout))  # type: ignore[arg-type]
        detector.start()
        self.exit_stack.callback(detector.stop)

    def install_signal_handlers(self) -> None:
        """Stop at SIGINT, SIGTERM and a SIGHUP that is not ignored, and log what runs at SIGUSR1 and SIGUSR2, until the worker has ended.

        :meta private:
        """
        loop = self.loop
        signals = StopSignals(loop.time)
        with suppress(NotImplementedError, ValueError, RuntimeError):  # on Windows; in threads other than the main one
            for number in stop_signals():
                loop.add_signal_handler(number, self._signalled, number, signals)
                self.exit_stack.callback(loop.remove_signal_handler, number)
            if self._alone:  # a loop that is closed would let the next one end the process
                outlive_looks(lambda number: loop.call_soon_threadsafe(_log_what_runs, loop, number))
                self.exit_stack.callback(outlive_looks)
                return
            for number in look_signals():
                loop.add_signal_handler(number, _log_what_runs, loop, number)
                self.exit_stack.callback(loop.remove_signal_handler, number)

    def _signalled(self, number: int, signals: StopSignals) -> None:
        name = signal.Signals(number).name
        match signals.heard():
            case "first":
                logger.info("%s: finishing open events and committing; a second signal ends at once", name)
                self._stopped_set()
            case "again":
                logger.debug("%s again within %g s: it counts once", name, AT_ONCE)
            case "second":
                logger.warning("second signal (%s): ending now", name)
                logging.shutdown()
                os._exit(1)

    def _tear_down(self) -> None:
        """Undo what was set up in the process."""
        try:
            for app in self._told:
                app.on_worker_shutdown.send()
            self._told = []
            self.on_worker_shutdown()
        except Exception:
            logger.exception("on_worker_shutdown of the worker failed")
        finally:
            self._title.restore()
            self.exit_stack.close()
            self._stopped_set()
            self._shutdown.set()
            self._done.set()

    async def _run(self, background: Background, ready: asyncio.Future[None] | None = None) -> int:
        background.name = self.app.id
        stop, crash = (asyncio.ensure_future(event.wait()) for event in (self._stopped, self._crashed))
        start = asyncio.create_task(self._start_all(background), name="start of the worker")
        code = 0
        try:
            await asyncio.wait([stop, start], return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                if ready is not None:
                    ready.set_result(None)
                await asyncio.wait([stop, crash, background.failure], return_when=asyncio.FIRST_COMPLETED)
                code = int(self.crashed or background.failure.done())
        except Exception as error:
            self._log(error, background)
            code = 1
        finally:  # also when whoever awaits the worker is cancelled: apps do not run on without it
            for waiting in (stop, crash):
                waiting.cancel()
            self._stopped_set()
            self._title.show("stopping")
            if not start.done():
                start.cancel()
                await asyncio.wait([start])
            try:
                with self._ending():
                    end = await self._stop_all(background)
            finally:
                self._tear_down()
        return end or code

    async def _start_all(self, background: Background) -> None:
        if self._refusal is not None:
            raise self._refusal
        for app in self._apps:
            app.finalize()
            for doubt in app.doubts():
                logger.warning("%s", doubt)
        if not self._dependencies_known:
            for service in self.on_init_dependencies():
                self.add_dependency(service)
            self._dependencies_known = True
        await self.on_start()
        self._start_tasks()
        await self._start_children()
        await self._services.start(background)
        await together(app.start(fail_fast=self._fail_fast) for app in self._apps)
        self._ready = True
        self._title.show("running")
        for app in self._apps:
            logger.info("worker of %s is ready", app.id)
        await self.on_started()

    def _crash(self, reason: BaseException) -> None:
        """Hear that an app or a service cannot go on. The others can, until they are stopped: they commit, and leave."""
        if not self._crashed.is_set():
            self._crashed.set()
            self._over.set()
            self.crash_reason = reason

    def _log(self, error: BaseException, background: Background) -> None:
        """Log an error, unless it is a failure that is logged already."""
        failures = [app.failure for app in self._apps]
        if background.failure.done():
            failures.append(background.failure.result())
        if not any(error is failure for failure in failures):
            expected = isinstance(error, StreamError)
            logger.critical("the worker ends: %s", str(error) or repr(error), exc_info=None if expected else error)

    async def _stop_all(self, background: Background) -> int:
        """Stop everything within ``stop_timeout``; returns 1 where that fails."""
        errors: list[BaseException] = []
        try:
            async with asyncio.timeout(self._stop_timeout):
                await self._hook(self.on_stop, errors)
                ends = await asyncio.gather(*(app.stop() for app in self._apps), return_exceptions=True)
                await background.stop(self._stop_timeout)
                await self._services.stop()
                await self._stop_children()
                await self._stop_futures()
                await self._hook(self.on_shutdown, errors)
        except TimeoutError:
            logger.error("not stopped within %.0f s; ending all the same", self._stop_timeout)
            return 1
        for error in (*errors, *filter(None, ends)):
            self._log(error, background)
        for app, end in zip(self._apps, ends, strict=True):
            if self._ready:
                level = logging.INFO if app.failure is None and end is None else logging.WARNING
                logger.log(level, "worker of %s has stopped: %s", app.id, app.outcome)
            else:
                logger.info("worker of %s has stopped before it was ready", app.id)
        return int(bool(errors) or any(end is not None for end in ends))

    async def _hook(self, hook: Callable[[], Any], errors: list[BaseException]) -> None:
        """Call a hook of the stop; what it raises keeps nothing from being stopped."""
        try:
            await call_hook(hook)
        except Exception as error:
            errors.append(error)


def _title_of(app: Life) -> str:
    conf = app.conf
    web = f" http://{conf.web_bind}:{conf.web_port}" if conf.web_enabled else ""
    return f"{app.id}{web} {conf.datadir.absolute()}"


def _log_what_runs(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    logger.warning(
        "%s: these tasks run:\n%s\nand these threads beside that of the event loop:\n%s",
        number.name,
        "\n".join(running_tasks(loop)),
        "\n".join(other_threads()) or "none",
    )
