"""The JSON of records: what follows their fields on the wire. What it is decoded to: :mod:`stream_core.values.decoding`.

A record is a JSON object, its fields in the order of their declaration and then its metadata:
``{"x":1,"__faust":{"ns":"app.Point"}}``. Decoding skips the metadata as it skips any unknown field. Encoding puts a suffix,
prepared once per class, behind what msgspec wrote. (A hidden last field would save 0.1 µs of that, but cost time and memory in
each decoded record, and show in ``repr``, ``asdict`` and the arguments of every record.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from types import MappingProxyType, NoneType
from typing import Any, TypeVar, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import Raw, UnsetType, structs

from stream_core.values.annotations import explain_names
from stream_core.values.codecs import CodecArg, json_dumps

__all__ = ["Encoders", "RecordOptions", "encoders", "is_record", "is_tagged", "options_of", "registry", "without_none"]

registry: dict[str, type[Any]] = {}
"""Record classes by namespace; abstract ones are not in it."""


class RecordOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a record class, as its class keywords gave them (:class:`~stream_core.values.record.RecordKeywords`).

    Attributes:
        descriptors: what is known of each field, by name (:mod:`stream_core.values.fields`).
        tags: the tags of fields that have one, by name (:mod:`stream_core.values.tags`).
        written: the names under which fields are written, of those that are read by another; ``None`` for one that is not written.
    """

    serializer: CodecArg = None
    namespace: str = ""
    include_metadata: bool = True
    coerce: bool = False
    coercions: Mapping[Any, Callable[[Any], Any]] = MappingProxyType({})
    date_parser: Callable[[str], datetime] | None = None
    validation: bool = False
    abstract: bool = False
    allow_blessed_key: bool = False
    polymorphic_fields: bool = False
    isodates: bool = True
    decimals: bool = True
    lazy_creation: bool = False
    descriptors: Mapping[str, Any] = MappingProxyType({})
    tags: Mapping[str, Any] = MappingProxyType({})
    written: Mapping[str, str | None] = MappingProxyType({})

    @property
    def tagged_fields(self) -> frozenset[str]:
        """Return the fields whose values are tagged."""
        return frozenset(self.tags)

    @property
    def secret_fields(self) -> frozenset[str]:
        """Return the fields whose values are shown as stars."""
        return frozenset(name for name, tag in self.tags.items() if tag.is_secret)

    @property
    def sensitive_fields(self) -> frozenset[str]:
        """Return the fields whose values are nobody's business."""
        return frozenset(name for name, tag in self.tags.items() if tag.is_sensitive)

    @property
    def personal_fields(self) -> frozenset[str]:
        """Return the fields whose values tell who somebody is."""
        return frozenset(name for name, tag in self.tags.items() if tag.is_personal)

    @property
    def polymorphic(self) -> bool:
        """Whether decoding this class looks for the subclass that the payload names."""
        return self.abstract or self.allow_blessed_key or self.polymorphic_fields

    @property
    def functions(self) -> dict[Any, Callable[[Any], Any]]:
        """The functions that make values, by type."""
        parse = self.date_parser
        if parse is None:
            return dict(self.coercions)
        return {datetime: parse, date: lambda text: parse(text).date(), **self.coercions}


def is_record(type_: Any) -> bool:
    """Tell whether a type is a record class, or ``Box[int]`` for a generic one."""
    return isinstance(getattr(get_origin(type_) or type_, "_options", None), RecordOptions)


def options_of(type_: Any) -> RecordOptions | None:
    """Return the options of a record class, of ``Box[int]`` for a generic one, or of the one in ``Optional[...]``; else ``None``."""
    options = getattr(without_none(type_), "_options", None)
    return options if isinstance(options, RecordOptions) else None


def is_tagged(type_: Any) -> bool:
    """Tell whether values of a type may have tagged fields, at any depth.

    Where the payload names the class, that may be any class; where a base is said, any that is derived from it.
    """
    seen: list[Any] = []

    def look(one: Any) -> bool:
        if one in seen:
            return False
        seen.append(one)
        if one is None or one is Any:
            return any(cls._options.tags for cls in list(registry.values()))
        if not is_record(one):
            return any(map(look, get_args(one)))
        options = options_of(get_origin(one) or one)
        assert options is not None
        if options.tags:
            return True
        base = get_origin(one) or one
        if options.polymorphic and any(look(each) for each in list(registry.values()) if issubclass(each, base)):
            return True
        return any(map(look, _types(base))) or any(map(look, get_args(one)))

    return look(type_)


@cache
def _types(cls: type[Any]) -> tuple[Any, ...]:
    """Return the types of the fields of a record class; each record that cannot be decoded asks, and msgspec evaluates them anew."""
    return tuple(field.type for field in structs.fields(cls))


