"""Topics, names, cleaning and faults of the in-process broker."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest

from stream_core.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    DeadlineError,
    OffsetOutOfRangeError,
    ProduceError,
    TransportError,
    UnknownTopicError,
)
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.memory.wakeup import Wakeup
from stream_core.ports import Admin, Consumer, Producer, Reader, RebalanceListener
from stream_core.primitives import TP, TopicSpec
from stream_core.testing import ManualClock

TP0 = TP("topic", 0)


@pytest.fixture
def cluster() -> MemoryCluster:
    """A cluster with one topic of two partitions and a clock that stands still."""
    cluster = MemoryCluster("test", clock=ManualClock(1000.0))
    cluster.create(TopicSpec("topic", 2))
    return cluster


@pytest.fixture
def name() -> Iterator[str]:
    """The name of a cluster that is forgotten afterwards."""
    yield "test-memory-cluster"
    MemoryCluster.discard("test-memory-cluster")


@pytest.mark.parametrize("form", ["memory://{}", "memory://{}/", "{}"])
def test_one_cluster_per_name(name: str, form: str) -> None:
    """URL and bare name mean the same cluster, until it is discarded."""
    cluster = MemoryTransport(form.format(name)).cluster

    assert MemoryTransport(name).cluster is cluster
    assert MemoryTransport("memory://").cluster is not cluster
    MemoryCluster.discard(name)
    assert MemoryTransport(name).cluster is not cluster


@pytest.mark.parametrize(
    "spec",
    [
        TopicSpec("a b", 1),
        TopicSpec("", 1),
        TopicSpec("..", 1),
        TopicSpec("x" * 250, 1),
        TopicSpec("a", 0),
        TopicSpec("a", 1, config={"retention": "1"}),
        TopicSpec("a", 1, config={"cleanup.policy": "compost"}),
        TopicSpec("a", 1, config={"retention.ms": "1 day"}),
    ],
)
def test_refuses_topics_that_kafka_refuses(cluster: MemoryCluster, spec: TopicSpec) -> None:
    """A bad name, partition count or configuration is an error that names it."""
    named = next(iter(spec.config), spec.name or "topic name ''")
    with pytest.raises(TransportError, match=re.escape(named)):
        cluster.create(spec)

    assert list(cluster.topics()) == ["topic"]


def test_takes_configuration_without_effect(cluster: MemoryCluster) -> None:
    """What Kafka knows and this broker has no use for is kept and described."""
    config = {
        "segment.ms": "100",
        "compression.type": "lz4",
        "min.insync.replicas": "1",
        "cleanup.policy": "compact, delete",
    }
    cluster.create(TopicSpec("configured", 1, config=config))

    assert cluster.topic("configured").config.items() >= config.items()


def test_partitions_can_be_added(cluster: MemoryCluster) -> None:
    """A topic gets more partitions and keeps its records; it cannot get fewer."""
    cluster.append(TP0, [Entry(0, None, b"a")])

    cluster.add_partitions("topic", 3)

    assert cluster.topic("topic").partitions == 3
    assert (cluster.log(TP0).end, cluster.log(TP("topic", 2)).end) == (1, 0)
    with pytest.raises(TransportError, match="has 3 partitions"):
        cluster.add_partitions("topic", 3)
    with pytest.raises(UnknownTopicError):
        cluster.add_partitions("unknown", 3)


def test_a_recreated_topic_is_empty(cluster: MemoryCluster) -> None:
    """Deleting takes the records and the committed offsets along."""
    cluster.append(TP0, [Entry(0, None, b"a")])
    cluster.delete("topic")
    with pytest.raises(UnknownTopicError, match="topic has no partition 0"):
        cluster.log(TP0)

    cluster.create(TopicSpec("topic", 1))

    assert cluster.log(TP0).end == 0


def test_cleaning_follows_the_policy() -> None:
    """``clean`` does what ``cleanup.policy`` and its times say, by the clock of the cluster."""
    clock = ManualClock(1000.0)
    cluster = MemoryCluster(clock=clock)
    cluster.create(TopicSpec("deleted", 1, config={"retention.ms": "5000"}))
    cluster.create(TopicSpec("kept", 1, config={"retention.ms": "-1"}))
    cluster.create(TopicSpec("compacted", 1, config={"cleanup.policy": "compact", "min.compaction.lag.ms": "5000"}))
    for topic in ("deleted", "kept", "compacted"):
        cluster.append(TP(topic, 0), [Entry(1_000_000, b"k", b"old"), Entry(1_004_000, b"k", b"new")])

    def values(topic: str) -> list[bytes | None]:
        log = cluster.log(TP(topic, 0))
        return [record.value for record in log.read(log.start, 10, committed=True).records]

    clock.advance(6)
    for topic in ("deleted", "kept", "compacted"):
        cluster.clean(topic)
    assert [values(topic) for topic in ("deleted", "kept", "compacted")] == [
        [b"new"],
        [b"old", b"new"],
        [b"old", b"new"],
    ]
    clock.advance(4)
    cluster.clean("compacted")
    assert values("compacted") == [b"new"]


def test_cleans_by_itself_after_so_many_records(cluster: MemoryCluster) -> None:
    """A partition that took ``clean_after`` records is cleaned as its topic says: a program that runs on does not grow."""
    cluster.clean_after = 10
    cluster.create(TopicSpec("compacted", 1, config={"cleanup.policy": "compact"}))
    cluster.create(TopicSpec("bounded", 1, config={"retention.bytes": "100"}))
    compacted, bounded = (cluster.log(TP(topic, 0)) for topic in ("compacted", "bounded"))

    lengths = []
    for number in range(95):
        for topic in ("compacted", "bounded"):
            cluster.append(TP(topic, 0), [Entry(0, b"%d" % (number % 3), b"value")])
        lengths.append((len(compacted), len(bounded)))

    assert max(lengths) <= (13, 20)
    assert {record.value for record in compacted.read(0, 100, committed=True).records} == {b"value"}
    assert (compacted.start, compacted.end) == (0, 95)
    assert bounded.start > 50


def test_many_keys_are_not_compacted_over_and_over(cluster: MemoryCluster) -> None:
    """A compacted log must have grown by ``min.cleanable.dirty.ratio`` before it is compacted by itself again."""
    cluster.clean_after = 10
    cluster.create(TopicSpec("compacted", 1, config={"cleanup.policy": "compact"}))
    tp = TP("compacted", 0)
    cluster.append(tp, [Entry(0, b"%d" % number, b"v") for number in range(100)])
    log = cluster.log(tp)
    assert log.dirty == 0

    for _ in range(99):
        cluster.append(tp, [Entry(0, b"0", b"v")])
    assert (log.dirty, len(log)) == (99, 199)
    cluster.append(tp, [Entry(0, b"0", b"v")])

    assert (log.dirty, len(log)) == (0, 100)


def test_records_must_fit_their_topic() -> None:
    """What is larger than ``max.message.bytes``, or has no key for compaction, is refused and not appended."""
    cluster = MemoryCluster()
    cluster.create(TopicSpec("small", 1, config={"max.message.bytes": "100"}))
    cluster.create(TopicSpec("compacted", 1, config={"cleanup.policy": "compact,delete"}))

    with pytest.raises(ProduceError, match=r"max\.message\.bytes=100"):
        cluster.append(TP("small", 0), [Entry(0, b"k" * 40, b"v" * 60)])
    with pytest.raises(ProduceError, match="without key"):
        cluster.append(TP("compacted", 0), [Entry(0, None, b"v")])

    assert cluster.log(TP("small", 0)).end == cluster.log(TP("compacted", 0)).end == 0


def test_an_unknown_operation_cannot_fail(cluster: MemoryCluster) -> None:
    """A typing error in the name of an operation is an error, not a fault that never shows."""
    with pytest.raises(ConfigurationError, match="no operation 'comit'"):
        cluster.faults.fail_next("comit", TransportError("x"))


@pytest.mark.parametrize("make", ["admin", "consumer", "reader", "producer"])
async def test_any_client_can_fail_to_connect(make: str, name: str) -> None:
    """A fault at ``connect`` fails one start; the next one works."""
    transport = MemoryTransport(name)
    clients: dict[str, Admin | Consumer | Producer | Reader] = {
        "admin": transport.admin(),
        "consumer": transport.consumer("group", read_committed=True),
        "reader": transport.reader(read_committed=True),
        "producer": transport.producer(),
    }
    client = clients[make]
    transport.cluster.faults.fail_next("connect", BrokerUnavailableError("away"))

    with pytest.raises(BrokerUnavailableError, match="away"):
        await client.start()
    await client.start()
    await client.stop()


def test_a_later_loop_finds_records_and_no_ghosts(name: str) -> None:
    """When an event loop ended without a word, its members are not waited for and its transactions are aborted."""
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 1))

    async def die() -> None:
        producer = transport.producer(transactional_id="id")
        await producer.start()
        await producer.partitions("topic")
        await producer.begin()
        await producer.send(*TP0, None, b"open")
        consumer = transport.consumer("group", read_committed=True)
        await consumer.start()
        await _assigned(consumer)
        transport.cluster.append(TP0, [Entry(0, None, b"plain")])

    async def live() -> None:
        async with asyncio.timeout(5):
            consumer = transport.consumer("group", read_committed=True)
            await consumer.start()
            await _assigned(consumer)
            consumer.seek(TP0, 0)
            consumer.resume([TP0])
            (batch,) = await consumer.poll(1)
            await consumer.stop()
        assert [record.value for record in batch.records] == [b"plain"]

    asyncio.run(die())
    asyncio.run(live())


async def _assigned(consumer: Consumer) -> None:
    """Join and wait for the partitions."""
    assigned = asyncio.Event()

    async def revoked(partitions: frozenset[TP], lost: bool) -> None:
        pass

    consumer.subscribe(["topic"], RebalanceListener(lambda partitions, group: assigned.set(), revoked))
    await assigned.wait()


async def test_one_loop_at_a_time(name: str) -> None:
    """A second event loop, in another thread, is refused while the first one runs, and told what to do."""
    await MemoryTransport(name).admin().start()

    def elsewhere() -> None:
        asyncio.run(MemoryTransport(name).admin().start())

    with pytest.raises(ConfigurationError, match=r"memory://test-memory-cluster is in use by another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_requests_fail_in_turn(name: str) -> None:
    """Two faults fail two requests, before the broker has done anything."""
    transport = MemoryTransport(name)
    admin = transport.admin()
    await admin.start()
    for message in ("one", "two"):
        transport.cluster.faults.fail_next("create_topics", TransportError(message))

    for message in ("one", "two"):
        with pytest.raises(TransportError, match=message):
            await admin.create([TopicSpec("topic", 1)])
        assert await admin.describe(["topic"]) == {}
    await admin.create([TopicSpec("topic", 1)])

    assert list(await admin.describe(["topic"])) == ["topic"]


async def test_an_answer_can_get_lost(name: str) -> None:
    """An applied fault does what was asked and fails all the same."""
    transport = MemoryTransport(name)
    admin = transport.admin()
    transport.cluster.faults.fail_next("create_topics", DeadlineError("lost"), applied=True)

    with pytest.raises(DeadlineError, match="lost"):
        await admin.create([TopicSpec("topic", 1)])

    assert list(await admin.describe(["topic"])) == ["topic"]


async def test_retention_moves_readers_out_of_range(name: str) -> None:
    """A reader whose position was cleaned away is told, and goes on from the new start."""
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 1))
    transport.cluster.append(TP0, [Entry(0, None, b"%d" % n) for n in range(3)])
    reader = transport.reader(read_committed=True)
    await reader.start()
    await reader.assign({TP0: 0})
    transport.cluster.log(TP0).truncate(2)

    with pytest.raises(OffsetOutOfRangeError):
        await reader.poll(1)
    reader.seek(TP0, (await reader.start_offsets([TP0]))[TP0])

    (batch,) = await reader.poll(1)
    assert [record.value for record in batch.records] == [b"2"]


async def test_a_busy_partition_does_not_hide_an_error(name: str) -> None:
    """Each second poll says which offset is out of range, though records of another partition never stop coming."""
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 2))
    reader = transport.reader(read_committed=True)
    await reader.start()
    await reader.assign({TP0: 0, TP("topic", 1): 7})

    outcomes = []
    for _ in range(4):
        transport.cluster.append(TP0, [Entry(0, None, b"a")])
        try:
            outcomes.append([len(batch.records) for batch in await reader.poll(1)])
        except OffsetOutOfRangeError as error:
            outcomes.append([error.offset])

    assert outcomes == [[1], [7], [2], [7]]


async def test_polling_lets_others_run(name: str) -> None:
    """A poll that finds records at once gives the loop a turn all the same."""
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 1))
    transport.cluster.append(TP0, [Entry(0, None, b"a")])
    reader = transport.reader(read_committed=True)
    await reader.start()
    await reader.assign({TP0: 0})
    ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(ran.set)

    await reader.poll(1)

    assert ran.is_set()


@pytest.mark.looptime
async def test_a_wait_ends_at_its_deadline() -> None:
    """``until`` gives up at its deadline, however often the bell rings, and says what it waited for."""
    wakeup, loop = Wakeup(), asyncio.get_running_loop()
    for second in range(1, 20):
        loop.call_later(second, wakeup.notify)

    with pytest.raises(DeadlineError, match="no answer within 10 s to: nothing"):
        await wakeup.until(lambda: False, 10, "nothing")

    assert loop.time() == pytest.approx(10)


@pytest.mark.looptime
async def test_a_wait_ends_with_its_condition() -> None:
    """``until`` returns at the ring after which the condition holds; a cancelled waiter is no trouble to the others."""
    wakeup, loop, ready = Wakeup(), asyncio.get_running_loop(), asyncio.Event()
    cancelled = asyncio.create_task(wakeup.until(lambda: False, 10, "nothing"))
    loop.call_later(1, cancelled.cancel)
    loop.call_later(2, wakeup.notify)
    loop.call_later(3, ready.set)
    loop.call_later(4, wakeup.notify)

    await wakeup.until(ready.is_set, 10, "readiness")

    assert loop.time() == pytest.approx(4)
    assert cancelled.cancelled()


def test_a_manual_clock_moves_when_told() -> None:
    """A manual clock stands still, goes on by what it is told, and never back."""
    clock = ManualClock(5)
    assert clock() == clock() == 5

    clock.advance(2.5)

    assert clock() == 7.5
    with pytest.raises(ValueError, match="cannot be advanced by -1"):
        clock.advance(-1)
