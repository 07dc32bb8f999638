"""Nothing waits for a broker without bound."""

from __future__ import annotations

import asyncio
import gc

import aiokafka.errors as kafka
import pytest

from stream_core.errors import DeadlineError, FencedError, TransportError
from stream_kafka.deadlines import attempt, quietly, within

SOON = 0.02


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _stubborn(cancelled: list[str]) -> None:
    """As a coroutine of the client that waits on after it was cancelled."""
    while True:
        try:
            await _never()
        except asyncio.CancelledError:
            cancelled.append("cancelled")
            if len(cancelled) > 1:
                raise


async def test_a_late_answer_is_a_deadline_error() -> None:
    """The error says what was going on and how long it was waited for."""
    with pytest.raises(DeadlineError, match=r"asking: no answer within 0.02 s"):
        await within(SOON, _never(), "asking")


async def test_what_ignores_its_cancellation_is_left_behind() -> None:
    """A coroutine that swallows the cancellation does not hold up its caller."""
    cancelled: list[str] = []
    task = asyncio.create_task(_stubborn(cancelled))
    async with asyncio.timeout(5):
        with pytest.raises(DeadlineError):
            await within(SOON, task, "asking")
    await asyncio.sleep(0)
    assert cancelled == ["cancelled"]
    task.cancel()
    await asyncio.wait((task,))


async def test_errors_of_the_client_are_translated() -> None:
    """Callers see errors of Stream only."""

    async def fail() -> None:
        raise kafka.IllegalGenerationError

    with pytest.raises(FencedError, match=r"^committing: ") as raised:
        await within(5, fail(), "committing")
    assert isinstance(raised.value.__cause__, kafka.IllegalGenerationError)


async def test_cancelling_the_waiter_abandons_the_request() -> None:
    """A cancelled caller leaves at once, and its request with it."""
    request = asyncio.create_task(_never())
    waiter = asyncio.create_task(within(60, request, "asking"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait((waiter, request), timeout=5)

    assert waiter.cancelled()
    assert request.cancelled()


async def test_retriable_errors_are_tried_again() -> None:
    """Attempts go on until one succeeds, and each failure is told."""
    answers: list[type[BaseException] | None] = [kafka.NotCoordinatorForGroupError, kafka.KafkaConnectionError, None]
    failures: list[BaseException] = []

    async def ask() -> str:
        answer = answers.pop(0)
        if answer is not None:
            raise answer
        return "done"

    assert await attempt(5, ask, "asking", backoff=0, failed=failures.append) == "done"
    assert [type(failure) for failure in failures] == [kafka.NotCoordinatorForGroupError, kafka.KafkaConnectionError]


async def test_final_errors_are_not_tried_again() -> None:
    """An error that will not go away ends the attempts."""
    calls = 0

    async def ask() -> None:
        nonlocal calls
        calls += 1
        raise kafka.TopicAuthorizationFailedError

    with pytest.raises(TransportError):
        await attempt(5, ask, "asking", backoff=0)
    assert calls == 1


async def test_attempts_end_at_the_deadline_with_the_last_answer() -> None:
    """The error of the deadline says what the broker said last."""

    async def ask() -> None:
        raise kafka.NotCoordinatorForGroupError

    with pytest.raises(DeadlineError, match="NotCoordinator"):
        await attempt(SOON, ask, "asking", backoff=0.001)


async def test_closing_neither_fails_nor_hangs() -> None:
    """Steps of closing are bounded, and what they raise is dropped."""

    async def fail() -> None:
        raise RuntimeError("connection gone")

    async with asyncio.timeout(5):
        await quietly(SOON, _never(), "closing")
        await quietly(SOON, fail(), "closing")


async def test_a_failure_in_the_turn_of_a_cancellation_is_not_left_behind() -> None:
    """Whoever waits is cancelled while what he waited for fails: nobody will ask for that failure, and nothing complains of it."""
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
    failing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(within(5, failing, "waiting"))
    await asyncio.sleep(0)
    failing.set_exception(RuntimeError("too late"))
    waiting.cancel()
    await asyncio.wait((waiting,))
    assert waiting.cancelled()
    del failing, waiting
    gc.collect()
    assert not complaints
