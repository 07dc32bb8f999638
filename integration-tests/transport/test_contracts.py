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

NOT_IN = {
    ("3.3.2", "refuses_records_of_the_far_future"): "message.timestamp.after.max.ms is new in Kafka 3.6 (KIP-937)",
    (
        "3.3.2",
        "refuses_metadata_that_is_too_long",
    ): "the offset that was refused is never known again: UNSTABLE_OFFSET_COMMIT",
}
"""What a version of Kafka cannot do, and why. Nothing of Stream makes metadata that is too long."""


@pytest.mark.parametrize("check", CHECKS)
async def test_contract(
    check: Callable[[BrokerHarness], Awaitable[None]], harness: BrokerHarness, kafka_version: str
) -> None:
    """Every check of every port holds against a real broker."""
    if reason := NOT_IN.get((kafka_version, check.__name__)):
        pytest.skip(f"Kafka {kafka_version}: {reason}")
    await check(harness)


@pytest.mark.parametrize("check", contracts.cleaning.CHECKS, ids=lambda check: check.__name__)
async def test_cleaning(
    check: Callable[[BrokerHarness], Awaitable[None]], broker: Broker, harness: BrokerHarness
) -> None:
    """Compaction and retention leave what every broker leaves; ours cleans in time for a test, others in minutes."""
    await check(harness)
