"""Agents: what a failing, cancelled or returning body does to its event, by policy, and what several actors commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from random import Random
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.errors import ConfigurationError, DecodeError, ProduceError, WorkerError
from stream_core.primitives import TP, Offset
from stream_core.streams.channel import Channel
from stream_core.streams.events import current_event
from stream_core.streams.stream import Stream
from stream_core.values.schemas import SHOWN, Schema

from .harness import Lab

pytestmark = pytest.mark.looptime


def number_schema() -> Schema:
    """Values that must be numbers."""
    return Schema(value_type=int)


class Failing:
    """A body that notes what it gets, and fails at one value a number of times.

    Args:
        at: the value.
        times: how often it fails.
    """

    def __init__(self, at: Any, times: int) -> None:
        self.seen: list[Any] = []
        self._at = at
        self._left = times

    async def body(self, stream: Stream[Any]) -> None:
        """Note each value, then maybe fail."""
        async for value in stream:
            self.seen.append(value)
            if value == self._at and self._left:
                self._left -= 1
                raise ValueError(f"cannot work on {value}")


async def test_crash_brings_the_same_event_first(lab: Lab) -> None:
    """After a failure the same event comes first, and the later ones follow, each once."""
    topic = lab.topic("numbers")
    failing = Failing(at=3, times=2)
    lab.put(topic, range(6))

    await lab.start([lab.agent(failing.body, topic)])
    await lab.caught_up(topic)

    assert failing.seen == [0, 1, 2, 3, 3, 3, 4, 5]


async def test_crash_gives_up_in_the_end(lab: Lab) -> None:
    """An event that fails again and again ends the worker, with an error that names agent, partition, offset and cause."""
    topic = lab.topic("numbers")
    failing = Failing(at=3, times=100)

    engine = await lab.start([lab.agent(failing.body, topic)], max_restarts=2)
    lab.put(topic, range(6))
    error = await lab.failed(engine)

    assert isinstance(error, WorkerError)
    for part in ("agent body[0]", "3 times", "numbers-0 offset 3", "ValueError: cannot work on 3", 'on_failure="skip"'):
        assert part in str(error)
    assert isinstance(error.__cause__, ValueError)
    await lab.stop(engine)
    assert failing.seen == [0, 1, 2, 3, 3, 3]
    assert lab.committed(topic) == Offset(3)


async def test_failures_count_per_event(lab: Lab) -> None:
    """Failures of different events do not add up."""
    topic = lab.topic("numbers")
    seen: list[int] = []

    async def moody(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if seen.count(value) <= 2:
                raise ValueError(value)

    lab.put(topic, range(4))
    await lab.start([lab.agent(moody, topic)], max_restarts=2)
    await lab.caught_up(topic)
    assert seen == [value for value in range(4) for _ in range(3)]


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_skip_goes_on_behind(lab: Lab, exactly_once: bool) -> None:
    """The event that failed does not come again; under exactly-once its sends never happened."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    lab.put(topic, range(5))

    async def picky(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            if value in (2, 4):
                raise ValueError(value)

    await lab.start(
        [lab.agent(picky, topic, on_failure="skip")], [out], transactional_id="worker" if exactly_once else None
    )
    await lab.caught_up(topic)

    assert lab.values(out) == ([0, 1, 3] if exactly_once else [0, 1, 2, 3, 4])


async def test_skip_after_the_acknowledgement(lab: Lab) -> None:
    """An event that failed after its sends were in the transaction is skipped too: the interval is replayed without it."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    lab.put(topic, range(5))

    async def late(stream: Stream[int]) -> None:
        async for value in stream:
            await (await out.send(value))
            if value == 2:
                raise ValueError(value)

    await lab.start([lab.agent(late, topic, on_failure="skip")], [out], transactional_id="worker")
    await lab.caught_up(topic)

    assert lab.values(out) == [0, 1, 3, 4]


async def test_a_failed_event_leaves_no_sends(lab: Lab) -> None:
    """Under exactly-once the sends of an event that fails first and succeeds then are there once."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    lab.put(topic, range(4))
    failed: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            if value == 2 and len(failed) < 3:
                failed.append(value)
                raise ValueError(value)

    await lab.start([lab.agent(body, topic)], [out], transactional_id="worker")
    await lab.caught_up(topic)

    assert lab.values(out, committed=False) == [0, 1, 2, 3]


async def test_decode_errors_crash(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Without a policy a record that cannot be decoded ends the worker at once, after all events before it."""
    topic = lab.topic("numbers", schema=number_schema())
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)], max_restarts=1)
    lab.put(topic, [0, 1, b"no number", 3])
    error = await lab.failed(engine)

    assert isinstance(error, WorkerError)
    assert isinstance(error.__cause__, DecodeError)
    assert (error.__cause__.tp, error.__cause__.offset) == (TP("numbers", 0), 2)
    assert "topic numbers, partition 0, offset 2" in str(error)
    assert "comes first again" not in caplog.text
    await lab.stop(engine)
    assert seen == [0, 1]
    assert lab.committed(topic) == Offset(2)


@pytest.mark.parametrize(("level", "traced"), [("INFO", False), ("DEBUG", True)])
async def test_decode_errors_are_skipped(lab: Lab, caplog: pytest.LogCaptureFixture, level: str, traced: bool) -> None:
    """With the policy of the topic such a record is one line of the log, with its place, and is passed over, also as the last one."""
    caplog.set_level(level)
    topic = lab.topic("numbers", schema=number_schema(), on_decode_error="skip")
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    lab.put(topic, [b"no", 1, b"no number", 3, b"9" * SHOWN + b"!", b"{"])
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)

    assert seen == [1, 3]
    lines = [line for line in caplog.records if line.getMessage().startswith("skipped numbers-0 offset ")]
    assert [line.getMessage().split()[3] for line in lines] == ["0,", "2,", "4,", "5,"]
    assert [line.exc_info is not None for line in lines] == [traced] * 4
    assert [f"in b'{'9' * SHOWN}' and more [" in line.getMessage() for line in lines] == [False, False, True, False]


async def test_a_cancelled_event_is_not_finished(lab: Lab) -> None:
    """A worker that stops while an event is open leaves it to its successor, with everything behind it."""
    topic = lab.topic("numbers")
    lab.put(topic, range(4))
    seen: list[int] = []
    blocked = asyncio.Event()

    async def stuck(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 2 and not blocked.is_set():
                blocked.set()
                await asyncio.get_running_loop().create_future()

    agent = lab.agent(stuck, topic)
    engine = await lab.start([agent], drain_timeout=1.0)
    await blocked.wait()
    await lab.stop(engine)
    assert lab.committed(topic) == Offset(2)

    await lab.start([agent])
    await lab.caught_up(topic)
    assert seen == [0, 1, 2, 2, 3]


async def test_a_cancelled_wait_is_a_failure(lab: Lab) -> None:
    """A body that waits for something that is cancelled has failed like any other; the agent does not end silently."""
    topic = lab.topic("numbers")
    lab.put(topic, range(3))
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if seen == [0, 1]:
                waiting = asyncio.get_running_loop().create_future()
                waiting.cancel()
                await waiting

    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert seen == [0, 1, 1, 2]


async def test_a_body_must_not_return(lab: Lab) -> None:
    """A body that leaves its loop ends the worker with a sentence that says what to do; its event is not finished."""
    topic = lab.topic("numbers")

    async def hasty(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 1:
                break

    engine = await lab.start([lab.agent(hasty, topic)])
    lab.put(topic, range(3))
    error = await lab.failed(engine)
    await lab.stop(engine)

    assert isinstance(error, WorkerError)
    assert "agent hasty[0] returned although its stream never ends" in str(error)
    assert lab.committed(topic) == Offset(1)


@pytest.mark.parametrize("seed", range(5))
async def test_actors_commit_the_finished_prefix(lab: Lab, seed: int) -> None:
    """With events that finish in random order, what is committed never passes one that is unfinished."""
    topic = lab.topic("numbers")
    random, unfinished, wrong = Random(seed), set(range(60)), list[str]()
    lab.put(topic, range(60))

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await asyncio.sleep(random.choice([0, 0.01, 0.05, 0.4]))
            committed = lab.committed(topic)
            if committed is not None and committed.offset > min(unfinished):
                wrong.append(f"{committed.offset} is committed, unfinished are {sorted(unfinished)}")
            unfinished.discard(value)

    await lab.start([lab.agent(body, topic, concurrency=4)])
    await lab.caught_up(topic)

    assert not wrong
    assert not unfinished


@pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"])
async def test_actors_survive_a_rebalance(lab: Lab, settings: dict[str, Any]) -> None:
    """Events that several actors have open when partitions are taken away are finished and committed once, with their sends."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    lab.put(topic, range(20))
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            await out.send(value)
            await asyncio.sleep(1 + value % 3)

    agent = lab.agent(body, topic, concurrency=4)
    engine = await lab.start([agent], [out], **settings)
    await lab.until(lambda: len(seen) >= 8, "more than one event each")
    await lab.stop(engine)
    assert lab.committed(topic) == Offset(len(seen))
    assert sorted(lab.values(out)) == sorted(seen)

    await lab.start([agent], [out], **settings)
    await lab.caught_up(topic)
    assert sorted(seen) == list(range(20))
    assert sorted(lab.values(out)) == list(range(20))


async def test_actors_send_exactly_once(lab: Lab) -> None:
    """Under exactly-once nothing is sent twice, although events finish in any order and the worker is replaced."""
    topic, out = lab.topic("numbers", 2), lab.topic("out")
    lab.put(topic, range(10))
    blocked = asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            if value == 0 and not blocked.is_set():
                blocked.set()
                await asyncio.get_running_loop().create_future()

    agent = lab.agent(body, topic, concurrency=2)
    engine = await lab.start([agent], [out], transactional_id="worker", drain_timeout=1.0)
    await blocked.wait()
    lab.put(topic, [10], partition=1)
    await lab.until(lambda: lab.committed(topic, 1) == Offset(1), "the other partition is committed")
    await lab.stop(engine)

    await lab.start([agent], [out], transactional_id="worker")
    await lab.caught_up(topic)
    assert sorted(lab.values(out)) == list(range(11))


async def test_actors_await_acknowledgements_out_of_order(lab: Lab) -> None:
    """Under exactly-once an event may await its acknowledgement after a later one has finished, while a checkpoint is due."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            sent = await out.send(value)
            await asyncio.sleep(1 - value)
            await sent

    lab.put(topic, [0, 1])
    await lab.start([lab.agent(body, topic, concurrency=2)], [out], transactional_id="worker")
    async with asyncio.timeout(20):
        await lab.caught_up(topic)
    assert lab.values(out) == [0, 1]


async def test_a_broken_producer_is_not_the_event_s_fault(lab: Lab) -> None:
    """When a send fails the interval is replayed with a new producer at once, long before the next checkpoint is due."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            await (await out.send(value))

    await lab.start([lab.agent(body, topic)], [out], commit_interval=1000.0)
    lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
    lab.put(topic, range(3))
    await lab.until(lambda: lab.values(out) == [0, 1, 2], "all is sent", timeout=30)
    assert seen == [0, 0, 1, 2]


async def test_current_event(lab: Lab) -> None:
    """Inside an event ``current_event()`` and ``stream.current_event`` tell which; outside there is none."""
    topic = lab.topic("numbers")
    lab.put(topic, [7])
    seen: list[Any] = []

    async def body(stream: Stream[int]) -> None:
        seen.append((current_event(), stream.current_event))
        async for value in stream:
            event, same = current_event(), stream.current_event
            assert event is not None
            assert same is not None
            seen.append((value, event.value, same.value, event.message.tp, event.message.offset))

    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert seen == [(None, None), (7, 7, 7, TP("numbers", 0), 0)]
    assert current_event() is None


class Counter:
    """Has a body as a method."""

    def __init__(self) -> None:
        self.total = 0

    async def count(self, stream: Stream[int]) -> None:
        """Add up."""
        async for value in stream:
            self.total += value


async def test_methods_and_partials_are_bodies(lab: Lab) -> None:
    """A body may be a method, or a function of which some arguments are given; their docstrings are the help."""
    topic = lab.topic("numbers")
    counter, seen = Counter(), list[int]()

    async def scale(stream: Stream[int], factor: int) -> AsyncIterator[int]:
        """Multiply."""
        async for value in stream:
            yield value * factor

    method = lab.agent(counter.count, topic)
    part = Agent(partial(scale, factor=10), name="scale", topic=topic, sink=[seen.append])
    assert (method.help, part.help) == ("Add up.", "Multiply.")
    lab.put(topic, range(4))
    await lab.start([method, part])
    await lab.caught_up(topic)
    assert counter.total == 6
    assert seen == [0, 10, 20, 30]


def test_definitions_are_checked(lab: Lab) -> None:
    """What cannot be an agent is refused where it is defined, in a sentence that names it."""
    topic = lab.topic("numbers")

    def plain(stream: Stream[int]) -> None:
        raise AssertionError("refused before it runs")

    async def good(stream: Stream[int]) -> None:
        raise AssertionError("refused before it runs")

    with pytest.raises(ConfigurationError, match="agent plain: write it as `async def`"):
        Agent(plain, name="plain", topic=topic)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigurationError, match=r"agent good: isolated_partitions has one actor .* concurrency=2 lets"
    ):
        Agent(good, name="good", topic=topic, isolated_partitions=True, concurrency=2)
    with pytest.raises(ConfigurationError, match=r"agent good reads .*, which has no partitions"):
        Agent(good, name="good", topic=Channel(), isolated_partitions=True)
    with pytest.raises(ConfigurationError, match="concurrency=0 is not at least 1"):
        Agent(good, name="good", topic=topic, concurrency=0)
    with pytest.raises(
        ConfigurationError,
        match="agent good: 'explode' is no failure policy; there are 'crash', 'skip', 'dead_letter', 'retry'",
    ):
        Agent(good, name="good", topic=topic, on_failure="explode")
