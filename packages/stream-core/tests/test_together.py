"""Running several coroutines as one."""

from __future__ import annotations

import asyncio

import pytest

from stream_core.errors import WorkerError
from stream_core.together import together

pytestmark = pytest.mark.looptime


async def test_all_run_at_once() -> None:
    """None waits for the one before it."""
    met, both = asyncio.Event(), list[str]()

    async def first() -> None:
        await met.wait()
        both.append("first")

    async def second() -> None:
        met.set()
        both.append("second")

    await together([first(), second()])
    assert sorted(both) == ["first", "second"]


async def test_a_failure_is_raised_as_itself() -> None:
    """It cancels the others, and comes in no group."""
    ended = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        await asyncio.sleep(0)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([waiting(), failing()])
    assert ended.is_set()


async def test_what_is_cancelled_is_not_done() -> None:
    """A body that awaits something cancelled has not done its work, and that is told."""
    done = asyncio.Event()

    async def broken() -> None:
        promise = asyncio.get_running_loop().create_future()
        promise.cancel()
        await promise

    async def good() -> None:
        await asyncio.sleep(1)
        done.set()

    with pytest.raises(WorkerError, match="broken was cancelled before it was done"):
        await together([good(), broken()])
    assert done.is_set()


async def test_who_is_cancelled_hears_of_it_as_such() -> None:
    """When the caller is cancelled it is no failure of a body."""
    task = asyncio.create_task(together([asyncio.sleep(1000)]))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
