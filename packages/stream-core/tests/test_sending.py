"""Sends outside of events, questions and answers: each is acknowledged at last, whatever happens to its producer."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from stream_core.agents.answers import refuse
from stream_core.agents.chores import task, timer
from stream_core.agents.questions import CORRELATION_ID, REPLY_TO
from stream_core.errors import (
    BrokerUnavailableError,
    CommitError,
    DeadlineError,
    EncodeError,
    FencedError,
    ProduceError,
    RecordRefusedError,
    RequestFailedError,
    TransportError,
    UnknownTopicError,
)
from stream_core.memory import MemoryTransport
from stream_core.memory.log import Entry
from stream_core.memory.producer import MemoryProducer
from stream_core.primitives import TP, StoredRecord, TopicSpec
from stream_core.sending.aside import Aside
from stream_core.sending.held import BACKLOG
from stream_core.sending.outbox import Outbox
from stream_core.sending.resending import Resending
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.cursor import Cursor, active_cursor
from stream_core.streams.effects import Session, set_effects
from stream_core.streams.stream import Stream
from stream_core.values.codecs import Codec
from stream_core.values.schemas import Schema

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
    assert engine.outbox.aside.records.lost == 3
    with pytest.raises(ProduceError, match="stopped before the record was acknowledged"):
        await sent[0]
    with pytest.raises(ProduceError, match="the app is stopped"):
        await out.send(4)


async def test_who_is_refused_hears_of_it(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """The broker refuses a batch: its other records arrive, whoever waits for the bad one hears why, and else the log says it."""
    out = compacted(lab, "out")
    engine = await lab.start([], [out])
    keys = ["a", "b", None, "c", None, "d"]
    sent = [await out.send(number, key=key) for number, key in enumerate(keys)]
    with pytest.raises(RecordRefusedError, match="topic out: the broker refused the record"):
        await sent[2]
    for place in sent[0], sent[1], sent[3], sent[5]:
        await place
    assert lab.values(out) == [0, 1, 3, 5]
    assert caplog.text.count("is not sent: topic out: the broker refused the record") == 1
    assert engine.outbox.aside.records.lost == 1  # of the other one whoever waited has heard
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


# -- answers


def ask(lab: Lab, topic: Topic[Any, Any], reply_to: str, *values: Any) -> None:
    """Put questions into a topic by hand."""
    headers = [(REPLY_TO, reply_to.encode()), (CORRELATION_ID, b"id")]
    lab.cluster.append(TP(topic.name, 0), [Entry(0, None, json.dumps(value).encode(), headers) for value in values])


@both
async def test_an_answer_that_its_topic_refuses(
    lab: Lab, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The event of its question fails by its policy; the refusal in its place fails once; all others go on and are committed."""
    topic, answers = lab.topic("numbers"), compacted(lab, "f-reply-compacted")
    agent = lab.agent(double, topic, on_failure="skip")
    ask(lab, topic, answers.name, 1)
    engine = await lab.start([agent], **settings)
    assert await agent.ask(2) == 4
    await lab.caught_up(topic)
    assert await agent.ask(3) == 6
    await lab.caught_up(topic)
    assert lab.values(answers) == []
    assert caplog.text.count("failed at numbers-0 offset 0, which is skipped") == 1
    assert caplog.text.count("is dropped and replayed") == 1
    assert not engine.failure.done()


