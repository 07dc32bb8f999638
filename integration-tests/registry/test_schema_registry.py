"""Schemas on a real registry, and Avro on a real Kafka with it: the contract of the client, an app there and back, a class that changes."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

import stream_app as faust
from registry.apicurio import Apicurio
from stream_core.errors import EncodeError, StreamError
from stream_core.primitives import TP, StoredRecord
from stream_core.sending.topic import Topic
from stream_core.testing import contracts
from stream_core.values.registered import Schemas
from stream_core.values.schemas import Schema
from stream_kafka.registry import HttpRegistry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apicurio]:
    """A registry of its own."""
    ours = Apicurio(tmp_path_factory.mktemp("registry"))
    try:
        ours.start()
    except StreamError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no schema registry can be had here: {error}")
    yield ours
    ours.stop()


@pytest.mark.parametrize("check", contracts.registry.CHECKS, ids=lambda check: check.__name__)
async def test_the_contract(check: Callable[[HttpRegistry], Awaitable[None]], registry: Apicurio) -> None:
    """A real registry is what the one in memory is."""
    await check(HttpRegistry(registry.url, deadline=20))


class Order(faust.Record, include_metadata=False):
    """A message."""

    item: str
    amount: int


def newer() -> Any:
    """The class as it is later: it has another field, with a default."""

    class Order(faust.Record, include_metadata=False):
        item: str
        amount: int
        note: str = "none"

    return Order


def wrong() -> Any:
    """The class as it must not become: the other field has no default."""

    class Order(faust.Record, include_metadata=False):
        item: str
        amount: int
        size: int

    return Order


def described(bootstrap: str, registry: Apicurio, tmp_path: Path) -> faust.App:
    """An app that reads and sends orders of a class."""
    return faust.App(
        f"shop-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{bootstrap}",
        schema_registry_url=registry.url,
        web_enabled=False,
        datadir=tmp_path,
    )


@pytest.mark.parametrize("codec", ["avro", "json-schema", "protobuf"])
async def test_each_kind_of_schema_is_registered(codec: str, registry: Apicurio) -> None:
    """A value goes there, its schema is fetched by its id, and the value comes back."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{uuid.uuid4().hex}.proto", package="shop", syntax="proto3")
    file.message_type.add(name="Order").field.add(name="item", number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    message = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    value: Any = message(item="tea") if codec == "protobuf" else Order("tea", 4)
    name = f"orders-{uuid.uuid4().hex[:8]}"
    writing, reading = (
        Topic[Any, Any](name, schema=Schema(None, type(value), value_serializer=codec)) for _ in range(2)
    )
    for topic in (writing, reading):
        schemas = Schemas(HttpRegistry(registry.url, deadline=20))
        topic.registry = lambda schemas=schemas: schemas  # type: ignore[misc]

    await writing.ready_to_write(writing.wire, None, value)
    record = StoredRecord(0, 0, None, writing.wire.encode_value(value), ())
    await reading.ready_to_read([record], lambda: True)

    assert reading.decode(TP(name, 0), [record]).values == [value]


async def test_a_class_changes_while_its_records_stay(bootstrap: str, registry: Apicurio, tmp_path: Path) -> None:
    """Old values are read with defaults, new ones by who knows the old class; what does not fit is refused with version and field."""
    name = f"orders-{uuid.uuid4().hex[:8]}"
    later = newer()
    values: list[Any] = [Order("tea", 4), later("tea", 5, "two"), Order("rice", 6)]
    read_as = [
        values[:1],
        [later("tea", 4), values[1]],
        [Order("tea", 4), Order("tea", 5), values[2]],
    ]
    for value, expected in zip(values, read_as, strict=True):
        app = described(bootstrap, registry, tmp_path)
        orders = app.topic(name, value_type=type(value), value_serializer="avro", partitions=1)
        seen: asyncio.Queue[Any] = asyncio.Queue()

        async def read(stream: faust.Stream[Any], seen: asyncio.Queue[Any] = seen) -> None:
            async for order in stream:
                seen.put_nowait(order)

        app.agent(orders, name="read")(read)
        async with app, asyncio.timeout(60):
            await orders.send(value)
            assert [await seen.get() for _ in expected] == expected

    type_ = wrong()
    app = described(bootstrap, registry, tmp_path)
    orders = app.topic(name, value_type=type_, value_serializer="avro", partitions=1)
    said = rf"topic {name}: subject {name}-value .* version 2 .* field size is new and has no default"
    async with app, asyncio.timeout(60):
        with pytest.raises(EncodeError, match=said):
            await orders.send(type_("tea", 1, 2))

    consumer = AIOKafkaConsumer(name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(60):
            first = await consumer.getone()
    finally:
        await consumer.stop()
    assert first.value is not None
    assert first.value[:1] == b"\0"
    assert first.value[5:] == b"\x06tea\x08"
