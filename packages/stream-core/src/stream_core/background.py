"""The background tasks of an engine: the first that fails is its failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["Background"]


class Background:
    """Runs tasks and watches them.

    Args:
        on_failure: called with the first error, in the moment in which it is known.

    Attributes:
        failure: has the first error as its result, once there is one.
    """

    def __init__(self, on_failure: Callable[[BaseException], None] = lambda error: None) -> None:
        self._on_failure = on_failure
        self.failure: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()

    def fail(self, error: BaseException) -> None:
        """The engine cannot go on."""
        if not self.failure.done():
            self.failure.set_result(error)
            self._on_failure(error)

    def spawn(self, body: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run a coroutine as a watched task."""
        return self.watch(asyncio.create_task(body, name=name))

    def watch(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        """Watch a task that runs."""
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def until(self, event: asyncio.Event) -> None:
        """Wait for an event; raises the failure when that comes first."""
        waiting = asyncio.ensure_future(event.wait())
        await asyncio.wait([waiting, self.failure], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self.failure.done():
            raise self.failure.result()

    async def stop(self, timeout: float) -> None:
        """Cancel all, and wait for them up to ``timeout`` seconds."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)
