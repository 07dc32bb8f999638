"""A source that is deleted and made again on a real Kafka, with a commit of the old one that arrives late.

What a group keeps of a topic that is gone only a broker shows; the same cases run on ``memory://`` in the tests of stream-core.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from typing import Any, Literal

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError
from aiokafka.structs import OffsetAndMetadata

import stream_app as faust
from operators import administration

Guarantee = Literal["at_least_once", "exactly_once"]

both = pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])


class Source:
    """A topic of one partition, and the group that reads it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.group = f"again-{uuid.uuid4().hex[:8]}"
        self.topic = f"{self.group}-numbers"
        self._tp = TopicPartition(self.topic, 0)

    async def read(self, guarantee: Guarantee, last: int) -> list[int]:
        """Run a worker until it has read ``last``, and stop it; returns all that it read."""
        app = faust.App(
            self.group,
            broker=f"kafka://{self._bootstrap}",
            web_enabled=False,
            topic_partitions=1,
            processing_guarantee=guarantee,
        )
        seen, done = list[int](), asyncio.Event()

        @app.agent(app.topic(self.topic, value_type=int, partitions=1))
        async def see(stream: Any) -> None:
            async for number in stream:
                seen.append(number)
                if number == last:
                    done.set()

        async with app, asyncio.timeout(60):
            await done.wait()
        return seen

    async def put(self, *numbers: int) -> None:
        """Write numbers."""
        producer = AIOKafkaProducer(bootstrap_servers=self._bootstrap)
        await producer.start()
        try:
            for number in numbers:
                await producer.send_and_wait(self.topic, json.dumps(number).encode())
        finally:
            await producer.stop()

    async def make(self) -> None:
        """Make the topic; waits until another one of that name is gone."""
        async with administration(self._bootstrap) as admin, asyncio.timeout(60):
            while True:
                try:
                    await admin.create_topics([NewTopic(self.topic, 1, 1)])
                    break
                except KafkaError:
                    await asyncio.sleep(0.1)
            while True:
                (described,) = await admin.describe_topics([self.topic])
                if described["error_code"] == 0 and len(described["partitions"]) == 1:
                    return
                await asyncio.sleep(0.1)

    async def delete(self) -> None:
        """Delete the topic; waits until its offsets are gone, too."""
        async with administration(self._bootstrap) as admin, asyncio.timeout(60):
            await admin.delete_topics([self.topic])
            while True:
                (described,) = await admin.describe_topics([self.topic])
                kept = self._tp in await admin.list_consumer_group_offsets(self.group)
                if described["error_code"] == UnknownTopicOrPartitionError.errno and not kept:
                    return
                await asyncio.sleep(0.1)

    async def committed(self) -> OffsetAndMetadata:
        """What is committed."""
        async with administration(self._bootstrap) as admin:
            offsets: Mapping[TopicPartition, OffsetAndMetadata] = await admin.list_consumer_group_offsets(self.group)
            return offsets[self._tp]

    async def commit(self, offset: int, metadata: str) -> None:
        """Commit for the group, of which nobody is a member."""
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, group_id=self.group, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign([self._tp])
            await consumer.commit({self._tp: OffsetAndMetadata(offset, metadata)})
        finally:
            await consumer.stop()


@pytest.mark.parametrize("records", [2, 9])
@both
async def test_a_late_commit_of_a_deleted_topic_does_not_count(
    bootstrap: str, guarantee: Guarantee, records: int
) -> None:
    """A new worker reads the topic that was made since from its start: fewer records than the old offset, or more."""
    source = Source(bootstrap)
    await source.make()
    await source.put(*range(5))
    assert await source.read(guarantee, 4) == [*range(5)]
    late = await source.committed()
    assert late.offset == 5
    await source.delete()
    await source.make()
    new = [*range(10, 10 + records)]
    await source.put(*new)
    await source.commit(late.offset, late.metadata)
    assert await source.read(guarantee, new[-1]) == new
    now = await source.committed()
    assert now.offset == records
    assert now.metadata != late.metadata


@both
async def test_an_offset_of_another_cluster_counts(bootstrap: str, guarantee: Guarantee) -> None:
    """As MirrorMaker 2 writes it: the offset is translated, the metadata are those of the other cluster."""
    source = Source(bootstrap)
    await source.make()
    await source.put(*range(9))
    await source.commit(
        3, json.dumps({"test_topics_made_again.see": 8, "see": 8, "~topic": ["elsewhere", "a topic there"]})
    )
    assert await source.read(guarantee, 8) == [*range(3, 9)]
    assert (await source.committed()).offset == 9
