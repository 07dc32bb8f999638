"""The keys of a table with windows, in the table itself and in its changelog: a key and the labels of a window, ``(key, (start, end))``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from stream_core.primitives import TP, RawRecord
from stream_core.values.encoding import Decode
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError
from stream_tables.keys import Keys
from stream_tables.windows.kinds import Window, WindowRange
from stream_tables.windows.rows import LogKeys

__all__ = ["RangedKeys", "RangedSchema"]


@dataclass(frozen=True)
class RangedSchema(Schema):
    """How the changelog of a table with windows is read; writing it is left to the rows.

    Attributes:
        payload: gives the value in what a record has; ``None`` where that is all of it.
        last: gives the second label of a window where a record has it beside its value, else ``None``.
    """

    payload: Callable[[bytes], bytes] | None = None
    last: Callable[[bytes], float | None] = lambda data: None

    @classmethod
    def of(cls, schema: Schema, window: Window) -> RangedSchema:
        """Make that of a table from the schema of the table, and the kind of its windows."""
        of_schema = {field.name: getattr(schema, field.name) for field in fields(schema)}
        return cls(**of_schema, payload=window.payload, last=window.last)

    @cached_property
    def log_keys(self) -> LogKeys:
        """How keys stand in the changelog."""
        return LogKeys(self)

    def key_of(self, data: bytes) -> bytes | None:
        """Give the key of a window, encoded, from a key in the changelog; ``None`` when it is none of a window."""
        found = self.log_keys.read(data)
        return None if found is None else found[0]

    def loads_key(self, message: RawRecord, loads: Decode) -> Any:
        """Read key and labels."""
        found = self.log_keys.read(message.key or b"")
        if found is None:
            return loads(message.key or b"")
        key, labels = found
        last = None if message.value is None else self.last(message.value)
        return loads(key), WindowRange(labels[0], labels[-1] if last is None else last)

    def loads_value(self, message: RawRecord, loads: Decode) -> Any:
        """Read the value, without what else a kind of window keeps with it."""
        data = message.value or b""
        return loads(data if self.payload is None else self.payload(data))


class RangedKeys(Keys[Any]):
    """The keys of one table with windows."""

    __slots__ = ("_inner", "_log", "_window")

    def __init__(self, table: str, schema: Schema, window: Window) -> None:
        super().__init__(table, schema)
        self._inner = Keys[Any](table, schema)
        self._log = LogKeys(schema)
        self._window = window

    def encode(self, key: object) -> bytes:
        """Give the row of a window. Raises TableError when it is none."""
        match key:
            case (inner, (float() | int() as start, float() | int() as end)):
                row = self._window.row_of(self._log, self._inner.encode(inner), start, end)
                if row is not None:
                    return row
        raise TableError(
            f"table {self._table} has windows, so that its keys are (key, (start, end)), and {key!r} is none: read and change it by what "
            "tumbling(), hopping() and their like return"
        )

    def decode(self, changelog: TP, data: bytes) -> Any:
        """Make key and labels from a row; ``None`` where it is not a window, or its key cannot be read."""
        logged = self._window.to_log(self._log, data) if len(data) >= 8 else None  # reserved rows are shorter
        found = None if logged is None else self._log.read(logged)
        if found is None:
            return None
        key = self._inner.decode(changelog, found[0])
        return None if key is None else (key, WindowRange(found[1][0], found[1][-1]))

    def decode_found(self, changelog: TP, data: bytes, found: object) -> Any:
        """Make key and labels from a row and what it has; ``None`` as above."""
        key = self.decode(changelog, data)
        content = getattr(found, "data", found)
        last = None if key is None or type(content) is not bytes else self._window.last(content)
        return key if last is None else (key[0], WindowRange(key[1].start, last))
