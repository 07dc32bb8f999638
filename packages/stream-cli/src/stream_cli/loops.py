"""The event loop of a program: uvloop's where it is installed, unless told otherwise."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import cast

from stream_core.errors import MissingPackageError

__all__ = ["LOOPS", "loop_factory"]

LOOPS = ("auto", "aio", "uvloop")
"""What ``--loop`` takes: ``aio`` is that of Python's asyncio, ``auto`` is uvloop where it is installed, else ``aio``."""


def loop_factory(name: str) -> Callable[[], AbstractEventLoop] | None:
    """What makes the event loop, for :class:`asyncio.Runner`; ``None`` for asyncio's own.

    Args:
        name: one of :data:`LOOPS`.

    Raises:
        MissingPackageError: uvloop is named and not installed.
    """
    if name == "aio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError as error:
        if name == "auto":
            return None
        raise MissingPackageError("--loop uvloop needs uvloop: pip install stream-app[uvloop]") from error
    return cast("Callable[[], AbstractEventLoop]", uvloop.new_event_loop)
