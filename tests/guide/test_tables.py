"""``app.Table()`` and its arguments."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from stream_app import App, Record
from stream_core.errors import ConfigurationError
from stream_core.memory import MemoryCluster

from .programs import take, until

Make = Callable[..., App]


class Transfer(Record):
    """A transfer."""

    account: str


class Value(Record):
    """A value."""

    name: str
    value: float


async def test_a_table_is_a_dictionary_with_defaults(make: Make) -> None:
    """In the loop over a stream a missing key has the default, and ``+=`` counts from it."""
    app = make()
    table = app.Table("transfer_counts", default=int, key_type=str, value_type=int)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(app.topic("transfers"))
    async def transfer(stream: Any) -> None:
        async for _ in stream:
            missing = table["missing"]
            table["also-missing"] += 1
            await done.put((missing, table["also-missing"]))

    async with app:
        await app.send("transfers", value=1)
        assert await take(done) == [(0, 1)]


def test_a_table_needs_only_a_name(make: Make) -> None:
    """The name is the only argument that is required, and it is unique in the app."""
    app = make()
    assert app.Table("totals") is app.tables["totals"]
    with pytest.raises(ConfigurationError, match="two tables named 'totals': they would share a changelog"):
        app.Table("totals")


def test_a_table_has_help(make: Make) -> None:
    """``help`` says what it holds."""
    assert make().Table("totals", help="What each account has.").help == "What each account has."


def test_without_a_default_a_missing_key_is_a_key_error(make: Make) -> None:
    """``default=None`` raises KeyError for a missing key; with ``default=int`` it is zero, and stays missing until it is assigned."""
    app = make()
    with pytest.raises(KeyError, match="missing"):
        app.Table("nodefault", default=None)["missing"]
    table = app.Table("hasdefault", default=int)
    assert table["missing"] == 0
    assert "missing" not in table


def test_a_table_is_changed_in_events_only(make: Make) -> None:
    """Outside of the loop over a stream a table cannot be changed: a TypeError says so."""
    table = make().Table("totals", default=int)
    with pytest.raises(TypeError, match="table totals cannot be changed outside of an event"):
        table["k"] += 1


async def test_counts_by_another_key(make: Make) -> None:
    """``group_by`` a field of a record lets the same account always come to the same place: its count is right."""

    app = make(topic_partitions=2)
    topic = app.topic("transfers", value_type=Transfer, partitions=2)
    counts = app.Table("transfer_counts", default=int, key_type=str, value_type=int)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(topic)
    async def transfer(transfers: Any) -> None:
        async for one in transfers.group_by(Transfer.account):
            counts[one.account] += 1
            await done.put((one.account, counts[one.account]))

    async with app:
        for number in range(6):
            await topic.send(key=f"k{number}", value=Transfer("ab"[number % 2]))
        assert sorted(await take(done, 6)) == [(account, count) for account in "ab" for count in (1, 2, 3)]


async def test_concurrent_agents_read_tables_and_cannot_change_them(make: Make) -> None:
    """With ``concurrency`` above 1 a change raises, and reading does not."""
    app = make()
    table = app.Table("totals", default=int)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(app.topic("numbers"), concurrency=3)
    async def process(stream: Any) -> None:
        async for value in stream:
            read = table["k"]
            try:
                table["k"] = value
            except TypeError as error:
                await done.put((read, str(error)))

    async with app:
        await app.send("numbers", value=1)
        ((read, reason),) = await take(done)
    assert read == 0
    assert "concurrency > 1" in reason


async def test_models_of_a_table(make: Make) -> None:
    """``key_type`` and ``value_type`` may be a plain type, and a record."""

    app = make()
    table = app.Table("typed", key_type=bytes, value_type=Value)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(app.topic("values", value_type=Value))
    async def keep(stream: Any) -> None:
        async for value in stream:
            table[b"k"] = value
            await done.put(table[b"k"])

    async with app:
        await app.send("values", value=Value("a", 1.5))
        assert await take(done) == [Value("a", 1.5)]


@pytest.mark.parametrize(("given", "count"), [(3, 3), (None, 2)])
async def test_partitions_of_a_table(make: Make, given: int | None, count: int) -> None:
    """``partitions`` is the count of the changelog; without it that of the source topic, or the setting ``topic_partitions``."""
    app = make(topic_partitions=2)
    table = app.Table("totals", default=int, partitions=given)
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(app.topic("numbers", partitions=count))
    async def add(stream: Any) -> None:
        async for _ in stream:
            table["k"] += 1
            await done.put(table["k"])

    async with app:
        await app.send("numbers", value=1)
        await take(done)
        cluster = MemoryCluster.named(app.conf.broker[0].removeprefix("memory://"))
        await until(lambda: "guide-totals-changelog" in cluster.topics())
        assert cluster.topic("guide-totals-changelog").partitions == count
