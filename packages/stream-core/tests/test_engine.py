"""The engine: start and stop, several agents and several engines, back-pressure, and trouble with the broker."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.assignment import Member
from stream_core.engine.participants import Shard
from stream_core.errors import BrokerUnavailableError, ConfigurationError, DeadlineError, TransportError
from stream_core.memory import MemoryTransport
from stream_core.memory.consumer import MemoryConsumer
from stream_core.memory.producer import MemoryProducer
from stream_core.primitives import TP, Batch, Offset, StoredRecord
from stream_core.sending.topic import Topic
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import GROUP, Lab
from .ledger import Ledger

pytestmark = pytest.mark.looptime

both = pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}], ids=["at_least_once", "exactly_once"])


class Collecting:
    """An agent that notes what it gets.

    Args:
        lab: where.
        topic: what it reads.
        seconds: how long it takes for each event.
        name: of the agent.
    """

    def __init__(self, lab: Lab, topic: Topic[Any, Any], *, seconds: float = 0.0, name: str = "collect") -> None:
        self.seen: list[Any] = []
        self.finished: list[Any] = []
        self.seconds = seconds
        self.agent: Agent = lab.agent(self._body, topic, name=name)

    async def _body(self, stream: Stream[Any]) -> None:
        """Note each value, and wait."""
        async for value in stream:
            self.seen.append(value)
            if self.seconds:
                await asyncio.sleep(self.seconds)
            self.finished.append(value)


@both
async def test_a_stopped_engine_repeats_nothing(lab: Lab, settings: dict[str, Any]) -> None:
    """A stop finishes open events and commits: the successor goes on with the next event."""
    topic = lab.topic("numbers", 2)
    collecting = Collecting(lab, topic, seconds=0.3)
    for partition in range(2):
        lab.put(topic, range(partition * 100, partition * 100 + 20), partition)
    for _ in range(5):
        engine = await lab.start([collecting.agent], commit_interval=1000.0, **settings)
        await asyncio.sleep(2)
        await lab.stop(engine)
    await lab.start([collecting.agent], **settings)
    await lab.caught_up(topic)
    assert Counter(collecting.seen) == Counter([*range(20), *range(100, 120)])


async def test_agents_of_different_speed(lab: Lab) -> None:
    """After a restart the fast agent repeats nothing that it had finished, and the slow one misses nothing."""
    topic = lab.topic("numbers")
    slow, fast = Collecting(lab, topic, seconds=1.0, name="slow"), Collecting(lab, topic, name="fast")
    lab.put(topic, range(20))
    engine = await lab.start([slow.agent, fast.agent])
    await lab.until(lambda: len(slow.finished) == 5, "the slow one is at five")
    await lab.stop(engine)
    assert fast.seen == list(range(20))

    slow.seconds = 0.0
    await lab.start([slow.agent, fast.agent])
    await lab.caught_up(topic)

    assert slow.seen == list(range(20))
    assert fast.seen == list(range(20))


@both
async def test_engines_share_the_work(lab: Lab, settings: dict[str, Any]) -> None:
    """While engines come and go, each event is worked on once, and everything is worked on."""
    topic, out = lab.topic("numbers", 4), lab.topic("out")
    engines: list[Any] = []

    async def join(number: int) -> None:
        out = lab.topic("out")

        async def body(stream: Stream[int]) -> None:
            async for value in stream:
                await out.send(value)
                await asyncio.sleep(0.1)

        own = {key: f"{value}-{number}" for key, value in settings.items()}
        engines.append(await lab.start([lab.agent(body, topic)], [out], **own))

    for partition in range(4):
        lab.put(topic, range(partition * 1000, partition * 1000 + 50), partition)
    await join(1)
    await asyncio.sleep(1)
    await join(2)
    assert sorted(len(engine.ownership.sessions) for engine in engines) == [2, 2]
    await asyncio.sleep(1)
    await join(3)
    await asyncio.sleep(1)
    await lab.stop(engines.pop(0))
    await asyncio.sleep(1)
    await lab.stop(engines.pop(0))
    await lab.caught_up(topic)

    assert Counter(lab.values(out)) == Counter(p * 1000 + i for p in range(4) for i in range(50))


@both
async def test_a_lost_membership_loses_nothing(lab: Lab, settings: dict[str, Any]) -> None:
    """An engine that is taken out of the group drops its interval, joins again and goes on from the committed offset."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)

    engine = await lab.start([lab.agent(body, topic)], [out], commit_interval=1000.0, **settings)
    lab.put(topic, range(5))
    await lab.until(lambda: len(lab.values(out, committed=False)) == 5, "all is sent")
    (member,) = lab.cluster.group(GROUP).members
    lab.cluster.expire(GROUP, member)
    await lab.until(lambda: lab.cluster.group(GROUP).generation == 2, "it has joined again")
    await lab.until(lambda: len(lab.values(out, committed=False)) == 10, "the interval is replayed")
    await engine.checkpoint()

    assert lab.committed(topic) == Offset(5)
    assert lab.values(out) == list(range(5)) * (1 if settings else 2)


