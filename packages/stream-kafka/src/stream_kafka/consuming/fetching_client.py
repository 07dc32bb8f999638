"""What reader and consumer have in common: a connection, the partitions that are read by it, and their ends."""

from __future__ import annotations

from collections.abc import Collection

from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from stream_core.errors import TransportError
from stream_core.primitives import TP
from stream_kafka.cluster.ends import READ_COMMITTED, READ_UNCOMMITTED, earliest, latest
from stream_kafka.connecting.client import Client
from stream_kafka.consuming.fetching import BatchFetcher
from stream_kafka.deadlines import quietly
from stream_kafka.settings import KafkaSettings

__all__ = ["FetchingClient"]

_CLOSE_BUDGET = 2.0


class FetchingClient:
    """Fetches partitions of a cluster. The base of reader and consumer, which decide which ones.

    Args:
        settings: the cluster, and the sizes of a fetch.
        name: names the client in errors.
        read_committed: leave out the records of open and aborted transactions.
    """

    _subscription: SubscriptionState
    _fetcher: BatchFetcher

    def __init__(self, settings: KafkaSettings, name: str, *, read_committed: bool) -> None:
        self._settings = settings
        self._name = name
        self._read_committed = read_committed
        self._client: Client | None = None

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""
        client = Client(self._settings)
        await client.connect()
        self._client = client
        self._subscription = SubscriptionState()
        self._fetcher = BatchFetcher(client, self._subscription, self._settings, read_committed=self._read_committed)

    async def stop(self) -> None:
        """Close, within a deadline; never raises."""
        client, self._client = self._client, None
        if client is not None:
            try:
                await self._close()
            finally:
                await client.disconnect()

    async def _close(self) -> None:
        """End what uses the connection."""
        await quietly(_CLOSE_BUDGET, self._fetcher.close(), "stopping to fetch")

    def seek(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset`` next. Partitions not owned are ignored."""
        for partition in self._owned((tp,)):
            self._fetcher.seek_to(partition, offset)

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the earliest offset that each partition holds."""
        return await earliest(self._started(), tps)

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the offset behind the last record; with ``committed`` the last stable offset instead."""
        return await latest(self._started(), tps, READ_COMMITTED if committed else READ_UNCOMMITTED)

    def check(self) -> None:
        """Raise TransportError when a background task of the client has died; called every second by the supervisor."""
        self._started().check()
        self._fetcher.check()

    def _started(self) -> Client:
        if self._client is None:
            raise TransportError(f"{self._name} is not started; await start() first")
        return self._client

    def _owned(self, tps: Collection[TP]) -> list[TopicPartition]:
        self._started()
        return [partition for tp in tps if self._subscription.is_assigned(partition := TopicPartition(*tp))]
