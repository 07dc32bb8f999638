"""The background tasks of an engine: the first that fails is its failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from stream_core.errors import StreamError, WorkerError
from stream_core.runs import Run
from stream_core.stacks import for_its_author

__all__ = ["Background"]

logger = logging.getLogger(__name__)


class Background:
    """Runs tasks and watches them.

    Args:
        on_failure: called with the first error, in the moment in which it is known.
        run: what the tasks belong to: whatever they use finds the engine of this run.

    Attributes:
        failure: has the first error as its result, once there is one.
        name: of what they belong to, for messages.
    """

    def __init__(
        self, on_failure: Callable[[BaseException], None] = lambda error: None, run: Run | None = None
    ) -> None:
        self._on_failure = on_failure
        self._run = run
        self.name = ""
        self.failure: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._dismissed: set[asyncio.Task[Any]] = set()
        self._stopping = False

    def fail(self, error: BaseException, whose: str = "") -> None:
        """Log that the engine cannot go on, whether anybody waits for that or not; the first error is its failure.

        Args:
            error: why.
            whose: names the code of the user that raised it: it is logged with its traceback, whatever it is.
        """
        if self.failure.done():
            logger.warning("after that %s failed, too: %s", whose or "something else", error or type(error).__name__)
            return
        self.failure.set_result(error)
        self._log(error, whose)
        self._on_failure(error)

    def _log(self, error: BaseException, whose: str) -> None:
        expected = isinstance(error, StreamError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        if whose and not isinstance(error, WorkerError):
            reason = f"{whose} failed: {reason}"
        worker = f"the worker of {self.name}" if self.name else "the worker"
        shown = for_its_author(error, logger) if whose or not expected else None
        logger.critical("%s cannot go on: %s", worker, reason, exc_info=shown)

    def spawn(self, body: Coroutine[Any, Any, None], name: str, *, users: bool = False) -> asyncio.Task[None]:
        """Run a coroutine as a watched task.

        Args:
            body: the coroutine.
            name: of the task.
            users: whether it is the code of a user, which is named when it fails.
        """
        context = None if self._run is None else self._run.context()
        return self.watch(asyncio.create_task(body, name=name, context=context), name if users else "")

    def watch(self, task: asyncio.Task[None], whose: str = "") -> asyncio.Task[None]:
        """Watch a task that runs; ``whose`` names it when it runs the code of a user."""
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, whose))
        return task

    def dismiss(self, task: asyncio.Task[None]) -> None:
        """Cancel a watched task that nobody misses: its end is no failure, unless it raises another error."""
        if not task.done():
            self._dismissed.add(task)
            task.cancel()

    async def until(self, event: asyncio.Event) -> None:
        """Wait for an event; raises the failure when that comes first."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait([waiting, self.failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self.failure.done():
            raise self.failure.result()

    @property
    def stopping(self) -> bool:
        """Whether all tasks are cancelled, or were."""
        return self._stopping

    async def stop(self, timeout: float) -> None:
        """Cancel all, and wait for them up to ``timeout`` seconds."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)

    def _ended(self, whose: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        missed = task not in self._dismissed
        self._dismissed.discard(task)
        if not task.cancelled():
            if (error := task.exception()) is not None:
                self.fail(error, whose)
        elif missed and not (
            self._stopping or self.failure.done()
        ):  # nobody would miss it, and its work would never be done
            self.fail(
                WorkerError(
                    f"{task.get_name()} was cancelled while the worker runs: code in it cancelled its own task (raise an error to let it "
                    "fail, return to let it end), or the event loop was ended and the app not stopped before"
                )
            )
