"""Running a coroutine in the event loop to which something belongs, from whichever loop and thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from stream_core.errors import ConfigurationError

__all__ = ["run_in"]


async def run_in(loop: asyncio.AbstractEventLoop, body: Callable[[], Coroutine[Any, Any, None]], what: str) -> None:
    """Run a coroutine in ``loop``, and wait for it.

    Args:
        loop: where it runs.
        body: makes the coroutine.
        what: names what lives in that loop, for the message.

    Raises:
        ConfigurationError: that loop does not run any more.
    """
    if loop is asyncio.get_running_loop():
        await body()
    elif loop.is_running():
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(body(), loop))
    else:
        raise ConfigurationError(
            f"the event loop of {what} has ended, and it was not stopped before: stop it in the loop in which it was started"
        )
