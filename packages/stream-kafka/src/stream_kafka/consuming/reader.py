"""Read the partitions that it is told to read, without a group: the Reader port on Kafka."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aiokafka.structs import TopicPartition

from stream_core.primitives import TP, Batch
from stream_kafka.cluster.ends import since
from stream_kafka.consuming.fetching_client import FetchingClient
from stream_kafka.settings import KafkaSettings

__all__ = ["KafkaReader"]


class KafkaReader(FetchingClient):
    """The :class:`~stream_core.ports.Reader` of a Kafka cluster.

    Args:
        settings: the cluster, and the sizes of a fetch.
        read_committed: leave out the records of open and aborted transactions.
    """

    def __init__(self, settings: KafkaSettings, *, read_committed: bool) -> None:
        super().__init__(settings, "the reader", read_committed=read_committed)

    async def assign(self, positions: Mapping[TP, int], ends: Mapping[TP, int] | None = None) -> None:
        """Read exactly these partitions from these offsets; the assignment before is replaced whole.

        Args:
            positions: the partitions, and where to begin.
            ends: where nothing more is wanted. A fetch for more would be held by the broker, which answers the requests of a connection one
                after the other: the first fetch of the next assignment would wait behind it.

        Raises:
            UnknownTopicError: a topic does not exist.
        """
        client = self._started()
        for topic in {tp.topic for tp in positions}:
            await client.partition_count(topic)
        self._fetcher.ends = {TopicPartition(*tp): end for tp, end in (ends or {}).items()}
        self._subscription.assign_from_user([TopicPartition(*tp) for tp in positions])
        for tp, offset in positions.items():
            self._fetcher.seek_to(TopicPartition(*tp), offset)
        if positions:
            client.set_topics({tp.topic for tp in positions})

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived, at most one batch a partition; waits up to ``timeout`` seconds for the first.

        Raises:
            OffsetOutOfRangeError: a position is not in the log, and nothing else has arrived.
            TransportError: a partition cannot be read, and nothing else has arrived; or the client is broken.
        """
        self.check()
        batches = await self._fetcher.poll(timeout)
        if not batches and (unreadable := self._fetcher.unreadable):
            raise next(iter(unreadable.values()))
        return batches

    async def offsets_since(self, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
        """Return the offset of the first record of a time (milliseconds since the epoch) or later; ``None`` where all are older."""
        return await since(self._started(), tps, timestamp)
