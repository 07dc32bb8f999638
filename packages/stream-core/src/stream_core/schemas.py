"""Schemas: the types of keys and values, compiled once into plain functions between objects and bytes.

A serializer that is named comes first, then the one of the record class, then the default of the place. JSON and raw need
no package and no class to be named, and they follow the type: ``bytes`` are always raw; raw keys are text for ``str``, numbers
and dates, and JSON for anything with structure; JSON without a type is the bytes where it does not parse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from types import NoneType
from typing import Any, Optional, Self, get_args
from uuid import UUID

import msgspec
import orjson

from stream_core.codecs import Codec, CodecArg, get_codec
from stream_core.errors import ConfigurationError, EncodeError
from stream_core.records import RawRecord
from stream_core.wire import Encoders, convert, decoder, options_of, without_none

__all__ = ["Failure", "Schema"]

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], Any]

_TEXT_LIKE = (str, int, float, bool, Decimal, datetime, date, time, timedelta, UUID)


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands in the place of a value that could not be decoded.

    Attributes:
        error: what the codec raised; msgspec's message ends with the path of the field.
        record: the record.
    """

    error: Exception
    record: RawRecord


@dataclass(frozen=True)
class Schema:
    """How the keys and values of a topic or table are encoded.

    Attributes:
        key_type: type of the keys; ``None`` for bytes.
        value_type: type of the values; ``None`` for JSON where it parses, else bytes.
        key_serializer: codec of the keys, by name; ``None`` for that of the record class, else ``key_default``.
        value_serializer: codec of the values, by name; ``None`` for that of the record class, else ``value_default``.
        key_default: codec of keys for which nothing says otherwise.
        value_default: codec of values for which nothing says otherwise.
        nullable: whether the value ``None`` is a value, not a tombstone.
    """

    key_type: Any = None
    value_type: Any = None
    key_serializer: CodecArg = None
    value_serializer: CodecArg = None
    key_default: Codec | str = "raw"
    value_default: Codec | str = "json"
    nullable: bool = False

    @classmethod
    def for_table(
        cls,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
    ) -> Self:
        """The schema of a table: keys are JSON too (``b'"k"'``, ``b'5'``), unless they are bytes; ``None`` may be a value."""
        return cls(key_type, value_type, key_serializer, value_serializer, key_default="json", nullable=True)

    def check(self) -> None:
        """Compile everything now. Raises ConfigurationError for types and serializers that do not exist or do not fit."""
        _ = self.decode_key, self.encode_key, self.decode_values, self.encode_value

    # -- keys

    @cached_property
    def decode_key(self) -> Callable[[bytes | None], Any]:
        """Decodes key bytes; ``None`` stays ``None``. Raises what the codec raises."""
        return _unless_none(_decoder(self.key_type, self._key_codec, "key"))

    @cached_property
    def encode_key(self) -> Callable[[Any], bytes | None]:
        """Encodes a key; ``None`` stays ``None``. Raises EncodeError."""
        return _encoder(_by_type(self._key_codec, nullable=False), "key", self.key_type)

    @property
    def _key_codec(self) -> Codec | str:
        return _choose(self.key_type, self.key_serializer, self.key_default)

    # -- values

    @cached_property
    def decode_value(self) -> Callable[[bytes | None], Any]:
        """Decodes value bytes; ``None``, a tombstone, stays ``None``. Raises what the codec raises."""
        return _unless_none(_decoder(self._decoded_type, self._value_codec, "value"))

    @cached_property
    def decode_values(self) -> Callable[[Sequence[RawRecord]], tuple[list[Any], bool]]:
        """Decodes the values of records: returns them in order, and whether any of them is a :class:`Failure`.

        Tombstones are ``None``. Nothing of ours is called per record when msgspec can decode the type.
        """
        decode, decode_one = _decoder(self._decoded_type, self._value_codec, "value"), self.decode_value
        if decode is _same:
            return lambda records: ([record.value for record in records], False)
        if decode is _json_or_bytes:
            decode = orjson.loads

        def decode_values(records: Sequence[RawRecord]) -> tuple[list[Any], bool]:
            try:
                return [None if (value := record.value) is None else decode(value) for record in records], False
            except Exception:
                values = [_attempt(decode_one, record) for record in records]
                return values, any(type(value) is Failure for value in values)

        return decode_values

    @cached_property
    def encode_value(self) -> Callable[[Any], bytes | None]:
        """Encodes a value; ``None`` is a tombstone unless the schema is nullable. Raises EncodeError."""
        return _encoder(_by_type(self._value_codec, nullable=self.nullable), "value", self.value_type)

    @property
    def _value_codec(self) -> Codec | str:
        return _choose(self.value_type, self.value_serializer, self.value_default)

    @property
    def _decoded_type(self) -> Any:
        known = self.nullable and self.value_type not in (None, Any, bytes)
        return Optional[self.value_type] if known else self.value_type  # noqa: UP045 - a value, not an annotation


