"""Terminals for tests: commands are typed in a directory, as processes, and a project to type them in."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from processes import PATIENCE, Worker

__all__ = ["NO_BROKER", "STREAM", "Answer", "Terminal", "terminal", "write_project"]

PYTHON = sys.executable
STREAM = (PYTHON, "-m", "stream_cli")
PROGRAMS = {"python": (PYTHON,), "stream": STREAM}
"""What the words of a command line are here: those of the environment that the tests run in."""

NO_BROKER = "kafka://127.0.0.1:1"

PROJECT = {
    "__init__": "",
    "__main__": "from proj.app import app\n\napp.main()\n",
    "app": "import stream_app as faust\n\napp = faust.App({id!r}, origin='proj', autodiscover=True, topic_partitions=1)\n",
    "models": "import stream_app as faust\n\n\nclass Deposit(faust.Record):\n    account: str\n    amount: int\n",
    "agents": """
from proj.app import app
from proj.models import Deposit

deposits = app.topic({topic!r}, key_type=str, value_type=Deposit)
totals = app.Table("totals", default=int, help="What each account has.")


@app.agent(deposits)
async def count(stream):
    '''Count deposits.

    By account.
    '''
    async for deposit in stream:
        totals[deposit.account] += deposit.amount
        print(f"{{deposit.account}} has {{totals[deposit.account]}}")
""",
}


@dataclass(frozen=True)
class Answer:
    """What a command did."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Terminal:
    """Where commands are typed: a directory, with a broker and a data directory in the environment."""

    directory: Path
    environment: dict[str, str]

    async def type(self, program: str, *arguments: str, stdin: bytes = b"") -> Answer:
        """Run a command to its end."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAMS[program],
            *arguments,
            cwd=self.directory,
            env=self.environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Answer(process.returncode, out.decode(), err.decode())

    @asynccontextmanager
    async def worker(self, program: str, *arguments: str) -> AsyncIterator[Worker]:
        """Run a worker, from the moment when it is ready to the end of the block; what it prints goes through a pipe."""
        process = await asyncio.create_subprocess_exec(
            *PROGRAMS[program],
            *arguments,
            cwd=self.directory,
            env=self.environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            worker = Worker(process)
            await worker.said("is ready")
            yield worker
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()


def terminal(directory: Path, broker: str, data: Path) -> Terminal:
    """A terminal in a directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("APP_", "PYTHONUNBUFFERED"))}
    added = {"BROKER_URL": broker, "APP_DATADIR": str(data), "APP_WEB_ENABLED": "false"}
    return Terminal(directory, kept | added)


def write_project(directory: Path, id_: str, topic: str) -> Terminal:
    """A project of several modules, as a package with a ``__main__``."""
    (directory / "proj").mkdir()
    for name, text in PROJECT.items():
        (directory / "proj" / f"{name}.py").write_text(text.format(id=id_, topic=topic) if "{" in text else text)
    return terminal(directory, NO_BROKER, directory / "data")
