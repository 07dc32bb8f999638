"""Running several coroutines as one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from stream_core.errors import WorkerError

__all__ = ["together"]


async def together(bodies: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of them at once; the first failure cancels the others and is raised as itself, not in a group.

    Raises:
        WorkerError: one was cancelled, and not the caller: a task group takes that for a good end, though its work is not done.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(body, name=getattr(body, "__qualname__", "a coroutine")) for body in bodies]
    except BaseExceptionGroup as failures:
        first: BaseException = failures
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from None
    for task in tasks:
        if task.cancelled():
            raise WorkerError(
                f"{task.get_name()} was cancelled before it was done: code in it cancelled its own task (raise an error to let it fail), "
                "or what it awaited was cancelled"
            )