@both
async def test_a_refusal_that_its_topic_refuses(
    lab: Lab, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Outside of the search for a bad record, too, it is given up with one line, and no interval is dropped for it."""
    topic, answers = lab.topic("numbers"), compacted(lab, "f-reply-compacted")
    told: list[str] = []

    async def give_up(stream: Stream[Any]) -> None:
        async for event in stream.events():
            record = StoredRecord(0, 0, None, b"1", list(event.headers.items()))
            await refuse(engine.outbox, event.message.tp, record, "ValueError: unlucky")
            told.append(event.value)

    ask(lab, topic, answers.name, 1)
    engine = lab.engine([lab.agent(give_up, topic)], **settings)
    lab.engines.append(engine)
    await engine.start()
    await lab.caught_up(topic)
    assert told == [1]
    assert caplog.text.count("a record for topic f-reply-compacted is not sent") == 1
    assert "checkpoint failed" not in caplog.text


@both
async def test_an_answer_that_is_no_json(lab: Lab, settings: dict[str, Any]) -> None:
    """It fails the event in the event, whoever asked hears why, and the next question is answered."""
    topic = lab.topic("numbers")

    async def answer(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            yield object() if value == 1 else value

    agent = lab.agent(answer, topic, on_failure="skip")
    await lab.start([agent], **settings)
    with pytest.raises(RequestFailedError, match="cannot answer with a value of type object"):
        await agent.ask(1)
    assert await agent.ask(2) == 2
    await lab.caught_up(topic)


@both
@pytest.mark.parametrize("name", ["payments", "app-totals-changelog", "app-__assignor-__leader"])
async def test_where_answers_may_not_go(
    lab: Lab, settings: dict[str, Any], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A question that wants its answer on another topic gets none, which is said once for the topic; its event goes on."""
    topic, other = lab.topic("numbers"), lab.topic(name)
    ask(lab, topic, name, 1, 2, 3)
    declared = [] if name == "payments" else [other]
    await lab.start([lab.agent(double, topic)], declared, reply_allowed=["app-"], **settings)
    await lab.caught_up(topic)
    assert lab.values(other) == []
    assert caplog.text.count(f"a question wants its answer on topic '{name}', and gets none") == 1


async def test_where_answers_may_go(lab: Lab) -> None:
    """Topics of the app, topics with the prefix of answers, the topic of the settings, and what the settings allow beside."""
    topic = lab.topic("numbers")
    names = ["declared", "f-reply-1", "of-the-settings", "shop.answers"]
    topics = [lab.topic(name) for name in names]
    for name in names:
        ask(lab, topic, name, 1)
    await lab.start(
        [lab.agent(double, topic)], topics[:1], reply_to="of-the-settings", reply_allowed=["shop.", "mall."]
    )
    await lab.caught_up(topic)
    assert [len(lab.records(name)) for name in names] == [1, 1, 1, 1]


async def test_answers_are_read_whatever_they_say(lab: Lab) -> None:
    """One record of anybody, or trouble with the broker at any step of reading, does not end the reading of answers."""
    agent = lab.agent(double, lab.topic("numbers"))
    engine = await lab.start([agent])
    assert await agent.ask(1) == 2
    nested = b'{"correlation_id":"mine","value":' + b"[" * 900 + b"]" * 900 + b"}"
    promise = await agent.ask_nowait(2, correlation_id="mine")
    tp = TP(engine.replies.topic, 0)
    strange = [b"[]", b"1", b'"text"', b'{"correlation_id":[]}', b'{"correlation_id":{}}', b"\xff", None, nested]
    lab.cluster.append(tp, [Entry(0, None, value) for value in strange])
    lab.cluster.append(tp, [Entry(0, None, b'{"correlation_id":"x"}', [("stream-error", None)])])  # type: ignore[list-item]
    with suppress(RequestFailedError):
        await promise
    log = lab.cluster.log(tp)
    log.append([Entry(0, None, b"gone before it is read")])
    log.truncate(log.end)
    lab.cluster.faults.fail_next("list_offsets", DeadlineError("no answer"))
    assert await agent.ask(3) == 6


async def test_a_drop_while_a_refused_record_is_searched_ends_nothing(lab: Lab) -> None:
    """At whatever moment it comes: what is sent outside of events goes on, and the next interval is not blamed for the dropped one."""
    lab.cluster.create(TopicSpec("compacted", 1, 1, {"cleanup.policy": "compact"}))
    lab.cluster.create(TopicSpec("other", 1))

    async def make() -> MemoryProducer:
        producer = MemoryProducer(lab.cluster)
        await producer.start()
        return producer

    for turns in range(40):
        aside = Aside()
        aside.connect(await make())
        keeping = asyncio.create_task(Resending(aside, make).run())
        await aside.send(("compacted", 0, None, b"refused", None, ()), of_event=True)
        await aside.send(("compacted", 0, b"key", b"in its batch", None, ()), of_event=True)
        while aside.producer is not None:  # noqa: ASYNC110 - it is replaced for the refused record
            await asyncio.sleep(0.05)
        for _ in range(turns):
            await asyncio.sleep(0)
        aside.drop()
        async with asyncio.timeout(10):
            assert await (await aside.send(("other", 0, None, b"goes on", None, ())))
            await aside.acknowledged()
        assert not keeping.done()
        keeping.cancel()
        await asyncio.wait([keeping])
        await aside.close(1.0)
        await aside.stop()
    assert len(lab.records("other")) == 40


# -- leaders, chores, threads


async def test_a_leader_whose_lease_is_over_is_none(lab: Lab) -> None:
    """A worker that slept may still believe in its seat; the group has given it away by then."""
    members: list[str] = []
    engine = lab.engine([lab.agent(ignore, lab.topic("numbers"))], on_member=members.append)
    lab.engines.append(engine)
    engine.leadership.elect(lab.topic("app-__assignor-__leader"))
    await engine.start()
    assert engine.leadership.is_leader()
    lab.cluster.faults.muted.add(members[0])
    await lab.until(engine.clients.lease_over, "the lease is over")
    assert not engine.leadership.is_leader()


@pytest.mark.parametrize(
    "error", [ProduceError("p"), FencedError("f"), BrokerUnavailableError("b"), DeadlineError("d")]
)
async def test_trouble_with_the_broker_ends_no_chore(error: TransportError, caplog: pytest.LogCaptureFixture) -> None:
    """A timer goes on with its next tick, a task runs again, also on the leader; what else they raise ends the worker."""
    runs: list[str] = []

    async def body() -> None:
        runs.append("run")
        if len(runs) < 3:
            raise error
        raise ValueError("broken")

    for chore in timer(body, 1.0), task(body), task(body, on_leader=True):
        runs.clear()
        with pytest.raises(ValueError, match="broken"):
            await chore.run(lambda: True)
        assert len(runs) == 3
    assert caplog.text.count("goes on with its next tick") == 2
    assert caplog.text.count("runs again in 1 s") == 4


async def test_a_channel_takes_events_of_other_threads(lab: Lab) -> None:
    """They reach its readers in the loop of the app, all of them, in the order of their thread."""
    channel: Channel[Any, int] = Channel("local", maxsize=3)
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    await lab.start([lab.agent(body, channel)])

    async def send() -> list[int]:
        return [(await (await channel.send(number))).offset for number in range(20)]

    assert await asyncio.to_thread(asyncio.run, send()) == list(range(20))
    await lab.until(lambda: len(seen) == 20, "all are there")
    assert seen == list(range(20))


# -- what a record may be


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"headers": {"h": "text"}}, "the header 'h' is of type str: give bytes"),
        ({"headers": [("h", bytearray(b"x"))]}, "the header 'h' is of type bytearray"),
        ({"headers": [("h", 5)]}, "the header 'h' is of type int"),
        ({"headers": [(b"h", b"x")]}, "a header is a name, which is text, and bytes, and not"),
        ({"headers": [("\ud800", b"x")]}, "a header is a name, which is text, and bytes, and not"),
        ({"headers": [("h",)]}, "a header is a name, which is text, and bytes, and not"),
        ({"headers": ["h"]}, "a header is a name, which is text, and bytes, and not 'h'"),
        (
            {"timestamp": datetime(2026, 1, 1, tzinfo=UTC)},
            r"is no number of seconds since the epoch; give timestamp\.timestamp\(\)",
        ),
        ({"timestamp": "now"}, "timestamp='now' is no number of seconds"),
        (
            {"timestamp": 1_795_892_211_123_456_789},
            r"timestamp=1795892211123456789 is no .* of nanoseconds give timestamp / 1e9",
        ),
        ({"timestamp": float("nan")}, "timestamp=nan is no number of seconds"),
        ({"timestamp": float("inf")}, "timestamp=inf is no number of seconds"),
        ({"partition": "0"}, "partition='0' is no number of a partition"),
        ({"partition": 0.0}, "partition=0.0 is no number of a partition"),
        ({"partition": 3}, "has 1 partitions, and no partition 3"),
        ({"key": object()}, "key"),
        ({"value": object()}, "value"),
    ],
)
@both
async def test_what_no_record_takes(lab: Lab, settings: dict[str, Any], options: dict[str, Any], says: str) -> None:
    """It is refused where it is sent, in an event and outside, with a sentence that names the topic."""
    source, out = lab.topic("source"), lab.topic("out")
    errors: list[EncodeError] = []

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            with pytest.raises(EncodeError, match=says) as raised:
                await out.send(**{"value": 1, **options})
            errors.append(raised.value)

    await lab.start([lab.agent(body, source)], [out], **settings)
    lab.put(source, [1])
    with pytest.raises(EncodeError, match=says) as raised:
        await out.send(**{"value": 1, **options})
    await lab.until(lambda: len(errors) == 1, "the event has sent")
    for error in errors[0], raised.value:
        assert (error.topic, "topic out" in str(error)) == ("out", True)
    assert (await (await out.send("good", headers=[["h", b"x"], ("n", None)]))).offset == 0  # type: ignore[list-item]
    assert lab.records("out")[0].headers == [("h", b"x"), ("n", None)]


