"""Marks a broker that was killed as gone before it starts again, so that no transaction marker is lost.

One node that is broker and controller and is started again after ``kill -9`` finds itself in its metadata as the leader of
every partition, and takes up open transactions at once. When the session of the process before it ends a moment later, the
partitions have no leader until the node is let in again, and Kafka (4.3) drops the markers that it wanted to write meanwhile: it
takes partitions without a leader for deleted ones. Records of an aborted transaction then become visible with the next commit
of their producer, and records of a committed one can stay invisible. A cluster whose controllers live elsewhere does not
have that moment. So the node first runs as controller alone until it has noted that the broker is gone.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stream_kafka.broker.properties import controller_properties, render

__all__ = ["fence"]

_FENCED = b"Fencing broker "
_READY = b"Kafka Server started"
_POLL = 0.02
_GRACE = 5.0
"""Seconds after the start until the controller must have noted it; it has nothing to note if the broker had not been let in."""


def fence(command: Sequence[str], data_dir: Path, server: Mapping[str, str], deadline: float) -> None:
    """Run the node as controller alone until the broker's death is in the metadata.

    Args:
        command: the Java command up to the class.
        data_dir: the directory of the broker; the configuration and the log of this step go there too.
        server: the properties of the broker.
        deadline: the monotonic time at which to give up; the broker's own start then says what is wrong.
    """
    config, log = data_dir / "controller.properties", data_dir / "controller.log"
    config.write_text(render(controller_properties(server)))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "kafka.Kafka", str(config)],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        metadata = data_dir / "topics" / "__cluster_metadata-0"
        if _await(lambda: _FENCED in log.read_bytes(), process, log, deadline):
            before = _size(metadata)  # what is said is not written yet, but before whatever is written from now on
            _await(lambda: _size(metadata) > before, process, log, deadline)
    finally:
        process.terminate()
        try:
            process.wait(max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, deadline: float) -> bool:
    """Whether ``condition`` held before the deadline, and in time after the controller was ready."""
    ready = False
    while time.monotonic() < deadline and process.poll() is None:
        if condition():
            return True
        if not ready and _READY in log.read_bytes():
            ready, deadline = True, min(deadline, time.monotonic() + _GRACE)
        time.sleep(_POLL)
    return False


def _size(directory: Path) -> int:
    """The bytes of a log."""
    return sum(segment.stat().st_size for segment in directory.glob("*.log"))
