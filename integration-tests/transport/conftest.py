"""Clients of the Kafka transport for the tests of this directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from stream_core.testing.contracts import BrokerHarness
from stream_kafka import KafkaSettings, KafkaTransport
from stream_kafka.broker import Broker

from .secured import Secured
from .upkeep import KafkaUpkeep


@pytest.fixture
def settings(bootstrap: str) -> KafkaSettings:
    """Settings with short timeouts, so that what waits for them ends soon."""
    return KafkaSettings(
        servers=(bootstrap,),
        request_timeout=15.0,
        session_timeout=6.0,
        heartbeat_interval=0.5,
        rebalance_timeout=10.0,
        transaction_timeout=8.0,
        metadata_max_age=5.0,
    )


@pytest.fixture
async def harness(settings: KafkaSettings) -> AsyncIterator[BrokerHarness]:
    """Makes clients and topics of the broker, and takes them away after the test."""
    async with BrokerHarness(KafkaTransport(settings), upkeep=KafkaUpkeep(settings.servers[0])) as made:
        yield made


@pytest.fixture(scope="session")
def secured(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """The broker with log-ins, TLS and access control; ``broker`` is asked for because it knows whether one can be had."""
    made = Secured.make(tmp_path_factory.mktemp("keys"))
    with made.broker:
        yield made
