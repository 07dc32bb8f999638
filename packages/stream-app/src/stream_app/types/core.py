"""Keys, values and headers, as programs annotate them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, TypeAlias

from stream_core.primitives import HeadersArg

__all__ = ["HeadersArg", "K", "V", "merge_headers"]

K: TypeAlias = bytes | Any | None
V: TypeAlias = bytes | Any | None


def merge_headers(target: HeadersArg, source: Mapping[str, Any]) -> None:
    """Put headers into others that can be changed, a dictionary or a list of pairs; text becomes bytes.

    Args:
        target: what they are put into.
        source: names and values.
    """
    encoded = {name: value.encode() if isinstance(value, str) else bytes(value) for name, value in source.items()}
    if isinstance(target, MutableMapping):
        target.update(encoded)
    elif isinstance(target, list):
        target.extend(encoded.items())
    elif encoded:
        raise TypeError(f"headers of type {type(target).__name__} cannot be changed: use a dict, or a list of pairs")
