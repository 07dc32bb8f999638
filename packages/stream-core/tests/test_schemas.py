"""Schemas: which bytes the keys and values of topics and tables become, and what happens to bytes that do not fit."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from types import FrameType
from typing import Any, Generic, TypeVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError, EncodeError, ValidationError
from stream_core.primitives import TP, StoredRecord
from stream_core.values.codecs import get_codec
from stream_core.values.record import Record
from stream_core.values.schemas import Failure, Schema, decode_error
from stream_core.values.tags import Secret

NOON = datetime(2020, 1, 2, 12, tzinfo=UTC)


class Transfer(Record, namespace="schemas.Transfer"):
    """A record."""

    account: str
    amount: float


class Packed(Record, serializer="json|binary", namespace="bank.Packed"):
    """A record with a codec of its own."""

    n: int


class Lax(Record, coerce=True):
    """A record that converts."""

    n: int


class Nameless(Record, include_metadata=False):
    """A record that does not say what it is."""

    n: int


class Undecided(Record):
    """A record with a field of which JSON does not say what it is."""

    when: str | datetime


class Side(StrEnum):
    """An enumeration of text."""

    BUY = "buy"


class Opaque:
    """A class that no codec knows."""


def records(*values: bytes | None) -> list[StoredRecord]:
    """Records with these values, from offset 0."""
    return [StoredRecord(offset, 0, None, value) for offset, value in enumerate(values)]


TRANSFER = b'{"account":"a","amount":1.5,"__faust":{"ns":"schemas.Transfer"}}'

TOPIC_VALUES: list[tuple[Any, Any, bytes]] = [
    (None, {"a": [1]}, b'{"a":[1]}'),
    (None, "text", b'"text"'),
    (None, b"\xff", b"\xff"),
    (Any, 1, b"1"),
    (bytes, b'{"a":1}', b'{"a":1}'),
    (str, "hello", b'"hello"'),
    (int, 5, b"5"),
    (float, 1.5, b"1.5"),
    (bool, True, b"true"),
    (Decimal, Decimal("1.10"), b'"1.10"'),
    (datetime, NOON, b'"2020-01-02T12:00:00Z"'),
    (UUID, UUID(int=1), b'"00000000-0000-0000-0000-000000000001"'),
    (Transfer, Transfer("a", 1.5), TRANSFER),
    (Transfer | None, Transfer("a", 1.5), TRANSFER),
    (list[Transfer], [Transfer("a", 1.5)], b"[" + TRANSFER + b"]"),
    (dict[str, int], {"a": 1}, b'{"a":1}'),
    (Packed, Packed(1), get_codec("json|binary").dumps(Packed(1)) or b""),
    (Side, Side.BUY, b'"buy"'),
]


@pytest.mark.parametrize(("type_", "value", "data"), TOPIC_VALUES)
def test_topic_values(type_: Any, value: Any, data: bytes) -> None:
    """Values are JSON, except bytes; both directions agree."""
    schema = Schema(value_type=type_)
    schema.check()
    assert schema.encode_value(value) == data
    assert schema.decode_value(data) == value
    assert schema.decode_values(records(data, None, data)) == ([value, None, value], False)


@pytest.mark.parametrize(
    ("type_", "key", "data"),
    [
        (None, b"k", b"k"),
        (bytes, b"\xff", b"\xff"),
        (str, "é", "é".encode()),
        (str | None, "null", b"null"),
        (int, 5, b"5"),
        (bool, False, b"false"),
        (Decimal, Decimal("1.10"), b"1.10"),
        (datetime, NOON, b"2020-01-02T12:00:00Z"),
        (UUID, UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
        (Side, Side.BUY, b"buy"),
        (Transfer, Transfer("a", 1.5), TRANSFER),
        (tuple[str, int], ("a", 1), b'["a",1]'),
    ],
)
def test_topic_keys(type_: Any, key: Any, data: bytes) -> None:
    """Keys are raw text, except those with structure, which are JSON."""
    schema = Schema(key_type=type_)
    schema.check()
    assert schema.encode_key(key) == data
    assert schema.decode_key(data) == key
    assert schema.encode_key(None) is None
    assert schema.decode_key(None) is None


@pytest.mark.parametrize(
    ("type_", "key", "data"),
    [
        (None, "k", b'"k"'),
        (None, b"k", b"k"),
        (str, "k", b'"k"'),
        (int, 5, b"5"),
        (bytes, b"k", b"k"),
        (tuple[str, tuple[float, float]], ("k", (1599999960.0, 1600000019.9)), b'["k",[1599999960.0,1600000019.9]]'),
        (Transfer, Transfer("a", 1.5), TRANSFER),
    ],
)
def test_table_keys(type_: Any, key: Any, data: bytes) -> None:
    """Keys of tables are JSON of the typed key, as Faust's changelogs have them."""
    schema = Schema.for_table(type_, int)
    assert schema.encode_key(key) == data
    assert schema.decode_key(data) == key


