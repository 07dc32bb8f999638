"""Turn what is typed into the bytes of a key or value: as it is, or checked against a type and encoded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from stream_cli.names import suggest
from stream_core.errors import ConfigurationError, EncodeError, ValidationError
from stream_core.values.codecs import get_codec
from stream_core.values.schemas import Schema
from stream_core.values.wire import registry

__all__ = ["TextEncoder", "decode_text", "find_type"]

_PLAIN = {"bool": bool, "bytes": bytes, "float": float, "int": int, "str": str}
_AS_TYPED = ("raw", "text", "binary")
"""Codecs that take text; to the others, text that is JSON is what it says."""


@dataclass(frozen=True)
class TextEncoder:
    """How the text of the keys, or of the values, of a topic is encoded.

    Attributes:
        part: ``key`` or ``value``.
        schema: of the topic.
        type_name: the type to check against; ``None`` for that of the schema.
        serializer: the codec to use, by name; ``None`` for that of the schema. ``raw`` without a type checks nothing.
    """

    part: str
    schema: Schema
    type_name: str | None = None
    serializer: str | None = None

    def encode(self, text: str) -> bytes | None:
        """Encode ``text``.

        Raises:
            EncodeError: it does not fit the type; names the field.
            ConfigurationError: there is no such type or codec.
        """
        data = os.fsencode(text)
        type_ = self._type()
        if type_ not in (None, Any, bytes):
            return self._encode_checked(data, type_)
        codec = self.serializer or self._declared_codec()
        if codec is None:
            return data
        try:
            return get_codec(codec).dumps(text if str(codec).split("|")[0] in _AS_TYPED else _parse(data))
        except (TypeError, ValueError) as error:
            raise EncodeError(f"cannot encode the {self.part} as {codec}: {error}") from error

    def _type(self) -> Any:
        if self.type_name is not None:
            return find_type(self.type_name)
        if self.serializer == "raw":
            return None
        return self.schema.key_type if self.part == "key" else self.schema.value_type

    def _declared_codec(self) -> Any:
        """Return the codec of a topic without types, if it is one whose bytes nobody can type."""
        schema = self.schema
        named = schema.key_serializer or schema.key_default
        if self.part == "value":
            named = schema.value_serializer or schema.value_default
        return None if named in ("json", "raw", "text") else named

    def _encode_checked(self, data: bytes, type_: Any) -> bytes | None:
        try:
            value = _decoder(type_)(data)
        except ValidationError as error:
            raise EncodeError(
                f"the {self.part} does not fit {error}{_hint(data, type_)}; --{self.part}-serializer raw sends it unchecked"
            ) from error
        schema = self.schema
        if self.part == "key":
            codec = self.serializer or schema.key_serializer
            return Schema(type_, None, codec, key_default=schema.key_default).encode_key(value)
        codec = self.serializer or schema.value_serializer
        return Schema(None, type_, None, codec, value_default=schema.value_default).encode_value(value)


def decode_text(type_: Any, text: str) -> Any:
    """Return what a text says: as it is for types that have a plain form, such as numbers and dates, and as JSON for all others.

    Raises:
        ValidationError: it does not fit the type.
        ConfigurationError: there is no such type.
    """
    return _decoder(find_type(type_) if isinstance(type_, str) else type_)(os.fsencode(text))


def _decoder(type_: Any) -> Any:
    """Return what reads text: as it is for types that have a plain form, such as numbers and dates, and as JSON for all others."""
    try:
        return Schema(None, type_, value_serializer="raw").decode_value
    except ConfigurationError:
        return Schema(None, type_, value_serializer="json").decode_value


def _hint(data: bytes, type_: Any) -> str:
    """Say what to type for a record, if that was no JSON at all."""
    fields = getattr(type_, "__struct_encode_fields__", ())
    if not fields or not isinstance(_parse(data), str):
        return ""
    typed = ", ".join(f'"{name}": ...' for name in fields)
    return f"; it is not JSON: type {{{typed}}}"


def _parse(data: bytes) -> Any:
    try:
        return get_codec("json").loads(data)
    except ValueError:
        return os.fsdecode(data)


def find_type(name: str) -> Any:
    """Find the type of that name.

    Args:
        name: ``str``, ``int``, ``float``, ``bool`` or ``bytes``; a record class of the app by its name, or as much of the end as makes
            it unique; or any class as ``module.Class``.

    Raises:
        ConfigurationError: there is none, or there are several; names those that could be meant.
    """
    if name in _PLAIN:
        return _PLAIN[name]
    ending = [namespace for namespace in registry if namespace == name or namespace.endswith(f".{name}")]
    if len(ending) == 1 or name in ending:
        return registry[name if name in ending else ending[0]]
    if ending:
        raise ConfigurationError(f"the type {name} may be {' or '.join(sorted(ending))}: write one of these")
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(resolve_name(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        hint = suggest(name, [*_PLAIN, *registry, *(known.rpartition(".")[2] for known in registry)])
        raise ConfigurationError(
            f"there is no type {name}; {hint or 'name a record class of the app, module.Class, str, int, float, bool or bytes'}"
        ) from error
