"""What a :class:`~stream_core.ports.Producer` without a transactional id does."""

from __future__ import annotations

import asyncio
import time

from stream_core.counters import TopicTraffic
from stream_core.errors import EncodeError, ProduceError, TransportError, UnknownTopicError
from stream_core.partitioner import partition_for
from stream_core.ports import Delivery
from stream_core.primitives import TP, RecordMetadata
from stream_core.testing.contracts.harness import BrokerHarness, many, send
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


async def knows_the_partitions(harness: BrokerHarness) -> None:
    """The partition count of a topic is told; one that does not exist is an error and is not created."""
    topic, unknown = await harness.topic(partitions=3), harness.name("unknown")
    producer = await harness.producer()

    assert await producer.partitions(topic) == 3
    async with asyncio.timeout(harness.deadline * 2):
        await raises(UnknownTopicError, lambda: producer.partitions(unknown), "partitions of an unknown topic")
    assert await (await harness.admin()).describe([unknown]) == {}, "asking for its partitions created the topic"


async def follows_the_partitions_of_a_topic(harness: BrokerHarness) -> None:
    """Partitions that are added are sent to, without being asked for again; what was not asked for has none."""
    topic = await harness.topic(partitions=1)
    producer = await harness.producer(topic)
    assert (producer.count(topic), producer.count(harness.name("unknown"))) == (1, 0)
    await harness.upkeep.add_partitions(topic, 3)
    async with asyncio.timeout(harness.deadline):
        while producer.count(topic) < 3:  # noqa: ASYNC110 - the client tells nobody that it has heard of them
            await asyncio.sleep(0.05)
    assert (await producer.send(topic, 2, None, b"named")).partition == 2
    sent = [producer.send(topic, None, b"key %d" % number, b"chosen") for number in range(30)]
    assert {(await delivery).partition for delivery in sent} == {0, 1, 2}


async def tells_what_is_acknowledged(harness: BrokerHarness) -> None:
    """What ``send`` returned says whether that is decided, and how; a record that a stop gave up will never be."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    first = producer.send(*tp, None, b"a")
    assert first.acknowledged() is None
    await first
    assert first.acknowledged() is True
    second = producer.send(*tp, None, b"b")
    await producer.stop()
    assert second.acknowledged() is False
    await raises(ProduceError, lambda: _place(second), "awaiting a record that was given up")


async def _place(delivery: Delivery) -> RecordMetadata:
    return await delivery


async def acknowledges_with_the_place_of_the_record(harness: BrokerHarness) -> None:
    """Awaiting what ``send`` returned gives topic, partition, offset and timestamp, soon and as often as one likes."""
    topic = await harness.topic(partitions=2)
    producer = await harness.producer(topic)

    async with asyncio.timeout(harness.deadline):
        first = producer.send(topic, 1, b"k", b"a", timestamp=1_600_000_000_000)
        second = producer.send(topic, 1, b"k", b"b", timestamp=1_600_000_000_001)
        places = [await second, await first, await second]

    assert [(place.topic, place.partition, place.offset) for place in places] == [(topic, 1, n) for n in (1, 0, 1)]
    assert all(isinstance(place, RecordMetadata) for place in places)
    assert places[1].timestamp in {1_600_000_000_000, -1}


async def keeps_the_order_of_a_partition(harness: BrokerHarness) -> None:
    """Records of concurrent senders are in the log in the order in which ``send`` took them."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    taken: list[bytes] = []

    async def sender(name: int) -> None:
        for number in range(200):
            value = b"%d:%d:" % (name, number) + b"x" * (number % 7 * 100)
            producer.send(*tp, None, value)
            taken.append(value)
            if number % (name + 2) == 0:
                await producer.room()
                await asyncio.sleep(0)

    await asyncio.gather(*(sender(name) for name in range(5)))
    await producer.flush()
    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() >= len(taken))

    assert received.values(tp) == taken


