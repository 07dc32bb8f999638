"""The interval when something inside fails: nothing of it is committed by a later checkpoint, and nothing leaves once it is dropped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from stream_core.engine.participants import Interval, Reading, ShardChanges
from stream_core.errors import (
    DeadlineError,
    EncodeError,
    EventTimeoutError,
    FencedError,
    ProduceError,
    RecordRefusedError,
    StoreError,
    TransportError,
    WorkerError,
)
from stream_core.primitives import TP, Offset, TopicSpec
from stream_core.sending.topic import Topic
from stream_core.states import EngineState, IntervalState
from stream_core.streams.metadata import CommitMetadata, Identity
from stream_core.streams.stream import Stream

from .harness import GROUP, Lab
from .test_checkpoint import CHANGELOG, Counting, Ledger, both, settings_for

pytestmark = pytest.mark.looptime


class Refusing(Ledger):
    """A ledger whose changes cannot be made while it is told so."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """Raise in the middle of it: what comes behind was not sent."""
        yield from super().changes(intervals)
        if self.broken is not None:
            raise self.broken


@both
@pytest.mark.parametrize("later", [False, True], ids=["at once", "after more events"])
async def test_what_cannot_be_sent_is_not_committed_later(lab: Lab, guarantee: str, later: bool) -> None:
    """A checkpoint that fails in the program drops its interval: no later one, the last one neither, commits its events."""
    counting = Counting(lab)
    counting.ledger = Refusing()
    engine = await counting.start(**settings_for(guarantee))
    counting.ledger.broken = ValueError("no bytes for this")
    lab.put(counting.topic, range(3))
    error = await lab.failed(engine)
    counting.ledger.broken = None
    if later:
        lab.put(counting.topic, range(3, 6))
        await asyncio.sleep(1)
    await lab.stop(engine)

    assert str(error) == "no bytes for this"
    assert lab.committed(counting.topic) == Offset(0)
    assert (counting.ledger.stored, counting.ledger.position) == (0, 0)
    await counting.start(**settings_for(guarantee))
    await lab.caught_up(counting.topic)
    assert counting.ledger.stored == lab.cluster.log(TP("numbers", 0)).end


@both
@pytest.mark.parametrize("later", [False, True], ids=["at once", "after more events"])
async def test_no_position_moves_past_what_was_not_stored(lab: Lab, guarantee: str, later: bool) -> None:
    """When a store fails after the commit no checkpoint follows: the store stays where it was, and is replayed."""
    counting = Counting(lab)
    engine = await counting.start(**settings_for(guarantee))
    counting.ledger.broken = StoreError("no space left")
    lab.put(counting.topic, range(3))
    error = await lab.failed(engine)
    counting.ledger.broken = None
    if later:
        lab.put(counting.topic, range(3, 6))
        await asyncio.sleep(1)
    await lab.stop(engine)

    assert isinstance(error, WorkerError)
    assert lab.committed(counting.topic) == Offset(3)
    assert (counting.ledger.stored, counting.ledger.position) == (0, 0)


class Long(Ledger):
    """A ledger with many changes."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """As many records as fill the producer, and more."""
        yield ShardChanges(CHANGELOG, (), ((b"%d" % number, b"x" * 500_000) for number in range(100)))


async def test_a_dropped_checkpoint_sends_nothing_more(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Once a revocation has given the partitions up, nothing of the checkpoint that was under way leaves any more."""
    counting = Counting(lab)
    counting.ledger = Long()
    engine = await counting.start(drain_timeout=2.0)
    lab.cluster.faults.pause_acks(CHANGELOG)  # so that the producer is full in the middle of the checkpoint
    lab.put(counting.topic, range(3))
    log = lab.cluster.log(CHANGELOG)
    await lab.until(lambda: engine.outbox.effects.crowded, "the producer is full")
    other = lab.engine([lab.agent(counting.count, counting.topic, name="other")], [counting.out])
    lab.engines.append(other)
    starting = asyncio.create_task(other.start())
    await lab.until(lambda: "given up uncommitted" in caplog.text, "the partitions are given up")
    end = log.end

    lab.cluster.faults.resume_acks(CHANGELOG)
    await starting
    assert log.end == end < 100
    assert lab.committed(counting.topic) in (Offset(0), Offset(3))


