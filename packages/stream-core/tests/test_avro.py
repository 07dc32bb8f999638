"""Avro: schemas of types, values there and back, what keeps one schema from following another, and Confluent's wire format."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.memory import MemoryRegistry
from stream_core.ports import SchemaReference, SchemaText
from stream_core.primitives import TP, StoredRecord
from stream_core.sending.topic import Topic
from stream_core.testing import contracts
from stream_core.values.avro import Avro, avro_differences, avro_schema
from stream_core.values.codecs import get_codec
from stream_core.values.record import Record
from stream_core.values.registered import RegisteredCodec, Schemas
from stream_core.values.schemas import Schema


def _check(new: SchemaText, old: SchemaText) -> str:
    return avro_differences(new.text, old.text)


class Colour(enum.Enum):
    """Symbols."""

    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    """Numbers."""

    SMALL = 1
    LARGE = 2


class Item(Record, namespace="shop.Item"):
    """A record that holds others of its own."""

    name: str
    parts: list[Item]


@dataclass
class Place:
    """A dataclass."""

    city: str


class Order(Record, namespace="avro.Order", include_metadata=False):
    """One of each."""

    item: Item
    colour: Colour
    size: Size
    mode: Literal["fast", "slow"]
    at: datetime
    on: date
    clock: time
    id: UUID
    price: Decimal
    wait: timedelta
    data: bytes
    names: set[str]
    scores: dict[str, float]
    place: Place
    either: int | str
    again: Item | None = None
    many: bool = False
    note: str = "none"


class Simple(Record, include_metadata=False):
    """What the bytes of Confluent's serializer are of."""

    item: str
    amount: int
    note: str | None = None


class Cash(Record, namespace="avro.Cash"):
    """One of two."""

    amount: int


class Card(Record, namespace="avro.Card"):
    """The other one."""

    number: str


_ITEMS = st.recursive(
    st.builds(Item, st.text(), st.just([])), lambda inner: st.builds(Item, st.text(), st.lists(inner, max_size=2))
)
_MICROS = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
_ORDERS = st.builds(
    Order,
    item=_ITEMS,
    again=st.none() | _ITEMS,
    colour=st.sampled_from(Colour),
    size=st.sampled_from(Size),
    mode=st.sampled_from(["fast", "slow"]),
    at=_MICROS,
    on=st.dates(date(1900, 1, 1), date(2100, 1, 1)),
    clock=st.times(),
    id=st.uuids(),
    price=st.decimals(allow_nan=False, allow_infinity=False),
    wait=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    data=st.binary(),
    names=st.sets(st.text()),
    scores=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    place=st.builds(Place, st.text()),
    either=st.integers(-(2**63), 2**63 - 1) | st.text(),
    many=st.booleans(),
    note=st.text(),
)


def topic(
    type_: Any, codec: RegisteredCodec | str = "avro", registry: MemoryRegistry | None = None, name: str = "orders"
) -> Topic[Any, Any]:
    """A topic of Avro, with a registry."""
    made = Topic[Any, Any](name, schema=Schema(None, type_, value_serializer=codec))
    schemas = Schemas(MemoryRegistry(_check) if registry is None else registry)
    made.registry = lambda: schemas
    return made


async def written(into: Topic[Any, Any], value: Any) -> bytes:
    """The bytes of a value."""
    await into.ready_to_write(into.wire, None, value)
    data = into.wire.encode_value(value)
    assert data is not None
    return data


async def read(source: Topic[Any, Any], *payloads: bytes | None) -> list[Any]:
    """The values of payloads; errors for those that cannot be decoded."""
    records = [StoredRecord(at, 0, None, data, ()) for at, data in enumerate(payloads)]
    await source.ready_to_read(records, lambda: True)
    return [one.why if hasattr(one, "why") else one for _, one in source.decode(TP(source.name, 0), records).in_order()]


@given(_ORDERS)
async def test_records_survive(order: Order) -> None:
    """All types that Avro has go there and come back."""
    orders = topic(Order)

    assert await read(orders, await written(orders, order)) == [order]


def test_the_schema_of_a_record_is_derived() -> None:
    """Defaults are in it, a name comes once, and the branch of the default stands first."""
    schema = avro_schema(Order)

    assert schema["name"] == "avro.Order"
    types = {field["name"]: field["type"] for field in schema["fields"]}
    assert types["item"]["name"] == "shop.Item"
    assert types["again"] == ["null", "shop.Item"]
    assert types["at"] == {"type": "long", "logicalType": "timestamp-micros"}
    assert types["colour"] == {"type": "enum", "name": "Colour", "symbols": ["red", "blue"]}
    defaults = {field["name"]: field["default"] for field in schema["fields"] if "default" in field}
    assert defaults == {"again": None, "many": False, "note": "none"}
    fastavro.parse_schema(schema)


