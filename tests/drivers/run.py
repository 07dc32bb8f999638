"""Run the tests of the store driver python-rocksdb in an environment of its own that has the library, and say when it cannot be had.

The library is large, has wheels for some Pythons only, and is none that the workspace needs. The environment is made for each run from
``uv.lock``, out of uv's cache, and removed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]

UV = os.environ.get("UV", "uv")
"""`uv run` says where it is."""

LIMIT = 300
"""Seconds for the environment, and again for the tests."""

TESTS = ("packages/stream-tables/tests/test_python_rocksdb.py",)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in an environment with the library; raises TimeoutExpired when it takes too long."""
    options = (
        "--isolated",
        "--frozen",
        "--all-packages",
        "--extra",
        "python-rocksdb",
        "--no-dev",
        "--group",
        "test",
        "--no-build-package",
        "faust-streaming-rocksdb",
    )
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run(
        [UV, "run", "--quiet", *options, *command],
        cwd=ROOT,
        env=environment,
        check=False,
        timeout=LIMIT,
        stderr=subprocess.PIPE,
        text=True,
    )


def main(arguments: Sequence[str]) -> int:
    """Run the tests with these arguments of pytest; returns the exit code, which is 0 where the library cannot be had."""
    try:
        found = run("python", "-c", "import rocksdb")
        reason = found.stderr.strip() if found.returncode else ""
    except subprocess.TimeoutExpired as error:
        reason = str(error)
    if reason:
        print(f"The driver python-rocksdb is not tested: its library cannot be had here ({reason})", flush=True)
        return 0
    print("The tests of the driver python-rocksdb", flush=True)
    try:
        done = run("pytest", "-p", "no:cacheprovider", "-q", *TESTS, *arguments)
    except subprocess.TimeoutExpired as error:
        print(error, flush=True)
        return 1
    print(done.stderr, end="", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
