"""What a :class:`~stream_core.ports.Reader` does."""

from __future__ import annotations

import asyncio

from stream_core.errors import OffsetOutOfRangeError, TransportError
from stream_core.primitives import TP
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import Received, raises

__all__ = ["CHECKS"]


async def reads_from_the_given_offset(harness: BrokerHarness) -> None:
    """Records come in order from the assigned offset; the batch says where it ends and where the partition ends."""
    tp = TP(await harness.topic(), 0)
    await send(await harness.producer(tp.topic), tp, "a", "b", "c", "d")
    reader = await harness.reader({tp: 1})

    received = await harness.receive(reader, lambda got: got.count() == 3)

    assert [record.offset for record in received.records[tp]] == [1, 2, 3]
    assert received.values(tp) == [b"b", b"c", b"d"]
    assert received.next_offset[tp] == 4
    assert received.end_offset[tp] in {4, -1}, f"the end is 4: {received.end_offset}"


async def delivers_records_as_they_were_sent(harness: BrokerHarness) -> None:
    """Key, value, timestamp and headers arrive unchanged; tombstones, empty bytes and repeated headers too."""
    tp = TP(await harness.topic(config={"retention.ms": "-1"}), 0)  # the timestamps are of long ago
    producer = await harness.producer(tp.topic)
    sent = [
        (b"k", b"v", 1_600_000_000_123, [("h", b"1"), ("h", b"2"), ("", b"")]),
        (b"k", None, 1_600_000_000_456, []),
        (None, b"", 1_600_000_000_789, []),
        (b"", b"v", 1_600_000_000_999, []),
    ]
    for key, value, timestamp, headers in sent:
        producer.send(tp.topic, 0, key, value, timestamp=timestamp, headers=headers)
    await producer.flush()

    received = await harness.receive(await harness.reader({tp: 0}), lambda got: got.count() == 4)

    assert [(r.key, r.value, r.timestamp, list(r.headers)) for r in received.records[tp]] == sent


async def delivers_everything_once_in_order(harness: BrokerHarness) -> None:
    """Many records of several partitions come each once, in the order of their partition."""
    topic = await harness.topic(partitions=3)
    producer = await harness.producer(topic)
    for number in range(3000):
        producer.send(topic, number % 3, None, b"%d" % number)
    await producer.flush()
    tps = [TP(topic, partition) for partition in range(3)]

    received = await harness.receive(await harness.reader(dict.fromkeys(tps, 0)), lambda got: got.count() >= 3000)

    for tp in tps:
        assert received.values(tp) == [b"%d" % number for number in range(tp.partition, 3000, 3)]