async def test_a_number_of_events_makes_a_checkpoint_come_early(lab: Lab) -> None:
    """With ``commit_every`` the interval is what passes at most; fewer events wait for it."""
    topic = lab.topic("numbers", 2)
    collecting = Collecting(lab, topic)
    await lab.start([collecting.agent], commit_interval=1000.0, commit_every=10)
    lab.put(topic, range(6))
    await lab.until(lambda: len(collecting.seen) == 6, "all is seen")
    assert lab.committed(topic) == Offset(0)
    lab.put(topic, range(6), 1)

    def committed() -> int:
        return sum(offset.offset for partition in (0, 1) if (offset := lab.committed(topic, partition)))

    await lab.until(lambda: committed() >= 10, "ten events are committed")


async def test_back_pressure(lab: Lab) -> None:
    """Nothing more is fetched of a partition while its agent's buffer is full; when there is room it goes on."""
    topic = lab.topic("numbers")
    collecting = Collecting(lab, topic, seconds=0.01)
    engine = await lab.start([collecting.agent], buffer_maxsize=50)
    (session,) = engine.ownership.sessions.values()
    position, full = 0, 0
    for start in range(0, 1000, 10):
        lab.put(topic, range(start, start + 10))
        await asyncio.sleep(0.02)
        if session.fetch_position > position:
            waiting = position - len(collecting.finished)
            assert waiting < 50, f"{waiting} records wait, and more were fetched"
        position = session.fetch_position
        full += session.backlog >= 50
    assert full
    await lab.caught_up(topic)
    assert collecting.seen == list(range(1000))


async def test_back_pressure_spares_other_partitions(lab: Lab) -> None:
    """A partition whose agent hangs does not keep the records of other topics from their agents."""
    stuck_topic, other_topic = lab.topic("stuck"), lab.topic("other")
    go = asyncio.Event()

    async def stuck(stream: Stream[int]) -> None:
        async for _ in stream:
            await go.wait()

    other = Collecting(lab, other_topic)
    await lab.start([lab.agent(stuck, stuck_topic), other.agent], buffer_maxsize=10)
    for start in range(0, 200, 5):
        lab.put(stuck_topic, range(start, start + 5))
        lab.put(other_topic, range(start, start + 5))
        await asyncio.sleep(0.1)
    assert other.seen == list(range(200))
    go.set()
    await lab.caught_up(stuck_topic, other_topic)


@pytest.mark.parametrize("size", [1, 2, 3])
async def test_small_buffers(lab: Lab, size: int) -> None:
    """Even the smallest buffer lets events through."""
    topic = lab.topic("numbers", 2)
    collecting = Collecting(lab, topic)
    await lab.start([collecting.agent], buffer_maxsize=size)
    for value in range(20):
        lab.put(topic, [value], value % 2)
    await lab.caught_up(topic)
    assert sorted(collecting.seen) == list(range(20))


