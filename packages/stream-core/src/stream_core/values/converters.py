"""Help for msgspec: what converts values of the types that it cannot do alone.

Three are not its business: a union of record classes, and a record class with subclasses, where ``__faust.ns`` of the payload says
which class it is; and types that a record class has functions for (``coercions``, ``date_parser``). For a type that holds one of
these a converter is put together when it is first used: its Python runs for these parts, and msgspec for the rest.
"""

from __future__ import annotations

import re
from collections.abc import (
    Callable,
    Collection,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
    Set,
)
from dataclasses import dataclass, field, replace
from datetime import date, time
from decimal import Decimal
from functools import cached_property
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from msgspec import UNSET, structs

from stream_core.values.namespaces import Envelope, chooser, distinct, is_open, origin_of, record_options, struct_config
from stream_core.values.tags import untagged
from stream_core.values.wire import is_record

__all__ = ["Fields", "Rules"]

Convert = Callable[[Any], Any]

_ARRAYS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    **dict.fromkeys((list, Sequence, MutableSequence, Collection, Iterable), list),
    **dict.fromkeys((set, Set, MutableSet), set),
    frozenset: frozenset,
    tuple: tuple,
}
_MAPPINGS = (dict, Mapping, MutableMapping)


@dataclass(frozen=True)
class Rules:
    """How types are converted at one place: what the record class around it says.

    Attributes:
        strict: refuse text for numbers and the like.
        coercions: functions by the type whose values they make.
        objects: values may be records already, also of subclasses: arguments of a constructor, not payloads.
    """

    strict: bool = True
    coercions: Mapping[Any, Convert] = field(default_factory=lambda: MappingProxyType({}))
    objects: bool = False

    def complete(self, type_: Any) -> Convert:
        """Return what converts to ``type_``, with or without help."""
        return self.help(type_) or (lambda data: self.plain(data, type_))

    def plain(self, data: Any, type_: Any) -> Any:
        """Convert without help. Keys of payloads may be text for what else they are, as in JSON.

        What is not strict makes text of numbers, too, where msgspec alone finds an error: so that this costs nothing where there is none.
        """
        try:
            return msgspec.convert(data, type_, strict=self.strict, str_keys=not self.objects)
        except msgspec.ValidationError as error:
            if not self.may_make_texts:
                raise
            return _or_else(self.with_texts().complete(type_), data, error)

    @property
    def may_make_texts(self) -> bool:
        """Tell whether text may be made of numbers, and is not made yet."""
        return not self.strict and str not in self.coercions

    def with_texts(self) -> Rules:
        """Return the same that make text of numbers."""
        return replace(self, coercions={str: text_of, **self.coercions})

    def help(self, type_: Any, above: frozenset[Any] = frozenset()) -> Convert | None:
        """Return what converts to ``type_``, or ``None`` where msgspec does that alone.

        Args:
            type_: the type.
            above: record classes around it whose fields are looked at already.
        """
        if get_origin(type_) is Annotated:
            return self._help_with_annotated(type_, above)
        if (function := self.coercions.get(type_)) is not None:
            return self._coercion(type_, function)
        if get_origin(type_) in (Union, UnionType):
            return self._help_with_union(type_, above)
        if is_record(type_):
            return self._help_with_record(type_, above)
        if isinstance(type_, type) and issubclass(type_, tuple) and hasattr(type_, "_fields"):
            return self._help_with_named_tuple(type_, above)
        origin, arguments = get_origin(type_), get_args(type_)
        if origin is tuple and Ellipsis not in arguments:
            return self._help_with_tuple(type_, arguments, above)
        if origin in _ARRAYS and arguments:
            item = self.help(arguments[0], above)
            return None if item is None else _array(_ARRAYS[origin], item)
        if origin in _MAPPINGS and arguments:
            value = self.help(arguments[1], above)
            loose: Any = dict[arguments[0], Any]  # type: ignore[valid-type]
            return None if value is None else _mapping(lambda data: self.plain(data, loose), value)
        return None

    def _coercion(self, type_: Any, function: Convert) -> Convert:
        def coerce(data: Any) -> Any:
            value = data if isinstance(data, origin_of(type_)) else _call(function, data)
            return self.plain(value, type_)

        return coerce

    def _help_with_annotated(self, type_: Any, above: frozenset[Any]) -> Convert | None:
        inner = self.help(get_args(type_)[0], above)
        if inner is None or get_args(type_)[0] not in self.coercions:
            return inner
        return lambda data: self.plain(inner(data), type_)

    def _help_with_union(self, type_: Any, above: frozenset[Any]) -> Convert | None:
        """Make what converts a value of one of several types; ``None`` when msgspec needs no help with it."""
        members = [member for member in get_args(type_) if member is not NoneType]
        records = [member for member in members if is_record(member)]
        others = [(member, self.help(member, above)) for member in members if not is_record(member)]
        helped = [help_ for _, help_ in others if help_ is not None]
        chosen = is_open(records)
        inside = any(self.help_with_fields(record, above) for record in records)
        if not (chosen or helped or inside or (records and self.objects)):
            return None
        plain = tuple(member for member, help_ in others if help_ is None)
        values = [self.complete(Union[plain]), *helped] if plain else helped  # noqa: UP007 - a value
        objects = [self._record(distinct(records))] if chosen else [self._record([one]) for one in records]
        nullable = len(members) < len(get_args(type_))

        def convert_union(data: Any) -> Any:
            if data is None and nullable:
                return None
            is_object = isinstance(data, dict | msgspec.Struct)
            return _first([*objects, *values] if is_object else [*values, *objects], data)

        return convert_union

    def _help_with_record(self, type_: Any, above: frozenset[Any]) -> Convert | None:
        if self.objects or record_options(type_).polymorphic:
            return self._record([type_])
        return self.help_with_fields(type_, above)

    def help_with_fields(self, type_: Any, above: frozenset[Any] = frozenset()) -> Convert | None:
        """Return what converts to exactly this record class, or ``None`` where msgspec does that alone."""
        options = record_options(type_)
        if type_ in above:
            return None
        inside = above | {type_}
        rules = self._inside(options)
        if (options.coerce and self.strict) or any(rules.help(one.type, inside) for one in structs.fields(type_)):
            return self._record([type_], exactly=True)
        return None

    def _inside(self, options: Any) -> Rules:
        texts = {str: text_of} if self.coercions.get(str) is text_of else {}
        return Rules(self.strict and not options.coerce, {**texts, **options.functions})

    def _record(self, bases: list[Any], *, exactly: bool = False) -> Convert:
        """Return what converts to one of these record classes, or to a subclass of one that looks for them."""
        origins = tuple(origin_of(base) for base in bases)
        fields: dict[Any, Fields] = {}
        choose = chooser(bases) if not exactly and is_open(bases) else None

        def convert_record(data: Any) -> Any:
            if isinstance(data, origins):
                return data
            cls = bases[0]
            if choose is not None:
                cls = choose(msgspec.convert(data, Envelope).metadata.ns)
            if (found := fields.get(cls)) is None:
                found = fields[cls] = Fields(cls, self._inside(record_options(cls)))
            return found.build(data)

        return convert_record

    def _help_with_tuple(self, type_: Any, arguments: tuple[Any, ...], above: frozenset[Any]) -> Convert | None:
        if not any(self.help(one, above) for one in arguments):
            return None
        loose: Any = tuple[(Any,) * len(arguments)]  # type: ignore[misc]
        items = [self.complete(one) for one in arguments]
        return lambda data: tuple(
            _at(f"[{at}]", item, one)
            for at, (item, one) in enumerate(zip(items, msgspec.convert(data, loose), strict=True))
        )

    def _help_with_named_tuple(self, type_: Any, above: frozenset[Any]) -> Convert | None:
        helped = {name: help_ for name, one in get_type_hints(type_).items() if (help_ := self.help(one, above))}
        if not helped:
            return None
        hints = get_type_hints(type_)
        items = {name: self.complete(one) for name, one in hints.items()}

        def convert_named_tuple(data: Any) -> Any:
            values = zip(type_._fields, msgspec.convert(data, list), strict=False)
            return type_(**{name: _at(f"[{at}]", items[name], one) for at, (name, one) in enumerate(values)})

        return convert_named_tuple