class Opaque(Record):
    """Says nothing of what is in it."""

    what: Any


class Keyed(Record):
    """Keys that are no text."""

    by: dict[int, str]


class Either(Record):
    """Values do not say which it is."""

    one: Cash | Card


@pytest.mark.parametrize(
    ("type_", "said"),
    [(Opaque, "Opaque.what: Avro has no type for any"), (Keyed, "Keyed.by"), (Either, "multiple Struct types")],
)
def test_a_type_that_has_no_schema_is_named(type_: Any, said: str) -> None:
    """The field is named when the app starts, not when a value is sent."""
    with pytest.raises(ConfigurationError, match=said):
        topic(type_).wire.check()


CONFLUENT = {
    "00000000020674656108020674776f": Simple("tea", 4, "two"),
    "00000000020a6772c3bc6edfc50800": Simple("grün", -70000),
}
"""What AvroSerializer of confluent-kafka 2.16.1 has written for a schema that had the id 2."""


@pytest.mark.parametrize("payload", CONFLUENT)
async def test_the_bytes_are_those_of_confluent(payload: str) -> None:
    """Written and read, with the id, sign, and what may be missing."""
    registry = MemoryRegistry()
    await registry.register("another", SchemaText("AVRO", _record(TEXT)))
    simple = topic(Simple, registry=registry)

    assert (await written(simple, CONFLUENT[payload])).hex() == payload
    assert await read(simple, bytes.fromhex(payload)) == [CONFLUENT[payload]]


def _record(*fields: Any, name: str = "Simple", **more: Any) -> str:
    return json.dumps({"type": "record", "name": name, "fields": fields, **more})


TEXT, WHOLE, DEFAULT = (
    {"name": "a", "type": "string"},
    {"name": "b", "type": "long"},
    {"name": "b", "type": "long", "default": 1},
)


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (_record(TEXT), _record(TEXT), ""),
        (_record(TEXT, DEFAULT), _record(TEXT), ""),
        (_record(TEXT), _record(TEXT, WHOLE), ""),
        (_record(TEXT, WHOLE), _record(TEXT), "field b is new and has no default"),
        (_record({"name": "a", "type": "double"}), _record({"name": "a", "type": "long"}), ""),
        (
            _record({"name": "a", "type": "long"}),
            _record({"name": "a", "type": "double"}),
            "field a was double, and is long now",
        ),
        (_record({"name": "a", "type": ["null", "string"]}), _record(TEXT), ""),
        (
            _record(TEXT),
            _record({"name": "a", "type": ["null", "string"]}),
            "field a was null, which string cannot hold",
        ),
        (_record({"name": "c", "aliases": ["a"], "type": "string"}), _record(TEXT), ""),
        (_record(TEXT, name="Other"), _record(TEXT), "the record was named Simple, and is named Other now"),
        (
            _record({"name": "a", "type": {"type": "array", "items": json.loads(_record(WHOLE, name="In"))}}),
            _record({"name": "a", "type": {"type": "array", "items": json.loads(_record(name="In"))}}),
            r"field a\[\].b is new and has no default",
        ),
        (
            _record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["x"]}}),
            _record({"name": "a", "type": {"type": "enum", "name": "E", "symbols": ["x", "y"]}}),
            "field a may be y",
        ),
    ],
)
def test_why_a_schema_cannot_follow_another_is_said(new: str, old: str, said: str) -> None:
    """The sentence names the field, and there is none where fastavro can read the old with the new."""
    found = avro_differences(new, old)

    assert found.startswith(said.replace("\\", "")) if said else not found


async def test_a_schema_that_does_not_fit_fails_in_a_sentence() -> None:
    """It has topic, subject, version, id and field."""
    registry = MemoryRegistry(_check)
    await registry.register("orders-value", SchemaText("AVRO", _record({"name": "item", "type": "string"})))

    with pytest.raises(
        EncodeError,
        match=r"topic orders: subject orders-value does not take the schema, which does not fit version 1 \(schema id 1\): "
        "field amount is new and has no default",
    ):
        await written(topic(Simple, registry=registry), Simple("tea", 4))


async def test_old_values_are_read_by_a_newer_class() -> None:
    """Fields that are new have their defaults, those that are gone are passed over; one that is missing is named."""
    registry = MemoryRegistry(_check)
    old = topic(Place, registry=registry)
    data = await written(old, Place("Rome"))

    class Newer(Record):
        city: str
        country: str = "Italy"

    class Strict(Record):
        city: str
        country: str

    assert await read(topic(Newer, registry=registry), data) == [Newer("Rome")]
    (error,) = await read(topic(Strict, registry=registry), data)
    assert "country" in str(error)
    assert error.final


