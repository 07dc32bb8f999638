"""What is typed, as bytes."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import date
from typing import Any

import pytest

from stream_cli.texts import TextEncoder, find_type
from stream_core.errors import ConfigurationError, EncodeError
from stream_core.values.record import Record
from stream_core.values.schemas import Schema


class Parcel(Record, include_metadata=False):
    """A typed value."""

    to: str
    grams: int


class Crate:
    """A namespace for a second class of a name."""

    class Lid(Record):
        """One of two."""


class Box:
    """A namespace for a second class of a name."""

    class Lid(Record):
        """The other."""


def encode(text: str, schema: Schema = Schema(), **options: Any) -> bytes | None:  # noqa: B008 - frozen
    """The bytes of a value."""
    return TextEncoder("value", schema, **options).encode(text)


@pytest.mark.parametrize("text", ["hello", "5", '{"to":', "", "grün", "\udcff"])
def test_text_is_sent_as_it_is(text: str) -> None:
    """Without a type nothing is parsed, not even bytes that are no text."""
    assert encode(text) == text.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("type_", "text", "data"),
    [
        (str, "hello", b'"hello"'),
        (int, "5", b"5"),
        (date, "2026-11-26", b'"2026-11-26"'),
        (bytes, "5", b"5"),
        (list[int], "[1, 2]", b"[1,2]"),
        (Parcel, '{"grams": 5, "to": "joe"}', b'{"to":"joe","grams":5}'),
    ],
)
def test_the_type_of_the_topic_says_how_text_is_read(type_: Any, text: str, data: bytes) -> None:
    """Numbers, dates and text are typed as one says them, the rest is JSON; what is sent is what the topic's schema writes."""
    assert encode(text, Schema(value_type=type_)) == data


def test_keys_have_the_codec_of_keys() -> None:
    """Keys are raw where values are JSON."""
    schema = Schema(key_type=int, value_type=int)
    assert TextEncoder("key", schema).encode("5") == b"5"
    assert TextEncoder("key", Schema(key_type=str)).encode("joe") == b"joe"
    assert TextEncoder("key", Schema(key_type=str, key_serializer="json")).encode("joe") == b'"joe"'
    assert TextEncoder("key", Schema(), "Parcel").encode('{"to":"joe","grams":1}') == b'{"to":"joe","grams":1}'


@pytest.mark.parametrize(
    ("type_", "text", "problem"),
    [
        (Parcel, '{"to": "joe", "grams": "much"}', r"Expected `int`, got `str` - at `\$\.grams`"),
        (Parcel, '{"to": "joe"}', "missing required field `grams`"),
        (Parcel, "hello", "JSON is malformed"),
        (int, "five", "Expected `int`"),
    ],
)
def test_what_does_not_fit_is_refused(type_: Any, text: str, problem: str) -> None:
    """The message has the type, the field, and the way around the check."""
    with pytest.raises(
        EncodeError, match=rf"the value does not fit {type_.__name__}: .*{problem}.*; --value-serializer raw"
    ):
        encode(text, Schema(value_type=type_))


def test_what_is_no_json_is_answered_with_the_fields() -> None:
    """Whoever types text where a record belongs sees what to type."""
    with pytest.raises(EncodeError, match=r'; it is not JSON: type \{"to": \.\.\., "grams": \.\.\.\}; --value'):
        encode("tea", Schema(value_type=Parcel))
    with pytest.raises(EncodeError) as caught:
        encode("[1]", Schema(value_type=Parcel))
    assert "no JSON" not in str(caught.value)


def test_raw_checks_nothing() -> None:
    """``--value-serializer raw`` sends what does not fit on purpose."""
    assert encode('{"to":', Schema(value_type=Parcel), serializer="raw") == b'{"to":'


@pytest.mark.parametrize(
    ("serializer", "text", "data"),
    [
        ("json", '{"a": 1}', b'{"a":1}'),
        ("json", "hello", b'"hello"'),
        ("binary", "hello", b64encode(b"hello")),
        ("json|binary", "5", b64encode(b"5")),
        ("text", "5", b"5"),
    ],
)
def test_a_codec_without_a_type(serializer: str, text: str, data: bytes) -> None:
    """JSON is taken as what it says, anything else as text; codecs of text take it as it is."""
    assert encode(text, serializer=serializer) == data


def test_the_codec_of_an_untyped_topic_is_used() -> None:
    """A codec whose bytes one cannot type is that of the topic."""
    assert encode("hello", Schema(value_serializer="binary")) == b64encode(b"hello")
    assert encode("hello", Schema(value_serializer="json")) == b"hello"


def test_a_codec_that_does_not_exist() -> None:
    """The nearest codec is named."""
    with pytest.raises(ConfigurationError, match="no codec 'jsn': did you mean 'json'"):
        encode("5", serializer="jsn")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("int", int),
        ("Parcel", Parcel),
        (f"{Parcel._options.namespace}", Parcel),
        ("Crate.Lid", Crate.Lid),
        ("decimal.Decimal", __import__("decimal").Decimal),
    ],
)
def test_types_are_found_by_name(name: str, found: Any) -> None:
    """Plain types, records by the end of their name or all of it, and any class by its module."""
    assert find_type(name) is found


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("Parcl", r"no type Parcl; did you mean Parcel\?"),
        ("Lid", r"Lid may be .*Box\.Lid or .*Crate\.Lid"),
        ("qqqqqq", "name a record class of the app"),
        ("decimal.Qqqqqq", "name a record class of the app"),
        ("..", "name a record class of the app"),
        ("..decimal.Decimal", "name a record class of the app"),
    ],
)
def test_types_that_are_not_found(name: str, answer: str) -> None:
    """The nearest are named, else what a type may be."""
    with pytest.raises(ConfigurationError, match=answer):
        find_type(name)


def test_json_stays_json() -> None:
    """A record that writes metadata writes it from here too, as its agents expect."""
    data = TextEncoder("value", Schema(value_type=Crate.Lid)).encode("{}")
    assert json.loads(data or b"") == {"__faust": {"ns": Crate.Lid._options.namespace}}
