"""The life of what asks a cluster through a client of its own."""

from __future__ import annotations

from typing import ClassVar

from stream_core.errors import TransportError
from stream_kafka.connecting.client import Client
from stream_kafka.settings import KafkaSettings

__all__ = ["Asking"]


class Asking:
    """Connects a client at the start, and closes it at the stop.

    Args:
        settings: the cluster.
    """

    who: ClassVar[str]
    """What an error calls it."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: Client | None = None

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""
        client = Client(self._settings)
        await client.connect()
        self._client = client

    async def stop(self) -> None:
        """Close, within a deadline; never raises."""
        client, self._client = self._client, None
        if client is not None:
            await client.disconnect()

    def _started(self) -> Client:
        if self._client is None:
            raise TransportError(f"{self.who} is not started; await start() first")
        return self._client
