"""Operators of streams, in agents on an in-process cluster: what the body gets, and what is finished when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import time
from typing import Any

import pytest

from stream_core.errors import ConfigurationError, Skip
from stream_core.primitives import Offset, StoredRecord
from stream_core.streams.channel import Channel
from stream_core.streams.events import Event
from stream_core.streams.stream import Stream
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime


class Transfer(Record, namespace="tests.operators.Transfer"):
    """What is grouped."""

    account: str
    amount: int


async def collect(lab: Lab, values: list[Any], body: Any, count: int, **options: Any) -> list[Any]:
    """What an agent's body notes in ``seen`` when these values come in; waits for ``count`` of them."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def agent(stream: Stream[Any]) -> None:
        await body(stream, seen)

    lab.put(topic, values)
    await lab.start([lab.agent(agent, topic, **options)])
    await lab.until(lambda: len(seen) >= count, f"{count} notes")
    await lab.caught_up(topic)
    return seen


async def test_enumerate(lab: Lab) -> None:
    """Values are numbered, from a start of one's own."""

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for item in stream.enumerate(start=5):
            seen.append(item)

    assert await collect(lab, ["a", "b"], body, 2) == [(5, "a"), (6, "b")]


async def test_filter_and_processors(lab: Lab) -> None:
    """Sync and async steps apply in the order they were added; what they drop is finished."""

    async def wanted(value: int) -> bool:
        await asyncio.sleep(0)
        return value != 4

    async def double(value: int) -> int:
        return value * 2

    def refuse_six(value: int) -> int:
        if value == 6:
            raise Skip
        return value

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        stream.filter(lambda value: value > 1).filter(wanted).add_processor(double).add_processor(refuse_six)
        async for value in stream:
            seen.append(value)

    assert await collect(lab, [1, 2, 3, 4, 5], body, 2) == [4, 10]


