"""Records of a partition leave in the order in which they came, in as few batches as waiting costs nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import FencedError, ProduceError
from stream_core.partitioner import partition_for
from stream_core.primitives import RecordMetadata
from stream_kafka.producing.lanes import KEYS, Delivery, Lane, OpenBatch, TopicLanes

TP = TopicPartition("t", 0)


class _Outgoing:
    """A lane over a real accumulator, of which batches are taken by hand instead of by a sender."""

    def __init__(self, batch_size: int = 1000, linger: float = 0.0) -> None:
        self.accumulator = MessageAccumulator(ClusterMetadata(), batch_size, 0, 60.0)
        self.errors: list[BaseException] = []
        self.outstanding: set[asyncio.Future[Any]] = set()
        self.topic = topic = TopicLanes(
            lambda lanes, partition: Lane(
                TopicPartition("t", partition),
                lanes,
                self.accumulator,
                lambda: BatchBuilder(batch_size, 0),
                linger,
                self.outstanding,
                self._acknowledged,
            )
        )
        topic.resize(2)
        self.lane = topic[0]

    def _acknowledged(self, batch: OpenBatch, error: BaseException | None) -> None:
        if error is not None:
            self.errors.append(error)

    def append(self, value: bytes, timestamp: int | None = None) -> Delivery:
        batch = self.lane.batch
        record = batch.append(batch.count, timestamp, None, value, [])
        if record is None:
            batch = self.lane.open()
            record = batch.append(0, timestamp, None, value, [])
        batch.count += 1
        return Delivery(batch, record)

    @property
    def queued(self) -> list[int]:
        """How many records each batch has that waits to be sent."""
        return [batch.record_count for batch in self.accumulator._batches[TP]]

    def take(self) -> Any:
        """As the sender: the first batch in the queue."""
        return self.accumulator._pop_batch(TP)


async def test_what_one_turn_of_the_loop_sends_is_one_batch() -> None:
    """Without anything in flight a batch leaves at the end of the turn, with all that came in it."""
    out = _Outgoing()
    for value in (b"a", b"b", b"c"):
        out.append(value)
    assert out.queued == []

    await asyncio.sleep(0)

    assert out.queued == [3]


async def test_while_a_batch_is_in_flight_the_next_one_fills() -> None:
    """The acknowledgement of the first seals the second: many turns, one batch."""
    out = _Outgoing()
    out.append(b"first")
    await asyncio.sleep(0)
    first = out.take()
    for value in (b"a", b"b", b"c"):
        out.append(value)
        await asyncio.sleep(0)
    assert out.queued == []

    first.done(0)
    await asyncio.sleep(0)

    assert out.queued == [3]


async def test_a_full_batch_does_not_wait() -> None:
    """A record that does not fit seals the batch at once, behind those before it."""
    out = _Outgoing(batch_size=300)
    for _ in range(6):
        out.append(bytes(100))

    assert out.queued == [2, 2]
    await asyncio.sleep(0)
    assert sum(out.queued) == 6 or out.lane.batch.count == 2


async def test_a_delivery_gives_the_place_of_its_record() -> None:
    """Offset of the batch plus index; the timestamp is the broker's, or the record's own."""
    out = _Outgoing()
    deliveries = [out.append(b"v", timestamp) for timestamp in (10, 20)]
    await asyncio.sleep(0)
    out.take().done(100, -1)

    assert [await delivery for delivery in deliveries] == [
        RecordMetadata("t", 0, 100, 10),
        RecordMetadata("t", 0, 101, 20),
    ]


async def test_a_batch_whose_place_is_not_told() -> None:
    """A broker that had it already (DUPLICATE_SEQUENCE) may not say where: no record of it has an offset."""
    out = _Outgoing()
    deliveries = [out.append(b"v", timestamp) for timestamp in (10, 20)]
    await asyncio.sleep(0)
    out.take().done(-1, -1)

    assert [await delivery for delivery in deliveries] == [
        RecordMetadata("t", 0, -1, 10),
        RecordMetadata("t", 0, -1, 20),
    ]


async def test_awaiting_a_delivery_seals_its_batch() -> None:
    """Nobody waits for linger, and a waiter that is cancelled does not cancel the batch of the others."""
    out = _Outgoing(linger=60.0)
    delivery, other = out.append(b"a"), out.append(b"b")

    async def wait(delivery: Delivery) -> RecordMetadata:
        return await delivery

    waiter, patient = asyncio.create_task(wait(delivery)), asyncio.create_task(wait(other))
    await asyncio.sleep(0)
    assert out.queued == [2]
    waiter.cancel()
    await asyncio.wait((waiter,))
    out.take().done(5, 7)

    assert waiter.cancelled()
    assert await patient == RecordMetadata("t", 0, 6, 7)


async def test_a_failed_batch_fails_its_deliveries_by_name() -> None:
    """The error names topic and partition; being fenced stays what it is."""
    out = _Outgoing()
    first = out.append(b"a")
    await asyncio.sleep(0)
    out.take().failure(RuntimeError("no space"))
    with pytest.raises(ProduceError, match="topic t, partition 0: not acknowledged: no space"):
        await first

    second = out.append(b"b")
    await asyncio.sleep(0)
    out.take().failure(FencedError("over"))
    with pytest.raises(FencedError):
        await second
    await asyncio.sleep(0)
    assert [type(error) for error in out.errors] == [RuntimeError, FencedError]
    assert not out.outstanding


async def test_a_dropped_batch_is_never_sent() -> None:
    """Dropping fails the open batch, frees its bytes and queues nothing."""
    out = _Outgoing()
    delivery = out.append(bytes(100))

    assert out.lane.drop(ProduceError("aborted")) > 100
    assert out.lane.drop(ProduceError("aborted")) == 0
    await asyncio.sleep(0)

    assert out.queued == []
    with pytest.raises(ProduceError, match="aborted"):
        await delivery


async def test_records_without_a_key_change_the_partition_with_each_batch() -> None:
    """Not with each record: that would make many small batches."""
    out = _Outgoing()
    assert out.topic.sticky == 0
    out.append(b"a")
    out.append(b"b")
    assert out.topic.sticky == 0

    await asyncio.sleep(0)

    assert out.topic.sticky == 1


async def test_lanes_follow_the_partitions_of_their_topic() -> None:
    """New partitions get lanes; what one holds that is gone is sent, and records without a key go to those that are left."""
    out = _Outgoing()
    kept, out.lane = out.topic[0], out.topic[1]
    out.topic.resize(4)
    assert sorted(out.topic) == [0, 1, 2, 3]
    out.topic.sticky = 3
    out.append(b"0")
    out.topic.resize(1)
    assert (list(out.topic.values()), out.topic.sticky) == ([kept], 0)
    assert [batch.record_count for batch in out.accumulator._batches[TopicPartition("t", 1)]] == [1]


async def test_a_first_record_that_is_refused_leaves_the_next_one_due() -> None:
    """The batch that was begun for it is not due any more: a record in it would lie there until somebody flushes."""
    out = _Outgoing()
    with pytest.raises(TypeError):
        out.append("no bytes")  # type: ignore[arg-type]
    await asyncio.sleep(0)
    out.append(b"a")
    await asyncio.sleep(0)
    assert out.queued == [1]

    first = out.take()
    with pytest.raises(TypeError):
        out.append("while one is in flight")  # type: ignore[arg-type]
    first.done(0)
    await asyncio.sleep(0)
    out.append(b"b")
    await asyncio.sleep(0)
    assert out.queued == [1]


@given(st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 50)), max_size=80))
def test_a_key_has_the_lane_of_the_partition_that_java_gives_it(steps: list[bytes | int]) -> None:
    """Also behind any change of the number of partitions, with keys that were seen before it."""

    async def play() -> None:
        topic = _Outgoing().topic
        for step in steps:
            if isinstance(step, int):
                topic.resize(step)
            else:
                assert topic.of_key[step] is topic[partition_for(step, len(topic))]

    asyncio.run(play())


async def test_not_more_than_so_many_keys_are_remembered() -> None:
    """The lanes of more keys than that are right as well."""
    topic = _Outgoing().topic
    for number in range(KEYS + 100):
        topic.of_key[b"%d" % number]
    assert len(topic.of_key) == 100
    assert topic.of_key[b"7"] is topic[partition_for(b"7", 2)]
