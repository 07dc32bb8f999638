"""The Kafka transport of Stream: batch consumer, ordered batch producer, transactions, assignor, credentials."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from stream_kafka.credentials import GSSAPICredentials, OAuthCredentials, SASLCredentials, SSLCredentials

if TYPE_CHECKING:
    from stream_kafka.consuming.assignor import StreamAssignor
    from stream_kafka.settings import KafkaSettings
    from stream_kafka.transport import KafkaTransport

__all__ = [
    "GSSAPICredentials",
    "KafkaSettings",
    "KafkaTransport",
    "OAuthCredentials",
    "SASLCredentials",
    "SSLCredentials",
    "StreamAssignor",
]

_LATER = {
    "KafkaSettings": "stream_kafka.settings",
    "KafkaTransport": "stream_kafka.transport",
    "StreamAssignor": "stream_kafka.consuming.assignor",
}
"""What loads the Kafka client, when it is asked for and not before: credentials are needed without it."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LATER[name]), name)
