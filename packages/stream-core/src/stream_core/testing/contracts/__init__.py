"""What every implementation of a port must do, as checks that anyone can run; no test framework is needed.

Each module has a tuple ``CHECKS`` of async functions. Those of a broker take a :class:`BrokerHarness`, those of a store
its :class:`~stream_core.ports.Stores`, those of a schema registry the registry. ``topics`` and ``cleaning`` need an
:class:`Upkeep` as well. With pytest::

    @pytest.mark.parametrize("check", contracts.reader.CHECKS, ids=lambda check: check.__name__)
    async def test_reader(check):
        async with contracts.BrokerHarness(MyTransport(...)) as harness:
            await check(harness)

    @pytest.mark.parametrize("check", contracts.store.CHECKS, ids=lambda check: check.__name__)
    async def test_store(check, tmp_path):
        await check(MyStores(tmp_path))
"""

from stream_core.testing.contracts import (
    admin,
    cleaning,
    consumer,
    groups,
    outside,
    producer,
    reader,
    registry,
    store,
    topics,
    transactions,
)
from stream_core.testing.contracts.harness import BrokerHarness, Upkeep

__all__ = [
    "BrokerHarness",
    "Upkeep",
    "admin",
    "cleaning",
    "consumer",
    "groups",
    "outside",
    "producer",
    "reader",
    "registry",
    "store",
    "topics",
    "transactions",
]