async def test_processors_work_on_items_and_events(lab: Lab) -> None:
    """Whatever the form, the value is the processed one."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def items(stream: Stream[Any]) -> None:
        async for item in stream.add_processor(str).items():
            seen.append(item)

    async def events(stream: Stream[Any]) -> None:
        async for event in stream.add_processor(str).events():
            seen.append(event.value)

    lab.put(topic, [7])
    await lab.start([lab.agent(items, topic), lab.agent(events, topic)])
    await lab.caught_up(topic)
    assert sorted(seen, key=str) == [(None, "7"), "7"]


async def test_a_failing_processor_is_a_failing_event(lab: Lab) -> None:
    """An error in a processor follows the policy of the agent."""

    def check(value: int) -> int:
        if value == 2:
            raise ValueError("two")
        return value

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for value in stream.add_processor(check):
            seen.append(value)

    assert await collect(lab, [1, 2, 3], body, 2, on_failure="skip") == [1, 3]


async def test_echo(lab: Lab) -> None:
    """A copy of each event goes to a topic with its key, and to a channel."""
    topic, copy = lab.topic("numbers"), lab.topic("copy")
    channel: Channel[Any, Any] = Channel("copies")
    copies = aiter(channel)
    first = asyncio.ensure_future(anext(copies))
    await asyncio.sleep(0)

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.echo(copy, channel):
            pass

    await lab.start([lab.agent(body, topic)], topics=[copy])
    await (await topic.send(7, key="k"))
    await lab.caught_up(topic)

    assert lab.values(copy) == [7]
    assert (await first).key == "k"


@pytest.mark.parametrize("way", ["send", "forward", "echo"])
async def test_a_name_says_nothing_to_an_engine_without_an_app(lab: Lab, way: str) -> None:
    """Who sends an event to the name of a topic is told to make a topic of it."""
    told: list[str] = []

    async def body(stream: Stream[Any]) -> None:
        if way == "echo":
            with pytest.raises(ConfigurationError) as refused:
                stream.echo("copies")
            told.append(str(refused.value))
        async for event in stream.events():
            with pytest.raises(ConfigurationError) as refused:
                await getattr(event, "send" if way == "echo" else way)("copies")
            told.append(str(refused.value))

    topic = lab.topic("numbers")
    await lab.start([lab.agent(body, topic)])
    await (await topic.send(7))
    await lab.until(lambda: len(told) == 1 + (way == "echo"), "what is told")
    assert all("not to 'copies': make a topic with app.topic('copies')" in one for one in told)


async def test_echo_in_front_of_a_pipe(lab: Lab) -> None:
    """Copies have their keys too when the events go on through a topic."""
    topic, copy, between = lab.topic("numbers"), lab.topic("copy"), lab.topic("between")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.echo(copy).through(between):
            pass

    await lab.start([lab.agent(body, topic)], topics=[copy, between])
    await (await topic.send(7, key="k"))
    await lab.caught_up(topic, between)
    assert [(record.key, record.value) for record in lab.records("copy")] == [(b"k", b"7")]
    assert [(record.key, record.value) for record in lab.records("between")] == [(b"k", b"7")]


# -- take


async def test_take_by_count_and_by_time(lab: Lab) -> None:
    """A full list is handed over at once, a rest when the time is over."""

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for values in stream.take(3, within=2.0):
            seen.append(values)

    assert await collect(lab, [1, 2, 3, 4, 5], body, 2) == [[1, 2, 3], [4, 5]]


async def test_take_counts_what_the_body_gets(lab: Lab) -> None:
    """What a filter drops is not counted, and is finished with the list."""

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for values in stream.filter(lambda value: value % 2).take(2, within=1.0):
            seen.append(values)

    assert await collect(lab, list(range(8)), body, 2) == [[1, 3], [5, 7]]


async def test_take_events(lab: Lab) -> None:
    """Lists of whole events."""

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for events in stream.take_events(2, within=1.0):
            seen.append([(event.message.offset, event.value) for event in events])

    assert await collect(lab, ["a", "b"], body, 1) == [[(0, "a"), (1, "b")]]


async def test_take_with_timestamp(lab: Lab) -> None:
    """Dicts get the time of their record; other values, and what other agents see, stay as they are."""
    topic = lab.topic("numbers")
    now = round(time()) - 1000.5
    stamped: list[Any] = []
    plain: list[Any] = []

    async def with_time(stream: Stream[Any]) -> None:
        async for values in stream.take_with_timestamp(2, 1.0, "at"):
            stamped.append(values)

    async def without(stream: Stream[Any]) -> None:
        async for value in stream:
            plain.append(value)

    await lab.start([lab.agent(with_time, topic), lab.agent(without, topic)])
    for number, value in enumerate(({"n": 1}, 2, {"n": 3, "at": "never"})):
        await (await topic.send(value, timestamp=now + number))
    await lab.caught_up(topic)
    assert stamped == [[{"n": 1, "at": now}, 2], [{"n": 3, "at": now + 2}]]
    assert plain == [{"n": 1}, 2, {"n": 3, "at": "never"}]


async def test_nothing_of_a_filling_list_is_committed(lab: Lab) -> None:
    """The position stays at the first event of a list until the body asks for the next one; a new owner gets all of it."""
    topic = lab.topic("numbers")
    seen: list[Any] = []
    go_on = asyncio.Event()

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(3, within=1000.0):
            seen.append(values)
            await go_on.wait()

    lab.put(topic, range(5))
    engine = await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: len(seen) == 1, "the first list")
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(0)
    go_on.set()
    await lab.until(lambda: lab.committed(topic) == Offset(3), "the first list is committed")
    await lab.stop(engine)

    assert lab.committed(topic) == Offset(3)
    await lab.start([lab.agent(body, topic)])
    lab.put(topic, [5])
    await lab.until(lambda: len(seen) == 2, "the second list")
    assert seen == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_a_list_fails_as_a_whole(lab: Lab, exactly_once: bool) -> None:
    """After a failure all of the list comes again, and under exactly-once nothing that it had sent counts."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(2, within=1.0):
            for value in values:
                await out.send(value)
            seen.append(values)
            if len(seen) == 2:
                raise ValueError("second list")

    lab.put(topic, range(6))
    transactional = "app-0" if exactly_once else None
    await lab.start([lab.agent(body, topic)], topics=[out], transactional_id=transactional)
    await lab.caught_up(topic)

    assert seen == [[0, 1], [2, 3], [2, 3], [4, 5]]
    assert lab.values(out) == ([0, 1, 2, 3, 4, 5] if exactly_once else [0, 1, 2, 3, 2, 3, 4, 5])


async def test_a_skipped_list(lab: Lab) -> None:
    """With ``skip`` the whole list is passed over, and what follows comes."""

    async def body(stream: Stream[Any], seen: list[Any]) -> None:
        async for values in stream.take(2, within=1.0):
            if values == [2, 3]:
                raise ValueError("second list")
            seen.append(values)

    assert await collect(lab, list(range(6)), body, 2, on_failure="skip") == [[0, 1], [4, 5]]


