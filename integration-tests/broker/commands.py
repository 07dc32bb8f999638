"""``stream broker`` as a process, and its clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic

from operators import administration

__all__ = ["PROGRAM", "Command", "children", "first_value", "kafka_of", "produce", "running"]

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
    async with administration(address) as admin:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait(topic, value, partition=0)


async def first_value(address: str, topic: str) -> bytes | None:
    """The value of the first record of ``topic``."""
    async with AIOKafkaConsumer(bootstrap_servers=address, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        found = await consumer.getmany(timeout_ms=30_000, max_records=1)
        value: bytes | None = next(iter(found.values()))[0].value
        return value


def children(pid: int) -> list[int]:
    """The process ids of the children of a process."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


def kafka_of(command: int) -> int:
    """The process id of the Java that a command started; its other child is the watcher."""
    (found,) = [child for child in children(command) if os.path.basename(os.readlink(f"/proc/{child}/exe")) == "java"]
    return found