async def chooses_the_partition_by_key(harness: BrokerHarness) -> None:
    """Without a partition the key decides, as in the Java client; without both any partition will do."""
    topic = await harness.topic(partitions=5)
    producer = await harness.producer(topic)
    keys = [b"", b"a", b"key", "größe".encode(), bytes(range(32)), b"a"]

    places = [await producer.send(topic, None, key, b"v") for key in keys]
    anywhere = await producer.send(topic, None, None, b"v")

    assert [place.partition for place in places] == [partition_for(key, 5) for key in keys]
    assert 0 <= anywhere.partition < 5


async def flush_waits_for_all(harness: BrokerHarness) -> None:
    """After a flush everything sent before is in the log, though no acknowledgement was awaited."""
    topic = await harness.topic(partitions=3)
    producer = await harness.producer(topic)
    for number in range(300):
        producer.send(topic, number % 3, None, b"v")
    await producer.flush()

    ends = await (await harness.reader({})).end_offsets([TP(topic, partition) for partition in range(3)])

    assert list(ends.values()) == [100, 100, 100]


async def backlog_is_what_is_not_acknowledged(harness: BrokerHarness) -> None:
    """The backlog grows with each send and is zero after a flush; there is room then."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    assert producer.backlog == 0

    producer.send(*tp, b"key", b"v" * 1000)
    one = producer.backlog
    producer.send(*tp, b"key", b"v" * 1000)

    assert one >= 1003, f"a record of 1003 bytes was accepted, the backlog is {one}"
    assert producer.backlog > one
    await producer.flush()
    assert producer.backlog == 0
    assert not producer.crowded
    async with asyncio.timeout(harness.deadline):
        await producer.room()


async def counts_what_is_acknowledged(harness: BrokerHarness) -> None:
    """Batches are counted by their topic with all their records; of what is refused only that it was."""
    topic, sent, closed = await harness.topic(), TopicTraffic(), False
    producer = await harness.producer(topic, fence=lambda: closed, sent=sent)
    for number in range(100):
        producer.send(topic, 0, b"key", b"value %d" % number)
    assert sent[topic].records == 0
    await producer.flush()
    traffic = sent[topic]
    assert (traffic.records, traffic.failed) == (100, 0)
    assert 1 <= traffic.batches <= 100
    assert traffic.bytes >= 100 * len(b"keyvalue 0")

    closed = True
    await raises(TransportError, lambda: _place(producer.send(topic, 0, None, b"refused")), "sending behind the fence")
    assert (traffic.records, traffic.failed) == (100, 1)


async def stamps_records(harness: BrokerHarness) -> None:
    """A record without a timestamp gets the time of sending."""
    tp = TP(await harness.topic(), 0)
    before = time.time() * 1000
    await send(await harness.producer(tp.topic), tp, "a")

    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() == 1)

    assert abs(received.records[tp][0].timestamp - before) < 60_000


async def refuses_what_is_too_large(harness: BrokerHarness) -> None:
    """A record larger than the largest request is refused by ``send``, and the producer goes on."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)

    try:
        producer.send(*tp, None, bytes(harness.max_request_size + 1))
    except EncodeError:
        pass
    else:
        raise AssertionError(f"a value of more than {harness.max_request_size} bytes was accepted")

    await send(producer, tp, "small")
    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 1}


async def sends_many(harness: BrokerHarness) -> None:
    """Many records are taken in one call, behind those that were sent before and before those behind them; the last one has its place."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    records = [(b"key %d" % number, b"v" * 1000 if number % 5 else None) for number in range(3000)]
    headers = [("name", b"header")]

    producer.send(*tp, b"before", b"")
    last, taken = producer.send_many(*tp, records, headers)
    producer.send(*tp, b"behind", b"")
    await producer.flush()
    assert last is not None
    place = await last

    assert (taken, place.topic, place.partition, place.offset) == (len(records), *tp, len(records))
    assert producer.backlog == 0
    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() == len(records) + 2)
    found = received.records[tp]
    assert [(record.key, record.value) for record in found] == [(b"before", b""), *records, (b"behind", b"")]
    assert {tuple(record.headers) for record in found[1:-1]} == {tuple(headers)}


async def sends_many_until_it_is_crowded(harness: BrokerHarness) -> None:
    """A producer that is crowded takes no more of them; with room again it takes the rest."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    value = bytes(harness.max_request_size // 2)
    records = [(b"%d" % number, value) for number in range(200)]

    _, taken = producer.send_many(*tp, records)
    assert 0 < taken < len(records)
    assert producer.crowded
    async with asyncio.timeout(harness.deadline * 2):
        while records := records[taken:]:
            await producer.room()
            _, taken = producer.send_many(*tp, records)
        await producer.flush()

    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 200}


