"""The producer of the in-process broker: acknowledgements, failures and transactions that only faults can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from stream_core.errors import (
    CommitError,
    DeadlineError,
    EncodeError,
    FencedError,
    ProduceError,
    TransactionExpiredError,
    TransportError,
    UnknownTopicError,
)
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.producer import MAX_BACKLOG, MemoryProducer
from stream_core.primitives import TP, GroupMetadata, Offset, TopicSpec
from stream_core.testing.contracts import BrokerHarness

pytestmark = pytest.mark.looptime
TP0, TP1 = TP("topic", 0), TP("topic", 1)


@pytest.fixture
async def harness() -> AsyncIterator[BrokerHarness]:
    """A harness on a cluster of its own, with a topic of two partitions."""
    name = uuid4().hex
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 2))
    async with BrokerHarness(transport) as harness:
        yield harness
    MemoryCluster.discard(name)


@pytest.fixture
def cluster(harness: BrokerHarness) -> MemoryCluster:
    """The cluster of the harness."""
    assert isinstance(harness.transport, MemoryTransport)
    return harness.transport.cluster


@pytest.fixture
async def producer(harness: BrokerHarness) -> MemoryProducer:
    """A plain producer."""
    producer = await harness.producer("topic")
    assert isinstance(producer, MemoryProducer)
    return producer


@pytest.fixture
async def transactional(harness: BrokerHarness) -> MemoryProducer:
    """A transactional producer."""
    producer = await harness.producer("topic", transactional_id="id")
    assert isinstance(producer, MemoryProducer)
    return producer


async def test_acknowledgements_can_be_kept_back(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """While a partition's acknowledgements are paused its records are in the log, and a flush waits for them alone."""
    cluster.faults.pause_acks(TP0)
    held, other = producer.send(*TP0, None, b"a"), producer.send(*TP1, None, b"b")
    await other
    flush = asyncio.create_task(producer.flush())
    await asyncio.sleep(1)
    assert (flush.done(), cluster.log(TP0).end) == (False, 1)
    assert producer.backlog > 0

    cluster.faults.resume_acks(TP0)
    await flush

    assert (await held).offset == 0
    assert producer.backlog == 0
    assert (await producer.send(*TP0, None, b"c")).offset == 1


