"""What a table keeps of a value: the value itself, or its bytes. What is kept must be what is read, now and after a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from stream_core.errors import EncodeError, ValidationError
from stream_core.primitives import TP
from stream_core.values.encoding import type_name
from stream_core.values.schemas import Schema
from stream_tables.left_out import LeftOut

__all__ = [
    "ABSENT",
    "DELETED",
    "HIGHEST",
    "LOWEST",
    "PLAIN",
    "SHORT",
    "Absent",
    "Before",
    "Encoded",
    "Entry",
    "Kept",
    "Values",
    "is_fixed",
    "is_kept",
    "kept_types",
    "short",
]


class Mark(Enum):
    """What stands in the place of a value, and no user can store."""

    ABSENT = "ABSENT"
    DELETED = "DELETED"


ABSENT: Final = Mark.ABSENT
"""Nothing is known of the key."""

DELETED: Final = Mark.DELETED
"""The key is deleted."""


class Encoded(msgspec.Struct, gc=False, eq=False):
    """A value as bytes. The garbage collector does not know it: there may be hundreds of thousands."""

    data: bytes


V = TypeVar("V")

Absent: TypeAlias = Literal[Mark.ABSENT]

Kept: TypeAlias = int | str | float | Encoded
"""A value as a table keeps it (a bool is an int)."""

Entry: TypeAlias = Kept | Literal[Mark.DELETED]
"""What a layer of uncommitted changes says of a key."""

Before: TypeAlias = Entry | Absent
"""What a layer said of a key before a change."""

PLAIN = frozenset({int, str, float, bool})
"""Types of the values that may be kept as they are."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The integers that are: larger ones become floats where JSON is read without a type."""

SHORT = 100
"""Characters of a text that is. A longer one is kept as bytes, so that its size is counted like that of any large value."""

_FIXED = frozenset({int, str, float, bool, bytes, type(None), Decimal, UUID, datetime, date, time, timedelta})

_SHOWN = 60

HEADERS = 4096
"""Bytes of a changelog record that are kept free for its headers, which name the readings of an interval."""


def kept_types(schema: Schema) -> frozenset[type]:
    """Give the types of the values that may be kept as they are in a table of this schema."""
    if not schema.native_values:
        return frozenset()
    return PLAIN if schema.value_type in (None, Any) else PLAIN & {schema.value_type}


def is_kept(value: Any) -> bool:
    """Tell whether JSON surely gives back the same value, of the same type, and it is small; for values of the kept types."""
    kind = type(value)
    if kind is int:
        return LOWEST <= value <= HIGHEST  # type: ignore[no-any-return]
    if kind is str:
        return len(value) <= SHORT and value.isascii()  # not so "\ud800", which no codec writes
    return kind is bool or value - value == 0.0  # a float that is finite


def is_fixed(value: Any) -> bool:
    """Tell whether a value cannot change in place."""
    kind = type(value)
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = kind in _FIXED or issubclass(kind, Enum)
    return known


_known: dict[type, bool] = {}


def _is_same(value: Any, again: Any, *, untyped: bool) -> bool:
    """Tell whether what is read again can stand for a value that was assigned.

    Where the type is declared 5 may become 5.0, but never a date text. Of lists and records that is not asked: what the codec makes of
    them is what is kept.
    """
    try:
        equal = bool(again == value) or (again != again and value != value)
    except ArithmeticError:  # comparing Decimal("sNaN")
        return False
    return equal and (not untyped or isinstance(value, type(again)))


def _advice(value: Any, *, untyped: bool) -> str:
    """Say what to do about a value that a table cannot keep."""
    if type(value) is float and not is_kept(value):
        return "JSON has no infinity and nothing that is not a number: assign None, or give the table a value_serializer that has"
    if type(value) is str and any("\ud800" <= character <= "\udfff" for character in value):
        return "it is not valid Unicode: decode the text where it comes from with errors='replace'"
    if untyped:
        return f"declare the table with value_type={type(value).__name__}, or assign what JSON has"
    return "assign a value of that type, or declare the table with the type of all its values"