async def test_fetching_goes_on_when_buffered_records_are_dropped(lab: Lab) -> None:
    """Partitions that are taken away with a full buffer do not stop the fetching of what comes after."""
    topic = lab.topic("numbers")
    collecting, go = Collecting(lab, topic), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            collecting.seen.append(value)
            await go.wait()

    await lab.start([lab.agent(body, topic)], buffer_maxsize=10, drain_timeout=1.0)
    lab.put(topic, range(100))
    await lab.until(lambda: bool(collecting.seen), "an event is open")
    (member,) = lab.cluster.group(GROUP).members
    lab.cluster.expire(GROUP, member)
    await lab.until(lambda: lab.cluster.group(GROUP).generation == 2, "it has joined again")
    go.set()
    await lab.caught_up(topic)
    assert collecting.seen == [0, *range(100)]


async def test_the_broker_is_waited_for(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Without a broker the start waits, says so once in a while, and goes on when there is one."""
    topic = lab.topic("numbers")
    for _ in range(30):
        lab.cluster.faults.fail_next("connect", BrokerUnavailableError("no broker at localhost:9092"))
    began = asyncio.get_running_loop().time()

    await lab.start([Collecting(lab, topic).agent])

    assert asyncio.get_running_loop().time() - began >= 15
    assert caplog.text.count("no broker at localhost:9092; waiting for it") == 2


async def test_fail_fast(lab: Lab) -> None:
    """With ``fail_fast`` a start without a broker fails at once."""
    lab.cluster.faults.fail_next("connect", BrokerUnavailableError("no broker"))
    engine = lab.engine([Collecting(lab, lab.topic("numbers")).agent], fail_fast=True)
    with pytest.raises(BrokerUnavailableError):
        await engine.start()
    await engine.stop()


@both
@pytest.mark.parametrize("operation", ["offset_fetch", "list_offsets", "offset_commit"])
async def test_opening_is_tried_again(lab: Lab, settings: dict[str, Any], operation: str) -> None:
    """When the broker does not answer while partitions are opened, it is asked again; each time stores that moved are closed first."""
    topic, ledger = lab.topic("numbers"), Ledger()
    lab.put(topic, range(3))
    for _ in range(3):
        lab.cluster.faults.fail_next(operation, DeadlineError("no answer"))
    collecting = Collecting(lab, topic)
    await lab.start([collecting.agent], participants=[ledger], **settings)
    await lab.caught_up(topic)
    assert collecting.seen == [0, 1, 2]
    assert ledger.kept == [[Shard(1, 0)]] * 4


async def test_a_dead_predecessor_is_taken_out(lab: Lab) -> None:
    """A worker that knows the member id of its dead predecessor does not wait for its session to end."""
    topic = lab.topic("numbers")
    members: list[str] = []
    engine = lab.engine([Collecting(lab, topic).agent])
    await engine.start()
    (dead,) = lab.cluster.group(GROUP).members
    engine.outbox.held.close_gate()

    successor = lab.engine([Collecting(lab, topic).agent], predecessor=dead)
    await successor.start()
    members += lab.cluster.group(GROUP).members
    assert dead not in members
    await successor.stop()
    await engine.stop()


async def test_members_are_told(lab: Lab) -> None:
    """Whoever keeps the member id hears of it at each assignment."""
    topic, told = lab.topic("numbers"), list[str]()
    await lab.start([Collecting(lab, topic).agent], on_member=told.append)
    assert told == list(lab.cluster.group(GROUP).members)


async def test_offsets_out_of_range(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Records that retention took away before they were read are passed over, loudly; the new offset is committed."""
    topic = lab.topic("numbers")
    lab.put(topic, range(3))
    collecting = Collecting(lab, topic)
    engine = await lab.start([collecting.agent])
    await lab.caught_up(topic)
    await lab.stop(engine)
    lab.put(topic, range(3, 10))
    lab.cluster.log(TP("numbers", 0)).truncate(7)

    await lab.start([collecting.agent], commit_interval=1000.0)
    await lab.until(lambda: collecting.seen == [0, 1, 2, 7, 8, 9], "it goes on")

    assert lab.committed(topic) == Offset(7)
    assert "numbers-0: offset 3 is not in the log any more" in caplog.text


async def test_latest_begins_at_the_end(lab: Lab) -> None:
    """With ``latest`` a group without offsets begins behind what there is, and sticks to where it began."""
    topic = lab.topic("numbers")
    lab.put(topic, range(3))
    collecting = Collecting(lab, topic)
    engine = await lab.start([collecting.agent], offset_reset="latest")
    assert lab.committed(topic) == Offset(3)
    await lab.stop(engine)
    lab.put(topic, [3])
    await lab.start([collecting.agent], offset_reset="latest")
    await lab.caught_up(topic)
    assert collecting.seen == [3]


@pytest.mark.parametrize("applied", [False, True], ids=["not done", "done"])
async def test_latest_begins_at_the_end_that_was_seen_first(lab: Lab, applied: bool) -> None:
    """What comes while it is unknown whether the first commit has arrived is read: the end is not looked for again."""
    topic = lab.topic("numbers")
    lab.put(topic, range(3))
    lab.cluster.faults.fail_next("offset_commit", DeadlineError("no answer"), applied=applied)

    def put(record: logging.LogRecord) -> bool:
        if "unknown whether the first offsets are committed" in record.getMessage():
            lab.put(topic, [3])
        return True

    logger = logging.getLogger("stream_core.engine.ownership")
    logger.addFilter(put)
    try:
        collecting = Collecting(lab, topic)
        await lab.start([collecting.agent], offset_reset="latest")
        await lab.caught_up(topic)
    finally:
        logger.removeFilter(put)
    assert collecting.seen == [3]


@both
async def test_an_engine_without_agents_sends(lab: Lab, settings: dict[str, Any]) -> None:
    """An app that only sends needs no group; its sends are seen at once."""
    out = lab.topic("out")
    engine = await lab.start([], [out], **settings)
    metadata = await (await out.send(1))
    assert (metadata.offset, lab.values(out)) == (0, [1])
    assert lab.cluster.groups() in ([], [GROUP])
    await lab.stop(engine)
    with pytest.raises(ConfigurationError, match="cannot send to topic out: the app is not started"):
        await out.send(2)


async def test_a_stop_aborts_the_open_transaction(lab: Lab) -> None:
    """What an engine could not commit is aborted when it stops: readers need not wait for the transaction's timeout."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await (await out.send(value))
            await asyncio.get_running_loop().create_future()

    engine = await lab.start([lab.agent(body, topic)], [out], transactional_id="worker", drain_timeout=1.0)
    lab.put(topic, [1])
    await lab.until(lambda: lab.values(out, committed=False) == [1], "the event has released its send")
    await lab.stop(engine)

    log = lab.cluster.log(TP("out", 0))
    assert (log.stable, lab.values(out), lab.committed(topic)) == (log.end, [], Offset(0))


@both
async def test_a_revocation_that_is_cancelled_gives_everything_up(lab: Lab, settings: dict[str, Any]) -> None:
    """When the client cannot wait any longer, nothing of what was owned goes on, and nothing of it is committed."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            await asyncio.get_running_loop().create_future()

    engine = await lab.start([lab.agent(body, topic)], [out], drain_timeout=10.0, **settings)
    lab.put(topic, range(3))
    (session,) = engine.ownership.running
    await lab.until(lambda: bool(session.open_work()), "an event is open")
    revocation = asyncio.create_task(engine._revoked(frozenset({session.tp}), False))
    await asyncio.sleep(1)
    revocation.cancel()
    with pytest.raises(asyncio.CancelledError):
        await revocation

    assert session.dead
    assert (engine.ownership.sessions, lab.committed(topic)) == ({}, Offset(0))


@both
async def test_events_that_finish_too_late_are_dropped(lab: Lab, settings: dict[str, Any]) -> None:
    """What an event sent that finished behind the last cut of a generation is not committed with the next generation."""
    topic, out, go = lab.topic("numbers"), lab.topic("out"), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)
            if not go.is_set():
                await go.wait()

    await lab.start([lab.agent(body, topic)], [out], drain_timeout=10.0, **settings)
    lab.put(topic, range(3))
    await asyncio.sleep(1)
    lab.cluster.faults.pause_acks(TP("out", 0))
    asyncio.get_running_loop().call_later(6, go.set)  # after half of the drain timeout, with the cut made
    asyncio.get_running_loop().call_later(8, lab.cluster.faults.resume_acks, TP("out", 0))
    await lab.start([Collecting(lab, lab.topic("more")).agent], **{k: f"{v}-2" for k, v in settings.items()})
    await lab.caught_up(topic)

    assert Counter(lab.values(out)).keys() == {0, 1, 2}
    if settings:
        assert lab.values(out) == [0, 1, 2]


