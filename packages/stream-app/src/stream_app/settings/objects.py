"""Where settings come from beside arguments and environment: modules, classes, objects and mappings."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from inspect import ismodule
from typing import Any

from stream_core.errors import ConfigurationError

__all__ = ["read_object"]

logger = logging.getLogger(__name__)

NEAR = 0.85
"""How much an attribute resembles the name of a setting that it is taken for a slip of the pen."""


def read_object(
    source: Any, known: Collection[str], common: Collection[str] = (), *, silent: bool = False
) -> dict[str, Any]:
    """Give the settings in a module, class, object or mapping; names may be in capitals, as in modules of other frameworks.

    Args:
        source: ``"module"``, ``"module:attribute"``, ``"module.Class"``, or the object itself.
        known: the names that are looked for in an object; its other attributes are left alone. Of a mapping all are taken.
        common: those of them that may also be what an object has imported: modules, classes and functions are passed over there.
        silent: nothing is found when the module does not exist.

    Raises:
        ConfigurationError: it cannot be loaded, or names a setting twice.
    """
    if isinstance(source, str):
        try:
            source = _load(source)
        except (ValueError, TypeError) as error:  # of a name that is empty, or begins with a dot
            raise ConfigurationError(
                f"the configuration {source!r} cannot be loaded: it is not a name of a module"
            ) from error
        except ModuleNotFoundError as error:
            if not _is_of(source, error):
                raise  # an import in the module that was found
            if silent:
                return {}
            raise ConfigurationError(
                f"the configuration {source!r} cannot be loaded: {error}; check the name, and the directory"
            ) from error
    elif source is None or isinstance(source, int | float | bytes | list | tuple | set):
        raise ConfigurationError(f"{source!r} is not a configuration: give a module, a class, an object, or a mapping")
    names = {name.upper(): name for name in known if name.islower()}
    if isinstance(source, Mapping):
        given = [(str(name), value) for name, value in source.items()]
    else:
        given = [
            (name, getattr(source, name)) for name in dir(source) if not name.startswith("_") and hasattr(source, name)
        ]
        for name, value in given:
            near = get_close_matches(name.lower(), known, 1, NEAR)
            if near and name not in known and name not in names and not (ismodule(value) or callable(value)):
                logger.warning(
                    "the configuration %s has %s, which is not a setting: did you mean %s?", source, name, near[0]
                )
        given = [
            (name, value)
            for name, value in given
            if (name in known or name in names)
            and not (names.get(name, name) in common and (ismodule(value) or callable(value)))
        ]
    values: dict[str, Any] = {}
    for name, value in given:
        lower = names.get(name, name)
        if lower in values:
            raise ConfigurationError(f"the configuration names the setting {lower} twice: remove one of them")
        values[lower] = value
    return values


def _is_of(path: str, error: ModuleNotFoundError) -> bool:
    """Tell whether what cannot be found is the configuration itself, or a package of it."""
    whole = path.replace(":", ".")
    return error.name is not None and (whole == error.name or whole.startswith(f"{error.name}."))


def _load(path: str) -> Any:
    name, colon, attribute = path.partition(":")
    if not colon:
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError as error:
            name, _, attribute = path.rpartition(".")
            if not name or not _is_of(path, error):
                raise
    try:
        return getattr(importlib.import_module(name), attribute)
    except AttributeError as error:
        raise ConfigurationError(f"the configuration {path!r} cannot be loaded: {error}") from error
