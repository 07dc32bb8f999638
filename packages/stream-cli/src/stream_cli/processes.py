"""Several workers under one supervisor: each is a process that runs the same command again, and is restarted when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from stream_core.errors import ConfigurationError
from stream_core.signals import look_signals, outlive_looks, stop_signals

__all__ = ["Child", "supervise"]

logger = logging.getLogger("stream")

VARIABLE = "STREAM_WORKER_PROCESS"
"""The environment variable by which a process knows that it is one of several: its number, and the descriptor of a pipe."""

FAILURES = 5
"""How often a worker may end by itself within ``WINDOW`` seconds before all of them are given up."""

WINDOW = 60.0

DELAY = 0.5
"""Seconds before a worker starts again; twice as long after each failure."""

STOP = 90.0
"""Seconds for a worker to stop, more than it gives itself; then it is killed."""

FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"

STARTED_IN: str | None = None
"""Where the command was started: its arguments may be relative to that, and --workdir changes it. ``None`` when that was removed."""

with contextlib.suppress(FileNotFoundError):
    STARTED_IN = os.getcwd()

STOPPED = {0, -signal.SIGINT, -signal.SIGTERM, -signal.SIGHUP} if os.name == "posix" else {0}
"""The exit codes of a worker that was told to stop; a signal ends one at once that has not begun yet, or that has committed and left."""


@dataclass(frozen=True)
class Child:
    """This process, when it is one of several.

    Attributes:
        number: from 0 on.
        pipe: a descriptor that is at its end when the supervisor is no more.
    """

    number: int
    pipe: int

    @classmethod
    def of_environment(cls) -> Child | None:
        """Give this process, if it is one of several; programs that it starts are not."""
        text = os.environ.pop(VARIABLE, None)
        if text is None:
            return None
        number, _, pipe = text.partition(":")
        os.set_inheritable(int(pipe), False)
        return cls(int(number), int(pipe))

    def end_with_supervisor(self) -> None:
        """Stop this process, as a signal does, when the supervisor is no more, however it has ended."""

        def wait() -> None:
            os.read(self.pipe, 1)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=wait, name="end with the supervisor", daemon=True).start()


def supervise(number: int, *, level: str, logfile: str | None) -> int:
    """Run this command in several processes until a signal, and start again those that end by themselves.

    Args:
        number: how many.
        level: what to log of them.
        logfile: where to; standard error when left out.

    Returns:
        the exit code: 1 when one of them could not be started, could not go on, or did not stop in time.

    Raises:
        ConfigurationError: this system passes on no descriptors.
    """
    if os.name != "posix":
        raise ConfigurationError("--processes needs a POSIX system: start several workers here")
    logging.basicConfig(level=level, filename=logfile, format=FORMAT)
    return asyncio.run(_supervise(number))


async def _supervise(number: int) -> int:
    supervisor = _Supervisor()
    loop = asyncio.get_running_loop()
    stops = stop_signals()
    for one in stops:
        loop.add_signal_handler(one, supervisor.heard, one)
    outlive_looks(lambda number: loop.call_soon_threadsafe(supervisor.hand_on, number))
    try:
        return max(await asyncio.gather(*map(supervisor.keep, range(number))))
    finally:
        for one in stops:
            loop.remove_signal_handler(one)
        outlive_looks()
        supervisor.close()


class _Supervisor:
    """Starts, watches and stops the processes."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._stop = asyncio.Event()
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self._write)

    def heard(self, number: signal.Signals) -> None:
        """Stop all workers at the first signal; hand on each."""
        if not self._stop.is_set():
            logger.info("%s: stopping %d workers", number.name, len(self._processes))
        self._stop_all()

    def _stop_all(self) -> None:
        self._stop.set()
        self.hand_on(signal.SIGTERM)

    def hand_on(self, number: signal.Signals) -> None:
        """Send a signal to all workers, as SIGUSR1, at which each logs where everything waits."""
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(number)

    async def keep(self, number: int) -> int:
        """Keep one worker running; returns its exit code."""
        failures: list[float] = []
        clock = asyncio.get_running_loop().time
        while not self._stop.is_set():
            try:
                process = self._processes[number] = await self._start(number)
            except OSError as error:
                logger.critical("worker %d cannot be started: %s; all workers stop", number, error)
                self._stop_all()
                return 1
            if self._stop.is_set():  # meanwhile, and this one has not heard it
                process.terminate()
            logger.info("worker %d runs as process %d", number, process.pid)
            try:
                code = await self._ended(process)
            finally:
                del self._processes[number]
            if self._stop.is_set():
                return int(code not in STOPPED)
            if code == 0:
                logger.info("worker %d has ended by itself", number)
                return 0
            failures = [*(one for one in failures if clock() - one < WINDOW), clock()]
            if len(failures) >= FAILURES:
                logger.critical(
                    "worker %d ended %d times within %g s, the last time %s; all workers stop",
                    number,
                    FAILURES,
                    WINDOW,
                    _how(code),
                )
                self._stop_all()
                return 1
            delay = DELAY * 2 ** (len(failures) - 1)
            logger.warning(
                "worker %d, process %d, ended %s; it starts again in %g s", number, process.pid, _how(code), delay
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stop.wait()
        return 0

    async def _start(self, number: int) -> asyncio.subprocess.Process:
        environment: Mapping[str, str] = {**os.environ, VARIABLE: f"{number}:{self._read}"}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *sys.orig_argv[1:],
            env=environment,
            cwd=STARTED_IN,
            pass_fds=(self._read,),
            preexec_fn=_ignore_looks,
        )

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait for the end of a process; kill it when it does not stop in time."""
        ended = asyncio.create_task(process.wait())
        stop = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait([ended, stop], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.wait([ended], timeout=STOP)
            if not ended.done():
                logger.error("process %d has not stopped within %g s, and is killed", process.pid, STOP)
                process.kill()
            return await ended
        finally:
            stop.cancel()


def _ignore_looks() -> None:
    """Let a new process miss what it is asked before it can answer, instead of ending."""
    for number in look_signals():
        signal.signal(number, signal.SIG_IGN)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with {code}"