class Noting(MemoryConsumer):
    """A consumer that keeps what it has given."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.given: list[StoredRecord] = []

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Poll, and keep what came."""
        batches = await super().poll(timeout)
        self.given += [record for batch in batches for record in batch.records]
        return batches


class NotingTransport(MemoryTransport):
    """A transport with such consumers."""

    def consumer(self, group: str, *, read_committed: bool) -> Noting:
        """Make one."""
        return Noting(self.cluster, group, self.settings, read_committed=read_committed)


async def test_nothing_is_fetched_while_partitions_are_given_up(lab: Lab) -> None:
    """A stop that waits for an event, or for a long checkpoint, fetches no records only to drop them."""
    lab.transport = NotingTransport(lab.cluster.name)
    topic, go = lab.topic("numbers"), asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for _ in stream:
            await go.wait()

    engine = await lab.start([lab.agent(body, topic)])
    consumer = engine.clients.consumer
    assert isinstance(consumer, Noting)
    lab.put(topic, range(3))
    await lab.until(lambda: bool(engine.ownership.open_work()), "an event is open")
    stop = asyncio.create_task(lab.stop(engine))
    await asyncio.sleep(1)
    lab.put(topic, range(3, 10))
    await asyncio.sleep(1)
    assert [record.offset for record in consumer.given] == [0, 1, 2]
    go.set()
    await stop
    assert lab.committed(topic) == Offset(1)