def text_of(data: Any) -> Any:
    """Make text of a number, and of what else has one way to be written; leave anything else as it is."""
    return str(data) if isinstance(data, int | float | Decimal | UUID | date | time) else data


def _or_else(convert: Convert, data: Any, error: msgspec.ValidationError) -> Any:
    """Convert in this way, after another one had that error, which is raised if this one fails too."""
    try:
        return convert(data)
    except msgspec.ValidationError:
        raise error from None


def _array(make: Callable[[Iterable[Any]], Any], item: Convert) -> Convert:
    return lambda data: _call(make, [_at(f"[{at}]", item, one) for at, one in enumerate(msgspec.convert(data, list))])


def _mapping(entries: Convert, value: Convert) -> Convert:
    return lambda data: {key: _at("[...]", value, one) for key, one in entries(data).items()}


def _first(ways: Sequence[Convert], data: Any) -> Any:
    """Convert by the first of these converters that can; when none can, raise the error of the first."""
    trouble: list[msgspec.ValidationError] = []
    for way in ways:
        try:
            return way(data)
        except msgspec.ValidationError as error:
            trouble.append(error)
    raise trouble[0]


def _call(function: Convert, data: Any, about_the_value: Any = Exception) -> Any:
    """Call the function of a user; what it raises about a value becomes a ValidationError, as in msgspec."""
    try:
        return function(data)
    except msgspec.ValidationError:
        raise
    except about_the_value as error:
        raise msgspec.ValidationError(f"{error}") from error