# -- partitions


@both
async def test_partitions_that_are_added_are_sent_to(lab: Lab, settings: dict[str, Any]) -> None:
    """By events and outside of them; and a topic that was made again with fewer is sent to as it is now."""
    source, out = lab.topic("source"), lab.topic("out", 1)

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(value, key=f"event {value}")

    async def sent(numbers: range) -> list[int]:
        """How many records each partition gets of events, and of sends outside of them, with these numbers."""
        partitions = range(lab.cluster.topic("out").partitions)
        before = [len(lab.records("out", partition)) for partition in partitions]
        lab.put(source, numbers)
        for number in numbers:
            await (await out.send(number, key=f"outside {number}"))
        await lab.caught_up(source)
        return [len(lab.records("out", partition)) - before[partition] for partition in partitions]

    await lab.start([lab.agent(forward, source)], [out], **settings)
    assert await sent(range(20)) == [40]
    lab.cluster.add_partitions("out", 3)
    assert min(await sent(range(20, 40))) > 5
    lab.cluster.delete("out")
    lab.cluster.create(TopicSpec("out", 2))
    assert min(await sent(range(40, 60))) > 5


@both
async def test_a_partition_that_was_added_can_be_named(lab: Lab, settings: dict[str, Any]) -> None:
    """Not before it is there."""
    source, out = lab.topic("source"), lab.topic("out", 1)
    refused: list[EncodeError] = []

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            try:
                await out.send(value, partition=1)
            except EncodeError as error:
                refused.append(error)

    await lab.start([lab.agent(forward, source)], [out], **settings)
    lab.put(source, [1])
    await lab.caught_up(source)
    assert len(refused) == 1
    lab.cluster.add_partitions("out", 2)
    lab.put(source, [2])
    await lab.caught_up(source)
    assert lab.values(out, 1) == [2]


