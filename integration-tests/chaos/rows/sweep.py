"""The fault sweep: no broker and no processes, but every call of every port."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from chaos.errors import RowError
from chaos.rows.registry import Row
from chaos.scene import Setup

__all__ = ["ROWS"]

HERE = Path(__file__).parents[2]
"""Where the package ``sweep`` is found."""


async def sweep(setup: Setup) -> None:
    """Whichever call of a port fails in whichever way, nothing is lost or doubled, and workers go on or end by their rule."""
    command = [sys.executable, "-m", "sweep", "--guarantee", setup.guarantee, "--seed", str(setup.seed)]
    command += ["--only", setup.only] if setup.only else ["--pairs", str(setup.pairs)] if setup.pairs else []
    running = await asyncio.create_subprocess_exec(
        *command, cwd=HERE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, said = await running.communicate()
    for line in output.decode().splitlines():
        failed = json.loads(line)
        setup.tally.problems += [failed["reproducer"], *(f"  {problem}" for problem in failed["problems"])]
    setup.tally.note = said.decode().strip().rpartition("\n")[2]
    if running.returncode and not setup.tally.problems:
        raise RowError(f"the sweep ended with code {running.returncode}: {said.decode()[-2000:]}")


ROWS = (Row("sweep", sweep, workers=(2,), broker=False),)