async def test_take_by_partition(lab: Lab) -> None:
    """Lists hold events of one partition each when asked to."""
    topic = lab.topic("numbers", 2)
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(2, within=1.0, by_partition=True):
            seen.append(values)

    lab.put(topic, ["a0", "a1", "a2"], 0)
    lab.put(topic, ["b0"], 1)
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)

    assert sorted(seen) == [["a0", "a1"], ["a2"], ["b0"]]


async def test_take_with_concurrency(lab: Lab) -> None:
    """Actors that share a stream take lists too, each event once."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(3, within=1.0):
            await asyncio.sleep(0.1)
            seen.extend(values)

    lab.put(topic, range(20))
    await lab.start([lab.agent(body, topic, concurrency=3)])
    await lab.caught_up(topic)
    assert sorted(seen) == list(range(20))


def test_taking_nothing_is_refused(lab: Lab) -> None:
    """A list has at least one value."""
    stream = Stream[Any](Channel("c").stream().subscription, None)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="at least 1"):
        stream.take(0)


# -- acknowledging by hand


async def test_noack_waits_for_the_body(lab: Lab) -> None:
    """The position waits for the oldest event that is not acknowledged, in whatever order they are."""
    topic = lab.topic("numbers")
    events: list[Event[Any]] = []

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.noack().events():
            events.append(event)

    lab.put(topic, range(3))
    engine = await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: len(events) == 3, "three events")

    assert events[2].ack()
    assert not events[2].ack()
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(0)
    async with events[0]:
        pass
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(1)
    assert [event.acked for event in events] == [True, False, True]
    events[1].ack()
    await lab.caught_up(topic)


async def test_an_open_event_is_committed_with_its_effects(lab: Lab) -> None:
    """Acknowledged inside its body an event counts when the next one is asked for, together with what it sends."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    go_on = asyncio.Event()
    started = asyncio.Event()

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.noack().events():
            event.ack()
            started.set()
            await go_on.wait()
            await out.send(event.value)

    lab.put(topic, [1])
    engine = await lab.start([lab.agent(body, topic)], topics=[out], transactional_id="app-0")
    await started.wait()
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(0)
    go_on.set()
    await lab.caught_up(topic)
    assert lab.values(out) == [1]


async def test_a_topic_without_acks(lab: Lab) -> None:
    """``acks=False`` of the topic is the same as ``noack()``, for values too."""
    topic = lab.topic("numbers", acks=False)

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            event = stream.current_event
            if value != 1 and event is not None:
                event.ack()

    lab.put(topic, range(3))
    engine = await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: lab.committed(topic) == Offset(1), "the first event")
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(1)


async def test_events_that_a_failed_body_had_by_hand_are_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """They do not come again before the worker starts anew, so a warning says how many wait; those acknowledged since do not count."""
    topic, events = lab.topic("numbers"), list[Event[Any]]()

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.noack().events():
            events.append(event)
            if event.value == 3 and len(events) == 4:
                events[1].ack()
                raise ValueError(event.value)

    lab.put(topic, range(5))
    await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: len(events) == 6, "the body has run again")
    assert "agent body[0] runs again, and 2 events that its body has had are not acknowledged" in caplog.text
    assert [event.value for event in events] == [0, 1, 2, 3, 3, 4]
    for event in events:
        event.ack()
    await lab.caught_up(topic)


async def test_noack_take(lab: Lab) -> None:
    """Lists of events that are acknowledged one by one."""
    topic = lab.topic("numbers")
    lists: list[list[Event[Any]]] = []

    async def body(stream: Stream[Any]) -> None:
        async for events in stream.noack_take(2, within=1.0):
            lists.append(events)

    lab.put(topic, range(3))
    engine = await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: len(lists) == 2, "two lists")
    lists[0][0].ack()
    lists[1][0].ack()
    await engine.checkpoint()
    assert lab.committed(topic) == Offset(1)
    lists[0][1].ack()
    await lab.caught_up(topic)


async def test_lists_finish_chunks_whose_records_were_unwrapped(lab: Lab) -> None:
    """The records of questions are others than those that came; nothing of their chunk stays behind."""
    topic = lab.topic("numbers")
    topic.unwrap = lambda records: [StoredRecord(one.offset, one.timestamp, one.key, one.value) for one in records]

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.take(2, within=1.0):
            pass

    lab.put(topic, range(3))
    engine = await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert [session.backlog for session in engine.ownership.sessions.values()] == [0]


