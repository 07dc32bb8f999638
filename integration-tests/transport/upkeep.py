"""What the contract suites need of a Kafka cluster beside the ports."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions

__all__ = ["KafkaUpkeep"]


class KafkaUpkeep:
    """The :class:`~stream_core.testing.contracts.Upkeep` of a Kafka cluster.

    Args:
        address: of a broker, ``host:port``.
    """

    def __init__(self, address: str) -> None:
        self._address = address

    async def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have more partitions."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self._address)
        await admin.start()
        try:
            await admin.create_partitions({topic: NewPartitions(total_count=partitions)})
        finally:
            await admin.close()

    async def clean(self, topic: str) -> None:
        """Let the broker's own threads run; the tests' broker starts them every 0.2 s (conftest.py)."""
        await asyncio.sleep(0.1)
