"""How a sample becomes a command: in our environment, in one of its own, or in Java."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from benchmarks.rows import Row, Sample
from stream_kafka.broker.artifacts import KAFKA_VERSION, cache_dir
from stream_kafka.broker.maven import download

__all__ = ["Launcher", "SampleError", "can_compile_java"]

SAMPLES = Path(__file__).parent / "samples"
KAFKA_STREAMS = (f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}", "org.slf4j:slf4j-nop:1.7.36")


class SampleError(Exception):
    """A sample ended without a result, or with a wrong one."""


class Launcher:
    """Makes the commands.

    Args:
        directory: for what has to be built.
        say: is told what takes time.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._class_path = ""

    def prepare(self, rows: Iterable[Row]) -> None:
        """Fetch and build what the peers need, so that no measurement waits for it. Raises SampleError."""
        peers = {sample for row in rows if (sample := row.base) is not None}
        for packages in sorted({peer.packages for peer in peers if peer.packages}):
            self._say(f"making an environment with {', '.join(packages)}")
            self._run([*self._environment(packages), "python", "-c", "pass"])
        if any(peer.java for peer in peers):
            self._say(f"fetching and compiling for Kafka Streams {KAFKA_VERSION}")
            jars = download(KAFKA_STREAMS, cache_dir().with_name(f"kafka-streams-{KAFKA_VERSION}"), self._say)
            self._class_path = os.pathsep.join(map(str, [*jars, self._directory]))
            self._run(["javac", "-cp", self._class_path, "-d", str(self._directory), str(SAMPLES / "Peer.java")])

    def command(self, sample: Sample, arguments: Mapping[str, object]) -> list[str]:
        """The command line of a sample."""
        given = [f"--{name}={value}" for name, value in arguments.items()]
        if sample.java:
            return ["java", "-Xmx1g", "-cp", self._class_path, sample.program, *given]
        module = ["-m", f"benchmarks.samples.{sample.program}", *given]
        if sample.packages:
            return [*self._environment(sample.packages), "python", *module]
        return [sys.executable, *module]

    def _environment(self, packages: Iterable[str]) -> list[str]:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        return ["uv", "run", "--no-project", "--quiet", "--python", version, *(f"--with={name}" for name in packages)]

    def _run(self, command: list[str]) -> None:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=SAMPLES.parents[1])
        if ran.returncode:
            raise SampleError(f"{' '.join(command[:6])} ... failed:\n{ran.stderr[-4000:]}")


def can_compile_java() -> bool:
    """Whether there is a Java compiler."""
    return shutil.which("javac") is not None