# -- waiting for room


@pytest.mark.parametrize("where", ["event", "held", "outside"])
async def test_who_sends_while_the_producer_is_full_adds_nothing_to_it(lab: Lab, where: str) -> None:
    """The send waits, also with many at once; with the acknowledgements the records leave, those of a task in their order."""
    lab.topic("out")
    transactional_id = "worker" if where == "held" else None
    outbox, producer = Outbox(transactional=where == "held"), lab.transport.producer(transactional_id=transactional_id)
    await producer.start()
    if where == "held":
        await producer.begin()
        outbox.held.open_gate()
    outbox.connect(producer)
    outbox.aside.connect(producer)
    cursor = Cursor("body[0]", "body", outbox.held.emit)

    async def send(*values: bytes) -> None:
        if where != "outside":
            cursor.session, cursor.record = Session(TP("source", 0), Schema(), 1), StoredRecord(0, 0, None, b"1", ())
            set_effects(cursor)
        for value in values:
            await outbox.send(("out", 0, None, value, None, ()))

    await send(b"first")
    cursor.finish()
    await producer.flush()
    lab.cluster.faults.pause_acks(TP("out", 0))
    while not producer.crowded:
        producer.send("out", 0, None, bytes(1 << 19))
    full = producer.backlog
    sending = [asyncio.create_task(send(b"%d" % number, b"%d" % (number + 10))) for number in range(10)]
    await asyncio.sleep(1)
    assert (producer.backlog, any(task.done() for task in sending)) == (full, False)

    lab.cluster.faults.resume_acks(TP("out", 0))
    await asyncio.gather(*sending)
    cursor.finish()
    await producer.flush()
    log = lab.cluster.log(TP("out", 0)).read(0, 1000, committed=False).records
    values = [record.value for record in log if record.value is not None and len(record.value) < 10]
    assert sorted(values) == sorted([b"first", *(b"%d" % number for number in range(20))])
    assert all(values.index(b"%d" % number) < values.index(b"%d" % (number + 10)) for number in range(10))
    await producer.stop()


