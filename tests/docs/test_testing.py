"""Projects with tests of whole apps: that of the examples, and the one that `stream new` writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "testing"


def pytest_in(directory: Path, *options: str) -> str:
    """Run the tests of a project with no plugin but ours, and return what it prints; it must succeed."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-m",
            "pytest",
            "-p",
            "stream_pytest",
            "-p",
            "no:cacheprovider",
            "-q",
            *options,
        ],
        cwd=directory,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_tests_of_the_example_pass() -> None:
    """As its README says, without a broker."""
    assert "9 passed" in pytest_in(EXAMPLE)


def test_a_new_project_is_tested_without_a_broker(tmp_path: Path) -> None:
    """From nothing to an app with tests: `stream new`, then pytest."""
    done = subprocess.run(
        [sys.executable, "-m", "stream_cli", "new", "my-shop"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "3 passed" in pytest_in(tmp_path / "my-shop")
