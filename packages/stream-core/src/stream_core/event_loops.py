"""The event loop of a program: uvloop's where it is installed, unless told otherwise."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import cast

from stream_core.errors import ConfigurationError, MissingPackageError

__all__ = ["LOOPS", "loop_factory"]

LOOPS = ("auto", "aio", "uvloop")
"""The names of event loops: ``aio`` is that of Python's asyncio, ``auto`` is uvloop where it is installed, else ``aio``."""


def loop_factory(name: str = "auto") -> Callable[[], AbstractEventLoop] | None:
    """Return what makes the event loop, for :class:`asyncio.Runner`; ``None`` for asyncio's own.

    Args:
        name: one of :data:`LOOPS`.

    Raises:
        ConfigurationError: the name is another.
        MissingPackageError: uvloop is named and not installed.
    """
    if name not in LOOPS:
        raise ConfigurationError(f"there is no event loop {name!r}; use {', '.join(LOOPS)}")
    if name == "aio":
        return None
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ImportError as error:
        if name == "auto":
            return None
        raise MissingPackageError("the event loop uvloop is not installed: pip install 'stream-app[uvloop]'") from error
    return cast("Callable[[], AbstractEventLoop]", uvloop.new_event_loop)
