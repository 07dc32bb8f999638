"""What an import of the facade costs: the clients are loaded when something needs them, not before."""

from __future__ import annotations

import subprocess
import sys

import pytest

CLIENTS = ("aiohttp", "aiokafka", "rocksdict")


@pytest.mark.parametrize("module", ["stream_app", "faust"])
def test_the_facade_loads_no_client(module: str) -> None:
    """A fresh interpreter that imports the facade has loaded no Kafka client, web server or store."""
    program = f"import sys, {module}; print(*(name for name in {CLIENTS!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
