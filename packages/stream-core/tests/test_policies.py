"""Failure policies: each kind of failure under each policy and guarantee; offsets, outputs and dead letters compared one by one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from stream_core.agents.agent import Agent, AgentBody
from stream_core.errors import (
    ConfigurationError,
    DeadLetterError,
    DeadlineError,
    DecodeError,
    EncodeError,
    RecordRefusedError,
    StoreError,
    TransportError,
    WorkerError,
)
from stream_core.memory.log import Entry
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Offset, RawRecord, StoredRecord
from stream_core.sending.dead_letters import PREFIX, letter_headers
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.events import Event
from stream_core.streams.stream import Stream
from stream_core.streams.verdicts import Verdict
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime

LETTERS = "app-dead-letter"
COUNT = 6
BAD = 2
"""The offset of the record that fails, of ``COUNT``."""

exactly_once = pytest.mark.parametrize(
    "settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"]
)


def fill(lab: Lab, topic: Topic[Any, Any], *, key: bytes = b"2", value: bytes = b"2", count: int = COUNT) -> None:
    """Numbers as keys and values, with a header; ``key`` and ``value`` are those of the bad one."""
    for number in range(count):
        data = (key, value) if number == BAD else (b"%d" % number,) * 2
        lab.cluster.append(TP(topic.name, 0), [Entry(1000 + number, *data, [("h", b"%d" % number)])])


def letters(lab: Lab, topic: str = LETTERS, *, committed: bool = True) -> list[RawRecord]:
    """The dead letters, by the offsets of their records."""
    if topic not in lab.cluster.topics():
        return []
    tps = [TP(topic, partition) for partition in range(lab.cluster.topic(topic).partitions)]
    found = [record for tp in tps for record in lab.cluster.log(tp).read(0, 1000, committed=committed).records]
    return sorted(found, key=lambda record: int(dict(record.headers)[f"{PREFIX}offset"]))


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Attributes:
        body: makes the body, which fails at the bad record and sends the values of all others to a topic.
        bad: the offsets that fail with it.
        error: the type of the error, as the header of a dead letter names it.
        key: bytes of the bad record.
        value: likewise.
        source: options of the topic that it reads, without those that name a policy.
        agent: options of the agent, likewise.
        declared: where the policy is declared: ``agent``, ``source`` or ``out``.
        limit: bytes of a record that the broker takes on the topic that is sent to.
        garbled: whether the bytes of the bad record are no whole record, to whoever reads it.
    """

    body: Callable[[Topic[Any, Any]], AgentBody]
    bad: tuple[int, ...] = (BAD,)
    error: str = "ValueError"
    key: bytes = b"2"
    value: bytes = b"2"
    agent: dict[str, Any] = field(default_factory=dict)
    declared: str = "agent"
    limit: int = 1_000_000
    garbled: bool = False


def check(value: Any) -> Any:
    """Fail at the bad value."""
    if value == BAD:
        raise ValueError("two is bad")
    return value


def values(out: Topic[Any, Any]) -> AgentBody:
    """Fail in the body, whose event is what it is."""

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(check(value))

    return body


def keys(out: Topic[Any, Any]) -> AgentBody:
    """Ask each event for its key."""

    async def body(stream: Stream[Any]) -> None:
        async for event in stream.events():
            await out.send(event.value, key=str(event.key))

    return body


def items(out: Topic[Any, Any]) -> AgentBody:
    """Ask for keys and values."""

    async def body(stream: Stream[Any]) -> None:
        async for key, value in stream.items():
            await out.send(value, key=str(key))

    return body


def processed(out: Topic[Any, Any]) -> AgentBody:
    """Fail in a processor."""

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(check):
            await out.send(value)

    return body


def lists(out: Topic[Any, Any]) -> AgentBody:
    """Fail at a list, after it was sent in part."""

    async def body(stream: Stream[Any]) -> None:
        async for pair in stream.take(2, within=5.0):
            for value in pair:
                check(value)
            for value in pair:
                await out.send(value)

    return body


def by_hand(out: Topic[Any, Any]) -> AgentBody:
    """Acknowledge by hand, in any order."""

    async def body(stream: Stream[Any]) -> None:
        held: list[Event[Any]] = []
        async for event in stream.noack().events():
            await out.send(check(event.value))
            held.append(event)
            if len(held) == 2 or event.value == COUNT - 1:
                while held:
                    held.pop().ack()

    return body


def slow(out: Topic[Any, Any]) -> AgentBody:
    """Work on several events at a time, the early ones for long."""

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            await asyncio.sleep(0.01 * (COUNT - value))
            await out.send(check(value))

    return body


def sending(what: Any) -> Callable[[Topic[Any, Any]], AgentBody]:
    """Send something that does not fit."""

    def make(out: Topic[Any, Any]) -> AgentBody:
        async def body(stream: Stream[Any]) -> None:
            async for value in stream:
                await out.send(what if value == BAD else value)

        return body

    return make