@pytest.mark.parametrize("by_partition", [False, True])
async def test_a_list_is_handed_over_in_time_while_its_chunk_goes_on(lab: Lab, by_partition: bool) -> None:
    """Slow steps in front of ``take`` do not put off what is due until the chunk is used up."""
    topic, lists = lab.topic("numbers"), list[list[int]]()

    async def slow(value: int) -> int:
        await asyncio.sleep(1.0)
        return value

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(slow).take(100, within=2.5, by_partition=by_partition):
            lists.append(values)

    lab.put(topic, range(7))
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert lists == [[0, 1, 2], [3, 4, 5], [6]]


async def test_a_list_that_is_due_does_not_take_events_of_the_partition_that_is_being_read(lab: Lab) -> None:
    """The list of one partition is handed over while the chunk of another is read, and what follows stays in its own list."""
    topic, lists = lab.topic("numbers", 2), list[list[Event]]()

    async def slow(value: str) -> str:
        await asyncio.sleep(1.0)
        return value

    async def body(stream: Stream[Any]) -> None:
        async for events in stream.add_processor(slow).take_events(100, within=2.5, by_partition=True):
            if not lists:
                lab.put(topic, [f"a{number}" for number in range(5, 10)], 0)
            lists.append(events)

    lab.put(topic, [f"a{number}" for number in range(5)], 0)
    lab.put(topic, [f"b{number}" for number in range(5)], 1)
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert {len({event.message.partition for event in events}) for events in lists} == {1}
    read = [str(event.value) for events in lists for event in events]
    assert [value for value in read if value < "b"] == [f"a{number}" for number in range(10)]
    assert [value for value in read if value >= "b"] == [f"b{number}" for number in range(5)]


# -- several streams


async def test_combine(lab: Lab) -> None:
    """Two streams are read as one, each with its own steps, and both are committed."""
    left, right = lab.topic("left"), lab.topic("right")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        other = engine.topology.stream(right).add_processor(lambda value: value * 10)
        async for value in stream & other:
            seen.append(value)

    lab.put(left, [1, 2])
    lab.put(right, [3, 4])
    engine = lab.engine([lab.agent(body, left)], topics=[right])
    lab.engines.append(engine)
    await engine.start()
    await lab.caught_up(left, right)

    assert sorted(seen) == [1, 2, 30, 40]


async def test_through(lab: Lab) -> None:
    """Events go to another topic, with their keys and headers, and come back as a stream; both are committed."""
    topic, between = lab.topic("numbers"), lab.topic("between")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.through(between).events():
            seen.append((event.message.topic, event.key, event.value, event.headers, event.message.timestamp))

    await lab.start([lab.agent(body, topic)])
    await topic.send(7, key="k", headers={"h": b"1"}, timestamp=12.345)
    await lab.until(lambda: bool(seen), "the event")
    await lab.caught_up(topic, between)

    assert seen == [("between", "k", 7, {"h": b"1"}, 12.345)]


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_through_a_new_topic_after_steps(lab: Lab, exactly_once: bool) -> None:
    """A name is enough: the topic is made as the source is, and gets the processed values."""
    topic = lab.topic("numbers", 2)
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.filter(lambda value: value > 1).through("new"):
            seen.append(value)

    lab.put(topic, [1, 2, 3])
    await lab.start([lab.agent(body, topic)], transactional_id="app-0" if exactly_once else None)
    await lab.until(lambda: len(seen) == 2, "two values")
    assert sorted(seen) == [2, 3]
    assert lab.cluster.topic("new").partitions == 2


async def test_a_body_that_fails_keeps_its_pipe(lab: Lab) -> None:
    """When the body behind a pipe runs again it reads on; nothing is sent twice."""
    topic, between = lab.topic("numbers"), lab.topic("between")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.through(between):
            seen.append(value)
            if len(seen) == 2:
                raise ValueError("once")

    lab.put(topic, range(4))
    await lab.start([lab.agent(body, topic)])
    await lab.until(lambda: len(seen) == 5, "every value, one of them twice")
    await lab.caught_up(topic, between)
    assert seen == [0, 1, 1, 2, 3]
    assert lab.values(between) == [0, 1, 2, 3]


async def test_group_by_a_field(lab: Lab) -> None:
    """Events are sent on by a field of their record, through a topic named after agent, source and field."""
    topic = lab.topic("transfers", 3, schema=Schema(value_type=Transfer))
    seen: dict[str, set[int]] = {}

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.group_by(Transfer.account).events():
            seen.setdefault(event.key, set()).add(event.message.partition)

    engine = await lab.start([lab.agent(body, topic, name="sums")])
    for number in range(30):
        await topic.send(Transfer(account=f"a{number % 5}", amount=1), partition=number % 3)
    await engine.clients.admin.describe([topic.name])
    await lab.until(lambda: len(seen) == 5, "five accounts")

    assert all(len(partitions) == 1 for partitions in seen.values())
    assert lab.cluster.topic("app-sums-transfers-Transfer.account-repartition").partitions == 3


