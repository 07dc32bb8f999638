"""One event that becomes several values, or none: it is finished when the body asks for what follows the last of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stream_core.errors import ConfigurationError, Skip
from stream_core.policies import FailurePolicy
from stream_core.streams.iteration import Several
from stream_core.streams.stream import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime

SETTINGS: list[dict[str, Any]] = [{}, {"transactional_id": "worker"}]


def split(value: Any) -> Several:
    """Make as many values of a number: 3 becomes 30, 31, 32."""
    return Several(10 * value + number for number in range(value))


async def no_ones(value: int) -> int:
    """Drop the second value of each event."""
    await asyncio.sleep(0)
    if value % 10 == 1:
        raise Skip
    return value


@pytest.mark.parametrize("form", ["values", "events", "items"])
async def test_an_event_becomes_as_many_values_as_its_processor_makes(lab: Lab, form: str) -> None:
    """None, one, or several; each goes through the steps behind by itself, and all events are committed."""
    topic, got = lab.topic("numbers"), list[Any]()

    async def body(stream: Stream[Any]) -> None:
        stream.add_processor(split).add_processor(no_ones).add_processor(lambda value: value + 0.5)
        values: Any = {"values": stream, "events": stream.events(), "items": stream.items()}[form]
        async for value in values:
            got.append({"values": value, "events": getattr(value, "value", 0), "items": value}[form])

    lab.put(topic, [0, 1, 3, 2])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    expected = [10.5, 30.5, 32.5, 20.5]
    assert got == ([(None, value) for value in expected] if form == "items" else expected)


@pytest.mark.parametrize("concurrency", [1, 3])
@pytest.mark.parametrize("settings", SETTINGS, ids=["at_least_once", "exactly_once"])
async def test_a_failure_in_the_second_of_three_is_one_of_the_whole_event(
    lab: Lab, settings: dict[str, Any], concurrency: int
) -> None:
    """All three come again; under exactly-once what was sent for the first of them is sent once."""
    topic, out, got = lab.topic("numbers"), lab.topic("out"), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(split):
            got.append(value)
            if value == 31 and got.count(31) < 3:
                raise ValueError(value)
            await out.send(value)

    lab.put(topic, [2, 3, 1])
    policy = FailurePolicy.retry(5)
    await lab.start([lab.agent(body, topic, on_failure=policy, concurrency=concurrency)], [out], **settings)
    await lab.caught_up(topic)
    assert [value for value in got if value >= 30] == [30, 31, 30, 31, 30, 31, 32]
    sent = sorted(lab.values(out))
    assert sent == [10, 20, 21, 30, 31, 32] if settings else sent == [10, 20, 21, 30, 30, 30, 31, 32]


@pytest.mark.parametrize("action", ["skip", "dead_letter"])
async def test_an_event_that_is_given_up_is_given_up_with_all_its_values(lab: Lab, action: str) -> None:
    """The third is not worked on, one letter tells of the event, and those behind it go on."""
    topic, got = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(split):
            got.append(value)
            if value == 31:
                raise ValueError(value)

    lab.put(topic, [3, 2])
    await lab.start([lab.agent(body, topic, on_failure=action)])
    await lab.caught_up(topic)
    assert got == [30, 31, 20, 21]
    assert len(lab.records("app-dead-letter")) == 1 if action == "dead_letter" else True


async def test_the_position_waits_for_the_last_value(lab: Lab) -> None:
    """Between two values the event is open: it is neither finished nor committed."""
    topic, asked, go_on = lab.topic("numbers"), asyncio.Event(), asyncio.Event()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(split):
            if value == 31:
                asked.set()
                await go_on.wait()

    lab.put(topic, [2, 3])
    engine = await lab.start([lab.agent(body, topic)])
    await asked.wait()
    await engine.checkpoint()
    committed = lab.committed(topic)
    assert committed is not None
    assert committed.offset == 1
    go_on.set()
    await lab.caught_up(topic)


async def test_lists_have_no_more_values_than_asked_for(lab: Lab) -> None:
    """What does not fit comes in another list of the same event, and all of them are finished together."""
    topic, lists, positions = lab.topic("numbers"), list[list[int]](), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(split).take(2, within=1):
            lists.append(values)
            positions.append(stream.subscription.feeds[0].position)

    lab.put(topic, [1, 0, 5, 1])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert lists == [[10, 50], [51, 52], [53, 54], [10]]
    assert positions == [0, 0, 0, 3]


async def test_a_list_that_fails_between_its_parts_comes_again_as_a_whole(lab: Lab) -> None:
    """Its first part, too."""
    topic, lists = lab.topic("numbers"), list[list[int]]()

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(split).take(2):
            lists.append(values)
            if values == [52, 53] and lists.count(values) < 2:
                raise ValueError(values)

    lab.put(topic, [5])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert lists == [[50, 51], [52, 53], [50, 51], [52, 53], [54]]


async def test_values_are_acknowledged_as_one(lab: Lab) -> None:
    """With ``noack`` the events of all values are the same one to acknowledge."""
    topic, given = lab.topic("numbers"), list[bool]()

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.noack().add_processor(split).events():
            given.append(event.ack())

    lab.put(topic, [3, 0, 1])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert given == [True, False, False, True]


async def test_a_loop_left_between_values_is_not_begun_again(lab: Lab) -> None:
    """It would lose the values that were not had; the error says so."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> None:
        stream.add_processor(split)
        async for _ in stream:
            break
        async for _ in stream:
            pass

    lab.put(topic, [3])
    engine = await lab.start([lab.agent(body, topic)], max_restarts=0)
    failure = await lab.failed(engine)
    assert isinstance(failure.__cause__, ConfigurationError)
    assert "between the values" in str(failure)


async def test_one_event_of_many_values_does_not_keep_the_event_loop(lab: Lab) -> None:
    """Others get a turn between its values, too, when its time is over."""
    topic, others, seen = lab.topic("numbers"), list[int](), list[list[int]]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(split):
            seen.append(list(others))
            asyncio.get_running_loop().call_soon(others.append, value)
            stream.iteration.turn = 0.0

    lab.put(topic, [3])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert seen == [[], [30], [30, 31]]
