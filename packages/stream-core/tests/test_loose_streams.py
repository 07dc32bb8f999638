"""Streams outside of agents, channels and combined streams: they come, fail and go, and the others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.sending.several import TopicPattern
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime

Leave = Callable[[Engine, Topic[Any, Any], Topic[Any, Any]], Awaitable[None]]


async def closed(engine: Engine, topic: Topic[Any, Any], _: Topic[Any, Any]) -> None:
    """Close the iteration after an event."""
    values: Any = aiter(engine.topology.stream(topic))
    await anext(values)
    await values.aclose()


async def broken_off(engine: Engine, topic: Topic[Any, Any], _: Topic[Any, Any]) -> None:
    """Leave the loop."""
    async for _value in engine.topology.stream(topic):
        break


async def in_a_list(engine: Engine, topic: Topic[Any, Any], _: Topic[Any, Any]) -> None:
    """Leave a loop over lists."""
    async for _value in engine.topology.stream(topic).take(3):
        break


async def cancelled(engine: Engine, topic: Topic[Any, Any], _: Topic[Any, Any]) -> None:
    """Cancel the task that reads."""
    entered = asyncio.Event()

    async def read() -> None:
        async for _value in engine.topology.stream(topic):
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(read())
    await entered.wait()
    task.cancel()
    await asyncio.wait([task])


async def combined(engine: Engine, topic: Topic[Any, Any], more: Topic[Any, Any]) -> None:
    """Leave a combined stream, which reads two topics."""
    async for _value in engine.topology.stream(topic) & engine.topology.stream(more):
        break


async def piped(engine: Engine, topic: Topic[Any, Any], more: Topic[Any, Any]) -> None:
    """Leave a stream behind another topic."""
    async for _value in engine.topology.stream(topic).through(more):
        break


async def several(engine: Engine, topic: Topic[Any, Any], more: Topic[Any, Any]) -> None:
    """Leave two streams one after the other."""
    await closed(engine, topic, more)
    await broken_off(engine, more, topic)


WAYS: list[Leave] = [closed, broken_off, in_a_list, cancelled, combined, piped, several]


@pytest.mark.parametrize("busy", [False, True], ids=["alone", "beside a body that never asks"])
@pytest.mark.parametrize("leave", WAYS, ids=lambda way: way.__name__)
async def test_a_stream_that_was_left_stops_nobody(lab: Lab, leave: Leave, busy: bool) -> None:
    """With its inbox full it is no reason not to fetch for others, and it can be read again from where it was left."""
    topic, more, other, silent = (lab.topic(name) for name in ("numbers", "more", "other", "silent"))

    async def never_asks(stream: Stream[Any]) -> None:
        await asyncio.get_running_loop().create_future()

    agents = [lab.agent(never_asks, silent)] if busy else []
    engine = await lab.start(agents, [topic, more, other], buffer_maxsize=10)
    for each in (topic, more, silent):
        lab.put(each, range(100))
    await leave(engine, topic, more)
    lab.put(other, [7])
    async with asyncio.timeout(30):
        assert await anext(aiter(engine.topology.stream(other))) == 7
        lab.put(topic, [100])
        again = await anext(aiter(engine.topology.stream(topic)))
    sent = len(lab.records(more.name)) - 100
    assert again in (
        (sent - 1, sent) if leave is piped else (0,)
    )  # what went through is done, but for an event that was open
    assert [subscription.name for subscription in engine.topology.subscriptions if subscription.cursors][-1:] == [
        "stream-numbers"
    ]


async def test_what_waited_for_a_stream_goes_with_it(lab: Lab) -> None:
    """Records in the inbox of a stream that was left are dropped at once, and those of a stream that shares the inbox are not."""
    topic, other = lab.topic("numbers"), lab.topic("other")
    engine = await lab.start([], [topic, other])
    stream, node = engine.topology.stream(topic), engine.topology.stream(other)
    values: Any = aiter(stream & node)
    for each in (topic, other):
        lab.put(each, [1, 2, 3])
    await anext(values)
    inbox = stream.subscription.inbox
    await lab.until(lambda: inbox.records == 3, "the records of the topic that comes second")
    first = next(one for one in (stream, node) if one.subscription.name == stream.iteration.cursor.subscription)
    inbox.drop(first.subscription)
    assert inbox.records == 3
    await values.aclose()
    assert inbox.records == 0


async def test_a_combined_stream_survives_its_body(lab: Lab) -> None:
    """A body that fails combines its streams again when it runs again: each event comes, and the failed one once more."""
    left, right = lab.topic("left"), lab.topic("right")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        other = engine.topology.stream(right).add_processor(lambda value: value * 10)
        async for value in stream & other:
            seen.append(value)
            if value in (2, 30) and seen.count(value) == 1:
                raise ValueError(value)

    lab.put(left, [1, 2])
    lab.put(right, [3, 4])
    engine = lab.engine([lab.agent(body, left)], topics=[right])
    lab.engines.append(engine)
    await engine.start()
    await lab.caught_up(left, right)
    assert sorted(seen) == [1, 2, 2, 30, 30, 40]


async def test_a_combined_stream_that_skips(lab: Lab) -> None:
    """The policy of the agent holds for the events of all streams that it reads as one, pipes among them."""
    left, right, between = lab.topic("left"), lab.topic("right"), lab.topic("between")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in (stream & engine.topology.stream(right)).through(between):
            seen.append(value)
            raise ValueError(value)

    lab.put(left, [1, 2])
    lab.put(right, [3, 4])
    engine = lab.engine([lab.agent(body, left, on_failure="skip")], topics=[right])
    lab.engines.append(engine)
    await engine.start()
    await lab.until(lambda: len(seen) == 4, "all events")
    await lab.caught_up(left, right, between)
    assert sorted(seen) == [1, 2, 3, 4]


async def test_a_stream_beside_that_of_the_agent(lab: Lab) -> None:
    """An agent that leaves another stream before it reads its own keeps what its own open event has done."""
    topic, first, out = lab.topic("numbers"), lab.topic("first"), lab.topic("out")
    go_on = asyncio.Event()

    async def body(stream: Stream[Any]) -> None:
        async for _ in engine.topology.stream(first):
            await asyncio.sleep(5)  # both have events now
            break
        async for value in stream:
            await out.send(value)
            await go_on.wait()

    lab.put(first, [0])
    lab.put(topic, [1])
    engine = lab.engine([lab.agent(body, topic)], topics=[first, out], transactional_id="worker")
    lab.engines.append(engine)
    await engine.start()
    await asyncio.sleep(20)
    go_on.set()
    await lab.caught_up(topic)
    assert lab.values(out) == [1]


async def test_a_stream_of_a_task_by_another_key(lab: Lab) -> None:
    """Outside of agents, too, a stream goes through a topic; when it is left the pipe is gone, and it can be made again."""
    topic = lab.topic("numbers")
    engine = await lab.start([], [topic])
    lab.put(topic, range(4))

    async def read(count: int) -> list[Any]:
        seen: list[Any] = []
        items: AsyncIterator[Any] = engine.topology.stream(topic).group_by(lambda n: n % 2, name="parity").items()
        async for item in items:
            seen.append(item)
            if len(seen) == count:
                break
        await items.aclose()  # type: ignore[attr-defined]
        return seen

    assert await read(2) == [(b"0", 0), (b"1", 1)]
    assert not engine.topology.actors
    assert await read(2) == [(b"1", 1), (b"0", 2)]


Read = Callable[[Engine, Topic[Any, Any], Topic[Any, Any]], AsyncIterator[Any]]

READS: dict[str, Read] = {
    "values": lambda engine, topic, more: aiter(engine.topology.stream(topic)),
    "lists": lambda engine, topic, more: engine.topology.stream(topic).take(3),
    "lists in time": lambda engine, topic, more: engine.topology.stream(topic).take(3, within=1000.0),
    "combined": lambda engine, topic, more: aiter(engine.topology.stream(topic) & engine.topology.stream(more)),
    "piped": lambda engine, topic, more: aiter(engine.topology.stream(topic).through(more)),
    "a channel": lambda engine, topic, more: aiter(engine.topology.stream(Channel("local"))),
}


@pytest.mark.parametrize("kind", READS)
async def test_a_stream_ends_with_its_engine(lab: Lab, kind: str) -> None:
    """A task that is none of the app gets an error when the app stops, also one that asks only then; it can read the next start."""
    topic, more = lab.topic("numbers"), lab.topic("more")
    seen: list[Any] = []

    async def read(items: AsyncIterator[Any]) -> None:
        async for item in items:
            seen.append(item)

    for start in range(2):
        engine = await lab.start([], [topic, more])
        waits = asyncio.create_task(read(READS[kind](engine, topic, more)))
        late = aiter(engine.topology.stream(lab.topic(f"late-{start}")))
        seen.clear()
        lab.put(topic, [1, 2, 3])
        await asyncio.sleep(10)
        assert seen or kind == "a channel"
        await lab.stop(engine)
        engine.topology.end_streams()  # as an app does behind its own tasks
        async with asyncio.timeout(1):
            with pytest.raises(WorkerError, match="has ended: app app was stopped"):
                await waits
            with pytest.raises(WorkerError, match=f"stream stream-late-{start} has ended"):
                await anext(late)
        await asyncio.sleep(100)
        assert not engine.failure.done()
        assert not engine.topology.actors


async def test_streams_that_are_asked_after_the_end_of_their_engine(lab: Lab) -> None:
    """The engine that has stopped joins its group no more for the streams that are left, which never had a partition."""
    topic = lab.topic("numbers")
    engines = [await lab.start([], [topic]) for _ in range(2)]
    streams = [[aiter(engine.topology.stream(topic, name)) for name in ("one", "other")] for engine in engines]
    await lab.until(lambda: any(engine.ownership.sessions for engine in engines), "the partition")
    await asyncio.sleep(10)
    engine, (one, _) = next(pair for pair in zip(engines, streams, strict=True) if not pair[0].ownership.sessions)
    await lab.stop(engine)
    engine.topology.end_streams()
    before = asyncio.all_tasks()
    with pytest.raises(WorkerError, match="stream one has ended"):
        await anext(one)
    assert asyncio.all_tasks() <= before


# -- channels


async def test_asking_a_channel_for_nothing_changes_nothing() -> None:
    """``empty()`` and ``get()`` make no reader for whom senders wait."""
    channel: Channel[Any, Any] = Channel("c", maxsize=3)
    assert channel.empty()
    assert channel.subscriber_count == 0
    async with asyncio.timeout(1):
        for number in range(10):
            await channel.send(number)
    with pytest.raises(TimeoutError):
        await channel.get(timeout=1.0)
    assert channel.subscriber_count == 0


async def test_what_waits_for_get_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Events are kept between two calls of ``get()``, the newest of them when they are too many, which is told once."""
    channel: Channel[Any, Any] = Channel("c", maxsize=3)
    first = asyncio.ensure_future(channel.get())
    await asyncio.sleep(0)
    for number in range(6):
        await channel.send(number)
    assert (await first).value == 0
    assert [(await channel.get()).value for _ in range(3)] == [3, 4, 5]
    assert channel.empty()
    assert caplog.text.count("more than 3 events wait for get()") == 1