async def poll_waits_for_the_first_record(harness: BrokerHarness) -> None:
    """A poll on an empty partition returns soon after something arrives, not at its timeout."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    reader = await harness.reader({tp: 0})
    await harness.silence(reader)

    async with asyncio.timeout(harness.deadline):
        poll = asyncio.create_task(reader.poll(harness.deadline * 10))
        await asyncio.sleep(0)
        await send(producer, tp, "a")
        received = Received()
        received.add(await poll)
    if not received.count():
        received = await harness.receive(reader, lambda got: got.count() == 1)

    assert received.values(tp) == [b"a"]


async def poll_returns_nothing_at_its_timeout(harness: BrokerHarness) -> None:
    """Without records, and without partitions, a poll ends at its timeout with nothing."""
    tp = TP(await harness.topic(), 0)
    reader = await harness.reader({tp: 0})

    async with asyncio.timeout(harness.deadline):
        assert not (await harness.silence(reader)).count(), "records came out of an empty partition"
        await reader.assign({})
        assert not await reader.poll(harness.quiet), "a batch came without partitions"


async def assign_replaces_everything(harness: BrokerHarness) -> None:
    """Partitions that a new assignment does not name are not read any more; those that it names begin where it says."""
    topic = await harness.topic(partitions=2)
    old, new = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    await send(producer, old, "a")
    await send(producer, new, "b", "c")
    reader = await harness.reader({old: 0, new: 0})
    await harness.receive(reader, lambda got: got.count() == 3)

    await reader.assign({new: 1})
    await send(producer, old, "unseen")
    received = await harness.receive(reader, lambda got: got.count() >= 1)
    received.add([batch for batch in await reader.poll(harness.quiet) if batch.records])

    assert received.values(new) == [b"c"]
    assert received.values(old) == [], "a partition was read that is not assigned any more"


async def seek_moves_the_position(harness: BrokerHarness) -> None:
    """After a seek, back or ahead, the next records are those at the new offset."""
    tp = TP(await harness.topic(), 0)
    await send(await harness.producer(tp.topic), tp, "a", "b", "c")
    reader = await harness.reader({tp: 0})
    await harness.receive(reader, lambda got: got.count() == 3)

    reader.seek(tp, 1)
    back = await harness.receive(reader, lambda got: got.count() >= 2)
    reader.seek(tp, 0)
    reader.seek(tp, 2)
    ahead = await harness.receive(reader, lambda got: got.count() >= 1)

    assert back.values(tp) == [b"b", b"c"]
    assert ahead.values(tp) == [b"c"]


async def offsets_of_partitions(harness: BrokerHarness) -> None:
    """Start and end offsets are 0 for an empty partition; the end is behind the last record."""
    topic = await harness.topic(partitions=2)
    full, empty = TP(topic, 0), TP(topic, 1)
    await send(await harness.producer(topic), full, "a", "b")
    reader = await harness.reader({})

    assert await reader.start_offsets([full, empty]) == {full: 0, empty: 0}
    assert await reader.end_offsets([full, empty]) == {full: 2, empty: 0}
    assert await reader.end_offsets([full, empty], committed=True) == {full: 2, empty: 0}
    assert await reader.end_offsets([]) == {}


async def offsets_by_time(harness: BrokerHarness) -> None:
    """The first record of a time or later is found, also where times go back; nothing where all are older or there is no record."""
    topic = await harness.topic(partitions=2, config={"retention.ms": "-1"})  # the timestamps are of long ago
    full, empty = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    for second in (1, 3, 2, 5):
        await producer.send(topic, 0, None, b"v", timestamp=second * 1000)
    reader = await harness.reader({})

    found = {
        time: (await reader.offsets_since([full, empty], time))[full] for time in (-1, 0, 1000, 1001, 3000, 3001, 5000)
    }

    assert found == {-1: 0, 0: 0, 1000: 0, 1001: 1, 3000: 1, 3001: 3, 5000: 3}
    assert await reader.offsets_since([full, empty], 5001) == {full: None, empty: None}
    assert (await reader.offsets_since([empty], 0)) == {empty: None}
    assert await reader.offsets_since([], 0) == {}


async def offsets_by_time_count_open_transactions(harness: BrokerHarness) -> None:
    """A record of a transaction that is not decided is found by its time, and so is what lies before it."""
    tp = TP(await harness.topic(config={"retention.ms": "-1"}), 0)
    await (await harness.producer(tp.topic)).send(tp.topic, 0, None, b"v", timestamp=1000)
    producer = await harness.producer(tp.topic, transactional_id=harness.name("tx"))
    await producer.begin()
    await producer.send(tp.topic, 0, None, b"v", timestamp=2000)
    reader = await harness.reader({})

    assert await reader.offsets_since([tp], 1000) == {tp: 0}
    assert await reader.offsets_since([tp], 1500) == {tp: 1}
    await producer.abort()


async def offsets_of_an_unknown_topic(harness: BrokerHarness) -> None:
    """Asking for the offsets of a topic that does not exist ends with an error within the deadline, and creates nothing."""
    name = harness.name("unknown")
    reader = await harness.reader({})

    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransportError, lambda: reader.end_offsets([TP(name, 0)]), "end offsets of an unknown topic")
        await raises(TransportError, lambda: reader.offsets_since([TP(name, 0)], 0), "an offset by time of no topic")

    assert await (await harness.admin()).describe([name]) == {}, "asking for offsets created the topic"


async def out_of_range_is_said_while_others_deliver(harness: BrokerHarness) -> None:
    """An offset that the log does not hold is named by each poll until sought; other partitions go on."""
    topic = await harness.topic(partitions=2)
    good, bad = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    await send(producer, good, "a", "b")
    await send(producer, bad, "x")
    reader = await harness.reader({good: 0, bad: 999})
    received = Received()
    errors: list[OffsetOutOfRangeError] = []

    async with asyncio.timeout(harness.deadline):
        while received.count() < 2 or len(errors) < 2:
            try:
                received.add(await reader.poll(0.2))
            except OffsetOutOfRangeError as error:
                errors.append(error)
        reader.seek(bad, 0)
        after = await harness.receive(reader, lambda got: got.count() >= 1)

    assert received.values(good) == [b"a", b"b"], f"records of the other partition got lost or doubled: {received}"
    assert all((error.tp, error.offset) == (bad, 999) for error in errors), f"the error names something else: {errors}"
    assert after.values(bad) == [b"x"]


async def out_of_range_ends_with_the_assignment(harness: BrokerHarness) -> None:
    """A partition that is not assigned any more is not complained about."""
    topic = await harness.topic(partitions=2)
    good, bad = TP(topic, 0), TP(topic, 1)
    await send(await harness.producer(topic), good, "a")
    reader = await harness.reader({bad: 5})
    async with asyncio.timeout(harness.deadline):
        while True:
            try:
                await reader.poll(0.2)
            except OffsetOutOfRangeError:
                break

    await reader.assign({good: 0})

    assert (await harness.receive(reader, lambda got: got.count() == 1)).values(good) == [b"a"]


CHECKS = (
    reads_from_the_given_offset,
    delivers_records_as_they_were_sent,
    delivers_everything_once_in_order,
    poll_waits_for_the_first_record,
    poll_returns_nothing_at_its_timeout,
    assign_replaces_everything,
    seek_moves_the_position,
    offsets_of_partitions,
    offsets_by_time,
    offsets_by_time_count_open_transactions,
    offsets_of_an_unknown_topic,
    out_of_range_is_said_while_others_deliver,
    out_of_range_ends_with_the_assignment,
)
"""The checks of this suite."""
