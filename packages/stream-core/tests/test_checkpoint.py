"""The checkpoint: its order of steps as the broker sees it, what it waits for, and what a failure at any step leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from stream_core import failpoints
from stream_core.agents.agent import Agent
from stream_core.engine.checkpoint import SLICE
from stream_core.engine.participants import Interval, Reading, SendNow, Shard, ShardChanges
from stream_core.errors import (
    CommitError,
    ConfigurationError,
    DeadlineError,
    FencedError,
    ProduceError,
    StoreError,
    TransportError,
    WorkerError,
)
from stream_core.memory import MemoryTransport
from stream_core.memory.offsets import GroupOffsets
from stream_core.memory.producer import MAX_BACKLOG, MemoryProducer
from stream_core.memory.sending import Acknowledgement
from stream_core.primitives import TP, Offset, RecordMetadata, StoredRecord
from stream_core.sending.outbox import Outbox
from stream_core.sending.topic import Topic
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import set_effects
from stream_core.streams.metadata import CommitMetadata
from stream_core.streams.stream import Stream

from .harness import Lab
from .ledger import CHANGELOG, Ledger

pytestmark = pytest.mark.looptime

STEPS = ["cut", "changelog", "acked", "committed", "stored"]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """No failpoint outlives its test."""
    yield
    failpoints.arm("")


class Seen(NamedTuple):
    """What there is at a step: changelog records and sends in the log, those that are committed, the offset, the disk."""

    changelog: int
    sent: int
    visible: int
    offset: int
    stored: int


class Counting:
    """An agent that sends each value on and counts it in a ledger.

    Args:
        lab: where.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.topic = lab.topic("numbers")
        self.out: Topic[Any, Any] = lab.topic("out")
        self.ledger = Ledger()
        self.agent = lab.agent(self.count, self.topic)
        self.handled: list[int] = []

    async def count(self, stream: Stream[int]) -> None:
        """Count and send."""
        async for value in stream:
            self.handled.append(value)
            self.ledger.add()
            await self.out.send(value)

    async def start(self, **settings: Any) -> Any:
        """Start an engine with the agent."""
        return await self.lab.start([self.agent], [self.out], [self.ledger], **settings)

    def look(self) -> Seen:
        """What the broker and the disk have now."""
        log = self.lab.cluster.log(CHANGELOG)
        offset = self.lab.committed(self.topic)
        return Seen(
            len(log.read(0, 1000, committed=False).records),
            len(self.lab.values(self.out, committed=False)),
            len(self.lab.values(self.out)),
            -1 if offset is None else offset.offset,
            self.ledger.stored,
        )


def settings_for(guarantee: str) -> dict[str, Any]:
    """The settings of a guarantee."""
    return {"transactional_id": "worker"} if guarantee == "exactly_once" else {}


both = pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])


@both
async def test_the_order_of_steps(lab: Lab, guarantee: str) -> None:
    """Changelog, acknowledgements, offsets, store: each is there at its step, and none before."""
    counting, seen = Counting(lab), dict[str, Seen]()
    engine = await counting.start(commit_interval=1000.0, **settings_for(guarantee))
    for step in STEPS:
        failpoints.action(f"look at {step}", lambda step=step: seen.__setitem__(step, counting.look()))
    failpoints.arm(",".join(f"checkpoint.{step}:look at {step}" for step in STEPS))
    lab.put(counting.topic, range(5))
    await lab.until(lambda: len(counting.handled) == 5, "all events are handled")

    assert await engine.checkpoint()

    early = 5 if guarantee == "at_least_once" else 0  # when sends can be seen before the commit
    assert list(seen) == STEPS
    assert seen["cut"] == Seen(0, 5, early, 0, 0)
    assert seen["changelog"] == Seen(0, 5, early, 0, 0)
    assert seen["acked"] == Seen(1, 5, early, 0, 0)
    assert seen["committed"] == Seen(1, 5, 5, 5, 0)
    assert seen["stored"] == Seen(1, 5, 5, 5, 5)
    assert counting.ledger.position == 1
    assert counting.ledger.intervals == [{Reading(TP("numbers", 0), "count"): Interval(0, 5)}]