def without_none(type_: Any) -> Any:
    """Return ``T`` for ``Optional[T]``, and any other type as it is."""
    members = [member for member in get_args(type_) if member is not NoneType]
    return members[0] if len(members) == 1 and NoneType in get_args(type_) else type_


# -- encoding


def _unknown(obj: Any) -> Any:
    """Return what msgspec is to write for an object that it does not know: ``obj.__json__()``. Raises TypeError."""
    if (hook := getattr(type(obj), "__json__", None)) is None:
        raise TypeError(
            f"Encoding objects of type {type(obj).__name__} is unsupported: give the class a method __json__()"
        )
    return hook(obj)


_native = msgspec.json.Encoder(enc_hook=_unknown).encode
_BODY = slice(0, -1)
_SCALARS = (str, int, float, bool, NoneType, Decimal, datetime, date, time, timedelta, UUID)


class Encoders(dict[type, Callable[[Any], Any]]):
    """How objects of each type become JSON bytes; compiled when a type is first seen."""

    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        self[cls] = encode = _compile(cls) if options_of(cls) else _native if cls in _SCALARS else json_dumps
        return encode


encoders = Encoders()


def _compile(cls: type[Any]) -> Callable[[Any], bytes]:
    """Return the encoder of one record class, for instances of exactly this class."""
    with explain_names(cls):
        nested = tuple(field.name for field in structs.fields(cls) if _may_hold_records(field.type))
    encode = _selecting(cls, nested) if cls._options.written else _embedding(nested) if nested else _native
    if not cls._options.include_metadata:
        return encode
    suffix = b',"__faust":' + _native({"ns": cls._options.namespace}) + b"}"

    def encode_with_metadata(record: Any) -> bytes:
        body = encode(record)
        return body[_BODY] + suffix if body != b"{}" else b"{" + suffix[1:]

    return encode_with_metadata


def _embedding(nested: tuple[str, ...]) -> Callable[[Any], bytes]:
    """Return an encoder of records whose ``nested`` fields may hold records: those need metadata of their own, and are encoded first."""

    def encode(record: Any) -> bytes:
        shallow = record.__copy__()
        for name in nested:
            value = getattr(record, name)
            structs.force_setattr(shallow, name, _embedders[type(value)](value))
        return _native(shallow)

    return encode


def _selecting(cls: type[Any], nested: tuple[str, ...]) -> Callable[[Any], bytes]:
    """Return what encodes records of which not all fields are written, or some by other names than those by which they are read."""
    renamed: Mapping[str, str | None] = cls._options.written
    fields = [field for field in structs.fields(cls) if renamed.get(field.name, "") is not None]
    names = tuple(field.name for field in fields)
    shape: Callable[..., Any] = msgspec.defstruct(
        cls.__name__,
        [(one.name, Any, _written(one, renamed.get(one.name) or one.encode_name)) for one in fields],
        kw_only=True,
        omit_defaults=cls.__struct_config__.omit_defaults,
    )

    def encode(record: Any) -> bytes:
        values = {name: getattr(record, name) for name in names}
        for name in nested:
            if name in values:
                values[name] = _embedders[type(values[name])](values[name])
        return _native(shape(**values))

    return encode


def _written(field: structs.FieldInfo, name: str) -> Any:
    """Return a field with the same default, by another name."""
    default: dict[str, Any] = {"default": field.default, "default_factory": field.default_factory}
    return msgspec.field(name=name, **default)


class _Embedders(dict[type, Callable[[Any], Any]]):
    """How objects of each type become something that msgspec writes with the metadata of all records inside."""

    def __missing__(self, cls: type) -> Callable[[Any], Any]:
        self[cls] = embed = self._embedder(cls)
        return embed

    def _embedder(self, cls: type) -> Callable[[Any], Any]:
        if cls in _SCALARS or cls is UnsetType:
            return lambda value: value
        if issubclass(cls, dict):
            return lambda values: {key: self[type(value)](value) for key, value in values.items()}
        if issubclass(cls, list | tuple | set | frozenset):
            return lambda values: [self[type(value)](value) for value in values]
        encode = encoders[cls]
        return lambda value: Raw(encode(value))


_embedders = _Embedders()


def _may_hold_records(type_: Any) -> bool:
    if type_ is Any or type_ is object or isinstance(type_, TypeVar) or is_record(type_):
        return True
    origin, members = get_origin(type_) or type_, get_args(type_)
    if not members and isinstance(origin, type) and issubclass(origin, Iterable):  # a list of anything
        return origin not in _SCALARS and not issubclass(origin, str | bytes | bytearray | Enum)
    return any(_may_hold_records(member) for member in members)