async def test_what_waits_for_get_outlasts_the_engine(lab: Lab) -> None:
    """A channel is of the program: a stop and a start between two calls of ``get()`` lose nothing."""
    channel: Channel[Any, Any] = Channel("c")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    engine = await lab.start([lab.agent(body, channel)])
    first = asyncio.ensure_future(channel.get())
    await asyncio.sleep(0)
    await channel.send(1)
    await channel.send(2)
    assert (await first).value == 1
    await lab.stop(engine)
    await channel.send(3)
    await lab.start([lab.agent(body, channel)])
    assert [(await channel.get()).value for _ in range(2)] == [2, 3]


async def test_many_get_at_once() -> None:
    """Each event goes to one of those who wait in ``get()``."""
    channel: Channel[Any, Any] = Channel("c")
    waiting = [asyncio.ensure_future(channel.get(timeout=5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    for number in range(3):
        await channel.send(number)
    assert sorted(event.value for event in await asyncio.gather(*waiting)) == [0, 1, 2]


async def test_a_second_start_reads_the_channel(lab: Lab) -> None:
    """When an app is started again its agent gets what is sent to the channel from then on; the one of before holds nobody up."""
    channel: Channel[Any, Any] = Channel("c", maxsize=2)
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)

    for start in range(2):
        engine = await lab.start([lab.agent(body, channel)])
        async with asyncio.timeout(5):
            for number in range(5):
                await channel.send((start, number))
        await lab.until(lambda count=5 * start + 5: len(seen) == count, "all")  # type: ignore[misc]
        await lab.stop(engine)
    async with asyncio.timeout(5):
        for number in range(5):
            await channel.send(number)


# -- pipes behind what is no topic


async def regrouped(lab: Lab, source: Any, target: Any, fill: Callable[[], Awaitable[Any]]) -> list[Any]:
    """What an agent reads behind ``group_by`` when ``source`` is filled."""
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for item in stream.group_by(lambda number: number % 2, name="parity", topic=target).items():
            seen.append(item)

    await lab.start([lab.agent(body, source, name="regroup")], discovery_interval=1.0)
    await fill()
    await lab.until(lambda: len(seen) == 3, "three events")
    return sorted(seen)


def target_of(lab: Lab, target: str) -> Any:
    """What the argument ``topic`` of ``group_by`` is."""
    return {"object": lab.topic("between"), "name": "between", "none": None}[target]


@pytest.mark.parametrize("target", ["object", "name", "none"])
async def test_a_channel_by_another_key(lab: Lab, target: str) -> None:
    """``group_by`` takes the events of a channel to a topic: an object, the name of one, or one that it names itself."""
    channel: Channel[Any, Any] = Channel("local", value_type=int)

    async def fill() -> None:
        for number in range(3):
            await channel.send(number)

    found = await regrouped(lab, channel, target_of(lab, target), fill)
    assert [(str(key).strip("b'"), value) for key, value in found] == [("0", 0), ("0", 2), ("1", 1)]
    assert lab.cluster.topic("app-regroup-local-parity-repartition" if target == "none" else "between")


@pytest.mark.parametrize("early", [False, True], ids=["topics that come later", "topics that exist"])
@pytest.mark.parametrize("target", ["object", "name", "none"])
async def test_a_pattern_by_another_key(lab: Lab, target: str, early: bool) -> None:
    """``group_by`` takes the events of all topics that match a pattern, also of those that appear later."""
    pattern: Any = TopicPattern("orders-.*", schema=Schema(value_type=int))

    async def fill() -> None:
        for number in range(3):
            if not early:
                lab.topic(f"orders-{number}")
            lab.put(Topic(f"orders-{number}", schema=Schema()), [number])

    if early:
        for number in range(3):
            lab.topic(f"orders-{number}")
    found = await regrouped(lab, pattern, target_of(lab, target), fill)
    assert [(str(key).strip("b'"), value) for key, value in found] == [("0", 0), ("0", 2), ("1", 1)]
    assert lab.cluster.topic("app-regroup-orders-parity-repartition" if target == "none" else "between")


async def test_a_pattern_that_matches_the_topic_between(lab: Lab) -> None:
    """Events that go through a topic are not read again by the pattern that they came by: not at the first start, and not at the next."""
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.through("orders-between").events():
            seen.append((event.message.topic, event.value))

    first = lab.topic("orders-first")
    for start in range(2):
        pattern: Any = TopicPattern("orders-.*", schema=Schema(value_type=int))
        engine = await lab.start([lab.agent(body, pattern, name="passing")], discovery_interval=1.0)
        lab.put(first, [start])
        await asyncio.sleep(10)
        await lab.stop(engine)
    assert seen == [("orders-between", 0), ("orders-between", 1)]


async def test_two_workers_share_a_pipe_behind_a_pattern(lab: Lab) -> None:
    """Each event goes through once, whichever worker has its partition, and equal keys meet on one of them."""
    seen: dict[int, set[Any]] = {0: set(), 1: set()}

    def agent(worker: int) -> Any:
        async def body(stream: Stream[Any]) -> None:
            async for key, value in stream.group_by(lambda number: number % 5, name="rest", partitions=4).items():
                seen[worker].add((key, value))

        return lab.agent(body, TopicPattern("orders-.*", schema=Schema(value_type=int)), name="regroup")

    topic = lab.topic("orders-one", 4)
    await asyncio.gather(lab.start([agent(0)]), lab.start([agent(1)]))
    for number in range(40):
        lab.put(topic, [number], number % 4)
    await lab.until(lambda: len(seen[0]) + len(seen[1]) == 40, "all events")
    await asyncio.sleep(5)
    assert not {key for key, _ in seen[0]} & {key for key, _ in seen[1]}
    assert len(lab.records("app-regroup-orders-rest-repartition", 0)) <= 40


@pytest.mark.parametrize("memory", [False, True])
async def test_a_pipe_that_cannot_start_leaves_nothing(lab: Lab, memory: bool) -> None:
    """A body that asks for a pipe that cannot be made fails each time with the reason, and is not silent at the second."""
    source: Any = Channel("local") if memory else lab.topic("numbers")
    reasons: list[str] = []

    async def body(stream: Stream[Any]) -> None:
        try:
            async for _ in stream.through("no topic name"):
                pass
        except ConfigurationError as error:
            reasons.append(str(error))
            raise

    engine = lab.engine([lab.agent(body, source)], max_restarts=2)
    lab.engines.append(engine)
    with pytest.raises(Exception, match="is no topic name"):
        await engine.start()
    assert len(reasons) == 3
    assert len(set(reasons)) == 1
    assert len(engine.topology.subscriptions) == 1
