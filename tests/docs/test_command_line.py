"""The page on the command line shows what its commands print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import read_blocks

ROOT = Path(__file__).parents[2]


def shown() -> list[tuple[str, str]]:
    """The commands of the page that have an output there, and that output."""
    found = []
    for block in read_blocks(ROOT / "docs" / "command-line.md"):
        if block.language == "console":
            for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if output:
                    found.append((command, output))
    return found


@pytest.mark.parametrize(("command", "output"), shown(), ids=lambda text: text.partition("\n")[0])
def test_it_prints_what_the_page_shows(command: str, output: str, tmp_path: Path) -> None:
    """A command that is typed in the directory of the page prints its block; only moments differ."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BROKER_URL": "memory://",
        "APP_DATADIR": str(tmp_path),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    printed = done.stderr if output.startswith("Error: ") else done.stdout
    assert without_moments(printed) == without_moments(output), done.stderr
    assert done.returncode == int(output.startswith("Error: "))


def without_moments(text: str) -> str:
    """The text with each time stamp replaced by the same one."""
    return re.sub(r"timestamp=\S+", "timestamp=...", text)


def test_there_is_something_to_run() -> None:
    """The page has commands with outputs, a mistake among them."""
    assert any(output.startswith("Error: ") for _, output in shown())
    assert sum("timestamp=" in output for _, output in shown()) >= 2
