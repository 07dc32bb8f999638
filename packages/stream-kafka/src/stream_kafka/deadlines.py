"""Wait for a broker, but never without bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from stream_core.errors import DeadlineError, StreamError
from stream_kafka.errors import is_retriable, translate

__all__ = ["abandon", "attempt", "boottime", "quietly", "why_ended", "within"]

T = TypeVar("T")

_abandoned: set[asyncio.Future[Any]] = set()
_CLOCK: int | None = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Return seconds on a clock that goes on while the process is stopped or the machine sleeps, where there is one."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


async def within(seconds: float, awaitable: Awaitable[T], doing: str) -> T:
    """Await something of the client, at most ``seconds``.

    The client's own coroutines may swallow a cancellation or hang in it. So they run as a task of their own, and one that is
    late is cancelled and left behind instead of waited for.

    Args:
        seconds: the deadline.
        awaitable: what to wait for.
        doing: what it does, for the message.

    Raises:
        DeadlineError: there was no answer in time.
        StreamError: what the client raised, translated.
    """
    task = asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait((task,), timeout=max(0.0, seconds))
    finally:
        abandon(task)
    if not task.done() or task.cancelled():
        raise DeadlineError(f"{doing}: no answer within {seconds:.3g} s; is the broker reachable?")
    error = task.exception()
    if error is not None:
        raise translate(error, doing)
    return task.result()


async def attempt(
    seconds: float,
    request: Callable[[], Coroutine[Any, Any, T]],
    doing: str,
    *,
    backoff: float = 0.1,
    failed: Callable[[BaseException], None] | None = None,
) -> T:
    """Repeat a request until it succeeds, fails for good, or ``seconds`` have passed.

    Args:
        seconds: the deadline of all attempts together.
        request: makes one attempt.
        doing: what it does, for the message.
        backoff: seconds between attempts.
        failed: called with each error that will be retried.

    Raises:
        DeadlineError: no attempt succeeded in time; the last error is its cause.
        StreamError: what the client raised, translated.
    """
    end = time.monotonic() + seconds
    last: BaseException | None = None
    while (left := end - time.monotonic()) > 0:
        try:
            return await within(left, request(), doing)
        except StreamError as error:
            cause = error.__cause__
            if cause is None and isinstance(error, DeadlineError):
                break
            if cause is None or not is_retriable(cause):
                raise
            last = cause
        if failed is not None:
            failed(last)
        await asyncio.sleep(min(backoff, max(0.0, end - time.monotonic())))
    reason = f"; the last answer was: {last}" if last is not None else "; is the broker reachable?"
    raise DeadlineError(f"{doing}: not done within {seconds:.3g} s{reason}") from last


async def quietly(seconds: float, awaitable: Awaitable[object], doing: str) -> None:
    """Await a step of closing for at most ``seconds``, and pass over its failure."""
    with suppress(StreamError):
        await within(seconds, awaitable, doing)


def abandon(task: asyncio.Future[Any]) -> None:
    """Cancel a task without waiting for it; whatever it has raised, or still raises, is dropped."""
    if task.done():
        _drop(task)
        return
    task.cancel()
    _abandoned.add(task)
    task.add_done_callback(_drop)


def _drop(task: asyncio.Future[Any]) -> None:
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()


def why_ended(task: asyncio.Future[Any]) -> str:
    """Say why a background task that should run for ever has ended."""
    if task.cancelled():
        return "it was cancelled"
    error = task.exception()
    return f"{error!r}" if error is not None else "it returned"
