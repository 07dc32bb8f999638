"""What the clients see of a topic's configuration, and of topics that grow or are deleted and created again."""

from __future__ import annotations

import asyncio
import time
from functools import partial

from stream_core.errors import OffsetOutOfRangeError, ProduceError, TransportError
from stream_core.primitives import TP, Headers, Offset, TopicSpec
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


async def refuses_a_configuration_that_does_not_exist(harness: BrokerHarness) -> None:
    """An unknown name or a value that makes no sense is an error, and the topic is not created."""
    admin, name = await harness.admin(), harness.name("topic")

    for config in ({"retention": "1000"}, {"cleanup.policy": "compost"}, {"retention.ms": "soon"}):
        create = partial(admin.create, [TopicSpec(name, 1, config=config)])
        await raises(TransportError, create, f"creation of a topic with {config}")

    assert await admin.describe([name]) == {}


async def keeps_the_timestamps_of_producers(harness: BrokerHarness) -> None:
    """By default a record has the time that its producer gave it (CreateTime), however old and in whatever order."""
    tp = TP(await harness.topic(config={"retention.ms": "-1"}), 0)
    producer = await harness.producer(tp.topic)
    given = [1_600_000_000_000, 5, 1_600_000_000_001]

    places = [await producer.send(*tp, None, b"v", timestamp=timestamp) for timestamp in given]
    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() == 3)

    assert [record.timestamp for record in received.records[tp]] == given
    assert [place.timestamp for place in places] == given


async def stamps_records_itself_when_told(harness: BrokerHarness) -> None:
    """With ``message.timestamp.type=LogAppendTime`` the broker's time replaces what the producer gave."""
    tp = TP(await harness.topic(config={"message.timestamp.type": "LogAppendTime"}), 0)
    producer = await harness.producer(tp.topic)
    before = time.time() * 1000

    place = await producer.send(*tp, None, b"v", timestamp=5)
    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() == 1)

    (record,) = received.records[tp]
    assert abs(record.timestamp - before) < 60_000
    assert place.timestamp == record.timestamp


async def refuses_records_of_the_far_future(harness: BrokerHarness) -> None:
    """A timestamp more than ``message.timestamp.after.max.ms`` ahead is refused; retention would never end it.

    An hour is the default since Kafka 4.0 (KIP-1030).
    """
    tp = TP(await harness.topic(config={"message.timestamp.after.max.ms": "3600000"}), 0)
    tomorrow = int(time.time() * 1000) + 86_400_000

    await _refused(harness, tp, "a record of tomorrow", timestamp=tomorrow)


async def needs_keys_for_compaction(harness: BrokerHarness) -> None:
    """A record without a key is refused by a compacted topic."""
    tp = TP(await harness.topic(config={"cleanup.policy": "compact"}), 0)

    await _refused(harness, tp, "a record without key")


async def counts_all_bytes_of_a_record(harness: BrokerHarness) -> None:
    """``max.message.bytes`` bounds the whole batch: a value of that size is too large, and headers count."""
    tp = TP(await harness.topic(config={"max.message.bytes": "2000"}), 0)
    noise = (bytes(range(256)) * 8)[:2000]

    await _refused(harness, tp, "a value of the largest size", value=noise)
    await _refused(harness, tp, "a header of the largest size", headers=[("h", noise)])

    await send(await harness.producer(tp.topic), tp, "x" * 1800)


async def _refused(
    harness: BrokerHarness,
    tp: TP,
    what: str,
    *,
    value: bytes = b"v",
    timestamp: int | None = None,
    headers: Headers = (),
) -> None:
    """Send a record that the broker must not take, and look that it did not."""
    producer = await harness.producer(tp.topic)
    async with asyncio.timeout(harness.deadline * 2):
        acknowledgement = producer.send(*tp, None, value, timestamp=timestamp, headers=headers)
        await raises(ProduceError, lambda: acknowledgement, f"acknowledgement of {what}")
    await harness.stop(producer)
    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 0}


async def a_recreated_topic_is_another_one(harness: BrokerHarness) -> None:
    """It has another id, none of the records and none of the committed offsets; old positions are out of range."""
    admin, topic, group = await harness.admin(), await harness.topic(), harness.name("group")
    tp = TP(topic, 0)
    await send(await harness.producer(topic), tp, "a", "b", "c")
    member = await harness.alone(group, topic)
    await member.consumer.commit({tp: Offset(2)}, member.group)
    await harness.stop(member.consumer)
    before = (await admin.describe([topic]))[topic].id

    await admin.delete([topic])
    await admin.create([TopicSpec(topic, 1)])

    after = (await admin.describe([topic]))[topic].id
    assert before
    assert after
    assert before != after
    reader = await harness.reader({tp: 2})
    assert await reader.end_offsets([tp]) == {tp: 0}
    async with asyncio.timeout(harness.deadline):
        await raises(OffsetOutOfRangeError, lambda: harness.receive(reader, lambda got: False), "a read behind the end")
    await send(await harness.producer(topic), tp, "new")
    reader.seek(tp, 0)
    assert (await harness.receive(reader, lambda got: got.count() == 1)).values(tp) == [b"new"]
    fresh = await harness.alone(group, topic)
    assert await fresh.consumer.committed([tp]) == {tp: None}


async def a_topic_grows(harness: BrokerHarness) -> None:
    """With more partitions it keeps its records; producers are told when they ask, and the group gets the new one."""
    topic = await harness.topic(partitions=1)
    old, new = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    await send(producer, old, "a")
    member = await harness.alone(harness.name("group"), topic)
    generation = member.group.generation

    await harness.upkeep.add_partitions(topic, 2)
    await harness.drive([member], lambda: member.partitions == {old, new}, "the new partition is assigned")
    async with asyncio.timeout(harness.deadline):
        while await producer.partitions(topic) != 2:  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0.05)
    await send(producer, new, "b")
    member.read({old: 0, new: 0})
    received = await harness.receive(member.consumer, lambda got: got.count() == 2)

    assert member.group.generation > generation
    assert (received.values(old), received.values(new)) == ([b"a"], [b"b"])
    assert (await (await harness.admin()).describe([topic]))[topic].partitions == 2


CHECKS = (
    refuses_a_configuration_that_does_not_exist,
    keeps_the_timestamps_of_producers,
    stamps_records_itself_when_told,
    refuses_records_of_the_far_future,
    needs_keys_for_compaction,
    counts_all_bytes_of_a_record,
    a_recreated_topic_is_another_one,
    a_topic_grows,
)
"""The checks of this suite; ``a_topic_grows`` needs :attr:`BrokerHarness.upkeep`."""
