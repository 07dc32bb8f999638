"""Topics as an app describes them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError, DeadlineError, TopicMismatchError, TransportError, UnknownTopicError
from stream_core.memory import MemoryCluster
from stream_core.memory.admin import MemoryAdmin
from stream_core.memory.log import Entry
from stream_core.primitives import TP, TopicInfo, TopicSpec
from stream_core.sending.several import TopicPattern

from .apps import GUARANTEES, OtherTransport, cluster, make, records_of, until


async def test_several_topics_read_as_one() -> None:
    """An agent of several topics gets the events of all; it is sent to through one of them."""
    app = make()
    both = app.topic("east", "west", value_type=str, partitions=1)
    seen: list[tuple[str, str]] = []

    @app.agent(both)
    async def note(stream: faust.Stream[str]) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.value))

    await app.start()
    await app.topic("east", value_type=str).send("a")
    await app.send("west", value="b")
    await until(lambda: len(seen) == 2)
    assert sorted(seen) == [("east", "a"), ("west", "b")]
    with pytest.raises(ConfigurationError, match="east, west are several topics: send to one of them"):
        await note.send(value="c")
    await app.stop()
    assert str(both) == "east, west"


@pytest.mark.parametrize("described", [False, True])
async def test_an_event_is_sent_to_the_name_of_a_topic(described: bool) -> None:
    """``send``, ``forward`` and ``echo`` take a name, as ``app.send`` does: of a topic of the app, or of one that is made now."""
    app = make()
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    if described:
        app.topic("echoed"), app.topic("forwarded")
        app.topic("sent", key_type=bytes, value_type=float, partitions=2)

    @app.agent(numbers)
    async def copy(stream: faust.Stream[int]) -> None:
        async for event in stream.echo("echoed").events():
            await event.send("sent", value=event.value + 0.5, partition=0)
            await event.forward("forwarded")

    await app.start()
    await numbers.send(7, key="k", headers={"shop": b"web"})

    def records(topic: str) -> list[tuple[bytes | None, bytes | None, Any]]:
        return [(one.key, one.value, tuple(one.headers)) for one in records_of(app, topic)]

    names = ("echoed", "sent", "forwarded")
    await until(lambda: all(name in cluster(app).topics() and records(name) for name in names))
    assert records("echoed") == [(b"k", b"7", ())]
    assert records("sent") == [(b"k", b"7.5", ())]
    assert records("forwarded") == [(b"k", b"7", (("shop", b"web"),))]
    assert (app.topics["sent"].partitions, set(names) <= set(app.topics)) == (2 if described else None, True)
    await app.stop()


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("fault", ["", "metadata", "create_topics", "create_topics and done"])
async def test_a_topic_that_is_described_while_the_app_runs_is_made(guarantee: str, inside: bool, fault: str) -> None:
    """Before its first record, as it says, in an event and outside of events; a broker that fails meanwhile is asked again."""
    app = make(processing_guarantee=guarantee)
    numbers = app.topic("numbers", value_type=int, partitions=3)
    seen: list[int] = []

    async def send(number: int) -> None:
        seen.append(number)
        if len(seen) == 1 and fault:
            operation, _, applied = fault.partition(" ")
            cluster(app).faults.fail_next(operation, DeadlineError("provoked"), applied=bool(applied))
        await app.topic("late", value_type=int, retention=60.0).send(value=number, partition=2)

    @app.agent(numbers)
    async def copy(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await send(number)

    await app.start()
    await (numbers.send(value=7) if inside else send(7))
    await until(lambda: "late" in cluster(app).topics() and records_of(app, "late", 2))
    assert [record.value for record in records_of(app, "late", 2)] == [b"7"]
    made = cluster(app).topics()["late"]
    assert (made.partitions, made.config["retention.ms"]) == (3, "60000")
    assert len(seen) == (2 if inside and fault else 1)
    await app.stop()


async def test_a_topic_that_is_described_late_has_as_many_partitions_as_what_is_read() -> None:
    """Also before the group is joined; other outputs, and topics of ``group_by``, say nothing of it."""
    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=3)
    app.topic("large", partitions=16)
    started = asyncio.Event()

    @app.agent(numbers)
    async def copy(stream: faust.Stream[int]) -> None:
        await app.send("early", value=1)
        async for number in stream.group_by(lambda number: number, name="number", partitions=8):
            await app.send("late", value=number)
            started.set()

    await app.start()
    await numbers.send(value=1)
    await started.wait()
    counts = {name: info.partitions for name, info in cluster(app).topics().items()}
    assert (counts["early"], counts["late"], counts["large"]) == (3, 3, 16)
    await app.stop()


async def test_a_name_is_one_of_the_only_app_outside_of_its_tasks() -> None:
    """As a topic is found by who sends to it: where two apps run, a task that belongs to none of them has to say which."""
    app, other = make(), make("other")
    numbers = app.topic("numbers", value_type=int, partitions=1)
    async with app:
        await numbers.send(value=1)
        async for event in app.stream(numbers).echo("echoed").events():
            await event.send("sent")
            async with other:
                with pytest.raises(ConfigurationError, match="not to 'sent': make a topic with"):
                    await event.send("sent")
            break
        await until(lambda: {"echoed", "sent"} <= cluster(app).topics().keys())
    assert "sent" not in cluster(other).topics()


async def test_an_app_whose_event_loop_has_ended_takes_no_name_from_another() -> None:
    """Nobody stopped it, or it could not be stopped any more: it is still referred to, and does not run."""
    left, stopped, app = make("left"), make("stopped"), make()
    for one in (left, stopped):
        await asyncio.to_thread(asyncio.run, one.start())
    with pytest.raises(ConfigurationError, match="the event loop of app stopped has ended"):
        await stopped.stop()
    numbers = app.topic("numbers", value_type=int, partitions=1)
    async with app:
        await numbers.send(value=1)
        async for event in app.stream(numbers).events():
            await event.send("sent", value=2)
            break
        await until(lambda: "sent" in cluster(app).topics())


async def test_topics_that_the_engine_found_are_sent_to_by_name() -> None:
    """Those of dead letters, and those that a pattern found, which the app has not described."""
    app = make()
    cluster(app).create(TopicSpec("in-1", 1))
    seen: list[Any] = []

    @app.agent(app.topic(pattern="in-.*"), on_failure="dead_letter")
    async def copy(stream: faust.Stream[Any]) -> None:
        async for event in stream.events():
            seen.append(event.value)
            if event.value == 1:
                await event.send("in-1", value=2)
                await event.send("shop-dead-letter", value=3)
                raise ValueError("provoked")

    await app.start()
    cluster(app).append(TP("in-1", 0), [Entry(0, None, b"1")])
    await until(lambda: "shop-dead-letter" in cluster(app).topics() and records_of(app, "shop-dead-letter"))
    await app.stop()


async def test_a_name_does_not_describe_what_a_pattern_reads() -> None:
    """Whoever sends to a name first says nothing of the types of that topic: the pattern that finds it later does."""

    class Order(faust.Record):
        item: str

    app = make(topic_discovery_interval=0.02)
    numbers = app.topic("numbers", value_type=int, partitions=1)
    seen: list[Any] = []

    @app.agent(numbers)
    async def copy(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            await event.send("orders-1", value={"item": "tea"})

    @app.agent(app.topic(pattern="orders-.*", value_type=Order))
    async def note(stream: faust.Stream[Order]) -> None:
        async for order in stream:
            seen.append(order)

    async with app:
        await numbers.send(value=1)
        await until(lambda: seen == [Order("tea")])


async def test_very_many_that_send_first_make_a_topic_once(caplog: pytest.LogCaptureFixture) -> None:
    """One of them does, and the others wait for it."""
    caplog.set_level("INFO", "stream_core")
    app = make()
    async with app:
        await asyncio.gather(*(app.send("late", value=number) for number in range(50)))
    assert caplog.text.count("creating topic late") == 1
    assert sum(len(records_of(app, "late", partition)) for partition in range(8)) == 50


@pytest.mark.parametrize("way", ["send", "describe"])
async def test_a_late_topic_that_cannot_be_made_is_nobody_elses_trouble(way: str) -> None:
    """The event fails by its policy, at once; others read on, topics are joined later, and the app starts again."""
    app = make(topic_allow_declare=False)
    for name in ("numbers", "more", "single"):
        cluster(app).create(TopicSpec(name, 1))
    numbers, more = app.topic("numbers", value_type=int), app.topic("more", value_type=int)
    seen: list[int] = []

    @app.agent(numbers, on_failure="skip")
    async def copy(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            seen.append(event.value)
            if way == "send":
                await event.forward("typo")
            else:
                await app.topic("single", partitions=4).send(value=1)

    async def read() -> None:
        async for number in app.stream(more):
            seen.append(number)

    await app.start()
    await numbers.send(value=1)
    await until(lambda: seen == [1])
    reading = asyncio.create_task(read())
    await more.send(value=2)
    await until(lambda: seen == [1, 2])
    reading.cancel()
    await app.stop()
    if way == "send":
        async with app:
            await numbers.send(value=3)
            await until(lambda: seen == [1, 2, 3])


class WaitingTransport(OtherTransport):
    """A driver whose admin clients answer what topics there are when they may, as a broker that takes long."""

    answers = asyncio.Event()
    asked: ClassVar[list[Collection[str]]] = []

    def admin(self) -> MemoryAdmin:
        """Make an admin client that waits."""
        return WaitingAdmin(self.cluster)


class WaitingAdmin(MemoryAdmin):
    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Say how it was when the question came."""
        found = await super().describe(topics, config=config)
        WaitingTransport.asked.append(topics)
        await WaitingTransport.answers.wait()
        return found