def short(value: Any) -> str:
    """Show a value in a message."""
    try:
        text = repr(value)
    except Exception as error:  # an int of more digits than Python writes, or a class of a user
        return f"a value that repr() cannot show ({error})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class Values(Generic[V]):
    """The values of one table partition, between what users assign, what the overlay keeps and what is stored.

    Args:
        table: name of the table.
        changelog: its changelog partition.
        schema: how keys and values are encoded.
        max_record_size: bytes of the largest changelog record, with key and headers; ``None`` for no limit.

    Attributes:
        key_of: makes what is shown of a key, from its bytes in the store.
        room: bytes that key and value may have together; ``None`` for no limit.
    """

    __slots__ = (
        "_changelog",
        "_encode",
        "_encoders",
        "_kept",
        "_left_out",
        "_schema",
        "_table",
        "_untyped",
        "decode",
        "key_of",
        "room",
    )

    def __init__(self, table: str, changelog: TP, schema: Schema, max_record_size: int | None) -> None:
        self._table = table
        self._changelog = changelog
        self._schema = schema
        self._encode = schema.encode_value
        self._encoders = schema.encoders[1]
        self._kept = kept_types(schema)
        self._untyped = schema.value_type in (None, Any)
        self.decode = schema.decode_value
        self.key_of: Callable[[bytes], Any] = schema.decode_key
        self._left_out = LeftOut(table, changelog, schema, self.shown)
        self.room = None if max_record_size is None else max_record_size - min(HEADERS, max_record_size // 16)

    def seal(self, key: bytes, value: V) -> Kept:
        """Give what the overlay keeps for a value: itself when its codec surely gives back the same, else its bytes.

        Raises:
            EncodeError: it cannot be encoded, or is not what is read again, or is too large: in the event, not at a checkpoint.
        """
        if type(value) in self._kept and is_kept(value):
            return value  # type: ignore[return-value]
        try:
            data = self.encode(value)
            again = self.decode(data)
        except Exception as error:
            raise self._unfit(key, value, str(error)) from error
        if is_fixed(value) and not _is_same(value, again, untyped=self._untyped):
            raise self._unfit(key, value, f"it would be read as {short(again)}")
        if self.room is not None and len(key) + len(data) > self.room:
            raise EncodeError(
                f"table {self._table}: the value of {self.shown(key)} has {len(data)} bytes, and a record of {self._changelog.topic} "
                f"takes {self.room} with its key: keep less under one key, or raise producer_max_request_size, and the "
                "max.message.bytes of that topic"
            )
        return Encoded(data)

    def encode(self, value: Any) -> bytes:
        """Give the bytes of a value. Raises EncodeError."""
        return self._encode(value) or b""  # None would be a tombstone

    def stored(self, entry: Entry) -> bytes | None:
        """Give what is stored for an entry of the overlay; ``None`` deletes."""
        return None if entry is DELETED else entry.data if type(entry) is Encoded else self.encode(entry)

    def all_stored(self, entries: Iterable[Entry]) -> Iterator[bytes | None]:
        """Give what :meth:`stored` gives for each of very many entries, in half the time."""
        encoders, encode = self._encoders, self.encode
        for entry in entries:
            kind = type(entry)
            if kind is Encoded:
                yield entry.data  # type: ignore[union-attr]
            elif entry is DELETED:
                yield None
            elif (quick := encoders.get(kind)) is not None:
                yield quick(entry) or b""
            else:
                yield encode(entry)

    def read(self, key: bytes, data: bytes) -> V:
        """Make the value of a key from its bytes.

        Raises:
            ValidationError: it is not of the type of the table.
        """
        try:
            value = self.decode(data)
        except Exception as error:
            raise ValidationError(
                f"table {self._table}: the value of {self.shown(key)} in {self._changelog} is not of the type of the table: {error}; "
                "it was written with another type: give fields that came later a default, or delete or assign the key"
            ) from error
        if self._left_out.looks:
            self._left_out.look(key, data, value)
        return value  # type: ignore[no-any-return]

    def shown(self, key: bytes) -> str:
        """Show a key in a message."""
        try:
            return repr(self.key_of(key))
        except Exception:
            return repr(key)

    def _unfit(self, key: bytes, value: Any, why: str) -> EncodeError:
        declared = "without a value_type" if self._untyped else f"with value_type {type_name(self._schema.value_type)}"
        return EncodeError(
            f"table {self._table}, {declared}: the value of {self.shown(key)} cannot be {short(value)}, of type "
            f"{type(value).__name__}: {why}; {_advice(value, untyped=self._untyped)}"
        )