@both
@pytest.mark.parametrize("step", ["cut", "changelog", "acked", "committed"])
async def test_a_failure_at_any_step(lab: Lab, guarantee: str, step: str) -> None:
    """What was not committed is replayed and counts once; under exactly-once its sends are there once."""
    counting = Counting(lab)
    await counting.start(**settings_for(guarantee))
    failpoints.arm(f"checkpoint.{step}:raise")
    lab.put(counting.topic, range(5))
    await lab.caught_up(counting.topic)
    await lab.until(lambda: counting.ledger.aborts == 1, "the interval is dropped")

    replayed = [] if step == "committed" else [0, 1, 2, 3, 4]
    assert counting.handled == [0, 1, 2, 3, 4, *replayed]
    if guarantee == "exactly_once":
        assert lab.values(counting.out) == [0, 1, 2, 3, 4]
    else:
        assert lab.values(counting.out) == counting.handled
    if step != "committed":  # then it would come from the changelog, which a ledger does not read
        assert counting.ledger.stored == 5


@pytest.mark.parametrize(
    ("guarantee", "operation"),
    [
        ("at_least_once", "produce"),
        ("at_least_once", "offset_commit"),
        ("exactly_once", "produce"),
        ("exactly_once", "txn_offset_commit"),
        ("exactly_once", "end_txn"),
    ],
)
@pytest.mark.parametrize("applied", [False, True], ids=["refused", "answer lost"])
async def test_a_failed_request(lab: Lab, guarantee: str, operation: str, applied: bool) -> None:
    """Whether a request failed or only its answer was lost: nothing is missing, and exactly-once is exactly once."""
    counting = Counting(lab)
    await counting.start(**settings_for(guarantee))
    errors: dict[str, TransportError] = {"produce": ProduceError("provoked"), "offset_commit": CommitError("provoked")}
    lab.cluster.faults.fail_next(operation, errors.get(operation, DeadlineError("provoked")), applied=applied)
    lab.put(counting.topic, range(5))
    await lab.caught_up(counting.topic)

    if guarantee == "exactly_once":
        assert lab.values(counting.out) == [0, 1, 2, 3, 4]
    else:
        assert set(lab.values(counting.out)) == {0, 1, 2, 3, 4}


@both
async def test_a_stale_generation_commits_nothing(lab: Lab, guarantee: str) -> None:
    """A commit that the group refuses drops the interval; what it held is worked on again under the next generation."""
    counting = Counting(lab)
    await counting.start(**settings_for(guarantee))
    operation = "offset_commit" if guarantee == "at_least_once" else "txn_offset_commit"
    lab.cluster.faults.fail_next(operation, FencedError("provoked"))
    lab.put(counting.topic, range(5))
    await lab.caught_up(counting.topic)

    assert counting.ledger.stored == 5
    assert counting.handled == [0, 1, 2, 3, 4] * 2
    assert lab.values(counting.out) == (counting.handled if guarantee == "at_least_once" else [0, 1, 2, 3, 4])


@both
async def test_open_events_go_on_into_the_next_interval(lab: Lab, guarantee: str) -> None:
    """The cut never waits for user code: finished events are committed while the next one is open."""
    counting, go = Counting(lab), asyncio.Event()

    async def slow(stream: Stream[int]) -> None:
        async for value in stream:
            counting.ledger.add()
            await counting.out.send(value)
            if value == 3:
                await go.wait()

    counting.agent = lab.agent(slow, counting.topic)
    lab.put(counting.topic, range(5))
    await counting.start(**settings_for(guarantee))
    await lab.until(lambda: counting.look().stored == 3, "the finished events are committed")
    assert lab.committed(counting.topic) == Offset(3)
    if guarantee == "exactly_once":
        assert lab.values(counting.out, committed=False) == [0, 1, 2]

    go.set()
    await lab.caught_up(counting.topic)
    assert counting.look() == Seen(2, 5, 5, 5, 5)
    assert lab.values(counting.out) == [0, 1, 2, 3, 4]


