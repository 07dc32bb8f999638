"""Topics that are derived from others, and options of sends, timers and streams that an app passes on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError
from stream_core.primitives import RecordMetadata

from .apps import make, until


def test_a_topic_is_derived_from_another_one() -> None:
    """Whatever is not said is as before; it is a topic of the app, and describing it again gives the same one."""
    app = make()
    orders = app.topic(
        "orders",
        key_type=str,
        value_type=int,
        partitions=3,
        retention=timedelta(days=1),
        config={"max.message.bytes": "5"},
    )
    other = orders.derive_topic(prefix="old-", suffix="-2", value_type=float, compacting=True, partitions=None)
    assert (other.name, other.schema.key_type, other.schema.value_type) == ("old-orders-2", str, float)
    assert (other.partitions, other.config) == (
        3,
        {"retention.ms": "86400000", "max.message.bytes": "5", "cleanup.policy": "compact"},
    )
    assert app.topics["old-orders-2"] is other
    assert orders.derive(topics=["old-orders-2"], value_type=float, retention=timedelta(days=1)) is not orders
    short = orders.derive_topic(suffix="-short", retention=5, config={"max.message.bytes": "6"})
    assert short.config == {"retention.ms": "5000", "max.message.bytes": "6"}
    assert other.derive_topic(topics="plain").schema.value_type is float


def test_several_topics_are_derived_together() -> None:
    """From topics that are read as one come topics that are read as one."""
    app = make()
    both = app.topic("a", "b", value_type=int).derive_topic(suffix="-x")
    assert [part.name for part in both.parts] == ["a-x", "b-x"]


def test_a_derived_topic_that_contradicts() -> None:
    """It cannot have the name of the first one and differ from it, nor say its types twice."""
    app = make()
    orders = app.topic("orders", value_type=int)
    assert orders.derive() is orders
    with pytest.raises(ConfigurationError, match="topic orders is described twice"):
        orders.derive(value_type=float)
    with pytest.raises(ConfigurationError, match=r"either schema=, or value_type"):
        orders.derive_topic(suffix="-2", schema=faust.Schema(), value_type=int)


async def test_a_topic_is_derived_from_what_a_stream_reads() -> None:
    """In the body of an agent, and behind ``through``; a body that runs again gets the same one, and can send to it."""
    app = make()
    orders = app.topic("orders", key_type=str, value_type=int, partitions=2)
    derived: list[Any] = []
    channel = app.channel(value_type=int)

    @app.agent(orders)
    async def copy(stream: faust.Stream[int]) -> None:
        copies = stream.derive_topic("copies", value_type=str, prefix="old-", suffix="-2")
        through = stream.through("between")
        derived.append((copies, through.derive_topic("behind")))
        async for key, value in through.items():
            await copies.send(str(value), key=key)
            if len(derived) == 1:
                raise ValueError("the body runs again")

    @app.agent(channel)
    async def hear(stream: faust.Stream[int]) -> None:
        with pytest.raises(ConfigurationError, match="hear reads no topic from which copies could be derived: use app"):
            stream.derive_topic("copies")
        derived.append(None)
        async for _ in stream:
            pass

    read: list[Any] = []

    @app.agent(app.topic("old-copies-2", key_type=str, value_type=str, partitions=2))
    async def read_copies(stream: faust.Stream[str]) -> None:
        async for value in stream:
            read.append(value)

    async with app:
        await until(lambda: None in derived)
        derived.remove(None)
        await orders.send(3, key="a")
        await until(lambda: set(read) == {"3"} and len(derived) == 2)  # at least once
    copies, behind = derived[0]
    assert derived[1] == derived[0]
    assert (copies.name, copies.schema.key_type, copies.schema.value_type) == ("old-copies-2", str, str)
    assert (behind.name, behind.schema.key_type, behind.schema.value_type) == ("behind", str, int)
    assert app.topics["old-copies-2"] is copies
    with pytest.raises(ConfigurationError, match="reads no topic from which copies could be derived"):
        app.stream([1]).derive_topic("copies")


async def test_an_app_passes_options_of_a_send_on() -> None:
    """To a topic by its name, by position as Faust has them."""
    app = make()
    app.topic("words")
    told: list[asyncio.Future[RecordMetadata]] = []
    async with app:
        await app.send("words", b"k", "hello", None, None, None, None, None, "raw", told.append)
        await until(lambda: bool(told))
        assert told[0].result().topic == "words"


async def test_a_stream_of_what_an_agent_reads() -> None:
    """It has a progress of its own, beside the agent's."""
    app = make()
    seen: list[Any] = []

    @app.agent(value_type=int)
    async def count(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(("agent", number))

    @app.task
    async def beside() -> None:
        async for number in count.stream():
            seen.append(("stream", number))

    with pytest.raises(ConfigurationError, match="the app is not started"):
        count.stream()
    async with app:
        await until(lambda: app.engine.ready)
        await count.cast(1)
        await until(lambda: sorted(seen) == [("agent", 1), ("stream", 1)])


async def test_timers_take_all_that_faust_has() -> None:
    """By position too; names are for messages, and ``traced`` has no effect."""
    app = make()
    ticks: list[str] = []

    @app.timer(0.01, True, True, "beat", 0.1)
    async def leader() -> None:
        ticks.append("leader")

    @app.timer(timedelta(milliseconds=10), traced=False)
    async def all_of_them() -> None:
        ticks.append("all")

    @app.crontab("* * * * *", timezone="Europe/Berlin", on_leader=True, traced=False)
    async def at_each_minute() -> None:
        pass

    @app.task(on_leader=True, traced=False)
    async def once() -> None:
        ticks.append("once")

    assert [chore.name.split()[0] for chore in app.chores] == ["timer", "timer", "crontab", "task"]
    assert app.chores[0].name == "timer beat"
    async with app:
        await until(lambda: {"leader", "all", "once"} <= set(ticks))
