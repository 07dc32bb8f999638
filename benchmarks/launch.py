"""How a sample becomes a process: in our environment, in one of its own, or in Java."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, Sample
from stream_core.errors import StreamError
from stream_kafka.broker.artifacts import KAFKA_VERSION, cache_dir, jars

__all__ = ["BROKER_CORE", "Launcher", "SampleError", "on_core", "report_of"]

ROOT = Path(__file__).parents[1]
SAMPLES = Path(__file__).parent / "samples"
BROKER_CORE, SAMPLE_CORE = 0, -1
QUIET_LOG = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"


class SampleError(Exception):
    """A sample ended without a result, or with a wrong one."""


@contextlib.contextmanager
def on_core(number: int) -> Iterator[None]:
    """Children that are started in here inherit one core: 0 for the broker, -1 for samples. Does nothing where that cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    ours = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(ours)[number]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, ours)


class Launcher:
    """Makes the processes.

    Args:
        directory: for what has to be built.
        say: is told what takes time.
    """

    def __init__(self, directory: Path, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._say = say
        self._class_path = ""
        self._pythons: dict[tuple[str, ...], Path] = {}
        # Modules are compiled once, as where a program is installed: also when this process was told to compile none.
        self._variables = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._variables["PYTHONPYCACHEPREFIX"] = str(directory / "bytecode")

    def prepare(self, rows: Iterable[Row]) -> dict[str, str]:
        """Fetch and build what the peers need, so that no measurement waits for it; by program why one cannot be had."""
        lacking = {}
        for peer in {row.base.program: row.base for row in rows if row.base is not None and row.peer}.values():
            try:
                if peer.java:
                    self._compile()
                else:
                    self._pythons[peer.packages] = self._environment(peer)
            except (SampleError, StreamError) as error:
                lacking[peer.program] = str(error)
                self._say(f"{peer.program} is left out: {error}")
        return lacking

    def start(self, sample: Sample, arguments: Mapping[str, object]) -> subprocess.Popen[str]:
        """Start a sample on its core; the probe on that of the broker."""
        if sample.program != "probe":
            arguments = {**arguments, "started": time.monotonic()}
        if sample.windows:
            arguments = {**arguments, "windows": sample.windows}
        given = [f"--{name}={value}" for name, value in arguments.items()]
        with on_core(BROKER_CORE if sample.program == "probe" else SAMPLE_CORE):
            return subprocess.Popen(
                [*self._program(sample), *given],
                cwd=ROOT,
                env=self._variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )

    def _program(self, sample: Sample) -> list[str]:
        if sample.java:
            return ["java", "-Xmx1g", QUIET_LOG, "-cp", self._class_path, sample.program]
        python = self._pythons[sample.packages] if sample.packages else sys.executable
        return [str(python), "-m", f"benchmarks.samples.{sample.program}"]

    def _environment(self, peer: Sample) -> Path:
        self._say(f"making an environment with {', '.join(peer.packages)}")
        directory = self._directory / "environments" / peer.program
        uv = os.environ.get("UV", "uv")  # `uv run` says where it is
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(directory))
        python = directory / "bin" / "python"
        _run(uv, "pip", "install", "--quiet", "--python", str(python), *peer.packages)
        return python

    def _compile(self) -> None:
        if shutil.which("javac") is None:
            raise SampleError("there is no Java compiler (javac) here")
        self._say(f"fetching and compiling for Kafka Streams {KAFKA_VERSION}")
        lines = (line.split() for line in (SAMPLES / "kafka-streams.sha256").read_text(encoding="utf-8").splitlines())
        pins = {path: digest for digest, path in lines}
        own = jars(cache_dir().with_name(f"kafka-streams-{KAFKA_VERSION}"), self._say, pins)
        # The client, Jackson and the log are those of the broker.
        self._class_path = os.pathsep.join(map(str, [*own, *jars(say=self._say), self._directory]))
        _run("javac", "-cp", self._class_path, "-d", str(self._directory), str(SAMPLES / "Peer.java"))


def _run(*command: str) -> None:
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    except OSError as error:
        raise SampleError(f"{command[0]} cannot be run: {error}") from error
    if ran.returncode:
        raise SampleError(f"{' '.join(command[:3])} ... failed:\n{ran.stderr[-4000:]}")


def report_of(sample: Sample, process: subprocess.Popen[str], timeout: float) -> dict[str, Any]:
    """The line of JSON that a sample ends with.

    Raises:
        SampleError: it ended without one, or with a code other than 0, or not in time.
    """
    try:
        out, complaints = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, complaints = process.communicate()
        complaints = f"not ended after {timeout:.0f} s\n{complaints}"
    except BaseException:
        process.kill()
        raise
    lines = [line for line in out.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise SampleError(f"{sample.program} ended with {process.returncode}:\n{complaints[-4000:]}")
    report: dict[str, Any] = json.loads(lines[-1])
    return report
