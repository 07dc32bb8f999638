"""Tables in a whole app: an event with a value that cannot be kept fails by its policy, and all others count."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

import stream_app as faust
from stream_core.errors import EncodeError, RecordRefusedError, WorkerError
from stream_core.primitives import TopicSpec
from stream_tables.errors import NotAssignedError, TableError, TableKeyError

from .apps import GUARANTEES, cluster, make, until


class Account(faust.Record):
    """A value that can change in place."""

    count: int = 0


BAD: dict[str, tuple[dict[str, Any], Any]] = {
    "text that is not Unicode": ({}, "\ud800"),
    "the same, typed": ({"value_type": str}, "\ud800"),
    "a value that becomes a text": ({}, Decimal("1.5")),
    "an integer that becomes a float": ({}, 2**70),
    "a value of another type": ({"value_type": str}, 5),
    "a value that is larger than a request": ({"value_type": str}, "x" * 1_100_000),
}


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize(("options", "value"), BAD.values(), ids=BAD)
async def test_one_bad_value_among_good_ones(guarantee: str, options: dict[str, Any], value: Any) -> None:
    """The event is skipped, nothing of it is there, and everything else of its interval is, also for the next worker."""
    app = make(processing_guarantee=guarantee, broker_commit_interval=7.0)
    words = app.topic("words", value_type=str, partitions=1)
    table = app.Table("table", key_type=str, **options)

    @app.agent(words, on_failure="skip")
    async def put(stream: faust.Stream[str]) -> None:
        async for word in stream:
            table[f"{word} too"] = "kept"
            table[word] = value if word == "bad" else "kept"

    await app.start()
    for word in ("a", "bad", "b"):
        await words.send(word)
    await until(lambda: "b" in table)
    assert not app.engine.failure.done()
    await app.stop()

    again = make(processing_guarantee=guarantee, broker=app.conf.broker)
    recovered = again.Table("table", key_type=str, **options)

    @again.agent(again.topic("words", value_type=str))
    async def idle(stream: faust.Stream[str]) -> None:
        async for word in stream:
            raise AssertionError(word)

    await again.start()
    assert dict(recovered.items()) == dict.fromkeys(("a", "a too", "b", "b too"), "kept")
    await again.stop()


@pytest.mark.parametrize("kind", ["one", "growing", "growing by other text", "many"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_value_that_only_the_broker_refuses(guarantee: str, kind: str) -> None:
    """The event that wrote it is found, fails with what the broker said and is skipped; all others count, also behind it."""
    app = make(processing_guarantee=guarantee)
    limits = {"max.message.bytes": "20000", "cleanup.policy": "compact"}
    cluster(app).create(TopicSpec("shop-table-changelog", 1, config=limits))
    words = app.topic("words", value_type=str, partitions=1)
    table = app.Table("table", key_type=str, value_type=str, default=str)
    told = list[BaseException]()

    @app.agent(words, on_failure="skip", on_error=lambda agent, error: told.append(error))
    async def put(stream: faust.Stream[str]) -> None:
        async for word in stream:
            table[word] = "kept"
            if word == "bad" or (kind == "many" and word in "cdefg"):
                table[word] += "x" * 30_000
            elif kind == "growing" and word != "end":
                table["grown"] += "x" * 4_000
            elif kind == "growing by other text" and word != "end":
                table["grown"] += word * 4_000

    await app.start()
    for word in ("a", "b", "bad", "c", "d", "e", "f", "g", "end"):
        await words.send(word)
    await until(lambda: table.get("end", committed=True) or app.engine.failure.done())
    assert isinstance(told[0], RecordRefusedError)
    assert "max.message.bytes" in str(told[0])
    expected = dict.fromkeys(("a", "b", "c", "d", "e", "f", "g", "end"), "kept")
    if kind == "many":
        expected = dict.fromkeys(("a", "b", "end"), "kept")
    elif kind != "one":  # 20,000 bytes and more are refused, with what else the event did
        grown = "x" * 16_000 if kind == "growing" else "".join(letter * 4_000 for letter in "abcd")
        expected = {**dict.fromkeys(("a", "b", "c", "d", "end"), "kept"), "grown": grown}
    assert dict(table.items()) == expected
    await app.stop()


async def test_a_refused_value_that_is_another_one_each_time_ends_the_worker() -> None:
    """No event can be found by it: the worker says what the broker refuses, and does not replay for ever."""
    app = make()
    limits = {"max.message.bytes": "20000", "cleanup.policy": "compact"}
    cluster(app).create(TopicSpec("shop-table-changelog", 1, config=limits))
    words = app.topic("words", value_type=str, partitions=1)
    table = app.Table("table", key_type=str, value_type=str)

    @app.agent(words, on_failure="skip")
    async def put(stream: faust.Stream[str]) -> None:
        async for word in stream:
            table[word] = uuid4().hex * 1_000

    await app.start()
    await words.send("a")
    await until(lambda: app.engine.failure.done())
    with pytest.raises(WorkerError, match=r"checkpoints failed in a row: .*max\.message\.bytes"):
        await app.stop()


@pytest.mark.parametrize("value", ["x" * 900_000, b"x" * 900_000, ["x" * 900_000]], ids=["text", "bytes", "list"])
async def test_much_that_is_not_committed_makes_a_checkpoint_come_early(value: Any) -> None:
    """Bytes of values count whatever their type is: a checkpoint comes long before its time, from the setting on."""
    app = make(broker_commit_interval=3600.0, broker_commit_bytes=32 * 1024**2)
    numbers = app.topic("numbers", value_type=int, partitions=1)
    table = app.Table("table", key_type=int, value_type=type(value))

    @app.agent(numbers)
    async def put(stream: faust.Stream[int]) -> None:
        async for number in stream:
            table[number] = value

    await app.start()
    for number in range(40):
        await numbers.send(number)
    await until(lambda: table.get(0, committed=True))
    await app.stop()


async def test_an_untyped_table_before_and_behind_a_checkpoint() -> None:
    """What an event reads does not depend on whether a checkpoint came between: a sum of decimals fails at once, or never."""
    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=1)
    untyped = app.Table("untyped", default=Decimal)
    typed = app.Table("typed", default=Decimal, value_type=Decimal)
    errors = list[Exception]()

    @app.agent(numbers)
    async def add(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            typed["tea"] += Decimal("1.10")
            try:
                untyped["tea"] += Decimal("1.10")
            except EncodeError as error:
                errors.append(error)

    await app.start()
    for _ in range(3):
        await numbers.send(1)
        await asyncio.sleep(0.06)  # a checkpoint comes between
    await until(lambda: len(errors) == 3)
    assert typed["tea"] == Decimal("3.30")
    assert "declare the table with value_type=Decimal" in str(errors[0])
    await app.stop()


async def test_a_key_of_the_event_that_is_of_another_type() -> None:
    """A topic without a key type gives bytes, which are no key of a table of text: the event says so, and the table stays whole."""
    app = make()
    clicks = app.topic("clicks", value_type=int, partitions=1)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)
    told = list[BaseException]()

    @app.agent(clicks, on_failure="skip", on_error=lambda agent, error: told.append(error))
    async def count(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            counts[event.key] += 1

    await app.start()
    await clicks.send(1, key=b"alice")
    await until(lambda: told)
    assert isinstance(told[0], TableError)
    assert "table counts has keys of type str, and b'alice' is of type bytes" in str(told[0])
    assert list(counts.items()) == []
    await app.stop()


async def test_a_key_that_another_partition_has() -> None:
    """An event that looks for a key in the wrong partition is told which one that is."""
    app = make()
    orders = app.topic("orders", key_type=str, value_type=str, partitions=2)
    customers = app.Table("customers", key_type=str, value_type=str)
    told = list[BaseException]()

    @app.agent(orders, on_failure="skip", on_error=lambda agent, error: told.append(error))
    async def enrich(stream: faust.Stream[str]) -> None:
        async for customer in stream:
            customers[customer]

    await app.start()
    await orders.send("c1", key="o6", partition=1)
    await until(lambda: told)
    assert isinstance(told[0], TableKeyError)
    assert "customers has no 'c1' in partition 1 of 2" in str(told[0])
    assert "(topic orders, offset 0, key 'o6')" in str(told[0])
    await app.stop()


@pytest.mark.parametrize("read", ["sum of values", "count", "keys", "looking for a key"])
@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_nobody_counts_what_an_open_event_takes_back(guarantee: str, read: str) -> None:
    """An event that iterates over a table while another one is open counts what is left when that one has failed."""
    app = make(processing_guarantee=guarantee)
    numbers = app.topic("numbers", value_type=int, partitions=1)
    table = app.Table("table", key_type=str, value_type=int)
    go, seen = asyncio.Event(), list[int]()
    looks = {
        "sum of values": lambda: sum(table.values()),
        "count": lambda: len(table),
        "keys": lambda: len(list(table.keys())),
        "looking for a key": lambda: int("x" in table),
    }

    @app.agent(numbers, on_failure="skip")
    async def fail(stream: faust.Stream[int]) -> None:
        async for number in stream:
            if number == 1:
                table["x"] = 1
                await go.wait()
                raise ValueError("provoked")

    @app.agent(numbers)
    async def look(stream: faust.Stream[int]) -> None:
        async for number in stream:
            if number == 2:
                seen.append(looks[read]())
                table["seen"] = seen[-1]

    await app.start()
    await numbers.send(1)
    await until(lambda: "x" in table)
    await numbers.send(2)
    await until(lambda: seen)
    go.set()
    await until(lambda: table.get("seen", committed=True) is not None)
    assert seen == [1, 0]
    assert dict(table.items()) == {"seen": 0}
    await app.stop()


# -- changes in place


@pytest.mark.parametrize(("option", "left"), [({}, {"b": 1}), ({"table_check_mutations": False}, {"a": 1, "b": 1})])
async def test_a_change_in_place_fails_the_event(option: dict[str, Any], left: dict[str, int]) -> None:
    """On a broker in memory an event that forgot to assign fails by its policy, and nothing of it is left; a setting says otherwise."""
    app = make(**option)
    words = app.topic("words", value_type=str, partitions=1)
    accounts = app.Table("accounts", default=Account, key_type=str, value_type=Account)
    counts = app.Table("counts", default=int, key_type=str, value_type=int)

    @app.agent(words, on_failure="skip")
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream:
            counts[word] += 1
            account = accounts[word]
            account.count += 1
            if word != "a":
                accounts[word] = account

    await app.start()
    await words.send("a")
    await words.send("b")
    await until(lambda: "b" in counts)
    assert dict(counts.items()) == left
    assert dict(accounts.items()) == {"b": Account(1)}
    await app.stop()


async def test_a_test_of_an_agent_finds_a_change_in_place() -> None:
    """``test_context()`` raises for an event that forgot to assign, also in a list of ``take``."""
    app = make(broker="kafka://nowhere:1", table_check_mutations=False)
    accounts = app.Table("accounts", default=Account, key_type=str, value_type=Account)

    @app.agent(app.topic("words", value_type=str))
    async def count(stream: faust.Stream[str]) -> None:
        async for word in stream:
            accounts[word].count += 1

    @app.agent(app.topic("lists", value_type=str))
    async def take(stream: faust.Stream[str]) -> None:
        async for words in stream.take(1, within=1):
            accounts[words[0]].count += 1

    for agent in (count, take):
        async with agent.test_context() as test:
            with pytest.raises(NotAssignedError, match=r"write accounts\['a'\] = value"):
                await test.put("a")


def test_where_it_is_looked_for() -> None:
    """It is a matter of the broker unless somebody says it; a worker on Kafka does not look."""
    for broker, given, expected in (
        ("kafka://localhost", None, sys.flags.dev_mode),
        ("kafka://localhost", True, True),
        ("memory://x", None, True),
        ("memory://x", False, False),
    ):
        assert make(broker=broker, table_check_mutations=given).conf.checks_mutations is bool(expected)
    for given, expected in ((None, True), (True, True), (False, False)):
        under_debug = make(broker="kafka://localhost", debug=True, table_check_mutations=given)
        assert under_debug.conf.checks_mutations is expected
    assert cluster(make()) is not None
