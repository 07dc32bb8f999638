"""What compaction and retention leave of a topic, and how clients get over it. All checks need :attr:`BrokerHarness.upkeep`.

A broker cleans when it likes, and not the segment that it writes to. So each check asks for segments that end with
almost every record, and goes on sending until it sees what was to happen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from stream_core.errors import OffsetOutOfRangeError
from stream_core.ports import Producer, Reader
from stream_core.primitives import TP, RawRecord
from stream_core.testing.contracts.harness import BrokerHarness
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]

COMPACTED = {
    "cleanup.policy": "compact",
    "min.cleanable.dirty.ratio": "0.001",
    "segment.ms": "50",
    "delete.retention.ms": "0",
}

_FILLER = b"filler"


async def _records(reader: Reader, tp: TP, end: float) -> list[RawRecord]:
    """Read all records of a partition, from its start to its end, before the loop's time ``end``.

    A broker cleans when it likes: when the start has moved on before the first read, the reading begins again there.
    """
    (position,), (behind,) = (await reader.start_offsets([tp])).values(), (await reader.end_offsets([tp])).values()
    reader.seek(tp, position)
    found: list[RawRecord] = []
    while position < behind:
        assert asyncio.get_running_loop().time() < end, f"{tp} was not read in time from {position} to {behind}"
        try:
            batches = await reader.poll(0.2)
        except OffsetOutOfRangeError:
            (position,) = (await reader.start_offsets([tp])).values()
            reader.seek(tp, position)
            found.clear()
            continue
        for batch in batches:
            found += batch.records
            position = batch.next_offset
    return found


async def _cleaned(
    harness: BrokerHarness, tp: TP, producer: Producer, done: Callable[[Sequence[RawRecord]], bool]
) -> list[RawRecord]:
    """Send on and let the broker clean until the partition is as it should be; its records, without the filling ones."""
    reader = await harness.reader({tp: 0})
    loop = asyncio.get_running_loop()
    end = loop.time() + harness.deadline
    while True:
        await producer.send(*tp, _FILLER, b"")
        await harness.upkeep.clean(tp.topic)
        found = [record for record in await _records(reader, tp, end) if record.key != _FILLER]
        if done(found):
            return found
        assert loop.time() < end, f"not cleaned within {harness.deadline:g} s, there is: {found}"


def _values(records: Sequence[RawRecord]) -> list[tuple[int, bytes | None, bytes | None]]:
    return [(record.offset, record.key, record.value) for record in records]


async def compaction_keeps_the_last_of_each_key(harness: BrokerHarness) -> None:
    """What stays has the offset that it had; the start does not move, and a read from a gap goes on behind it."""
    tp = TP(await harness.topic(config=COMPACTED), 0)
    producer = await harness.producer(tp.topic)
    for key, value in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"4"), (b"a", b"5")):
        await producer.send(*tp, key, value)

    records = await _cleaned(harness, tp, producer, lambda found: len(found) <= 3)

    assert _values(records) == [(1, b"b", b"2"), (3, b"c", b"4"), (4, b"a", b"5")]
    reader = await harness.reader({tp: 2})
    received = await harness.receive(reader, lambda got: got.count() >= 2)
    assert _values(received.records[tp])[:2] == [(3, b"c", b"4"), (4, b"a", b"5")]
    assert await reader.start_offsets([tp]) == {tp: 0}


async def tombstones_go_in_the_end(harness: BrokerHarness) -> None:
    """A key that was deleted loses its values first, then its tombstone, once that is past ``delete.retention.ms``."""
    tp = TP(await harness.topic(config=COMPACTED), 0)
    producer = await harness.producer(tp.topic)
    for key, value in ((b"gone", b"1"), (b"kept", b"2"), (b"gone", None)):
        await producer.send(*tp, key, value)

    stages: list[list[tuple[int, bytes | None, bytes | None]]] = []

    def all_gone(found: Sequence[RawRecord]) -> bool:
        stages.append(_values(found))
        return len(found) == 1

    records = await _cleaned(harness, tp, producer, all_gone)

    assert _values(records) == [(1, b"kept", b"2")]
    assert all((2, b"gone", None) in stage for stage in stages[:-1]), f"the tombstone went before the value: {stages}"


async def compaction_passes_over_aborted_records(harness: BrokerHarness) -> None:
    """The value of an aborted transaction does not push out the committed one before it."""
    tp = TP(await harness.topic(config=COMPACTED), 0)
    producer = await harness.producer(tp.topic)
    for value in (b"old", b"good"):
        await producer.send(*tp, b"key", value)
    transactional = await harness.producer(tp.topic, transactional_id=harness.name("transaction"))
    await transactional.begin()
    await transactional.send(*tp, b"key", b"aborted")
    await transactional.abort()

    records = await _cleaned(harness, tp, producer, lambda found: len(found) == 1)

    assert _values(records) == [(1, b"key", b"good")]


async def compaction_waits_for_its_lag(harness: BrokerHarness) -> None:
    """Records younger than ``min.compaction.lag.ms`` are left alone, while older ones are compacted."""
    hour, now = 3_600_000, int(time.time() * 1000)
    tp = TP(await harness.topic(config={**COMPACTED, "min.compaction.lag.ms": str(hour)}), 0)
    producer = await harness.producer(tp.topic)
    for value, timestamp in ((b"old", now - 3 * hour), (b"kept", now - 2 * hour), (b"young", now), (b"last", now)):
        await producer.send(*tp, b"key", value, timestamp=timestamp)

    records = await _cleaned(harness, tp, producer, lambda found: len(found) < 4)

    assert [record.value for record in records] == [b"kept", b"young", b"last"]


async def retention_by_time_moves_the_start(harness: BrokerHarness) -> None:
    """Records older than ``retention.ms`` go from the head; a position before the new start is out of range."""
    hour, now = 3_600_000, int(time.time() * 1000)
    tp = TP(await harness.topic(config={"retention.ms": str(hour), "segment.ms": "1000"}), 0)
    producer = await harness.producer(tp.topic)
    for value in (b"1", b"2", b"3"):
        await producer.send(*tp, None, value, timestamp=now - 2 * hour)

    await _cleaned(harness, tp, producer, lambda found: not found)

    reader = await harness.reader({tp: 1})
    assert await reader.start_offsets([tp]) == {tp: 3}
    async with asyncio.timeout(harness.deadline):
        error = await raises(OffsetOutOfRangeError, lambda: harness.receive(reader, lambda got: False), "a lost offset")
        assert (error.tp, error.offset) == (tp, 1)
        reader.seek(tp, 3)
        received = await harness.receive(reader, lambda got: got.count() >= 1)
    assert received.records[tp][0].offset == 3


async def retention_by_size_moves_the_start(harness: BrokerHarness) -> None:
    """The oldest records go as long as ``retention.bytes`` stay; what stays has no gap and ends where it ended."""
    now = int(time.time() * 1000)
    tp = TP(await harness.topic(config={"retention.bytes": "3000", "segment.ms": "50"}), 0)
    producer = await harness.producer(tp.topic)
    sent = [bytes([number]) * 1000 for number in range(10)]
    for number, value in enumerate(sent):
        await producer.send(*tp, None, value, timestamp=now - 100_000 + number * 1000)

    records = await _cleaned(harness, tp, producer, lambda found: len(found) <= 3)

    offsets = [record.offset for record in records]
    assert offsets == list(range(10 - len(offsets), 10)), f"the oldest go first: {offsets}"
    assert [record.value for record in records] == sent[10 - len(offsets) :]
    reader = await harness.reader({})
    if offsets:
        (start,) = (await reader.start_offsets([tp])).values()
        assert start >= offsets[0], f"records were read from {offsets[0]} on, before the start, which is {start}"


CHECKS = (
    compaction_keeps_the_last_of_each_key,
    tombstones_go_in_the_end,
    compaction_passes_over_aborted_records,
    compaction_waits_for_its_lag,
    retention_by_time_moves_the_start,
    retention_by_size_moves_the_start,
)
"""The checks of this suite."""