async def test_an_event_with_released_sends_holds_the_commit(lab: Lab) -> None:
    """Under exactly-once an acknowledgement awaited inside an event puts its sends into the transaction: no commit passes it."""
    topic, out, go = lab.topic("numbers", 2), lab.topic("out"), asyncio.Event()

    async def waits(stream: Stream[int]) -> None:
        async for value in stream:
            metadata = await (await out.send(value))
            assert metadata.topic == "out"
            if value == 0:
                await go.wait()

    await lab.start([lab.agent(waits, topic)], [out], transactional_id="worker")
    lab.put(topic, [1, 2], partition=1)
    await lab.until(lambda: lab.committed(topic, 1) == Offset(2), "events that are finished are committed")
    lab.put(topic, [0])
    await lab.until(lambda: lab.values(out, committed=False) == [1, 2, 0], "the open event's send is in the log")
    await asyncio.sleep(5)  # fifty commit intervals
    assert lab.values(out) == [1, 2]
    assert lab.committed(topic) == Offset(0)

    go.set()
    await lab.caught_up(topic)
    assert lab.values(out) == [1, 2, 0]


class SlowLedger(Ledger):
    """A participant whose second partition takes its time to recover."""

    def __init__(self) -> None:
        super().__init__()
        self.recovered = asyncio.Event()

    async def open(
        self,
        shard: Shard,
        committed: Mapping[Reading, int],
        generation: int = 0,
        *,
        ids: Mapping[str, str] | None = None,
        send: SendNow | None = None,
        exactly_once: bool = False,
        unread: bool = False,
    ) -> None:
        """Wait until somebody says that the second partition is recovered."""
        if shard.partition == 1:
            await self.recovered.wait()
        await super().open(shard, committed, generation, ids=ids, send=send, exactly_once=exactly_once, unread=unread)


async def test_a_partition_that_begins_while_a_checkpoint_waits_is_in_it(lab: Lab) -> None:
    """What its events sent before the cut is committed together with its offset."""
    topic, out, go, slow = lab.topic("numbers", 2), lab.topic("out"), asyncio.Event(), SlowLedger()

    async def waits(stream: Stream[int]) -> None:
        async for value in stream:
            sent = await out.send(value)
            if value == 0:
                await sent
                await go.wait()

    lab.put(topic, [0])
    agents = [lab.agent(waits, topic, concurrency=2)]
    starting = asyncio.create_task(lab.start(agents, [out], [slow], transactional_id="worker"))
    await lab.until(lambda: lab.values(out, committed=False) == [0], "the first partition runs, and its event is open")
    await asyncio.sleep(1)  # ten commit intervals: a checkpoint waits for that event
    slow.recovered.set()
    await starting
    lab.put(topic, [1, 2], partition=1)
    await lab.until(lambda: lab.values(out, committed=False) == [0, 1, 2], "the second partition runs, too")
    assert lab.values(out) == []

    go.set()
    await lab.until(lambda: lab.values(out) == [0, 1, 2], "the checkpoint is made")
    assert (lab.committed(topic), lab.committed(topic, 1)) == (Offset(1), Offset(2))


