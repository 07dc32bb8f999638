"""JSON as topics have it."""

from typing import Any

from stream_core.values.codecs import get_codec, json_dumps

__all__ = ["dumps", "loads"]


def dumps(obj: Any) -> str:
    """Write JSON of an object: plain values, dates, decimals, ids, records."""
    return json_dumps(obj).decode()


def loads(text: str | bytes) -> Any:
    """Read the object that JSON describes. Raises ValueError."""
    return get_codec("json").loads(text.encode() if isinstance(text, str) else text)
