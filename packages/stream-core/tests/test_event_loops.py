"""Which event loop a program gets."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from stream_core.errors import ConfigurationError
from stream_core.event_loops import loop_factory

WITHOUT_UVLOOP = """
import sys
sys.modules["uvloop"] = None
from stream_core.event_loops import loop_factory
print(loop_factory("auto"))
loop_factory("uvloop")
"""


@pytest.mark.parametrize(("name", "module"), [("aio", "asyncio."), ("uvloop", "uvloop"), ("auto", "uvloop")])
def test_a_name_gives_its_loop(name: str, module: str) -> None:
    """uvloop is installed here, so that ``auto`` is it."""
    with asyncio.Runner(loop_factory=loop_factory(name)) as runner:
        assert type(runner.get_loop()).__module__.startswith(module)


def test_a_name_that_is_none() -> None:
    """The error lists those that there are."""
    with pytest.raises(ConfigurationError, match="'fast'; use auto, aio, uvloop"):
        loop_factory("fast")


def test_uvloop_that_is_not_installed() -> None:
    """Whoever names it is told what to install; all others get Python's own."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_UVLOOP], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "None\n"
    assert (
        "MissingPackageError: the event loop uvloop is not installed: pip install 'stream-app[uvloop]'" in done.stderr
    )