async def test_a_topic_that_is_described_while_others_are_joined_is_none_of_them(tmp_path: Path) -> None:
    """It may not be made, and nobody has sent to it: the topic that is joined is read all the same."""
    WaitingTransport.answers, WaitingTransport.asked = asyncio.Event(), []
    WaitingTransport.answers.set()
    app = make(broker=WaitingTransport.url(), store="memory://", datadir=tmp_path, topic_allow_declare=False)
    topics = MemoryCluster.named(app.conf.broker[0].partition("://")[2])
    for name in ("numbers", "more"):
        topics.create(TopicSpec(name, 1))
    numbers, more = app.topic("numbers", value_type=int), app.topic("more", value_type=int)
    seen: list[int] = []

    @app.agent(numbers)
    async def first(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    async def read() -> None:
        async for number in app.stream(more):
            seen.append(number)

    async with app:
        WaitingTransport.answers.clear()
        WaitingTransport.asked.clear()
        reading = asyncio.create_task(read())
        await until(lambda: any("more" in asked for asked in WaitingTransport.asked))
        app.topic("late", partitions=1)
        await asyncio.sleep(0)
        WaitingTransport.answers.set()
        await more.send(value=2)
        await until(lambda: seen == [2])
        reading.cancel()


async def test_a_late_topic_that_the_broker_refuses_fails_its_event() -> None:
    """By its policy, and at once: to send again would not help."""
    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(numbers, on_failure="skip")
    async def copy(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)
            await app.topic("late", config={"nonsense.x": "1"}).send(value=number)

    async with app:
        for number in range(3):
            await numbers.send(value=number)
        await until(lambda: len(seen) == 3)
    assert seen == [0, 1, 2]


class FailingTransport(OtherTransport):
    """A driver whose admin clients make a topic, and answer with an error: to that, or when they are asked how it is now."""

    fails = ""

    def admin(self) -> MemoryAdmin:
        """Make such an admin client."""
        return FailingAdmin(self.cluster)


class FailingAdmin(MemoryAdmin):
    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Make topics."""
        await super().create(specs)
        self._fail("create", [spec.name for spec in specs])

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Say how topics are."""
        found = await super().describe(topics, config=config)
        self._fail("describe", found)
        return found

    def _fail(self, call: str, topics: Collection[str]) -> None:
        if call == FailingTransport.fails and "late" in topics:
            FailingTransport.fails = ""
            raise TransportError("the broker is at a loss")


@pytest.mark.parametrize("call", ["create", "describe"])
async def test_a_late_topic_that_was_made_refuses_no_event(call: str) -> None:
    """Its event counts, whatever its policy: what the broker answered otherwise is no refusal."""
    FailingTransport.fails = call
    app = make(broker=FailingTransport.url(), store="memory://")
    numbers = app.topic("numbers", value_type=int, partitions=1)

    @app.agent(numbers, on_failure="skip")
    async def copy(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await app.topic("late", partitions=1).send(value=number)

    async with app:
        for number in range(3):
            await numbers.send(value=number)
        topics = MemoryCluster.named(app.conf.broker[0].partition("://")[2])
        await until(lambda: "late" in topics.topics())
        log = topics.log(TP("late", 0))
        await until(lambda: len(log) >= 3)
    assert [record.value for record in log.read(0, 100, committed=True).records] == [b"0", b"1", b"2"]
    assert FailingTransport.fails == ""


async def test_a_topic_that_is_described_late_may_not_be_made(caplog: pytest.LogCaptureFixture) -> None:
    """Where the app may create none the send fails, and goes through once somebody has made it; one of another shape is refused."""
    app = make()
    app.topic("numbers", value_type=int, partitions=1)
    cluster(app).create(TopicSpec("numbers", 1))
    app.conf.topic_allow_declare = False
    async with app:
        late = app.topic("late", value_type=int, partitions=2)
        with pytest.raises(
            UnknownTopicError, match=r"late \(2 partitions\); create them, or set topic_allow_declare=True"
        ):
            await late.send(value=1)
        cluster(app).create(TopicSpec("late", 1))
        with pytest.raises(
            TopicMismatchError, match="topic late has 1 partitions, and its definition says partitions=2"
        ):
            await late.send(value=1)
        cluster(app).delete("late")
        cluster(app).create(TopicSpec("late", 2))
        await (await late.send(value=1))


async def test_a_topic_with_a_schema() -> None:
    """A schema object stands in place of types and serializers."""
    app = make()
    schema = faust.Schema(key_type=str, value_type=int, value_serializer="raw")
    numbers = app.topic("numbers", schema=schema)
    seen: list[Any] = []

    @app.agent(numbers)
    async def note(stream: faust.Stream[int]) -> None:
        async for item in stream.items():
            seen.append(item)

    await app.start()
    await numbers.send(7, key="k")
    await until(lambda: seen == [("k", 7)])
    await app.stop()
    with pytest.raises(ConfigurationError, match="either schema=, or types"):
        app.topic("other", schema=schema, value_type=int)


def test_a_schema_follows_the_settings() -> None:
    """What it does not say about serializers the app says."""
    app = make(value_serializer="text", key_serializer="json")
    topic = app.topic("numbers", schema=faust.Schema(key_type=int, value_type=str))
    assert (topic.schema.encode_key(5), topic.schema.encode_value("a")) == (b"5", b"a")
    named = app.topic("named", schema=faust.Schema(value_serializer="json"))
    assert named.schema.encode_value("a") == b'"a"'


async def test_what_is_said_of_a_topic_is_what_it_is_created_with() -> None:
    """Partitions, retention and cleanup policy reach the broker."""
    app = make()
    app.topic("kept", partitions=3, retention=60, compacting=True, deleting=True, internal=True)
    app.topic("compacted", compacting=True)

    await app.start()
    kept, compacted = cluster(app).topic("kept"), cluster(app).topic("compacted")
    assert kept.partitions == 3
    assert (kept.config["cleanup.policy"], kept.config["retention.ms"]) == ("compact,delete", "60000")
    assert compacted.config["cleanup.policy"] == "compact"
    await app.stop()


@pytest.mark.parametrize("option", ["partitions", "replicas", "maxsize"])
def test_numbers_of_a_topic_are_at_least_one(option: str) -> None:
    """Zero is refused by name."""
    with pytest.raises(ConfigurationError, match=f"topic numbers: {option}=0 is not at least 1"):
        make().topic("numbers", **{option: 0})  # type: ignore[call-overload]


def test_a_topic_has_a_name() -> None:
    """No name at all is refused."""
    with pytest.raises(ConfigurationError, match="needs the name of the topic, or pattern="):
        make().topic()


async def test_maxsize_bounds_what_waits_for_an_agent() -> None:
    """A partition with that many records waiting is not fetched until its agent has worked on half of them; others are."""
    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=1, maxsize=10)
    other = app.topic("other", value_type=int, partitions=1)
    seen: list[int] = []
    others: list[int] = []
    go = asyncio.Event()

    @app.agent(numbers)
    async def slow(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await go.wait()
            seen.append(number)

    @app.agent(other)
    async def quick(stream: faust.Stream[int]) -> None:
        async for number in stream:
            others.append(number)

    await app.start()
    session = app.engine.ownership.sessions[TP("numbers", 0)]
    for number in range(20):
        await numbers.send(number)
    await until(lambda: session.backlog >= 10)
    fetched = session.fetch_position
    for number in range(3):  # each is another round of fetching
        await numbers.send(20 + number)
        await other.send(number)
        await until(lambda number=number: number in others)
    assert session.fetch_position <= max(fetched, 20)
    go.set()
    await until(lambda: seen == list(range(23)))
    await app.stop()


async def test_topics_by_a_pattern() -> None:
    """All that match are read, those that appear later too, and neither others nor the app's own dead letters."""
    app = make(topic_discovery_interval=0.02)
    sender = make("sender", broker=app.conf.broker[0])
    orders = app.topic(pattern=r"orders-.*|shop-dead-letter", value_type=int, on_decode_error="dead_letter")
    seen: list[tuple[str, int]] = []

    @app.agent(orders)
    async def note(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.value))

    await app.start()
    await sender.start_client()
    broker = cluster(app)
    for name in ("orders-east", "others-east", "orders-west"):
        broker.create(TopicSpec(name, 1))
        await sender.send(name, value=1)
    await sender.send("orders-east", value="poison")
    await until(lambda: len(seen) == 2)
    letters = [broker.log(TP("shop-dead-letter", n)) for n in range(broker.topic("shop-dead-letter").partitions)]
    await until(lambda: sum(log.end for log in letters) == 1)
    broker.create(TopicSpec("orders-north", 2))
    await sender.send("orders-north", value=2)
    await until(lambda: len(seen) == 3)
    assert sorted(seen) == [("orders-east", 1), ("orders-north", 2), ("orders-west", 1)]
    with pytest.raises(ConfigurationError, match="are several topics"):
        await orders.send(1)
    await app.stop()

    again = make(broker=app.conf.broker[0])
    more: list[str] = []

    @again.agent(again.topic(pattern="orders-.*", value_type=int), name=note.name)
    async def _(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            more.append(event.message.topic)

    await again.start()
    await sender.send("orders-west", value=5)
    await until(lambda: more == ["orders-west"])
    await again.stop()
    await sender.stop()


async def test_a_new_topic_is_not_forgotten_when_the_broker_fails() -> None:
    """A topic that matches is joined at the next look when the first attempt to join for it failed."""
    app = make(topic_discovery_interval=0.02)
    faults = cluster(app).faults
    seen: list[int] = []

    class Unlucky(TopicPattern[Any, Any]):
        """Whoever finds something new has a broker that does not answer the next request."""

        def find(self, names: Iterable[str]) -> Sequence[faust.Topic[Any, Any]]:
            new = super().find(names)
            if new:
                faults.fail_next("metadata", DeadlineError("provoked"))
            return new

    @app.agent(Unlucky("orders-.*", schema=faust.Schema(value_type=int)))
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    await app.start(fail_fast=True)
    cluster(app).create(TopicSpec("orders-east", 1))
    cluster(app).append(TP("orders-east", 0), [Entry(0, None, b"1")])
    await until(lambda: seen == [1])
    await app.stop()


async def test_the_types_of_a_pattern_are_checked_at_the_start() -> None:
    """As those of any topic are: not at the first record."""
    app = make()

    @app.agent(app.topic(pattern="orders-.*", value_type=object))
    async def note(stream: faust.Stream[Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="value_type object"):
        await app.start()


def test_a_pattern_is_a_regular_expression() -> None:
    """One that is none is refused, and so is a name beside it."""
    with pytest.raises(ConfigurationError, match=r"'\(' is no regular expression for names of topics"):
        make().topic(pattern="(")
    with pytest.raises(ConfigurationError, match="one of them"):
        make().topic("numbers", pattern=".*")


async def test_produce_signal() -> None:
    """Functions are told of each send before it leaves, and may add headers to it."""
    app = make()
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=1)
    told: list[Any] = []
    headers: list[Any] = []

    @app.on_produce_message.connect
    def trace(app: faust.App, key: bytes, value: bytes, headers: list[tuple[str, bytes]], **kwargs: Any) -> None:
        told.append((key, value, kwargs))
        headers.append(("trace", b"1"))

    @app.agent(numbers)
    async def note(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            headers.append(event.headers)

    await app.start()
    await numbers.send(5, key="k", headers={"a": b"b"}, timestamp=3.5)
    await until(lambda: headers == [{"a": b"b", "trace": b"1"}])
    assert told == [(b"k", b"5", {"partition": None, "timestamp": 3.5})]
    await app.stop()


# -- descriptions


@pytest.mark.parametrize(
    ("first", "again", "difference"),
    [
        ({}, {"partitions": 8}, "partitions=8, and nothing before"),
        ({"partitions": 3}, {"partitions": 8}, "partitions=8, and 3 before"),
        ({}, {"replicas": 3}, "replicas=3, and nothing before"),
        ({}, {"retention": 60}, "retention.ms='60000', and nothing before"),
        ({"retention": 60.0}, {"retention": timedelta(minutes=2)}, "retention.ms='120000', and '60000' before"),
        ({"compacting": True}, {"compacting": False}, "compacting=False, and True before"),
        ({"compacting": True}, {"deleting": True}, "deleting=True, and False before"),
        ({}, {"config": {"max.message.bytes": "5"}}, "max.message.bytes='5', and nothing before"),
        ({}, {"on_decode_error": "skip"}, "on_decode_error="),
        ({"on_decode_error": "skip"}, {"on_decode_error": "crash"}, "on_decode_error="),
        ({}, {"on_produce_error": "skip"}, "on_produce_error="),
        ({}, {"acks": False}, "acks=False, and True before"),
        ({}, {"internal": True}, "internal=True, and False before"),
        ({}, {"maxsize": 5}, "maxsize=5, and nothing before"),
        ({}, {"value_type": int}, "value_type=int, and nothing before"),
        ({"value_type": str}, {"value_type": int}, "value_type=int, and str before"),
        ({"key_type": str}, {"key_type": int}, "key_type=int, and str before"),
        ({}, {"value_serializer": "pickle"}, "value_serializer='pickle', and nothing before"),
        ({"value_type": str}, {"schema": faust.Schema(value_type=int)}, "schema="),
    ],
)
def test_a_topic_is_described_alike(first: dict[str, Any], again: dict[str, Any], difference: str) -> None:
    """What a further description says and the first did not is refused with both values, wherever it is said."""
    for describe in (
        lambda app: app.topic("orders", **again),
        lambda app: app.topic("others", "orders", **again),
        lambda app: app.agent("orders", **again)(nothing),
    ):
        app = make()
        known = app.topic("orders", **first)
        with pytest.raises(ConfigurationError, match=f"orders is described twice, .*{re.escape(difference)}"):
            describe(app)
        assert list(app.topics.values()) == [known]


async def nothing(stream: Any) -> None:
    """Read nothing."""


def test_a_topic_is_shared() -> None:
    """A further description that says the same, or less, gives the same topic."""
    app = make()
    options: dict[str, Any] = {
        "value_type": int,
        "partitions": 3,
        "retention": 60,
        "compacting": True,
        "on_decode_error": "skip",
        "config": {"max.message.bytes": "5"},
    }
    topic = app.topic("orders", **options)
    assert app.topic("orders", **options) is topic
    assert app.topic("orders", retention=timedelta(minutes=1)) is topic
    assert app.topic("orders") is topic
    assert app.agent("orders", partitions=3)(nothing).topic is topic
    assert app.topic("orders", "orders") is topic


def test_topics_that_are_read_as_one_are_alike() -> None:
    """Those that were described before, too."""
    app = make()
    app.topic("east", value_type=int)
    with pytest.raises(ConfigurationError, match="east and west are read as one, and their schema differs"):
        app.topic("east", "west")
    assert list(app.topics) == ["east"]
