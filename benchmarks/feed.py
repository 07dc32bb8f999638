"""Fills the topics, once for all samples."""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from benchmarks.rows import ACCOUNTS, MILLION, UNIQUE
from stream_core.partitioner import partition_for
from stream_core.primitives import TopicSpec
from stream_kafka import KafkaTransport

__all__ = ["BEGINNING", "PARTITIONS", "RATE", "Contents", "append", "drop", "fill", "make"]

PARTITIONS = 4
KEYS = {ACCOUNTS: 10_000, MILLION: 1_000_000}
SEED = 20260701
LEAST = 10
"""The amount above which a transfer passes the filter."""

BEGINNING, RATE = 1.7e9, 10_000
"""Time of the first transfer, and how many share a second of event time: the time of a transfer tells its number."""

SLICE = 500
"""Records between two looks at the backlog of the producer."""


@dataclass
class Contents:
    """What a topic holds, to compare with what programs make of it.

    Attributes:
        amounts: of all transfers, by number.
        passing: by partition the numbers of those that pass the filter, in order.
    """

    amounts: array[float] = field(default_factory=lambda: array("d"))
    passing: list[array[int]] = field(default_factory=lambda: [array("l") for _ in range(PARTITIONS)])

    @property
    def records(self) -> int:
        """How many transfers there are."""
        return len(self.amounts)

    @property
    def passed(self) -> int:
        """How many of them pass the filter."""
        return sum(map(len, self.passing))


async def fill(url: str, topic: str, kind: str, records: int, progress: Callable[[int], None]) -> Contents:
    """Make a topic with transfers in it.

    Args:
        url: URL of the broker.
        topic: name of the topic.
        kind: which keys: ``accounts`` has 10,000 of them, ``million`` a million, ``unique`` each key once.
        records: how many; the same ones for the same number.
        progress: is told now and then how many are sent.
    """
    transport = KafkaTransport(url)
    contents = Contents()
    await make(url, topic)
    producer = transport.producer()
    await producer.start()
    try:
        await producer.partitions(topic)
        for number, (key, amount, value) in enumerate(_transfers(kind, records)):
            partition = partition_for(key, PARTITIONS)
            producer.send(topic, partition, key, value)
            contents.amounts.append(amount)
            if amount > LEAST:
                contents.passing[partition].append(number)
            if number % SLICE == 0:
                await producer.room()
                await asyncio.sleep(0)
                progress(number)
        await producer.flush()
    finally:
        await producer.stop()
    return contents


async def make(url: str, topic: str, config: Mapping[str, str] | None = None) -> None:
    """Make an empty topic."""
    admin = KafkaTransport(url).admin()
    await admin.start()
    try:
        await admin.create([TopicSpec(topic, PARTITIONS, config=config or {})])
    finally:
        await admin.stop()


def _transfers(kind: str, records: int) -> Iterator[tuple[bytes, float, bytes]]:
    """Keys, amounts and transfers of about 55 bytes; 90 % are above 10, and time goes on by a second in 10,000 records."""
    draw = random.Random(SEED)
    keys = KEYS.get(kind, records)
    width = 4 if kind == ACCOUNTS else 6
    for number in range(records):
        account = number if kind == UNIQUE else draw.randrange(keys)
        key = b"a%0*d" % (width, account)
        amount = b"%.2f" % draw.uniform(0, 100)
        yield key, float(amount), b'{"account":"%b","amount":%b,"ts":%.4f}' % (key, amount, BEGINNING + number / RATE)


async def append(url: str, topic: str, number: int) -> None:
    """Add one more transfer to a topic, of an account that one of kind ``unique`` has: the new event of a recovery."""
    producer = KafkaTransport(url).producer()
    await producer.start()
    try:
        await producer.partitions(topic)
        key = b"a%06d" % number
        producer.send(topic, None, key, b'{"account":"%b","amount":50.00,"ts":1800000000.0000}' % key)
        await producer.flush()
    finally:
        await producer.stop()


async def drop(url: str, topics: Collection[str]) -> None:
    """Delete topics."""
    admin = KafkaTransport(url).admin()
    await admin.start()
    try:
        await admin.delete(topics)
    finally:
        await admin.stop()
