"""Read the partitions that it is told to read, without a group: the Reader port on Kafka."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.structs import TopicPartition

from stream_core.errors import TransportError
from stream_core.primitives import TP, Batch
from stream_kafka.cluster.ends import READ_COMMITTED, READ_UNCOMMITTED, earliest, latest, since
from stream_kafka.connecting.client import Client
from stream_kafka.consuming.fetching import BatchFetcher
from stream_kafka.deadlines import quietly
from stream_kafka.settings import KafkaSettings

__all__ = ["KafkaReader"]

_CLOSE_BUDGET = 2.0


class KafkaReader:
    """The :class:`~stream_core.ports.Reader` of a Kafka cluster.

    Args:
        settings: the cluster, and the sizes of a fetch.
        read_committed: leave out the records of open and aborted transactions.
    """

    def __init__(self, settings: KafkaSettings, *, read_committed: bool) -> None:
        self._settings = settings
        self._read_committed = read_committed
        self._client: Client | None = None
        self._subscription: Any = None
        self._fetcher: BatchFetcher | None = None

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""
        client = Client(self._settings)
        await client.connect()
        self._client = client
        self._subscription = SubscriptionState()
        self._fetcher = BatchFetcher(client, self._subscription, self._settings, read_committed=self._read_committed)

    async def stop(self) -> None:
        """Close connections, within a deadline; never raises."""
        fetcher, client = self._fetcher, self._client
        self._fetcher = self._client = None
        try:
            if fetcher is not None:
                await quietly(_CLOSE_BUDGET, fetcher.close(), "stopping to fetch")
        finally:
            if client is not None:
                await client.disconnect()

    async def assign(self, positions: Mapping[TP, int]) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole.

        Raises:
            UnknownTopicError: a topic does not exist.
        """
        client, fetcher = self._started()
        for topic in {tp.topic for tp in positions}:
            await client.partition_count(topic)
        self._subscription.assign_from_user([TopicPartition(*tp) for tp in positions])
        for tp, offset in positions.items():
            fetcher.seek_to(TopicPartition(*tp), offset)
        if positions:
            client.set_topics({tp.topic for tp in positions})

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived, at most one batch a partition; waits up to ``timeout`` seconds for the first.

        Raises:
            OffsetOutOfRangeError: a position is not in the log, and nothing else has arrived.
            TransportError: a partition cannot be read, and nothing else has arrived; or the client is broken.
        """
        _, fetcher = self._started()
        self._check()
        batches = await fetcher.poll(timeout)
        if not batches and (unreadable := fetcher.unreadable):
            raise next(iter(unreadable.values()))
        return batches

    def seek(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset`` next. Partitions not assigned are ignored."""
        _, fetcher = self._started()
        partition = TopicPartition(*tp)
        if self._subscription.is_assigned(partition):
            fetcher.seek_to(partition, offset)

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the earliest offset that each partition holds."""
        client, _ = self._started()
        return await earliest(client, tps)

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the offset behind the last record; with ``committed`` the last stable offset instead."""
        client, _ = self._started()
        return await latest(client, tps, READ_COMMITTED if committed else READ_UNCOMMITTED)

    async def offsets_since(self, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
        """Return the offset of the first record of a time (milliseconds since the epoch) or later; ``None`` where all are older."""
        client, _ = self._started()
        return await since(client, tps, timestamp)

    def _started(self) -> tuple[Client, BatchFetcher]:
        if self._client is None or self._fetcher is None:
            raise TransportError("the reader is not started; await start() first")
        return self._client, self._fetcher

    def _check(self) -> None:
        client, fetcher = self._started()
        client.check()
        fetcher.check()