class FailingLedger(SlowLedger):
    """A participant whose second partition fails once, late."""

    def __init__(self) -> None:
        super().__init__()
        self.error: TransportError | None = DeadlineError("no answer")

    async def open(
        self,
        shard: Shard,
        committed: Mapping[Reading, int],
        generation: int = 0,
        *,
        ids: Mapping[str, str] | None = None,
        send: SendNow | None = None,
        exactly_once: bool = False,
        unread: bool = False,
    ) -> None:
        """Begin where the disk is, when the first partition is opened; fail, the first time that the second one is."""
        if shard.partition == 0:
            await super().open(
                shard, committed, generation, ids=ids, send=send, exactly_once=exactly_once, unread=unread
            )
            return
        await self.recovered.wait()
        if self.error is not None:
            error, self.error = self.error, None
            raise error


@both
async def test_a_partition_that_runs_is_not_opened_again(lab: Lab, guarantee: str) -> None:
    """When one partition could not be opened it is tried again, without those whose events have changed something since."""
    topic, ledger, handled = lab.topic("numbers", 2), FailingLedger(), []

    async def counts(stream: Stream[int]) -> None:
        async for value in stream:
            ledger.add()
            handled.append(value)

    lab.put(topic, [0, 1, 2])
    starting = asyncio.create_task(
        lab.start([lab.agent(counts, topic)], [], [ledger], **(settings_for(guarantee) | {"commit_interval": 1000.0}))
    )
    await lab.until(lambda: handled == [0, 1, 2], "the first partition runs")
    ledger.recovered.set()
    engine = await starting
    assert await engine.checkpoint()
    assert (handled, ledger.stored) == ([0, 1, 2], 3)


