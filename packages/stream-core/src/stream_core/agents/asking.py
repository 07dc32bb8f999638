"""Many questions at once: what ``map``, ``join`` and their kin of agents do.

A task asks while the answers come in, so that questions may come from an endless iterable.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from stream_core.agents.replies import ReplyPromise
from stream_core.errors import NoReplyError
from stream_core.streams.iterables import each

__all__ = ["Ask", "Questions"]

T = TypeVar("T")

WINDOW = 1000
"""Questions that may wait for an answer at a time."""

Ask = Callable[[T], Awaitable[ReplyPromise]]
"""Sends the question about one value."""


class Questions(Generic[T]):
    """The questions of one call, which is made once.

    Args:
        values: what to ask about, from a plain or an asynchronous iterable.
        ask: sends the question about one of them.
        timeout: seconds that may pass without any answer, while there are questions without one.
        whom: who is asked, for the error.
    """

    def __init__(self, values: AsyncIterable[T] | Iterable[T], ask: Ask[T], timeout: float, whom: str) -> None:
        self._values = values
        self._ask = ask
        self._timeout = timeout
        self._whom = whom
        self._room = asyncio.Semaphore(WINDOW)
        self._open: dict[ReplyPromise, int] = {}
        self._answered: asyncio.Queue[ReplyPromise | None] = asyncio.Queue()
        self._moved = 0.0

    async def as_they_come(self) -> AsyncGenerator[Any, None]:
        """Ask all, and yield the answers in the order in which they come; raises what the first failed question raises."""
        async with aclosing(self._numbered()) as answers:
            async for _, answer in answers:
                yield answer

    async def in_order(self) -> list[Any]:
        """Ask all, and return the answers in the order of the questions; raises what the first failed question raises."""
        async with aclosing(self._numbered()) as answers:
            found = {number: answer async for number, answer in answers}
        return [found[number] for number in range(len(found))]

    async def _numbered(self) -> AsyncGenerator[tuple[int, Any], None]:
        """Give each answer with the number of its question, in the order of their arrival."""
        asking = asyncio.create_task(self._ask_all(), name=f"questions to {self._whom}")
        asking.add_done_callback(lambda _: self._answered.put_nowait(None))
        try:
            while self._open or not asking.done():
                promise = await self._next()
                if promise is None:
                    await asking  # raises what a question, or the iterable, has raised
                    continue
                number = self._open.pop(promise)
                self._room.release()
                yield number, await promise
            await asking
        finally:
            asking.cancel()
            await asyncio.wait([asking])
            for left in self._open:
                left.cancel()

    async def _ask_all(self) -> None:
        """Ask one question after the other, as many at a time as there is room for."""
        number = 0
        async for value in each(self._values):
            await self._room.acquire()
            promise = await self._ask(value)
            self._open[promise] = number
            self._moved = asyncio.get_running_loop().time()
            promise.when_done(self._answered.put_nowait)
            number += 1

    async def _next(self) -> ReplyPromise | None:
        """Wait for the next promise that is answered; return ``None`` once all is asked. Raises NoReplyError."""
        clock = asyncio.get_running_loop().time
        self._moved = clock()
        while True:
            due = self._moved + self._timeout if self._open else clock() + self._timeout
            try:
                async with asyncio.timeout_at(due):
                    return await self._answered.get()
            except TimeoutError:
                if self._open and clock() >= self._moved + self._timeout:
                    raise NoReplyError(
                        f"agent {self._whom} has answered none of {len(self._open)} questions within {self._timeout:g} s: look whether "
                        "a worker runs it and whether it yields a value for each event, or give another timeout="
                    ) from None
