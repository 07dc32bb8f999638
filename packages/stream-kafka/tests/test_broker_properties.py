"""The configuration of the development broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_kafka.broker.properties import controller_properties, render, server_properties


def test_one_node_on_the_loopback_interface() -> None:
    """The node is broker and controller, and nobody outside this machine can reach it."""
    properties = server_properties(9092, 9093, Path("data"))
    assert properties["process.roles"] == "broker,controller"
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["controller.quorum.voters"] == "1@127.0.0.1:9093"


def test_further_listeners() -> None:
    """They are on the loopback interface too, and the properties of the caller say what they speak."""
    properties = server_properties(9092, 9093, Path("data"), {"listener.security.protocol.map": "X:SSL"}, {"X": 9094})
    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:9092,X://127.0.0.1:9094,CONTROLLER://127.0.0.1:9093"


def test_every_internal_topic_has_one_replica() -> None:
    """One node cannot hold more than one replica of the offsets, the transactions and the share groups."""
    properties = server_properties(9092, 9093, Path("data"))
    factors = {name: value for name, value in properties.items() if name.endswith("replication.factor")}
    assert len(factors) == 3
    assert set(factors.values()) == {"1"}


def test_properties_of_the_caller_win() -> None:
    """What the caller gives replaces our values and adds to them."""
    given = {"auto.create.topics.enable": "true", "log.retention.ms": "1000"}
    assert given.items() <= server_properties(9092, 9093, Path("data"), given).items()


def test_controller_alone_has_the_data_but_not_the_port_of_clients() -> None:
    """The node that only marks its dead predecessor listens for nobody else, on the same directory."""
    server = server_properties(9092, 9093, Path("data"))
    alone = controller_properties(server)
    assert alone["listeners"] == "CONTROLLER://127.0.0.1:9093"
    assert alone["process.roles"] == "controller"
    assert (alone["log.dirs"], alone["controller.quorum.voters"]) == (
        server["log.dirs"],
        server["controller.quorum.voters"],
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("data", "data"),
        ("my data", r"my\ data"),
        ("C:\\data", r"C\:\\data"),
        ("# = !", r"\#\ \=\ \!"),
        ("a\nb", r"a\nb"),
        ("\\xé", r"\\x\u00e9"),
        ("\N{SNAKE}", r"\ud83d\udc0d"),
    ],
)
def test_values_are_escaped_as_java_reads_them(value: str, text: str) -> None:
    """Spaces, separators, backslashes and what is not Latin-1 survive the format of Java's properties files."""
    assert render({"log.dirs": value}) == f"log.dirs={text}\n"
