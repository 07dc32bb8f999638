"""Avro: the schema of a record class, and the codec ``avro``, which a schema registry is needed for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from io import BytesIO
from typing import Any
from uuid import UUID

import msgspec
from msgspec import NODEFAULT, inspect

from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.ports import SchemaText
from stream_core.values.annotations import qualified_name
from stream_core.values.encoding import type_name
from stream_core.values.namespaces import named_by_payload
from stream_core.values.registered import Naming, Reader, RegisteredCodec, Resolved, Writer
from stream_core.values.wire import options_of, registry

__all__ = ["Avro", "avro_differences", "avro_schema"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_SCALARS: dict[type[inspect.Type], Any] = {
    inspect.NoneType: "null",
    inspect.BoolType: "boolean",
    inspect.IntType: "long",
    inspect.FloatType: "double",
    inspect.StrType: "string",
    inspect.BytesType: "bytes",
    inspect.ByteArrayType: "bytes",
    inspect.DateTimeType: {"type": "long", "logicalType": "timestamp-micros"},
    inspect.DateType: {"type": "int", "logicalType": "date"},
    inspect.TimeType: {"type": "long", "logicalType": "time-micros"},
    inspect.UUIDType: {"type": "string", "logicalType": "uuid"},
    inspect.DecimalType: "string",
    inspect.TimeDeltaType: "string",
}
"""What becomes of the types that have no parts. Decimals and durations are text, as in JSON: Avro's decimals have a fixed scale."""

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}
"""As what a type may be read too: "Schema Resolution" of the specification of Avro."""


class Avro(RegisteredCodec):
    """The codec ``avro``, in the wire format of Confluent's serializers.

    Args:
        schema: the schema to write with, and to read into, as JSON text; derived from the type of the topic when left out.
        subject: how subjects are named; see :data:`~stream_core.values.registered.Naming`.
        auto_register: register schemas that are not there; else they must be.

    Raises:
        ConfigurationError: ``schema`` is no schema of Avro.
        MissingPackageError: fastavro is not installed.
    """

    kind = "AVRO"

    def __init__(self, schema: str | None = None, *, subject: Naming = "topic", auto_register: bool = True) -> None:
        super().__init__(schema, subject=subject, auto_register=auto_register)
        try:
            import fastavro  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingPackageError("the codec 'avro' needs fastavro: pip install 'stream-core[avro]'") from error
        self._fastavro = fastavro
        self._own = None if schema is None else self._parsed(_json(schema))

    def writer(self, type_: Any) -> Writer:
        """Make what writes values of a type with a schema that is derived from it. Raises ConfigurationError."""
        schema = avro_schema(type_) if self.schema is None else _json(self.schema)
        parsed, write = self._parsed(schema), self._fastavro.schemaless_writer

        def dumps(value: Any) -> bytes:
            buffer = BytesIO()
            write(buffer, parsed, msgspec.to_builtins(value, builtin_types=_NATIVE, enc_hook=_unknown))
            return buffer.getvalue()

        name = _full_name(schema)
        return Writer(name, SchemaText(self.kind, json.dumps(schema, separators=(",", ":"))), dumps)

    def reader(self, written: Resolved, type_: Any) -> Reader:
        """Make what reads values that were written with a schema: as the codec's own, if it has one."""
        named: dict[str, Any] = {}
        for _, reference in written.references:
            self._fastavro.parse_schema(json.loads(reference.text), named)
        schema = json.loads(written.schema.text)
        parsed, read = self._fastavro.parse_schema(schema, named), self._fastavro.schemaless_reader
        own, namespace = self._own, _namespace_of(schema, type_)

        def loads(data: bytes) -> Any:
            buffer = BytesIO(data)
            value: Any = read(buffer, parsed, own)
            if buffer.tell() != len(data):
                raise ValueError(f"{len(data) - buffer.tell()} bytes are left behind the value")
            if namespace is not None:
                value["__faust"] = namespace
            return value

        return loads

    def explain(self, new: str, old: str) -> str:
        """Say which fields keep a schema from reading what an older one has written, or the other way round."""
        return avro_differences(new, old)

    def _parsed(self, schema: Any) -> Any:
        try:
            return self._fastavro.parse_schema(schema, {})
        except Exception as error:
            raise ConfigurationError(f"this is no schema of Avro: {error}: {json.dumps(schema)}") from error


# -- schemas of types


