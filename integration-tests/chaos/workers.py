"""Worker processes: started, stopped, killed and always ended by their own process id."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chaos.errors import RowError
from chaos.waiting import until

__all__ = ["APP", "EXAMPLES", "INPUT", "PROGRAMS", "Fleet", "Output", "Program", "Worker"]

APP = "bank"
"""The application id of every program, and so the consumer group and the prefix of its changelogs."""

INPUT = "deposits"
"""The input topic of every program."""

PROGRAMS = Path(__file__).parent / "programs"
EXAMPLES = Path(__file__).parents[2] / "examples"
GRACE = 30.0
"""Seconds within which a worker must have ended after SIGTERM."""


@dataclass(frozen=True, slots=True)
class Output:
    """One agent's output: the topic that echoes each deposit and the table that sums the amounts.

    Attributes:
        echo: name of the topic.
        table: name of the table; empty when the agent has none.
        ordered: whether the echoes of an account are in the order of its deposits.
    """

    echo: str = "echo"
    table: str = "totals"
    ordered: bool = True


@dataclass(frozen=True, slots=True)
class Program:
    """A program under test.

    Attributes:
        path: its file.
        outputs: what it writes.
        between: further topics that it reads, which are its own.
        refuses: whether it skips negative amounts.
    """

    path: Path
    outputs: tuple[Output, ...] = (Output(),)
    between: tuple[str, ...] = ()
    refuses: bool = False

    def command(self, number: int) -> list[str]:
        """The command line of worker ``number``: the two documented ways to start one take turns."""
        if number % 2:
            return [sys.executable, str(self.path), "worker"]
        return [str(Path(sys.executable).with_name("stream")), "-A", self.path.stem, "worker"]


@dataclass(slots=True)
class Worker:
    """One worker of the application, through all its restarts.

    Attributes:
        number: its place in the fleet.
        program: what it runs.
        environment: settings as environment variables, for every start.
        log: the file that all its output is appended to.
    """

    number: int
    program: Program
    environment: Mapping[str, str]
    log: Path
    _process: Process | None = None
    _ending: bool = False

    @property
    def running(self) -> bool:
        """Whether the process is there, be it stopped."""
        return self._process is not None and self._process.returncode is None

    @property
    def gave_up(self) -> bool:
        """Whether the process ended though nobody asked it to."""
        return self._process is not None and self._process.returncode is not None and not self._ending

    @property
    def pid(self) -> int:
        """The process id of the present or last process."""
        return self._get().pid

    async def start(self, *, failpoint: str = "", arguments: Sequence[str] = (), **environment: str) -> None:
        """Start the process; does nothing when it runs. ``failpoint`` and ``environment`` are for this start only."""
        if self.running:
            return
        settings = {**os.environ, **self.environment, **environment, "STREAM_FAILPOINT": failpoint}
        command = [*self.program.command(self.number), *arguments]
        with self.log.open("ab") as log:
            log.write(f"--- {' '.join(command)} {failpoint}\n".encode())
            log.flush()
            process = await asyncio.create_subprocess_exec(
                *command, stdout=log, stderr=log, env=settings, cwd=self.program.path.parent, start_new_session=True
            )
        # Together: whoever looks meanwhile must not find that the process before it, which was to end, ended by itself.
        self._process, self._ending = process, False

    def check(self) -> None:
        """Raise RowError when the process ended though nobody asked it to."""
        if self.gave_up:
            raise RowError(f"worker {self.number} ended by itself with code {self._get().returncode}")

    async def exited(self, seconds: float) -> int:
        """Wait until the process ends by itself, which is expected; returns its exit code (-9 when it was killed)."""
        self._ending = True
        try:
            return await asyncio.wait_for(self._get().wait(), seconds)
        except TimeoutError:
            raise RowError(f"worker {self.number} is still running after {seconds:.0f} s") from None

    async def kill(self) -> None:
        """Kill the process as ``kill -9`` does and wait until it is gone."""
        self._send(signal.SIGKILL)
        await self.exited(GRACE)

    def stop(self) -> None:
        """Stop the process where it is (SIGSTOP)."""
        self._send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on (SIGCONT)."""
        self._send(signal.SIGCONT)

    def stopped(self) -> bool:
        """Whether the process is stopped by a signal, its own or ours."""
        return self._status("State").startswith("T")

    def waited(self) -> float:
        """Seconds for which the main thread was ready to run and had no processor."""
        self.check()
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9

    async def terminate(self) -> None:
        """Ask the process to end (SIGTERM) and wait; raises RowError unless it ends in time with code 0."""

        async def handled() -> bool:
            return bool(int(self._status("SigCgt"), 16) >> (signal.SIGTERM - 1) & 1)

        # Before its handler is there the signal ends any process, whatever the program does.
        await until(
            handled, seconds=GRACE, what=lambda: f"worker {self.number} handles SIGTERM", check=self.check, every=0.05
        )
        self._send(signal.SIGTERM)
        if code := await self.exited(GRACE):
            raise RowError(f"worker {self.number} ended with code {code} after SIGTERM")

    async def end(self) -> None:
        """End the process whatever its state; never raises for a process that is gone."""
        if not self.running:
            return
        self.resume()
        await self.kill()

    def output(self) -> str:
        """Everything that the worker wrote so far, in all its lives."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def tail(self, lines: int = 12) -> str:
        """The last lines that the worker wrote."""
        return "\n".join(self.output().splitlines()[-lines:])

    def _send(self, number: signal.Signals) -> None:
        self.check()
        self._ending = self._ending or number in (signal.SIGKILL, signal.SIGTERM)
        self._get().send_signal(number)

    def _status(self, field: str) -> str:
        self.check()
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(value.strip() for name, _, value in (line.partition(":") for line in lines) if name == field)

    def _get(self) -> Process:
        if self._process is None:
            raise RowError(f"worker {self.number} was never started")
        return self._process


@dataclass(slots=True)
class Fleet:
    """The workers of a row, in one consumer group and on one data directory.

    Attributes:
        workers: all of them.
        lives: how often they may end by themselves, to be started again by :meth:`revive`.
        ends: how often they did.
    """

    workers: Sequence[Worker] = field(default_factory=list)
    lives: int = 0
    ends: int = 0

    async def start(self) -> None:
        """Start every worker that is not running."""
        for worker in self.workers:
            await worker.start()

    async def revive(self) -> None:
        """Start workers again that ended by themselves, as whoever looks after them does, as long as there are lives."""
        for worker in self.workers:
            if worker.gave_up and self.lives:
                self.lives -= 1
                self.ends += 1
                await worker.start()

    def check(self) -> None:
        """Raise RowError when a worker ended by itself and has no life left."""
        for worker in self.workers:
            if not self.lives:
                worker.check()

    async def kill(self) -> None:
        """Kill all at once."""
        await asyncio.gather(*(worker.kill() for worker in self.workers))

    async def terminate(self) -> None:
        """End all at once with SIGTERM; raises RowError unless each ends in time with code 0."""
        await asyncio.gather(*(worker.terminate() for worker in self.workers if worker.running))

    async def end(self) -> None:
        """End every process that is left, whatever its state."""
        await asyncio.gather(*(worker.end() for worker in self.workers), return_exceptions=True)
