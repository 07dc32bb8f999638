"""Schemas: the types of keys and values, compiled once into plain functions between objects and bytes.

What a subclass overrides of the four hooks is found at that time too: a schema that overrides none pays nothing for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Optional, Self

import orjson

from stream_core.errors import ConfigurationError, DecodeError, EncodeError, ValidationError
from stream_core.primitives import TP, Headers, RawRecord
from stream_core.values.codecs import Codec, CodecArg
from stream_core.values.encoding import (
    Decode,
    Encode,
    Verbatim,
    by_type,
    choose,
    decoder_of,
    encoder_of,
    is_final,
    json_or_bytes,
    same,
    type_name,
)
from stream_core.values.faults import fault
from stream_core.values.registered import RegisteredCodec, Schemas, TopicCodec
from stream_core.values.wire import is_tagged

__all__ = ["Failure", "Schema", "decode_error"]

SHOWN = 80
"""Bytes of a key or value that an error shows."""


def decode_error(part: str, data: bytes | None, type_: Any, cause: Exception, tp: TP, offset: int) -> DecodeError:
    """Make the error of a record that cannot be decoded: one sentence with the place, the path inside the value, and how it begins.

    Args:
        part: ``"key"`` or ``"value"``.
        data: its bytes; they are not shown where a tag may hide some of them.
        type_: what they should have become.
        cause: what the decoder said.
        tp: the topic and partition of the record.
        offset: its offset.
    """
    if data is None:
        shown = ""
    elif is_tagged(type_):
        shown = f", in {len(data)} bytes that are not shown: fields of it have tags"
    else:
        shown = f", in {data!r}" if len(data) <= SHOWN else f", in {data[:SHOWN]!r} and more"
    error = DecodeError(f"cannot decode the {part}: {cause}{shown}", tp, offset, final=is_final(cause))
    error.__cause__ = cause
    return error


@dataclass(frozen=True, slots=True)
class Failure:
    """Stands in the place of a value that could not be decoded.

    Attributes:
        error: why; of a record class, it names the class and the path of the field.
        record: the record.
    """

    error: Exception
    record: RawRecord


@dataclass(frozen=True)
class Schema:
    """How the keys and values of a topic or table are encoded.

    A subclass may override :meth:`loads_key`, :meth:`loads_value`, :meth:`dumps_key` and :meth:`dumps_value`, for topics whose
    records say in their headers what they are.

    Attributes:
        key_type: type of the keys; ``None`` for bytes.
        value_type: type of the values; ``None`` for JSON where it parses, else bytes.
        key_serializer: codec of the keys, by name; ``None`` for that of the record class, else ``key_default``.
        value_serializer: codec of the values, by name; ``None`` for that of the record class, else ``value_default``.
        allow_empty: whether a record without a value, a tombstone, is decoded to ``None``; if not it cannot be decoded.
        key_default: codec of keys for which nothing says otherwise.
        value_default: codec of values for which nothing says otherwise.
        nullable: whether the value ``None`` is a value, not a tombstone.
    """

    key_type: Any = None
    value_type: Any = None
    key_serializer: CodecArg = None
    value_serializer: CodecArg = None
    allow_empty: bool = True
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
        """Return the schema of a table: keys are JSON too (``b'"k"'``, ``b'5'``), unless they are bytes; ``None`` may be a value.

        :meta private:
        """
        return cls(key_type, value_type, key_serializer, value_serializer, key_default="json", nullable=True)

    def on_topic(self, topic: str, registry: Callable[[], Schemas | None]) -> Self:
        """Return the same schema for the records of one topic: codecs that need a schema registry know topic, type and registry then.

        :meta private:
        """
        bound = {
            f"{part}_serializer": _bound(codec, topic, part, type_, registry())
            for part, codec, type_ in (
                ("key", self.key_codec, self.key_type),
                ("value", self._value_codec, self.value_type),
            )
            if isinstance(codec, RegisteredCodec)
        }
        return replace(self, **bound) if bound else self  # type: ignore[arg-type]

    @cached_property
    def registered(self) -> tuple[TopicCodec | None, TopicCodec | None]:
        """The codecs of keys and of values that a schema registry is asked for before they are used.

        :meta private:
        """
        key, value = self.key_codec, self._value_codec
        return key if isinstance(key, TopicCodec) else None, value if isinstance(value, TopicCodec) else None

    async def ready_to_read(self, records: Sequence[RawRecord], wanted: Callable[[], bool] = lambda: True) -> None:
        """Wait until records can be decoded: where they need a schema registry, it is asked once for each id of a schema.

        Args:
            records: the records.
            wanted: tells whether they are wanted still, while the registry cannot be reached.

        :meta private:
        """
        key, value = self.registered
        if key is not None:
            await key.ready_to_read([record.key for record in records], wanted)
        if value is not None:
            await value.ready_to_read([record.value for record in records], wanted)

    def check(self) -> None:
        """Compile everything now. Raises ConfigurationError for types and serializers that do not exist or do not fit.

        :meta private:
        """
        if self.nullable:
            for part, codec in (("key", self.key_codec), ("value", self._value_codec)):
                if isinstance(codec, RegisteredCodec):
                    raise ConfigurationError(
                        f"a table reads and writes at once, and cannot wait for a schema registry: {type(codec).__name__} is for topics, "
                        f"so give the table {part}_serializer='json'"
                    )
        _ = self.decode_key, self.encode_key, self.decode_values, self.encode_value
        for name, hook in HOOKS.items():
            _check_hook(self, name, hook)

    @property
    def native_keys(self) -> bool:
        """Whether nothing of a user's takes part in encoding keys: no codec and no hook.

        :meta private:
        """
        return self.key_codec in ("json", "raw") and not self._overrides("dumps_key")

    @property
    def native_values(self) -> bool:
        """Whether values are JSON, and nothing of a user's takes part in encoding them: no codec and no hook.

        :meta private:
        """
        return self._value_codec == "json" and not self._overrides("dumps_value")

    # -- hooks

    def loads_key(self, message: RawRecord, loads: Decode) -> Any:
        """Override to decode keys in a way of your own; called for records that have a key.

        Args:
            message: the record, with ``key``, ``value``, ``headers``, ``offset`` and ``timestamp`` as they are on the topic.
            loads: decodes bytes by type and serializer of the schema.
        """
        return loads(message.key or b"")

    def loads_value(self, message: RawRecord, loads: Decode) -> Any:
        """Override to decode values in a way of your own; called for records that have a value. The arguments are as above."""
        return loads(message.value or b"")

    def dumps_key(self, key: Any, headers: list[tuple[str, bytes]], dumps: Encode) -> bytes | None:
        """Override to encode keys in a way of your own.

        Args:
            key: the key.
            headers: those the record will be sent with; may be changed.
            dumps: encodes by type and serializer of the schema.
        """
        return dumps(key)  # type: ignore[no-any-return]

    def dumps_value(self, value: Any, headers: list[tuple[str, bytes]], dumps: Encode) -> bytes | None:
        """Override to encode values in a way of your own. The arguments are as above."""
        return dumps(value)  # type: ignore[no-any-return]

    # -- keys

    @cached_property
    def decode_key(self) -> Callable[[bytes | None], Any]:
        """Decodes key bytes; ``None`` stays ``None``. Raises ValidationError.

        :meta private:
        """
        return _of_bytes(decoder_of(self.key_type, self.key_codec, "key"), self.key_type)

    @cached_property
    def read_key(self) -> Callable[[RawRecord], Any]:
        """Decodes the key of a record, as :meth:`loads_key` says; no key is ``None``. Raises ValidationError.

        :meta private:
        """
        decode, hook = self.decode_key, self.loads_key
        if not self._overrides("loads_key"):
            return _key_of(decoder_of(self.key_type, self.key_codec, "key"), self.key_type)
        read = _explained(lambda record: hook(record, decode), self.key_type)
        return lambda record: None if record.key is None else read(record)

    @cached_property
    def encode_key(self) -> Callable[[Any], bytes | None]:
        """Encodes a key; ``None`` stays ``None``. Raises EncodeError.

        :meta private:
        """
        return self._hooked("dumps_key", self._encode_key)

    @cached_property
    def _key_encoders(self) -> dict[type, Encode]:
        return by_type(self.key_codec, nullable=False)

    @cached_property
    def _encode_key(self) -> Encode:
        return encoder_of(self._key_encoders, "key", self.key_type)

    @property
    def key_codec(self) -> Codec | str:
        """What encodes keys: a codec, or ``json`` or ``raw``.

        :meta private:
        """
        return choose(self.key_type, self.key_serializer, self.key_default)

    # -- values

    @cached_property
    def decode_value(self) -> Callable[[bytes | None], Any]:
        """Decodes value bytes; ``None``, a tombstone, stays ``None`` if it may be. Raises ValidationError.

        :meta private:
        """
        decode = decoder_of(self._decoded_type, self._value_codec, "value")
        return _of_bytes(decode, self.value_type, allow_empty=self.allow_empty)

    @cached_property
    def read_value(self) -> Callable[[RawRecord], Any]:
        """Decodes the value of a record, as :meth:`loads_value` says. Raises ValidationError.

        :meta private:
        """
        decode, hook = self.decode_value, self.loads_value
        if not self._overrides("loads_value"):
            return lambda record: decode(record.value)
        read = _explained(lambda record: hook(record, decode), self.value_type)
        return lambda record: decode(None) if record.value is None else read(record)

    @cached_property
    def decode_values(self) -> Callable[[Sequence[RawRecord]], tuple[list[Any], bool]]:
        """Decodes the values of records: returns them in order, and whether any of them is a :class:`Failure`.

        Tombstones are ``None``. Nothing of ours is called per record when msgspec can decode the type.

        :meta private:
        """
        decode, read = decoder_of(self._decoded_type, self._value_codec, "value"), self.read_value
        plain = self.allow_empty and not self._overrides("loads_value")
        if decode is same and plain:
            return lambda records: ([record.value for record in records], False)
        if decode is json_or_bytes:
            decode = orjson.loads

        def decode_values(records: Sequence[RawRecord]) -> tuple[list[Any], bool]:
            try:
                return [None if (value := record.value) is None else decode(value) for record in records], False
            except Exception:
                return read_values(records)

        def read_values(records: Sequence[RawRecord]) -> tuple[list[Any], bool]:
            values = [_attempt(read, record) for record in records]
            return values, any(type(value) is Failure for value in values)

        return decode_values if plain else read_values

    @cached_property
    def encode_value(self) -> Callable[[Any], bytes | None]:
        """Encodes a value; ``None`` is a tombstone unless the schema is nullable. Raises EncodeError.

        :meta private:
        """
        return self._hooked("dumps_value", self._encode_value)

    @cached_property
    def _value_encoders(self) -> dict[type, Encode]:
        return by_type(self._value_codec, nullable=self.nullable)

    @cached_property
    def _encode_value(self) -> Encode:
        return encoder_of(self._value_encoders, "value", self.value_type)

    @property
    def _value_codec(self) -> Codec | str:
        return choose(self.value_type, self.value_serializer, self.value_default)

    @property
    def _decoded_type(self) -> Any:
        known = self.nullable and self.value_type not in (None, Any, bytes)
        return Optional[self.value_type] if known else self.value_type  # noqa: UP045 - a value, not an annotation

    # -- both

    @cached_property
    def encoders(self) -> tuple[Mapping[type, Encode], Mapping[type, Encode]]:
        """The functions that encode keys, and those that encode values, by the type of the object, for whoever encodes very many.

        They raise whatever an encoder raises. A type for which there is none, which all are when a hook encodes, is left to :meth:`encode`.

        :meta private:
        """
        if self._overrides("dumps_key") or self._overrides("dumps_value"):
            return {}, {}
        return self._key_encoders, self._value_encoders

    def encode(self, key: Any, value: Any, headers: Headers) -> tuple[bytes | None, bytes | None, Headers]:
        """Encode key and value as :meth:`dumps_key` and :meth:`dumps_value` say; return them and the headers. Raises EncodeError.

        :meta private:
        """
        pairs = list(headers)
        raw_key = self._hooked("dumps_key", self._encode_key, pairs)(key)
        return raw_key, self._hooked("dumps_value", self._encode_value, pairs)(value), pairs

    def _hooked(self, name: str, dumps: Encode, headers: list[tuple[str, bytes]] | None = None) -> Encode:
        """Return ``dumps`` behind the hook of that name, if it is overridden; without headers those that it adds are dropped."""
        if not self._overrides(name):
            return dumps
        hook = getattr(self, name)

        def encode(value: Any) -> Any:
            if type(value) is Verbatim:
                return dumps(value)
            try:
                return hook(value, [] if headers is None else headers, dumps)
            except EncodeError:
                raise
            except Exception as error:
                raise EncodeError(f"{type(self).__name__}.{name} raised {type(error).__name__}: {error}") from error

        return encode

    @property
    def hooks(self) -> Sequence[str]:
        """The names of the methods of a subclass that take part in encoding and decoding.

        :meta private:
        """
        return [name for name in HOOKS if self._overrides(name)]

    def _overrides(self, name: str) -> bool:
        return getattr(type(self), name) is not HOOKS[name]


def _bound(codec: RegisteredCodec, topic: str, part: str, type_: Any, schemas: Schemas | None) -> TopicCodec:
    if schemas is None:
        raise ConfigurationError(
            f"topic {topic}: {type(codec).__name__} needs a schema registry: set schema_registry_url, such as http://localhost:8081"
        )
    try:
        return TopicCodec(codec, topic, part, type_, schemas)
    except ConfigurationError as error:
        raise ConfigurationError(f"topic {topic}: {error}") from error


HOOKS = {name: vars(Schema)[name] for name in ("loads_key", "loads_value", "dumps_key", "dumps_value")}
"""What subclasses of Schema may override."""


def _check_hook(schema: Schema, name: str, hook: Callable[..., Any]) -> None:
    """Refuse a hook that does not take the arguments that it gets: Faust's take others. Raises ConfigurationError."""
    wanted = list(inspect.signature(hook).parameters)[1:]
    try:
        inspect.signature(getattr(schema, name)).bind(*wanted)
    except TypeError as error:
        raise ConfigurationError(
            f"{type(schema).__name__}.{name} must take the arguments (self, {', '.join(wanted)}): {error}"
        ) from error


