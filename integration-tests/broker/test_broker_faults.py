"""The faults that tests make with a broker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_core.errors import BrokerUnavailableError
from stream_kafka.broker import Broker


@pytest.fixture(scope="module")
def shared(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A broker for the faults of this file; the one of the run is asked for so that its skips hold here too."""
    with Broker(port=0, data_dir=tmp_path_factory.mktemp("broker")) as started:
        yield started


@pytest.fixture
def own(shared: Broker) -> Broker:
    """That broker, running."""
    shared.start()
    return shared


def answers(server: Broker, timeout: float) -> bool:
    """Whether the broker answers a request for its API versions in ``timeout`` seconds."""
    request = bytes.fromhex("0000000a0012000000000001ffff")  # size, ApiVersions v0, correlation id, no client id
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(request)
        try:
            return bool(connection.recv(4))
        except TimeoutError:
            return False


def test_killed_broker_comes_back_on_its_port(own: Broker) -> None:
    """After ``kill`` the next start takes the same port and directory, as another process."""
    port, pid = own.port, own.pid
    own.kill()
    assert not own.is_running
    own.start()
    assert own.port == port
    assert own.pid != pid
    assert answers(own, 30)


def test_paused_broker_is_silent_until_resumed(own: Broker) -> None:
    """A paused broker accepts connections and answers nothing; resumed, it answers."""
    for _ in range(2):  # one that is paused already stays so
        own.pause()
        assert Path(f"/proc/{own.pid}/stat").read_text().rpartition(") ")[2].startswith("T")
    assert own.is_running
    assert not answers(own, 0.3)
    own.resume()
    assert answers(own, 30)


def test_paused_broker_can_be_stopped(own: Broker) -> None:
    """A clean stop works on a paused broker too, and lets its log directory be marked as clean."""
    own.pause()
    own.stop()
    assert (own.data_dir / "topics" / ".kafka_cleanshutdown").exists()


def test_temporary_directory_goes_with_the_broker(broker: Broker) -> None:
    """Without a directory of its own a broker leaves nothing behind, and keeps its data over a kill."""
    with Broker(port=0) as server:
        directory = server.data_dir
        server.kill()
        server.start()
        assert server.data_dir == directory
    assert not directory.exists()


def test_started_broker_stays_as_it_is(own: Broker) -> None:
    """Starting a broker that runs does nothing, and waiting for its end gives up after the timeout."""
    pid = own.pid
    own.start()
    assert own.pid == pid
    assert not own.wait(0.01)


def test_jvm_that_does_not_start_is_explained(broker: Broker, tmp_path: Path) -> None:
    """A heap that Java refuses is an error that has Java's own words."""
    with pytest.raises(BrokerUnavailableError, match="Invalid maximum heap size"):
        Broker(port=0, data_dir=tmp_path, heap="lots").start()
