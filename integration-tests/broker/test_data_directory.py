"""A data directory of ``stream broker``: one broker at a time, whose end is that of its command, and whose files are private."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from processes import until
from stream_core.errors import BrokerUnavailableError, ConfigurationError
from stream_kafka import KafkaTransport
from stream_kafka.broker import Broker
from stream_kafka.broker.ports import free_port
from stream_kafka.broker.server import FAST_START
from stream_kafka.broker.watcher import is_locked

from .commands import PROGRAM, first_value, kafka_of, produce, running

SECRET = "s3cret-pw"


async def test_a_second_broker_is_refused(broker: Broker, tmp_path: Path, topic: Callable[..., str]) -> None:
    """On another port too, and the first one works on: nothing of it was overwritten."""
    name = topic()
    with running(free_port(), "--data-dir", str(tmp_path)) as command:
        pid = kafka_of(command.process.pid)
        files = files_of(tmp_path)
        for refused in (by_command(tmp_path), in_python(tmp_path)):
            assert f"the data directory {tmp_path} is in use by the broker with process id {pid}: stop that" in refused
        assert files_of(tmp_path) == files
        await produce(command.address, name, b"kept")
        assert await first_value(command.address, name) == b"kept"
        assert command.end(signal.SIGTERM)[0] == 0


FORKING = """
import os
from stream_kafka.broker import Broker
with Broker(port=0) as broker:
    forked = os.fork()
    if not forked:
        broker.kill()
        broker.stop()
        os._exit(0)
    os.waitpid(forked, 0)
    print(broker.wait(0.5), broker.log.exists())
"""


def test_a_forked_process_ends_nothing(broker: Broker) -> None:
    """What it has is a copy: the broker, and its temporary directory, are those of the process that started it."""
    program = [sys.executable, "-c", FORKING]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "False True\n"


async def test_brokers_with_temporary_data_are_one_cluster(tmp_path: Path) -> None:
    """Workers keep their state by the id of the cluster: one directory serves all of these, and each kept one has its own."""
    ids: list[str] = []
    for data_dir in (None, None, tmp_path / "kept"):
        with Broker(port=0, data_dir=data_dir) as started:
            admin = KafkaTransport(f"kafka://{started.address}").admin()
            await admin.start()
            ids.append(await admin.cluster_id())
            await admin.stop()
    first, second, kept = ids
    assert first == second != kept
    assert "" not in ids


def files_of(directory: Path) -> dict[str, int]:
    """What is directly in a directory, to tell a file from one that has taken its place."""
    return {path.name: path.stat().st_ino for path in directory.glob("*.*")}


def by_command(directory: Path) -> str:
    """What the command says that is refused."""
    command = [*PROGRAM, "--port", str(free_port()), "--data-dir", str(directory)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 1
    return answer.stderr


def in_python(directory: Path) -> str:
    """What a broker of this process says that is refused."""
    with pytest.raises(ConfigurationError) as caught:
        Broker(port=0, data_dir=directory).start()
    return str(caught.value)


async def test_a_broker_ends_with_its_command(broker: Broker, tmp_path: Path, topic: Callable[..., str]) -> None:
    """When the command is killed Kafka stops, cleanly, and the next command has its data."""
    name = topic()
    with running(free_port(), "--data-dir", str(tmp_path)) as command:
        await produce(command.address, name, b"kept")
        command.process.kill()
        command.process.wait()
    await until(lambda: not is_locked(str(tmp_path / "broker.lock")))
    assert (tmp_path / "topics" / ".kafka_cleanshutdown").exists()
    with running(free_port(), "--data-dir", str(tmp_path)) as command:
        assert await first_value(command.address, name) == b"kept"


def test_what_a_broker_writes_is_private(broker: Broker, tmp_path: Path) -> None:
    """Its configuration, its log and the records: in a directory that it made, and in one that was there."""
    with Broker(port=0, data_dir=tmp_path / "made", users={"ann": SECRET}) as server:
        server.kill()
        server.start()  # as controller alone first, which writes two files more
        found = {path: path.stat().st_mode & 0o077 for path in (server.data_dir, *server.data_dir.rglob("*"))}
    assert {path.name for path in found} >= {"server.properties", "server.log", "controller.log", "topics"}
    assert [path for path, mode in found.items() if mode] == []


def test_passwords_are_not_shown(broker: Broker, tmp_path: Path) -> None:
    """Neither in an error, nor in the arguments of a process, which everybody on the machine can read."""
    server = Broker(
        port=0,
        data_dir=tmp_path,
        users={"ann": SECRET},
        properties={"num.io.threads": "none"},
        jvm_options=(*FAST_START, "-Xlog:arguments=debug"),
    )
    with pytest.raises(BrokerUnavailableError, match=r"could not be prepared:") as caught:
        server.start()
    said = str(caught.value)
    assert "java_command: kafka.tools.StorageTool @" in said
    assert "num.io.threads" in said
    assert SECRET not in said
    assert "--add-scram" not in said
    assert [path for path in tmp_path.rglob("*") if path.is_file() and SECRET in path.read_text()] == []
