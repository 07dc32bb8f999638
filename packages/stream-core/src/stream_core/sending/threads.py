"""Sends from other threads, and sends for whose start nobody waits: both happen in the event loop of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from stream_core.primitives import RecordMetadata

__all__ = ["Send", "Sent", "send_in", "send_soon_in"]

T = TypeVar("T")

Send = Callable[[], Awaitable[Awaitable[RecordMetadata]]]
"""Sends a record; what it returns can be awaited for the metadata."""


class Sent:
    """A record that another event loop sends: await it for the metadata, or ask for its :meth:`result` in a thread without a loop.

    Args:
        future: has the metadata, once the record is acknowledged.
    """

    def __init__(self, future: Future[RecordMetadata]) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> RecordMetadata:
        """Wait for the metadata in a thread that has no event loop; up to ``timeout`` seconds. Raises TimeoutError."""
        return self._future.result(timeout)

    def done(self) -> bool:
        """Tell whether it is acknowledged, or has failed."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return asyncio.wrap_future(self._future).__await__()


async def send_in(loop: asyncio.AbstractEventLoop, send: Send) -> Sent:
    """Send in the thread of ``loop``, and return once the record is on its way; raises what ``send`` raises."""
    delivery = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_result(send()), loop))
    return Sent(asyncio.run_coroutine_threadsafe(_result(delivery), loop))


def send_soon_in(loop: asyncio.AbstractEventLoop, send: Send) -> Sent:
    """Send in the thread of ``loop``, from any thread and without waiting; errors of ``send`` are those of the result."""

    async def sent() -> RecordMetadata:
        return await (await send())

    return Sent(asyncio.run_coroutine_threadsafe(sent(), loop))


async def _result(awaitable: Awaitable[T]) -> T:
    return await awaitable
