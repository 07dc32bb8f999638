"""From payloads to values: the decoders of types. Nearly all are msgspec's own, from bytes to values in C."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from types import NoneType
from typing import Any, get_args

import msgspec

from stream_core.values.annotations import explain_names
from stream_core.values.converters import Rules
from stream_core.values.namespaces import Envelope, chooser, members_of, named_by_payload, record_options
from stream_core.values.wire import is_record

__all__ = ["convert", "decoder"]

_envelope = msgspec.json.Decoder(Envelope).decode


def decoder(type_: Any) -> Callable[[bytes], Any]:
    """Return the JSON decoder of a type: msgspec's own method, unless it needs help.

    Raises TypeError for a type that cannot be decoded, and NameError when it names a class that is not defined.
    """
    strict = not _is_lax(type_)
    with explain_names(type_):
        if bases := named_by_payload(type_):
            return _by_namespace(bases, nullable=NoneType in members_of(type_))
        help_ = Rules(strict).help(type_)
        if help_ is None:
            return _native(type_, strict=strict)
    return lambda data: help_(msgspec.json.decode(data))


def _native(type_: Any, *, strict: bool) -> Callable[[bytes], Any]:
    """Return msgspec's own decoder; where it is not strict and finds an error, what also makes text of numbers is tried."""
    decode = msgspec.json.Decoder(type_, strict=strict).decode
    if strict:
        return decode

    def decode_or_convert(data: bytes) -> Any:
        try:
            return decode(data)
        except msgspec.ValidationError:
            return convert(msgspec.json.decode(data), type_)

    return decode_or_convert


def convert(data: Any, type_: Any) -> Any:
    """Convert plain data to a value as the :func:`decoder` of the type does. Raises msgspec.ValidationError."""
    return _converter(type_)(data)


@cache
def _converter(type_: Any) -> Callable[[Any], Any]:
    return Rules(not _is_lax(type_)).complete(type_)


def _is_lax(type_: Any) -> bool:
    """Tell whether all records that a type holds outside of other records convert (``coerce``)."""
    found = list(_records_in(type_))
    return bool(found) and all(record_options(one).coerce for one in found)


def _records_in(type_: Any) -> Iterator[Any]:
    if is_record(type_):
        yield type_
    else:
        for member in get_args(type_):
            yield from _records_in(member)


def _by_namespace(bases: list[Any], *, nullable: bool) -> Callable[[bytes], Any]:
    """Return a decoder that reads the name of the class first, and then decodes as msgspec does."""
    choose = chooser(bases)
    decoders: dict[Any, Callable[[bytes], Any]] = {}

    def decode(data: bytes) -> Any:
        if nullable and data == b"null":
            return None
        cls = choose(_envelope(data).metadata.ns)
        if (found := decoders.get(cls)) is None:
            found = decoders[cls] = _exactly(cls)
        return found(data)

    for base in bases:
        if not record_options(base).abstract:
            decoders[base] = _exactly(base)
    return decode


def _exactly(cls: Any) -> Callable[[bytes], Any]:
    strict = not record_options(cls).coerce
    help_ = Rules(strict).help_with_fields(cls)
    if help_ is None:
        return _native(cls, strict=strict)
    return lambda data: help_(msgspec.json.decode(data))
