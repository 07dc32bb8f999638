"""A record that is ready to be sent, as it is kept until it leaves or is acknowledged."""

from __future__ import annotations

from stream_core.ports import Delivery, Producer
from stream_core.primitives import Headers

__all__ = ["Encoded", "append"]

Encoded = tuple[str, int | None, bytes | None, bytes | None, int | None, Headers]
"""Topic, partition or ``None``, key, value, timestamp in milliseconds or ``None`` for now, headers."""


def append(producer: Producer, record: Encoded) -> Delivery:
    """Append a record to the builder of its partition; raises as :meth:`stream_core.ports.Producer.send`."""
    topic, partition, key, value, timestamp, headers = record
    return producer.send(topic, partition, key, value, timestamp, headers)
