"""What an :class:`~stream_core.ports.Admin` does."""

from __future__ import annotations

import asyncio
import random

from stream_core.errors import TransportError, UnknownTopicError
from stream_core.primitives import TP, TopicSpec
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


async def describes_what_was_created(harness: BrokerHarness) -> None:
    """Partition count and configuration are told as they were declared; defaults are told as well."""
    admin = await harness.admin()
    plain = await harness.topic()
    compacted = await harness.topic(3, {"cleanup.policy": "compact", "min.compaction.lag.ms": "60000"})

    described = await admin.describe([plain, compacted])

    assert {name: (info.name, info.partitions) for name, info in described.items()} == {
        plain: (plain, 1),
        compacted: (compacted, 3),
    }
    assert described[plain].config["cleanup.policy"] == "delete"
    assert described[compacted].config["cleanup.policy"] == "compact"
    assert described[compacted].config["min.compaction.lag.ms"] == "60000"
    short = await admin.describe([plain, compacted], config=False)
    assert {name: (info.partitions, info.id, info.config) for name, info in short.items()} == {
        name: (info.partitions, info.id, {}) for name, info in described.items()
    }


async def a_cluster_has_an_id(harness: BrokerHarness) -> None:
    """Every client of it is told the same."""
    one, other = await harness.admin(), await harness.admin()

    assert await one.cluster_id()
    assert await one.cluster_id() == await other.cluster_id()


async def describing_creates_nothing(harness: BrokerHarness) -> None:
    """Topics that do not exist are left out, each time."""
    admin, topic, unknown = await harness.admin(), await harness.topic(), harness.name("unknown")

    for _ in range(3):
        assert set(await admin.describe([topic, unknown])) == {topic}
    assert await admin.describe([]) == {}


async def lists_topics(harness: BrokerHarness) -> None:
    """All topics are named, and none is created by asking; what brokers keep for themselves is left out."""
    admin, topic, other = await harness.admin(), await harness.topic(), await harness.topic(2)
    await harness.alone(harness.name("group"), topic)  # so that there are offsets

    names = await admin.topics()

    assert {topic, other} <= names
    assert not {name for name in names if name.startswith("__")}


async def tells_sizes(harness: BrokerHarness) -> None:
    """The bytes of a partition grow with its records, and are 0 without any; a topic that does not exist is an error."""
    admin, topic, unknown = await harness.admin(), await harness.topic(2), harness.name("unknown")
    full, empty = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    sizes = []
    for _ in range(2):
        await producer.send(topic, 0, None, random.randbytes(10_000))
        sizes.append(await admin.sizes([full, empty]))

    assert [size[empty] for size in sizes] == [0, 0]
    assert 10_000 <= sizes[0][full] <= sizes[1][full] - 10_000 < 20_000
    assert await admin.sizes([full]) == {full: sizes[1][full]}
    assert await admin.sizes([]) == {}
    async with asyncio.timeout(harness.deadline * 2):
        await raises(UnknownTopicError, lambda: admin.sizes([TP(unknown, 0)]), "the size of no topic")
    assert await admin.describe([unknown]) == {}, "asking for sizes created the topic"


async def creating_leaves_what_exists(harness: BrokerHarness) -> None:
    """Declaring a topic again changes neither its partitions nor its records; the other topics of the call are created."""
    admin, topic, new = await harness.admin(), await harness.topic(partitions=2), harness.name("topic")
    await send(await harness.producer(topic), TP(topic, 0), "a")

    await admin.create([TopicSpec(topic, 5, config={"cleanup.policy": "compact"}), TopicSpec(new, 1)])

    described = await admin.describe([topic, new])
    assert described[topic].partitions == 2
    assert described[topic].config["cleanup.policy"] == "delete"
    assert described[new].partitions == 1
    assert await (await harness.reader({})).end_offsets([TP(topic, 0)]) == {TP(topic, 0): 1}
    await admin.delete([new])


async def a_created_topic_can_be_used_at_once(harness: BrokerHarness) -> None:
    """When ``create`` returns every partition takes records."""
    topic = await harness.topic(partitions=6)
    tps = [TP(topic, partition) for partition in range(6)]
    producer = await harness.producer(topic)

    for tp in tps:
        producer.send(*tp, None, b"v")
    await producer.flush()

    assert await (await harness.reader({})).end_offsets(tps) == dict.fromkeys(tps, 1)


async def refuses_a_bad_name(harness: BrokerHarness) -> None:
    """A name that brokers refuse is an error, not silence."""
    admin = await harness.admin()
    await raises(
        TransportError, lambda: admin.create([TopicSpec("no/such name", 1)]), "creation of a topic with a bad name"
    )


async def deletes_topics(harness: BrokerHarness) -> None:
    """A deleted topic is soon described no more and does not come back; unknown ones are ignored."""
    admin, topic, kept = await harness.admin(), await harness.topic(), await harness.topic()

    await admin.delete([topic, harness.name("unknown")])
    async with asyncio.timeout(harness.deadline):
        while topic in await admin.describe([topic]):  # noqa: ASYNC110 - the broker has no event for it
            await asyncio.sleep(0.05)
    await asyncio.sleep(harness.quiet)

    assert set(await admin.describe([topic, kept])) == {kept}


async def a_topic_that_comes_back_has_another_id(harness: BrokerHarness) -> None:
    """The id of a topic stays as it is until the topic is deleted; one of the same name that is created then has another."""
    admin, topic, other = await harness.admin(), await harness.topic(), await harness.topic()
    before = (await admin.describe([topic]))[topic].id
    assert before
    assert (await (await harness.admin()).describe([topic, other]))[topic].id == before
    assert (await admin.describe([other]))[other].id != before

    await admin.delete([topic])
    await admin.create([TopicSpec(topic, 1)])

    assert (await admin.describe([topic]))[topic].id not in ("", before)


async def removing_ignores_the_unknown(harness: BrokerHarness) -> None:
    """A member or a group that does not exist is nothing to complain about."""
    admin, topic, group = await harness.admin(), await harness.topic(), harness.name("group")
    member = await harness.alone(group, topic)

    async with asyncio.timeout(harness.deadline):
        await admin.remove_member(group, harness.name("member"))
        await admin.remove_member(harness.name("group"), harness.name("member"))

    assert member.consumer.lease() > 0
    member.consumer.check()


CHECKS = (
    describes_what_was_created,
    a_cluster_has_an_id,
    describing_creates_nothing,
    lists_topics,
    tells_sizes,
    creating_leaves_what_exists,
    a_created_topic_can_be_used_at_once,
    refuses_a_bad_name,
    deletes_topics,
    a_topic_that_comes_back_has_another_id,
    removing_ignores_the_unknown,
)
"""The checks of this suite."""
