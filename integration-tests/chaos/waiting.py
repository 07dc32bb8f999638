"""Waiting on conditions, always with a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiokafka.errors import KafkaError

from chaos.errors import RowError

__all__ = ["until"]

T = TypeVar("T")


async def until(
    condition: Callable[[], Awaitable[T | None]],
    *,
    seconds: float,
    what: Callable[[], str],
    check: Callable[[], None] = lambda: None,
    every: float = 0.25,
) -> T:
    """Ask again and again until the answer is neither ``None`` nor false.

    Args:
        condition: what to ask; an answer that the broker could not give (it may be down) counts as not yet.
        seconds: deadline in seconds.
        what: says what was waited for, with the last numbers seen, when the deadline has passed.
        check: called before each attempt; raises when waiting on is pointless.
        every: pause between two attempts in seconds.

    Returns:
        the first answer that is neither ``None`` nor false.

    Raises:
        RowError: the deadline has passed.
    """
    end = time.monotonic() + seconds
    failure = ""
    while True:
        check()
        try:
            async with asyncio.timeout(max(end - time.monotonic(), 1.0)):
                if answer := await condition():
                    return answer
            failure = ""
        except (KafkaError, TimeoutError, OSError) as error:
            failure = f" (last attempt: {error!r})"
        if time.monotonic() >= end:
            raise RowError(f"not within {seconds:.0f} s: {what()}{failure}")
        await asyncio.sleep(every)
