"""Agents that are asked: what comes back, when, and what happens when nothing does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.agents.agent import Agent, current_agent
from stream_core.agents.questions import CORRELATION_ID, REPLY_TO
from stream_core.errors import (
    ConfigurationError,
    DeadlineError,
    EncodeError,
    NoReplyError,
    ProduceError,
    RequestFailedError,
)
from stream_core.memory.log import Entry
from stream_core.memory.reader import MemoryReader
from stream_core.primitives import TP
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.values.record import Record
from stream_core.values.schemas import Schema

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


QUESTION_HEADERS = st.lists(
    st.tuples(
        st.sampled_from([REPLY_TO, CORRELATION_ID, "other", ""]) | st.text(max_size=5),
        st.none()
        | st.binary(max_size=20)
        | st.sampled_from([b"answers", b"..", b"a" * 300, b"no topic", b"\xff\xfe", b"x" * 5000, "ü".encode()]),
    ),
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(
    questions=st.lists(QUESTION_HEADERS, min_size=1, max_size=4),
    policy=st.sampled_from(["skip", "dead_letter"]),
    answers=st.booleans(),
    exactly_once=st.booleans(),
)
async def test_whatever_the_headers_of_a_question_say(
    questions: list[list[tuple[str, bytes | None]]], policy: str, answers: bool, exactly_once: bool
) -> None:
    """One record of anybody does not stop a group: its event goes by the policy of its agent, and the next one is worked on."""
    seen: list[int] = []

    def check(value: int) -> int:
        seen.append(value)
        if value % 2:
            raise ValueError(value)
        return value

    async def answering(stream: Stream[int]) -> AsyncIterator[int]:
        async for value in stream:
            yield check(value)

    async def silent(stream: Stream[int]) -> None:
        async for value in stream:
            check(value)

    async with Lab() as lab:
        topic = lab.topic("numbers", schema=Schema(value_type=int), on_decode_error=policy)
        agent = lab.agent(answering if answers else silent, topic, on_failure=policy)
        topics = [lab.topic("answers"), lab.topic("app-dead-letter")]
        engine = await lab.start([agent], topics, transactional_id="worker" if exactly_once else None)
        for number, headers in enumerate(questions):
            for value in (b"%d" % (2 * number), b"%d" % (2 * number + 1), b"no number"):
                lab.cluster.append(TP("numbers", 0), [Entry(0, None, value, headers)])
        await lab.caught_up(topic)
        await lab.stop(engine)
    assert seen == list(range(2 * len(questions)))


async def test_a_question_that_cannot_be_answered_is_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """It is one line, with what its headers say; a question behind it is answered."""
    agent = await doubling(lab)
    headers = [(REPLY_TO, b"\xff"), (CORRELATION_ID, b"1")]
    lab.cluster.append(TP("numbers", 0), [Entry(0, None, b"1", headers)])
    assert await agent.ask(3, partition=0) == 6
    assert caplog.text.count("is not answered") == 1


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


async def test_where_answers_cannot_go(lab: Lab) -> None:
    """A reply topic that does not exist, and a channel, are refused before anything is asked."""
    agent = await doubling(lab)
    with pytest.raises(ConfigurationError, match="answers cannot go to topic nowhere, which does not exist"):
        await agent.ask(1, reply_to="nowhere")
    with pytest.raises(ConfigurationError, match="answers cannot go to <Channel local>"):
        await agent.ask(1, reply_to=Channel("local"))
    assert await agent.ask(2) == 4
    assert sum(len(lab.records("numbers", partition)) for partition in range(2)) == 1


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
    """Nobody waits for ever: promises fail when the app stops. Its reply topic stays, because the answer may come yet."""
    topic = lab.topic("numbers")

    async def never(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            if value == "never":
                yield value

    agent = lab.agent(never, topic)
    engine = await lab.start([agent])
    promise = await agent.ask_nowait(1)
    await lab.stop(engine)
    with pytest.raises(RequestFailedError, match="stopped"):
        await promise
    assert engine.replies.topic in lab.cluster.topics()


async def test_the_reply_topic_goes_with_the_app(lab: Lab) -> None:
    """When every question is answered, be it late, the topic is deleted at the end."""
    topic = lab.topic("numbers")

    async def slow(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            await asyncio.sleep(value)
            yield value

    agent = lab.agent(slow, topic)
    engine = await lab.start([agent])
    with pytest.raises(NoReplyError):
        await agent.ask(3, timeout=2)
    assert await agent.ask(0) == 0
    assert engine.replies.topic in lab.cluster.topics()
    await lab.stop(engine)
    assert engine.replies.topic not in lab.cluster.topics()


@pytest.mark.parametrize("transactional_id", [None, "app-0"])
async def test_a_worker_outlives_whom_it_has_answered(lab: Lab, transactional_id: str | None) -> None:
    """When its producer breaks after a reply topic was deleted, the worker goes on with a new one that does not know that topic."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            await out.send(value)
            yield value * 2

    handle = lab.agent(body, Topic(topic.name, schema=topic.schema))
    client = await lab.start([handle], client_only=True)
    agent = lab.agent(body, topic)
    await lab.start([agent], [out], transactional_id=transactional_id)
    assert await handle.ask(1) == 2
    await lab.stop(client)
    lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
    lab.put(topic, [2, 3])
    await lab.caught_up(topic)
    assert sorted(set(lab.values(out))) == [1, 2, 3]
    with suppress(ProduceError):  # the answer to the deleted topic, sent again, may have broken this producer
        await agent.ask(4)
    await asyncio.sleep(2)
    assert await agent.ask(5) == 10


