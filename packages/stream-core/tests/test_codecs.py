"""Codecs: bytes and back, chains, and names that do not exist."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import ConfigurationError
from stream_core.values import codecs
from stream_core.values.codecs import Codec, Pickle, codec_names, get_codec, register
from stream_core.values.record import Record

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


class Reversed(Codec):
    """Bytes back to front."""

    def _dumps(self, obj: bytes) -> bytes:
        return obj[::-1]

    def _loads(self, data: bytes) -> bytes:
        return data[::-1]


class Point(Record, namespace="codecs.Point"):
    """A record."""

    x: int
    on: date


class Custom:
    """An object that says what it is in JSON."""

    def __json__(self) -> Any:
        return {"custom": True}


@given(JSON)
def test_json_returns_what_it_was_given(value: Any) -> None:
    """Plain data survives JSON."""
    codec = get_codec("json")
    data = codec.dumps(value)
    assert data is not None
    assert codec.loads(data) == value


@given(JSON)
def test_a_chain_undoes_itself(value: Any) -> None:
    """Decoding a chain runs its codecs from right to left."""
    codec = get_codec("json | binary") | Reversed()
    data = codec.dumps(value)
    assert data is not None
    assert codec.loads(data) == value


@pytest.mark.parametrize(
    ("value", "data"),
    [
        ({1: "é"}, '{"1":"é"}'.encode()),
        (datetime(2020, 1, 2, 3, 4, 5, 6, tzinfo=UTC), b'"2020-01-02T03:04:05.000006Z"'),
        (Decimal("1.10"), b'"1.10"'),
        ({3}, b"[3]"),
        (b"ab", b'"YWI="'),
        ([Custom()], b'[{"custom":true}]'),
        (None, b"null"),
    ],
)
def test_json_bytes(value: Any, data: bytes) -> None:
    """JSON is compact UTF-8, with the forms that records use for what JSON lacks."""
    assert get_codec("json").dumps(value) == data


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (b"\xff", b"\xff"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        ("é", "é".encode()),
        (None, None),
        (5, b"5"),
        (1.5, b"1.5"),
        (True, b"true"),
        (date(2020, 1, 2), b"2020-01-02"),
        (UUID(int=1), b"00000000-0000-0000-0000-000000000001"),
    ],
)
def test_raw_bytes(value: Any, data: bytes | None) -> None:
    """Raw keeps bytes and None, and writes scalars as their text."""
    assert get_codec("raw").dumps(value) == data


def test_raw_has_no_form_for_structures() -> None:
    """Raw refuses what has fields or items, instead of writing its repr."""
    with pytest.raises(TypeError, match="dict has no raw form"):
        get_codec("raw").dumps({})


def test_raw_text_and_binary_differ_in_what_they_decode_to() -> None:
    """Raw decodes to bytes, text to str, binary from base64."""
    assert get_codec("raw").loads(b"a") == b"a"
    assert get_codec("text").loads(b"a") == "a"
    assert get_codec("binary").loads(b"YQ==") == b"a"
    assert get_codec("binary").dumps(None) is None
    with pytest.raises(ValueError, match=r"base64|padding"):
        get_codec("binary").loads(b"not base64!")


@given(JSON)
def test_yaml_returns_what_it_was_given(value: Any) -> None:
    """Plain data survives YAML."""
    codec = get_codec("yaml")
    data = codec.dumps(value)
    assert data is not None
    assert codec.loads(data) == value


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"[" * 100_000, "nested more than 100 deep"),
        (b"- " * 100_000, "nested more than 100 deep"),
        (b"{a: " * 50_000, "nested more than 100 deep"),
        (b"? " * 100_000, "nested more than 100 deep"),
        (b"- x\n" * 100_000, "400000 bytes of YAML are more than 250000"),
        (b"1" * 100_000, "integer string conversion"),
    ],
)
def test_yaml_of_anybody(data: bytes, why: str) -> None:
    """A document that would end the process, or keep the event loop for seconds, is refused."""
    with pytest.raises(ValueError, match=why):
        get_codec("yaml").loads(data)


def test_yaml_is_read_to_its_bounds() -> None:
    """What is nested as deep as it may be is read."""
    value: Any = get_codec("yaml").loads(b"[" * 100 + b"]" * 100)
    for _ in range(99):
        (value,) = value
    assert value == []


def test_yaml_bytes() -> None:
    """YAML writes what JSON writes, in the order of the fields; it reads no tags, and reports nonsense as ValueError."""
    codec = get_codec("yaml")
    assert codec.dumps(Point(1, date(2020, 1, 2))) == b"x: 1\n'on': '2020-01-02'\n__faust:\n  ns: codecs.Point\n"
    for text in ("\x85    ", "a\u2028 b", "\u2029é"):
        assert codec.loads(codec.dumps({"text": text}) or b"") == {"text": text}
    assert codec.dumps("é") == "é\n...\n".encode()
    for evil in (b"!!python/object/apply:os.getcwd []", b"a: [1"):
        with pytest.raises(ValueError, match="it is no YAML"):
            codec.loads(evil)


def test_pickle_works_where_it_is_registered_on_purpose() -> None:
    """Pickle, in base64, as Faust writes it."""
    register("pickle-on-purpose", Pickle())
    codec = get_codec("pickle-on-purpose")
    data = codec.dumps({1: {2, 3}})
    assert data is not None
    assert data.isascii()
    assert codec.loads(data) == {1: {2, 3}}


def test_codecs_of_other_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point names a codec or what makes one; one that is none, or cannot be loaded, is named in the error."""
    (tmp_path / "shouting.py").write_text(
        "from stream_core.values.codecs import Codec\n"
        "class Shout(Codec):\n"
        "    def _dumps(self, obj): return obj.upper().encode()\n"
        "    def _loads(self, data): return data.decode().lower()\n"
        "shout = Shout()\n"
    )
    metadata = tmp_path / "shouting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[stream.codecs]\nshout = shouting:shout\nshout-class = shouting:Shout\nno-codec = builtins:dict\ngone = shouting:Gone\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {"shout", "shout-class"} < set(codec_names())
    assert get_codec("shout|binary").dumps("a") == b"QQ=="
    assert get_codec("shout-class").loads(b"A") == "a"
    with pytest.raises(ConfigurationError, match=r"'no-codec' \(builtins:dict\) is of type dict, no Codec"):
        get_codec("no-codec")
    with pytest.raises(ConfigurationError, match=r"'gone' \(shouting:Gone\) cannot be loaded: .*Gone"):
        get_codec("gone")