def yielding(out: Topic[Any, Any]) -> AgentBody:
    """Fail in a sink."""

    async def body(stream: Stream[Any]) -> Any:
        async for value in stream:
            yield value

    return body


KINDS = {
    "value": Kind(values, value=b"no number", error="stream_core.errors.DecodeError", declared="source"),
    "key": Kind(keys, key=b"no key", error="stream_core.errors.DecodeError", declared="source"),
    "key of items": Kind(items, key=b"no key", error="stream_core.errors.DecodeError", declared="source"),
    "value of a list": Kind(lists, value=b"no number", error="stream_core.errors.DecodeError", declared="source"),
    "value by hand": Kind(by_hand, value=b"no number", error="stream_core.errors.DecodeError", declared="source"),
    "garbled": Kind(values, error="stream_core.errors.DecodeError", declared="source", garbled=True),
    "garbled in a list": Kind(lists, error="stream_core.errors.DecodeError", declared="source", garbled=True),
    "garbled by hand": Kind(by_hand, error="stream_core.errors.DecodeError", declared="source", garbled=True),
    "body": Kind(values),
    "processor": Kind(processed),
    "sink": Kind(yielding, agent={"sink": [check]}),
    "list": Kind(lists, bad=(2, 3)),
    "by hand": Kind(by_hand),
    "actors": Kind(slow, agent={"concurrency": 3}),
    "unserialisable": Kind(sending(object()), error="stream_core.errors.EncodeError"),
    "too large": Kind(sending("x" * (1 << 20)), error="stream_core.errors.EncodeError", declared="out"),
    "refused": Kind(sending("x" * 1000), error="stream_core.errors.RecordRefusedError", limit=500),
}


@dataclass
class Case:
    """An agent over a topic with a bad record in it."""

    topic: Topic[Any, Any]
    out: Topic[Any, Any]
    agent: Agent

    def expect_the_rest(self, lab: Lab, kind: Kind, settings: dict[str, Any]) -> None:
        """Every value but the bad ones was sent on; once, unless a refused record made the interval come again."""
        sent = lab.values(self.out)
        if not settings and kind.limit < 1000:
            sent = list(set(sent))
        assert sorted(sent) == [number for number in range(COUNT) if number not in kind.bad]


def prepare(lab: Lab, kind: Kind, policy: Any) -> Case:
    """The case of a kind and a policy."""
    names = {"source": "on_decode_error", "out": "on_produce_error", "agent": "on_failure"}
    declared = {where: {name: policy} if where == kind.declared else {} for where, name in names.items()}
    topic = lab.topic("numbers", schema=Schema(key_type=int, value_type=int), **declared["source"])
    out = lab.topic("out", **declared["out"])
    lab.cluster.topic("out").config["max.message.bytes"] = str(kind.limit)  # type: ignore[index]
    sinks = {"sink": [*kind.agent["sink"], out]} if "sink" in kind.agent else {}
    agent = lab.agent(kind.body(out), topic, name="agent", **{**kind.agent, **sinks, **declared["agent"]})
    fill(lab, topic, key=kind.key, value=kind.value)
    if kind.garbled:
        lab.cluster.faults.garbled[TP(topic.name, 0)] = {BAD: "a header has no name"}
    return Case(topic, out, agent)


