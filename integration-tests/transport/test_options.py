"""Settings of the transport have the effect that they are named for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec
import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.metadata import MetadataRequest

from processes import until
from stream_core.errors import EncodeError
from stream_core.testing.contracts import BrokerHarness
from stream_kafka import KafkaSettings, KafkaTransport
from stream_kafka.connecting.client import Client


def last_letter(key: bytes | None, partitions: Sequence[int], available: Sequence[int]) -> int:
    """The partition of a key by its last letter; the last one for records without key, and one too far for ``z``."""
    assert list(partitions) == list(available)
    return partitions[-1] if key is None else key[-1] - ord("a")


@pytest.mark.parametrize("transactional", [False, True])
async def test_a_partitioner_chooses(transactional: bool, settings: KafkaSettings) -> None:
    """It is asked for every record that names no partition, with a key or without; others go where they are told."""
    transport = KafkaTransport(msgspec.structs.replace(settings, partitioner=last_letter))
    async with BrokerHarness(transport) as harness:
        topic = await harness.topic(partitions=3)
        name = harness.name("transaction") if transactional else None
        producer = await harness.producer(topic, transactional_id=name)
        if transactional:
            await producer.begin()
        deliveries = [producer.send(topic, None, key, b"") for key in (b"xc", b"xb", b"a", None, None)]
        deliveries.append(producer.send(topic, 0, b"c", b""))

        assert [(await delivery).partition for delivery in deliveries] == [2, 1, 0, 2, 2, 0]
        with pytest.raises(EncodeError, match="has 3 partitions, and no partition 25"):
            producer.send(topic, None, b"z", b"")
        with pytest.raises(EncodeError, match=f"topic {topic}: the partitioner raised IndexError"):
            producer.send(topic, None, b"", b"")


async def test_idle_connections_are_closed_and_made_again(settings: KafkaSettings) -> None:
    """A connection that is not used for that long is given up, and the next request has a new one."""
    client = Client(msgspec.structs.replace(settings, connections_max_idle=0.2))
    await client.connect()
    try:
        node = client.any_node()
        assert await client.ready(node)
        connection = client._conns[node, ConnectionGroup.DEFAULT]
        await until(lambda: not connection.connected())
        assert (await client.send(node, MetadataRequest([]))).brokers
        assert client._conns[node, ConnectionGroup.DEFAULT] is not connection
        client.check()
    finally:
        await client.disconnect()


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """An address where connections are accepted and nothing is ever answered."""
    connections: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    yield f"{host}:{port}"
    server.close()
    for writer in connections:
        writer.close()
        await writer.wait_closed()
    await server.wait_closed()


async def test_one_address_that_answers_is_enough(mute: str, bootstrap: str) -> None:
    """Each address has its part of the request timeout, so that one that hangs does not use up the time of the others."""
    admin = KafkaTransport(
        f"kafka://{mute},{mute};kafka://{bootstrap}", request_timeout=6.0, rebalance_timeout=1.0
    ).admin()
    await admin.start()
    try:
        assert await admin.describe(["no-such-topic"]) == {}
    finally:
        await admin.stop()
