"""Which values a table keeps as they are, and which only as bytes: what is kept must be what is read, now and after a restart."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from stream_core.values.schemas import Schema

__all__ = ["HIGHEST", "LOWEST", "PLAIN", "SHORT", "advice", "is_fixed", "is_kept", "is_same", "kept_types", "short"]

PLAIN = frozenset({int, str, float, bool})
"""Types of the values that may be kept as they are."""

LOWEST, HIGHEST = -(2**63), 2**63 - 1
"""The integers that are: larger ones become floats where JSON is read without a type."""

SHORT = 100
"""Characters of a text that is. A longer one is kept as bytes, so that its size is counted like that of any large value."""

_FIXED = frozenset({int, str, float, bool, bytes, type(None), Decimal, UUID, datetime, date, time, timedelta})

_SHOWN = 60


def kept_types(schema: Schema) -> frozenset[type]:
    """The types of the values that may be kept as they are in a table of this schema."""
    if not schema.native_values:
        return frozenset()
    return PLAIN if schema.value_type in (None, Any) else PLAIN & {schema.value_type}


def is_kept(value: Any) -> bool:
    """Whether JSON surely gives back the same value, of the same type, and it is small; for values of the kept types."""
    kind = type(value)
    if kind is int:
        return LOWEST <= value <= HIGHEST  # type: ignore[no-any-return]
    if kind is str:
        return len(value) <= SHORT and value.isascii()  # not so "\ud800", which no codec writes
    return kind is bool or value - value == 0.0  # a float that is finite


def is_fixed(value: Any) -> bool:
    """Whether a value cannot change in place."""
    kind = type(value)
    known = _known.get(kind)
    if known is None:
        known = _known[kind] = kind in _FIXED or issubclass(kind, Enum)
    return known


_known: dict[type, bool] = {}


def is_same(value: Any, again: Any, *, untyped: bool) -> bool:
    """Whether what is read again can stand for a value that was assigned.

    Where the type is declared 5 may become 5.0, but never a date text. Of lists and records that is not asked: what the codec makes of
    them is what is kept.
    """
    try:
        equal = bool(again == value) or (again != again and value != value)
    except ArithmeticError:  # comparing Decimal("sNaN")
        return False
    return equal and (not untyped or isinstance(value, type(again)))


def advice(value: Any, *, untyped: bool) -> str:
    """What to do about a value that a table cannot keep."""
    if type(value) is float and not is_kept(value):
        return "JSON has no infinity and nothing that is not a number: assign None, or give the table a value_serializer that has"
    if type(value) is str and any("\ud800" <= character <= "\udfff" for character in value):
        return "it is no valid Unicode: decode the text where it comes from with errors='replace'"
    if untyped:
        return f"declare the table with value_type={type(value).__name__}, or assign what JSON has"
    return "assign a value of that type, or declare the table with the type of all its values"


def short(value: Any) -> str:
    """A value for a message."""
    try:
        text = repr(value)
    except Exception as error:  # an int of more digits than Python writes, or a class of a user
        return f"a value that repr() cannot show ({error})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
