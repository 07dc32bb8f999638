"""Without a broker everything says so in time, and everything can be closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from stream_core.errors import BrokerUnavailableError, StreamError, TransportError
from stream_core.ports import RebalanceListener
from stream_core.primitives import TP
from stream_kafka import KafkaSettings, KafkaTransport
from stream_kafka.connecting.client import Client

CLIENTS = ("consumer", "reader", "producer", "transactional producer", "admin")


def _client(kind: str, address: str, request_timeout: float = 5.0) -> object:
    transport = KafkaTransport(
        KafkaSettings(servers=(address,), request_timeout=request_timeout, rebalance_timeout=request_timeout / 2)
    )
    match kind:
        case "consumer":
            return transport.consumer("g", read_committed=True)
        case "reader":
            return transport.reader(read_committed=True)
        case "producer":
            return transport.producer()
        case "transactional producer":
            return transport.producer(transactional_id="t")
        case _:
            return transport.admin()


@pytest.fixture
def refused() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


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


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_refused_port_is_said_at_once(kind: str, refused: str) -> None:
    """The error names address, reason and what to do, long before the request timeout."""
    client = _client(kind, refused, request_timeout=60.0)

    async with asyncio.timeout(10):
        with pytest.raises(BrokerUnavailableError, match=rf"{refused}.*refused.*stream broker"):
            await client.start()  # type: ignore[attr-defined]
        await client.stop()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_a_mute_broker_is_waited_for_in_bounds(kind: str, mute: str) -> None:
    """A broker that accepts and never answers costs the request timeout, no more."""
    client = _client(kind, mute, request_timeout=0.3)

    async with asyncio.timeout(10):
        with pytest.raises(BrokerUnavailableError, match="does not answer"):
            await client.start()  # type: ignore[attr-defined]
        await client.stop()  # type: ignore[attr-defined]


async def test_clients_that_were_not_started_say_so(refused: str) -> None:
    """Each use before ``start`` is an error of ours, and ``stop`` does nothing."""
    transport = KafkaTransport(KafkaSettings(servers=(refused,)))
    consumer, reader, producer = (
        transport.consumer("g", read_committed=True),
        transport.reader(read_committed=True),
        transport.producer(),
    )
    admin = transport.admin()

    async def ignore(partitions: frozenset[TP], lost: bool) -> None: ...

    for use in (
        lambda: consumer.subscribe(["t"], RebalanceListener(lambda partitions, group: None, ignore)),
        consumer.check,
        producer.check,
        lambda: producer.send("t", 0, None, b""),
    ):
        with pytest.raises(StreamError, match=r"start\(\)"):
            use()
    for wait in (
        consumer.poll(0),
        consumer.committed([TP("t", 0)]),
        reader.poll(0),
        reader.assign({}),
        producer.partitions("t"),
        admin.describe(["t"]),
    ):
        with pytest.raises(StreamError, match=r"start\(\)"):
            await wait
    for client in (consumer, reader, producer, admin):
        await client.stop()


async def test_a_topic_asked_for_while_the_client_is_closed(refused: str) -> None:
    """Whoever waits for the partitions of a topic learns that the client was closed; so does who asks later."""
    client = Client(KafkaSettings(servers=(refused,)))
    asking = asyncio.create_task(client.partition_count("topic"))
    await asyncio.sleep(0)
    await client.disconnect()
    for question in asking, client.partition_count("topic"):
        with pytest.raises(TransportError, match="topic topic: the client was closed"):
            await question
