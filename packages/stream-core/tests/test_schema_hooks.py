"""Schemas of the user's own: hooks with the headers, records without a value, and bytes that are encoded already."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from stream_core.errors import ConfigurationError, EncodeError, ValidationError
from stream_core.primitives import StoredRecord
from stream_core.streams.stream import Stream
from stream_core.values.codecs import Codec
from stream_core.values.encoding import verbatim
from stream_core.values.record import Record
from stream_core.values.schemas import Failure, Schema

from .harness import Lab


class Order(Record, namespace="hooks.Order", include_metadata=False):
    """A record."""

    item: str


class Gzip(Codec):
    """Smaller."""

    def _dumps(self, obj: bytes) -> bytes:
        return gzip.compress(obj, mtime=0)

    def _loads(self, data: bytes) -> bytes:
        return gzip.decompress(data)


class Versioned(Schema):
    """Old records are told by their header, and new ones get it."""

    def loads_key(self, message: Any, loads: Any) -> Any:
        """Keys of old records are numbers."""
        return str(int(message.key)) if dict(message.headers).get("version") == b"1" else loads(message.key)

    def loads_value(self, message: Any, loads: Any) -> Any:
        """Values of old records are the item alone."""
        if dict(message.headers).get("version") == b"1":
            return Order(message.value.decode())
        return loads(message.value)

    def dumps_key(self, key: Any, headers: list[tuple[str, bytes]], dumps: Any) -> bytes | None:
        """Keys are in lower case."""
        return None if key is None else dumps(key.lower())  # type: ignore[no-any-return]

    def dumps_value(self, value: Any, headers: list[tuple[str, bytes]], dumps: Any) -> bytes | None:
        """New records say so."""
        headers.append(("version", b"2"))
        return dumps(value)  # type: ignore[no-any-return]


OLD = [("version", b"1")]


def test_hooks_decode_with_the_headers() -> None:
    """Each record is decoded as its headers say, in batches and one by one; tombstones do not reach the hook."""
    schema = Versioned(key_type=str, value_type=Order)
    schema.check()
    batch = [
        StoredRecord(0, 0, b"007", b"tea", OLD),
        StoredRecord(1, 0, b"k", b'{"item":"cake"}'),
        StoredRecord(2, 0, None, None, OLD),
    ]
    assert schema.decode_values(batch) == ([Order("tea"), Order("cake"), None], False)
    assert [schema.read_value(record) for record in batch] == [Order("tea"), Order("cake"), None]
    assert [schema.read_key(record) for record in batch] == ["7", "k", None]


def test_hooks_encode_and_change_headers() -> None:
    """What hooks add goes out with the record; the headers that the sender gave are not changed."""
    schema = Versioned(key_type=str, value_type=Order)
    given = [("a", b"b")]
    assert schema.encoders == ({}, {})
    assert schema.encode("K", Order("tea"), given) == (b"k", b'{"item":"tea"}', [("a", b"b"), ("version", b"2")])
    assert given == [("a", b"b")]
    assert schema.encode_key("K") == b"k"
    assert schema.encode_value(Order("tea")) == b'{"item":"tea"}'


def test_what_a_hook_raises() -> None:
    """It is an error of the record like any other, and names the type or the hook."""
    schema = Versioned(key_type=str, value_type=Order)
    bad = StoredRecord(0, 0, b"x", b"\xff", OLD)
    values, failed = schema.decode_values([bad, StoredRecord(1, 0, None, b'{"item":1}')])
    assert failed
    assert [type(value) for value in values] == [Failure, Failure]
    assert [str(value.error) for value in values] == [
        "Order: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        "Order: Expected `str`, got `int` - at `$.item`",
    ]
    with pytest.raises(ValidationError, match=r"^str: invalid literal for int"):
        schema.read_key(bad)
    with pytest.raises(
        EncodeError, match=r"^Versioned.dumps_key raised AttributeError: 'int' object has no attribute 'lower'$"
    ):
        schema.encode_key(5)


def test_a_schema_without_hooks_calls_none() -> None:
    """Plain schemas, and subclasses that override nothing, are compiled without them."""

    class Same(Schema):
        """Overrides nothing."""

    for cls in (Schema, Same):
        schema = cls(value_type=Order)
        keys, values = schema.encoders
        assert (keys[str]("k"), values[Order](Order("tea"))) == (b"k", schema.encode_value(Order("tea")))
        assert schema.decode_values([StoredRecord(0, 0, None, b'{"item":"a"}')]) == ([Order("a")], False)
        assert schema.read_key(StoredRecord(0, 0, b"k", None)) == b"k"


def test_hooks_with_other_arguments_are_refused() -> None:
    """A hook that is written for Faust takes an app too: that is found when the topic is described."""

    class Ported(Schema):
        """Takes what Faust gives."""

        def loads_value(self, app: Any, message: Any, *, loads: Any = None, serializer: Any = None) -> Any:  # type: ignore[override]
            """Decode."""

        def dumps_value(self, app: Any, value: Any, *, serializer: Any = None, headers: Any = None) -> Any:  # type: ignore[override]
            """Encode."""

    with pytest.raises(
        ConfigurationError, match=r"^Ported.dumps_value must take the arguments \(self, value, headers, dumps\)"
    ):
        Ported().check()


def test_the_hooks_of_the_base_class_are_the_default() -> None:
    """A hook may leave the rest to ``super()``."""

    class Counting(Schema):
        """Counts."""

        seen = 0

        def loads_key(self, message: Any, loads: Any) -> Any:
            """Count."""
            type(self).seen += 1
            return super().loads_key(message, loads)

        def loads_value(self, message: Any, loads: Any) -> Any:
            """Count."""
            type(self).seen += 1
            return super().loads_value(message, loads)

        def dumps_key(self, key: Any, headers: Any, dumps: Any) -> Any:
            """Count."""
            type(self).seen += 1
            return super().dumps_key(key, headers, dumps)

        def dumps_value(self, value: Any, headers: Any, dumps: Any) -> Any:
            """Count."""
            type(self).seen += 1
            return super().dumps_value(value, headers, dumps)

    schema = Counting(key_type=int, value_type=Order)
    key, value, headers = schema.encode(5, Order("a"), ())
    record = StoredRecord(0, 0, key, value, headers)
    assert (schema.read_key(record), schema.read_value(record)) == (5, Order("a"))
    assert Counting.seen == 4


@pytest.mark.parametrize("value_type", [None, bytes, Order])
def test_records_without_a_value(value_type: Any) -> None:
    """They are decoded to None, unless the schema says that there are none."""
    batch = [StoredRecord(0, 0, None, None)]
    assert Schema(value_type=value_type).decode_values(batch) == ([None], False)
    strict = Schema(value_type=value_type, allow_empty=False)
    values, failed = strict.decode_values(batch)
    assert failed
    assert str(values[0].error) == "there is no value, and the schema has allow_empty=False"
    with pytest.raises(ValidationError, match="allow_empty=False"):
        strict.read_value(batch[0])


@pytest.mark.parametrize("serializer", ["json", "raw", "text", "json|binary", Gzip()])
def test_encoded_bytes_stay_as_they_are(serializer: Any) -> None:
    """Bytes of another record are sent on unchanged by every codec."""
    schema = Schema(bytes, None, serializer, serializer)
    data = schema.encode_key(verbatim(b"x")), schema.encode_value(verbatim(b"y"))
    assert data == (b"x", b"y")
    assert [type(one) for one in data] == [bytes, bytes]
    assert verbatim(None) is None
    assert Versioned(value_type=Order).encode(None, verbatim(b"y"), OLD) == (None, b"y", OLD)


def test_a_codec_must_give_bytes() -> None:
    """A codec that gives text is named, before the client trips over it."""

    class Text(Codec):
        """Forgets to encode."""

        def _dumps(self, obj: Any) -> Any:
            return json.dumps(obj)

    with pytest.raises(EncodeError, match="the codec Text gave str, not bytes"):
        Schema(value_serializer=Text()).encode_value(1)


async def test_hooks_and_codecs_on_the_way_through_agents(lab: Lab) -> None:
    """An agent gets what the hooks make of records; what it forwards has the same bytes, what it sends has the headers."""
    source = lab.topic("orders", schema=Versioned(key_type=str, value_type=Order))
    copies = lab.topic("copies", schema=Schema(str, Order, value_serializer=Gzip()))
    sent = lab.topic("sent", schema=source.schema)
    seen: list[Any] = []

    async def work(stream: Stream[Any]) -> None:
        async for event in stream.events():
            seen.append((event.key, event.value))
            await event.forward(copies)
            await event.send(sent)

    await lab.start([lab.agent(work, source)], topics=[copies, sent])
    await source.send(Order("tea"), key="K", headers={"a": b"b"})
    await lab.until(
        lambda: len(seen) == 1 and bool(lab.records("sent")) and bool(lab.records("copies")), "it is sent on"
    )
    assert seen == [("k", Order("tea"))]
    both = [("a", b"b"), ("version", b"2")]
    for topic, headers in (("orders", both), ("copies", both), ("sent", both[1:])):
        (record,) = lab.records(topic)
        assert (record.key, record.value, list(record.headers)) == (b"k", b'{"item":"tea"}', headers)
