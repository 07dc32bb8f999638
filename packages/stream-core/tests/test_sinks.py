"""Sinks: where the values go that a body yields, and what happens when one fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream_core.errors import ConfigurationError
from stream_core.primitives import Offset
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime


async def double(stream: Stream[int]) -> AsyncIterator[int]:
    """Yield twice the value."""
    async for value in stream:
        yield value * 2


async def test_every_kind_of_sink(lab: Lab) -> None:
    """Topics, channels, and functions, sync or async, get each value, in the order they were given."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    channel = Channel[Any, Any]("c")
    got: list[Any] = []
    received: list[Any] = []

    async def later(value: int) -> None:
        await asyncio.sleep(1)
        got.append(("async", value))

    async def listen(stream: Stream[int]) -> None:
        async for value in stream:
            received.append(value)

    lab.put(topic, [1, 2])
    agent = lab.agent(double, topic, sink=[lambda value: got.append(("sync", value)), later, out, channel])
    await lab.start([agent, lab.agent(listen, channel)], [out])
    await lab.caught_up(topic)
    assert got == [("sync", 2), ("async", 2), ("sync", 4), ("async", 4)]
    assert lab.values(out) == received == [2, 4]


async def test_add_sink(lab: Lab) -> None:
    """A sink can be added later, once; it gets what is yielded from then on."""
    topic = lab.topic("numbers")
    got: list[int] = []
    agent = lab.agent(double, topic)
    await lab.start([agent])
    lab.put(topic, [1])
    await lab.caught_up(topic)
    agent.add_sink(got.append)
    agent.add_sink(got.append)
    lab.put(topic, [2])
    await lab.caught_up(topic)
    assert got == [4]


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_sink_that_fails(lab: Lab, exactly_once: bool) -> None:
    """Its error is one of the event: that comes again; under exactly-once nothing had gone to the sinks before it."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    failed: list[int] = []

    def fail_once(value: int) -> None:
        if value == 4 and not failed:
            failed.append(value)
            raise ValueError(value)

    lab.put(topic, [1, 2, 3])
    transactional = "worker" if exactly_once else None
    await lab.start([lab.agent(double, topic, sink=[out, fail_once])], [out], transactional_id=transactional)
    await lab.caught_up(topic)
    assert lab.values(out) == ([2, 4, 6] if exactly_once else [2, 4, 4, 6])


async def test_what_does_not_fit_the_sink(lab: Lab) -> None:
    """A value that the topic of a sink cannot encode has the policy of that topic."""
    topic = lab.topic("numbers")
    out = lab.topic("out", schema=Schema(value_type=int), on_produce_error="skip")

    async def body(stream: Stream[int]) -> AsyncIterator[Any]:
        async for value in stream:
            yield object() if value == 1 else value

    lab.put(topic, [0, 1, 2])
    await lab.start([lab.agent(body, topic, sink=[out])], [out])
    await lab.caught_up(topic)
    assert lab.values(out) == [0, 2]


async def test_a_sink_belongs_to_its_event(lab: Lab) -> None:
    """While a sink works the event is open: it is not committed."""
    topic = lab.topic("numbers")
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_value: int) -> None:
        entered.set()
        await go_on.wait()

    lab.put(topic, [1])
    engine = await lab.start([lab.agent(double, topic, sink=[wait])])
    await entered.wait()
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(0)
    go_on.set()
    await lab.caught_up(topic)


def test_sinks_are_checked(lab: Lab) -> None:
    """The name of a topic is no sink, and a body that yields nothing has none."""
    topic = lab.topic("numbers")

    async def silent(stream: Stream[int]) -> None:
        raise AssertionError("refused before it runs")

    with pytest.raises(ConfigurationError, match=r"agent double: 'out' is no sink; give an agent, a topic"):
        lab.agent(double, topic, sink=["out"])
    with pytest.raises(ConfigurationError, match="agent silent has a sink and yields nothing"):
        lab.agent(silent, topic, sink=[print])
