"""Options of definitions: one that is misspelt, or has a value of a wrong type, is answered by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from functools import cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints, is_typeddict

from stream_core.errors import ConfigurationError

__all__ = ["checked"]

F = TypeVar("F", bound=Callable[..., Any])

FUNCTION = cast(type, Callable)

WORDS = {
    "Callable": "a function",
    "Iterable": "a list",
    "Life": "an App",
    "Mapping": "a mapping",
    "bool": "True or False",
    "float": "seconds",
    "int": "a whole number",
    "str": "text",
    "timedelta": "a timedelta",
    "type": "a class",
}
"""What to write for a value of a type, by its name; the only numbers with a point that definitions take are seconds."""

NAMED = ("Table", "agent", "channel", "topic")
"""The methods that take a name, or texts that are one, by position."""

NUMBERS: dict[type, type] = {float: Real, int: Integral}


def checked(method: F) -> F:
    """Check names and types of the options of a method that defines something, before it is called.

    The types are those of its signature, and of the ``TypedDict`` behind ``Unpack`` in it. Where one is more than classes, unions of them,
    functions, lists and mappings, any value passes: whoever uses it knows more of it.

    Raises:
        ConfigurationError: in place of TypeError: there is no such option, with the nearest one; an argument is missing, or one too many;
            a value is none of the types.
    """
    signature = inspect.signature(method)

    @cache
    def known() -> Mapping[str, Any]:
        hints = get_type_hints(method)
        names: dict[str, Any] = {}
        for name, parameter in list(signature.parameters.items())[1:]:
            hint = hints.get(name, Any)
            if parameter.kind is parameter.VAR_KEYWORD:
                (more,) = get_args(hint) or (None,)
                names |= get_type_hints(more) if is_typeddict(more) else {}
            else:
                names[name] = hint
        return names

    positional = [
        name
        for name, parameter in list(signature.parameters.items())[1:]
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.VAR_POSITIONAL)
    ]
    several = next((name for name, one in signature.parameters.items() if one.kind is one.VAR_POSITIONAL), None)

    @wraps(method)
    def call(self: Any, *args: Any, **options: Any) -> Any:
        where = _where(method.__name__, args, options)
        _check_names(where, options, known().keys() - {several})
        try:
            signature.bind(self, *args, **options)
        except TypeError as error:
            raise ConfigurationError(f"{where}: {error}") from None
        last = len(positional) - 1  # where there are more arguments than names, the last one takes them all
        for name, value in [*((positional[min(at, last)], value) for at, value in enumerate(args)), *options.items()]:
            _check_type(where, name, value, known()[name])
        return method(self, *args, **options)

    return cast(F, call)


def _where(method: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> str:
    """Name the definition, as far as its options tell."""
    if method not in NAMED:
        return "worker" if method == "__init__" else method
    name = options.get("name") or ", ".join(one for one in args if isinstance(one, str)) or options.get("pattern")
    return f"{method.lower()} {name}" if name else method.lower()


def _check_names(where: str, given: Collection[str], known: Collection[str]) -> None:
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(known))}"
            raise ConfigurationError(f"{where}: there is no option {name!r}: {hint}")


def _check_type(where: str, name: str, value: Any, hint: Any) -> None:
    types = _types(hint)
    if types is None or any(_fits(value, one) for one in types):
        return
    words = " or ".join(WORDS.get(one.__name__, one.__name__) for one in types if one is not NoneType)
    raise ConfigurationError(f"{where}: {name}={value!r} cannot be used: write {words}")


def _types(hint: Any) -> list[type] | None:
    """Give the classes of which a value may be; ``None`` where that is not known."""
    origin = get_origin(hint)
    if origin is Union or origin is UnionType:
        parts = [_types(one) for one in get_args(hint)]
        return None if None in parts else [one for part in parts if part is not None for one in part]
    found = origin or hint
    if not isinstance(found, type) or found.__module__ == "typing" or getattr(found, "_is_protocol", False):
        return None
    return [found]


def _fits(value: Any, type_: type) -> bool:
    if type_ is FUNCTION:
        return callable(value)
    if type_ in NUMBERS:
        return isinstance(value, NUMBERS[type_]) and not isinstance(value, bool)
    if type_ is Iterable:
        return isinstance(value, Iterable) and not isinstance(value, str | bytes)
    return isinstance(value, type_)