def _choose(type_: Any, named: CodecArg, default: Codec | str) -> Codec | str:
    """The codec of a type: ``"json"`` and ``"raw"`` by these names, any other as the codec itself."""
    options = options_of(type_)
    codec = named or (options and options.serializer) or default
    if codec in ("json", "raw") and type_ is bytes:
        return "raw"
    if codec == "raw" and not _is_text_like(type_):
        if named:
            raise ConfigurationError(
                f"the raw serializer cannot hold {_name(type_)}: use serializer 'json', or bytes as type"
            )
        return "json"
    return codec if codec in ("json", "raw") else get_codec(codec)


def _is_text_like(type_: Any) -> bool:
    members = get_args(type_)
    if members and NoneType in members:
        return all(member is NoneType or _is_text_like(member) for member in members)
    return type_ in (None, Any, bytes, *_TEXT_LIKE) or (isinstance(type_, type) and issubclass(type_, Enum))


def _name(type_: Any) -> str:
    return type_.__name__ if isinstance(type_, type) else str(type_)


# -- decoding


def _decoder(type_: Any, codec: Codec | str, part: str) -> Decode:
    if codec == "raw":
        return _text_decoder(type_)
    untyped = type_ is None or type_ is Any
    if isinstance(codec, Codec):
        return codec.loads if untyped else _codec_decoder(type_, codec)
    if untyped:
        return _json_or_bytes
    try:
        if isinstance(msgspec.inspect.type_info(type_), msgspec.inspect.CustomType):
            raise TypeError("it is not a Record, and msgspec does not know it")
        return decoder(type_)
    except (TypeError, NameError) as error:
        raise ConfigurationError(f"cannot decode {part}_type {_name(type_)}: {error}") from error


def _text_decoder(type_: Any) -> Decode:
    if type_ in (None, Any, bytes):
        return _same
    plain = without_none(type_)
    if plain is str:
        return bytes.decode
    return lambda data: msgspec.convert(data.decode(), plain, strict=False)


def _codec_decoder(type_: Any, codec: Codec) -> Decode:
    from_text = _text_decoder(type_) if _is_text_like(type_) else None

    def decode(data: bytes) -> Any:
        loaded = codec.loads(data)
        return from_text(loaded) if from_text and isinstance(loaded, bytes) else convert(loaded, type_)

    return decode


def _same(data: bytes) -> bytes:
    return data


def _json_or_bytes(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


def _unless_none(decode: Decode) -> Callable[[bytes | None], Any]:
    return lambda data: None if data is None else decode(data)


def _attempt(decode: Callable[[bytes | None], Any], record: RawRecord) -> Any:
    try:
        return decode(record.value)
    except Exception as error:
        return Failure(error, record)


# -- encoding


def _by_type(codec: Codec | str, *, nullable: bool) -> dict[type, Encode]:
    """How objects of each type are encoded; types that are not in it come when they are seen."""
    given: dict[type, Encode] = {} if nullable else {NoneType: _same}
    if codec == "json":
        return Encoders({bytes: _same, bytearray: bytes, memoryview: bytes, **given})
    dumps = get_codec(codec).dumps
    if codec == "raw":
        return defaultdict(lambda: dumps)
    return defaultdict(
        lambda: lambda value: dumps(value.to_representation() if options_of(type(value)) else value), given
    )


def _encoder(by_type: dict[type, Encode], part: str, type_: Any) -> Encode:
    def encode(value: Any) -> Any:
        try:
            return by_type[type(value)](value)
        except Exception as error:
            declared = "" if type_ is None else f" as {part}_type {_name(type_)}"
            raise EncodeError(f"cannot encode {part} of type {type(value).__name__}{declared}: {error}") from error

    return encode
