"""Which ports are free."""

from __future__ import annotations

import socket

import pytest

from stream_kafka.broker.ports import HOST, free_port, is_free


def test_port_with_a_listener_is_not_free() -> None:
    """A port is taken while somebody listens there, and free again afterwards."""
    port = free_port()
    with socket.create_server((HOST, port)):
        assert not is_free(port)
    assert is_free(port)


def test_free_ports_are_below_those_of_outgoing_connections() -> None:
    """A client that knocks at a port of a dead broker is never given that port for its own end."""
    assert all(15_000 <= free_port() < 30_000 for _ in range(20))


def test_a_port_where_somebody_is_about_to_listen_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that starts again has its port for clients, which is free until then, and takes another one as a controller."""
    taken = free_port()
    other = free_port((taken,))
    monkeypatch.setattr("stream_kafka.broker.ports._RANGE", [taken, other])
    assert {free_port((taken,)) for _ in range(30)} == {other}
