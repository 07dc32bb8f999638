"""Events that fail, one after the other: what each costs, what is kept of it, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.errors import BrokerUnavailableError, CommitError, TransportError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Offset, RawRecord, TopicSpec
from stream_core.sending.dead_letters import PREFIX
from stream_core.streams.channel import Channel
from stream_core.streams.decoded import Rejected
from stream_core.streams.sessions import PIECE
from stream_core.streams.stream import Stream
from stream_core.values.codecs import Codec
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime

COUNT = 300
SOURCE = TP("numbers", 0)

FORMS: dict[str, Callable[[Stream[Any]], AsyncIterator[Any]]] = {
    "values": aiter,
    "events": lambda stream: stream.events(),
    "items": lambda stream: stream.items(),
    "processed": lambda stream: aiter(stream.filter(lambda value: True)),
    "lists": lambda stream: stream.take(1),
}
"""The ways to iterate that take events out of an inbox by different loops."""


class BadError(Exception):
    """What a body raises."""


def failing(form: str) -> Callable[[Stream[Any]], Any]:
    """A body that fails at every event."""

    async def body(stream: Stream[Any]) -> None:
        async for value in FORMS[form](stream):
            raise BadError(value)

    return body


async def turns_until(done: asyncio.Event) -> int:
    """How many turns the event loop gives to others before something is done; bounded, because no time passes meanwhile."""
    turns = 0
    while not done.is_set() and turns < 100 * COUNT:
        turns += 1
        await asyncio.sleep(0)
    return turns


@pytest.mark.parametrize("concurrency", [1, 2])
@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
@pytest.mark.parametrize("form", FORMS)
async def test_the_loop_goes_on(lab: Lab, form: str, policy: str, concurrency: int) -> None:
    """Heartbeats, commits and signals get their turn between any two events that fail, although the body waits for nothing."""
    topic = lab.topic("numbers")
    began, ended = asyncio.Event(), asyncio.Event()
    failures = 0

    async def body(stream: Stream[Any]) -> None:
        nonlocal failures
        async for _ in FORMS[form](stream):
            failures += 1
            began.set()
            if failures == COUNT:
                ended.set()
            raise BadError

    await lab.start(
        [lab.agent(body, topic, on_failure=policy, concurrency=concurrency)], [lab.topic("app-dead-letter")]
    )
    lab.put(topic, range(COUNT))
    await began.wait()
    assert await turns_until(ended) >= COUNT / concurrency - 1
    await lab.caught_up(topic)


@pytest.mark.parametrize("form", FORMS)
async def test_the_loop_goes_on_while_nothing_can_be_decoded(lab: Lab, form: str) -> None:
    """A chunk of which every record is passed over in the stream itself does not keep the loop either."""
    began, ended = asyncio.Event(), asyncio.Event()

    class Numbers(Codec):
        """Decodes numbers."""

        def _loads(self, data: bytes) -> int:
            began.set()
            return int(data)

    topic = lab.topic("numbers", schema=Schema(value_serializer=Numbers()), on_decode_error="skip")

    async def body(stream: Stream[Any]) -> None:
        async for _ in FORMS[form](stream):
            ended.set()

    await lab.start([lab.agent(body, topic)])
    lab.put(topic, [b"no number"] * 999 + [b"1"])
    await began.wait()
    assert await turns_until(ended) > 1
    await lab.caught_up(topic)


@dataclass(frozen=True)
class Counting(Schema):
    """Counts the values that are decoded."""

    decoded: list[int] = field(default_factory=list, compare=False)

    def loads_value(self, message: RawRecord, loads: Any) -> Any:
        """Count, and decode."""
        self.decoded.append(message.offset)
        return loads(message.value or b"")


@pytest.mark.parametrize("form", FORMS)
async def test_a_failure_costs_the_same_wherever_it_is(lab: Lab, form: str) -> None:
    """What is behind a failed event in its chunk is not decoded over and over: it costs a few records, however long the chunk is."""
    schema = Counting(value_type=int)
    topic = lab.topic("numbers", schema=schema)
    lab.put(topic, range(1000))
    await lab.start([lab.agent(failing(form), topic, on_failure="skip")])
    await lab.caught_up(topic)
    assert len(schema.decoded) / 1000 < 2 * PIECE


@pytest.mark.parametrize("memory", [False, True])
async def test_nothing_is_kept_of_a_failure(lab: Lab, memory: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Exceptions, with their tracebacks and all that these hold, are gone when their event is; what was decided, when it is committed."""
    caplog.set_level(logging.CRITICAL, "stream_core")  # pytest keeps what is logged
    topic: Any = Channel("numbers") if memory else lab.topic("numbers")
    raised: list[weakref.ref[BadError]] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            error = BadError(value)
            raised.append(weakref.ref(error))
            raise error

    engine = await lab.start([lab.agent(body, topic, on_failure="skip")])
    (subscription,) = engine.topology.subscriptions
    for value in range(20):
        await topic.send(value)
    await lab.until(lambda: len(raised) == 20, "all have failed")
    if not memory:
        await lab.caught_up(topic)
    await topic.send(20)
    await lab.until(lambda: len(raised) == 21, "another has failed")
    await asyncio.sleep(1)

    gc.collect()
    assert [error() for error in raised] == [None] * 21
    assert sum(len(known) for known in subscription.verdicts.values()) <= (0 if memory else 1)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"])
