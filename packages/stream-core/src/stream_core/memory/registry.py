"""A schema registry in this process, for demos and tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from stream_core.errors import SchemaRefusedError, UnknownSchemaError
from stream_core.ports import RegisteredSchema, SchemaText

__all__ = ["MemoryRegistry"]


class MemoryRegistry:
    """The :class:`~stream_core.ports.SchemaRegistry` behind ``memory://``.

    Args:
        check: says in words why a schema may not follow the one before it; empty when it may. Unless it is given, any may.
    """

    def __init__(self, check: Callable[[SchemaText, SchemaText], str] = lambda new, old: "") -> None:
        self._check = check
        self._ids: dict[SchemaText, int] = {}
        self._subjects: dict[str, list[SchemaText]] = {}

    @property
    def subjects(self) -> Sequence[str]:
        """The subjects that have a schema, in the order in which they were first registered."""
        return list(self._subjects)

    async def schema(self, id_: int) -> SchemaText:
        """Return the schema of that id. Raises UnknownSchemaError."""
        for schema, known in self._ids.items():
            if known == id_:
                return schema
        raise UnknownSchemaError(f"the schema registry has no schema id {id_}")

    async def register(self, subject: str, schema: SchemaText) -> int:
        """Add a schema to a subject, and return its id. Raises SchemaRefusedError."""
        versions = self._subjects.get(subject, [])
        if schema not in versions:
            if versions and (why := self._check(schema, versions[-1])):
                raise SchemaRefusedError(f"subject {subject}: {why}")
            self._subjects[subject] = [*versions, schema]
        return self._ids.setdefault(schema, len(self._ids) + 1)

    async def find(self, subject: str, schema: SchemaText) -> int:
        """Return the id of a schema that a subject has. Raises UnknownSchemaError."""
        if schema not in self._subjects.get(subject, ()):
            raise UnknownSchemaError(f"subject {subject} does not have the schema {schema.text}")
        return self._ids[schema]

    async def version(self, subject: str, version: int | None) -> RegisteredSchema:
        """Return a version of a subject; ``None`` for the latest. Raises UnknownSchemaError."""
        versions = self._subjects.get(subject, [])
        number = len(versions) if version is None else version
        if not 1 <= number <= len(versions):
            raise UnknownSchemaError(f"the schema registry has no version {version or 'at all'} of subject {subject}")
        schema = versions[number - 1]
        return RegisteredSchema(self._ids[schema], number, schema)