def avro_schema(type_: Any) -> Any:
    """Derive the schema of Avro for a type, as plain data.

    Records are named by their class, or by their ``namespace`` where one was given. A field with a default has it in the schema,
    so that it can be added later. Times are in microseconds since the epoch, UTC; decimals and durations are text.

    Raises:
        ConfigurationError: the type has a part for which Avro has no type; the message names the field.
    """
    try:
        info = inspect.type_info(type_)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"no schema of Avro can be made of {type_name(type_)}: {error}; give the codec a schema of your own, Avro(schema)"
        ) from error
    return _Deriving().of(info, type_name(type_))


class _Deriving:
    """Derives one schema; a named type is written out where it comes first, and named where it comes again."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {}

    def of(self, info: inspect.Type, path: str) -> Any:
        """Return the schema for what msgspec knows of a type; ``path`` names the place."""
        match info:
            case inspect.Metadata():
                return self.of(info.type, path)
            case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
                return {"type": "array", "items": self.of(info.item_type, f"{path}[]")}
            case inspect.DictType() if isinstance(info.key_type, inspect.StrType):
                return {"type": "map", "values": self.of(info.value_type, f"{path}[]")}
            case inspect.StructType() if info.array_like:
                raise _no_type(path, "a record with array_like=True")
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType():
                return self._record(info, path)
            case inspect.EnumType():
                return self._enum(info.cls)
            case inspect.LiteralType():
                return self._literal(info.values, path)
            case inspect.UnionType():
                return self._union(info.types, path)
        if (scalar := _SCALARS.get(type(info))) is None:
            raise _no_type(path, type(info).__name__.removesuffix("Type").lower())
        return scalar

    def _record(self, info: inspect.StructType | inspect.DataclassType | inspect.TypedDictType, path: str) -> Any:
        name, written = _record_name(info.cls), _written(info.cls)
        if name in self._names:
            if self._names[name] is not info.cls:
                raise ConfigurationError(f"{path}: two classes are named {name}: give one of them a namespace=")
            return name
        self._names[name] = info.cls
        fields = [
            self._field(field, f"{path}.{field.name}")
            for field in info.fields
            if written.get(field.name, "") is not None
        ]
        return {"type": "record", "name": name, "fields": fields}

    def _field(self, field: inspect.Field, path: str) -> dict[str, Any]:
        if _NAME.fullmatch(field.encode_name) is None:
            raise ConfigurationError(
                f"{path}: Avro has no fields that are named {field.encode_name!r}: use letters, digits and _"
            )
        schema = self.of(field.type, path)
        if (default := _default(field)) is NODEFAULT:
            return {"name": field.encode_name, "type": schema}
        if isinstance(schema, list):  # the default of a union is one of its first member
            schema = sorted(schema, key=lambda member: not _is_of(default, member))
            member = schema[0]
        else:
            member = schema
        shown = {"default": default} if _is_of(default, member) else {}
        return {"name": field.encode_name, "type": schema, **shown}

    def _enum(self, cls: type[Enum]) -> Any:
        values = [member.value for member in cls]
        if not all(isinstance(value, str) and _NAME.fullmatch(value) for value in values):
            return "long" if all(isinstance(value, int) for value in values) else "string"
        if cls.__name__ in self._names:
            return cls.__name__
        self._names[cls.__name__] = cls
        return {"type": "enum", "name": cls.__name__, "symbols": values}

    def _literal(self, values: Iterable[Any], path: str) -> Any:
        types = {type(value) for value in values}
        if types == {str}:
            return "string"
        if types == {int}:
            return "long"
        raise _no_type(path, "a literal of several types")

    def _union(self, types: Iterable[inspect.Type], path: str) -> Any:
        members = [self.of(one, path) for one in types]
        kinds = [_kind(member) for member in members]
        if kinds.count("record") > 1:
            raise ConfigurationError(
                f"{path}: values do not say which of several records they are: give the codec a schema of your own, Avro(schema)"
            )
        distinct = [member for at, member in enumerate(members) if member not in members[:at]]
        return sorted(distinct, key=lambda member: member != "null")


def _no_type(path: str, what: str) -> ConfigurationError:
    return ConfigurationError(
        f"{path}: Avro has no type for {what}: use another type, or give the codec a schema, Avro(schema)"
    )


def _record_name(cls: type) -> str:
    """Return the name of a class in a schema; that of its module is left out, so that it may move."""
    options = options_of(cls)
    given = "" if options is None else options.namespace
    if given and given != qualified_name(cls.__module__, cls.__qualname__):
        if not all(_NAME.fullmatch(part) for part in given.split(".")):
            raise ConfigurationError(
                f"{cls.__name__}: Avro has no names like the namespace {given!r}: use letters, digits, _ and dots"
            )
        return given
    return cls.__name__


def _written(cls: type) -> Mapping[str, str | None]:
    options = options_of(cls)
    return {} if options is None else options.written


def _default(field: inspect.Field) -> Any:
    """Return the default of a field as JSON has it; NODEFAULT where there is none."""
    if field.default_factory is not NODEFAULT:
        default = field.default_factory()
    elif field.default is NODEFAULT:
        return NODEFAULT
    else:
        default = field.default
    if isinstance(default, bytes):
        return default.decode("latin-1")  # "Complex Types" of the specification: one character for each byte
    return msgspec.to_builtins(default, enc_hook=_unknown)


def _is_of(default: Any, schema: Any) -> bool:
    """Tell whether JSON is a default of a schema, as far as defaults are written."""
    if isinstance(schema, dict) and "logicalType" in schema:
        return False
    types: dict[str, type | tuple[type, ...]] = {
        "null": type(None),
        "boolean": bool,
        "long": int,
        "double": (int, float),
        "string": str,
        "bytes": str,
        "array": list,
        "map": dict,
        "enum": str,
    }
    kind = _kind(schema)
    if isinstance(default, bool) != (kind == "boolean"):
        return False
    if kind in ("array", "map") and default:
        return False  # only empty ones: what is in them has types of its own
    return kind in types and isinstance(default, types[kind])


def _kind(schema: Any) -> str:
    kind = schema["type"] if isinstance(schema, dict) else schema
    return kind if isinstance(kind, str) else "union"


# -- values

_NATIVE = (bytes, bytearray, datetime, date, time, UUID)


def _unknown(obj: Any) -> Any:
    if (hook := getattr(type(obj), "__json__", None)) is None:
        raise TypeError(
            f"objects of type {type(obj).__name__} have no form in Avro: give the class a method __json__()"
        )
    return hook(obj)


def _namespace_of(schema: Any, type_: Any) -> dict[str, str] | None:
    """Return the metadata by which a value becomes one of several classes: of the one that its schema is named after."""
    if not named_by_payload(type_):
        return None
    name = _full_name(schema)
    for cls in list(registry.values()):
        if _record_name(cls) == name:
            return {"ns": cls._options.namespace}
    return None


# -- evolution


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"the schema is no JSON: {error}: {text}") from error


def _full_name(schema: Any) -> str:
    if not isinstance(schema, dict) or "name" not in schema:
        return ""
    name, space = schema["name"], schema.get("namespace")
    return name if "." in name or not space else f"{space}.{name}"


def avro_differences(new: str, old: str) -> str:
    """Say in words why a schema cannot read what an older one has written; empty when it can.

    Args:
        new: a schema, as JSON text.
        old: the one that it is to follow.
    """
    return "; ".join(_differences(json.loads(new), json.loads(old), ""))


def _differences(new: Any, old: Any, path: str) -> list[str]:
    where = f"field {path}" if path else "the value"
    if isinstance(old, list) or isinstance(new, list):
        readers = new if isinstance(new, list) else [new]
        return [
            f"{where} was {_shown(member)}, which {_shown(new)} cannot hold"
            for member in (old if isinstance(old, list) else [old])
            if all(_differences(reader, member, path) for reader in readers)
        ]
    kinds = _kind(new), _kind(old)
    if kinds[0] != kinds[1]:
        return (
            []
            if kinds[0] in _PROMOTIONS.get(kinds[1], ())
            else [f"{where} was {_shown(old)}, and is {_shown(new)} now"]
        )
    match kinds[0]:
        case "record":
            return _of_fields(new, old, path)
        case "array":
            return _differences(new["items"], old["items"], f"{path}[]")
        case "map":
            return _differences(new["values"], old["values"], f"{path}[]")
        case "enum" if "default" not in new and (gone := [one for one in old["symbols"] if one not in new["symbols"]]):
            return [f"{where} may be {', '.join(gone)} in what is there, and has no such symbol now"]
    return []


def _of_fields(new: Any, old: Any, path: str) -> list[str]:
    if not (_full_name(new) == _full_name(old) or _full_name(old) in new.get("aliases", ())):
        return [
            f"{f'field {path}' if path else 'the record'} was named {_full_name(old)}, and is named {_full_name(new)} now"
        ]
    known = {field["name"]: field for field in old["fields"]}
    found = []
    for field in new["fields"]:
        inner = f"{path}.{field['name']}" if path else field["name"]
        before = next((known[name] for name in (field["name"], *field.get("aliases", ())) if name in known), None)
        if before is not None:
            found += _differences(field["type"], before["type"], inner)
        elif "default" not in field:
            found.append(f"field {inner} is new and has no default")
    return found


def _shown(schema: Any) -> str:
    if isinstance(schema, list):
        return " | ".join(map(_shown, schema))
    return str(schema.get("name", schema["type"])) if isinstance(schema, dict) else str(schema)
