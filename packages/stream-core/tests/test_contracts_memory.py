"""The in-process broker and store pass the contract suites of their ports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from stream_core.errors import StoreError
from stream_core.memory import MemoryCluster, MemoryStores, MemoryTransport
from stream_core.memory.reader import MemoryReader
from stream_core.ports import Stores
from stream_core.primitives import TP
from stream_core.testing import contracts
from stream_core.testing.contracts import BrokerHarness

SUITES = (
    contracts.admin,
    contracts.cleaning,
    contracts.consumer,
    contracts.groups,
    contracts.outside,
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


class OvertakenReader(MemoryReader):
    """A reader whose broker cleans right after it has said where a log starts, as one with threads of its own may."""

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Where the logs started before they were cleaned."""
        found = await super().start_offsets(tps)
        for tp in tps:
            self._cluster.clean(tp.topic)
        return found


class OvertakingTransport(MemoryTransport):
    """The clients of a cluster that cleans at the worst moment."""

    def reader(self, *, read_committed: bool) -> MemoryReader:
        """A reader without a group."""
        return OvertakenReader(self.cluster, read_committed=read_committed)


class NoUpkeep(MemoryUpkeep):
    """A cluster that nobody tells to clean: it does so by itself."""

    async def clean(self, topic: str) -> None:
        """Do nothing."""


@pytest.mark.looptime
@pytest.mark.parametrize("check", contracts.cleaning.CHECKS, ids=lambda check: check.__name__)
async def test_cleaning_at_the_worst_moment(check: Callable[[BrokerHarness], Awaitable[None]]) -> None:
    """The checks of cleaning also hold when the start of a log moves between the question for it and the read."""
    name = uuid4().hex
    transport = OvertakingTransport(f"memory://{name}", transaction_timeout=10.0)
    async with BrokerHarness(transport, upkeep=NoUpkeep(transport.cluster)) as harness:
        await check(harness)
    MemoryCluster.discard(name)


@pytest.mark.parametrize("check", contracts.store.CHECKS, ids=lambda check: check.__name__)
async def test_store(check: Callable[[Stores], Awaitable[None]]) -> None:
    """The in-process stores keep their ports' promises."""
    await check(MemoryStores())


@pytest.mark.parametrize("check", contracts.store.FAULT_CHECKS, ids=lambda check: check.__name__)
async def test_store_on_a_disk_that_fails(
    check: Callable[[Stores, contracts.store.NoWrites], Awaitable[None]],
) -> None:
    """The in-process store keeps the promises of the port when its disk fails, too."""
    stores = MemoryStores()

    @contextmanager
    def full_disk(table: str, partition: int) -> Iterator[None]:
        stores.refuse_writes(table, partition, StoreError("no space left"))
        yield

    await check(stores, full_disk)
