"""Programs for tests: files of a project, run as processes, and waiting in the same process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["python", "take", "until", "write"]


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write files of a project, by their paths in ``directory``."""
    for name, source in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
    return directory


def python(directory: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in a directory, until it ends."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env={**os.environ, "APP_WEB_ENABLED": "false", "COLUMNS": "120", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.005)


async def take(queue: asyncio.Queue[Any], count: int = 1) -> list[Any]:
    """Wait for so many things that an agent has put aside."""
    async with asyncio.timeout(20):
        return [await queue.get() for _ in range(count)]