@both
async def test_an_engine_that_failed_holds_no_partitions(lab: Lab, guarantee: str) -> None:
    """Where nobody stops an engine that cannot go on, another one gets its partitions all the same, and no event is lost."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def picky(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 2 and not healed:
                raise ValueError(value)
            await out.send(value)

    healed: list[bool] = []
    engine = await lab.start([lab.agent(picky, topic)], [out], max_restarts=0, **settings_for(guarantee))
    lab.put(topic, range(4))
    await lab.failed(engine)
    lab.engines.remove(engine)
    healed.append(True)

    settings = {"transactional_id": "second"} if guarantee == "exactly_once" else {}
    await lab.start([lab.agent(picky, topic)], [out], **settings)
    await lab.caught_up(topic)
    assert lab.values(out) == [0, 1, 2, 3]
    assert engine.state is EngineState.FAILED
    await engine.stop()


async def test_a_stop_waits_for_what_a_failure_gives_up(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """An engine that is stopped while it gives everything up after a failure does that once, and commits what was finished."""
    topic, other, go = lab.topic("numbers"), lab.topic("other"), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            raise ValueError(value)

    async def slow(stream: Stream[int]) -> None:
        async for _ in stream:
            await go.wait()

    engine = lab.engine([lab.agent(body, topic), lab.agent(slow, other)], max_restarts=0, commit_interval=1000.0)
    await engine.start()
    lab.put(other, [0])
    await lab.until(lambda: bool(engine.ownership.open_work()), "the slow one has begun")
    lab.put(topic, [1])
    await lab.failed(engine)
    stopping = asyncio.create_task(engine.stop())
    await asyncio.sleep(1)
    go.set()
    await stopping
    assert lab.committed(other) == Offset(1)
    assert lab.committed(topic) == Offset(0)
    assert engine.state is EngineState.STOPPED
    assert "something else failed" not in caplog.text


async def test_a_revocation_closes_before_it_tells(lab: Lab) -> None:
    """No event begins any more when the app is told of a revocation, and its handler takes no time from the last commit."""
    topic, seen, go, told = lab.topic("numbers"), list[int](), asyncio.Event(), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 2:
                await go.wait()

    async def handler(what: str, tps: frozenset[TP]) -> None:
        if what == "revoked":
            told.set()
            go.set()
            await asyncio.sleep(1000)

    engine = await lab.start([lab.agent(body, topic)], commit_interval=1000.0, drain_timeout=3.0)
    engine.rebalances.handler = handler
    lab.put(topic, range(5))
    await lab.until(lambda: seen == [0, 1, 2], "an event is open, and others wait behind it")
    engine.clients.consumer.rejoin()
    await told.wait()
    await lab.until(lambda: lab.committed(topic) == Offset(3), "the last commit", timeout=1.0)
    assert seen == [0, 1, 2]
    await lab.until(lambda: seen == [0, 1, 2, 3, 4], "the next generation goes on")


async def test_the_producer_of_a_dropped_interval_is_stopped(lab: Lab) -> None:
    """At least once, where partitions are given up uncommitted: what it holds must not leave behind the records of their next owner."""
    topic, out, hang = lab.topic("numbers"), lab.topic("out"), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            await hang.wait()

    engine = await lab.start([lab.agent(body, topic)], [out], commit_interval=1000.0, drain_timeout=1.0)
    lab.put(topic, range(3))
    await lab.until(lambda: lab.values(out) == [0], "an event is open")
    producer = engine.outbox.effects
    await engine.interval.give_up("a test", lost=True, budget=1.0)
    await asyncio.sleep(0.1)
    with pytest.raises(ProduceError, match="the producer is stopped"):
        producer.send("out", 0, None, b"1")


async def test_what_is_given_up_is_not_opened_again(lab: Lab) -> None:
    """A checkpoint that fails while the partitions are given up drops them: no event begins in between."""
    counting = Counting(lab)
    engine = await counting.start(commit_interval=1000.0)
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "all events are handled")
    lab.cluster.faults.fail_next("offset_commit", DeadlineError("provoked"))
    await engine._revoked(frozenset(engine.ownership.sessions), False)

    assert not engine.ownership.sessions
    assert engine.state is EngineState.JOINING
    assert engine.interval.state is IntervalState.DROPPED
    engine.clients.consumer.rejoin()
    await lab.until(lambda: len(counting.handled) == 6, "the next generation replays")


async def test_a_stop_makes_every_step(lab: Lab) -> None:
    """A step of a stop that raises keeps none of the others from being made, and is raised in the end."""
    counting = Counting(lab)
    stopped: list[str] = []

    class Loud(Ledger):
        """A ledger that cannot be closed."""

        async def stop(self) -> None:
            """Raise."""
            stopped.append("ledger")
            raise OSError("the disk is gone")

    second = Ledger()
    second.stop = lambda: _note(stopped, "second")  # type: ignore[method-assign]
    engine = lab.engine([counting.agent], [counting.out], [Loud(), second])
    await engine.start()
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "all events are handled")
    with pytest.raises(OSError, match="the disk is gone"):
        await engine.stop()

    assert stopped == ["second", "ledger"]
    assert engine.state is EngineState.STOPPED
    assert lab.committed(counting.topic) == Offset(3)
    assert not lab.cluster.group(GROUP).members
    await engine.stop()


async def _note(notes: list[str], note: str) -> None:
    notes.append(note)


@both
async def test_more_partitions_with_a_table_end_the_worker(lab: Lab, guarantee: str) -> None:
    """A source that has got more partitions ends a worker with tables before an event of a moved key counts."""
    counting = Counting(lab)
    engine = await counting.start(**settings_for(guarantee))
    lab.put(counting.topic, range(3))
    await lab.caught_up(counting.topic)
    lab.cluster.add_partitions("numbers", 3)
    lab.put(counting.topic, [3])  # it could be of a key that has moved here
    error = await lab.failed(engine)
    await lab.stop(engine)

    assert isinstance(error, WorkerError)
    assert "topic numbers has 3 partitions now, and had 1 when the worker started" in str(error)
    assert lab.committed(counting.topic) == Offset(3)
    assert counting.ledger.stored == 3


async def test_more_partitions_without_a_table_are_read(lab: Lab) -> None:
    """Without tables a worker goes on with the partitions that a source has got."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)])
    lab.cluster.add_partitions("numbers", 3)
    engine.clients.consumer.rejoin()
    lab.put(topic, [1], partition=2)
    await lab.until(lambda: seen == [1], "the new partition is read")
    assert {session.partitions for session in engine.ownership.sessions.values()} == {3}


