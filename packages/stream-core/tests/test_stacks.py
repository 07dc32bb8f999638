"""Where a coroutine waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from stream_core.stacks import waiting_in


async def innermost() -> None:
    """Waits for ever."""
    await asyncio.Event().wait()


async def body() -> None:
    """Waits one level up."""
    await innermost()


async def numbers() -> AsyncIterator[int]:
    """Waits before it yields anything."""
    await innermost()
    yield 1


async def test_every_level_is_named() -> None:
    """Function by function, with file and line, down to the library's."""
    coroutine = body()
    task = asyncio.ensure_future(coroutine)
    await asyncio.sleep(0)
    levels = waiting_in(coroutine).split(" > ")
    assert [level.rsplit(" ", 1)[1] for level in levels] == ["body", "innermost", "wait"]
    assert "test_stacks.py:" in levels[0]
    task.cancel()


async def test_generators() -> None:
    """A body that yields is an asynchronous generator."""
    generator = numbers()
    task = asyncio.ensure_future(anext(generator))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert " numbers > " in waiting_in(generator)
    task.cancel()


def test_nothing_to_tell() -> None:
    """What is over, or no coroutine at all, waits nowhere."""
    assert waiting_in(None) == "nowhere"
    assert waiting_in(object()) == "nowhere"
