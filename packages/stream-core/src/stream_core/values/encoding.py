"""Codecs for typed values: which functions encode and decode a type, given the codec that is named for it.

A serializer that is named comes first, then the one of the record class, then the default of the place. JSON and raw need
no package and no class to be named, and they follow the type: ``bytes`` are always raw; raw keys are text for ``str``, numbers
and dates, and JSON for anything with structure; JSON without a type is the bytes where it does not parse.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType
from typing import Any, get_args
from uuid import UUID

import msgspec
import orjson

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.values.codecs import Codec, CodecArg, get_codec
from stream_core.values.decoding import convert, decoder
from stream_core.values.registered import RegisteredCodec, TopicCodec
from stream_core.values.wire import Encoders, is_record, options_of, without_none

__all__ = [
    "Decode",
    "Encode",
    "Verbatim",
    "by_type",
    "choose",
    "decoder_of",
    "encoder_of",
    "json_or_bytes",
    "same",
    "type_name",
    "verbatim",
]

Decode = Callable[[bytes], Any]
Encode = Callable[[Any], Any]


class Verbatim(bytes):
    """Bytes that are encoded already: any codec leaves them as they are."""


def verbatim(data: bytes | None) -> Verbatim | None:
    """Mark encoded bytes of a record, to be sent as they are."""
    return None if data is None else Verbatim(data)


_TEXT_LIKE = (str, int, float, bool, Decimal, datetime, date, time, timedelta, UUID)


def choose(type_: Any, named: CodecArg, default: Codec | str) -> Codec | str:
    """Return the codec of a type: ``"json"`` and ``"raw"`` by these names, any other as the codec itself. Raises ConfigurationError."""
    options = options_of(type_)
    codec = named or (options and options.serializer) or default
    if codec in ("json", "raw") and type_ is bytes:
        return "raw"
    if codec == "raw" and not _is_text_like(type_):
        if named:
            raise ConfigurationError(
                f"the raw serializer cannot hold {type_name(type_)}: use serializer 'json', or bytes as type"
            )
        return "json"
    return codec if codec in ("json", "raw") else get_codec(codec)


def _is_text_like(type_: Any) -> bool:
    members = get_args(type_)
    if members and NoneType in members:
        return all(member is NoneType or _is_text_like(member) for member in members)
    return type_ in (None, Any, bytes, *_TEXT_LIKE) or (isinstance(type_, type) and issubclass(type_, Enum))


def type_name(type_: Any) -> str:
    return type_.__name__ if isinstance(type_, type) else str(type_)


# -- decoding


def decoder_of(type_: Any, codec: Codec | str, part: str) -> Decode:
    """Make what decodes a key or a value.

    Args:
        type_: what it becomes; ``None`` or ``Any`` for what the codec gives.
        codec: the codec, or the name ``raw``.
        part: ``key`` or ``value``, for messages.

    Raises:
        ConfigurationError: the type cannot be decoded.
    """
    if codec == "raw":
        return _text_decoder(type_)
    untyped = type_ is None or type_ is Any
    if isinstance(codec, Codec) and (untyped or _reads_whole(codec)):
        return codec.loads
    if untyped:
        return json_or_bytes
    try:
        if not is_record(type_) and isinstance(type_, str | type) and _is_unknown(type_):
            raise TypeError("it is not a Record, and msgspec does not know it")
        return _codec_decoder(type_, codec) if isinstance(codec, Codec) else decoder(type_)
    except (TypeError, NameError) as error:
        raise ConfigurationError(f"cannot decode {part}_type {type_name(type_)}: {error}") from error


def _reads_whole(codec: Codec) -> bool:
    return isinstance(codec, RegisteredCodec | TopicCodec) and codec.whole


def is_final(error: BaseException) -> bool:
    """Tell whether decoding the same bytes again gives the same error: the values are wrong, and nobody else was asked."""
    while error.__cause__ is not None:
        error = error.__cause__
    return isinstance(error, (msgspec.MsgspecError, ValueError, RecursionError))


def _is_unknown(type_: Any) -> bool:
    return isinstance(msgspec.inspect.type_info(type_), msgspec.inspect.CustomType)


def _text_decoder(type_: Any) -> Decode:
    if type_ in (None, Any, bytes):
        return same
    plain = without_none(type_)
    if plain is str:
        return bytes.decode
    return lambda data: msgspec.convert(data.decode(), plain, strict=False)


def _codec_decoder(type_: Any, codec: Codec) -> Decode:
    from_text = _text_decoder(type_) if _is_text_like(type_) else None
    decoder(type_)  # what cannot be decoded from JSON cannot be from anything else

    def decode(data: bytes) -> Any:
        loaded = codec.loads(data)
        return from_text(loaded) if from_text and isinstance(loaded, bytes) else convert(loaded, type_)

    return decode


def same(data: bytes) -> bytes:
    return data


def json_or_bytes(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return data


# -- encoding


def by_type(codec: Codec | str, *, nullable: bool) -> dict[type, Encode]:
    """Return how objects of each type are encoded; types that are not in it are added when they are seen."""
    given: dict[type, Encode] = {Verbatim: bytes} if nullable else {Verbatim: bytes, NoneType: same}
    if codec == "json":
        return Encoders({bytes: same, bytearray: bytes, memoryview: bytes, **given})
    if codec == "raw":
        raw = get_codec(codec).dumps
        return defaultdict(lambda: raw, {bytes: same, str: str.encode, Verbatim: bytes})
    if isinstance(codec, TopicCodec):
        return defaultdict(lambda: codec.dumps, given)
    dumps = _bytes_only(get_codec(codec))
    return defaultdict(
        lambda: lambda value: dumps(value.to_representation() if options_of(type(value)) else value), given
    )


def _bytes_only(codec: Codec) -> Encode:
    """Return the encoder of a codec, which must give bytes, or ``None`` for a tombstone."""

    def dumps(value: Any) -> bytes | None:
        data = codec.dumps(value)
        if data is None or isinstance(data, bytes):
            return data
        raise TypeError(f"the codec {type(codec).__name__} gave {type(data).__name__}, not bytes")

    return dumps


def encoder_of(functions: dict[type, Encode], part: str, type_: Any) -> Encode:
    def encode(value: Any) -> Any:
        try:
            return functions[type(value)](value)
        except Exception as error:
            declared = "" if type_ is None else f" as {part}_type {type_name(type_)}"
            raise EncodeError(f"cannot encode {part} of type {type(value).__name__}{declared}: {error}") from error

    return encode