@pytest.mark.parametrize("error", [FencedError("a rebalance is on"), DeadlineError("the broker is away")])
async def test_out_of_range_waits_for_the_broker(lab: Lab, error: TransportError) -> None:
    """A position that is gone while nothing can be committed does not end the worker: it goes on when that is over."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, range(3))
    await lab.caught_up(topic)
    lab.cluster.faults.fail_next("offset_commit", error)
    engine.clients.consumer.pause([TP("numbers", 0)])
    lab.put(topic, range(3, 10))
    lab.cluster.log(TP("numbers", 0)).truncate(7)
    engine.clients.consumer.seek(TP("numbers", 0), 3)
    engine.clients.consumer.resume([TP("numbers", 0)])
    await lab.until(lambda: seen == [0, 1, 2, 7, 8, 9], "it goes on")


async def test_a_commit_that_may_arrive_late_is_of_an_old_generation(lab: Lab) -> None:
    """A commit whose answer does not come would turn newer ones back: no event begins again before the group has been joined anew."""
    counting = Counting(lab)
    engine = await counting.start(commit_interval=1000.0)
    group = engine.ownership.group
    assert group is not None
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "all events are handled")
    lab.cluster.faults.fail_next("offset_commit", DeadlineError("provoked"))
    assert not await engine.checkpoint()
    await lab.until(lambda: len(counting.handled) == 6, "it is replayed")
    now = engine.ownership.group
    assert now is not None
    assert now.generation > group.generation


async def test_out_of_range_is_asked_about_again(lab: Lab) -> None:
    """Where the broker does not tell how long a log is, that is asked again: the worker does not end of it."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)])
    lab.cluster.faults.fail_next("list_offsets", DeadlineError("provoked"))
    engine.clients.consumer.seek(TP("numbers", 0), 5)
    await asyncio.sleep(3)
    lab.put(topic, range(3))
    await lab.until(lambda: seen == [0, 1, 2], "it goes on")


async def test_a_log_that_was_cut_off_is_not_read_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A position beyond the end of the log goes to its end: the start would be all of it once more."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, range(3))
    await lab.caught_up(topic)
    engine.clients.consumer.seek(TP("numbers", 0), 10)
    await lab.until(lambda: "going on at offset 3" in caplog.text, "it is at the end")
    lab.put(topic, [3])
    await lab.until(lambda: seen == [0, 1, 2, 3], "it goes on")


