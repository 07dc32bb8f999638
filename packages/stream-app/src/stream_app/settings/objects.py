"""Where settings come from beside arguments and environment: modules, classes, objects and mappings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from stream_app.settings import known_settings
from stream_core.errors import ConfigurationError

__all__ = ["read_object"]


def read_object(source: Any, *, silent: bool = False) -> dict[str, Any]:
    """The settings in a module, class, object or mapping.

    Args:
        source: ``"module"``, ``"module:attribute"``, ``"module.Class"``, or the object itself.
        silent: nothing is found when the module does not exist.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    if isinstance(source, str):
        try:
            source = _load(source)
        except ModuleNotFoundError as error:
            if silent:
                return {}
            raise ConfigurationError(
                f"the configuration {source!r} cannot be loaded: {error}; check the name, and the directory"
            ) from error
    if isinstance(source, Mapping):
        return dict(source)
    return {name: getattr(source, name) for name in known_settings() if hasattr(source, name)}


def _load(path: str) -> Any:
    name, colon, attribute = path.partition(":")
    if not colon:
        try:
            return importlib.import_module(path)
        except ModuleNotFoundError:
            name, _, attribute = path.rpartition(".")
            if not name:
                raise
    try:
        return getattr(importlib.import_module(name), attribute)
    except AttributeError as error:
        raise ConfigurationError(f"the configuration {path!r} cannot be loaded: {error}") from error
