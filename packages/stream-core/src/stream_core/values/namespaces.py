"""Which record class a payload is of: what ``__faust.ns`` says, among those that its type allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import msgspec

from stream_core.values.wire import is_record, registry

__all__ = [
    "Envelope",
    "chooser",
    "distinct",
    "is_open",
    "members_of",
    "named_by_payload",
    "origin_of",
    "record_options",
    "struct_config",
]


class _Metadata(msgspec.Struct, frozen=True):
    ns: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """The metadata of a payload, the fields left out."""

    metadata: _Metadata = msgspec.field(default=_Metadata(), name="__faust")


def named_by_payload(type_: Any) -> list[Any]:
    """Return the record classes of which a payload names one; none where the type says it all, or may be something else too."""
    members = [member for member in members_of(type_) if member is not NoneType]
    records = [member for member in members if is_record(member)]
    if len(records) != len(members) or not is_open(records):
        return []
    return distinct(records)


def is_open(records: Sequence[Any]) -> bool:
    """Tell whether a payload has to say which of these record classes, or of their subclasses, it is of."""
    untagged = [one for one in records if struct_config(one).tag is None]
    return len(untagged) > 1 or any(record_options(one).polymorphic for one in records)


def distinct(records: list[Any]) -> list[Any]:
    """Return these classes; where there are several, each must write its name, else raise TypeError."""
    nameless = [one for one in records if not record_options(one).include_metadata and not record_options(one).abstract]
    if nameless and len(records) > 1:
        raise TypeError(
            f"payloads do not say which of {_names(records)} they are: {_names(nameless)} must not have include_metadata=False"
        )
    return records


def chooser(bases: Sequence[Any]) -> Callable[[str], Any]:
    """Return a function from namespace to class.

    It accepts the classes of ``bases``, and registered subclasses of the polymorphic ones; for anything else it falls back to a single
    concrete base, or raises msgspec.ValidationError where there is none.
    """
    concrete = [base for base in bases if not record_options(base).abstract]
    known = {record_options(base).namespace: base for base in concrete}
    families = tuple(origin_of(base) for base in bases if record_options(base).polymorphic)
    fallback = bases[0] if len(bases) == 1 and concrete else None
    accepted: set[Any] = set()

    def choose(namespace: str) -> Any:
        if (found := known.get(namespace)) is not None:
            return found
        cls = registry.get(namespace) if families else None
        if cls in accepted:
            return cls
        if cls is not None and issubclass(cls, families):
            accepted.add(cls)
            return cls
        if fallback is not None:
            return fallback
        expected = f"a subclass of `{_names(bases)}`" if len(bases) == 1 else f"one of `{_names(bases)}`"
        raise msgspec.ValidationError(f"Expected {expected}, got {namespace!r} - at `$.__faust.ns`")

    return choose


def _names(records: Sequence[Any]) -> str:
    return " | ".join(origin_of(one).__name__ for one in records)


def record_options(record: Any) -> Any:
    """Return the options of a record class, generic ones too."""
    return origin_of(record)._options


def struct_config(record: Any) -> Any:
    """Return what msgspec knows of a record class."""
    return origin_of(record).__struct_config__


def origin_of(type_: Any) -> Any:
    """Return ``Box`` for ``Box[int]``, and any other type as it is."""
    return get_origin(type_) or type_


def members_of(type_: Any) -> tuple[Any, ...]:
    """Return the members of a union; a type that is none is its only member."""
    return get_args(type_) if get_origin(type_) in (Union, UnionType) else (type_,)
