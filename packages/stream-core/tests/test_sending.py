"""Sends outside of events, questions and answers: each is acknowledged at last, whatever happens to its producer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stream_core.errors import (
    BrokerUnavailableError,
    CommitError,
    DeadlineError,
    ProduceError,
    RecordRefusedError,
    TransportError,
    UnknownTopicError,
)
from stream_core.records import TP, TopicSpec
from stream_core.schemas import Schema
from stream_core.streams import Stream
from stream_core.topics import Topic

from .harness import Lab

pytestmark = pytest.mark.looptime

both = pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"])
APPLIED = pytest.mark.parametrize("applied", [False, True], ids=["refused", "answer lost"])


async def double(stream: Stream[Any]) -> AsyncIterator[Any]:
    """Answers with twice the value."""
    async for value in stream:
        yield value * 2


async def ignore(stream: Stream[Any]) -> None:
    """Does nothing."""
    async for _ in stream:
        pass


def compacted(lab: Lab, name: str) -> Topic[Any, Any]:
    """A topic that refuses records without a key."""
    lab.cluster.create(TopicSpec(name, 1, config={"cleanup.policy": "compact"}))
    return Topic(name, schema=Schema(key_type=str))


@both
@APPLIED
async def test_no_question_is_committed_without_its_answer(lab: Lab, settings: dict[str, Any], applied: bool) -> None:
    """An answer whose producer fails is sent again before the offset of its question is committed; no interval is replayed for it."""
    agent = lab.agent(double, lab.topic("numbers"))
    engine = await lab.start([agent], **settings)
    assert await agent.ask(1) == 2
    answers = TP(engine.replies.topic, 0)
    lab.cluster.faults.pause_acks(answers)  # so that both are in the interval
    first = asyncio.create_task(agent.ask(2))
    await lab.until(lambda: len(lab.records(answers.topic)) == 2, "the first answer is on its way")
    lab.cluster.faults.fail_next("produce", ProduceError("a connection broke"), applied=applied)  # hits the question
    second = asyncio.create_task(agent.ask(3))
    await lab.until(lambda: len(lab.values(agent.topic)) > 2, "the question is asked again")
    lab.cluster.faults.fail_next("produce", ProduceError("a connection broke"), applied=applied)  # hits the answer
    lab.cluster.faults.resume_acks(answers)
    assert (await first, await second) == (4, 6)
    await lab.caught_up(agent.topic)


@both
async def test_an_abort_takes_back_no_send_outside_of_events(lab: Lab, settings: dict[str, Any]) -> None:
    """The interval is dropped while a record waits for its acknowledgement: it is acknowledged all the same, once."""
    source, out = lab.topic("source"), lab.topic("out")
    await lab.start([lab.agent(ignore, source)], [out], **settings)
    lab.cluster.faults.pause_acks(TP("out", 0))
    lab.cluster.faults.fail_next("txn_offset_commit" if settings else "offset_commit", CommitError("provoked"))
    sent = await out.send("outside")
    lab.put(source, [1])
    await lab.caught_up(source)
    lab.cluster.faults.resume_acks(TP("out", 0))
    assert (await sent).offset == 0
    assert lab.values(out) == ["outside"]


@both
@APPLIED
async def test_what_a_broken_producer_leaves_is_sent_again_in_order(
    lab: Lab, settings: dict[str, Any], applied: bool
) -> None:
    """Nobody has to wait for the records, or send another one, for that to happen."""
    out = lab.topic("out", 2)
    await lab.start([], [out], **settings)
    await (await out.send(-1, partition=1))
    for number in range(20):
        if number == 7:
            lab.cluster.faults.fail_next("produce", ProduceError("provoked"), applied=applied)
        await out.send(number, partition=number % 2)
        if number % 5 == 4:
            await asyncio.sleep(0)
    await lab.until(lambda: lab.values(out)[-1:] + lab.values(out, 1)[-1:] == [18, 19], "all are there")
    for partition, wanted in (0, [*range(0, 20, 2)]), (1, [-1, *range(1, 20, 2)]):
        found = lab.values(out, partition)
        assert list(dict.fromkeys(found)) == wanted
        assert applied or found == wanted


@both
async def test_sends_wait_for_the_broker(lab: Lab, settings: dict[str, Any]) -> None:
    """A broker that is away for minutes ends no worker: who sends outside of events waits, also for a topic that is new to him."""
    out, new = lab.topic("out"), lab.topic("new")
    await lab.start([], [out, new], **settings)
    await (await out.send("before"))
    faults = lab.cluster.faults
    faults.fail_next("produce", DeadlineError("no answer"))
    for _ in range(20):
        faults.fail_next("connect", BrokerUnavailableError("nobody is there"))
        faults.fail_next("metadata", DeadlineError("no answer"))
    sent = [await out.send("unanswered"), await out.send("behind"), await new.send("new")]
    assert [(await place).offset for place in sent] == [1, 2, 0]
    assert lab.values(out) == ["before", "unanswered", "behind"]


@both
async def test_sends_outside_of_events_need_no_lease(lab: Lab, settings: dict[str, Any]) -> None:
    """A timer of a worker that its group has forgotten sends on; nothing that it sends is an effect of an event."""
    source, out = lab.topic("source"), lab.topic("out")
    members: list[str] = []
    engine = await lab.start([lab.agent(ignore, source)], [out], on_member=members.append, **settings)
    lab.cluster.faults.muted.add(members[0])
    await lab.until(engine.clients.lease_over, "the lease is over")
    await (await out.send("still here"))
    assert lab.values(out) == ["still here"]
    assert not engine.failure.done()


@both
async def test_a_stop_waits_for_what_was_sent(
    lab: Lab, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What is acknowledged late is not lost, and nothing is said."""
    out = lab.topic("out")
    engine = await lab.start([], [out], **settings)
    lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
    for number in range(3):
        await out.send(number)
    await lab.stop(engine)
    assert lab.values(out) == [0, 1, 2]
    assert "acknowledged" not in caplog.text