async def test_a_producer_that_breaks_while_it_is_full_is_told_of(lab: Lab) -> None:
    """Whoever waits for room in an event fails with it, and the engine hears that the interval cannot be committed."""
    lab.topic("out")
    outbox, producer = Outbox(transactional=False), Full(lab.cluster)
    told: list[ProduceError] = []
    outbox.on_broken = told.append
    await producer.start()
    outbox.connect(producer)
    cursor = Cursor("body[0]", "body", outbox.held.emit)
    cursor.session, cursor.record = Session(TP("source", 0), Schema(), 1), StoredRecord(0, 0, None, b"1", ())
    set_effects(cursor)
    with pytest.raises(ProduceError, match="a batch was not acknowledged"):
        await outbox.send(("out", 0, None, b"1", None, ()))
    assert [str(error) for error in told] == ["a batch was not acknowledged"]
    await producer.stop()


class Full(MemoryProducer):
    """A producer that is full, and breaks while somebody waits for room."""

    @property
    def crowded(self) -> bool:
        """Always."""
        return True

    async def room(self) -> None:
        """Break."""
        await asyncio.sleep(1)
        raise ProduceError("a batch was not acknowledged")


class Moody(Codec):
    """JSON, which fails with each of the exceptions that it was told."""

    def __init__(self, *moods: Exception) -> None:
        self.moods = list(moods)

    def _dumps(self, obj: Any) -> bytes:
        if self.moods:
            raise self.moods.pop(0)
        return json.dumps(obj).encode()

    def _loads(self, data: bytes) -> Any:
        return json.loads(data)


async def test_an_encoder_that_fails_is_asked_once_more(lab: Lab) -> None:
    """The second time decides: its error names topic and part, or the record is sent, and once."""
    codec = Moody(ValueError("once"), ValueError("twice"), KeyError("once"))
    lab.cluster.create(TopicSpec("out", 1))
    out = Topic[Any, Any]("out", schema=Schema(value_serializer=codec))
    await lab.start([lab.agent(ignore, lab.topic("source"))], [out])
    with pytest.raises(EncodeError, match=r"^topic out: cannot encode value of type int: twice$"):
        await out.send(1)
    await (await out.send(2))
    with pytest.raises(EncodeError, match=r"^topic out: cannot encode key of type object: "):
        await out.send(3, key=object())
    assert [record.value for record in lab.records("out")] == [b"2"]


# -- exactly-once


async def test_an_event_that_sends_more_than_fits_is_let_go_in_parts(lab: Lab) -> None:
    """What it holds is bounded; what has left is taken back with the interval when the event fails, and is seen once."""
    source, out = lab.topic("source"), lab.topic("out")
    held: list[int] = []
    attempts: list[int] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            attempts.append(value)
            for number in range(40):
                await out.send("x" * 900_000, key=str(number))
                cursor = active_cursor()
                assert cursor is not None
                held.append(sum(send.size for send in cursor.held))
            if len(attempts) == 1:
                raise ValueError("at the end")

    lab.put(source, [1])
    await lab.start([lab.agent(body, source)], [out], transactional_id="worker")
    await lab.caught_up(source)
    assert max(held) <= BACKLOG + 1_000_000
    assert [record.key for record in lab.records("out")] == [str(number).encode() for number in range(40)]
    assert (
        len(lab.cluster.log(TP("out", 0)).read(0, 1000, committed=False).records) > 40
    )  # some had left, and were aborted
    assert attempts == [1, 1]