async def test_commits_are_not_starved_by_acknowledgements(lab: Lab) -> None:
    """An agent that awaits an acknowledgement in each event is committed all the same, while it works."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def waits(stream: Stream[int]) -> None:
        async for value in stream:
            await (await out.send(value))
            await asyncio.sleep(0.03)

    lab.put(topic, range(10_000))
    await lab.start([lab.agent(waits, topic)], [out], transactional_id="worker")
    await lab.until(lambda: lab.committed(topic) != Offset(0), "something is committed", timeout=20)


async def test_sends_wait_while_a_transaction_is_committed(lab: Lab) -> None:
    """What events send while a checkpoint runs belongs to the next transaction, and keeps its order."""
    counting = Counting(lab)
    await counting.start(transactional_id="worker", commit_interval=1000.0)
    engine = lab.engines[0]
    lab.put(counting.topic, range(3))
    await lab.until(lambda: len(counting.handled) == 3, "the events are handled")
    lab.cluster.faults.pause_acks(TP("out", 0))
    lab.put(counting.topic, [3, 4])
    await lab.until(lambda: len(lab.values(counting.out, committed=False)) == 5, "more is sent, not acknowledged")
    checkpoint = asyncio.create_task(engine.checkpoint())
    await asyncio.sleep(1)

    lab.put(counting.topic, range(5, 10))
    await lab.until(lambda: len(counting.handled) == 10, "the agent goes on meanwhile")
    assert len(lab.values(counting.out, committed=False)) == 5

    lab.cluster.faults.resume_acks(TP("out", 0))
    assert await checkpoint
    assert lab.committed(counting.topic) == Offset(5)
    assert lab.values(counting.out) == [0, 1, 2, 3, 4]
    assert await engine.checkpoint()
    assert lab.values(counting.out) == list(range(10))


@both
async def test_a_checkpoint_has_a_deadline(lab: Lab, guarantee: str) -> None:
    """When acknowledgements stay away the interval is dropped after the deadline, and replayed."""
    counting = Counting(lab)
    await counting.start(deadline=3.0, **settings_for(guarantee))
    lab.cluster.faults.pause_acks(CHANGELOG)
    lab.put(counting.topic, range(3))
    await lab.until(lambda: counting.ledger.aborts == 1, "the deadline passes", timeout=5)
    lab.cluster.faults.resume_acks(CHANGELOG)
    await lab.caught_up(counting.topic)
    assert counting.ledger.stored == 3


async def test_nothing_to_do_is_no_checkpoint(lab: Lab) -> None:
    """Without anything new no commit is made."""
    counting = Counting(lab)
    engine = await counting.start()
    lab.put(counting.topic, range(3))
    await lab.caught_up(counting.topic)
    await lab.until(lambda: counting.ledger.stored == 3, "it is stored")
    assert not await engine.checkpoint()


class Large(Ledger):
    """A ledger with more changes than a producer has room for."""

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterable[ShardChanges]:
        """All of them, when the count has changed."""
        for shard in super().changes(intervals):
            yield shard._replace(records=((b"%d" % number, bytes(900_000)) for number in range(60)))


@both
async def test_more_changes_than_the_producer_has_room_for(lab: Lab, guarantee: str) -> None:
    """The producer is crowded in the middle of them, and takes the rest when it has room: each change is in the changelog once."""
    counting = Counting(lab)
    counting.ledger = Large()
    engine = await counting.start(commit_interval=1000.0, **settings_for(guarantee))
    lab.put(counting.topic, [0])
    await lab.until(lambda: len(counting.handled) == 1, "the event is handled")

    assert await engine.checkpoint()

    records = lab.records(CHANGELOG.topic)
    assert [record.key for record in records] == [b"%d" % number for number in range(60)]
    assert MAX_BACKLOG < sum(len(record.value or b"") for record in records) == 60 * 900_000 < 2 * MAX_BACKLOG
    assert counting.ledger.position == records[-1].offset + 1
    assert counting.ledger.stored == 1


class Untold(Acknowledgement):
    """That of a batch which the broker had already: it does not say where."""

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        place = yield from super().__await__()
        return place._replace(offset=-1)


class Forgetful(MemoryProducer):
    """A producer that hears no place of a changelog record but the first."""

    first = True

    def send(self, topic: str, *args: Any, **options: Any) -> Acknowledgement:
        """Send a record."""
        sent = super().send(topic, *args, **options)
        if topic != CHANGELOG.topic or self.first:
            self.first = self.first and topic != CHANGELOG.topic
            return sent
        return Untold(sent._sender, sent._batch, sent._index)


class Forgetting(MemoryTransport):
    """Makes these."""

    def producer(self, **options: Any) -> Forgetful:
        """Make a producer."""
        return Forgetful(self.cluster, self.settings, **options)


async def test_a_changelog_record_whose_place_is_not_told(lab: Lab) -> None:
    """Its interval is committed and stored; the position of the store stays where it was."""
    lab.transport = Forgetting(lab.cluster.name)
    counting = Counting(lab)
    await counting.start()
    for _ in range(2):
        lab.put(counting.topic, range(3))
        await lab.caught_up(counting.topic)
        await lab.until(lambda: counting.ledger.stored == len(counting.handled), "it is stored")
        assert counting.ledger.position == 1
    assert counting.handled == [0, 1, 2] * 2


async def test_a_store_that_fails_ends_the_worker(lab: Lab) -> None:
    """What is committed and cannot be stored ends the worker, which would go on with a state that is behind."""
    counting = Counting(lab)
    engine = await counting.start()
    counting.ledger.broken = StoreError("no space left")
    lab.put(counting.topic, range(3))
    error = await lab.failed(engine)
    assert isinstance(error, WorkerError)
    assert "could not be stored after its checkpoint was committed: no space left" in str(error)
    await lab.stop(engine)


async def test_produce_failures_in_a_row_end_the_worker(lab: Lab) -> None:
    """An interval whose records are not taken each time is not replayed for ever."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)

    for _ in range(10):
        lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
    engine = await lab.start([lab.agent(body, topic)], [out], transactional_id="worker")
    lab.put(topic, [1])
    error = await lab.failed(engine)
    assert isinstance(error, WorkerError)
    assert "checkpoints failed in a row" in str(error)
    assert "provoked" in str(error)
    await lab.stop(engine)


