"""Records: the typed messages that users declare.

A :class:`Record` is a :class:`msgspec.Struct`, so it decodes in C, and ``Transfer.account`` is a C member descriptor that
``group_by`` takes as it is.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import cache, partial
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Self,
    TypedDict,
    Unpack,
    dataclass_transform,
    get_args,
    get_origin,
)
from uuid import UUID

import msgspec
import orjson
from msgspec import UNSET, structs

from stream_core.errors import ValidationError
from stream_core.values.annotations import field_types, is_optional, qualified_name
from stream_core.values.codecs import CodecArg, get_codec
from stream_core.values.converters import Fields
from stream_core.values.decoding import convert, decoder
from stream_core.values.faults import fault
from stream_core.values.fields import Descriptors, FieldDescriptor, in_class_body
from stream_core.values.tags import Tag, tag_of, untagged
from stream_core.values.wire import RecordOptions, encoders, registry

__all__ = ["Record", "RecordKeywords", "RecordMeta"]


_OPTIONS = {*RecordOptions.__struct_fields__} - {"descriptors", "tags", "written"}
"""The options that are said as keywords of a class."""


class RecordKeywords(TypedDict, total=False):
    """Keywords of a record class, as in ``class Point(Record, serializer="json")``; subclasses inherit all but the first two.

    They may also stand in the class, as attributes of a class ``Options``.

    Attributes:
        namespace: the name on the wire and in the registry; default ``module.Class``.
        abstract: only a base class: not registered, and to decode it means to decode the subclass that the payload names.
        serializer: the codec of :meth:`Record.dumps`, and of topics and tables of this type that name none.
        include_metadata: write ``__faust`` (default true).
        coerce: convert (``"1"`` to ``1``) on construction and decoding instead of refusing; in the records inside it too.
        coercions: functions by type, such as ``{Money: Money.parse}``: they make the values of fields of that type from whatever is not of
            it, on construction and decoding.
        date_parser: makes dates and times from text, in place of the ISO format.
        validation: check types on construction too (decoding always does); implies ``coerce``.
        allow_blessed_key: decode the subclass that ``__faust.ns`` of the payload names, never any other class.
        polymorphic_fields: the same.
        isodates: accepted for old code; ISO dates are always read.
        decimals: accepted for old code; decimals are always read.
        lazy_creation: accepted for old code; types are always looked up when they are first needed.

    The others are those of :class:`msgspec.Struct`.
    """

    namespace: str
    abstract: bool
    serializer: CodecArg
    include_metadata: bool
    coerce: bool
    coercions: Mapping[Any, Callable[[Any], Any]]
    date_parser: Callable[[str], datetime] | None
    validation: bool
    allow_blessed_key: bool
    polymorphic_fields: bool
    isodates: bool
    decimals: bool
    lazy_creation: bool
    frozen: bool
    order: bool
    eq: bool
    kw_only: bool
    rename: Any
    omit_defaults: bool
    repr_omit_defaults: bool
    forbid_unknown_fields: bool
    tag: Any
    tag_field: str
    array_like: bool
    gc: bool
    weakref: bool
    dict: bool
    cache_hash: bool


@dataclass_transform(order_default=True, field_specifiers=(msgspec.field,))
class RecordMeta(msgspec.StructMeta):
    """Makes record classes: takes our keywords, completes defaults, registers the namespace."""

    _options: RecordOptions

    def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, Any], /, **keywords: Any) -> RecordMeta:
        body, keywords = _with_inner_options(body, keywords)
        given = {key: keywords.pop(key) for key in _OPTIONS if key in keywords}
        default_name = qualified_name(body["__module__"], body["__qualname__"])
        inherited = next((base._options for base in bases if isinstance(base, RecordMeta)), RecordOptions())
        given["coercions"] = MappingProxyType({**inherited.coercions, **given.get("coercions", {})})
        options = structs.replace(inherited, **{"namespace": default_name, "abstract": False, **given})
        if options.validation:
            options = structs.replace(options, coerce=True)
        converts = options.coerce or options.functions
        metaclass = _CoercingMeta if converts and not issubclass(mcls, _CoercingMeta) else mcls
        _check_overrides(name, bases, body)
        if keywords.get("eq") is False:
            keywords.setdefault("order", False)
        body, described = _take_descriptors(name, body, inherited)
        options = structs.replace(options, **described)
        body = _complete_defaults({**body, "_options": options})
        if _treats(options) and ("__post_init__" in body or not _treats(inherited)):
            body["__post_init__"] = _treating(body.get("__post_init__") or _inherited_post_init(bases))
        cls = super().__new__(metaclass, name, bases, body, **keywords)
        if cls.__struct_config__.frozen and "__hash__" not in body:
            type.__setattr__(cls, "__hash__", msgspec.Struct.__hash__)  # the one in C, for what cannot change
        structs.force_setattr(options, "descriptors", Descriptors(cls, described["descriptors"]))
        _check_room_for_metadata(cls)
        if not options.abstract:
            _register(cls, default_name)
        return cls


class _CoercingMeta(RecordMeta):
    """The metaclass of records that convert on construction; apart, so that msgspec alone constructs the others."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - the instance of a metaclass is a class
        if not (cls._options.coerce or cls._options.functions):
            return super().__call__(*args, **kwargs)
        given = _signature(cls).bind(*args, **kwargs).arguments
        try:
            return super().__call__(**_fields(cls).arguments(given))
        except msgspec.ValidationError as error:
            made = fault(error, cls, cls.__name__)
            raise made from made.__cause__


