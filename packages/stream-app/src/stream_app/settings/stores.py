"""What is said of a store: the driver, its URL, and options in the query of the URL or beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from stream_app.settings.parameters import url
from stream_tables.options import RocksDBOptions, read_options

__all__ = ["Chosen", "choose_store", "store_url"]


class Chosen(NamedTuple):
    """A driver of stores, and what is said of it.

    Attributes:
        scheme: names the driver.
        url: the URL without its query.
        options: value by name; texts where they come from a query.
    """

    scheme: str
    url: str
    options: dict[str, Any]


def choose_store(text: str, options: Mapping[str, Any] | None = None, app: Chosen | None = None) -> Chosen:
    """Read the URL of a store.

    Args:
        text: the URL, with or without a query.
        options: what is said beside it, and counts before what the query says.
        app: what the app says of its stores: options that are said there hold for the same driver here, too.

    Raises:
        ValueError: the query cannot be read, or says something twice; or a directory is said.
        ConfigurationError: the driver has no such option, or a value is none.
    """
    base, _, query = text.partition("?")
    scheme, _, place = base.partition("://")
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    said = dict(pairs)
    if len(said) < len(pairs):
        raise ValueError("its query says something twice")
    if scheme == "memory" and said:
        raise ValueError(f"memory:// has no options: leave {', '.join(said)} out")
    if scheme == "rocksdb" and place.strip("/"):
        raise ValueError(f"stores are in the directory that the setting datadir names: leave {place} out")
    given = dict(options or {})
    if scheme == "rocksdb":
        said, given = read_options(said), read_options(given, "options=")
    inherited = app.options if app is not None and app.scheme == scheme else {}
    chosen = Chosen(scheme, base, {**inherited, **said, **given})
    if scheme == "rocksdb":
        RocksDBOptions.of(chosen.options)
    return chosen


def store_url(value: object) -> str:
    """Read a URL of a store, such as ``rocksdb://?cache=256M``, whose options are known to its driver where that is one of ours."""
    text = url(value)
    choose_store(text)
    return text
