"""The snapshot of an engine: what it tells at each moment of a life, also to another thread, and what is counted on the way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.agents.agent import Agent
from stream_core.counters import (
    BOUNDS,
    FAILURES,
    LONGEST_ERROR,
    OTHERS,
    TOPICS,
    Durations,
    Failure,
    Failures,
    TopicTraffic,
)
from stream_core.engine.engine import Engine
from stream_core.engine.participants import Interval, Reading, ShardChanges
from stream_core.engine.snapshot import (
    AgentSnapshot,
    PartitionSnapshot,
    ReadingSnapshot,
    Snapshot,
    TableChanges,
    as_json,
)
from stream_core.errors import BatchRefusedError, CommitError, NoReplyError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Host
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import Lab
from .ledger import CHANGELOG, Ledger

looptime = pytest.mark.looptime


def agent_of(snapshot: Snapshot, name: str) -> AgentSnapshot:
    """The one of that name."""
    (found,) = [agent for agent in snapshot.agents if agent.name == name]
    return found


def partition_of(snapshot: Snapshot, tp: TP) -> PartitionSnapshot:
    """The one of that topic and number."""
    (found,) = [one for one in snapshot.partitions if (one.topic, one.partition) == tp]
    return found


# -- a life


@looptime
async def test_a_life_from_before_the_start_to_behind_the_stop(lab: Lab) -> None:
    """At each step it says what the worker does and why it is not ready; each of these can be written as JSON."""
    topic = lab.topic("orders", partitions=2)

    async def count(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    engine = lab.engine([lab.agent(count, topic)])
    seen = [engine.snapshot()]
    lab.engines.append(engine)
    starting = asyncio.ensure_future(engine.start())
    while not starting.done():
        seen.append(engine.snapshot())
        await asyncio.sleep(0)
    await starting
    seen.append(engine.snapshot())
    stopping = asyncio.ensure_future(lab.stop(engine))
    while not stopping.done():
        seen.append(engine.snapshot())
        await asyncio.sleep(0)
    seen.append(engine.snapshot())

    reasons = list(dict.fromkeys(snapshot.status.reason for snapshot in seen))
    assert reasons == ["not started", "waiting for the broker", "waiting for partitions", "recovering", "", "stopping"]
    assert all(snapshot.status.ready == (snapshot.status.reason == "") for snapshot in seen)
    assert seen[-1].status.state == "stopped"
    for snapshot in seen:
        assert json.loads(json.dumps(as_json(snapshot)))["app"] == "app"


@looptime
async def test_positions_and_lags_of_readers(lab: Lab) -> None:
    """Each reader has its own position in a partition; what is committed and what is behind is that of the slowest."""
    topic, gate = lab.topic("orders", partitions=2), asyncio.Event()

    async def fast(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    async def slow(stream: Stream[Any]) -> None:
        async for value in stream:
            if value == 3:
                await gate.wait()

    engine = await lab.start([lab.agent(fast, topic), lab.agent(slow, topic)], commit_interval=1.0)
    untouched = partition_of(engine.snapshot(), TP("orders", 1))
    lab.put(topic, range(10))
    await lab.until(lambda: agent_of(engine.snapshot(), "fast").finished == 10, "the fast one is done")
    await engine.checkpoint()
    await lab.until(lambda: agent_of(engine.snapshot(), "slow").open == 1, "the slow one has an event open")

    snapshot = engine.snapshot()
    found = partition_of(snapshot, TP("orders", 0))
    assert (found.state, found.committed, found.position, found.fetched, found.end, found.lag) == (
        *("running", 3, 3, 10, 10),
        7,
    )
    assert found.readers == (ReadingSnapshot("fast", 10, 10, 0), ReadingSnapshot("slow", 3, 3, 7))
    assert found.event_time is not None
    assert (untouched.end, untouched.lag, untouched.event_time) == (None, None, None)
    assert [(one.topic, one.records, one.batches) for one in snapshot.received] == [("orders", 10, 1)]

    gate.set()
    await lab.caught_up(topic)
    await lab.until(lambda: partition_of(engine.snapshot(), TP("orders", 0)).committed == 10, "all is committed")
    assert partition_of(engine.snapshot(), TP("orders", 0)).lag == 0


@looptime
async def test_agents_say_how_many_run_and_what_became_of_events(lab: Lab) -> None:
    """Actors, failures, and what the policy did with events are counted by reader."""
    topic = lab.topic("orders")

    async def skim(stream: Stream[Any]) -> None:
        async for value in stream:
            if value % 5 == 0:
                raise ValueError(value)

    async def check(stream: Stream[Any]) -> None:
        async for value in stream:
            if value % 4 == 0:
                raise ValueError(value)

    agents = [
        lab.agent(skim, topic, concurrency=3, on_failure=FailurePolicy.SKIP),
        lab.agent(check, topic, on_failure=FailurePolicy.DEAD_LETTER),
    ]
    engine = await lab.start(agents)
    lab.put(topic, range(20))
    await lab.caught_up(topic)

    snapshot = engine.snapshot()
    skimmed, checked = agent_of(snapshot, "skim"), agent_of(snapshot, "check")
    assert (skimmed.concurrency, skimmed.running, checked.running) == (3, 3, 1)
    assert (skimmed.finished, skimmed.failures, skimmed.skipped, skimmed.dead_letters) == (20, 4, 4, 0)
    assert (checked.finished, checked.failures, checked.skipped, checked.dead_letters) == (20, 5, 0, 5)
    assert {one.topic: one.records for one in snapshot.sent} == {"app-dead-letter": 5}
    await lab.stop(engine)
    assert [agent.running for agent in engine.snapshot().agents] == [0, 0]


@looptime
async def test_the_last_failures_are_told_with_their_place_and_what_follows(lab: Lab) -> None:
    """An event that is tried again stays one failure; what cannot be read is one, too; the oldest goes first."""
    topic = lab.topic("orders", schema=Schema(str, int), on_decode_error=FailurePolicy.SKIP)

    async def check(stream: Stream[Any]) -> None:
        async for value in stream:
            if value == 1:
                raise ValueError("<b>no</b>" * 100)

    policy = FailurePolicy.retry(2, delay=1.0, then="dead_letter")
    engine = await lab.start([lab.agent(check, topic, on_failure=policy)])
    lab.put(topic, [0, 1, b"no JSON", 3])
    await lab.caught_up(topic)

    failed, unread = sorted(engine.snapshot().failures, key=lambda one: one.offset)
    assert (failed.reader, failed.topic, failed.partition, failed.offset, failed.times) == ("check", "orders", 0, 1, 3)
    assert (failed.action, failed.letters) == ("dead_letter", "app-dead-letter")
    assert failed.error.startswith("ValueError: <b>no</b>")
    assert len(failed.error) == LONGEST_ERROR
    assert (unread.offset, unread.action, unread.letters, unread.times) == (2, "skip", "", 1)
    assert unread.error.startswith("DecodeError: ")

    lab.put(topic, [b"no JSON"] * FAILURES)
    await lab.caught_up(topic)
    assert [one.offset for one in engine.snapshot().failures] == list(range(4, 4 + FAILURES))


@looptime
async def test_a_pipe_is_a_reader_of_its_own(lab: Lab) -> None:
    """The topic between has its own reader; the actor that fills it belongs to the reader in front."""
    topic = lab.topic("orders")

    async def regroup(stream: Stream[Any]) -> None:
        async for _ in stream.group_by(lambda value: str(value % 2), name="parity"):
            pass

    engine = await lab.start([lab.agent(regroup, topic)])
    lab.put(topic, range(10))
    await lab.caught_up(topic)
    await lab.until(lambda: sum(agent.finished for agent in engine.snapshot().agents) == 20, "all went through")
    front, behind = engine.snapshot().agents
    assert (front.name, front.topics, front.running, front.finished) == ("regroup", ("orders",), 1, 10)
    assert (behind.name, behind.running, behind.finished) == (f"regroup/{behind.topics[0]}", 1, 10)
    assert engine.topology.pipes == [("regroup", behind.topics[0], "regroup")]


def test_failures_show_no_credentials_of_urls() -> None:
    """Errors of other libraries name what they were connected to; also where the text is cut."""
    failures = Failures()
    for number, error in enumerate(
        ("no answer of db://ann:secret@host/x", "x" * (LONGEST_ERROR - 12) + "db://ann:secret@host", "a://b" * 2000)
    ):
        failures.add(Failure("agent", "orders", 0, number, 0.0, error, "skip", ""))
    shown = [failure.error for failure in failures.values()]
    assert shown[0] == "no answer of db://***@host/x"
    assert not any("secret" in error or len(error) > LONGEST_ERROR for error in shown)


# -- the interval


@looptime
async def test_the_interval_grows_until_it_is_committed(lab: Lab) -> None:
    """Its age counts from the last commit, or from the last look that found nothing; checkpoints are counted with their time."""
    topic = lab.topic("orders")

    async def count(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    engine = await lab.start([lab.agent(count, topic)], commit_interval=10.0)
    lab.put(topic, range(5))
    await lab.until(lambda: engine.snapshot().interval.events == 5, "five events are finished")
    await asyncio.sleep(4)
    before = engine.snapshot()
    assert await engine.checkpoint()
    after = engine.snapshot()

    assert before.interval.age >= 4
    assert after.checkpoints.count == before.checkpoints.count + 1
    assert after.interval.events == 0
    assert after.interval.age < before.interval.age
    assert after.checkpoints.buckets[-1] == (BOUNDS[-1], after.checkpoints.count)
    assert not await engine.checkpoint()
    assert engine.snapshot().checkpoints.count == after.checkpoints.count


@looptime
async def test_drops_are_counted_by_what_made_them_so(lab: Lab) -> None:
    """The broker that refuses a commit is one reason."""
    topic = lab.topic("orders")

    async def count(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    engine = await lab.start([lab.agent(count, topic)])
    lab.cluster.faults.fail_next("offset_commit", CommitError("no"))
    lab.put(topic, range(5))
    await lab.caught_up(topic)

    snapshot = engine.snapshot()
    assert snapshot.drops == {"CommitError": 1}
    assert snapshot.interval.state == "open"


class Mixed(Ledger):
    """A ledger that updates three keys and deletes two whenever the count has changed."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """These."""
        for shard in super().changes(intervals):
            yield shard._replace(records=[(b"a", b"1"), (b"b", None), (b"c", b""), (b"d", None), (b"e", b"null")])


@looptime
@pytest.mark.parametrize("refused", [False, True], ids=["many at a time", "one by one"])
async def test_changes_of_tables_are_counted_when_they_are_committed(lab: Lab, refused: bool) -> None:
    """Updates and deletions by themselves; those of an interval that the broker refuses only when it is made again, one by one."""
    topic, ledger, handled = lab.topic("orders"), Mixed(), list[Any]()

    async def count(stream: Stream[Any]) -> None:
        async for value in stream:
            ledger.add()
            handled.append(value)

    engine = await lab.start([lab.agent(count, topic)], (), [ledger], commit_interval=1000.0)
    assert engine.snapshot().changes == ()
    for value in (1, 2):
        if refused:
            lab.cluster.faults.fail_next("produce", BatchRefusedError("no"))
        before = engine.snapshot()
        handled.clear()
        lab.put(topic, [value])
        await lab.until(lambda: len(handled) == 1, "the event is handled")
        assert await engine.checkpoint() is not refused
        if refused:
            assert engine.outbox.one_by_one
            assert engine.snapshot().changes == before.changes
            await lab.until(lambda: len(handled) == 2, "it is handled again")
            await engine.checkpoint()
        await lab.caught_up(topic)
        assert not engine.outbox.one_by_one
        assert engine.snapshot().changes == (TableChanges("count", 3 * value, 2 * value),)
        assert ledger.position == len(lab.records(CHANGELOG.topic)) == 5 * value


# -- the group


@looptime
async def test_two_engines_know_each_other(lab: Lab) -> None:
    """Each says which partitions it owns, and by whom and where the others are owned; rebalances are counted."""
    topic = lab.topic("orders", partitions=4)

    def agent() -> Agent:
        async def count(stream: Stream[Any]) -> None:
            async for _ in stream:
                pass

        return lab.agent(count, topic)

    engines: list[Engine] = []
    for name in ("one", "two"):
        engine = lab.engine([agent()])
        engine.host = Host(name, f"http://{name}.example")
        lab.engines.append(engine)
        await engine.start()
        engines.append(engine)

    def settled() -> bool:
        return all(engine.status().ready and len(engine.snapshot().partitions) == 2 for engine in engines)

    await lab.until(settled, "both have two partitions")
    first, second = (engine.snapshot() for engine in engines)
    assert first.owners == second.owners
    assert first.owners_settled
    assert {one.instance for one in first.members} == {"one", "two"} == {one.instance for one in second.members}
    assert first.generation == second.generation
    assert {one.url for one in first.owners} == {"http://one.example", "http://two.example"}
    mine = [(one.topic, one.partition) for one in first.owners if one.instance == "one"]
    assert mine == [(one.topic, one.partition) for one in first.partitions]
    assert first.rebalances == {"assigned": 2, "revoked": 1, "lost": 0}
    await lab.stop(engines[1])
    await lab.until(lambda: len(engines[0].snapshot().partitions) == 4, "the one that stays has all")
    assert not engines[1].snapshot().owners_settled


@looptime
async def test_questions_are_counted_by_their_outcome(lab: Lab) -> None:
    """Answered, refused because the event failed, or given up at the deadline."""

    async def half(stream: Stream[Any]) -> Any:
        async for value in stream:
            if value == 1:
                raise ValueError("odd")
            if value != 3:
                yield value / 2

    agent = lab.agent(half, lab.topic("numbers"), on_failure=FailurePolicy.SKIP)
    engine = await lab.start([agent])
    assert await agent.ask(2) == 1
    with pytest.raises(Exception, match="odd"):
        await agent.ask(1)
    with pytest.raises(NoReplyError):
        await agent.ask(3, timeout=5)
    await lab.until(lambda: engine.snapshot().asks["given_up"] == 1, "the last one is counted")
    assert engine.snapshot().asks == {"answered": 1, "failed": 1, "given_up": 1}
    await lab.until(lambda: bool(engine.snapshot().sent), "an answer is acknowledged")
    assert "f-reply-*" in {one.topic for one in engine.snapshot().sent}


# -- from another thread


async def test_another_thread_may_look_at_any_time(lab: Lab) -> None:
    """It never fails, while engines start, work, hand over and stop as fast as they can."""
    topic = lab.topic("orders", partitions=8)
    looked, problems, over = [0], list[BaseException](), threading.Event()

    async def count(stream: Stream[Any]) -> None:
        async for value in stream:
            if value % 50 == 0:
                raise ValueError(value)

    def make() -> Engine:
        engine = lab.engine([lab.agent(count, topic, on_failure=FailurePolicy.SKIP)], commit_interval=0.01)
        lab.engines.append(engine)
        return engine

    engines = [make()]

    def look() -> None:
        while not over.is_set():
            for engine in engines:
                try:
                    json.dumps(as_json(engine.snapshot()))
                except BaseException as error:
                    problems.append(error)
                looked[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        await engines[0].start()
        for _ in range(4):
            for partition in range(8):
                lab.put(topic, range(100), partition)
            other = make()
            engines.append(other)
            await other.start()
            await lab.stop(other)
        await lab.caught_up(topic)
    finally:
        over.set()
        await asyncio.to_thread(thread.join)
    assert not problems
    assert looked[0] > 0


# -- counters


@given(st.lists(st.floats(min_value=0, max_value=100), min_size=1))
def test_durations_are_in_their_buckets(seconds: list[float]) -> None:
    """Each is in the first bucket whose bound is not below it."""
    durations = Durations()
    for one in seconds:
        durations.add(one)
    assert (durations.count, durations.last, durations.longest) == (len(seconds), seconds[-1], max(seconds))
    assert durations.total == pytest.approx(sum(seconds))
    for index, bound in enumerate(BOUNDS):
        assert sum(durations.buckets[: index + 1]) == sum(one <= bound for one in seconds)
    assert sum(durations.buckets) == len(seconds)


def test_the_topics_that_are_counted_by_name_are_bounded() -> None:
    """Further ones are counted as one, and so are those of answers, of which each program that asks has its own."""
    traffic = TopicTraffic("f-reply-")
    for number in range(TOPICS + 100):
        traffic[f"f-reply-{number}"].add(1, 10)
    assert {name: one.records for name, one in traffic.items()} == {"f-reply-*": TOPICS + 100}
    for number in range(TOPICS + 100):
        traffic[f"orders-{number}"].add(1, 10)
    assert len(traffic) == TOPICS + 1
    assert (traffic[OTHERS].records, traffic["f-reply-7"].records, traffic["orders-7"].records) == (
        101,
        TOPICS + 100,
        1,
    )
    assert sum(one.bytes for one in traffic.values()) == 2 * (TOPICS + 100) * 10
