"""Worker processes for tests: started, read line by line, and always ended by their own id."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["PATIENCE", "Worker", "run", "until"]

PATIENCE = 60.0
"""Seconds after which a test gives up on a process."""


@dataclass
class Worker:
    """A worker process, and what it has said so far on both of its outputs."""

    process: Process
    lines: list[str] = field(default_factory=list)

    async def said(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches; lines that were read before do not count."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        raise AssertionError(f"the worker ended without saying {pattern!r}:\n{self.log}")

    async def url(self) -> str:
        """Wait for the web server, and return where it is."""
        return (await self.said(r"listens on (http://\S+)"))[1]

    async def exit(self) -> int:
        """Wait until the process ends; returns its exit code."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            self.lines.append((await self.process.stdout.read()).decode())
            return await self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def terminate(self) -> int:
        """Ask the process to end; returns its exit code."""
        self.signal(signal.SIGTERM)
        return await self.exit()

    @property
    def log(self) -> str:
        """What was read so far."""
        return "".join(self.lines)


@asynccontextmanager
async def run(program: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> AsyncIterator[Worker]:
    """A process of a program in its own directory; it is killed when it still runs at the end of the block.

    Args:
        program: a Python file.
        arguments: of its command line.
        environ: variables over those of the tests, less what configures web servers.
    """
    given = {name: value for name, value in os.environ.items() if not name.endswith(("WEB_PORT", "WEB_ENABLED"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(program), *arguments),
        cwd=program.parent,
        env={**given, **(environ or {})},
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
    )
    try:
        yield Worker(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds in this process; raises TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.02)