async def test_what_failed_for_good_is_not_run_again(lab: Lab, form: str, settings: dict[str, Any]) -> None:
    """When the interval of a failed event is dropped and replayed, the event is passed over again; its body does not see it twice."""
    topic, dead = lab.topic("numbers"), lab.topic("app-dead-letter")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for item in FORMS[form](stream):
            value = {"items": lambda i: i[1], "events": lambda i: i.value, "lists": lambda i: i[0]}.get(
                form, lambda i: i
            )(item)
            seen.append(value)
            if value == 2:
                raise BadError(value)

    await lab.start([lab.agent(body, topic, on_failure="dead_letter")], commit_interval=5.0, **settings)
    operation = "txn_offset_commit" if settings else "offset_commit"
    lab.cluster.faults.fail_next(operation, CommitError("provoked"))
    lab.put(topic, range(5))
    await lab.caught_up(topic)

    assert seen == [0, 1, 2, 3, 4, 0, 1, 3, 4]
    assert [record.value for record in lab.records(dead.name)] == [b"2"] * (1 if settings else 2)


async def test_a_letter_is_found_again(lab: Lab) -> None:
    """By what is told of the failure: the last of several letters of the same event, and none that another agent wrote."""
    topic, dead = lab.topic("numbers"), lab.topic("app-dead-letter", partitions=3)

    async def one(stream: Stream[Any]) -> None:
        async for value in stream:
            raise BadError(value)

    async def two(stream: Stream[Any]) -> None:
        async for value in stream:
            if value == 1:
                raise BadError(value)

    agents = [lab.agent(each, topic, on_failure="dead_letter") for each in (one, two)]
    engine = await lab.start(agents, [dead], transactional_id="worker")
    lab.put(topic, range(3))
    await lab.caught_up(topic)

    failures = engine.snapshot().failures
    assert len(failures) == 4
    for failure in failures:
        found = await engine.letters.find(failure)
        assert found is not None
        where, record = found
        assert where.topic == "app-dead-letter"
        assert record.value == str(failure.offset).encode()
        assert (f"{PREFIX}agent", failure.reader.encode()) in record.headers
    assert await engine.letters.find(replace(failures[0], offset=99)) is None
    assert await engine.letters.find(replace(failures[0], letters="elsewhere")) is None
    lab.cluster.faults.fail_next("connect", BrokerUnavailableError("nobody listens"))
    with pytest.raises(BrokerUnavailableError, match="nobody listens"):
        await engine.letters.find(failures[0])
    lab.cluster.faults.damaged[TP("app-dead-letter", 0)] = "wrong checksum"
    lab.cluster.faults.damaged[TP("app-dead-letter", 1)] = "wrong checksum"
    lab.cluster.faults.damaged[TP("app-dead-letter", 2)] = "wrong checksum"
    with pytest.raises(TransportError):
        await engine.letters.find(failures[0])


