"""Tags: types that keep values out of logs, as in ``password: Secret[str]``.

On the wire such a field is as without the tag, and msgspec reads it as that. In a record its value is an object that does not show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin

from stream_core.errors import ConfigurationError, SecurityError

__all__ = [
    "OpaqueTag",
    "Personal",
    "Secret",
    "Sensitive",
    "Tag",
    "TransparentTag",
    "allow_protected_vars",
    "tag_of",
    "untagged",
]

T = TypeVar("T")

_allowed: ContextVar[bool] = ContextVar("allowed", default=False)


@contextmanager
def allow_protected_vars() -> Iterator[None]:
    """Let tagged values be used as text in the block."""
    token = _allowed.set(True)
    try:
        yield
    finally:
        _allowed.reset(token)


class Tag(Generic[T]):
    """A value that is not to be seen by chance; :meth:`get_value` gives it.

    ``Secret[str]`` is the type of a field: one of ``str`` whose values are tagged.

    Args:
        value: the value.
        field: name of the field, for messages.

    Raises:
        SecurityError: the value is tagged already.
    """

    __slots__ = ("_value", "field")

    is_secret: ClassVar[bool] = False
    is_sensitive: ClassVar[bool] = False
    is_personal: ClassVar[bool] = False

    def __init__(self, value: T, *, field: str = "") -> None:
        if isinstance(value, Tag):
            raise SecurityError(f"the value of {field or 'a field'} is tagged already: give the value itself")
        self._value = value
        self.field = field

    if not TYPE_CHECKING:

        def __class_getitem__(cls, type_: Any) -> Any:
            """Make the type of a field: as the plain one for all that reads messages, and marked with the tag."""
            return super().__class_getitem__(type_) if isinstance(type_, TypeVar) else Annotated[type_, cls]

    def get_value(self) -> T:
        """Return the value."""
        return self._value

    def __json__(self) -> Any:
        return self._value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._value == other._value

    def __lt__(self, other: Any) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        value: Any = self._value
        return bool(value < other._value)

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.field or 'a value'}>"

    def __str__(self) -> str:
        return f"{self}"

    def __format__(self, spec: str) -> str:
        return format(self._value if _allowed.get() else self._shown(), spec)

    def _shown(self) -> Any:
        """Return what is shown in place of the value."""
        raise ConfigurationError(f"{type(self).__name__} does not say what it shows: inherit from OpaqueTag")


class OpaqueTag(Tag[T]):
    """A value that cannot be used as text."""

    __slots__ = ()

    def _shown(self) -> Any:
        raise SecurityError(
            f"{self.field or 'a value'} is {type(self).__name__} and was about to become text: call get_value() where that is meant, "
            "or use it in `with allow_protected_vars():`"
        )


class TransparentTag(Tag[T]):
    """A value that is marked, and shown."""

    __slots__ = ()

    def _shown(self) -> Any:
        return self._value


class Secret(TransparentTag[T]):
    """A value that is shown as stars, such as a password."""

    __slots__ = ()

    is_secret = True
    mask: ClassVar[str] = "***********"

    def _shown(self) -> Any:
        return self.mask


class Sensitive(OpaqueTag[T]):
    """A value that is nobody's business, such as an income."""

    __slots__ = ()

    is_sensitive = True


class Personal(OpaqueTag[T]):
    """A value that tells who somebody is, such as a name."""

    __slots__ = ()

    is_personal = True


def tag_of(type_: Any) -> type[Tag[Any]] | None:
    """Return the tag of the type of a field, also of ``Secret[str] | None``.

    Raises:
        TypeError: the tag is on a part of the value, where nothing would hide it.
    """
    if get_origin(type_) is Annotated:
        return next((one for one in get_args(type_)[1:] if isinstance(one, type) and issubclass(one, Tag)), None)
    if get_origin(type_) in (Union, UnionType):
        return next(filter(None, map(tag_of, get_args(type_))), None)
    for part in get_args(type_):
        if (tag := tag_of(part)) is not None:
            raise TypeError(
                f"a tag is on the value of a field as a whole: write {tag.__name__}[list[str]], not list[{tag.__name__}[str]]"
            )
    return None


def untagged(value: Any) -> Any:
    """Return the value itself of one that is tagged."""
    return value._value if isinstance(value, Tag) else value
