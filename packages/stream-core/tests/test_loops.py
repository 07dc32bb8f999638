"""Loops over a stream: one that is left and begun again, lists larger than what may wait, and pipes of what is finished by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime

FORMS: dict[str, Callable[[Stream[Any]], AsyncIterator[Any]]] = {
    "values": aiter,
    "lists": lambda stream: stream.take(1),
    "numbers": lambda stream: stream.enumerate(),
    "by hand": lambda stream: stream.noack().take_events(1),
}


def value_of(item: Any) -> Any:
    """The value in what a loop gives."""
    item = item[-1] if isinstance(item, (list, tuple)) else item
    return getattr(item, "value", item)


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("processed", [False, True])
@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("by hand", "by hand"),
        *((first, again) for first in FORMS for again in FORMS if "by hand" not in (first, again)),
    ],
)
async def test_a_loop_goes_on_where_the_one_before_was_left(
    lab: Lab, first: str, again: str, processed: bool, concurrency: int
) -> None:
    """A body that leaves its loop, by an error that it catches, and begins another one has each event once: none is lost."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        if processed:
            stream.filter(lambda value: True)
        form = first
        while True:
            try:
                async for item in FORMS[form](stream):
                    seen.append(value_of(item))
                    for event in item if form == "by hand" else ():
                        event.ack()
                    if seen[-1] % 3 == 2:
                        raise KeyError
            except KeyError:
                form = again

    lab.put(topic, range(10))
    await lab.start([lab.agent(body, topic, concurrency=concurrency)])
    await lab.caught_up(topic)
    lab.put(topic, range(10, 12))
    await lab.caught_up(topic)
    assert sorted(seen) == list(range(12))
    assert concurrency > 1 or seen == sorted(seen)


async def test_what_an_event_did_counts_when_its_loop_is_left(lab: Lab) -> None:
    """The event at which a loop is left is finished when another loop asks for the next one, with what it has sent."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[Any]) -> None:
        while True:
            async for value in stream:
                await out.send(value)
                break

    lab.put(topic, range(5))
    await lab.start([lab.agent(body, topic)], [out], transactional_id="worker")
    await lab.until(lambda: lab.values(out) == list(range(5)), "each event sent once")


async def test_a_loop_of_before_that_goes_on_is_refused(lab: Lab) -> None:
    """Two loops that take turns would finish each other's events: whoever wrote that is told."""
    topic, told = lab.topic("numbers"), list[str]()

    async def body(stream: Stream[Any]) -> None:
        first, second = aiter(stream), aiter(stream)
        await anext(first)
        await anext(second)
        while True:
            await anext(first)

    agent = lab.agent(body, topic, on_error=lambda agent, error: told.append(str(error)))
    lab.put(topic, range(3))
    await lab.start([agent])
    await lab.until(lambda: bool(told), "the error")
    assert "two loops read one stream at a time" in told[0]


@pytest.mark.parametrize("by_partition", [False, True])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_a_list_is_longer_than_what_may_wait(lab: Lab, concurrency: int, by_partition: bool) -> None:
    """Events that a list waits for are fetched however few may wait otherwise: else it would never be full."""
    topic = lab.topic("numbers")
    seen: list[int] = []

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(50, by_partition=by_partition):
            seen.append(len(values))

    await lab.start([lab.agent(body, topic, concurrency=concurrency)], buffer_maxsize=10)
    for _ in range(50):
        lab.put(topic, range(4))
        await asyncio.sleep(0.2)
    await lab.until(lambda: sum(seen) >= 50 * (4 // concurrency), "full lists")
    assert set(seen) == {50}


async def test_a_list_is_longer_than_its_channel() -> None:
    """Whoever sends to a channel does not wait for a list that waits for what is sent."""
    channel: Channel[Any, Any] = Channel("numbers", maxsize=10)
    lists = channel.stream().take(20)
    reading = asyncio.ensure_future(anext(lists))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        for value in range(25):
            await channel.send(value)
        assert await reading == list(range(20))


@pytest.mark.parametrize("how", ["noack", "topic"])
@pytest.mark.parametrize("keyed", [False, True])
async def test_a_pipe_finishes_what_would_be_finished_by_hand(lab: Lab, how: str, keyed: bool) -> None:
    """The body behind a pipe never has the events in front of it: the pipe acknowledges each when it is sent."""
    topic, between = lab.topic("numbers", acks=how != "topic"), lab.topic("between")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        if how == "noack":
            stream.noack()
        behind = stream.group_by(lambda value: "k", name="k", topic=between) if keyed else stream.through(between)
        async for value in behind:
            seen.append(value)

    lab.put(topic, range(5))
    await lab.start([lab.agent(body, topic)], [between])
    await lab.caught_up(topic, between)
    assert seen == list(range(5))


async def test_on_error_waits_for_what_is_cancelled(lab: Lab) -> None:
    """A cancellation that ``on_error`` raises is an error as any other: the agent goes on."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def on_error(_agent: Agent, _error: BaseException) -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 1:
                raise KeyError(value)

    lab.put(topic, range(4))
    await lab.start([lab.agent(body, topic, on_failure="skip", on_error=on_error)])
    await lab.caught_up(topic)
    assert seen == list(range(4))


async def test_a_list_that_comes_again_is_answered_from_its_first_event(lab: Lab) -> None:
    """The answers to the questions of a list are counted anew in each run of the body: none goes to the question behind its own."""
    topic, answers = lab.topic("numbers"), lab.topic("answers")
    failures: list[int] = []

    async def body(stream: Stream[Any]) -> AsyncIterator[int]:
        async for values in stream.take(2):
            for value in values:
                yield 10 * value
                if not failures:
                    failures.append(value)
                    raise KeyError(value)

    agent = lab.agent(body, topic)
    await lab.start([agent], [answers])
    for value in 1, 2:
        await agent.send(value=value, reply_to="answers", correlation_id=str(value))
    await lab.until(lambda: len(lab.values(answers)) == 3, "an answer before the failure, and two after it")
    given = [(answer["correlation_id"], answer["value"]) for answer in lab.values(answers)]
    assert sorted(given) == [("1", 10), ("1", 10), ("2", 20)]


def test_a_channel_outlives_its_loop() -> None:
    """Whoever waits for room in a channel waits in his own event loop, also in a second one."""
    channel: Channel[Any, Any] = Channel("numbers", maxsize=1)

    async def main() -> list[Any]:
        stream = channel.stream()
        sending = asyncio.ensure_future(send())
        found = [value async for _, value in _some(stream.enumerate(), 5)]
        await sending
        stream.close()
        return found

    async def send() -> None:
        for value in range(5):
            await channel.send(value)

    assert asyncio.run(main()) == asyncio.run(main()) == list(range(5))


async def _some(items: AsyncIterator[tuple[int, Any]], count: int) -> AsyncIterator[tuple[int, Any]]:
    async for number, item in items:
        yield number, item
        if number == count - 1:
            return