async def test_what_steps_sent_for_events_of_a_failed_list(lab: Lab) -> None:
    """A list that fails for good takes nothing from events that a step dropped: what was sent for them counts."""
    topic, copies = lab.topic("numbers"), lab.topic("copies")

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.echo(copies).filter(lambda value: value != 1).take(2):
            if 0 in values:
                raise BadError(values)

    lab.put(topic, range(5))
    await lab.start([lab.agent(body, topic, on_failure="skip")], [copies], transactional_id="worker")
    await lab.until(lambda: lab.values(copies) == [1, 3, 4], "copies of all but the events that failed")


@pytest.mark.parametrize("exactly_once", [False, True])
async def test_one_question_has_one_answer(lab: Lab, exactly_once: bool) -> None:
    """Whoever asked hears once that the event of the question failed, whatever the policy that gives it up."""
    answers = lab.topic("answers")
    policies = {"skip": "skip", "letter": "dead_letter", "retry": FailurePolicy.retry(1, then="skip")}
    agents = [
        lab.agent(failing("values"), lab.topic(name), name=name, on_failure=policy) for name, policy in policies.items()
    ]
    undecodable = lab.topic("undecodable", schema=Schema(value_type=int), on_decode_error="skip")
    agents.append(lab.agent(failing("values"), undecodable, name="undecodable", on_failure="skip"))
    local: Channel[Any, Any] = Channel("local")
    agents.append(Agent(failing("values"), name="local", topic=local, on_failure="skip"))
    await lab.start(agents, [answers], transactional_id="worker" if exactly_once else None)
    for agent in agents:
        await agent.send(value="x", reply_to="answers", correlation_id=agent.name)
    await lab.until(lambda: len(lab.records("answers")) >= len(agents), "all answers")
    await asyncio.sleep(5)
    assert len(lab.records("answers")) == len(agents)


async def test_a_verdict_is_not_said_of_another_topic(lab: Lab) -> None:
    """When the topic is made again its events have the offsets of others: they are worked on."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 1:
                raise BadError(value)

    lab.put(topic, range(3))
    engine = await lab.start([lab.agent(body, topic, on_failure="skip")], commit_interval=1000.0)
    await lab.until(lambda: seen == [0, 1, 2], "all are worked on, and one is skipped")
    lab.cluster.delete("numbers")
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(topic, [10, 11, 12])
    assert not await engine.checkpoint()
    await lab.until(lambda: seen == [0, 1, 2, 10, 11, 12], "all of the other topic are worked on")


async def test_a_verdict_is_not_said_of_a_log_that_was_cut_off(lab: Lab) -> None:
    """After an unclean election other events may get the offsets of those that are gone."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 2:
                raise BadError(value)

    lab.put(topic, range(4))
    engine = await lab.start([lab.agent(body, topic, on_failure="skip")], commit_interval=1000.0)
    await lab.until(lambda: seen == [0, 1, 2, 3], "all are worked on, and one is skipped")
    (subscription,) = engine.topology.subscriptions
    assert len(subscription.verdicts[SOURCE]) == 1
    lab.cluster.log(SOURCE).cut_off(2)
    engine.clients.consumer.seek(SOURCE, 4)
    await lab.until(lambda: lab.committed(topic) == Offset(2), "the log is found shorter")
    lab.put(topic, [12, 13])
    await lab.until(lambda: seen[-2:] == [12, 13], "what has its offset now is worked on")


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_an_interruption_does_not_forget_what_was_decided_in_memory(lab: Lab, concurrency: int) -> None:
    """An event of a channel that is given up is not worked on again, although its actor is interrupted while that is told."""
    channel, seen = Channel[Any, int]("numbers"), list[int]()

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            raise BadError(value)

    engine = await lab.start([lab.agent(body, channel, on_failure="skip", concurrency=concurrency)])
    (subscription,) = engine.topology.subscriptions
    told, calls = asyncio.Event(), list[int]()

    async def reject(tp: TP, one: Rejected) -> None:
        calls.append(one.record.offset)
        if len(calls) == 1:
            told.set()
            await asyncio.Event().wait()

    subscription.reject = reject
    await channel.send(5)
    await told.wait()
    for actor in engine.topology.actors:
        actor.interrupt()
    await channel.send(6)
    await lab.until(lambda: 6 in seen, "the one behind it is worked on")
    await lab.until(lambda: not subscription.verdicts[TP("numbers", -1)], "nothing is kept of it")
    assert (seen, calls) == ([5, 6], [0, 0, 1])
