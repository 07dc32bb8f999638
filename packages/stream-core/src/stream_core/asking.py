"""Many questions at once: what ``map``, ``join`` and their kin of agents do."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, TypeVar

from stream_core.replies import ReplyPromise

__all__ = ["answers_as_they_come", "answers_in_order"]

T = TypeVar("T")

WINDOW = 1000
"""Questions that may wait for an answer at a time."""

Ask = Callable[[T], Awaitable[ReplyPromise]]
"""Sends one question."""


async def answers_as_they_come(questions: AsyncIterable[T] | Iterable[T], ask: Ask[T]) -> AsyncIterator[Any]:
    """Ask all, and yield the answers in the order in which they come; raises what the first failed question raises."""
    waiting: set[asyncio.Future[Any]] = set()
    try:
        async for question in _each(questions):
            waiting.add(asyncio.ensure_future(_answer(await ask(question))))
            while len(waiting) >= WINDOW:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for answer in done:
                    yield answer.result()
        for answer in asyncio.as_completed(waiting):
            yield await answer
    finally:
        for left in waiting:
            left.cancel()


async def answers_in_order(questions: AsyncIterable[T] | Iterable[T], ask: Ask[T]) -> list[Any]:
    """Ask all, and return the answers in the order of the questions."""
    answers: list[Any] = []
    waiting: deque[ReplyPromise] = deque()
    async for question in _each(questions):
        waiting.append(await ask(question))
        if len(waiting) >= WINDOW:
            answers.append(await waiting.popleft())
    answers += [await promise for promise in waiting]
    return answers


async def _answer(promise: ReplyPromise) -> Any:
    return await promise


async def _each(questions: AsyncIterable[T] | Iterable[T]) -> AsyncIterator[T]:
    if isinstance(questions, AsyncIterable):
        async for question in questions:
            yield question
    else:
        for question in questions:
            yield question
