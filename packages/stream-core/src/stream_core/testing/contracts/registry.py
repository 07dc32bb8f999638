"""What a :class:`~stream_core.ports.SchemaRegistry` does whose subjects are compatible backward: what is new can read what is old."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from stream_core.errors import SchemaRefusedError, UnknownSchemaError
from stream_core.ports import SchemaReference, SchemaRegistry, SchemaText
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


def _subject() -> str:
    return f"subject-{uuid4().hex[:12]}-value"


def _order(*fields: dict[str, Any], name: str = "") -> SchemaText:
    name = name or f"Order{uuid4().hex[:12]}"
    return SchemaText("AVRO", json.dumps({"type": "record", "name": name, "fields": fields}))


ITEM = {"name": "item", "type": "string"}
AMOUNT = {"name": "amount", "type": "int"}


async def an_id_gives_the_schema_back(registry: SchemaRegistry) -> None:
    """What is registered can be asked for by its id, and is the same schema."""
    schema = _order(ITEM)
    id_ = await registry.register(_subject(), schema)

    found = await registry.schema(id_)

    assert found.kind == "AVRO"
    assert json.loads(found.text) == json.loads(schema.text)


async def a_schema_is_registered_once(registry: SchemaRegistry) -> None:
    """Again under its subject, and under another one, it has the same id, and no further version."""
    schema, one, other = _order(ITEM), _subject(), _subject()

    ids = {await registry.register(subject, schema) for subject in (one, one, other)}

    assert len(ids) == 1
    assert (await registry.version(one, None)).version == 1


async def a_schema_is_found_where_it_is(registry: SchemaRegistry) -> None:
    """It has an id under a subject that has it; other subjects and other schemas are not known."""
    schema, subject = _order(ITEM), _subject()
    id_ = await registry.register(subject, schema)

    assert await registry.find(subject, schema) == id_
    await raises(UnknownSchemaError, lambda: registry.find(_subject(), schema), "another subject")
    await raises(UnknownSchemaError, lambda: registry.find(subject, _order(AMOUNT)), "another schema")


async def versions_count_from_one(registry: SchemaRegistry) -> None:
    """A schema that fits is the next version, and has another id; each version stays."""
    subject, name = _subject(), f"Order{uuid4().hex[:12]}"
    first = await registry.register(subject, _order(ITEM, name=name))
    second = await registry.register(subject, _order(ITEM, {**AMOUNT, "default": 1}, name=name))

    latest = await registry.version(subject, None)

    assert (latest.id, latest.version) == (second, 2)
    assert (await registry.version(subject, 1)).id == first != second


async def what_does_not_fit_is_refused(registry: SchemaRegistry) -> None:
    """A field without a default cannot be added; the subject stays as it was."""
    subject, name = _subject(), f"Order{uuid4().hex[:12]}"
    await registry.register(subject, _order(ITEM, name=name))

    await raises(
        SchemaRefusedError,
        lambda: registry.register(subject, _order(ITEM, AMOUNT, name=name)),
        "a field without a default",
    )

    assert (await registry.version(subject, None)).version == 1


async def what_is_not_there_is_unknown(registry: SchemaRegistry) -> None:
    """Ids, subjects and versions that do not exist are told apart from a registry that does not work."""
    subject = _subject()
    await raises(UnknownSchemaError, lambda: registry.schema(2_000_000_000), "an id that was never given")
    await raises(UnknownSchemaError, lambda: registry.version(subject, None), "a subject without a schema")
    await registry.register(subject, _order(ITEM))
    await raises(UnknownSchemaError, lambda: registry.version(subject, 9), "a version that is not there")


async def references_are_kept(registry: SchemaRegistry) -> None:
    """A schema that refers to another one is given back with the reference."""
    item, name = _subject(), f"Item{uuid4().hex[:12]}"
    await registry.register(item, _order(AMOUNT, name=name))
    reference = SchemaReference(name, item, 1)
    schema = _order({"name": "item", "type": name})._replace(references=(reference,))

    id_ = await registry.register(_subject(), schema)

    assert (await registry.schema(id_)).references == (reference,)


CHECKS = (
    an_id_gives_the_schema_back,
    a_schema_is_registered_once,
    a_schema_is_found_where_it_is,
    versions_count_from_one,
    what_does_not_fit_is_refused,
    what_is_not_there_is_unknown,
    references_are_kept,
)
