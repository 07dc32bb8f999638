"""JSON Schema and Protobuf behind a schema registry: schemas of types, values there and back, and Confluent's wire format."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.memory import MemoryRegistry
from stream_core.ports import SchemaText
from stream_core.values.json_schema import JsonSchema, json_differences, json_schema
from stream_core.values.protobuf import Protobuf
from stream_core.values.record import Record

from .test_avro import Cash, Item, read, topic, written


class Order(Record, include_metadata=False):
    """A message."""

    item: str
    amount: int


class Basket(Record, namespace="registered.Basket"):
    """A message that holds others."""

    items: list[Item]
    paid: Cash | None = None


def _messages() -> tuple[Any, Any]:
    """What protoc makes of a file: a message at its top, and one that stands in another one."""
    file = descriptor_pb2.FileDescriptorProto(name="registered_orders.proto", package="shop", syntax="proto3")
    order = file.message_type.add(name="Order")
    order.field.add(name="item", number=1, type=9, label=1)
    order.field.add(name="amount", number=2, type=3, label=1)
    outer = file.message_type.add(name="Outer")
    outer.nested_type.add(name="First")
    outer.nested_type.add(name="Inner").field.add(name="x", number=1, type=3, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = "shop.Order", "shop.Outer.Inner"
    top, nested = (message_factory.GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return top, nested


Message, Inner = _messages()


async def _after(registry: MemoryRegistry) -> MemoryRegistry:
    """The registry with one schema, so that the next one has the id 2."""
    await registry.register("another", SchemaText("AVRO", '"string"'))
    return registry


# -- JSON Schema


async def test_json_is_that_of_confluent() -> None:
    """What JSONSerializer of confluent-kafka 2.16.1 has written is what we write, with the id 1."""
    payload = b'\x00\x00\x00\x00\x01{"item":"gr\xc3\xbcn","amount":4}'
    orders = topic(Order, "json-schema")

    assert await written(orders, Order("grün", 4)) == payload
    assert await read(orders, payload) == [Order("grün", 4)]


@given(
    st.builds(Basket, st.lists(st.builds(Item, st.text(), st.just([]))), st.none() | st.builds(Cash, st.integers(0, 9)))
)
async def test_json_fits_the_schema_that_is_derived(basket: Basket) -> None:
    """Records with others in them, their metadata included, are valid, and come back."""
    baskets = topic(Basket, "json-schema")
    data = await written(baskets, basket)

    assert await read(baskets, data) == [basket]


def test_the_json_schema_of_a_record_has_its_title() -> None:
    """It is closed but for the metadata, and a type that comes again is referred to."""
    schema = json_schema(Item)

    assert schema["title"] == "Item"
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == {"name", "parts", "__faust"}
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(Item("a", [Item("b", [])]).dumps()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"name": "a", "parts": [{"name": 5, "parts": []}]}, schema)


async def test_values_are_compared_with_a_schema_of_ones_own() -> None:
    """On both ways; the path is named."""
    registry = MemoryRegistry()
    text = '{"type": "object", "properties": {"amount": {"type": "integer", "minimum": 1}}}'
    strict = topic(dict[str, int], JsonSchema(text), registry)
    loose = topic(dict[str, int], JsonSchema("{}"), registry)

    with pytest.raises(EncodeError, match=r"\$\.amount: 0 is less than the minimum"):
        await written(strict, {"amount": 0})
    good, bad = await written(strict, {"amount": 1}), await written(loose, {"amount": 0})
    value, error = await read(strict, good, bad)
    assert value == {"amount": 1}
    assert "$.amount: 0 is less than the minimum of 1" in str(error)
    assert error.final
    with pytest.raises(ConfigurationError, match="no JSON Schema"):
        JsonSchema('{"type": "objekt"}')


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        ({"properties": {"a": {"type": "integer"}}}, {"properties": {}}, ""),
        (
            {"properties": {"a": {}}, "required": ["a"]},
            {"properties": {"a": {}}},
            "property a is required, and was not",
        ),
        (
            {"properties": {"a": {"type": "string"}}},
            {"properties": {"a": {"type": "integer"}}},
            "property a was integer, and is string now",
        ),
        ({"properties": {"a": {"type": "number"}}}, {"properties": {"a": {"type": "integer"}}}, ""),
        (
            {"properties": {}, "additionalProperties": False},
            {"properties": {"a": {}}},
            "property a is gone, and no other is allowed",
        ),
    ],
)
def test_why_a_json_schema_cannot_follow_another_is_said(new: Any, old: Any, said: str) -> None:
    """The sentence names the property."""
    assert json_differences(json.dumps(new), json.dumps(old)) == said


# -- Protobuf


@pytest.mark.parametrize(
    ("message", "payload"),
    [
        (Message(item="grün", amount=4), "0000000002000a056772c3bc6e1004"),
        (Inner(x=7), "00000000020402020807"),
    ],
    ids=["first", "nested"],
)
async def test_protobuf_is_that_of_confluent(message: Any, payload: str) -> None:
    """What ProtobufSerializer of confluent-kafka 2.16.1 has written is what we write, with the id 2."""
    orders = topic(type(message), "protobuf", await _after(MemoryRegistry()))

    assert (await written(orders, message)).hex() == payload
    assert await read(orders, bytes.fromhex(payload)) == [message]


async def test_messages_that_are_damaged_are_errors_of_their_record() -> None:
    """Each for certain."""
    orders = topic(Message, "protobuf")
    good = await written(orders, Message(item="tea"))

    found = await read(orders, good[:5], good[:5] + b"\xff", good[:-1], good)

    assert found[3] == Message(item="tea")
    assert all(error.final for error in found[:3])


async def test_what_is_no_message_is_refused() -> None:
    """As a type, and as a value."""
    with pytest.raises(ConfigurationError, match="Order is no class that protoc has made"):
        topic(Order, "protobuf").wire.check()
    with pytest.raises(EncodeError, match="a Order is written here, and not a Inner"):
        await written(topic(Message, "protobuf"), Inner(x=1))
    with pytest.raises(EncodeError, match="no schema can be made of dict"):
        await written(topic(None, Protobuf(subject="record")), {"x": 1})


async def test_messages_of_several_classes_have_subjects_of_their_own() -> None:
    """Named by the message."""
    registry = MemoryRegistry()
    events = topic(None, Protobuf(subject="record"), registry)

    await written(events, Message(item="tea"))
    await written(events, Inner(x=1))

    assert registry.subjects == ["shop.Order", "shop.Outer.Inner"]


async def test_another_kind_of_schema_is_named() -> None:
    """What was written as JSON is not read as Protobuf."""
    registry = MemoryRegistry()
    data = await written(topic(Order, "json-schema", registry), Order("tea", 4))

    (error,) = await read(topic(Message, "protobuf", registry), data)

    assert "schema id 1 is of kind JSON, and not PROTOBUF" in str(error)
