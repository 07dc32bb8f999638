"""What is said of the cache of pages: a URL, with bounds in its query."""

from __future__ import annotations

from difflib import get_close_matches
from urllib.parse import parse_qsl

from stream_app.settings.parameters import url
from stream_tables.options import size

__all__ = ["cache_bounds", "cache_url"]

BOUNDS = ("entries", "size")


def cache_bounds(text: str) -> dict[str, int]:
    """Read the bounds of a cache from its URL.

    Raises:
        ValueError: it is not a cache that there is, or a bound is none.
    """
    base, _, query = text.partition("?")
    scheme, _, place = base.partition("://")
    if scheme != "memory":
        raise ValueError(
            "there is only memory://, in each worker: assign a backend of your own to app.cache to keep answers elsewhere"
        )
    if place.strip("/"):
        raise ValueError(f"a cache in memory has no place: leave {place} out")
    bounds: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else ():
        if name not in BOUNDS:
            near = get_close_matches(name, BOUNDS, 1)
            raise ValueError(
                f"memory:// has no option {name!r}; "
                + (f"did you mean {near[0]}?" if near else "it takes entries and size")
            )
        bounds[name] = size(value) if name == "size" else int(value)
        if bounds[name] < 1:
            raise ValueError(f"{name} is {value}: give 1 or more")
    return bounds


def cache_url(value: object) -> str:
    """Read a URL of a cache of pages, such as ``memory://?size=64M``."""
    text = url(value)
    cache_bounds(text)
    return text
