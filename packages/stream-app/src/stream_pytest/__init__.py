"""The plugin for pytest: the fixture ``stream_driver``. It is a module of its own, and small, because pytest loads it in every run."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from stream_app import App, TestDriver

__all__ = ["pytest_addoption", "pytest_configure", "stream_app", "stream_broker", "stream_driver"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option ``--stream-broker`` and the setting ``stream_app``."""
    parser.getgroup("stream").addoption(
        "--stream-broker",
        metavar="URL",
        help="Run tests with stream_driver on this Kafka, such as kafka://localhost:9092, or on one that is started for them: dev.",
    )
    parser.addini("stream_app", "The app of the fixture stream_driver, as in shop.app:app.")


def pytest_configure(config: pytest.Config) -> None:
    """Describe the marker ``stream_app``."""
    config.addinivalue_line(
        "markers", "stream_app(*apps, **options): the apps of stream_driver, and options of the TestDriver."
    )


@pytest.fixture(scope="session")
def stream_broker(pytestconfig: pytest.Config) -> Iterator[str | None]:
    """Give the URL of the Kafka that tests run on; ``None`` for a broker in this process."""
    url: str | None = pytestconfig.getoption("--stream-broker")
    if url != "dev":
        yield url
        return
    with import_module("stream_kafka.broker").Broker(port=0) as broker:  # loaded where one is started only
        yield f"kafka://{broker.address}"


@pytest.fixture
def stream_app(request: pytest.FixtureRequest) -> Any:
    """The app, or a tuple of several: what the marker ``stream_app`` says, else the setting. Override it to make one for each test."""
    marker = request.node.get_closest_marker("stream_app")
    named = marker.args if marker is not None and marker.args else (request.config.getini("stream_app"),)
    if not all(named):
        raise pytest.UsageError(
            'stream_driver does not know the app: set stream_app = "shop.app:app" in the configuration of pytest, mark the test with '
            '@pytest.mark.stream_app("shop.app:app"), or write a fixture named stream_app that returns it'
        )
    return tuple(_found(one) for one in named)


def _found(app: Any) -> App:
    if not isinstance(app, str):
        found: App = app
        return found
    module, _, name = app.partition(":")
    try:
        found = getattr(import_module(module), name or "app")
    except (ImportError, AttributeError) as error:
        raise pytest.UsageError(f"stream_app={app} cannot be loaded: {error}") from error
    return found


@pytest.fixture
def stream_driver(request: pytest.FixtureRequest, stream_app: Any, stream_broker: str | None) -> Iterator[TestDriver]:
    """A :class:`stream_app.TestDriver` that is open: of the app, on a new broker in this process, or on the one of ``--stream-broker``."""
    marker = request.node.get_closest_marker("stream_app")
    given = marker.kwargs if marker is not None else {}
    # A marker may say something else.
    options: dict[str, Any] = {
        "kafka": stream_broker,
        "unsupported": pytest.skip,
        **given,
    }
    apps = stream_app if isinstance(stream_app, tuple) else (stream_app,)
    driver: TestDriver = import_module("stream_app").TestDriver(*apps, **options)
    with driver:
        yield driver
