"""The benchmarks run from end to end; what they measure at this size means nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROWS = ("consume", "filter", "latency", "count", "count_million", "exactly_once", "first_event", "rebuild", "reopen")


def test_every_row_is_measured(bootstrap: str) -> None:
    """``--quick`` runs every program of ours once, checks what came out of it, and prints a line for each row."""
    command = [sys.executable, "-m", "benchmarks", "--quick", "--ours", "--broker", f"kafka://{bootstrap}"]

    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)

    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert all(any(f" {row} " in line for line in lines) for row in ROWS), ran.stdout
