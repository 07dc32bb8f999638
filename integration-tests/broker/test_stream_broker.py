"""``stream broker`` as a process of its own, as its users run it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream_kafka.broker import KAFKA_VERSION, Broker
from stream_kafka.broker.ports import free_port

PROGRAM = [sys.executable, "-m", "stream_cli", "broker"]


class Command:
    """A running ``stream broker``."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.address = f"127.0.0.1:{port}"
        self.ready = self._line_with(" is ready at ")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; returns the exit code and what was printed since the ready line."""
        self.process.send_signal(number)
        printed, _ = self.process.communicate(timeout=60)
        return self.process.returncode, printed

    def _line_with(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line.rstrip()
        raise AssertionError(f"the command ended with {self.process.wait()} before it was ready")


@contextmanager
def running(port: int, *options: str) -> Iterator[Command]:
    """Run ``stream broker`` on ``port`` until it is ended, at the latest on exit."""
    command = [*PROGRAM, "--port", str(port), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield Command(process, port)
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


async def produce(address: str, topic: str, value: bytes) -> None:
    """Create ``topic`` and write one record."""
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def first_value(address: str, topic: str) -> bytes | None:
    """The value of the first record of ``topic``."""
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        found = await consumer.getmany(timeout_ms=30_000, max_records=1)
        value: bytes | None = next(iter(found.values()))[0].value
        return value


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
        (child,) = children(command.process.pid)
        os.kill(child, signal.SIGKILL)
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


def children(pid: int) -> list[int]:
    """The process ids of the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]
