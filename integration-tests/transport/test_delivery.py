"""Records arrive in order and whole, and what fails is undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from stream_core.errors import FencedError, ProduceError
from stream_core.primitives import TP, GroupMetadata, Offset
from stream_core.testing.contracts import BrokerHarness
from stream_kafka import KafkaSettings, KafkaTransport

from .upkeep import KafkaUpkeep


async def test_order_holds_with_tiny_batches(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """5,000 records of ten concurrent tasks, in batches of ten: the log has them in the order of ``send``."""
    tp = TP(await harness.topic(), 0)
    producer = KafkaTransport(msgspec.structs.replace(settings, max_batch_size=700)).producer()
    await producer.start()
    await producer.partitions(tp.topic)
    sent: list[bytes] = []

    async def task(name: int) -> None:
        for number in range(500):
            value = b"%d-%d" % (name, number) + bytes(50)
            producer.send(*tp, None, value)
            sent.append(value)
            if number % (name + 1) == 0:
                await asyncio.sleep(0)

    await asyncio.gather(*(task(name) for name in range(10)))
    await producer.flush()
    await producer.stop()

    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() >= len(sent))
    assert received.values(tp) == sent


async def test_an_oversized_record_undoes_its_transaction(harness: BrokerHarness) -> None:
    """Neither the record's neighbours nor the offsets are committed, and the producer takes nothing more."""
    tp = TP(await harness.topic(config={"max.message.bytes": "2000"}), 0)
    member = await harness.alone(harness.name("group"), tp.topic)
    producer = await harness.producer(tp.topic, transactional_id=harness.name("transaction"))
    await producer.begin()
    producer.send(*tp, None, b"small")
    await producer.flush()
    producer.send(*tp, None, bytes(range(256)) * 20)

    with pytest.raises(ProduceError, match=f"topic {tp.topic}, partition 0"):
        await producer.commit({tp: Offset(3)}, member.group)
    with pytest.raises(ProduceError):
        producer.send(*tp, None, b"more")
    await producer.abort()

    assert await member.consumer.committed([tp]) == {tp: None}
    reader = await harness.reader({tp: 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.next_offset.get(tp) == 2)
    assert received.count() == 0


async def test_batches_stay_below_the_limit_of_their_topic(harness: BrokerHarness) -> None:
    """Many small records do not make a batch that the topic refuses, though the batch size of the settings would."""
    tp = TP(await harness.topic(config={"max.message.bytes": "2000"}), 0)
    producer = await harness.producer(tp.topic)
    for _ in range(500):
        producer.send(*tp, None, bytes(100))
    await producer.flush()

    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 500}


async def test_a_refused_commit_is_aborted_at_the_broker(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """A zombie's offsets are refused, and its abort frees the partition for readers before any timeout does.

    The transaction timeout is far longer than the harness waits for anything.
    """
    tp = TP(await harness.topic(), 0)
    member = await harness.alone(harness.name("group"), tp.topic)
    stale = GroupMetadata(member.group.group, member.group.generation - 1, member.group.member)
    patient = KafkaTransport(msgspec.structs.replace(settings, transaction_timeout=300.0))
    zombie = patient.producer(transactional_id=harness.name("transaction"))
    await zombie.start()
    await zombie.partitions(tp.topic)
    await zombie.begin()
    zombie.send(*tp, None, b"of a zombie")

    with pytest.raises(FencedError, match="generation"):
        await zombie.commit({tp: Offset(1)}, stale)
    await zombie.abort()
    reader = await harness.reader({tp: 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.next_offset.get(tp) == 2)
    await zombie.stop()

    assert received.count() == 0


async def test_read_committed_across_many_fetches(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """Small fetches that cut transactions anywhere deliver exactly the committed records, up to the very end."""
    tp = TP(await harness.topic(), 0)
    producers = [await harness.producer(tp.topic, transactional_id=harness.name("transaction")) for _ in range(2)]
    committed: list[bytes] = []
    for turn in range(20):
        for producer in producers:
            await producer.begin()
        for number in range(5):
            for index, producer in enumerate(producers):
                await producer.send(*tp, None, b"%d-%d-%d" % (turn, index, number) + bytes(200))
        await producers[turn % 2].abort()
        await producers[1 - turn % 2].commit({}, None)
        committed += [b"%d-%d-%d" % (turn, 1 - turn % 2, number) + bytes(200) for number in range(5)]
    reader = KafkaTransport(msgspec.structs.replace(settings, max_partition_fetch_bytes=700)).reader(
        read_committed=True
    )
    await reader.start()
    await reader.assign({tp: 0})
    end = (await reader.end_offsets([tp]))[tp]

    received = await harness.receive(reader, lambda got: got.next_offset.get(tp) == end)
    await reader.stop()

    assert received.values(tp) == committed


async def test_asking_never_creates_a_topic(harness: BrokerHarness) -> None:
    """Neither subscribing, nor reading, nor asking for partitions creates a topic, on a broker that would create it."""
    missing, present = harness.name("missing"), await harness.topic()
    member = await harness.member(harness.name("group"), present, missing)
    await harness.drive([member], lambda: bool(member.partitions), "the topic that exists is assigned")
    for _ in range(3):
        await member.poll(0.3)

    assert member.partitions == {TP(present, 0)}
    assert await (await harness.admin()).describe([missing]) == {}


@pytest.fixture
async def held(settings: KafkaSettings) -> AsyncIterator[BrokerHarness]:
    """As ``harness``, with fetches that the broker holds for longer than the harness waits for anything."""
    patient = msgspec.structs.replace(settings, fetch_max_wait=600.0, request_timeout=700.0)
    async with BrokerHarness(KafkaTransport(patient), upkeep=KafkaUpkeep(settings.servers[0])) as made:
        yield made


async def test_an_assignment_does_not_wait_behind_what_was_read_to_its_end(held: BrokerHarness) -> None:
    """Nothing more is fetched of a partition behind its end: the broker would hold that fetch, and the next ones behind it."""
    topic = await held.topic(partitions=2)
    first, second = TP(topic, 0), TP(topic, 1)
    producer = await held.producer(topic)
    for tp in first, second:
        producer.send(*tp, None, b"%d" % tp.partition)
    await producer.flush()
    reader = await held.reader({})

    await reader.assign({first: 0}, {first: 1})
    assert (await held.receive(reader, lambda got: got.count() == 1)).values(first) == [b"0"]
    assert not await reader.poll(held.quiet)
    await reader.assign({second: 0}, {second: 1})
    assert (await held.receive(reader, lambda got: got.count() == 1)).values(second) == [b"1"]
    reader.seek(second, 0)
    assert (await held.receive(reader, lambda got: got.count() == 1)).values(second) == [b"1"]


async def test_a_partition_that_is_resumed_does_not_wait_behind_the_others(held: BrokerHarness) -> None:
    """While partitions are paused the broker does not hold fetches of others: a table is recovered partition by partition."""
    topic = await held.topic(partitions=2)
    first, second = TP(topic, 0), TP(topic, 1)
    producer = await held.producer(topic)
    producer.send(*second, None, b"waits")
    await producer.flush()
    member = await held.alone(held.name("group"), topic)
    member.consumer.pause([first, second])
    for tp in first, second:
        member.consumer.seek(tp, 0)

    member.consumer.resume([first])
    assert not await member.consumer.poll(held.quiet)
    member.consumer.resume([second])
    assert (await held.receive(member.consumer, lambda got: got.count() == 1)).values(second) == [b"waits"]
