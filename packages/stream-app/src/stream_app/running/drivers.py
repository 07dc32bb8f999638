"""Drivers by the scheme of a URL: built in for ``memory://``, by entry point for the others, or a class by its full path."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from stream_core.errors import ConfigurationError, MissingPackageError

__all__ = ["load_driver"]

PACKAGES = {
    "aiokafka": "stream-kafka",
    "kafka": "stream-kafka",
    "kafkas": "stream-kafka",
    "rocksdb": "stream-tables",
}


def load_driver(group: str, scheme: str, builtin: Callable[..., Any]) -> Callable[..., Any]:
    """What makes the driver of ``scheme``.

    Args:
        group: entry point group, ``stream.transports`` or ``stream.stores``.
        scheme: the scheme of the URL, or ``package.module.Class``, or ``package.module:Class``.
        builtin: serves ``memory``.

    Raises:
        MissingPackageError: the package of the driver is not installed.
        ConfigurationError: there is no such driver.
    """
    if scheme == "memory":
        return builtin
    found: dict[str, EntryPoint] = {}
    try:
        if "." in scheme or ":" in scheme:
            module, _, name = scheme.replace(":", ".").rpartition(".")
            by_path: Callable[..., Any] = getattr(importlib.import_module(module), name)
            return by_path
        found = {entry.name: entry for entry in entry_points(group=group)}
        if scheme in found:
            loaded: Callable[..., Any] = found[scheme].load()
            return loaded
    except (ImportError, AttributeError) as error:
        package = PACKAGES.get(scheme, scheme)
        raise MissingPackageError(
            f"the driver of {scheme}:// cannot be loaded ({error}); pip install {package}"
        ) from error
    if scheme in PACKAGES:
        raise MissingPackageError(f"the driver of {scheme}:// is not installed; pip install {PACKAGES[scheme]}")
    near = get_close_matches(scheme, [*found, "memory"], 1)
    hint = f"; did you mean {near[0]}://?" if near else "."
    raise ConfigurationError(
        f"there is no driver for {scheme}://{hint} Known are {', '.join(sorted([*found, 'memory']))}"
    )
