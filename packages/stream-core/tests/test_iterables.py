"""Streams over plain and asynchronous iterables: they have the operators of any stream, and they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.errors import ConfigurationError
from stream_core.streams.events import current_event
from stream_core.streams.iterables import stream_of
from stream_core.streams.stream import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime


async def slowly(count: int, delay: float = 1.0) -> AsyncIterator[int]:
    """Numbers, with pauses."""
    for number in range(count):
        await asyncio.sleep(delay)
        yield number


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (lambda stream: stream, [0, 1, 2]),
        (lambda stream: stream.items(), [(None, 0), (None, 1), (None, 2)]),
        (lambda stream: stream.enumerate(5), [(5, 0), (6, 1), (7, 2)]),
        (lambda stream: stream.filter(lambda value: value != 1).add_processor(lambda value: value * 2), [0, 4]),
        (lambda stream: stream.take(2), [[0, 1], [2]]),
        (lambda stream: stream.take(2, within=1.5), [[0, 1], [2]]),
        (lambda stream: stream & stream_of([]), [0, 1, 2]),
    ],
    ids=["values", "items", "enumerate", "filter", "take", "take within", "combine with nothing"],
)
@pytest.mark.parametrize("values", [lambda: range(3), lambda: slowly(3)], ids=["plain", "asynchronous"])
async def test_a_finite_stream(values: Callable[[], Any], read: Callable[[Stream[Any]], Any], expected: Any) -> None:
    """The values come in order, through each operator, and then the loop ends."""
    assert [value async for value in read(stream_of(values()))] == expected


async def test_a_body_over_values_of_ones_own(lab: Lab) -> None:
    """An agent is called with a stream of a test's own, without an engine."""

    async def double(stream: Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            yield value * 2

    agent: Any = Agent(double, name="double", topic=lab.topic("numbers"))
    assert [value async for value in agent(stream_of([1, 2, 3]))] == [2, 4, 6]


async def test_values_are_events() -> None:
    """Each value is an event of its own while the loop works on it."""
    seen: list[Any] = []
    stream = stream_of(["a", "b"], "letters")
    async for event in stream.events():
        current = current_event()
        seen.append((event.value, event.message.offset, event.message.topic, current and current.value))
    assert seen == [("a", 0, "letters", "a"), ("b", 1, "letters", "b")]


async def test_values_are_taken_when_they_are_asked_for() -> None:
    """Nothing is read ahead, and what a loop leaves is left to the next one over the iterable."""
    numbers = iter(range(10))
    values: Any = aiter(stream_of(numbers))
    assert [await anext(values), await anext(values)] == [0, 1]
    await values.aclose()
    assert list(numbers) == list(range(2, 10))


async def test_an_iterable_that_fails() -> None:
    """Its error is that of the loop."""

    async def numbers() -> AsyncIterator[int]:
        yield 1
        raise ValueError("no more numbers")

    values = aiter(stream_of(numbers()))
    assert await anext(values) == 1
    with pytest.raises(ValueError, match="no more numbers"):
        await anext(values)


async def test_a_stream_of_an_iterable_has_no_topic() -> None:
    """``through`` and ``group_by`` need topics, and say so."""
    with pytest.raises(ConfigurationError, match=r"through\(\) needs a running app"):
        stream_of([1]).through("other")