@exactly_once
@pytest.mark.parametrize("policy", ["skip", FailurePolicy.retry(2, then="skip")], ids=["skip", "retry"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_skip(lab: Lab, kind: Kind, policy: Any, settings: dict[str, Any]) -> None:
    """Everything but what failed is worked on once, everything is committed, and there are no letters."""
    case = prepare(lab, kind, policy)
    await lab.start([case.agent], [case.out], **settings)
    await lab.caught_up(case.topic)

    case.expect_the_rest(lab, kind, settings)
    assert not letters(lab)
    assert LETTERS not in lab.cluster.topics()


@exactly_once
@pytest.mark.parametrize(
    "policy", ["dead_letter", FailurePolicy.retry(2, then="dead_letter")], ids=["at once", "retry"]
)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_dead_letter(lab: Lab, kind: Kind, policy: Any, settings: dict[str, Any]) -> None:
    """What failed is on the topic of dead letters, once, byte by byte, with what is known of the failure; the rest is worked on."""
    case = prepare(lab, kind, policy)
    engine = await lab.start([case.agent], [case.out], **settings)
    await lab.caught_up(case.topic)
    await lab.stop(engine)

    case.expect_the_rest(lab, kind, settings)
    found = letters(lab, committed=False)
    assert len(found) == len(kind.bad)
    for letter, offset in zip(found, kind.bad, strict=True):
        key, value = (kind.key, kind.value) if offset == BAD else (b"%d" % offset,) * 2
        assert (letter.key, letter.value) == (key, value)
        told = dict(letter.headers)
        assert told.pop(f"{PREFIX}error-message")
        assert (f"{PREFIX}traceback" in told) == (kind.error != "stream_core.errors.DecodeError")
        assert told.pop(f"{PREFIX}traceback", b"").startswith((b"", b'  File "'))
        assert told == {
            "h": b"%d" % offset,
            f"{PREFIX}topic": b"numbers",
            f"{PREFIX}partition": b"0",
            f"{PREFIX}offset": b"%d" % offset,
            f"{PREFIX}timestamp": b"%d" % (1000 + offset),
            f"{PREFIX}agent": b"agent",
            f"{PREFIX}error-type": kind.error.encode(),
        }


@exactly_once
@pytest.mark.parametrize("policy", ["crash", FailurePolicy.retry(2)], ids=["crash", "retry"])
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_crash(lab: Lab, kind: Kind, policy: Any, settings: dict[str, Any]) -> None:
    """The worker ends with an error that names the place and what to do; nothing from there on is committed."""
    case = prepare(lab, kind, policy)
    engine = lab.engine([case.agent], [case.out], max_restarts=2, **settings)
    lab.engines.append(engine)
    with_start = asyncio.ensure_future(engine.start())
    error = await lab.failed(engine)
    await asyncio.gather(with_start, return_exceptions=True)
    await lab.stop(engine)

    assert isinstance(error, WorkerError)
    often = (
        "" if (policy, kind.declared) == ("crash", "source") else " 3 times"
    )  # decoding gives the same result each time
    assert f"failed{often} at numbers-0 offset 2" in str(error)
    assert ("on_decode_error=" in str(error)) == (kind.declared == "source")
    assert 'or "dead_letter"' in str(error)
    committed = lab.committed(case.topic)
    if kind.limit < 1000:
        # The interval is dropped whole, each time; one in between may have ended before the bad event.
        assert committed is not None
        assert committed.offset <= BAD
    else:
        assert committed == Offset(BAD)
        assert set(lab.values(case.out)) >= {0, 1}
        assert lab.values(case.out) == [0, 1] or kind.agent
    assert not set(kind.bad) & set(lab.values(case.out))
    assert not letters(lab)


@exactly_once
@pytest.mark.parametrize("kind", ["body", "processor", "list", "by hand", "actors"])
async def test_retry_until_it_works(lab: Lab, kind: str, settings: dict[str, Any]) -> None:
    """An event that fails for a while is worked on in the end, at its place in the order, and leaves no letter."""
    topic, out = lab.topic("numbers", schema=Schema(value_type=int)), lab.topic("out")
    attempts: list[int] = []

    async def body(stream: Stream[Any]) -> None:
        source = KINDS[kind].body(sink)(stream)
        await source  # type: ignore[misc]

    class Moody:
        """Stands in front of the topic: fails three times at the bad value."""

        async def send(self, value: Any) -> None:
            attempts.append(value)
            if value == BAD + 10 and attempts.count(value) <= 3:
                raise OSError("not now")
            await out.send(value)

    sink: Any = Moody()
    for number in range(COUNT):
        lab.put(topic, [number + 10])
    options = {**KINDS[kind].agent, "on_failure": FailurePolicy.retry(3, then="dead_letter")}
    await lab.start([lab.agent(body, topic, **options)], [out], **settings)
    if kind == "by hand":  # the last one is not at the end of a pair: nobody acknowledges it
        await lab.until(lambda: lab.committed(topic) == Offset(COUNT), "all is committed")
    await lab.caught_up(topic)

    assert attempts.count(BAD + 10) == 4
    numbers = [number + 10 for number in range(COUNT)]
    assert (sorted(lab.values(out)) if kind == "actors" else lab.values(out)) == numbers
    assert not letters(lab)


# -- waiting


async def test_retry_waits_longer_and_longer(lab: Lab) -> None:
    """The delays grow by the factor, up to the longest."""
    topic = lab.topic("numbers")
    loop, times = asyncio.get_running_loop(), list[float]()

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            times.append(loop.time())
            raise ValueError("never")

    policy = FailurePolicy.retry(5, delay=2, factor=3, longest=20, then="skip")
    await lab.start([lab.agent(body, topic, on_failure=policy)])
    lab.put(topic, [1])
    await lab.until(lambda: lab.committed(topic) == Offset(1), "it is skipped", timeout=300)

    waits = [round(later - earlier) for earlier, later in pairwise(times)]
    assert waits == [2, 6, 18, 20, 20]


async def test_retry_keeps_the_order(lab: Lab) -> None:
    """With one actor nothing overtakes an event that is tried again, of its partition or another."""
    topic = lab.topic("numbers", 2)
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            if seen.count(1) <= 2 and value == 1:
                raise ValueError(value)

    lab.put(topic, [0, 1, 2])
    await lab.start([lab.agent(body, topic, on_failure=FailurePolicy.retry(delay=50, longest=50))])
    await lab.until(lambda: len(seen) == 2, "the first failure")
    lab.put(topic, [3], partition=1)
    await lab.until(lambda: len(seen) == 6, "all", timeout=300)
    assert seen == [0, 1, 1, 1, 2, 3]


@exactly_once
async def test_other_actors_go_on(lab: Lab, settings: dict[str, Any]) -> None:
    """With several actors the others work on what follows; they do not get the event that waits, and it is not committed."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            if seen.count(1) <= 2 and value == 1:
                raise ValueError(value)

    lab.put(topic, range(6))
    policy = FailurePolicy.retry(delay=50, longest=50)
    await lab.start([lab.agent(body, topic, concurrency=3, on_failure=policy)], **settings)
    await lab.until(lambda: len(seen) == 6, "all others")
    await asyncio.sleep(30)
    assert sorted(seen) == list(range(6))
    assert lab.committed(topic) == Offset(1)
    await asyncio.sleep(100)
    await lab.caught_up(topic)
    assert seen[6:] == [1, 1]


@pytest.mark.parametrize("concurrency", [1, 2])
@exactly_once
async def test_a_wait_ends_with_the_partition(lab: Lab, concurrency: int, settings: dict[str, Any]) -> None:
    """A worker that loses its partitions does not wait for their events to be tried again; the next owner gets them."""
    topic, out = lab.topic("numbers", 2), lab.topic("out")
    seen: list[Any] = []

    def worker(name: str) -> dict[str, Any]:
        own = Topic[Any, Any]("out", schema=Schema())

        async def body(stream: Stream[Any]) -> None:
            async for value in stream:
                seen.append(value)
                if value < 2 and seen.count(value) == 1:
                    raise ValueError(value)
                await own.send(value)

        policy = FailurePolicy.retry(delay=100_000, longest=100_000)
        agent = lab.agent(body, topic, concurrency=concurrency, on_failure=policy)
        return {"agents": [agent], "topics": [own], **({"transactional_id": name} if settings else {})}

    await lab.start(**worker("one"))
    for partition in range(concurrency):
        lab.put(topic, [partition], partition)
    await lab.until(lambda: len(seen) == concurrency, "the failures")
    lab.put(topic, [2], 0)
    lab.put(topic, [3], 1)
    await lab.start(**worker("another"))
    await lab.caught_up(topic)
    assert sorted(lab.values(out)) == ([0, 2, 3] if concurrency == 1 else [0, 1, 2, 3])


async def test_there_is_no_wait_for_a_partition_that_is_given_away(lab: Lab) -> None:
    """An event that fails while its partition goes to another worker is tried again there, and this worker goes on with the rest."""
    topic = lab.topic("numbers", 2)
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            if value == "bad" and "bad" not in seen:
                seen.append(value)
                while all(session.open for session in first.ownership.sessions.values()):  # noqa: ASYNC110 - of a port there is no event
                    await asyncio.sleep(0.01)
                raise ValueError(value)
            seen.append(value)

    agent = lab.agent(body, topic, on_failure=FailurePolicy.retry(1, delay=1000.0, longest=1000.0))
    first = await lab.start([agent])
    lab.put(topic, ["bad"])
    await lab.until(lambda: seen == ["bad"], "the event is open")
    await lab.start([lab.agent(body, topic)])
    for partition in range(2):
        lab.put(topic, [partition], partition)
    await lab.caught_up(topic)
    assert sorted(map(str, seen)) == ["0", "1", "bad", "bad"]


async def test_a_wait_ends_with_the_worker(lab: Lab) -> None:
    """A worker that stops does not wait for an event to be tried again; it is not committed."""
    topic = lab.topic("numbers")
    loop = asyncio.get_running_loop()
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            check(value)

    fill(lab, topic)
    policy = FailurePolicy.retry(delay=100_000, longest=100_000)
    engine = await lab.start([lab.agent(body, topic, on_failure=policy)], drain_timeout=1000.0)
    await lab.until(lambda: BAD in seen, "the failure")
    began = loop.time()
    await lab.stop(engine)
    assert loop.time() - began < 10
    assert lab.committed(topic) == Offset(BAD)


# -- dead letters


@pytest.mark.parametrize("policy", ["skip", "dead_letter"])
async def test_decided_after_others_have_seen(lab: Lab, policy: str) -> None:
    """When a failed event's sends were in the transaction, the interval is replayed without it, and its letter is there once."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    fill(lab, topic)

    async def late(stream: Stream[Any]) -> None:
        async for value in stream:
            await (await out.send(value))
            check(value)

    await lab.start([lab.agent(late, topic, on_failure=policy)], [out], transactional_id="worker")
    await lab.caught_up(topic)

    assert lab.values(out) == [0, 1, 3, 4, 5]
    assert [letter.value for letter in letters(lab)] == ([b"2"] if policy == "dead_letter" else [])


async def test_letters_of_a_dropped_interval(lab: Lab) -> None:
    """A letter is in the transaction of its offset: when that is aborted the letter is too, and comes again with the replay."""
    topic = lab.topic("numbers")
    engine = await lab.start(
        [lab.agent(values(topic), lab.topic("in"), on_failure="dead_letter")], [topic], transactional_id="worker"
    )
    for _ in range(3):
        lab.cluster.faults.fail_next("txn_offset_commit", DeadlineError("provoked"))
    source = Topic[Any, Any](engine.topology.subscriptions[0].topics[0], schema=Schema())
    fill(lab, source)
    await lab.until(lambda: lab.committed(source) == Offset(COUNT), "all")

    assert len(letters(lab, committed=False)) > 1
    assert [letter.value for letter in letters(lab)] == [b"2"]
    assert lab.values(topic) == [0, 1, 3, 4, 5]


async def test_letters_are_sent_after_earlier_events(lab: Lab) -> None:
    """Under exactly-once with several actors a letter is not committed before its event can be."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    go_on = asyncio.Event()
    fill(lab, topic)

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            if value == 1:
                await go_on.wait()
            await out.send(check(value))

    agent = lab.agent(body, topic, concurrency=2, on_failure="dead_letter")
    engine = await lab.start([agent], [out], transactional_id="worker")
    await lab.until(lambda: lab.committed(topic) == Offset(1), "the first is committed")
    await asyncio.sleep(5)
    assert not letters(lab, committed=False)
    go_on.set()
    await lab.caught_up(topic)
    await lab.stop(engine)
    assert [letter.value for letter in letters(lab, committed=False)] == [b"2"]


@exactly_once
async def test_lists_of_several_actors(lab: Lab, settings: dict[str, Any]) -> None:
    """Whatever events share a list with the bad one: each of all events is either worked on or a letter."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    fill(lab, topic)
    policy = FailurePolicy.retry(2, then="dead_letter")
    await lab.start([lab.agent(lists(out), topic, concurrency=2, on_failure=policy)], [out], **settings)
    await lab.caught_up(topic)
    dead = [int(letter.value or b"") for letter in letters(lab)]
    assert BAD in dead
    assert sorted([*lab.values(out), *dead]) == list(range(COUNT))


@pytest.mark.parametrize("named", [False, True])
async def test_a_topic_of_ones_own(lab: Lab, named: bool) -> None:
    """Letters go to the topic that the policy names; it is declared, with as many partitions as the source, and keeps keys together."""
    topic = lab.topic("numbers", 3)
    mine = Topic[Any, Any]("my-letters", schema=Schema())

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            raise ValueError("bad")

    policy = FailurePolicy.dead_letter("my-letters" if named else mine)
    await lab.start([lab.agent(body, topic, on_failure=policy)])
    assert lab.cluster.topic("my-letters").partitions == 3
    for key in ["a", "a", "b"]:
        await (await topic.send(1, key=key))
    await lab.caught_up(topic)
    assert sorted(letter.key or b"" for letter in letters(lab, "my-letters")) == [b"a", b"a", b"b"]
    assert LETTERS not in lab.cluster.topics()


async def test_each_reader_has_its_own_letters(lab: Lab) -> None:
    """Two agents that cannot decode a record send a letter each, which names the agent."""
    topic = lab.topic("numbers", schema=Schema(value_type=int), on_decode_error="dead_letter")
    fill(lab, topic, value=b"no number")

    def reader() -> AgentBody:
        async def body(stream: Stream[Any]) -> None:
            async for _ in stream:
                pass

        return body

    await lab.start([lab.agent(reader(), topic, name=name) for name in ("one", "two")])
    await lab.caught_up(topic)
    assert {dict(letter.headers)[f"{PREFIX}agent"] for letter in letters(lab)} == {b"one", b"two"}


@exactly_once
@pytest.mark.parametrize("grouped", [False, True], ids=["", "in a group"])
@pytest.mark.parametrize("error", [TransportError("no permission on topic late"), StoreError("the disk is full")])
async def test_what_is_not_the_fault_of_an_event(
    lab: Lab, error: Exception, grouped: bool, settings: dict[str, Any]
) -> None:
    """No policy passes over it, and what the worker says at its end does not advise to declare one; also where a TaskGroup raises it."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            raise ExceptionGroup("several", [ValueError("of the event"), error]) if grouped else error

    agent = lab.agent(body, topic, on_failure="skip")
    engine = await lab.start([agent], max_restarts=1, **settings)
    lab.put(topic, [1])
    told = str(await lab.failed(engine))
    await lab.stop(engine)
    shown = f"{type(error).__name__}: {error}"
    shown = f"several: ValueError: of the event; {shown}" if grouped else shown
    assert f"at numbers-0 offset 0: {shown}; that is not the fault of an event" in told
    assert "on_failure=" not in told
    assert lab.committed(topic) == Offset(0)


@exactly_once
async def test_trouble_in_a_group_is_tried_again(lab: Lab, settings: dict[str, Any]) -> None:
    """What a broker is to blame for is not passed over because it comes out of a TaskGroup."""
    topic, out, tries = lab.topic("numbers"), lab.topic("out"), 0

    async def fails() -> None:
        raise DeadlineError("no answer")

    async def body(stream: Stream[Any]) -> None:
        nonlocal tries
        async for value in stream:
            tries += 1
            if tries < 3:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails())
            await out.send(value)

    await lab.start([lab.agent(body, topic, on_failure="skip")], [out], **settings)
    lab.put(topic, [1, 2])
    await lab.caught_up(topic)
    assert (lab.values(out), tries) == ([1, 2], 4)


@exactly_once
@pytest.mark.parametrize("at_topic", [False, True])
async def test_the_option_that_decides_is_named(lab: Lab, at_topic: bool, settings: dict[str, Any]) -> None:
    """A worker that ends because of a value that cannot be encoded names the option that would pass over it, and where it belongs."""
    topic = lab.topic("numbers")
    out = lab.topic("out", on_produce_error="crash" if at_topic else None)

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            await out.send(object())

    engine = await lab.start([lab.agent(body, topic)], [out], max_restarts=1, **settings)
    lab.put(topic, [1])
    told = str(await lab.failed(engine))
    await lab.stop(engine)
    option = "on_produce_error" if at_topic else "on_failure"
    assert told.endswith(f'or declare {option}="skip" or "dead_letter"' + (" for topic out" if at_topic else ""))


@exactly_once
async def test_a_letter_that_cannot_be_sent(lab: Lab, settings: dict[str, Any]) -> None:
    """An event whose letter is too large is kept: the worker ends and says what to change."""
    topic = lab.topic("numbers", schema=Schema(value_type=int), on_decode_error="dead_letter")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    lab.cluster.topic("numbers").config["max.message.bytes"] = "2000000"  # type: ignore[index]
    engine = await lab.start([lab.agent(body, topic)], **settings)
    fill(lab, topic, value=b"x" * (1 << 20))
    error = await lab.failed(engine)
    await lab.stop(engine)

    assert isinstance(error.__cause__, DeadLetterError)
    assert "on_failure=" not in str(error)  # which would decide on the event, and is not asked for its letter
    for part in (
        "cannot be sent to app-dead-letter",
        "topic numbers, partition 0, offset 2",
        "producer_max_request_size",
    ):
        assert part in str(error)
    assert lab.committed(topic) == Offset(BAD)


async def test_dead_letters_of_a_pipe(lab: Lab) -> None:
    """What fails in front of ``group_by`` has the policy of its agent too."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.group_by(check, name="check"):
            seen.append(value)

    fill(lab, topic)
    await lab.start([lab.agent(body, topic, name="agent", on_failure="dead_letter")])
    await lab.caught_up(topic)
    await lab.until(lambda: len(seen) == COUNT - 1, "all others")
    assert seen == [0, 1, 3, 4, 5]
    assert [letter.value for letter in letters(lab)] == [b"2"]


async def test_streams_without_an_agent(lab: Lab) -> None:
    """A stream in a task passes over what cannot be decoded by the policy of its topic; with any other the task gets the error."""
    skipping = lab.topic("one", schema=Schema(value_type=int), on_decode_error="dead_letter")
    trying = lab.topic("two", schema=Schema(value_type=int), on_decode_error="retry")
    engine = await lab.start([], [skipping, trying])
    for topic in (skipping, trying):
        fill(lab, topic, value=b"no number")

    seen: list[Any] = []
    async for value in engine.topology.stream(skipping):
        seen.append(value)
        if len(seen) == COUNT - 1:
            break
    assert seen == [0, 1, 3, 4, 5]
    await lab.until(lambda: bool(letters(lab)), "the letter")
    assert [dict(letter.headers)[f"{PREFIX}agent"] for letter in letters(lab)] == [b"stream-one"]
    with pytest.raises(DecodeError, match="partition 0, offset 2"):
        async for _ in engine.topology.stream(trying):
            pass


# -- records that the broker refuses


@exactly_once
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_refused_records_are_found(lab: Lab, concurrency: int, settings: dict[str, Any]) -> None:
    """Of many events whose sends share batches exactly those are skipped whose own records are refused."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    bad = {7, 20, 21}

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send("x" * 1000 if value in bad else value)
            await out.send(-value)

    lab.put(topic, range(40))
    lab.cluster.topic("out").config["max.message.bytes"] = "500"  # type: ignore[index]
    agent = lab.agent(body, topic, concurrency=concurrency, on_failure="dead_letter")
    await lab.start([agent], [out], **settings)
    await lab.caught_up(topic)

    good = [number for number in range(40) if number not in bad]
    assert {int(letter.value or b"") for letter in letters(lab)} == bad
    if settings:
        assert sorted(lab.values(out)) == sorted([*good, *(-number for number in good)])
    else:
        assert set(lab.values(out)) == {*good, *(-number for number in good)}


@exactly_once
@pytest.mark.parametrize("told", [False, True], ids=["", "on_error"])
@pytest.mark.parametrize("then", ["skip", "dead_letter"])
async def test_refused_records_are_tried_again_at_the_pace_of_the_policy(
    lab: Lab, then: str, told: bool, settings: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The delays between the attempts are those of the policy, also when it is one refused record after the other."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    loop = asyncio.get_running_loop()
    attempts: dict[int, list[float]] = {}

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            if value % 7 == 3:
                attempts.setdefault(value, []).append(loop.time())
            await out.send("x" * 1000 if value % 7 == 3 else value)

    async def note(_agent: Agent, _error: BaseException) -> None:
        await asyncio.sleep(0)

    policy = FailurePolicy.retry(3, delay=0.5, factor=2.0, then=then)
    lab.put(topic, range(70))
    lab.cluster.topic("out").config["max.message.bytes"] = "500"  # type: ignore[index]
    agent = lab.agent(body, topic, on_failure=policy, on_error=note if told else None)
    await lab.start([agent], [out], **settings)
    await lab.caught_up(topic)

    assert len(attempts) == 10
    of_actors = [record.getMessage() for record in caplog.records if record.name == "stream_core.agents.actor"]
    places = tuple(f"agent body[0] failed at numbers-0 offset {value};" for value in attempts)
    assert not [line for line in of_actors if line.startswith(places) and "BatchRefusedError" in line]  # letters wait
    first, last = attempts[3][-1], attempts[66][-1]
    assert last - first < 9 * 5.0  # 3.5 s of delays for each, and a second to find out which event it is
    for value, times in attempts.items():
        delays = [later - earlier for earlier, later in itertools.pairwise(times[-4:])]
        assert all(
            wanted - 0.01 <= delay < wanted + 0.5 for wanted, delay in zip((0.5, 1.0, 2.0), delays, strict=True)
        ), (
            value,
            delays,
        )


async def test_care_is_taken_only_where_it_is_needed(lab: Lab) -> None:
    """Once the interval of a refused record is committed, sends share batches again."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send("x" * 1000 if value == BAD else value)

    lab.cluster.topic("out").config["max.message.bytes"] = "500"  # type: ignore[index]
    engine = await lab.start([lab.agent(body, topic, on_failure="skip")], [out])
    lab.put(topic, range(COUNT))
    await lab.caught_up(topic)
    lab.cluster.faults.pause_acks(TP("out", 0))
    lab.put(topic, range(10, 20))
    await lab.until(lambda: len(lab.values(out)) >= 15, "all are sent, though none is acknowledged")
    lab.cluster.faults.resume_acks(TP("out", 0))
    await lab.caught_up(topic)
    assert not engine.failure.done()


async def test_who_waits_gets_the_refusal(lab: Lab) -> None:
    """Under care the body gets the error where it sends, and may do something else."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    caught: list[EncodeError] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            try:
                await out.send("x" * 1000 if value == BAD and not caught else value)
            except RecordRefusedError as error:
                caught.append(error)
                raise

    lab.cluster.topic("out").config["max.message.bytes"] = "500"  # type: ignore[index]
    fill(lab, topic)
    await lab.start([lab.agent(body, topic)], [out])
    await lab.caught_up(topic)
    assert [error.topic for error in caught] == ["out"]
    assert "max.message.bytes=500" in str(caught[0])


@exactly_once
async def test_a_partition_that_does_not_exist(lab: Lab, settings: dict[str, Any]) -> None:
    """Sending to it fails inside the event, under both guarantees, and has the policy of the topic."""
    topic, out = lab.topic("numbers"), lab.topic("out", on_produce_error="dead_letter")
    fill(lab, topic)

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(value, partition=7 if value == BAD else 0)

    await lab.start([lab.agent(body, topic)], [out], **settings)
    await lab.caught_up(topic)
    assert lab.values(out) == [0, 1, 3, 4, 5]
    assert b"no partition 7" in dict(letters(lab)[0].headers)[f"{PREFIX}error-message"]


# -- definitions


def test_headers_tell_what_failed() -> None:
    """What the record had comes first; the type of the error is named, and a long message is cut."""
    record = StoredRecord(5, 7, b"k", b"v", [("a", b"1"), ("a", b"2")])
    verdict = Verdict.of(KeyError("y" * 5000), FailurePolicy.DEAD_LETTER)
    headers = letter_headers("agent", TP("t", 3), record, verdict)
    assert headers[:2] == [("a", b"1"), ("a", b"2")]
    told = dict(headers)
    assert told[f"{PREFIX}error-type"] == b"KeyError"
    assert len(told[f"{PREFIX}error-message"]) == 1000


def failed(message: str = "no stock") -> Verdict:
    """What is put down of an error."""
    try:
        raise ValueError(message)
    except ValueError as error:
        return Verdict.of(error, FailurePolicy.DEAD_LETTER)


def test_a_letter_has_the_traceback() -> None:
    """Bounded, with how it began and how it ended; a letter of a large record has none, so as not to be too large for its topic."""
    told = dict(letter_headers("agent", TP("t", 3), StoredRecord(5, 7, b"k", b"v"), failed()))
    lines = told[f"{PREFIX}traceback"].decode().splitlines()
    assert lines[-1] == "ValueError: no stock"
    assert "test_policies.py" in lines[0]
    long = failed("no stock " * 1000).traceback
    assert len(long) == 4007
    assert "test_policies.py" in long[:200]
    assert long.endswith("no stock no stock")
    large = StoredRecord(5, 7, b"k", b"v" * 100_001)
    assert f"{PREFIX}traceback" not in dict(letter_headers("agent", TP("t", 3), large, failed()))


def test_a_letter_of_a_letter_tells_its_own_failure() -> None:
    """What an agent sends on from a dead letter has its headers; when that fails again, the earlier failure is told no more."""
    first = letter_headers("agent", TP("t", 3), StoredRecord(5, 7, b"k", b"v", [("a", b"1")]), failed())
    again = letter_headers("other", TP("u", 0), StoredRecord(1, 8, b"k", b"v", first), failed())
    assert [name for name, _ in again] == [name for name, _ in first]
    assert dict(again)[f"{PREFIX}agent"] == b"other"


async def test_dead_letters_need_a_topic(lab: Lab) -> None:
    """Events of channels are no records, and nobody sends letters to the topic that he reads."""

    async def body(stream: Stream[Any]) -> None:
        raise AssertionError("refused before it runs")

    with pytest.raises(ConfigurationError, match="agent body reads a channel"):
        lab.engine([lab.agent(body, Channel[Any, Any]("c"), on_failure="dead_letter")])
    with pytest.raises(
        ConfigurationError, match="body reads app-dead-letter and would send its own dead letters there"
    ):
        lab.engine([lab.agent(body, lab.topic(LETTERS), on_failure="dead_letter")])


async def test_a_channel_can_skip(lab: Lab) -> None:
    """Events of a channel are tried again and skipped as those of topics are."""
    channel = Channel[Any, Any]("c")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        async for value in stream:
            seen.append(value)
            check(value)

    await lab.start([lab.agent(body, channel, on_failure=FailurePolicy.retry(1, then="skip"))])
    for number in range(4):
        await channel.put(number)
    await lab.until(lambda: 3 in seen, "all")
    assert seen == [0, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FailurePolicy.of("explode", "agent a"), "agent a: 'explode' is no failure policy; there are 'crash'"),
        (lambda: FailurePolicy.retry(0), "at least one attempt"),
        (lambda: FailurePolicy.retry(delay=-1), "0 or more"),
        (lambda: FailurePolicy.retry(factor=0.5), "a factor of 1 or more"),
        (lambda: FailurePolicy.retry(delay=60), "not shorter than the first"),
        (lambda: FailurePolicy.retry(then=FailurePolicy.retry()), "must end it"),
    ],
)
def test_policies_are_checked(make: Callable[[], FailurePolicy], message: str) -> None:
    """A policy that cannot be is refused in a sentence."""
    with pytest.raises(ConfigurationError, match=message):
        make()


def test_policies_by_name() -> None:
    """Names and objects say the same; delays stay where the factor is 1, and attempts may have no end."""
    assert FailurePolicy.of("skip", "") == FailurePolicy.of(FailurePolicy.SKIP, "") == FailurePolicy("skip")
    assert FailurePolicy.of("dead_letter", "") == FailurePolicy.dead_letter()
    assert FailurePolicy.of("retry", "") == FailurePolicy.retry(3)
    forever = FailurePolicy.retry(None, delay=1, factor=1)
    assert forever.attempts == float("inf")
    assert forever.wait(1_000_000) == 1
    assert FailurePolicy.CRASH.wait(1_000_000) == 5
    assert FailurePolicy.retry(then="dead_letter").final == FailurePolicy("dead_letter", longest=30.0)
