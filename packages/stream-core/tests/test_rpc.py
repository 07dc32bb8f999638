"""Agents that are asked: what comes back, when, and what happens when nothing does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream_core.agents import Agent
from stream_core.channels import Channel
from stream_core.errors import ConfigurationError, NoReplyError, RequestFailedError
from stream_core.models import Record
from stream_core.replies import CORRELATION_ID, REPLY_TO
from stream_core.schemas import Schema
from stream_core.streams import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime


class Sum(Record, namespace="tests.rpc.Sum"):
    """An answer with structure."""

    total: int


async def double(stream: Stream[Any]) -> AsyncIterator[Any]:
    """Answers with twice the value."""
    async for value in stream:
        yield value * 2


async def doubling(lab: Lab, **settings: Any) -> Agent:
    """A running agent that doubles."""
    agent = lab.agent(double, lab.topic("numbers", 2))
    await lab.start([agent], **settings)
    return agent


@pytest.mark.parametrize("transactional_id", [None, "app-0"])
async def test_ask(lab: Lab, transactional_id: str | None) -> None:
    """The answer is the value that the agent yields."""
    agent = await doubling(lab, transactional_id=transactional_id)
    assert await agent.ask(3) == 6
    assert await agent.ask("ab", key="k") == "abab"


async def test_answers_can_be_awaited_later(lab: Lab) -> None:
    """``ask_nowait`` gives a promise, with the id that the question carries."""
    agent = await doubling(lab)
    promise = await agent.ask_nowait(4, correlation_id="mine")
    assert not promise.done()
    assert promise.correlation_id == "mine"
    assert await promise == 8


async def test_many_questions(lab: Lab) -> None:
    """``join`` keeps the order, ``map`` does not; both take plain and asynchronous iterables, with keys too."""
    agent = await doubling(lab)

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    assert await agent.join([1, 2, 3]) == [2, 4, 6]
    assert await agent.join(numbers()) == [0, 2, 4]
    assert await agent.kvjoin([("a", 1), ("b", 2)]) == [2, 4]
    assert sorted([answer async for answer in agent.map(range(20))]) == list(range(0, 40, 2))
    assert sorted([answer async for answer in agent.kvmap([("a", 1), ("b", 2)])]) == [2, 4]


async def test_more_questions_than_wait_at_a_time(lab: Lab) -> None:
    """What exceeds the window is asked when there is room."""
    agent = await doubling(lab)
    assert await agent.join(range(2500)) == list(range(0, 5000, 2))
    assert sorted([answer async for answer in agent.map(range(1500))]) == list(range(0, 3000, 2))


async def test_records_come_back_as_records(lab: Lab) -> None:
    """An answer of a record class is one again for whoever asked, also inside of a list; text and bytes are text."""
    topic = lab.topic("numbers", schema=Schema(value_type=int))

    async def answer(stream: Stream[int]) -> AsyncIterator[Any]:
        async for value in stream:
            yield [Sum(total=1), Sum(total=2), b"text"][value] if value < 3 else [Sum(total=value)]

    agent = lab.agent(answer, topic)
    await lab.start([agent])
    assert await agent.join([0, 1, 2, 3]) == [Sum(total=1), Sum(total=2), "text", [Sum(total=3)]]


async def test_the_wire_format(lab: Lab) -> None:
    """Questions carry Faust's headers, answers are Faust's objects, on a topic of one's own if wanted."""
    answers = lab.topic("answers")
    agent = await doubling(lab, topics=[answers])

    await agent.send(key="k", value=5, reply_to=answers, correlation_id="id-1")
    await lab.until(lambda: bool(lab.values(answers)), "the answer")

    (question,) = [record for partition in range(2) for record in lab.records("numbers", partition)]
    assert dict(question.headers) == {REPLY_TO: b"answers", CORRELATION_ID: b"id-1"}
    (answer,) = lab.records("answers")
    assert answer.key is None
    assert answer.value == b'{"key":"k","value":10,"correlation_id":"id-1","__faust":{"ns":"@ReqRepResponse"}}'


async def test_an_answer_on_a_topic_of_ones_own(lab: Lab) -> None:
    """``ask(reply_to=...)`` waits for the answer on that topic."""
    answers = lab.topic("answers", 3)
    agent = await doubling(lab, topics=[answers])
    assert await agent.ask(5, reply_to=answers) == 10
    assert sum(len(lab.records("answers", partition)) for partition in range(3)) == 1