@pytest.mark.parametrize("transactional_id", [None, "app-0"])
async def test_the_producer_of_answers_breaks(lab: Lab, transactional_id: str | None) -> None:
    """It is replaced, also where it is not the one of events; questions from then on are answered."""
    topic = lab.topic("numbers")
    broken: list[int] = []

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            if value == 2 and not broken:
                broken.append(value)
                lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
            yield value * 2

    handle = lab.agent(body, Topic(topic.name, schema=topic.schema))
    await lab.start([handle], client_only=True)
    await lab.start([lab.agent(body, topic)], transactional_id=transactional_id)
    assert await handle.ask(1) == 2
    with suppress(NoReplyError):  # at-least-once it comes again with its event; else the answer is no effect of it
        assert await handle.ask(2, timeout=10) == 4
    assert await handle.ask(3) == 6


async def test_the_producer_of_a_client_breaks(lab: Lab) -> None:
    """A question that was not acknowledged is asked again by another producer, and those that follow are asked behind it."""
    topic = lab.topic("numbers")
    await lab.start([lab.agent(double, topic)])
    handle = lab.agent(double, topic)
    client = await lab.start([handle], client_only=True)
    with client.run.entered():
        assert await handle.ask(1) == 2
        lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
        assert await asyncio.gather(*(handle.ask(number) for number in (2, 3, 4))) == [4, 6, 8]
    assert lab.values(topic) == [1, 2, 3, 4]


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
    client = await lab.start([handle], client_only=True)
    with client.run.entered():
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


# -- questions in Faust's other format


