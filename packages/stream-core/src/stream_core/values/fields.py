"""Fields of records that say more than their type: bounds, other names on the wire, checks of the user's own.

``side: str = Choice(["BUY", "SELL"])`` in a class body is such a field. Every field has a descriptor, in ``Record._options.descriptors``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy, deepcopy
from datetime import datetime
from decimal import Decimal
from functools import cached_property, partial
from operator import attrgetter
from typing import Any, Generic, Self, TypeVar

import msgspec
from msgspec import NODEFAULT, structs

from stream_core.errors import ValidationError
from stream_core.values.tags import Tag, tag_of, untagged
from stream_core.values.wire import is_record

__all__ = [
    "BooleanField",
    "BytesField",
    "CharField",
    "DatetimeField",
    "DecimalField",
    "Descriptors",
    "FieldDescriptor",
    "FloatField",
    "IntegerField",
    "NumberField",
    "StringField",
    "field_for_type",
]

T = TypeVar("T")


class FieldDescriptor(Generic[T]):
    """What is known of a field, and what it asks of its values.

    Subclasses override :meth:`validate`, which a record with ``validation=True`` calls when it is made or read, and
    ``record.validate()`` always; and :meth:`prepare_value`.

    Args:
        field: name of the attribute; that of the class body when left out.
        type: its type; from the annotation when left out.
        model: the record class.
        required: whether there must be a value; a field with a default is not required.
        default: the value when there is none.
        input_name: its name on the wire, that of the attribute when left out.
        output_name: its name in what is written, ``input_name`` when left out.
        exclude: leave it out of what is written.
        parent: the field whose type is the record class of this one.
        tag: what keeps its values out of logs.
        options: more for subclasses, which :meth:`clone` passes on.
    """

    def __init__(
        self,
        *,
        field: str = "",
        type: Any = None,  # noqa: A002 - the name is Faust's
        model: Any = None,
        required: bool = True,
        default: Any = NODEFAULT,
        input_name: str | None = None,
        output_name: str | None = None,
        exclude: bool = False,
        parent: FieldDescriptor[Any] | None = None,
        tag: type[Tag[Any]] | None = None,
        **options: Any,
    ) -> None:
        for name in ("coerce", "date_parser"):
            if options.get(name):
                raise TypeError(f"{name} is said for all fields of a record: class Point(Record, {name}=...)")
        self.field = field
        self.type = type
        self.model = model
        self.default = None if default is NODEFAULT and not required else default
        self.required = self.default is NODEFAULT
        self.input_name = input_name or field
        self.output_name = output_name or self.input_name
        self.exclude = exclude
        self.parent = parent
        self.tag = tag
        self.options = options

    def __set_name__(self, owner: Any, name: str) -> None:
        self.named(name)

    def named(self, name: str) -> None:
        """Be the field of this name, where none was given."""
        self.field = self.field or name
        self.input_name = self.input_name or name
        self.output_name = self.output_name or self.input_name

    def bound(self, **known: Any) -> Self:
        """Return a copy of which more is known; a descriptor that several fields share stays as it is."""
        made = copy(self)
        vars(made).pop("_path", None)
        vars(made).update(known)
        return made

    def clone(self, **changes: Any) -> FieldDescriptor[T]:
        """Make the same with some arguments changed."""
        return type(self)(**{**self.as_dict(), **changes})

    def as_dict(self) -> Mapping[str, Any]:
        """Return the arguments it is made with."""
        names = (
            "field",
            "type",
            "model",
            "required",
            "default",
            "input_name",
            "output_name",
            "exclude",
            "parent",
            "tag",
        )
        return {**{name: getattr(self, name) for name in names}, **self.options}

    @property
    def ident(self) -> str:
        """Return class and field, ``Point.x``."""
        return f"{self.model.__name__}.{self.field}"

    @cached_property
    def _path(self) -> Callable[[Any], Any]:
        steps, node = [self.field], self.parent
        while node is not None:
            steps.append(node.field)
            node = node.parent
        return attrgetter(".".join(reversed(steps)))

    def getattr(self, obj: Any) -> T:
        """Return the value of the field in a record: of ``Order.customer.name`` in an order."""
        value: T = self._path(obj)
        return value

    def __getattr__(self, name: str) -> FieldDescriptor[Any]:
        type_: Any = vars(self).get("type")
        if name.startswith("_") or not is_record(type_) or name not in type_._options.descriptors:
            raise AttributeError(
                f"{self.__class__.__name__} {vars(self).get('field')} has no {name}", name=name, obj=self
            )
        inner: FieldDescriptor[Any] = type_._options.descriptors[name]
        return inner.bound(parent=self)

    def prepare_value(self, value: Any) -> Any:
        """Return what a record holds for a value."""
        return value

    def validate(self, value: T) -> Iterable[ValidationError]:
        """Yield what is wrong with a value of the right type: errors made by :meth:`validation_error`."""
        return ()

    def validate_all(self, value: Any) -> Iterator[ValidationError]:
        """Yield what is wrong with a value, of which ``None`` may be none."""
        value = untagged(value)
        if value is not None or self.required:
            yield from self.validate(value)

    def validation_error(self, reason: str) -> ValidationError:
        """Make the error with this reason."""
        return ValidationError(f"{self.model.__name__}: {reason}" if self.model is not None else reason)

    def _shown(self, value: T) -> str:
        """Return a value as text for a message, without what a tag hides."""
        return str(value) if self.tag is None else repr(self.tag(value, field=self.field))

    @property
    def checks(self) -> bool:
        """Tell whether the class looks at values."""
        return type(self).validate is not FieldDescriptor.validate

    @property
    def prepares(self) -> bool:
        """Tell whether the class changes values."""
        return type(self).prepare_value is not FieldDescriptor.prepare_value

    def __repr__(self) -> str:
        default = "" if self.required else f" = {self.default!r}"
        owner = f"{self.model.__name__}." if self.model is not None else ""
        return f"<{type(self).__name__}: {owner}{self.field}: {getattr(self.type, '__name__', self.type)}{default}>"


class BooleanField(FieldDescriptor[bool]):
    """True or false."""


class NumberField(FieldDescriptor[T]):
    """A number within bounds.

    Args:
        max_value: the largest value that is right.
        min_value: the smallest.
    """

    def __init__(self, *, max_value: Any = None, min_value: Any = None, **options: Any) -> None:
        super().__init__(max_value=max_value, min_value=min_value, **options)
        self.max_value = max_value
        self.min_value = min_value

    def validate(self, value: Any) -> Iterable[ValidationError]:
        """Report a value out of bounds."""
        if self.max_value is not None and value > self.max_value:
            yield self.validation_error(f"{self.field} is {self._shown(value)}, and at most {self.max_value} is right")
        if self.min_value is not None and value < self.min_value:
            yield self.validation_error(f"{self.field} is {self._shown(value)}, and at least {self.min_value} is right")


class IntegerField(NumberField[int]):
    """A whole number."""


class FloatField(NumberField[float]):
    """A number."""


class DecimalField(NumberField[Decimal]):
    """A decimal number.

    Args:
        max_digits: digits in front of the point and behind it.
        max_decimal_places: digits behind the point.
        options: as for numbers.
    """

    def __init__(self, *, max_digits: int | None = None, max_decimal_places: int | None = None, **options: Any) -> None:
        super().__init__(max_digits=max_digits, max_decimal_places=max_decimal_places, **options)
        self.max_digits = max_digits
        self.max_decimal_places = max_decimal_places

    def validate(self, value: Decimal) -> Iterable[ValidationError]:
        """Report a value with too many digits, and one that is no number."""
        if not value.is_finite():
            yield self.validation_error(f"{self.field} is {self._shown(value)}, which is no number")
            return
        yield from super().validate(value)
        _, digits, exponent = value.as_tuple()
        places = max(0, -int(exponent))
        count = max(len(digits) + max(0, int(exponent)), places)
        if self.max_decimal_places is not None and places > self.max_decimal_places:
            yield self.validation_error(
                f"{self.field} has {places} decimal places, and at most {self.max_decimal_places} are right"
            )
        if self.max_digits is not None and count > self.max_digits:
            yield self.validation_error(f"{self.field} has {count} digits, and at most {self.max_digits} are right")


class CharField(FieldDescriptor[T]):
    """Text, or bytes, of some length.

    Args:
        max_length: characters at most.
        min_length: characters at least.
        trim_whitespace: leave out white space at both ends.
        allow_blank: whether it may be empty.
    """

    def __init__(
        self,
        *,
        max_length: int | None = None,
        min_length: int | None = None,
        trim_whitespace: bool = False,
        allow_blank: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            max_length=max_length,
            min_length=min_length,
            trim_whitespace=trim_whitespace,
            allow_blank=allow_blank,
            **options,
        )
        self.max_length = max_length
        self.min_length = min_length
        self.trim_whitespace = trim_whitespace
        self.allow_blank = allow_blank

    def prepare_value(self, value: Any) -> Any:
        """Return text without white space around it, where that is asked for."""
        return value.strip() if self.trim_whitespace and isinstance(value, str | bytes) else value

    def validate(self, value: Any) -> Iterable[ValidationError]:
        """Report a value that is too long, too short, or empty."""
        length = len(value)
        if not length and not self.allow_blank:
            yield self.validation_error(f"{self.field} is empty")
        if self.max_length is not None and length > self.max_length:
            yield self.validation_error(
                f"{self.field} has {length} characters, and at most {self.max_length} are right"
            )
        if self.min_length is not None and length < self.min_length:
            yield self.validation_error(
                f"{self.field} has {length} characters, and at least {self.min_length} are right"
            )


class StringField(CharField[str]):
    """Text."""


class BytesField(CharField[bytes]):
    """Bytes."""


class DatetimeField(FieldDescriptor[datetime]):
    """A time."""


_FIELDS: dict[Any, type[FieldDescriptor[Any]]] = {
    bool: BooleanField,
    int: IntegerField,
    float: FloatField,
    Decimal: DecimalField,
    str: StringField,
    bytes: BytesField,
    datetime: DatetimeField,
}


def field_for_type(type_: Any) -> type[FieldDescriptor[Any]]:
    """Return the class of the fields of a type."""
    return _FIELDS.get(type_, FieldDescriptor)


class Descriptors(Mapping[str, FieldDescriptor[Any]]):
    """The descriptors of the fields of a record class, by name; made when they are first looked at, as types may be defined later.

    Args:
        cls: the class.
        given: those that stand in the class body, and in those of its bases.
    """

    def __init__(self, cls: Any, given: Mapping[str, FieldDescriptor[Any]]) -> None:
        self._cls = cls
        self.given = given

    @cached_property
    def _all(self) -> dict[str, FieldDescriptor[Any]]:
        return {field.name: self._describe(field) for field in structs.fields(self._cls)}

    def _describe(self, field: structs.FieldInfo) -> FieldDescriptor[Any]:
        default = field.default if field.default_factory is NODEFAULT else field.default_factory()
        known = {"field": field.name, "type": field.type, "model": self._cls, "tag": tag_of(field.type)}
        if (given := self.given.get(field.name)) is not None:
            given = given.bound(**known)
            if given.output_name == given.input_name:
                given.output_name = field.encode_name
            given.input_name = field.encode_name
            return given
        return FieldDescriptor(default=default, input_name=field.encode_name, **known)

    def __getitem__(self, name: str) -> FieldDescriptor[Any]:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def in_class_body(given: FieldDescriptor[Any]) -> Any:
    """Return what msgspec takes in the class body in place of a descriptor; NODEFAULT for nothing."""
    name = None if given.input_name == given.field else given.input_name
    default: Any = given.default
    if name is None:
        return default
    if isinstance(default, list | dict | set):
        return msgspec.field(name=name, default_factory=partial(deepcopy, default))
    return msgspec.field(name=name) if default is NODEFAULT else msgspec.field(name=name, default=default)
