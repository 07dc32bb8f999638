"""What is given to a send, as transports take it."""

from __future__ import annotations

from datetime import datetime

from stream_core.errors import EncodeError
from stream_core.primitives import Headers

__all__ = ["checked_headers", "millis_of"]

_TIMES = 2**63
"""The protocol has 64 bits for a timestamp, with its sign."""


def millis_of(timestamp: float, topic: str) -> int:
    """Return a timestamp in milliseconds, as records have it. Raises EncodeError for what is none, and says how to make one of it."""
    try:
        millis = round(timestamp * 1000)
    except (TypeError, ValueError, OverflowError):
        hint = "give timestamp.timestamp()" if isinstance(timestamp, datetime) else ""
    else:
        if -_TIMES <= millis < _TIMES:
            return millis
        hint = "of nanoseconds give timestamp / 1e9"
    said = f"topic {topic}: timestamp={timestamp!r} is no number of seconds since the epoch{'; ' if hint else ''}{hint}"
    raise EncodeError(said, topic) from None


def checked_headers(pairs: Headers, topic: str) -> Headers:
    """Return the headers as transports take them: tuples of text and bytes, or of text and ``None``. Raises EncodeError."""
    checked = []
    for pair in pairs:
        try:
            name, content = pair
            name.encode()
        except (TypeError, ValueError, AttributeError):
            raise EncodeError(
                f"topic {topic}: a header is a name, which is text, and bytes, and not {pair!r}", topic
            ) from None
        if content is not None and type(content) is not bytes:
            raise EncodeError(
                f"topic {topic}: the header {name!r} is of type {type(content).__name__}: give bytes, such as text.encode()",
                topic,
            )
        checked.append((name, content))
    return checked