async def test_cast_and_send(lab: Lab) -> None:
    """``cast`` waits for nothing; ``send`` gives what can be awaited for the metadata."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def note(stream: Stream[Any]) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value, event.headers))

    agent = lab.agent(note, topic)
    await lab.start([agent])
    await agent.cast(1, key="a", headers={"h": b"x"})
    assert (await (await agent.send(value=2))).offset == 1
    await lab.until(lambda: len(seen) == 2, "two events")
    assert seen == [("a", 1, {"h": b"x"}), (None, 2, {})]


async def test_an_agent_asks_another(lab: Lab) -> None:
    """Inside an event, under exactly-once too: the question does not wait for the commit of the event that asks."""
    first, out = lab.topic("first"), lab.topic("out")
    other = lab.agent(double, lab.topic("numbers"))

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(await other.ask(value))

    lab.put(first, [1, 2])
    await lab.start([lab.agent(forward, first), other], topics=[out], transactional_id="app-0")
    await lab.caught_up(first)
    assert lab.values(out) == [2, 4]


async def test_a_failed_question(lab: Lab) -> None:
    """When the failure policy gives an event up, whoever asked is told why."""
    topic = lab.topic("numbers", schema=Schema(value_type=int), on_decode_error="skip")

    async def fragile(stream: Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            if value == 13:
                raise ValueError("unlucky")
            yield value

    agent = lab.agent(fragile, topic, on_failure="skip")
    await lab.start([agent])
    with pytest.raises(RequestFailedError, match=r"numbers-0 offset 0.*unlucky"):
        await agent.ask(13)
    assert await agent.ask(14) == 14
    with pytest.raises(RequestFailedError, match="cannot decode"):
        await agent.ask("no number")


async def test_no_answer(lab: Lab) -> None:
    """``ask`` gives up after its timeout and names the agent; a late answer is ignored."""
    topic = lab.topic("numbers")
    go_on = asyncio.Event()

    async def slow(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            await go_on.wait()
            yield value

    agent = lab.agent(slow, topic)
    await lab.start([agent])
    with pytest.raises(NoReplyError, match=r"agent slow has not answered within 2 s"):
        await agent.ask(1, timeout=2)
    go_on.set()
    assert await agent.ask(2) == 2


async def test_who_cannot_be_asked(lab: Lab) -> None:
    """An agent that yields nothing, or an app that does not run, is an error that says so."""
    topic = lab.topic("numbers")

    async def silent(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    with pytest.raises(ConfigurationError, match="agent silent answers nobody"):
        await lab.agent(silent, topic).ask(1)
    agent = lab.agent(double, topic)
    with pytest.raises(ConfigurationError, match="not started"):
        await agent.ask(1)
    engine = await lab.start([agent])
    await agent.ask(1)
    await lab.stop(engine)
    with pytest.raises(ConfigurationError, match="not started"):
        await agent.ask(1)


async def test_the_end_of_the_app_fails_what_waits(lab: Lab) -> None:
    """Nobody waits for ever: promises fail when the app stops, and its reply topic goes."""
    topic = lab.topic("numbers")

    async def never(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            if value == "never":
                yield value

    agent = lab.agent(never, topic)
    engine = await lab.start([agent])
    promise = await agent.ask_nowait(1)
    assert engine.replies.topic in lab.cluster.topics()
    await lab.stop(engine)
    with pytest.raises(RequestFailedError, match="stopped"):
        await promise
    assert engine.replies.topic not in lab.cluster.topics()


async def test_lists_are_answered_one_by_one(lab: Lab) -> None:
    """In a list of ``take`` the first value that is yielded answers the first event, and so on."""
    topic = lab.topic("numbers")

    async def in_lists(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for values in stream.take(3, within=1.0):
            for value in values:
                yield value + 1

    agent = lab.agent(in_lists, topic)
    await lab.start([agent])
    assert await agent.join(range(7)) == list(range(1, 8))


async def test_a_client_asks(lab: Lab) -> None:
    """A program that runs no agents can ask those of others, and takes no partitions."""
    topic = lab.topic("numbers")
    await lab.start([lab.agent(double, topic)])
    handle = lab.agent(double, topic)
    await lab.start([handle], client_only=True)
    assert await handle.ask(21) == 42
    assert len(lab.cluster.group("app").members) == 1


async def test_an_agent_on_a_channel_answers(lab: Lab) -> None:
    """Agents that read a channel are asked in the same way."""
    channel: Channel[Any, Any] = Channel("local")
    agent = lab.agent(double, channel)
    await lab.start([agent])
    assert await agent.ask(4) == 8


async def test_an_unreadable_answer_is_passed_over(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What somebody else wrote to the reply topic does no harm."""
    answers = lab.topic("answers")
    agent = await doubling(lab, topics=[answers])
    assert await agent.ask(1, reply_to=answers) == 2
    for value in (b"{", b"7", json.dumps({"correlation_id": "unknown"}).encode()):
        lab.put(answers, [value])
    assert await agent.ask(2, reply_to=answers) == 4
    assert caplog.text.count("cannot be read") == 2