async def sends_many_up_to_one_that_is_too_large(harness: BrokerHarness) -> None:
    """It ends before a record that is larger than the largest request, which ``send`` refuses; those before it are sent."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    too_large = bytes(harness.max_request_size + 1)

    assert producer.send_many(*tp, []) == (None, 0)
    assert producer.send_many(tp.topic, 7, [(b"a", b"")]) == (None, 0), "there is no partition 7"
    last, taken = producer.send_many(*tp, [(b"a", b""), (b"b", b""), (b"c", too_large), (b"d", b"")])
    assert (taken, producer.crowded) == (2, False)
    assert producer.send_many(*tp, [(b"c", too_large), (b"d", b"")]) == (None, 0)
    assert last is not None
    assert (await last).offset == 1
    last, taken = producer.send_many(*tp, [(b"d", b"")])
    assert last is not None
    assert (taken, (await last).offset) == (1, 2)
    await producer.flush()
    assert producer.backlog == 0


async def a_record_that_the_broker_refuses_breaks_it(harness: BrokerHarness) -> None:
    """A refused record fails its acknowledgement and every flush since; nothing can be sent any more; ``stop`` ends."""
    tp = TP(await harness.topic(config={"max.message.bytes": "2000"}), 0)
    producer = await harness.producer(tp.topic)

    refused = producer.send(*tp, None, bytes(range(256)) * 20)
    async with asyncio.timeout(harness.deadline * 2):
        await raises(ProduceError, lambda: refused, "acknowledgement of a record that is too large for its topic")
        await raises(ProduceError, lambda: producer.flush(), "flush after a record was refused")

        await raises(ProduceError, lambda: producer.send(*tp, None, b"small"), "send after a record was refused")
        await raises(ProduceError, lambda: many(producer, tp), "send_many after a record was refused")
    await harness.stop(producer)

    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 0}


async def the_fence_refuses_requests(harness: BrokerHarness) -> None:
    """While the fence says no, nothing that is sent arrives, and its acknowledgement fails."""
    tp = TP(await harness.topic(), 0)
    fenced = False
    producer = await harness.producer(tp.topic, fence=lambda: fenced)
    await send(producer, tp, "a")
    fenced = True

    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransportError, lambda: producer.send(*tp, None, b"b"), "send while the fence refuses")
        await raises(TransportError, lambda: producer.flush(), "flush while the fence refuses")
    await harness.stop(producer)

    assert await (await harness.reader({})).end_offsets([tp]) == {tp: 1}


async def stops_at_once(harness: BrokerHarness) -> None:
    """``stop`` ends in time with records on their way, can be called twice, and ``check`` has nothing to say before."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    producer.check()
    for _ in range(1000):
        producer.send(*tp, None, b"v" * 100)

    await harness.stop(producer)
    await harness.stop(producer)


CHECKS = (
    knows_the_partitions,
    follows_the_partitions_of_a_topic,
    tells_what_is_acknowledged,
    acknowledges_with_the_place_of_the_record,
    keeps_the_order_of_a_partition,
    chooses_the_partition_by_key,
    flush_waits_for_all,
    backlog_is_what_is_not_acknowledged,
    counts_what_is_acknowledged,
    stamps_records,
    refuses_what_is_too_large,
    sends_many,
    sends_many_until_it_is_crowded,
    sends_many_up_to_one_that_is_too_large,
    a_record_that_the_broker_refuses_breaks_it,
    the_fence_refuses_requests,
    stops_at_once,
)
"""The checks of this suite."""
