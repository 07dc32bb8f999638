"""Drivers by the scheme of a URL: built in for ``memory://``, by entry point for the others, or a class by its full path."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stream_app.settings.stores import Chosen, choose_store
from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_tables.table import Table

__all__ = ["choose_for", "load_driver", "load_stores"]

SCHEMA_REGISTRIES = "stream-kafka[schema-registry]"

PACKAGES = {
    "aiokafka": "stream-kafka",
    "kafka": "stream-kafka",
    "kafkas": "stream-kafka",
    "rocksdb": "stream-tables",
    "http": SCHEMA_REGISTRIES,
    "https": SCHEMA_REGISTRIES,
}


def load_driver(group: str, scheme: str, builtin: Callable[..., Any]) -> Callable[..., Any]:
    """Find what makes the driver of ``scheme``.

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
        fix = f"pip install {PACKAGES.get(scheme, scheme)}"
        if "." in scheme or ":" in scheme:
            fix = "write package.module:Class, and run where Python finds the package"
        raise MissingPackageError(f"the driver of {scheme}:// cannot be loaded ({error}); {fix}") from error
    if scheme in PACKAGES and (PACKAGES[scheme] == SCHEMA_REGISTRIES) == (group == "stream.registries"):
        raise MissingPackageError(f"the driver of {scheme}:// is not installed; pip install {PACKAGES[scheme]}")
    near = get_close_matches(scheme, [*found, "memory"], 1)
    hint = f"; did you mean {near[0]}://?" if near else "."
    raise ConfigurationError(
        f"there is no driver for {scheme}://{hint} Known are {', '.join(sorted([*found, 'memory']))}"
    )


def choose_for(text: str, table: Table[Any, Any]) -> Chosen:
    """Give what is said of the stores of a table.

    Raises:
        ConfigurationError: its driver has no such option, or a value is none.
    """
    of_app = choose_store(text)
    in_memory = table.store is None and of_app.scheme == "memory"
    try:
        return choose_store(table.store or text, None if in_memory else table.store_options, of_app)
    except ConfigurationError as error:
        raise ConfigurationError(f"table {table.name}: {error}") from error


def load_stores(chosen: Chosen) -> Callable[[Path], Stores]:
    """Find what makes the stores in a directory. A driver is called with the directory, and with its options by name.

    One that has a parameter ``url`` is given the URL without its query, too. What it makes is looked at, since a path may name anything.

    Raises:
        MissingPackageError: the package of the driver is not installed.
        ConfigurationError: there is no such driver, or it has no such option.
    """
    make = load_driver("stream.stores", chosen.scheme, MemoryStores)
    if make is MemoryStores:
        return lambda directory: MemoryStores()
    options = dict(chosen.options)
    try:
        signature = inspect.signature(make)
    except ValueError:  # of a class that is not written in Python
        return _checked(make, chosen, options)
    known = [
        name for name, one in signature.parameters.items() if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    if "url" in known:
        options.setdefault("url", chosen.url)
    try:
        signature.bind(Path(), **options)
    except TypeError as error:
        near = [get_close_matches(name, known[1:], 1) for name in options if name not in known]
        hint = "".join(f"; did you mean {found[0]}?" for found in near if found)
        raise ConfigurationError(f"{chosen.url} cannot be used with these options: {error}{hint}") from error
    return _checked(make, chosen, options)


def _checked(make: Callable[..., Any], chosen: Chosen, options: Mapping[str, Any]) -> Callable[[Path], Stores]:
    """Call a driver, and refuse what opens no stores. Raises ConfigurationError."""

    def made(directory: Path) -> Stores:
        stores: Stores = make(directory, **options)
        if missing := [name for name in ("open", "destroy", "close") if not callable(getattr(stores, name, None))]:
            raise ConfigurationError(
                f"{chosen.url} opens no stores: what {chosen.scheme} makes has no method {missing[0]}; "
                "see the page Stores for what a driver is"
            )
        return stores

    return made