_PATH = re.compile(r" - at `\$(.*)`$")


def _at(step: str, convert: Convert, data: Any) -> Any:
    """Convert; the path in an error then begins with ``step``."""
    try:
        return convert(data)
    except msgspec.ValidationError as error:
        message = str(error)
        found = _PATH.search(message)
        text = message[: found.start()] if found else message
        raise msgspec.ValidationError(f"{text} - at `${step}{found[1] if found else ''}`") from error


class Fields:
    """The fields of one record class: converts their values.

    Args:
        cls: the class.
        rules: how; ``None`` as its constructor does.
    """

    def __init__(self, cls: Any, rules: Rules | None = None) -> None:
        options = record_options(cls)
        self._cls = cls
        self._origin = origin_of(cls)
        self._rules = Rules(not options.coerce, options.functions, objects=True) if rules is None else rules
        if struct_config(cls).array_like and self._helped:
            raise TypeError(f"{self._origin.__name__}: array_like=True does not go with {', '.join(self._helped)}")

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Convert the values of some fields, by their names. Raises msgspec.ValidationError."""
        values = {name: untagged(value) for name, value in given.items() if value is not UNSET}
        rest = {name: value for name, value in values.items() if name not in self._helped}
        try:
            converted = self._rules.plain(rest, self._some)
        except msgspec.ValidationError as error:
            if (texts := self._with_texts) is None:
                raise
            made: dict[str, Any] = _or_else(texts.arguments, given, error)
            return made
        for name, value in values.items():
            help_ = self._helped.get(name)
            values[name] = getattr(converted, name) if help_ is None else _at(f".{name}", help_, value)
        return values

    def build(self, data: Any) -> Any:
        """Make a record from a payload. Raises msgspec.ValidationError."""
        try:
            values = structs.asdict(self._rules.plain(data, self._all))
        except msgspec.ValidationError as error:
            if (texts := self._with_texts) is None:
                raise
            return _or_else(texts.build, data, error)
        for name, encoded, help_ in self._payload:
            if encoded in data:
                values[name] = _at(f".{encoded}", help_, data[encoded])
        return _call(self._make, values, (ValueError, TypeError))

    def _make(self, values: dict[str, Any]) -> Any:
        """Make a record of these values, which are not converted again."""
        return msgspec.StructMeta.__call__(self._origin, **values)

    @cached_property
    def _with_texts(self) -> Fields | None:
        """Return the same that make text of numbers; ``None`` where that is not wanted, or done here."""
        return Fields(self._cls, self._rules.with_texts()) if self._rules.may_make_texts else None

    @cached_property
    def _helped(self) -> dict[str, Convert]:
        return {one.name: help_ for one in structs.fields(self._cls) if (help_ := self._rules.help(one.type))}

    @cached_property
    def _payload(self) -> list[tuple[str, str, Convert]]:
        """The fields with help: their names in the class and in payloads, and the help."""
        helped = self._helped
        return [
            (one.name, one.encode_name, helped[one.name]) for one in structs.fields(self._cls) if one.name in helped
        ]

    @cached_property
    def _some(self) -> type[msgspec.Struct]:
        """A struct with the other fields by name, none of them required."""
        fields = [(one.name, one.type, UNSET) for one in structs.fields(self._cls) if one.name not in self._helped]
        return msgspec.defstruct(self._origin.__name__, fields)

    @cached_property
    def _all(self) -> type[msgspec.Struct]:
        """A struct with all fields as they are in payloads, where those with help may be anything."""
        fields = []
        for one in structs.fields(self._cls):
            default: dict[str, Any] = {"default": one.default, "default_factory": one.default_factory}
            made = msgspec.field(name=one.encode_name, **default)
            fields.append((one.name, Any if one.name in self._helped else one.type, made))
        config = struct_config(self._cls)
        return msgspec.defstruct(
            self._origin.__name__,
            fields,
            kw_only=True,
            forbid_unknown_fields=config.forbid_unknown_fields,
            tag=config.tag,
            tag_field=config.tag_field,
        )