async def test_group_by_a_function(lab: Lab) -> None:
    """A function, sync or async, makes the key; it needs a name."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def parity(value: int) -> str:
        return "odd" if value % 2 else "even"

    async def body(stream: Stream[Any]) -> None:
        async for item in stream.group_by(parity, name="parity").items():
            seen.append(item)

    lab.put(topic, [1, 2])
    await lab.start([lab.agent(body, topic, name="grouped")])
    await lab.until(lambda: len(seen) == 2, "two items")
    assert sorted(seen) == [(b"even", 2), (b"odd", 1)]
    with pytest.raises(ConfigurationError, match="name="):
        Channel("c").stream().group_by(parity)


async def test_pipes_need_order(lab: Lab) -> None:
    """An agent with ``concurrency`` has no order to keep: ``through`` says so."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.through("other"):
            pass

    engine = lab.engine([lab.agent(body, topic, concurrency=2)], max_restarts=0)
    lab.engines.append(engine)
    with pytest.raises(Exception, match="concurrency=2"):
        await engine.start()


async def test_a_stream_in_a_task(lab: Lab) -> None:
    """A task reads a topic beside the agents; what it finished is committed, and it may come and go."""
    topic, other = lab.topic("numbers"), lab.topic("other")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    engine = await lab.start([lab.agent(body, topic)], topics=[other])
    lab.put(other, [1, 2, 3])

    async def first(count: int) -> list[Any]:
        seen: list[Any] = []
        stream: AsyncIterator[Any] = aiter(engine.topology.stream(other))
        async for value in stream:
            seen.append(value)
            if len(seen) == count:
                await stream.aclose()  # type: ignore[attr-defined]
        return seen

    assert await first(2) == [1, 2]
    await engine.checkpoint()
    assert lab.committed(other) == Offset(1)
    assert await first(2) == [2, 3]


# -- channels


async def test_an_agent_on_a_channel(lab: Lab) -> None:
    """An agent reads a channel: values as they are, and nothing is committed."""
    channel: Channel[Any, Any] = Channel("local")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value, event.headers))

    await lab.start([lab.agent(body, channel)])
    thing = object()
    assert (await (await channel.send(thing, key=1, headers={"h": b"x"}))).offset == 0
    await lab.until(lambda: bool(seen), "the event")
    assert seen == [(1, thing, {"h": b"x"})]


async def test_every_reader_of_a_channel_gets_everything() -> None:
    """Two iterations and ``get`` each see every value that was sent since they began."""
    channel: Channel[Any, Any] = Channel()
    assert channel.empty()
    one, two = aiter(channel), aiter(channel)
    waiting = [asyncio.ensure_future(each) for each in (anext(one), anext(two), channel.get(timeout=1.0))]
    await asyncio.sleep(0)

    await channel.put("a")
    await channel.put("b")

    assert [event.value for event in await asyncio.gather(*waiting)] == ["a", "a", "a"]
    assert (await channel.get(timeout=1.0)).value == "b"
    assert channel.empty()
    assert channel.subscriber_count == 2
    with pytest.raises(TimeoutError):
        await channel.get(timeout=1.0)


async def test_a_full_channel_holds_its_senders(lab: Lab) -> None:
    """``send`` waits while the slowest reader has ``maxsize`` events waiting."""
    channel: Channel[Any, Any] = Channel("small", maxsize=2)
    events = aiter(channel)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    for number in range(2):
        await channel.send(number)
    third = asyncio.ensure_future(channel.send(2))
    await first
    await asyncio.sleep(1)
    assert not third.done()
    await anext(events)
    await third
    with pytest.raises(ConfigurationError, match="maxsize=0"):
        Channel("none", maxsize=0)


async def test_a_channel_forgets_who_left() -> None:
    """A loop that ends gives its place back, so that nobody waits for it."""
    channel: Channel[Any, Any] = Channel("left", maxsize=1)
    events = aiter(channel)
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    await channel.send(1)
    await waiting
    await events.aclose()  # type: ignore[attr-defined]
    assert channel.subscriber_count == 0
    async with asyncio.timeout(1):
        for number in range(3):
            await channel.send(number)
