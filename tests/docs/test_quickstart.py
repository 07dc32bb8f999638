"""The programs of the quickstart run as they are printed, each in a file of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import Block, read_blocks

BLOCKS = read_blocks(Path(__file__).parents[2] / "docs" / "quickstart.md")
PROGRAMS = [block for block in BLOCKS if block.language == "python"]
PRINTED = [block for block in BLOCKS if block.language == "output"]


@pytest.mark.parametrize(
    ("program", "output"), list(zip(PROGRAMS, PRINTED, strict=True)), ids=["greetings", "deposits"]
)
def test_a_step_runs_as_it_is_printed(program: Block, output: Block, tmp_path: Path) -> None:
    """Saved and started, the program prints what stands below it, and ends."""
    file = tmp_path / "program.py"
    file.write_text(program.text)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        cwd=tmp_path,
        env=os.environ | {"APP_WEB_ENABLED": "false"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == (output.text, 0), done.stderr
