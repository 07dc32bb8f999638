"""Connections that end at the worst moment."""

from __future__ import annotations

import aiokafka.errors as kafka
import pytest
import uvloop
from aiokafka.client import ConnectionGroup
from aiokafka.protocol.metadata import MetadataRequest

from stream_kafka.connecting.client import Client
from stream_kafka.settings import KafkaSettings


def test_a_transport_closed_under_a_request_is_a_broken_connection(bootstrap: str) -> None:
    """On uvloop too it is an error that the client's tasks retry, and the next request connects again."""

    async def run() -> None:
        client = Client(KafkaSettings(servers=(bootstrap,)))
        await client.connect()
        try:
            node = client.any_node()
            assert await client.ready(node)
            client._conns[node, ConnectionGroup.DEFAULT]._writer.transport.abort()
            with pytest.raises(kafka.KafkaConnectionError):
                await client.send(node, MetadataRequest([]))
            assert (await client.send(node, MetadataRequest([]))).brokers
            client.check()
        finally:
            await client.disconnect()

    uvloop.run(run())