def test_registered_codecs_are_found_and_listed() -> None:
    """A registered codec has a name, also in chains."""
    register("reversed", Reversed())
    assert "reversed" in codec_names()
    assert get_codec("raw|reversed").dumps("abc") == b"cba"
    with pytest.raises(ConfigurationError, match="separates the names of a chain"):
        register("a|b", Reversed())


def test_a_codec_is_its_own_name() -> None:
    """A codec object may stand where a name may."""
    codec = Reversed()
    assert get_codec(codec) is codec


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jsn", "did you mean 'json'"),
        ("zzzz", "known are avro, binary, .*json"),
        ("jsn|binary", "did you mean 'json'"),
        ("pickle", r"runs code that the message names, so it is refused.*register\('pickle'"),
    ],
)
def test_an_unknown_codec_is_refused_in_a_sentence(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the nearest codec, or how to get one that is left out on purpose."""
    monkeypatch.delitem(codecs._codecs, "pickle", raising=False)  # the guides, tried in the same process, register it
    with pytest.raises(ConfigurationError, match=message):
        get_codec(name)


def test_an_incomplete_codec_says_what_is_missing() -> None:
    """A codec without its two methods names the one that is called."""
    with pytest.raises(ConfigurationError, match="define _dumps"):
        Codec().dumps(1)
    with pytest.raises(ConfigurationError, match="define _loads"):
        Codec().loads(b"")
