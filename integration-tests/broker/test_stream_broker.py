"""``stream broker`` as a process of its own, as its users run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from stream_kafka.broker import KAFKA_VERSION, Broker
from stream_kafka.broker.ports import free_port

from .commands import PROGRAM, first_value, kafka_of, produce, running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ready_line_and_clean_stop(broker: Broker, number: signal.Signals) -> None:
    """The command says where Kafka is, and a signal that asks it to stop is no failure."""
    port = free_port()
    with running(port) as command:
        assert command.ready.startswith(
            f"Kafka {KAFKA_VERSION} is ready at kafka://localhost:{port}  (Ctrl+C stops it;"
        )
        assert command.end(number) == (0, "Stopping\n")


async def test_data_dir_is_kept_over_restarts(broker: Broker, tmp_path: Path, topic: Callable[..., str]) -> None:
    """A second start on the same directory has the topics and records of the first, on another port too."""
    data_dir, name = tmp_path / "my data", topic("kept")
    with running(free_port(), "--data-dir", str(data_dir)) as command:
        assert str(data_dir) in command.ready
        await produce(command.address, name, b"kept")
        assert command.end(signal.SIGTERM)[0] == 0
    with running(free_port(), "--data-dir", str(data_dir)) as command:
        assert await first_value(command.address, name) == b"kept"


def test_broker_that_ends_by_itself_is_a_failure(broker: Broker, tmp_path: Path) -> None:
    """When Kafka dies under the command, the command says so, names the log, and exits with 1."""
    with running(free_port(), "--data-dir", str(tmp_path)) as command:
        os.kill(kafka_of(command.process.pid), signal.SIGKILL)
        printed, _ = command.process.communicate(timeout=60)
    assert command.process.returncode == 1
    assert "Kafka ended by itself" in printed
    assert str(tmp_path / "server.log") in printed


def test_broker_that_cannot_start_shows_its_log(broker: Broker, tmp_path: Path) -> None:
    """A property that Kafka refuses ends the command with what Kafka says about it."""
    command = [*PROGRAM, "--port", str(free_port()), "--data-dir", str(tmp_path), "-o", "num.io.threads=none"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 1
    assert "num.io.threads" in answer.stderr


def test_busy_port(broker: Broker) -> None:
    """A second broker on a port is refused, and told how to take another."""
    answer = subprocess.run(
        [*PROGRAM, "--port", str(broker.port)], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 1
    assert re.search(rf"port {broker.port} of 127\.0\.0\.1 is in use: .* --port", answer.stderr)
