"""Calls into the event loop of an app, from other threads and from other event loops.

An app is driven by one event loop, and what it has is touched there only. So what is called elsewhere is run in that loop, and waited for
where it was called. Whoever waits hears of the end in every case: also when the loop is ended, and what runs in it is cancelled or
never begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar

from stream_core.errors import ConfigurationError, WorkerError

__all__ = ["Call", "act_in", "call_in", "is_here", "run_in"]

T = TypeVar("T")

LOOK = 0.5
"""Seconds after which whoever waits looks whether the event loop still runs."""


class Call(Generic[T]):
    """What runs in another event loop: await it, or ask for its :meth:`result` in a thread without a loop.

    Whoever stops waiting cancels nothing: it may be awaited again, and by several.

    Args:
        loop: where it runs.
        future: has its result.
        what: names what lives in that loop, for messages.
        unheard: is called with the error of a call for whose result nobody has asked, once nobody can.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        future: Future[T],
        what: str,
        unheard: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._loop = loop
        self._future = future
        self._what = what
        self._unheard = unheard
        self._stands = False

    def __del__(self) -> None:
        if (unheard := self._unheard) is not None:

            def look(future: Future[T]) -> None:
                if not future.cancelled() and (error := future.exception()) is not None:
                    unheard(error)

            self._future.add_done_callback(look)

    def done(self) -> bool:
        """Tell whether it has ended, with a result or an error."""
        return self._future.done()

    def cancel(self) -> None:
        """Cancel what runs. Whoever awaits it gets asyncio.CancelledError, and :meth:`result` raises the one of concurrent.futures."""
        self._future.cancel()

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result in a thread that has no event loop.

        Args:
            timeout: seconds to wait; ``None`` waits as long as it takes.

        Raises:
            TimeoutError: the time is over. What runs goes on.
            WorkerError: the event loop has ended before.
            ConfigurationError: this is the thread of that event loop, which would wait for itself.
        """
        self._unheard = None
        if not self.done() and is_here(self._loop):
            raise ConfigurationError(
                f"result() would keep the event loop of {self._what} from its work: await it instead"
            )
        end = None if timeout is None else time.monotonic() + timeout
        while not self.done():
            left = LOOK if end is None else min(LOOK, end - time.monotonic())
            try:
                return self._future.result(max(left, 0.0))
            except TimeoutError:
                if self.done():  # it is its own error
                    break
                if end is not None and time.monotonic() >= end:
                    raise
            self._look()
        return self._future.result()

    def __await__(self) -> Generator[Any, None, T]:
        self._unheard = None
        return self._wait().__await__()

    async def _wait(self) -> T:
        """Wait in another event loop, looking now and then whether the loop that works is still there."""
        if not self.done():
            arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            here = arrival.get_loop()

            def wake() -> None:
                if not arrival.done():
                    arrival.set_result(None)

            def arrived(_: Future[T]) -> None:
                with suppress(RuntimeError):  # nobody waits any more, not even a loop
                    here.call_soon_threadsafe(wake)

            self._future.add_done_callback(arrived)
            while not self.done():
                await asyncio.wait([arrival], timeout=LOOK)
                if not self.done():
                    self._look()
        if self._future.cancelled():  # the error of its own kind would be one that nobody in an event loop expects
            raise asyncio.CancelledError
        return self._future.result()

    def _look(self) -> None:
        """End the wait when the event loop is closed, or stood still twice: nothing will ever come from it."""
        if self._loop.is_running():
            self._stands = False
        elif self._stands or self._loop.is_closed():
            with suppress(InvalidStateError):
                self._future.set_exception(ended(self._what))
        else:
            self._stands = True


def ended(what: str) -> WorkerError:
    """Make the error of whoever waits for an event loop that has ended."""
    return WorkerError(
        f"the event loop of {what} has ended before there was a result: stop the app, and what uses it before that"
    )


def is_here(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether this code runs in ``loop``; false in a thread without a loop."""
    return asyncio._get_running_loop() is loop


def act_in(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Do something small in ``loop``: at once, soon when this is another one, and never when it is closed."""
    if is_here(loop):
        act()
    else:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(act)


def call_in(
    loop: asyncio.AbstractEventLoop,
    body: Callable[[], Awaitable[T]],
    what: str,
    unheard: Callable[[BaseException], None] | None = None,
) -> Call[T]:
    """Run a coroutine in ``loop``, from any thread, without waiting.

    Args:
        loop: where it runs.
        body: makes what is awaited there.
        what: names what lives in that loop, for messages.
        unheard: is called with an error for which nobody has asked.

    Raises:
        ConfigurationError: that loop does not run.
    """
    future: Future[T] = Future()

    def begin() -> None:
        if not future.cancelled():
            task = loop.create_task(_result(body))
            task.add_done_callback(finish)
            future.add_done_callback(lambda _: act_in(loop, task.cancel))

    def finish(task: asyncio.Task[T]) -> None:
        with suppress(InvalidStateError):  # whoever called it has cancelled it
            if task.cancelled() and not task.cancelling():  # what it awaited was cancelled, such as a promise
                future.cancel()
            elif task.cancelled():
                future.set_exception(ended(what))
            elif (error := task.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(task.result())

    if not loop.is_running():
        raise ConfigurationError(
            f"the event loop of {what} has ended, or stands still between two runs: stop it in the loop in which it was started, and use "
            "it while that loop runs"
        )
    loop.call_soon_threadsafe(begin)
    return Call(loop, future, what, unheard)


async def _result(body: Callable[[], Awaitable[T]]) -> T:
    return await body()


async def run_in(loop: asyncio.AbstractEventLoop, body: Callable[[], Awaitable[T]], what: str) -> T:
    """Run a coroutine in ``loop``, wherever this is called, and wait for it; who cancels this cancels the coroutine.

    Args:
        loop: where it runs.
        body: makes what is awaited there.
        what: names what lives in that loop, for messages.

    Raises:
        ConfigurationError: that loop does not run.
        WorkerError: that loop has ended meanwhile.
    """
    if is_here(loop):
        return await body()
    call = call_in(loop, body, what)
    try:
        return await call
    except asyncio.CancelledError:
        call.cancel()
        raise
