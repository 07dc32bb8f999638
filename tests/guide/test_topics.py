"""``app.topic()`` and its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from stream_app import App, Record
from stream_core.memory import MemoryCluster

from .programs import take, until

Make = Callable[..., App]


class Key(Record):
    """A key."""

    region: str


class Value(Record):
    """A value."""

    name: str
    value: float


def cluster(app: Any) -> MemoryCluster:
    """The broker of an app."""
    return MemoryCluster.named(app.conf.broker[0].removeprefix("memory://"))


async def test_an_agent_reads_a_topic(make: Make) -> None:
    """``async for`` over the stream of a topic gives its values."""
    app = make()
    topic = app.topic("name_of_topic")
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for event in stream:
            await done.put(event)

    async with app:
        await topic.send(value={"a": 1})
        await topic.send(key="k", value="text")
        assert await take(done, 2) == [{"a": 1}, "text"]


async def test_models_describe_keys_and_values(make: Make) -> None:
    """``key_type`` and ``value_type`` are records: agents get objects of these classes."""

    app = make()
    topic = app.topic("typed", key_type=Key, value_type=Value)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for key, value in stream.items():
            await done.put((key, value))

    async with app:
        await topic.send(key=Key("eu"), value=Value("a", 1.5))
        assert await take(done) == [(Key("eu"), Value("a", 1.5))]


async def test_keys_are_bytes_unless_described(make: Make) -> None:
    """The default ``key_type`` is bytes."""
    app = make()
    topic = app.topic("plain")
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for event in stream.events():
            await done.put(event.key)

    async with app:
        await topic.send(key="k", value=1)
        assert await take(done) == [b"k"]


async def test_serializers_of_a_topic(make: Make) -> None:
    """``key_serializer`` and ``value_serializer`` say how keys and values become bytes."""
    app = make()
    topic = app.topic("coded", key_serializer="json", value_serializer="json|binary")
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for event in stream.events():
            await done.put((event.key, event.value))

    async with app:
        await topic.send(key=[1], value={"a": 1})
        assert await take(done) == [([1], {"a": 1})]
    assert topic.schema.encode_value({"a": 1}) == b"eyJhIjoxfQ=="


def test_serializers_come_from_the_settings(make: Make) -> None:
    """A topic that names none takes ``key_serializer`` and ``value_serializer`` of the settings."""
    topic = make(key_serializer="json", value_serializer="raw").topic("defaults")
    assert topic.schema.encode_key("k") == b'"k"'
    assert topic.schema.encode_value(b"as it is") == b"as it is"


@pytest.mark.parametrize(("given", "count"), [(3, 3), (None, 2)])
async def test_partitions_of_a_topic(make: Make, given: int | None, count: int) -> None:
    """``partitions`` is the count of a topic that is made; without it that is the setting ``topic_partitions``."""
    app = make(topic_partitions=2)
    topic = app.topic("counted", partitions=given, internal=True)

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for _ in stream:
            pass

    async with app:
        await until(lambda: app.engine.ready)
        assert cluster(app).topic("counted").partitions == count


@pytest.mark.parametrize("retention", [90.0, timedelta(seconds=90)], ids=["seconds", "timedelta"])
def test_retention_is_in_seconds(make: Make, retention: Any) -> None:
    """``retention`` is a number of seconds, or a timedelta."""
    assert make().topic("kept", retention=retention).config["retention.ms"] == "90000"


def test_a_topic_may_be_compacting(make: Make) -> None:
    """``compacting`` keeps the latest record of each key."""
    assert make().topic("latest", compacting=True).config["cleanup.policy"] == "compact"


async def test_events_without_acks_are_acknowledged_by_hand(make: Make) -> None:
    """With ``acks=False`` an event counts as done when the agent has acknowledged it: others come again after a restart."""
    seen: list[int] = []
    for _ in range(2):
        app = make()
        topic = app.topic("by-hand", acks=False, value_type=int)

        @app.agent(topic, name="by-hand")
        async def process(stream: Any) -> None:
            async for event in stream.events():
                seen.append(event.value)
                if event.value == 1:
                    event.ack()

        async with app:
            if not seen:
                for value in (1, 2):
                    await topic.send(value=value)
            await until(lambda: seen and seen[-1] == 2)
            before, seen[:] = seen.copy(), []
    assert before == [2]


def test_a_topic_may_be_internal(make: Make) -> None:
    """``internal`` says that the topic belongs to the app."""
    assert make().topic("ours", internal=True).internal is True


@pytest.mark.parametrize(("given", "size"), [(7, 7), (None, 9)])
def test_the_buffer_of_a_topic(make: Make, given: int | None, size: int) -> None:
    """``maxsize`` bounds what waits for agents; without it that is the setting ``stream_buffer_maxsize``."""
    app = make(stream_buffer_maxsize=9)
    assert (app.topic("bounded", maxsize=given).maxsize or app.conf.stream_buffer_maxsize) == size
