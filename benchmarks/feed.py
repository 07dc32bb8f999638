"""Fills the topics, once for all samples."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Iterator

from benchmarks.rows import UNIQUE
from stream_core.records import TopicSpec
from stream_kafka import KafkaTransport

__all__ = ["PARTITIONS", "append", "drop", "fill", "make"]

PARTITIONS = 4
KEYS = 10_000
SEED = 20260701
SLICE = 500
"""Records between two looks at the backlog of the producer."""


async def fill(url: str, topic: str, kind: str, records: int) -> None:
    """Make a topic with transfers in it.

    Args:
        url: URL of the broker.
        topic: name of the topic.
        kind: which keys: ``accounts`` has 10,000 of them, ``unique`` each key once.
        records: how many; the same ones for the same number.
    """
    transport = KafkaTransport(url)
    admin, producer = transport.admin(), transport.producer()
    await admin.start()
    await producer.start()
    try:
        await admin.create([TopicSpec(topic, PARTITIONS)])
        await producer.partitions(topic)
        for number, (key, value) in enumerate(_records(kind, records)):
            producer.send(topic, None, key, value)
            if number % SLICE == 0:
                await producer.room()
                await asyncio.sleep(0)
        await producer.flush()
    finally:
        await producer.stop()
        await admin.stop()


async def make(url: str, topic: str) -> None:
    """Make an empty topic."""
    admin = KafkaTransport(url).admin()
    await admin.start()
    try:
        await admin.create([TopicSpec(topic, PARTITIONS)])
    finally:
        await admin.stop()


def _records(kind: str, records: int) -> Iterator[tuple[bytes, bytes]]:
    """Transfers of about 55 bytes; 90 % are above 10, and time goes on by a second in 10,000 records."""
    draw = random.Random(SEED)
    for number in range(records):
        account = number if kind == UNIQUE else draw.randrange(KEYS)
        width = 6 if kind == UNIQUE else 4
        key = b"a%0*d" % (width, account)
        yield key, b'{"account":"%b","amount":%.2f,"ts":%.4f}' % (key, draw.uniform(0, 100), 1.7e9 + number / 10_000)


async def append(url: str, topic: str, number: int) -> None:
    """Add one more transfer to a topic of kind ``unique``, of an account that it has: the new event of a recovery."""
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
