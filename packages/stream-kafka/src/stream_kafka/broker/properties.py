"""The configuration of the broker: one node that is broker and controller, on the loopback interface, quick to start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from stream_kafka.broker.ports import HOST

__all__ = ["controller_properties", "is_text", "render", "server_properties"]

# One node holds every replica, and the fewer partitions internal topics have the sooner they are ready.
_INTERNAL_TOPICS = {
    "offsets.topic.num.partitions": "5",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
}

_DEVELOPMENT = {
    # A group of one must not wait three seconds for others to join.
    "group.initial.rebalance.delay.ms": "0",
    # A transaction that outlives its timeout is aborted within a second, not within ten.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # A topic is created by whoever declares it: a typing error should not become a topic.
    "auto.create.topics.enable": "false",
    # Nobody can take over from the only node; and a node that is taken for dead because it was paused or slow for some
    # seconds drops the markers of the transactions that end meanwhile (see fencing.py).
    "broker.session.timeout.ms": "60000",
    # The default of 128 MiB is a quarter of our heap.
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
}


def server_properties(
    port: int,
    controller_port: int,
    log_dir: Path,
    overrides: Mapping[str, str] | None = None,
    listeners: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """Return the properties of a KRaft broker of one node.

    Args:
        port: the port for clients.
        controller_port: the port on which the node talks to itself as controller.
        log_dir: the directory for topics and metadata.
        overrides: properties that replace or add to ours, in Kafka's names.
        listeners: ports of further listeners, by their names.
    """
    places = {"PLAINTEXT": port, **(listeners or {}), "CONTROLLER": controller_port}
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "listeners": ",".join(f"{name}://{HOST}:{place}" for name, place in places.items()),
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(log_dir),
        **_INTERNAL_TOPICS,
        **_DEVELOPMENT,
        **(overrides or {}),
    }


def controller_properties(server: Mapping[str, str]) -> dict[str, str]:
    """Return the properties of a node that is controller only, on the data of the node that ``server`` describes.

    Args:
        server: what :func:`server_properties` gave.
    """
    listener = next(part for part in server["listeners"].split(",") if part.startswith("CONTROLLER:"))
    alone = {"process.roles": "controller", "listeners": listener, "broker.session.timeout.ms": "100"}
    return {**server, **alone}


def render(properties: Mapping[str, str]) -> str:
    """Return the text of a Java properties file; characters that mean something in that format are escaped."""
    return "".join(f"{_escape(name)}={_escape(value)}\n" for name, value in properties.items())


def is_text(text: str) -> bool:
    """Say whether :func:`render` can write a text: arguments and paths may have bytes that no character stands for."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _escape(text: str) -> str:
    plain = re.sub(r"[\\=:#! ]", r"\\\g<0>", text).replace("\n", "\\n")
    return "".join(char if char.isascii() else _unicode_escape(char) for char in plain)


def _unicode_escape(char: str) -> str:
    # The format is Latin-1 with escapes for UTF-16 units.
    return "".join(f"\\u{unit}" for unit in char.encode("utf-16-be").hex(" ", 2).split())