@pytest.mark.parametrize("type_", [None, int, Transfer, dict[str, int]])
def test_a_table_value_may_be_none(type_: Any) -> None:
    """In a table None is a value, not a deletion."""
    schema = Schema.for_table(str, type_)
    assert schema.encode_value(None) == b"null"
    assert schema.decode_value(b"null") is None


def test_none_is_a_tombstone_in_a_topic() -> None:
    """A value of None is sent as no value, by every codec."""
    assert Schema().encode_value(None) is None
    assert Schema(value_serializer="json|binary").encode_value(None) is None
    assert Schema().decode_value(None) is None


def test_untyped_values_are_json_where_they_parse() -> None:
    """Values without a type are JSON, else the bytes, one by one."""
    assert Schema().decode_values(records(b'{"a":1}', b"text", None)) == ([{"a": 1}, b"text", None], False)


def test_failures_keep_their_place_and_lose_nothing() -> None:
    """Records that cannot be decoded are failures with a reason, the others are values."""
    batch = records(TRANSFER, b'{"account":1}', None, b"{", TRANSFER)
    values, failed = Schema(value_type=Transfer).decode_values(batch)
    assert failed
    assert [values[0], values[2], values[4]] == [Transfer("a", 1.5), None, Transfer("a", 1.5)]
    assert [type(value) for value in (values[1], values[3])] == [Failure, Failure]
    assert values[1].record is batch[1]
    assert str(values[1].error) == "Transfer: Expected `str`, got `int` - at `$.account`"


class Login(Record, namespace="bank.Login"):
    """A record with something to hide."""

    user: str
    code: Secret[int]


class Session(Record):
    """A record with such a record in it."""

    logins: dict[str, list[Login] | None]


T = TypeVar("T")


class Box(Record, Generic[T]):
    """A generic record."""

    inside: T


@pytest.mark.parametrize(
    ("type_", "hides"),
    [
        (Login, True),
        (Login | None, True),
        (Session, True),
        (list[Session], True),
        (Any, True),  # the payload may name the class
        (None, True),
        (Transfer, False),
        (Transfer | None, False),
        (Box[Login], True),
        (Box[int], False),
        (dict[str, int], False),
    ],
)
def test_bytes_of_tagged_fields_are_not_shown(type_: Any, hides: bool) -> None:
    """An error tells how the bytes begin, unless a tag hides some of them."""
    error = decode_error("value", b'{"code":"1815"}', type_, ValueError("no"), TP("logins", 0), 7)
    assert ("1815" not in str(error)) is hides
    assert ("15 bytes that are not shown" in str(error)) is hides


@pytest.mark.parametrize("type_", [Any, Transfer, Box[Transfer]])
def test_annotations_are_evaluated_once_however_many_records_cannot_be_decoded(type_: Any) -> None:
    """Whether a tag hides bytes is asked for each such record, and may ask every record class there is."""
    evaluated = 0

    def called(frame: FrameType, event: str, function: object) -> None:
        nonlocal evaluated
        evaluated += event == "c_call" and function is compile

    for _ in range(2):
        evaluated = 0
        sys.setprofile(called)
        try:
            decode_error("value", b"no", type_, ValueError("no"), TP("transfers", 0), 7)
        finally:
            sys.setprofile(None)
    assert not evaluated


@given(st.lists(st.none() | st.binary(max_size=20) | st.just(TRANSFER)))
def test_a_batch_decodes_as_its_records_do(payloads: list[bytes | None]) -> None:
    """The batch form is the single form, record by record."""
    schema = Schema(value_type=Transfer)
    values, failed = schema.decode_values(records(*payloads))
    assert failed == any(type(value) is Failure for value in values)
    for payload, value in zip(payloads, values, strict=True):
        if type(value) is Failure:
            with pytest.raises(type(value.error)):
                schema.decode_value(payload)
        else:
            assert schema.decode_value(payload) == value