def _of_bytes(decode: Decode, type_: Any, *, allow_empty: bool = True) -> Callable[[bytes | None], Any]:
    """Return a decoder of bytes that may be ``None``, whose error is ours and names the type."""

    def of_bytes(data: bytes | None) -> Any:
        if data is None:
            if allow_empty:
                return None
            raise ValidationError("there is no value, and the schema has allow_empty=False")
        try:
            return decode(data)
        except Exception as error:
            made = _explain(error, type_)
            raise made from made.__cause__

    return of_bytes


def _key_of(decode: Decode, type_: Any) -> Callable[[RawRecord], Any]:
    """Return a decoder of the key of a record; apart from :func:`_of_bytes`, because it is called for each event."""

    def key_of(record: RawRecord) -> Any:
        if (data := record.key) is None:
            return None
        try:
            return decode(data)
        except Exception as error:
            made = _explain(error, type_)
            raise made from made.__cause__

    return key_of


def _explained(read: Callable[[RawRecord], Any], type_: Any) -> Callable[[RawRecord], Any]:
    """Return the same function, whose error is ours and names the type."""

    def explained(record: RawRecord) -> Any:
        try:
            return read(record)
        except ValidationError:
            raise
        except Exception as error:
            made = _explain(error, type_)
            raise made from made.__cause__

    return explained


def _explain(error: Exception, type_: Any) -> ValidationError:
    untyped = type_ is None or type_ is Any
    return fault(error, type_, "" if untyped else type_name(type_))


def _attempt(read: Callable[[RawRecord], Any], record: RawRecord) -> Any:
    try:
        return read(record)
    except Exception as error:
        return Failure(error, record)
