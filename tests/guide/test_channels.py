"""``app.channel()`` and its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stream_app import App, Record
from stream_core.memory import MemoryCluster
from stream_core.primitives import TP

from .programs import take

Make = Callable[..., App]


class MyModel(Record):
    """A value."""

    x: int


@pytest.mark.looptime
async def test_a_timer_fills_a_channel_that_an_agent_reads(make: Make) -> None:
    """Objects that are sent to a channel reach the agent as they are, by position or by name."""

    app = make("channel")
    channel = app.channel(value_type=MyModel)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(channel)
    async def process(stream: Any) -> None:
        async for event in stream:
            await done.put(event)

    @app.timer(1.0)
    async def populate() -> None:
        await channel.send(MyModel(303))
        await channel.send(value=MyModel(404))

    async with app:
        assert await take(done, 2) == [MyModel(303), MyModel(404)]


def test_a_channel_has_types(make: Make) -> None:
    """``key_type`` and ``value_type`` describe keys and values."""

    channel = make().channel(key_type=bytes, value_type=MyModel)
    assert (channel.key_type, channel.value_type) == (bytes, MyModel)


async def test_a_full_channel_makes_senders_wait(make: Make) -> None:
    """``channel.put`` waits when ``maxsize`` messages are pending, until one is consumed."""
    channel = make().channel(maxsize=1)
    events = aiter(channel)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await channel.put("one")
    assert (await first).value == "one"
    second = asyncio.ensure_future(channel.put("two"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not second.done()  # the first is consumed when the next one is asked for
    assert (await anext(events)).value == "two"
    await second


def test_the_size_of_a_channel_comes_from_the_settings(make: Make) -> None:
    """Without ``maxsize`` a channel takes as many as the setting ``stream_buffer_maxsize`` says."""
    assert make(stream_buffer_maxsize=5).channel().maxsize == 5


@pytest.mark.parametrize(
    ("options", "settings", "written"),
    [
        ({}, {}, b'{"n":1}'),
        ({"value_serializer": "json|binary"}, {}, b"eyJuIjoxfQ=="),
        ({}, {"value_serializer": "json|binary"}, b"eyJuIjoxfQ=="),
    ],
)
async def test_serializers_of_a_channel(
    make: Make, options: dict[str, Any], settings: dict[str, Any], written: bytes
) -> None:
    """What is sent to a channel is not encoded; where its events go through a topic, they are as the channel says, or the settings."""
    app, done = make(**settings), asyncio.Queue[Any]()
    local = app.channel(**options)

    @app.agent(local)
    async def through(stream: Any) -> None:
        async for value in stream.through("behind"):
            await done.put(value)

    async with app:
        await local.send({"n": 1})
        assert await take(done) == [{"n": 1}]
    cluster = MemoryCluster.named(app.conf.broker[0].partition("://")[2])
    (record,) = cluster.log(TP("behind", 0)).read(0, 1000, committed=True).records
    assert record.value == written