def request(value: str, *, namespace: str = "@ReqRepRequest", reply_to: str = "answers") -> bytes:
    """A wrapped question, in Faust's bytes."""
    metadata = f'"__faust":{{"ns":"{namespace}"}}'
    return f'{{"value":{value},"reply_to":"{reply_to}","correlation_id":"cid",{metadata}}}'.encode()


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (request("3"), b'{"key":"k","value":6,"correlation_id":"cid","__faust":{"ns":"@ReqRepResponse"}}'),
        (request('"ab"'), b'{"key":"k","value":"abab","correlation_id":"cid","__faust":{"ns":"@ReqRepResponse"}}'),
        (b"4", None),
        (b'"ReqRepRequest"', None),
        (request("5", namespace="another"), None),
    ],
    ids=["number", "text", "no question", "no object", "something else"],
)
async def test_wrapped_questions_are_answered(lab: Lab, question: bytes, answer: bytes | None) -> None:
    """With ``use_reply_headers=False`` an agent answers questions that carry the address in their value, and gets the value in them."""
    topic, answers = lab.topic("numbers"), lab.topic("answers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for event in stream.events():
            seen.append(event.value)
            yield event.value if isinstance(event.value, dict) else event.value * 2

    lab.cluster.append(TP("numbers", 0), [Entry(0, b"k", question)])
    await lab.start([lab.agent(body, topic, use_reply_headers=False)], [answers])
    await lab.caught_up(topic)
    assert [record.value for record in lab.records("answers")] == ([] if answer is None else [answer])
    assert seen == [json.loads(question)["value"] if answer else json.loads(question)]


@pytest.mark.parametrize(
    ("value", "reply_to", "correlation_id"),
    [
        (b"1", b'"\xff"', b'"1"'),
        (b"1", b'"\\ud800"', b'"1"'),
        (b"1", b'"no topic"', b'"1"'),
        (b"1", b'"' + b"a" * 300 + b'"', b'"1"'),
        (b"1", b'""', b'""'),
        (b"1", b'"answers"', b'"' + b"x" * 2_000_000 + b'"'),
        (b"1", b"null", b"[]"),
        (b"[" * 50_000 + b"]" * 50_000, b'"answers"', b'"1"'),
    ],
    ids=["bytes", "surrogate", "name", "long", "empty", "id", "types", "nested"],
)
async def test_hostile_wrapped_questions(lab: Lab, value: bytes, reply_to: bytes, correlation_id: bytes) -> None:
    """Whatever a wrapped question says, the one behind it is answered, under each policy but ``crash``."""
    topic = lab.topic("numbers", schema=Schema(value_type=int), on_decode_error="skip")
    lab.cluster.topic("numbers").config["max.message.bytes"] = "3000000"  # type: ignore[index]
    failures: list[BaseException] = []
    agent = lab.agent(
        double,
        topic,
        use_reply_headers=False,
        on_failure="skip",
        on_error=lambda _, error: failures.append(error),
    )
    await lab.start([agent], [lab.topic("answers")])
    rest = b'"correlation_id":%b,"__faust":{"ns":"@ReqRepRequest"}}' % correlation_id
    lab.put(topic, [b'{"value":%b,"reply_to":%b,%b' % (value, reply_to, rest)])
    assert await agent.ask(3) == 6
    assert not failures


async def test_wrapped_questions_with_records(lab: Lab) -> None:
    """Values that are records are wrapped and answered under the names that Faust has for them."""
    topic, answers = lab.topic("sums", schema=Schema(key_type=str, value_type=Sum)), lab.topic("answers")

    async def body(stream: Stream[Sum]) -> AsyncIterator[Sum]:
        async for value in stream:
            yield Sum(total=value.total + 1)

    agent = lab.agent(body, topic, use_reply_headers=False)
    await lab.start([agent], [answers])
    await (await agent.send(key="k", value=Sum(total=1), reply_to=answers, correlation_id="cid"))
    await lab.caught_up(topic)

    inner = '{"total":1,"__faust":{"ns":"tests.rpc.Sum"}}'
    (question,) = lab.records("sums")
    assert question.value == request(inner, namespace="faust.agents.models.ModelReqRepRequest")
    assert question.headers == ()
    (answer,) = lab.records("answers")
    assert answer.value == (
        b'{"key":"k","value":{"total":2,"__faust":{"ns":"tests.rpc.Sum"}},"correlation_id":"cid",'
        b'"__faust":{"ns":"faust.agents.models.ModelReqRepResponse"}}'
    )
    assert await agent.ask(Sum(total=5)) == Sum(total=6)
    assert await agent.join([Sum(total=1), Sum(total=2)]) == [Sum(total=2), Sum(total=3)]


async def test_what_cannot_be_wrapped(lab: Lab) -> None:
    """A question whose value is no JSON cannot be wrapped; what only looks like a wrapped one is left to the decoder."""
    topic = lab.topic("texts", schema=Schema(value_type=bytes))
    agent = lab.agent(double, topic, use_reply_headers=False)
    await lab.start([agent])
    with pytest.raises(EncodeError, match="use_reply_headers=False wraps questions as JSON"):
        await agent.ask(b"no JSON")
    lab.put(topic, [b"ReqRepRequest {"])
    await lab.caught_up(topic)


# -- what goes wrong


async def test_an_answer_that_does_not_fit_its_class(lab: Lab) -> None:
    """Whoever asked is told, and later answers are received."""
    answers = lab.topic("answers")
    agent = await doubling(lab, topics=[answers])
    promise = await agent.ask_nowait(1, reply_to=answers, correlation_id="bad")
    wrong = {"value": {"total": "much", "__faust": {"ns": "tests.rpc.Sum"}}, "correlation_id": "worse"}
    other = await agent.ask_nowait("never", reply_to=answers, correlation_id="worse", partition=1)
    lab.put(answers, [json.dumps(wrong).encode()])
    assert await promise == 2
    with pytest.raises(RequestFailedError, match=r"does not fit the class that it names: Sum: .*total"):
        await other
    assert await agent.ask(2, reply_to=answers) == 4


class Picky(Record, namespace="tests.rpc.Picky"):
    """A class with an opinion of its own."""

    total: int

    def __post_init__(self) -> None:
        """Refuse everything."""
        raise LookupError(self.total)


async def test_an_answer_that_its_class_refuses(lab: Lab) -> None:
    """Anybody may name any class in an answer: what its code raises is told to whoever asked, and ends nothing."""
    answers = lab.topic("answers")
    agent = await doubling(lab, topics=[answers])
    promise = await agent.ask_nowait("never", reply_to=answers, correlation_id="picky")
    refused = {"value": {"total": 1, "__faust": {"ns": "tests.rpc.Picky"}}, "correlation_id": "picky"}
    lab.put(answers, [json.dumps(refused).encode()])
    other = await agent.ask_nowait(1, reply_to=answers, correlation_id="good")
    with pytest.raises(RequestFailedError):
        await promise
    assert await other == 2
    assert await agent.ask(2, reply_to=answers) == 4


async def test_records_deep_inside_an_answer(lab: Lab) -> None:
    """Records in mappings and lists of an answer are records again, and other mappings stay what they are."""

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            yield {"sums": [Sum(total=value)], "none": None, "__faust": "no metadata"}

    agent = lab.agent(body, lab.topic("numbers"))
    await lab.start([agent])
    assert await agent.ask(1) == {"sums": [Sum(total=1)], "none": None, "__faust": "no metadata"}


@pytest.mark.parametrize("transactional_id", [None, "app-0"])
async def test_nobody_is_there_to_get_the_answer(
    lab: Lab, transactional_id: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A question whose reply topic is gone is worked on as any event: that its answer cannot be sent is only logged."""
    topic = lab.topic("numbers")
    headers = [(REPLY_TO, b"f-reply-gone"), (CORRELATION_ID, b"id-1")]
    lab.cluster.append(TP("numbers", 0), [Entry(0, None, b"1", headers), Entry(0, None, b"2")])
    await lab.start([lab.agent(double, topic)], transactional_id=transactional_id)
    await lab.caught_up(topic)
    assert "nobody is there to get the answer to question id-1: there is no topic f-reply-gone" in caplog.text


async def test_a_topic_of_answers_that_cannot_be_read_yet_is_read_later(lab: Lab) -> None:
    """A question that fails because its answer could not be received leaves nothing behind: the next one is answered."""
    troubles = [DeadlineError("no answer")]

    class Late(MemoryReader):
        """A reader whose first assignment fails."""

        async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
            """Fail once."""
            if troubles:
                raise troubles.pop()
            await super().assign(positions, ends)

    lab.transport.reader = lambda *, read_committed: Late(lab.cluster, read_committed=read_committed)  # type: ignore[method-assign]
    agent = await doubling(lab)
    with pytest.raises(DeadlineError):
        await agent.ask(1)
    assert await agent.ask(2) == 4


@pytest.mark.parametrize("fails", [False, True])
async def test_a_stop_while_the_first_question_connects(lab: Lab, fails: bool) -> None:
    """The reader that is on its way is closed all the same, whether it connects or not, and the question fails."""
    asked, gate, stopped = asyncio.Event(), asyncio.Event(), list[MemoryReader]()

    class Slow(MemoryReader):
        """A reader whose broker answers late."""

        async def start(self) -> None:
            """Wait for the broker."""
            asked.set()
            await gate.wait()
            if fails:
                raise DeadlineError("no answer")
            await super().start()

        async def stop(self) -> None:
            """Take note."""
            stopped.append(self)
            await super().stop()

    agent = lab.agent(double, lab.topic("numbers"))
    engine = await lab.start([agent])
    lab.transport.reader = lambda *, read_committed: Slow(lab.cluster, read_committed=read_committed)  # type: ignore[method-assign]
    asking = asyncio.create_task(agent.ask(1))
    await asked.wait()
    stopping = asyncio.create_task(engine.replies.stop())
    await asyncio.sleep(0)
    gate.set()
    await stopping
    with pytest.raises(DeadlineError if fails else RequestFailedError):
        await asking
    assert len(stopped) == 1
    assert fails or engine.replies.topic in lab.cluster.topics()  # the question may be on its way
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "replies" and not task.cancelling()]


async def test_an_answer_that_cannot_be_encoded(lab: Lab) -> None:
    """That is a failure of the event, and whoever asked is told when the policy gives it up."""

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            yield object() if value == 1 else value

    agent = lab.agent(body, lab.topic("numbers"), on_failure="skip")
    await lab.start([agent])
    with pytest.raises(RequestFailedError, match="EncodeError: cannot answer with a value of type object"):
        await agent.ask(1)
    assert await agent.ask(2) == 2


async def test_many_questions_of_which_one_fails(lab: Lab) -> None:
    """``join`` and ``map`` raise what the first failed question raises; what else they asked is not waited for."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            if value == 7:
                raise ValueError("seven")
            yield value

    agent = lab.agent(body, topic, on_failure="skip")
    await lab.start([agent])
    with pytest.raises(RequestFailedError, match="ValueError: seven"):
        await agent.join(range(20))
    with pytest.raises(RequestFailedError, match="ValueError: seven"):
        _ = [answer async for answer in agent.map(range(20))]
    assert await agent.join(range(8, 20)) == list(range(8, 20))


async def test_many_questions_without_an_answer(lab: Lab) -> None:
    """When no answer has come for ``timeout`` seconds that is an error; slow answers are none."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            await asyncio.sleep(4)
            if value < 5:
                yield value

    agent = lab.agent(body, topic)
    await lab.start([agent])
    assert await agent.join(range(5), timeout=5) == list(range(5))
    with pytest.raises(NoReplyError, match="agent body has answered none of 2 questions within 5 s"):
        await agent.join([1, 5, 6], timeout=5)
    with pytest.raises(NoReplyError, match="answered none of 1 questions within 5 s"):
        await agent.kvjoin([("k", 9)], timeout=5)


async def test_an_iterable_that_fails_while_it_is_asked(lab: Lab) -> None:
    """Its error is that of the call."""
    agent = await doubling(lab)

    def numbers() -> Any:
        yield 1
        raise ValueError("no more numbers")

    with pytest.raises(ValueError, match="no more numbers"):
        await agent.join(numbers())
    assert await agent.join([]) == []


async def test_questions_without_an_end(lab: Lab) -> None:
    """``map`` yields answers while its iterable still waits for the next question, however long that takes."""
    agent = await doubling(lab)

    async def numbers() -> AsyncIterator[int]:
        for number in (1, 2):
            yield number
            await asyncio.sleep(1000)

    answers: Any = agent.map(numbers(), timeout=5)
    assert await anext(answers) == 2
    assert await anext(answers) == 4
    await answers.aclose()


async def test_ids_are_unique(lab: Lab) -> None:
    """Two open questions cannot have one id; when the first is answered it is free again."""
    agent = await doubling(lab)
    promise = await agent.ask_nowait(1, correlation_id="mine")
    with pytest.raises(ConfigurationError, match="a question with correlation_id 'mine' waits for its answer"):
        await agent.ask_nowait(2, correlation_id="mine")
    assert await promise == 2
    assert await agent.ask(3, correlation_id="mine") == 6


async def test_current_agent(lab: Lab) -> None:
    """Code that runs in a body, a processor or a sink is told which agent runs it, also in front of ``through``."""
    topic, between = lab.topic("numbers"), lab.topic("between")
    seen: set[tuple[str, str | None]] = set()

    def note(where: str) -> None:
        agent = current_agent()
        seen.add((where, None if agent is None else agent.name))

    def step(value: Any) -> Any:
        note("processor")
        return value

    async def body(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream.add_processor(step).through(between):
            note("body")
            yield value

    note("outside")
    agent = lab.agent(body, topic, sink=[lambda _: note("sink")])
    lab.put(topic, [1])
    await lab.start([agent], [between])
    await lab.until(lambda: len(seen) == 4, "all have told")
    assert seen == {("outside", None), ("processor", "body"), ("body", "body"), ("sink", "body")}