class Silent(MemoryProducer):
    """A producer whose broker does not answer when a transaction is to be ended."""

    async def abort(self) -> None:
        """Wait for an answer that does not come."""
        await asyncio.get_running_loop().create_future()


async def test_a_stop_of_the_clients_is_within_its_budget(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """An abort that is not answered is given up, and the group is left all the same."""
    engine = await lab.start([Collecting(lab, lab.topic("numbers")).agent], transactional_id="worker")
    answering = engine.outbox.producer
    engine.outbox.producer = Silent(lab.cluster, transactional_id="worker")
    clock = asyncio.get_running_loop().time
    begun = clock()
    await engine.clients.stop(4.0)
    assert clock() - begun <= 4.0
    assert "aborting the open transaction: not done in time" in caplog.text
    assert not lab.cluster.group(GROUP).members
    engine.outbox.producer = answering  # the lab stops the engine by the clock on the wall


async def test_a_client_that_breaks_ends_the_worker(lab: Lab) -> None:
    """An error of the consumer that does not pass ends the worker with that error; nothing hangs."""
    engine = await lab.start([Collecting(lab, lab.topic("numbers")).agent])
    lab.cluster.faults.fail_next("fetch", TransportError("the client is broken"))
    lab.put(Topic("numbers", schema=engine._topics["numbers"].schema), [1])
    error = await lab.failed(engine)
    assert str(error) == "the client is broken"
    assert not engine.ready


@both
async def test_a_partition_that_cannot_be_read_stops_no_other(lab: Lab, settings: dict[str, Any]) -> None:
    """While one partition is damaged the others are worked on and committed, and the worker is not ready; mended, it goes on."""
    topic = lab.topic("numbers", 2)
    damaged, good = TP("numbers", 0), TP("numbers", 1)
    lab.cluster.faults.damaged[damaged] = "wrong checksum"
    collecting = Collecting(lab, topic)
    lab.put(topic, [1, 2], damaged.partition)
    lab.put(topic, [10, 11], good.partition)
    engine = await lab.start([collecting.agent], **settings)

    await lab.until(lambda: lab.committed(topic, good.partition) == Offset(2), "the good partition is committed")
    assert collecting.finished == [10, 11]
    assert not engine.ready
    lab.cluster.faults.damaged.clear()
    await lab.caught_up(topic)

    assert sorted(collecting.finished) == [1, 2, 10, 11]
    assert engine.ready


async def test_a_topic_sent_to_from_outside_is_sent_to_by_events_too(lab: Lab) -> None:
    """Under exactly-once sends outside of events go through another producer; what one knows of a topic the other must learn."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            await out.send(value)

    await lab.start([lab.agent(body, topic)], [out], transactional_id="worker")
    await (await out.send(-1))
    lab.put(topic, [1, 2])
    await lab.until(lambda: sorted(lab.values(out)) == [-1, 1, 2], "both producers sent")


async def test_waiting_for_the_place_of_a_dead_member_is_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """After some seconds it is said what is waited for and for how long: at the start, and when the group is joined again."""
    topic = lab.topic("source")
    group, said = (
        lab.cluster.group(GROUP),
        "waiting for the group app: it keeps the place of a worker that left without a word for up to 30 s",
    )

    async def note(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    async def join() -> None:  # and never speak again
        await group.join("", Member(frozenset(["source"])), lambda: None, lab.transport.settings)

    with caplog.at_level("INFO"):
        await lab.cluster.connect()
        await join()
        waiting = asyncio.create_task(lab.start([lab.agent(note, topic)]))
        await asyncio.sleep(2.9)
        assert said not in caplog.text
        await asyncio.sleep(2)
        assert said in caplog.text
        await waiting
        assert caplog.text.count("waiting for the group") == 1
        caplog.clear()
        await asyncio.sleep(10)
        await join()
        assert "waiting for the group" not in caplog.text
        lab.cluster.add_partitions("source", 2)
        await asyncio.sleep(5)
        assert said in caplog.text


async def test_topics_that_are_read_one_behind_the_other_are_all_declared(lab: Lab) -> None:
    """Who begins to read another topic while the group is joined for one is not forgotten: that topic is declared and counted, too."""
    topic, first, second = (
        lab.topic("numbers"),
        lab.topic("first", 2),
        Topic[str, int]("second", schema=Schema(key_type=str), partitions=2),
    )
    engine = await lab.start([Collecting(lab, topic).agent], [first])
    one = engine.topology.stream(first)
    for _ in range(2):
        await asyncio.sleep(0)  # the group is being joined for it
    two = engine.topology.stream(second)
    seen = list[int]()

    async def read(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)

    reading = [asyncio.create_task(read(stream)) for stream in (one, two)]
    await lab.until(lambda: "second" in {tp.topic for tp in engine.ownership.sessions}, "it is assigned")
    assert {session.partitions for tp, session in engine.ownership.sessions.items() if tp.topic != "numbers"} == {2}
    lab.put(first, [1])
    lab.put(second, [2])
    await lab.until(lambda: sorted(seen) == [1, 2], "both are read")
    for task in reading:
        task.cancel()
    await asyncio.wait(reading)
