"""Fixtures for tests against a real Kafka: one broker for the whole run.

``KAFKA_BOOTSTRAP=host:port`` runs them against a broker that is there already; tests that must stop or kill the broker are
skipped then. Without it one is started from package registries (:mod:`stream_kafka.broker`), of the version that
``STREAM_TEST_KAFKA`` names, else the newest. When neither can be had the tests are skipped, in CI they fail.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from stream_core.errors import StreamError
from stream_kafka.broker import KAFKA_VERSION, Broker
from stream_kafka.broker.warmup import warm_up

_QUICK_CLEANING = {
    "log.cleaner.backoff.ms": "200",
    "log.initial.task.delay.ms": "200",
    "log.retention.check.interval.ms": "200",
}
"""Kafka looks for logs to compact every 15 s and for records past their retention every 5 minutes."""

_VERSION = os.environ.get("STREAM_TEST_KAFKA", KAFKA_VERSION)
_EXTERNAL = os.environ.get("KAFKA_BOOTSTRAP", "")


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """The broker process, for tests that stop, kill or pause it; they leave it running."""
    if _EXTERNAL:
        pytest.skip(f"needs a broker that it may kill, and KAFKA_BOOTSTRAP={_EXTERNAL} names one that it may not")
    ours = Broker(port=0, version=_VERSION, properties=_QUICK_CLEANING)
    try:
        warm_up(print, _VERSION)
        ours.start()
    except StreamError as error:
        ours.stop()
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no broker can be had here: {error}")
    yield ours
    ours.stop()


@pytest.fixture(scope="session")
def bootstrap(request: pytest.FixtureRequest) -> str:
    """The address of the broker, ``host:port``."""
    if _EXTERNAL:
        return _EXTERNAL
    started: Broker = request.getfixturevalue("broker")
    return started.address


@pytest.fixture(scope="session")
def kafka_version() -> str:
    """The version of Kafka that is run; empty where the broker is one that is there already."""
    return "" if _EXTERNAL else _VERSION


@pytest.fixture
def topic() -> Callable[..., str]:
    """Make topic names that no other test has: ``topic()`` or ``topic("orders")``."""
    return lambda name="topic": f"{name}-{uuid.uuid4().hex[:12]}"
