"""The Kafka transport does what every transport must do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from stream_core.testing import contracts
from stream_core.testing.contracts import BrokerHarness
from stream_kafka.broker import Broker

SUITES = (
    contracts.admin,
    contracts.topics,
    contracts.producer,
    contracts.reader,
    contracts.consumer,
    contracts.groups,
    contracts.outside,
    contracts.transactions,
)
CHECKS = [
    pytest.param(check, id=f"{suite.__name__.rpartition('.')[2]}-{check.__name__}")
    for suite in SUITES
    for check in suite.CHECKS
]


@pytest.mark.parametrize("check", CHECKS)
async def test_contract(check: Callable[[BrokerHarness], Awaitable[None]], harness: BrokerHarness) -> None:
    """Every check of every port holds against a real broker."""
    await check(harness)


@pytest.mark.parametrize("check", contracts.cleaning.CHECKS, ids=lambda check: check.__name__)
async def test_cleaning(
    check: Callable[[BrokerHarness], Awaitable[None]], broker: Broker, harness: BrokerHarness
) -> None:
    """Compaction and retention leave what every broker leaves; ours cleans in time for a test, others in minutes."""
    await check(harness)