async def test_leads_are_committed(lab: Lab) -> None:
    """The offset is that of the slowest agent; the others' positions are in the metadata of the commit."""
    topic, go = lab.topic("numbers"), asyncio.Event()

    async def slow(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 2:
                await go.wait()

    async def fast(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    lab.put(topic, range(10))
    await lab.start([lab.agent(slow, topic), lab.agent(fast, topic)])
    await lab.until(lambda: lab.committed(topic) == Offset(2, '{"fast":10}'), "the lead is committed")
    go.set()
    await lab.until(lambda: lab.committed(topic) == Offset(10), "nobody leads")


async def test_leads_begin_intervals(lab: Lab) -> None:
    """What a participant is told as committed is each reading's own position, also after a restart; and that of any other agent."""
    topic, go = lab.topic("numbers"), asyncio.Event()
    ledger = Ledger()

    async def slow(stream: Stream[int]) -> None:
        async for value in stream:
            if value == 2:
                await go.wait()

    async def fast(stream: Stream[int]) -> None:
        async for _ in stream:
            ledger.add()

    agents: list[Agent] = [lab.agent(slow, topic), lab.agent(fast, topic)]
    lab.put(topic, range(10))
    engine = await lab.start(agents, participants=[ledger], drain_timeout=1.0)
    await lab.until(lambda: lab.committed(topic) == Offset(2, '{"fast":10}'), "the lead is committed")
    await lab.stop(engine)
    go.set()
    await lab.start(agents, participants=[ledger])

    tp = TP("numbers", 0)
    assert ledger.committed_readings == [
        {Reading(tp, "slow"): 0, Reading(tp, "fast"): 0, Reading(tp, ""): 0},
        {Reading(tp, "slow"): 2, Reading(tp, "fast"): 10, Reading(tp, ""): 2},
    ]
    await lab.caught_up(topic)
    assert ledger.stored == 10


class Unreachable(Ledger):
    """A ledger whose changelogs cannot be read when it is opened first."""

    async def open(self, *args: Any, **options: Any) -> None:
        """Fail once."""
        await super().open(*args, **options)
        if len(self.unread) == 1:
            raise DeadlineError("no answer")


async def test_what_was_never_committed_is_told(lab: Lab) -> None:
    """To whoever opens the partition until its first event is committed: also when the first attempt failed, and in another worker."""
    topic, ledger = lab.topic("numbers"), Unreachable()

    async def count(stream: Stream[int]) -> None:
        async for _ in stream:
            ledger.add()

    agent: Agent = lab.agent(count, topic)

    async def live() -> None:
        engine = await lab.start([agent], participants=[ledger])
        await lab.caught_up(topic)
        await lab.stop(engine)

    await live()
    await live()
    assert ledger.unread == [True, True, True]
    lab.put(topic, range(10))
    await live()
    await live()
    for name in lab.cluster.groups():
        lab.cluster.group(name).offsets = GroupOffsets()
    await live()
    await live()
    assert ledger.unread == [True, True, True, True, False, True, False]


async def test_too_many_leads_are_left_out(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Leads that do not fit the metadata of a commit are left out with a warning; the offset is committed."""
    topic, go = lab.topic("numbers"), asyncio.Event()

    async def slow(stream: Stream[int]) -> None:
        async for _ in stream:
            await go.wait()

    async def fast(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    crowd = [lab.agent(fast, topic, name=f"agent-{number:0250}") for number in range(20)]
    lab.put(topic, range(3))
    await lab.start([lab.agent(slow, topic), *crowd])
    await lab.until(lambda: "the leads of 20 agents do not fit a commit" in caplog.text, "it is said")
    go.set()
    await lab.caught_up(topic)


@both
async def test_more_agents_than_a_commit_has_room_for(lab: Lab, guarantee: str) -> None:
    """Where an event that comes again would count twice, as many readers of one topic are refused at the start, with what to do."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[int]) -> None:
        async for _ in stream:
            pass

    crowd = [lab.agent(body, topic, name=f"agent-{number:0250}") for number in range(20)]
    with pytest.raises(ConfigurationError, match=r"topic numbers is read by 20 agents.*shorter names"):
        await lab.start(crowd, participants=[Ledger()], **settings_for(guarantee))


@pytest.mark.parametrize(
    ("metadata", "leads"),
    [
        ("", {}),
        ('{"agent":5}', {"agent": 5}),
        ('{"agent":"x","other":3}', {"other": 3}),
        ("[1,2]", {}),
        ("[" * 4000, {}),
        ("written by something else", {}),
    ],
)
def test_metadata_of_others_is_no_lead(metadata: str, leads: dict[str, int]) -> None:
    """Only what this framework wrote is taken for leads."""
    assert CommitMetadata.decode(metadata).leads == leads


async def test_without_a_start_nothing_is_sent() -> None:
    """A send before the start says what to do."""
    with pytest.raises(ProduceError, match="the app is not started"):
        await Outbox(transactional=True).send(("out", None, None, b"", None, ()))


@pytest.mark.parametrize("of_event", [False, True], ids=["outside", "of an event"])
async def test_a_producer_that_is_closed_while_it_is_asked_for_a_topic(lab: Lab, of_event: bool) -> None:
    """The send asks its successor; without one it fails."""
    out, outbox = lab.topic("out"), Outbox(transactional=False)
    old, new = lab.transport.producer(), lab.transport.producer()
    await old.start()
    await new.start()
    connect = outbox.connect if of_event else outbox.aside.connect
    if of_event:
        cursor = Cursor("body[0]", "body", outbox.held.emit)
        cursor.record = StoredRecord(0, 0, None, b"1", ())
        set_effects(cursor)
    connect(old)
    for successor in new, None:
        lab.cluster.faults.fail_next("metadata", TransportError("the client was closed"))
        sending = asyncio.create_task(outbox.send(("out", 0, None, b"1", None, ())))
        await asyncio.sleep(0)  # it has asked
        if successor is None:
            with pytest.raises(TransportError, match="the client was closed"):
                await sending
        else:
            connect(successor)
            await (await sending)
            connect(successor)
            outbox.topics.clear()
    assert lab.values(out) == [1]
    await old.stop()
    await new.stop()


class ManyShards(Ledger):
    """A ledger whose changes are spread over many shards, each of which has few."""

    shards, each = 100, 50

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterator[ShardChanges]:
        """Make the changes of all shards."""
        for changes in super().changes(intervals):
            few = [(b"key %d" % number, b"value") for number in range(self.each)]
            yield from [changes._replace(records=few)] * self.shards


class Remembering(MemoryProducer):
    """A producer that knows the partitions of a topic once it was asked, and does not wait for them then, as that of Kafka."""

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions."""
        return self.count(topic) or await super().partitions(topic)


class Remembered(MemoryTransport):
    """Makes these."""

    def producer(self, **options: Any) -> Remembering:
        """Make a producer."""
        return Remembering(self.cluster, self.settings, **options)


async def test_many_shards_with_few_changes_do_not_keep_the_event_loop(lab: Lab) -> None:
    """It has a turn each few hundred changes, in however many shards they are."""
    counting, turns, counters = Counting(lab), 0, list[asyncio.Task[None]]()
    counting.ledger = ManyShards()
    lab.transport = Remembered(lab.cluster.name)
    engine = await counting.start(commit_interval=1000.0)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    failpoints.action("count turns", lambda: counters.append(asyncio.create_task(count())))
    failpoints.action("count no more", lambda: counters[0].cancel())
    failpoints.arm("checkpoint.cut:count turns,checkpoint.changelog:count no more")
    lab.put(counting.topic, range(5))
    await lab.until(lambda: len(counting.handled) == 5, "all events are handled")
    assert await engine.checkpoint()
    assert turns >= ManyShards.shards * ManyShards.each // SLICE - 1