async def test_waits_have_a_deadline(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """Without acknowledgement a flush, the awaited send and ``room`` end with DeadlineError; ``stop`` does not wait."""
    loop = asyncio.get_running_loop()
    cluster.faults.pause_acks(TP0)
    held = producer.send(*TP0, None, b"a")

    for wait in (producer.flush, lambda: held):
        started = loop.time()
        with pytest.raises(DeadlineError, match="no answer within 40 s to: acknowledge"):
            await wait()
        assert loop.time() - started == pytest.approx(40)

    started = loop.time()
    await producer.stop()
    assert loop.time() == started
    with pytest.raises(ProduceError, match="stopped before"):
        await held


async def test_room_waits_for_the_backlog(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """``room`` waits above the byte bound, and returns once acknowledgements bring the backlog below it."""
    cluster.faults.pause_acks(TP0)
    for _ in range(MAX_BACKLOG // (1 << 19) + 1):
        producer.send(*TP0, None, bytes(1 << 19))
    asyncio.get_running_loop().call_later(3, cluster.faults.resume_acks, TP0)

    await producer.room()

    assert asyncio.get_running_loop().time() == pytest.approx(3)


async def test_a_failed_batch_breaks_the_producer(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """A failed produce request fails the acknowledgements of its batch, what comes after, and flush: not what came before."""
    before = producer.send(*TP0, None, b"before")
    await producer.flush()
    cluster.faults.fail_next("produce", ProduceError("not enough replicas"))
    failed = [producer.send(*TP0, None, b"1"), producer.send(*TP0, None, b"2")]
    behind = producer.send(*TP1, None, b"behind")

    for acknowledgement in (*failed, behind):
        with pytest.raises(ProduceError, match="not enough replicas"):
            await acknowledgement
    with pytest.raises(ProduceError, match="not enough replicas"):
        await producer.flush()
    with pytest.raises(ProduceError, match="make a new one"):
        producer.send(*TP0, None, b"later")

    assert (await before).offset == 0
    assert [cluster.log(tp).end for tp in (TP0, TP1)] == [1, 0]


async def test_a_lost_acknowledgement_leaves_the_record(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """When only the answer is lost, the record is there although its acknowledgement fails."""
    cluster.faults.fail_next("produce", ProduceError("connection reset"), applied=True)

    with pytest.raises(ProduceError, match="connection reset"):
        await producer.send(*TP0, None, b"a")

    assert cluster.log(TP0).end == 1


async def test_partitions_must_be_known(harness: BrokerHarness) -> None:
    """Sending to a topic whose partitions were not asked for, or to a partition beyond them, is refused at once."""
    producer = await harness.producer()
    with pytest.raises(UnknownTopicError, match=r"await partitions\('topic'\) first"):
        producer.send(*TP0, None, b"a")
    await producer.partitions("topic")

    with pytest.raises(EncodeError, match="has 2 partitions"):
        producer.send("topic", 2, None, b"a")

    assert (await producer.send(*TP1, None, b"a")).offset == 0


async def test_without_key_partitions_take_turns(producer: MemoryProducer) -> None:
    """Records without key and partition are spread evenly."""
    places = [await producer.send("topic", None, None, b"v") for _ in range(4)]

    assert [place.partition for place in places] == [0, 1, 0, 1]


async def test_a_deleted_topic_fails_the_send(producer: MemoryProducer, cluster: MemoryCluster) -> None:
    """A topic that went away since its partitions were known fails the acknowledgement and is not created again."""
    cluster.delete("topic")

    with pytest.raises(ProduceError, match="has no partition 0"):
        await producer.send(*TP0, None, b"a")

    assert "topic" not in cluster.topics()


async def test_transactions_need_a_transactional_id(producer: MemoryProducer) -> None:
    """A plain producer has no transactions."""
    with pytest.raises(TransportError, match="no transactional id"):
        await producer.begin()


async def test_offsets_are_pending_until_the_transaction_ends(
    harness: BrokerHarness, transactional: MemoryProducer, cluster: MemoryCluster
) -> None:
    """While the end of a transaction is undecided ``committed`` waits, up to its deadline; an abort leaves the old offset."""
    member = await harness.alone("group", "topic")
    await member.consumer.commit({TP0: Offset(1)}, member.group)
    await transactional.begin()
    cluster.faults.fail_next("end_txn", DeadlineError("coordinator is away"))
    with pytest.raises(DeadlineError, match="coordinator is away"):
        await transactional.commit({TP0: Offset(2)}, member.group)

    with pytest.raises(DeadlineError, match="stable committed offsets of group group"):
        await member.consumer.committed([TP0])
    assert await member.consumer.committed([TP1]) == {TP1: None}
    waiting = asyncio.create_task(member.consumer.committed([TP0]))
    await asyncio.sleep(1)
    assert not waiting.done()

    await transactional.abort()
    assert await waiting == {TP0: Offset(1)}


async def test_a_commit_whose_answer_was_lost_cannot_be_aborted(
    transactional: MemoryProducer, cluster: MemoryCluster
) -> None:
    """The transaction is committed although ``commit`` failed; ``abort`` says so instead of pretending."""
    await transactional.begin()
    transactional.send(*TP0, None, b"a")
    cluster.faults.fail_next("end_txn", DeadlineError("lost"), applied=True)
    with pytest.raises(DeadlineError, match="lost"):
        await transactional.commit({}, None)

    with pytest.raises(TransportError, match="is committed already"):
        await transactional.abort()

    assert cluster.log(TP0).stable == 2


@pytest.mark.parametrize("operation", ["produce", "txn_offset_commit", "end_txn"])
async def test_any_step_of_a_commit_can_fail_and_be_aborted(
    harness: BrokerHarness, transactional: MemoryProducer, cluster: MemoryCluster, operation: str
) -> None:
    """Whichever request of a transaction fails, nothing of it is seen after ``abort``."""
    member = await harness.alone("group", "topic")
    await transactional.begin()
    cluster.faults.fail_next(operation, TransportError("broken"))
    transactional.send(*TP0, None, b"a")

    with pytest.raises(TransportError, match="broken"):
        await transactional.commit({TP0: Offset(5)}, member.group)
    await transactional.abort()

    assert cluster.log(TP0).stable == cluster.log(TP0).end
    assert not cluster.log(TP0).read(0, 10, committed=True).records
    assert await member.consumer.committed([TP0]) == {TP0: None}


async def test_a_transaction_can_time_out(transactional: MemoryProducer, cluster: MemoryCluster) -> None:
    """A transaction that timed out is aborted, and its producer is told that no rival was there."""
    await transactional.begin()
    await transactional.send(*TP0, None, b"a")
    assert cluster.log(TP0).stable == 0

    cluster.transactions.expire("id")

    assert cluster.log(TP0).stable == 2
    with pytest.raises(TransactionExpiredError, match="open for longer than 60 s"):
        await transactional.send(*TP0, None, b"b")
    with pytest.raises(TransactionExpiredError, match="open for longer"):
        await transactional.commit({}, None)
    await transactional.abort()
    with pytest.raises(TransactionExpiredError, match="open for longer"):
        await transactional.begin()


async def test_a_crash_leaves_the_transaction_to_its_successor(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A producer that is stopped in a transaction leaves it open; the next one of its id aborts it."""
    first = await harness.producer("topic", transactional_id="id")
    await first.begin()
    await first.send(*TP0, None, b"a")
    await first.stop()
    assert cluster.log(TP0).stable == 0

    await harness.producer("topic", transactional_id="id")

    assert cluster.log(TP0).stable == cluster.log(TP0).end == 2


async def test_the_fence_guards_the_end_of_a_transaction(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A fence that closes in the middle of a transaction refuses its commit and its abort."""
    fenced = False
    producer = await harness.producer("topic", transactional_id="id", fence=lambda: fenced)
    await producer.begin()
    await producer.send(*TP0, None, b"a")
    fenced = True

    with pytest.raises(FencedError, match="the lease of the group is over"):
        await producer.commit({}, None)
    with pytest.raises(FencedError, match="the lease of the group is over"):
        await producer.abort()

    assert cluster.log(TP0).stable == 0


async def test_the_order_of_calls_is_checked(transactional: MemoryProducer) -> None:
    """``begin`` in a transaction, ``commit`` outside of one, and offsets without a group are errors; ``abort`` is not."""
    await transactional.abort()
    with pytest.raises(TransportError, match="cannot commit: the producer id is ready"):
        await transactional.commit({}, None)
    await transactional.begin()
    with pytest.raises(TransportError, match="cannot begin: the producer id is in transaction"):
        await transactional.begin()
    with pytest.raises(CommitError, match="metadata of their group"):
        await transactional.commit({TP0: Offset(1)}, None)
    await transactional.commit({}, None)


async def test_an_unknown_group_has_no_members(transactional: MemoryProducer) -> None:
    """Offsets for a group that nobody has joined are refused."""
    await transactional.begin()

    with pytest.raises(FencedError, match="group nobody is at generation 0"):
        await transactional.commit({TP0: Offset(1)}, GroupMetadata("nobody", 0, "member"))


async def test_a_partitioner_chooses() -> None:
    """It is asked for every record that names no partition, with a key or without; others go where they are told."""
    name = uuid4().hex
    transport = MemoryTransport(name, partitioner=lambda key, partitions, _: 1 if key is None else partitions[key[0]])
    transport.cluster.create(TopicSpec("topic", 2))
    async with BrokerHarness(transport) as harness:
        producer = await harness.producer("topic")
        deliveries = [producer.send("topic", None, key, b"") for key in (b"\0", b"\1", None, None)]
        deliveries.append(producer.send("topic", 0, None, b""))

        assert [(await delivery).partition for delivery in deliveries] == [0, 1, 1, 1, 0]
        with pytest.raises(EncodeError, match="topic topic: the partitioner raised IndexError"):
            producer.send("topic", None, b"\2", b"")
    MemoryCluster.discard(name)
