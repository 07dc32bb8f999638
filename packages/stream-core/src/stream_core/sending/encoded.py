"""A record that is ready to be sent, as it is kept until it leaves or is acknowledged."""

from __future__ import annotations

from stream_core.ports import Delivery, Producer
from stream_core.primitives import Headers

__all__ = ["OVERHEAD", "Encoded", "append", "size_of"]

Encoded = tuple[str, int | None, bytes | None, bytes | None, int | None, Headers]
"""Topic, partition or ``None``, key, value, timestamp in milliseconds or ``None`` for now, headers."""

OVERHEAD = 100
"""Bytes of a record beside key, value and headers, with those of its batch, at most."""


def append(producer: Producer, record: Encoded) -> Delivery:
    """Append a record to the builder of its partition; raises as :meth:`stream_core.ports.Producer.send`."""
    topic, partition, key, value, timestamp, headers = record
    return producer.send(topic, partition, key, value, timestamp, headers)


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return how many bytes a record has, at most."""
    size = OVERHEAD + len(key or b"") + len(value or b"")
    if headers:
        size += sum(len(name.encode()) + len(content or b"") + 10 for name, content in headers)
    return size
