"""Mark a broker that was killed as gone before it starts again, so that no transaction marker is lost.

One node that is broker and controller and is started again after ``kill -9`` finds itself in its metadata as the leader of
every partition, and takes up open transactions at once. When the session of the process before it ends a moment later, the
partitions have no leader until the node is let in again, and Kafka (4.3) drops the transaction markers that it wanted to write meanwhile,
because it takes partitions without a leader for deleted ones. Records of an aborted transaction then become visible with the next commit
of their producer, and records of a committed one can stay invisible. A cluster whose controllers live elsewhere does not
have that moment. So the node first runs as controller alone until it has noted that the broker is gone.

Kafka 3 needs no such step: it refuses a broker until the session of the process before it has ended, and the broker takes up nothing before
it is let in. There the session must only be shorter than the minute for which a broker asks to be let in.
"""

from __future__ import annotations

import re
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from stream_kafka.broker.directory import DataDirectory
from stream_kafka.broker.properties import controller_properties, render

__all__ = ["count_fenced", "fence", "session_of_killed", "waits_for_session"]

T = TypeVar("T")

_FENCED = re.compile(rb"Fencing broker (\d+) at epoch (\d+)")
_READY = b"Kafka Server started"
_POLL = 0.02
_GRACE = 5.0
"""Seconds after the start until the controller must have noted it; it has nothing to note if the broker had not been let in."""


def waits_for_session(version: str) -> bool:
    """Tell whether this version of Kafka lets a broker in only after the session of the process before it has ended."""
    return version.startswith("3.")


def session_of_killed(version: str) -> dict[str, str]:
    """Return the properties with which a broker starts after its process was killed: for Kafka 3 a session of 9 s, Kafka's own default."""
    return {"broker.session.timeout.ms": "9000"} if waits_for_session(version) else {}


def fence(command: Sequence[str], directory: DataDirectory, server: Mapping[str, str], deadline: float) -> None:
    """Run the node as controller alone until the broker's death is in the metadata.

    Args:
        command: the Java command up to the class.
        directory: that of the broker; the configuration and the log of this step go there too.
        server: the properties of the broker.
        deadline: the monotonic time at which to give up; the broker's own start then says what is wrong.
    """
    log = directory.path / "controller.log"
    metadata = directory.path / "topics" / "__cluster_metadata-0"

    def read_metadata() -> bytes:
        return b"".join(segment.read_bytes() for segment in sorted(metadata.glob("*.log")))

    before = read_metadata()
    config = directory.write("controller.properties", render(controller_properties(server)))
    process = directory.start([*command, "kafka.Kafka", str(config)], log)
    try:
        if found := _await(lambda: _FENCED.search(log.read_bytes()), process, log, deadline):
            broker, epoch = map(int, found.groups())
            # What is said is not written yet, and what is written next may be something else.
            times = count_fenced(before, broker, epoch)
            _await(lambda: count_fenced(read_metadata(), broker, epoch) > times, process, None, deadline)
    finally:
        process.terminate()
        try:
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(condition: Callable[[], T], process: subprocess.Popen[bytes], log: Path | None, deadline: float) -> T | None:
    """Return what ``condition`` gives once it is true; ``None`` at the deadline, or ``_GRACE`` seconds after ``log`` says "started"."""
    ready = False
    while time.monotonic() < deadline and process.poll() is None:
        if answer := condition():
            return answer
        if log is not None and not ready and _READY in log.read_bytes():
            ready, deadline = True, min(deadline, time.monotonic() + _GRACE)
        time.sleep(_POLL)
    return None


def count_fenced(metadata: bytes, broker: int, epoch: int) -> int:
    """Count how often a metadata log says that the broker of this registration is fenced.

    That is a BrokerRegistrationChangeRecord: frame version 1, type 17, its version, the broker, its epoch, and one tagged field, 0, of one
    byte, which is 1. Metadata is never compressed.
    """
    registration = re.escape(struct.pack(">iq", broker, epoch))
    return len(re.findall(rb"\x01\x11." + registration + rb"\x01\x00\x01\x01", metadata, re.DOTALL))
