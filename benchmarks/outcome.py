"""What came out of a sample: whether it is right, and when the broker had it.

A program that sends counts its events long before the last of them is at the broker. So its speed is taken from the times at which
the broker appended its records (``message.timestamp.type=LogAppendTime``), the same for every program.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.feed import BEGINNING, PARTITIONS, RATE, Contents
from benchmarks.launch import SampleError
from benchmarks.rows import Sample
from stream_core.primitives import TP, RawRecord
from stream_kafka import KafkaTransport
from stream_tables.changelog import RESERVED

__all__ = ["APPEND_TIME", "Appended", "appended", "check_count", "check_seen", "check_sent"]

APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
"""Configuration of the topics that samples send to."""

FAMILY = "__column_family__"
"""The header in which Quix Streams says what a record of a changelog is of: counts, or its own notes."""

SHARE = 0.01
"""How far the share of what passes may be off in a part of the topic."""


class Transfer(msgspec.Struct, forbid_unknown_fields=True):
    """A record that was sent on; one with other fields, or fewer, is not what was read."""

    account: str
    amount: float
    ts: float


@dataclass(frozen=True)
class Appended:
    """What the broker has of a program.

    Attributes:
        records: all.
        after: those appended after the clock was started.
        last: when the last one was appended, in seconds of the wall clock.
    """

    records: int
    after: int
    last: float


async def _records(url: str, topic: str) -> AsyncIterator[RawRecord]:
    """All committed records of a topic that nobody writes to any more."""
    reader = KafkaTransport(url).reader(read_committed=True)
    await reader.start()
    try:
        tps = [TP(topic, number) for number in range(PARTITIONS)]
        positions, ends = dict.fromkeys(tps, 0), await reader.end_offsets(tps)
        await reader.assign(positions)
        while any(positions[tp] < end for tp, end in ends.items()):
            for batch in await reader.poll(1.0):
                positions[batch.tp] = batch.next_offset
                for record in batch.records:
                    yield record
    finally:
        await reader.stop()


async def appended(url: str, topic: str, since: float) -> Appended:
    """What the broker has in ``topic``, appended at its own times.

    Args:
        url: URL of the broker.
        topic: what the program sent to.
        since: when its clock was started, in seconds of the wall clock.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=url.partition("://")[2], enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(since * 1000)))
        after = sum(end - found[partition].offset for partition, end in ends.items() if found[partition] is not None)
        last = 0.0
        for partition, end in ends.items():
            if end:
                consumer.seek(partition, end - 1)
                last = max(last, (await consumer.getone(partition)).timestamp / 1000)
    finally:
        await consumer.stop()
    return Appended(sum(ends.values()), after, last)


async def check_sent(url: str, topic: str, contents: Contents, program: str) -> None:
    """Compare all that a program sent on with what it read.

    Of each partition that it read, it must have sent on what passes up to some record: each once, and unchanged.

    Raises:
        SampleError: something is missing, doubled or changed.
    """
    numbers: set[int] = set()
    decode = msgspec.json.Decoder(Transfer).decode
    async for record in _records(url, topic):
        try:
            transfer = decode(record.value or b"")
        except msgspec.MsgspecError as error:
            raise SampleError(f"{program} sent {record.value!r}, which is no transfer: {error}") from error
        number = round((transfer.ts - BEGINNING) * RATE)
        if number in numbers:
            raise SampleError(f"{program} sent transfer {number} twice")
        if record.key != transfer.account.encode() or transfer.amount != contents.amounts[number]:
            raise SampleError(f"{program} sent {record.key!r}: {record.value!r}, which is not transfer {number}")
        numbers.add(number)
    found = 0
    for partition, passing in enumerate(contents.passing):
        sent = sum(number in numbers for number in passing)
        missing = next((number for number in passing[:sent] if number not in numbers), None)
        if missing is not None:
            raise SampleError(f"{program} left out transfer {missing} of partition {partition}, and sent later ones")
        found += sent
    if found != len(numbers):
        raise SampleError(f"{program} sent {len(numbers) - found} transfers that do not pass the filter")


async def check_count(url: str, changelog: str, seen: int, records: int, sample: Sample) -> None:
    """Compare the changelog of a count, folded, with what the program has seen.

    Raises:
        SampleError: the counts do not add up to it.
    """
    counts: dict[bytes, int] = {}
    async for record in _records(url, changelog):
        family = dict(record.headers or ()).get(FAMILY, b"default")
        if (record.key or b"").startswith(RESERVED) or family != b"default":
            continue
        data = (record.value or b"")[sample.prefix :] or b"0"
        counts[record.key or b""] = int.from_bytes(data) if sample.binary and record.value else json.loads(data)
    total = sum(counts.values()) / sample.counts
    if not seen <= total <= records:
        raise SampleError(
            f"{sample.program}: the counts add up to {total:,}; it has seen {seen:,} of {records:,} records"
        )


def check_seen(report: Mapping[str, Any], contents: Contents, program: str) -> None:
    """Compare how many records a program has seen, and found to pass, with the topic.

    Raises:
        SampleError: these are not the records of the topic.
    """
    seen, passed = report["seen"], report["passed"]
    share = contents.passed / contents.records
    if seen >= contents.records and (seen, passed) != (contents.records, contents.passed):
        raise SampleError(f"{program} saw {seen:,} records, {passed:,} passed; {contents.passed:,} do")
    if seen >= 10_000 and abs(passed / seen - share) > SHARE:
        raise SampleError(f"{program}: {passed:,} of {seen:,} records passed; {share:.1%} of the topic do")