async def test_what_waits_for_the_gate_counts_keys_and_headers(lab: Lab) -> None:
    """Events with nothing but long keys and headers wait for the gate as those with long values do."""
    outbox, producer = Outbox(transactional=True), lab.transport.producer(transactional_id="worker")
    lab.topic("out")
    await producer.start()
    await producer.begin()
    outbox.connect(producer)
    cursor = Cursor("body[0]", "body", outbox.held.emit)
    cursor.session, cursor.record = Session(TP("source", 0), Schema(), 1), StoredRecord(0, 0, None, b"1", ())
    set_effects(cursor)
    for _ in range(3):
        await outbox.send(("out", 0, b"k" * 500_000, None, None, [("h", b"x" * 400_000)]))
    assert cursor.held_bytes > 2_700_000
    cursor.finish()
    assert (cursor.held_bytes, outbox.held.behind_gate > 2_700_000) == (0, True)
    await producer.stop()


async def test_a_cut_waits_for_no_dead_lock(lab: Lab) -> None:
    """One event has released its sends and waits for an answer; who answers waits for an acknowledgement: the cut lets him."""
    first, numbers, out = lab.topic("first"), lab.topic("numbers"), lab.topic("out")
    attempts: list[str] = []
    settling = asyncio.Event()

    async def answer(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            attempts.append(f"answer {value}")
            await settling.wait()
            await (await out.send(value))
            yield value * 2

    answering = lab.agent(answer, numbers)

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            attempts.append(f"forward {value}")
            await (await out.send(-value))
            asking = asyncio.ensure_future(answering.ask(value))
            await lab.until(lambda: not engine.outbox.held._may_pin, "a cut waits")
            settling.set()
            await out.send(await asking)

    engine = lab.engine([lab.agent(forward, first), answering], [out], transactional_id="worker")
    lab.engines.append(engine)
    lab.put(first, [1])
    await engine.start()
    await lab.caught_up(first, numbers)
    assert attempts == ["forward 1", "answer 1"]
    assert sorted(lab.values(out)) == [-1, 1, 2]


# -- failure first


class Watched(MemoryTransport):
    """A transport that knows the producers it has made."""

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self.made: list[MemoryProducer] = []

    def producer(self, **options: Any) -> MemoryProducer:
        """A producer, which is remembered."""
        made = super().producer(**options)
        self.made.append(made)
        return made

    @property
    def running(self) -> int:
        """How many of them are not stopped."""
        return sum(producer._state not in ("new", "stopped") for producer in self.made)


@pytest.mark.parametrize(
    ("settings", "operation"),
    [
        ({}, "connect"),
        ({}, "metadata"),
        ({"transactional_id": "worker"}, "connect"),
        ({"transactional_id": "worker"}, "init_producer_id"),
        ({"transactional_id": "worker"}, "metadata"),
    ],
    ids=lambda value: value if isinstance(value, str) else "exactly_once" if value else "at_least_once",
)
async def test_a_producer_that_cannot_be_made_is_not_left_behind(
    lab: Lab, settings: dict[str, Any], operation: str
) -> None:
    """Whatever step of replacing a producer fails, or of the start: in the end there are two, and behind the stop none."""
    lab.transport = Watched(lab.cluster.name)
    source, out = lab.topic("source"), lab.topic("out")

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(value)

    faults = lab.cluster.faults
    if operation == "init_producer_id":
        faults.fail_next(operation, DeadlineError("no answer"))
    engine = await lab.start([lab.agent(forward, source)], [out], **settings)
    lab.put(source, [1])
    await lab.caught_up(source)
    faults.fail_next("produce", ProduceError("provoked"))
    for _ in range(3):
        faults.fail_next(operation, DeadlineError("no answer"))
    lab.put(source, [2])
    await lab.caught_up(source)
    assert [value for value in lab.values(out) if value != 1] == [2]
    await lab.until(lambda: lab.transport.running == 2, "one producer for events, and one for what is sent outside")
    await lab.stop(engine)
    assert lab.transport.running == 0


@both
async def test_a_start_that_is_cancelled_leaves_no_producer(lab: Lab, settings: dict[str, Any]) -> None:
    """At whatever moment: the stop behind it stops all that there are."""
    lab.transport = transport = Watched(lab.cluster.name)
    source = lab.topic("source")
    for turns in range(30):
        engine = lab.engine([lab.agent(ignore, source)], **settings)
        starting = asyncio.create_task(engine.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait([starting])
        await engine.stop()
        assert transport.running == 0, f"after {turns} turns of the loop"


@both
async def test_a_topic_of_answers_that_is_deleted_holds_up_no_commit(
    lab: Lab, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """An answer is on its way when its topic goes: the answer is given up, and the checkpoint does not wait for its deadline."""
    topic, answers = lab.topic("numbers"), lab.topic("f-reply-1")
    await lab.start([lab.agent(double, topic)], **settings)
    lab.cluster.faults.pause_acks(TP(answers.name, 0))
    ask(lab, topic, answers.name, 1)
    await lab.until(lambda: len(lab.records(answers.name)) == 1, "the answer is on its way")
    lab.cluster.delete(answers.name)
    clock = asyncio.get_running_loop().time
    begun = clock()
    await lab.caught_up(topic)
    assert clock() - begun < 10  # on the clock that is driven by hand
    assert "a record for topic f-reply-1 is not sent" in caplog.text
    assert "checkpoint failed" not in caplog.text


async def test_a_topic_that_a_new_broker_does_not_know_yet_is_not_given_up(lab: Lab) -> None:
    """What is on its way waits until the broker has caught up."""
    out = lab.topic("out")
    await lab.start([], [out])
    await (await out.send(1))
    lab.cluster.faults.fail_next("produce", ProduceError("the broker was started again"))
    for _ in range(4):
        lab.cluster.faults.fail_next("metadata", UnknownTopicError("topic out does not exist"))
    assert (await (await out.send(2))).offset == 1


@both
async def test_a_broken_producer_of_events_is_replaced_for_streams_outside_of_agents(
    lab: Lab, settings: dict[str, Any]
) -> None:
    """No agent fails there, whose failure would drop the interval; the program that tries again gets through."""
    source, out = lab.topic("source"), lab.topic("out")
    engine = await lab.start([lab.agent(ignore, lab.topic("other"))], [source, out], **settings)
    seen: list[int] = []

    async def read() -> None:
        while True:
            with suppress(ProduceError):
                async for value in engine.topology.stream(source, f"reader {len(seen)}"):
                    seen.append(value)
                    while True:
                        try:
                            await out.send(value)
                            break
                        except ProduceError:
                            await asyncio.sleep(1)

    reading = asyncio.create_task(read())
    await asyncio.sleep(5)
    lab.put(source, [1])
    await lab.until(lambda: lab.values(out) == [1], "the first")
    assert engine.outbox.producer is not None
    await engine.outbox.producer.stop()
    lab.put(source, [2])
    await lab.until(lambda: 2 in lab.values(out), "the second")
    reading.cancel()
    await asyncio.wait([reading])


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_happens_to_the_producer_nothing_is_lost_and_order_is_kept(lab: Lab, seed: int) -> None:
    """Failures of every kind at moments of chance: each partition has what was sent to it, for the first time in the order of sending."""
    chance, out = random.Random(seed), lab.topic("out", 3)
    await lab.start([], [out])
    await (await out.send(-1, partition=0))
    sent: dict[int, list[int]] = {0: [-1], 1: [], 2: []}
    faults, held = lab.cluster.faults, set[TP]()
    errors = [ProduceError("p"), DeadlineError("d"), BrokerUnavailableError("b"), FencedError("f")]
    for number in range(150):
        partition, dice = chance.randrange(3), chance.random()
        await out.send(number, partition=partition)
        sent[partition].append(number)
        if dice < 0.05:
            faults.fail_next("produce", chance.choice(errors), applied=chance.random() < 0.5)
        elif dice < 0.1:
            faults.fail_next(chance.choice(["connect", "metadata"]), chance.choice(errors[1:3]))
        elif dice < 0.2:
            faults.pause_acks(tp := TP("out", partition))
            held.add(tp)
        elif dice < 0.3 and held:
            faults.resume_acks(held.pop())
        elif dice < 0.5:
            await asyncio.sleep(chance.choice([0.0, 0.3, 2.0]))
    for tp in held:
        faults.resume_acks(tp)
    for partition in sent:  # a failure that is still to come hits one of these
        await (await out.send(1000, partition=partition))
        sent[partition].append(1000)
    for partition, numbers in sent.items():
        assert list(dict.fromkeys(lab.values(out, partition))) == numbers
