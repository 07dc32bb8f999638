"""Which ports are free."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from stream_kafka.broker.ports import HOST, free_port, is_free


def test_port_with_a_listener_is_not_free() -> None:
    """A port is taken while somebody listens there, and free again afterwards."""
    port = free_port()
    with socket.create_server((HOST, port)):
        assert not is_free(port)
    assert is_free(port)


UNPRIVILEGED = """
import os, socket
from stream_core.errors import ConfigurationError
from stream_kafka.broker.ports import HOST, is_free
if os.getuid() == 0:
    os.setuid(65534)
try:
    socket.create_server((HOST, 80)).close()
except PermissionError:
    try:
        is_free(80)
    except ConfigurationError as error:
        print(error)
else:
    print("anybody may")
"""


def test_port_that_is_not_for_everybody() -> None:
    """It is not said to be in use, for nobody could find out by whom."""
    command = [sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    if done.stdout == "anybody may\n":
        pytest.skip("this system lets everybody listen on port 80")
    assert done.stdout.startswith(f"port 80 of {HOST} is for privileged users")
    assert "--port" in done.stdout


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    """A client that knocks at a port of a dead broker is never given that port for its own end."""
    assert all(15_000 <= free_port() < 30_000 for _ in range(20))


def test_a_port_where_somebody_is_about_to_listen_is_not_chosen() -> None:
    """A broker that starts again has its port for clients, which is free until then, and takes another one as a controller."""
    left = free_port()
    assert free_port(set(range(15_000, 30_000)) - {left}) == left
