"""JSON Schema: the codec ``json-schema``, which writes what ``json`` writes, behind the id of its schema in a schema registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson

from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.ports import SchemaText
from stream_core.values.encoding import type_name
from stream_core.values.registered import Naming, Reader, RegisteredCodec, Resolved, Writer
from stream_core.values.wire import Encoders

__all__ = ["JsonSchema", "json_differences", "json_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
"""That is what msgspec writes."""


class JsonSchema(RegisteredCodec):
    """The codec ``json-schema``, in the wire format of Confluent's serializers.

    Args:
        schema: the schema of the values, as JSON text, with which they are compared on both ways: this needs the package jsonschema. It is
            derived from the type of the topic when left out, and the type alone says what values are.
        subject: how subjects are named; see :data:`~stream_core.values.registered.Naming`. The name of a record is the title of its schema.
        auto_register: register schemas that are not there; else they must be.

    Raises:
        ConfigurationError: ``schema`` is no JSON Schema.
        MissingPackageError: a schema is given, and jsonschema is not installed.
    """

    kind = "JSON"

    def __init__(self, schema: str | None = None, *, subject: Naming = "topic", auto_register: bool = True) -> None:
        super().__init__(schema, subject=subject, auto_register=auto_register)
        self._encoders = Encoders()
        self._validator = None if schema is None else _validator(schema)

    def writer(self, type_: Any) -> Writer:
        """Make what writes values of a type with a schema that is derived from it. Raises ConfigurationError."""
        schema = json_schema(type_) if self.schema is None else json.loads(self.schema)
        text = json.dumps(schema, separators=(",", ":"))
        title = schema.get("title", "") if isinstance(schema, dict) else ""
        return Writer(title, SchemaText(self.kind, text), self._dump)

    def _dump(self, value: Any) -> bytes:
        data: bytes = self._encoders[type(value)](value)
        self._compare(orjson.loads(data) if self._validator is not None else None)
        return data

    def reader(self, written: Resolved, type_: Any) -> Reader:
        """Make what reads values; what they were written with says nothing that they do not say themselves."""

        def loads(data: bytes) -> Any:
            value = orjson.loads(data)
            self._compare(value)
            return value

        return loads

    def explain(self, new: str, old: str) -> str:
        """Say which properties keep a schema from reading what an older one has written."""
        return json_differences(new, old)

    def _compare(self, value: Any) -> None:
        if self._validator is None:
            return
        if (error := next(iter(self._validator.iter_errors(value)), None)) is not None:
            raise ValueError(f"{error.json_path}: {error.message}")


def _validator(text: str) -> Any:
    try:
        import jsonschema  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingPackageError(
            "a JSON Schema of one's own needs jsonschema: pip install 'stream-core[json-schema]'"
        ) from error
    try:
        schema = json.loads(text)
        validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
        validator.check_schema(schema)
    except (ValueError, jsonschema.SchemaError) as error:
        raise ConfigurationError(f"this is no JSON Schema: {error}") from error
    return validator(schema)


def json_schema(type_: Any) -> Any:
    """Derive the JSON Schema of a type, as plain data.

    Objects have no other properties than those of their class and ``__faust``, the metadata of records: else a registry takes no property
    that is new, because what is there already might have one of the same name, and another type.

    Raises:
        ConfigurationError: the type has a part of which nothing can be said.
    """
    try:
        schema = msgspec.json.schema(type_)
    except (TypeError, NameError) as error:
        raise ConfigurationError(
            f"no JSON Schema can be made of {type_name(type_)}: {error}; give the codec a schema of your own, JsonSchema(schema)"
        ) from error
    for one in _objects(schema):
        one.setdefault("additionalProperties", False)
        one["properties"] = {**one["properties"], "__faust": {"type": "object"}}
    definitions = schema.get("$defs", {})
    root = schema.get("$ref", "").removeprefix("#/$defs/")
    if root in definitions:  # written out, because the title is the name
        rest = {name: one for name, one in definitions.items() if name != root}
        whole = {**definitions[root], **({"$defs": rest} if rest else {})}
        if f'"#/$defs/{root}"' in json.dumps(whole):
            whole["$defs"] = definitions
        schema = whole
    return {"$schema": _DRAFT, **schema}


def _objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Give all schemas of objects with properties, at any depth."""
    if isinstance(schema, dict):
        for one in list(schema.values()):
            yield from _objects(one)
        if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
            yield schema
    elif isinstance(schema, list):
        for one in schema:
            yield from _objects(one)


def json_differences(new: str, old: str) -> str:
    """Say in words which properties of the outermost object keep a schema from reading what an older one has written.

    Args:
        new: a schema, as JSON text.
        old: the one that it is to follow.
    """
    after, before = json.loads(new), json.loads(old)
    known, now = before.get("properties", {}), after.get("properties", {})
    found = [
        f"property {name} is required, and was not"
        for name in after.get("required", ())
        if name not in before.get("required", ())
    ]
    for name, schema in now.items():
        kinds = schema.get("type"), known.get(name, {}).get("type")
        if None not in kinds and kinds[0] != kinds[1] and kinds != ("number", "integer"):
            found.append(f"property {name} was {kinds[1]}, and is {kinds[0]} now")
    if after.get("additionalProperties") is False:
        found += [f"property {name} is gone, and no other is allowed" for name in known if name not in now]
    return "; ".join(found)