@cache
def _signature(cls: RecordMeta) -> inspect.Signature:
    return inspect.signature(cls)


@cache
def _fields(cls: type[Any]) -> Fields:
    return Fields(cls)


_loader = cache(decoder)


def _with_inner_options(body: dict[str, Any], keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the body without its class ``Options``, and the keywords with what that says."""
    inner = body.get("Options")
    if not isinstance(inner, type):
        return body, keywords
    said = {name: value for name, value in vars(inner).items() if not name.startswith("__")}
    return {name: value for name, value in body.items() if name != "Options"}, {**said, **keywords}


def _take_descriptors(
    owner: str, body: dict[str, Any], inherited: RecordOptions
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the body with what msgspec knows in place of descriptors, and what those and the tags say, with what the bases say."""
    said: dict[str, dict[str, Any]] = {
        "descriptors": dict(_given(inherited)),
        "tags": dict(inherited.tags),
        "written": dict(inherited.written),
    }
    types = field_types(body)
    body = dict(body)
    for name in [name for name, value in body.items() if isinstance(value, FieldDescriptor) and name not in types]:
        raise TypeError(f"{owner}.{name} has no type: write {name}: str = {type(body[name]).__name__}(...)")
    for name, type_ in types.items():
        for known in said.values():
            known.pop(name, None)
        try:
            tag = tag_of(type_)
        except TypeError as error:
            raise TypeError(f"{owner}.{name}: {error}") from None
        if tag is not None:
            said["tags"][name] = tag
        if (given := _descriptor(body.get(name, msgspec.NODEFAULT), type_)) is not None:
            given.named(name)
            said["descriptors"][name] = given
            if given.exclude:
                said["written"][name] = None
            elif given.output_name != given.input_name:
                said["written"][name] = given.output_name
            body[name] = in_class_body(given)
            if body[name] is msgspec.NODEFAULT:
                del body[name]
    return body, said


def _descriptor(default: Any, type_: Any) -> FieldDescriptor[Any] | None:
    """Return the descriptor of a field: what stands in place of its default, or in ``Annotated[int, IntegerField(...)]``."""
    if isinstance(default, FieldDescriptor):
        return default.bound()
    marks = get_args(type_)[1:] if get_origin(type_) is Annotated else ()
    found = next((one for one in marks if isinstance(one, FieldDescriptor)), None)
    if found is None:
        return None
    return found.bound() if default is msgspec.NODEFAULT else found.bound(default=default, required=False)


def _treats(options: RecordOptions) -> bool:
    """Tell whether values of these records are tagged, changed or checked behind msgspec."""
    return bool(options.tags) or any(one.checks or one.prepares for one in _given(options).values())


def _given(options: RecordOptions) -> Mapping[str, FieldDescriptor[Any]]:
    """Return the descriptors that stand in class bodies, also while the class is being made."""
    given: Mapping[str, FieldDescriptor[Any]] = getattr(options.descriptors, "given", options.descriptors)
    return given


def _inherited_post_init(bases: tuple[type, ...]) -> Callable[[Any], None] | None:
    return next((found for base in bases if (found := getattr(base, "__post_init__", None))), None)


def _treating(then: Callable[[Any], None] | None) -> Callable[[Any], None]:
    """Make the method ``__post_init__`` that treats the values of fields, and then calls that of the user."""

    def __post_init__(self: Any) -> None:  # noqa: N807 - it is that method
        cls: Any = type(self)
        prepares, tags, checks = _treatments(cls)
        for one in prepares:
            value = getattr(self, one.field)
            structs.force_setattr(self, one.field, one.prepare_value(untagged(value)))
        for name, tag in tags:
            value = getattr(self, name)
            if not (value is None or value is UNSET or isinstance(value, Tag)):
                structs.force_setattr(self, name, tag(value, field=name))
        for one in checks:
            for error in one.validate_all(getattr(self, one.field)):
                raise error
        if then is not None:
            then(self)

    return __post_init__


Treatments = tuple[list[FieldDescriptor[Any]], list[tuple[str, type[Tag[Any]]]], list[FieldDescriptor[Any]]]


@cache
def _treatments(cls: Any) -> Treatments:
    """Return the descriptors that change values, the tags of fields, and the descriptors that check values as they are made and read."""
    options: RecordOptions = cls._options
    described = [options.descriptors[name] for name in _given(options)]
    checks = [one for one in described if one.checks and options.validation]
    return [one for one in described if one.prepares], list(options.tags.items()), checks


def _check_overrides(name: str, bases: tuple[type, ...], body: dict[str, Any]) -> None:
    """Refuse class attributes that would hide an inherited field from every record. Raises TypeError."""
    if "__init__" in body:
        raise TypeError(
            f"{name} has an __init__, which records make themselves: let __post_init__ do what follows construction and reading, "
            "and write a classmethod for another way to make one"
        )
    fields = {field for base in bases for field in getattr(base, "__struct_fields__", ())}
    if hidden := sorted((fields & body.keys()) - field_types(body).keys()):
        raise TypeError(
            f"{name}.{hidden[0]} hides a field of its base class: repeat the type to give it another default, {hidden[0]}: ... = ..."
        )


def _complete_defaults(body: dict[str, Any]) -> dict[str, Any]:
    """Default optional fields to ``None``, and copy mutable defaults for each record."""
    for name, type_ in field_types(body).items():
        if name not in body:
            if is_optional(type_):
                body[name] = None
        elif _is_mutable(default := body[name]):
            body[name] = msgspec.field(default_factory=partial(copy.deepcopy, default))
    return body


_CONSTANT = (
    *(str, int, float, bool, complex, bytes, type(None), Enum, Decimal, UUID, type),
    *(date, datetime, time, timedelta, timezone, type(msgspec.field()), type(UNSET), type(msgspec.NODEFAULT)),
)


def _is_mutable(default: object) -> bool:
    if isinstance(default, tuple | frozenset):
        return any(_is_mutable(item) for item in default)
    if isinstance(default, msgspec.Struct) and default.__struct_config__.frozen:
        return any(_is_mutable(getattr(default, name)) for name in default.__struct_fields__)
    return not isinstance(default, _CONSTANT) and not callable(default)


def _check_room_for_metadata(cls: RecordMeta) -> None:
    config = cls.__struct_config__
    if config.array_like and cls._options.written:
        raise TypeError(
            f"{cls.__name__}: array_like=True does not go with exclude and output_name: an array has no names"
        )
    if cls._options.include_metadata and (config.forbid_unknown_fields or config.array_like):
        option = "array_like" if config.array_like else "forbid_unknown_fields"
        raise TypeError(
            f"{cls.__name__}: {option}=True leaves no room for the field '__faust': add include_metadata=False"
        )


def _register(cls: RecordMeta, name: str) -> None:
    """Register a class; the same one again (reloaded, or imported beside being ``__main__``) replaces itself."""
    namespace = cls._options.namespace
    other = registry.get(namespace)
    if other is not None and (owner := qualified_name(other.__module__, other.__qualname__)) != name:
        raise TypeError(
            f"the namespace {namespace!r} of {name} belongs to {owner}: give one of them another namespace="
        )
    registry[namespace] = cls


class Record(msgspec.Struct, metaclass=RecordMeta, abstract=True, order=True):
    """Base class of typed messages: annotated attributes are fields, class keywords are :class:`RecordKeywords`.

    A field that may be ``None`` and has no default defaults to ``None``; mutable defaults are copied for each record.
    ``__post_init__`` runs after construction and after decoding. Records are compared, ordered and hashed by their fields; one that is
    a key somewhere must not be changed: ``frozen=True`` sees to that.
    """

    _options: ClassVar[RecordOptions]

    if TYPE_CHECKING:

        def __init_subclass__(cls, **keywords: Unpack[RecordKeywords]) -> None: ...

    def __hash__(self) -> int:
        return hash(structs.astuple(self))

    def asdict(self) -> dict[str, Any]:
        """Return the fields that are written, and their values, which are not converted."""
        values = structs.asdict(self)
        for name, written in self._options.written.items():
            if written is None:
                del values[name]
        return values

    def to_representation(self) -> dict[str, Any]:
        """Return what goes on the wire, metadata included, as plain dicts, lists, strings and numbers."""
        representation: dict[str, Any] = msgspec.json.decode(encoders[type(self)](self))
        return representation

    def derive(self, *others: Record, **fields: Any) -> Self:
        """Make a new record of this class, with the fields of ``others`` and then ``fields`` over those of this record."""
        values = structs.asdict(self)
        for other in others:
            values.update(structs.asdict(other))
        return type(self)(**{**values, **fields})

    def validate(self) -> list[ValidationError]:
        """Return what is wrong with the values, after assignments say: an error for each field, none when all is well.

        It looks at types and, where those are right, at what the descriptors of fields check.
        """
        return list(_faults(self, type(self).__name__))

    def is_valid(self) -> bool:
        """Tell whether :meth:`validate` finds nothing."""
        return not self.validate()

    def validate_or_raise(self) -> None:
        """Raise the first error that :meth:`validate` finds."""
        for error in self.validate():
            raise error

    @property
    def validation_errors(self) -> list[ValidationError]:
        """What :meth:`validate` finds."""
        return self.validate()

    def dumps(self, *, serializer: CodecArg = None) -> bytes:
        """Encode the record by ``serializer``, else by the codec of the class, else as JSON."""
        codec = serializer or self._options.serializer or "json"
        if codec == "json":
            return encoders[type(self)](self)  # type: ignore[no-any-return]
        return get_codec(codec).dumps(self.to_representation()) or b""

    @classmethod
    def loads(cls, data: bytes, *, serializer: CodecArg = None, default_serializer: CodecArg = None) -> Self:
        """Make a record from the bytes that :meth:`dumps` writes.

        Args:
            data: the bytes.
            serializer: the codec; ``None`` for that of the class.
            default_serializer: the codec if the class names none either; ``None`` for JSON.

        Raises:
            ValidationError: they are not the bytes of such a record.
        """
        codec = serializer or cls._options.serializer or default_serializer or "json"
        try:
            record: Self = _loader(cls)(data) if codec == "json" else convert(get_codec(codec).loads(data), cls)
        except (ValueError, EOFError) as error:
            made = fault(error, cls, cls.__name__)
            raise made from made.__cause__
        return record

    @classmethod
    def from_data(cls, data: Any, *, preferred_type: type[Self] | None = None) -> Self:
        """Make a record from plain data such as :meth:`to_representation` returns.

        Args:
            data: a dictionary.
            preferred_type: the class, or a subclass of it that the record is to be of.

        Raises:
            ValidationError: they are not the data of such a record.
        """
        wanted = preferred_type or cls
        try:
            record: Self = convert(data, wanted)
        except ValueError as error:
            made = fault(error, wanted, wanted.__name__)
            raise made from made.__cause__
        return record

    @classmethod
    def make_final(cls) -> None:
        """Look up the types of the fields now. Raises NameError or TypeError for one that does not exist or cannot be decoded.

        :meta private:
        """
        _loader(cls)

    def __json__(self) -> orjson.Fragment:
        return orjson.Fragment(encoders[type(self)](self))


def _faults(record: Record, root: str, path: str = "$") -> Iterator[ValidationError]:
    """Yield what is wrong with the fields of a record, and of the records in them.

    Args:
        record: the record.
        root: name of the class of the outermost one.
        path: where in that this one is.
    """
    fields, options = _fields(type(record)), record._options
    given = _given(options)
    for name, value in structs.asdict(record).items():
        try:
            fields.arguments({name: value})
        except msgspec.ValidationError as error:
            made = fault(error, type(record), root)
            yield ValidationError(f"{made}".replace("`$", f"`{path}"))
        else:
            if name in given:
                yield from options.descriptors[name].validate_all(value)
        yield from _faults_inside(value, root, f"{path}.{name}")


def _faults_inside(value: Any, root: str, path: str) -> Iterator[ValidationError]:
    if isinstance(value, Record):
        yield from _faults(value, root, path)
    elif isinstance(value, list | tuple):
        for at, item in enumerate(value):
            yield from _faults_inside(item, root, f"{path}[{at}]")
    elif isinstance(value, dict):
        for item in value.values():
            yield from _faults_inside(item, root, f"{path}[...]")