def test_options_of_the_record_class_hold_in_batches() -> None:
    """A class that converts does so for topics and tables too."""
    for schema in (Schema(value_type=Lax), Schema(value_type=Lax | None), Schema.for_table(str, Lax)):
        assert schema.decode_values(records(b'{"n":"1"}')) == ([Lax(1)], False)


def test_serializers_win_in_order() -> None:
    """The named serializer comes before that of the class, and that before the default."""
    text = get_codec("json|binary").dumps(Packed(1))
    assert Schema(value_type=Packed, value_default="raw").encode_value(Packed(1)) == text
    assert Schema(value_type=Packed, value_serializer="json").encode_value(Packed(1)) == Packed(1).dumps(
        serializer="json"
    )
    assert Schema(value_type=str, value_serializer="raw").encode_value("hello") == b"hello"
    assert Schema(key_type=str, key_default="json").encode_key("k") == b'"k"'
    assert Schema(value_type=Packed).decode_value(text) == Packed(1)
    assert Schema(value_type=str, value_serializer="text").decode_value(b"a") == "a"
    assert Schema(value_type=int, value_serializer="binary").decode_value(b"NQ==") == 5
    assert Schema(value_serializer="binary").decode_value(b"NQ==") == b"5"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Schema(value_type=Opaque), r"cannot decode value_type Opaque: it is not a Record"),
        (Schema(key_type="Transfer"), r"cannot decode key_type Transfer"),
        (
            Schema(value_type=Transfer | Nameless),
            r"do not say which of Transfer \| Nameless they are: Nameless must not have",
        ),
        (
            Schema(value_type=Opaque, value_serializer="json|binary"),
            r"cannot decode value_type Opaque: it is not a Record",
        ),
        (Schema(value_serializer="jsn"), r"did you mean 'json'"),
        (
            Schema(value_type=Transfer, value_serializer="raw"),
            r"raw serializer cannot hold Transfer: use serializer 'json'",
        ),
        (Schema(value_type=str | datetime), r"cannot decode value_type str \| datetime.*more than one str-like"),
        (Schema(value_type=UUID | str), r"cannot decode value_type .*UUID \| str: .*more than one str-like"),
        (Schema(value_type=list | set), r"cannot decode value_type list \| set: .*more than one array-like"),
        (Schema(value_type=dict | Transfer), r"cannot decode value_type dict \| .*Transfer: .*more than one dict-like"),
        (Schema(value_type=Undecided), r"cannot decode value_type Undecided: .*more than one str-like"),
    ],
)
def test_a_schema_that_cannot_work_is_refused_before_it_is_used(schema: Schema, message: str) -> None:
    """``check`` raises a sentence for types and serializers that do not exist or do not fit."""
    with pytest.raises(ConfigurationError, match=message):
        schema.check()


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (Schema(value_type=int), Opaque(), r"cannot encode value of type Opaque as value_type int: "),
        (Schema(), {1, 2, Opaque}, r"cannot encode value of type set: "),
        (Schema(value_serializer="raw"), {}, r"dict has no raw form"),
    ],
)
def test_what_cannot_be_encoded_is_an_encode_error(schema: Schema, value: Any, message: str) -> None:
    """The error names the value's type and the declared one."""
    with pytest.raises(EncodeError, match=message):
        schema.encode_value(value)


def test_a_field_that_cannot_be_encoded_is_an_encode_error() -> None:
    """Values that were assigned to a record against its type are found on encoding."""
    with pytest.raises(EncodeError, match=r"Opaque is unsupported: give the class a method __json__\(\)"):
        Schema(value_type=Transfer).encode_value(Transfer(Opaque(), 1.0))


def test_custom_codecs_get_plain_data() -> None:
    """A codec that is not JSON is given what the wire would hold, and its data is converted back."""

    class Parts(type(get_codec("raw"))):  # type: ignore[misc]
        """Remembers what it was given."""

        def _dumps(self, obj: Any) -> bytes:
            return repr(obj).encode()

        def _loads(self, data: bytes) -> Any:
            return {"account": "a", "amount": 1.5} if data else None

    schema = Schema(value_type=Transfer, value_serializer=Parts())
    assert schema.encode_value(Transfer("a", 1.5)) == (
        b"{'account': 'a', 'amount': 1.5, '__faust': {'ns': 'schemas.Transfer'}}"
    )
    assert schema.decode_value(b"x") == Transfer("a", 1.5)
    with pytest.raises(ValidationError, match=r"^Transfer: "):
        schema.decode_value(b"")
