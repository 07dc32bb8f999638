"""The in-process broker and store pass the contract suites of their ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest

from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.ports import Stores
from stream_core.testing import contracts
from stream_core.testing.contracts import BrokerHarness

SUITES = (
    contracts.admin,
    contracts.cleaning,
    contracts.consumer,
    contracts.groups,
    contracts.producer,
    contracts.reader,
    contracts.topics,
    contracts.transactions,
)
BROKER_CHECKS = [
    pytest.param(check, id=f"{suite.__name__.rpartition('.')[2]}-{check.__name__}")
    for suite in SUITES
    for check in suite.CHECKS
]


class MemoryUpkeep:
    """What an in-process cluster does at once when it is told to."""

    def __init__(self, cluster: MemoryCluster) -> None:
        self._cluster = cluster

    async def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have more partitions."""
        self._cluster.add_partitions(topic, partitions)

    async def clean(self, topic: str) -> None:
        """Compact, and apply the retention."""
        self._cluster.clean(topic)


@pytest.fixture
def transport() -> Iterator[MemoryTransport]:
    """A transport with a cluster of its own."""
    name = uuid4().hex
    yield MemoryTransport(f"memory://{name}", transaction_timeout=10.0)
    MemoryCluster.discard(name)


@pytest.mark.looptime
@pytest.mark.parametrize("check", BROKER_CHECKS)
async def test_broker(check: Callable[[BrokerHarness], Awaitable[None]], transport: MemoryTransport) -> None:
    """The clients of the in-process broker keep their ports' promises."""
    async with BrokerHarness(transport, upkeep=MemoryUpkeep(transport.cluster)) as harness:
        await check(harness)


@pytest.mark.parametrize("check", contracts.store.CHECKS, ids=lambda check: check.__name__)
async def test_store(check: Callable[[Stores], Awaitable[None]]) -> None:
    """The in-process stores keep their ports' promises."""
    await check(MemoryStores())