async def test_untyped_topics_read_plain_data_and_send_records() -> None:
    """Each class of records has a schema of its own, whose subject may be its name."""
    registry = MemoryRegistry(_check)
    events = topic(None, Avro(subject="record"), registry)

    payloads = [await written(events, Cash(1)), await written(events, Card("2"))]

    assert registry.subjects == ["avro.Cash", "avro.Card"]
    assert await read(events, *payloads) == [{"amount": 1}, {"number": "2"}]
    with pytest.raises(EncodeError, match="no schema can be made of dict"):
        await written(events, {"amount": 1})


async def test_a_union_is_told_apart_by_the_names_of_schemas() -> None:
    """What is read is of the class whose schema it was written with."""
    registry = MemoryRegistry(_check)
    events = topic(Cash | Card, Avro(subject="topic_record"), registry)

    payloads = [await written(events, Cash(1)), await written(events, Card("2"))]

    assert registry.subjects == ["orders-avro.Cash", "orders-avro.Card"]
    assert await read(events, *payloads) == [Cash(1), Card("2")]


async def test_a_schema_of_ones_own_renames_fields() -> None:
    """What is read is resolved to it: aliases are those of Avro."""
    registry = MemoryRegistry()
    data = await written(topic(None, Avro(_record({"name": "old", "type": "int"})), registry), {"old": 5})
    own = Avro(_record({"name": "amount", "aliases": ["old"], "type": "long"}))

    assert await read(topic(None, own, registry), data) == [{"amount": 5}]


async def test_schemas_that_refer_to_others_are_read() -> None:
    """References are fetched with the schema."""
    registry = MemoryRegistry()
    await registry.register("item", SchemaText("AVRO", _record(TEXT, name="In")))
    schema = SchemaText("AVRO", _record({"name": "inner", "type": "In"}), (SchemaReference("In", "item", 1),))
    id_ = await registry.register("orders-value", schema)

    assert await read(topic(None, registry=registry), b"\0" + id_.to_bytes(4) + b"\x02x") == [{"inner": {"a": "x"}}]


async def test_bytes_that_are_not_of_a_registry_are_errors_of_their_record() -> None:
    """Each says what is wrong, and the others of the chunk are read."""
    orders = topic(Simple)
    good = await written(orders, Simple("tea", 4))

    found = await read(
        orders, b"", b"\0\0", b'{"item": 1}', b"\0" + (99).to_bytes(4) + b"x", good[:-1], good + b"x", good, None
    )

    assert found[-2:] == [Simple("tea", 4), None]
    for error, said in zip(
        found[:6],
        [
            "does not begin",
            "does not begin",
            "does not begin",
            "no schema id 99",
            "schema id 1 cannot",
            "1 bytes are left",
        ],
        strict=True,
    ):
        assert said in str(error)
        assert error.final is ("schema id 99" not in said)  # a registry that lags behind may know it later


async def test_what_does_not_fit_its_schema_is_not_sent() -> None:
    """The field is named."""
    orders = topic(Simple)
    wrong = Simple("tea", "four")  # type: ignore[arg-type]

    with pytest.raises(EncodeError, match="amount"):
        await written(orders, wrong)


async def test_nothing_is_registered_without_leave() -> None:
    """With auto_register=False a schema has to be there."""
    registry = MemoryRegistry()
    with pytest.raises(EncodeError, match=r"subject orders-value does not have the schema .* auto_register=False"):
        await written(topic(Simple, Avro(auto_register=False), registry), Simple("tea", 4))
    await written(topic(Simple, registry=registry), Simple("tea", 4))
    assert await written(topic(Simple, Avro(auto_register=False), registry), Simple("tea", 4))


def test_where_a_registry_is_needed_is_said() -> None:
    """No registry, a chain, a table and bare use are refused, each with what to do."""
    bare = Topic[Any, Any]("orders", schema=Schema(None, Simple, value_serializer="avro"))
    with pytest.raises(ConfigurationError, match="topic orders: Avro needs a schema registry: set schema_registry_url"):
        _ = bare.wire
    with pytest.raises(ConfigurationError, match="chain"):
        get_codec("avro|binary")
    with pytest.raises(ConfigurationError, match="value_serializer='json'"):
        Schema.for_table(str, Simple, value_serializer="avro").check()
    with pytest.raises(ConfigurationError, match="subject='none' is none of topic"):
        Avro(subject="none")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no schema of Avro"):
        Avro('{"type": "recorda"}')
    with pytest.raises(EncodeError, match="only the keys and values of topics"):
        get_codec("avro").dumps(Simple("tea", 4))


@pytest.mark.parametrize("check", contracts.registry.CHECKS, ids=lambda check: check.__name__)
async def test_the_registry_in_memory_fulfils_its_contract(check: Callable[[MemoryRegistry], Any]) -> None:
    """As the real one does."""
    await check(MemoryRegistry(_check))
