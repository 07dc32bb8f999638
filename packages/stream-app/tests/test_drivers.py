"""Drivers are found by the scheme of a URL: built in, by entry point, or as a class by its path."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App
from stream_app.running.drivers import load_driver
from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_kafka import KafkaTransport

TRANSPORTS = "stream.transports"

MODULE = """
from stream_core.memory import MemoryTransport

made = []

class Transport(MemoryTransport):
    def __init__(self, url, **settings):
        made.append((url, settings))
        super().__init__("memory://driver-of-a-module")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a driver, and an entry point for it; its name."""
    name = f"driver_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    info = tmp_path / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{TRANSPORTS}]\nlanterns = {name}:Transport\nlost = {name}:Missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("scheme", ["kafka", "kafkas", "aiokafka"])
def test_names_of_the_kafka_driver(scheme: str) -> None:
    """They come from entry points of the package that has it."""
    assert load_driver(TRANSPORTS, scheme, MemoryTransport) is KafkaTransport


def test_an_entry_point_adds_a_driver(package: str) -> None:
    """Any installed package may have one."""
    made = load_driver(TRANSPORTS, "lanterns", MemoryTransport)
    assert (made.__module__, made.__name__) == (package, "Transport")


@pytest.mark.parametrize("separator", [".", ":"])
def test_a_scheme_may_be_the_path_of_a_class(package: str, separator: str) -> None:
    """With a dot or a colon before the class."""
    made = load_driver(TRANSPORTS, f"{package}{separator}Transport", MemoryTransport)
    assert made.__module__ == package


@pytest.mark.parametrize("scheme", ["lanterns", "{package}.Transport", "{package}:Transport"])
async def test_an_app_runs_on_such_a_driver(package: str, scheme: str) -> None:
    """It is called with the URL, and with the settings of transports by name."""
    url = f"{scheme.format(package=package)}://host:1"
    app = App("lit", broker=url, web_enabled=False, broker_client_id="me", store="memory://")
    numbers = app.topic("numbers", value_type=int, partitions=1)
    try:
        await app.start_client()
        await (await numbers.send(value=1))
    finally:
        await app.stop()
        MemoryCluster.discard("driver-of-a-module")
    made: list[tuple[str, dict[str, Any]]] = importlib.import_module(package).made
    assert made[-1][0] == url
    assert made[-1][1]["client_id"] == "me"


@pytest.mark.parametrize(
    ("scheme", "kind", "message"),
    [
        ("kafak", ConfigurationError, r"no driver for kafak://; did you mean kafka://\?.*memory"),
        ("http", ConfigurationError, r"^there is no driver for http://. Known are aiokafka, kafka, kafkas, "),
        ("no.such.Transport", MissingPackageError, r"the driver of no\.such\.Transport:// cannot be loaded"),
        ("lost", MissingPackageError, r"the driver of lost:// cannot be loaded \(.*Missing"),
    ],
)
def test_a_driver_that_is_not_there(package: str, scheme: str, kind: type[Exception], message: str) -> None:
    """The message names the nearest, or why it cannot be loaded."""
    with pytest.raises(kind, match=message):
        load_driver(TRANSPORTS, scheme, MemoryTransport)