@both
async def test_a_stop_without_a_broker(lab: Lab, settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """It ends within its budget, says how many records are not acknowledged, and whoever waits for one hears that."""
    out = lab.topic("out")
    engine = await lab.start([], [out], **settings)
    lab.cluster.faults.pause_acks(TP("out", 0))
    sent = [await out.send(number) for number in range(3)]
    clock = asyncio.get_running_loop().time
    begun = clock()
    await engine.clients.stop(5.0)
    assert clock() - begun <= 5.0
    assert "3 records that were sent outside of events are not acknowledged after 4.0 s" in caplog.text
    assert "3 for topic out" in caplog.text
    with pytest.raises(ProduceError, match="stopped before the record was acknowledged"):
        await sent[0]
    with pytest.raises(ProduceError, match="the app is stopped"):
        await out.send(4)


async def test_who_is_refused_hears_of_it(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The broker refuses a batch: its other records arrive, whoever waits for the bad one hears why, and else the log says it."""
    out = compacted(lab, "out")
    await lab.start([], [out])
    keys = ["a", "b", None, "c", None, "d"]
    sent = [await out.send(number, key=key) for number, key in enumerate(keys)]
    with pytest.raises(RecordRefusedError, match="topic out: the broker refused the record"):
        await sent[2]
    for place in sent[0], sent[1], sent[3], sent[5]:
        await place
    assert lab.values(out) == [0, 1, 3, 5]
    assert caplog.text.count("is not sent: topic out: the broker refused the record") == 1
    assert (await (await out.send(6, key="e"))).offset == 4


async def test_a_record_that_fails_alone_is_given_up(lab: Lab) -> None:
    """A reason that waiting does not mend is believed after some attempts; what is behind the record is not lost."""
    out = lab.topic("out")
    await lab.start([], [out])
    for _ in range(8):
        lab.cluster.faults.fail_next("produce", TransportError("never"))
    sent = [await out.send("bad"), await out.send("good")]
    with pytest.raises(RecordRefusedError, match="never"):
        await sent[0]
    await sent[1]
    assert lab.values(out) == ["good"]


async def test_a_topic_that_is_deleted(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """What was on its way to it is given up, and the rest is sent."""
    gone, out = lab.topic("gone"), lab.topic("out")
    await lab.start([], [gone, out])
    await (await gone.send(1))
    lab.cluster.delete("gone")
    lost, sent = await gone.send(2), await out.send(3)
    with pytest.raises(UnknownTopicError):
        await lost
    assert (await sent).offset == 0