@both
@pytest.mark.parametrize("late", [False, True], ids=["at once", "the commit of that fails"])
async def test_an_agent_ahead_of_a_log_that_was_cut_off(
    lab: Lab, guarantee: str, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on at the end of the log, and passes over nothing that comes there."""
    topic, seen = lab.topic("numbers"), dict[str, list[int]](behind=[], ahead=[])
    tp = TP("numbers", 0)

    async def behind(stream: Stream[int]) -> None:
        async for value in stream:
            seen["behind"].append(value)

    async def ahead(stream: Stream[int]) -> None:
        async for value in stream:
            seen["ahead"].append(value)

    lab.put(topic, range(4))
    lab.cluster.group(GROUP).offsets.commit({tp: Offset(2, CommitMetadata({"ahead": 8}).encode(tp))})
    engine = lab.engine([lab.agent(behind, topic), lab.agent(ahead, topic)], **settings_for(guarantee))
    lab.engines.append(engine)
    if late:
        lab.cluster.faults.fail_next("offset_commit", DeadlineError("provoked"))
    starting = asyncio.create_task(engine.start())
    await lab.until(lambda: "and was cut off" in caplog.text, "it is noticed")
    lab.put(topic, range(4, 10))
    await starting
    await lab.caught_up(topic)
    assert seen == {"behind": [*range(2, 10)], "ahead": [*range(4, 10)]}
    assert "numbers-0: the log ends at offset 4, and was cut off" in caplog.text


@pytest.mark.parametrize("cut_off", [True, False], ids=["cut off", "past retention"])
@pytest.mark.parametrize("concurrency", [1, 3])
async def test_what_was_fetched_is_not_lost_when_a_position_moves(lab: Lab, cut_off: bool, concurrency: int) -> None:
    """Events that wait for an agent are worked on, each once, when the log does not hold what comes behind them."""
    topic, seen, go = lab.topic("numbers"), list[int](), asyncio.Event()
    tp = TP("numbers", 0)

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await go.wait()
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic, concurrency=concurrency)])
    lab.put(topic, range(10))
    await lab.until(lambda: engine.ownership.sessions[tp].fetch_position == 10, "all is fetched")
    if cut_off:
        engine.clients.consumer.seek(tp, 20)
    else:
        engine.clients.consumer.pause([tp])
        lab.put(topic, range(10, 20))
        lab.cluster.log(tp).truncate(15)
        engine.clients.consumer.resume([tp])
    await asyncio.sleep(3)
    go.set()
    await lab.until(lambda: len(seen) >= 10, "what was fetched is worked on")
    lab.put(topic, [20])
    await lab.until(lambda: seen[-1] == 20, "it goes on")
    assert sorted(seen) == [*range(10), *([] if cut_off else range(15, 20)), 20]
    await lab.caught_up(topic)


async def test_a_list_that_is_not_full_does_not_hold_up_a_position(lab: Lab) -> None:
    """Events that wait for later ones get those from where the log goes on."""
    topic, seen, tp = lab.topic("numbers"), list[list[int]](), TP("numbers", 0)

    async def body(stream: Stream[int]) -> None:
        async for values in stream.take(5, within=1000.0):
            seen.append(list(values))

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, range(3))
    await lab.until(lambda: engine.ownership.sessions[tp].fetch_position == 3, "all is fetched")
    engine.clients.consumer.pause([tp])
    lab.put(topic, range(3, 10))
    lab.cluster.log(tp).truncate(8)
    engine.clients.consumer.resume([tp])
    await lab.until(lambda: seen == [[0, 1, 2, 8, 9]], "the list is full")
    await lab.caught_up(topic)


@both
async def test_first_offsets_that_may_arrive_late_are_fenced(lab: Lab, guarantee: str) -> None:
    """A commit of where a partition begins whose answer does not come is of an old generation before the first event begins."""
    topic, generations = lab.topic("numbers"), list[int]()
    group = lab.cluster.group(GROUP)

    async def body(stream: Stream[int]) -> None:
        async for _ in stream:
            generations.append(group.generation)

    lab.put(topic, range(3))
    lab.cluster.faults.fail_next("offset_commit", DeadlineError("no answer"))
    await lab.start([lab.agent(body, topic)], **settings_for(guarantee))
    await lab.caught_up(topic)
    assert generations == [2, 2, 2]


@both
async def test_a_dropped_checkpoint_holds_up_nothing(lab: Lab, guarantee: str) -> None:
    """A checkpoint that waits for the broker when its interval is dropped ends then: the next one need not wait for its deadline."""
    counting = Counting(lab)
    engine = await counting.start(commit_interval=1000.0, deadline=40.0, **settings_for(guarantee))
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "all events are handled")
    lab.cluster.faults.pause_acks(CHANGELOG)
    checkpoint = asyncio.create_task(engine.checkpoint())
    await lab.until(lambda: engine.interval.state is IntervalState.COMMITTING, "it is cut")
    engine.interval.drop()
    async with asyncio.timeout(1.0):
        assert not await checkpoint
    lab.cluster.faults.resume_acks(CHANGELOG)
    engine.clients.consumer.rejoin()
    await lab.until(lambda: len(counting.handled) == 6, "it is replayed")
    assert await engine.checkpoint()
    assert lab.committed(counting.topic) == Offset(3)


async def test_a_topic_that_is_gone_is_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A worker whose source was deleted says so, once, and is not ready; when the topic is made again it goes on."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)], discovery_interval=5.0)
    lab.cluster.delete("numbers")
    await asyncio.sleep(12)
    assert caplog.text.count("topic numbers does not exist any more") == 1
    assert (engine.missing, engine.ready) == ({"numbers"}, False)
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(topic, [7])
    await lab.until(lambda: seen == [7], "it is read again")
    await lab.until(lambda: engine.ready, "the worker is ready")


async def test_a_topic_made_again_is_read_from_its_start(lab: Lab) -> None:
    """A position beyond the end of another topic of that name says nothing: its records are all read."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, range(5))
    await lab.caught_up(topic)
    lab.cluster.delete("numbers")
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(topic, [10, 11])
    engine.clients.consumer.seek(TP("numbers", 0), 5)
    await lab.until(lambda: seen == [0, 1, 2, 3, 4, 10, 11], "all of it is read")


@pytest.mark.parametrize("records", [2, 5, 9])
@pytest.mark.parametrize("restarted", [False, True])
@both
async def test_a_commit_of_a_deleted_topic_counts_for_no_other(
    lab: Lab, guarantee: str, restarted: bool, records: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit of the old topic arrives late: the new one is read from its start, by the same worker and by one that is new."""
    counting, tp = Counting(lab), TP("numbers", 0)
    engine = await counting.start(**settings_for(guarantee))
    lab.put(counting.topic, range(5))
    await lab.caught_up(counting.topic)
    offsets = lab.cluster.group(GROUP).offsets
    late = {tp: offset for tp, offset in offsets.fetch([tp]).items() if offset is not None}
    if restarted:
        await lab.stop(engine)
    lab.cluster.delete("numbers")
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(counting.topic, range(10, 10 + records))
    offsets.commit(late)
    if restarted:
        await counting.start(**settings_for(guarantee))
    else:
        engine.interval.status.spoil("a test drops it", None)
        assert not await engine.checkpoint()
    await lab.until(lambda: counting.handled == [*range(5), *range(10, 10 + records)], "all of it is read, once")
    await lab.until(lambda: lab.committed(counting.topic) == Offset(records), "its own end is committed")
    assert "offset 5 was committed of a topic of that name that was deleted" in caplog.text


async def test_a_commit_of_a_deleted_topic_goes_by_the_setting(lab: Lab) -> None:
    """The new topic is one that nothing was committed of: with offset_reset="latest" it is read from its end on."""
    counting, tp = Counting(lab), TP("numbers", 0)
    metadata = CommitMetadata(identity=Identity(lab.cluster.id, "another topic")).encode(tp)
    lab.put(counting.topic, range(9))
    lab.cluster.group(GROUP).offsets.commit({tp: Offset(5, metadata)})
    await counting.start(offset_reset="latest")
    await lab.until(lambda: lab.committed(counting.topic) == Offset(9), "its end is committed")
    lab.put(counting.topic, [10])
    await lab.until(lambda: counting.handled == [10], "what came since is read")


@both
async def test_a_commit_of_another_cluster_counts_without_what_is_beside_it(lab: Lab, guarantee: str) -> None:
    """MirrorMaker 2 translates offsets, and copies their metadata as they are: its leads are positions in the other cluster."""
    counting, tp = Counting(lab), TP("numbers", 0)
    metadata = CommitMetadata({"count": 8}, identity=Identity("another cluster", "a topic there")).encode(tp)
    lab.put(counting.topic, range(9))
    lab.cluster.group(GROUP).offsets.commit({tp: Offset(3, metadata)})
    await counting.start(**settings_for(guarantee))
    await lab.until(lambda: counting.handled == [3, 4, 5, 6, 7, 8], "reading begins at the translated offset")
    await lab.caught_up(counting.topic)


@pytest.mark.parametrize("metadata", ["", "of a tool", '{"count":5}'])
async def test_a_commit_that_names_no_topic_counts(lab: Lab, metadata: str) -> None:
    """Commits of tools and of older versions count as they say, leads too."""
    counting, tp = Counting(lab), TP("numbers", 0)
    lab.put(counting.topic, range(7))
    lab.cluster.group(GROUP).offsets.commit({tp: Offset(3, metadata)})
    await counting.start()
    begin = CommitMetadata.decode(metadata).leads.get("count", 3)
    await lab.until(lambda: counting.handled == [*range(begin, 7)], "it goes on there")
    await lab.caught_up(counting.topic)
    assert CommitMetadata.decode(lab.cluster.group(GROUP).offsets.all()[tp].metadata).identity == Identity(
        lab.cluster.id, lab.cluster.topic("numbers").id
    )


@both
async def test_a_topic_made_again_takes_its_interval_away(lab: Lab, guarantee: str) -> None:
    """What was done of a topic is not committed to the offsets of another one of its name: that is read from its start."""
    counting = Counting(lab)
    engine = await counting.start(commit_interval=1000.0, **settings_for(guarantee))
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "all events are handled")
    lab.cluster.delete("numbers")
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(counting.topic, range(10, 15))
    assert not await engine.checkpoint()
    await lab.until(lambda: counting.handled[-5:] == [10, 11, 12, 13, 14], "the new topic is read")
    assert await engine.checkpoint()
    assert lab.committed(counting.topic) == Offset(5)


@both
async def test_a_slow_link_is_no_silence(lab: Lab, guarantee: str) -> None:
    """The deadline of a checkpoint counts from the last acknowledgement: what takes longer, and goes on, is not sent again."""
    topic, out, handled = lab.topic("numbers"), lab.topic("out", 3), list[int]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            handled.append(value)
            await out.send(value, partition=value)

    engine = await lab.start(
        [lab.agent(body, topic)], [out], commit_interval=1000, deadline=10, **settings_for(guarantee)
    )
    parts = [TP("out", partition) for partition in range(3)]
    for tp in parts:
        lab.cluster.faults.pause_acks(tp)
    lab.put(topic, range(3))
    await lab.until(lambda: len(handled) == 3, "all events are handled")
    checkpoint = asyncio.create_task(engine.checkpoint())
    for tp in parts:
        await asyncio.sleep(6)
        lab.cluster.faults.resume_acks(tp)
    assert await checkpoint
    assert handled == [0, 1, 2]


async def test_what_is_sent_meanwhile_does_not_put_a_deadline_off(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """A checkpoint whose broker acknowledges nothing ends at its deadline, also while events send more."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)

    await lab.start([lab.agent(body, topic)], [out], deadline=5.0, commit_interval=1.0)
    lab.cluster.faults.pause_acks(TP("out", 0))
    for number in range(15):
        lab.put(topic, [number])
        await asyncio.sleep(1)
    lab.cluster.faults.resume_acks(TP("out", 0))
    assert "checkpoint failed: it did not end within 5 s of the last acknowledgement" in caplog.text


@pytest.mark.parametrize("policy", ["skip", "crash"])
async def test_an_event_that_outlasts_its_transaction_fails(lab: Lab, policy: str) -> None:
    """An event that awaits its own send and then goes on beyond half of the transaction timeout fails by its policy, with that reason."""
    topic, out, told = lab.topic("numbers"), lab.topic("out"), list[BaseException]()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await (await out.send(value))
            if value == 1:
                await asyncio.sleep(1000)

    agent = lab.agent(body, topic, on_failure=policy, on_error=lambda agent, error: told.append(error))
    engine = await lab.start([agent], [out], transactional_id="worker", transaction_timeout=10.0, max_restarts=1)
    lab.put(topic, range(4))
    if policy == "skip":
        await lab.caught_up(topic)
        assert lab.values(out) == [0, 2, 3]
    else:
        error = await lab.failed(engine)
        assert "failed 2 times at numbers-0 offset 1" in str(error)
        assert "raise broker_transaction_timeout" in str(error)
    assert [type(error) for error in told[:1]] == [EventTimeoutError]


@both
@pytest.mark.parametrize("later", [False, True], ids=["at once", "after the last commit"])
async def test_a_topic_made_again_is_noticed_without_tables(lab: Lab, guarantee: str, later: bool) -> None:
    """The last commit of a revocation does not put the offset of an old topic into a new one, whose first records it would pass over."""
    topic, seen, go = lab.topic("numbers"), list[int](), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 3:
                await go.wait()
            seen.append(value)

    await lab.start([lab.agent(body, topic)], commit_interval=1000.0, **settings_for(guarantee))
    lab.put(topic, range(5))
    await lab.until(lambda: seen == [0, 1, 2], "an event is open")
    lab.cluster.delete("numbers")
    if later:
        go.set()
        await asyncio.sleep(5)
    lab.cluster.create(TopicSpec("numbers", 1))
    lab.put(topic, range(100, 110))
    go.set()
    await lab.until(lambda: seen[-1] == 109, "the new topic is read")
    assert seen[-10:] == list(range(100, 110))


class Choosy(Ledger):
    """A ledger whose changes the broker does not take; it keeps to itself what was refused."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """One change that is larger than the changelog allows, one that is not."""
        yield ShardChanges(CHANGELOG, (), [(b"large", b"x" * 5000), (b"small", b"x")])


@both
async def test_a_change_that_the_broker_refuses_is_found(lab: Lab, guarantee: str) -> None:
    """The participant is told of the very change that the broker refuses; when that helps nothing the worker ends."""
    counting = Counting(lab)
    counting.ledger = Choosy()
    other = lab.topic("other")

    async def bystander(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    lab.cluster.create(TopicSpec(CHANGELOG.topic, 1, config={"cleanup.policy": "compact", "max.message.bytes": "1000"}))
    agents = [counting.agent, lab.agent(bystander, other)]
    engine = await lab.start(agents, [counting.out], [counting.ledger], **settings_for(guarantee))
    lab.put(counting.topic, range(3))
    error = await lab.failed(engine)

    assert isinstance(error, WorkerError)
    assert "checkpoints failed in a row" in str(error)
    assert counting.ledger.refused
    assert all(isinstance(one, RecordRefusedError) and "ledger" in str(one) for one in counting.ledger.refused)
    assert lab.committed(counting.topic) == Offset(0)


async def test_a_change_that_no_request_holds_is_told(lab: Lab) -> None:
    """A change that the producer does not take is the participant's to know, and no event is committed without it."""

    class Huge(Ledger):
        """A ledger with a change that is larger than a request."""

        def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
            """One change."""
            yield ShardChanges(CHANGELOG, (), [(b"huge", b"x" * 10_000_000)])

    counting = Counting(lab)
    counting.ledger = Huge()
    engine = await counting.start()
    lab.put(counting.topic, range(3))
    error = await lab.failed(engine)
    assert isinstance(error, WorkerError)
    assert isinstance(counting.ledger.refused[0].__cause__, EncodeError)
    assert lab.committed(counting.topic) == Offset(0)


async def test_others_that_commit_do_not_end_a_row_of_drops(lab: Lab) -> None:
    """Commits of one partition do not hide that the interval of another one fails each time."""
    topic: Topic[Any, Any] = lab.topic("numbers", 2)
    lab.cluster.create(TopicSpec("out", 1, config={"max.message.bytes": "1000"}))
    out: Topic[Any, Any] = Topic("out", schema=topic.schema)

    async def body(stream: Stream[int]) -> None:
        async for event in stream.events():
            if event.message.partition == 1:
                await out.send("x" * 2000)

    engine = await lab.start([lab.agent(body, topic, on_failure="crash")], [out], max_restarts=100)
    engine.outbox.one_by_one.begin = lambda until: None  # type: ignore[method-assign]  # so that the record is never found
    lab.put(topic, [1], partition=1)

    async def load() -> None:
        while True:
            lab.put(topic, [0], partition=0)
            await asyncio.sleep(0.05)

    loading = asyncio.create_task(load())
    error = await lab.failed(engine)
    loading.cancel()
    assert "checkpoints failed in a row" in str(error)
