"""The driver behind ``kafka://``: what an app calls, with its broker URL and settings."""

from __future__ import annotations

from typing import Any

from stream_kafka.settings import KafkaSettings
from stream_kafka.transport import KafkaTransport

__all__ = ["connect"]


def connect(url: str, **options: Any) -> KafkaTransport:
    """Make the transport of a broker URL.

    Args:
        url: broker addresses, with credentials if there are any; see :meth:`KafkaSettings.from_url`.
        options: other settings, by the names of :class:`KafkaSettings`.

    Raises:
        ConfigurationError: the URL or a setting is wrong.
    """
    return KafkaTransport(KafkaSettings.from_url(url, **options))
