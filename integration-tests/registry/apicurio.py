"""A schema registry of its own for tests: Apicurio Registry, which answers the API of Confluent's; from Maven Central, like the broker."""

from __future__ import annotations

import json
import tarfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from stream_core.errors import BrokerUnavailableError
from stream_kafka.broker.artifacts import cache_dir
from stream_kafka.broker.directory import DataDirectory
from stream_kafka.broker.java import find_java
from stream_kafka.broker.maven import download
from stream_kafka.broker.ports import HOST, free_port

__all__ = ["Apicurio"]

VERSION = "3.3.3"
ARCHIVE = f"io/apicurio/apicurio-registry-app/{VERSION}/apicurio-registry-app-{VERSION}-all.tar.gz"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"

START = 120.0
"""Seconds until it must answer."""


class Apicurio:
    """One registry, which keeps all in memory.

    Args:
        data_dir: a directory for its log, and what ends it when this process does.

    Attributes:
        url: where the API of Confluent's registry begins.
    """

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}/apis/ccompat/v7"

    def start(self) -> None:
        """Start it, and let what is new have to be able to read what is old, in all subjects. Raises BrokerUnavailableError."""
        home = unpacked()
        options = [f"-Dquarkus.http.port={self._port}", f"-Dquarkus.http.host={HOST}", "-Xmx384m"]
        self._directory.mkdir(parents=True, exist_ok=True)
        command = [str(find_java()), *options, "-jar", str(home / "quarkus-run.jar")]
        log = self._directory / "registry.log"
        self._held = DataDirectory(self._directory)
        self._process = self._held.start(command, log)
        deadline = time.monotonic() + START
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise BrokerUnavailableError(f"the schema registry does not answer: {log.read_text()[-2000:]}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End it, as ``kill -9`` does: nothing of it is kept."""
        self._process.kill()
        self._process.wait()
        self._held.leave()

    def _answers(self) -> bool:
        body = json.dumps({"compatibility": "BACKWARD"}).encode()
        request = urllib.request.Request(f"{self.url}/config", body, {"Content-Type": "application/json"}, method="PUT")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def unpacked() -> Path:
    """Return the directory of the program; it is fetched and unpacked the first time. Raises BrokerUnavailableError."""
    cache = cache_dir().parent
    home = cache / f"apicurio-{VERSION}"
    if not home.exists():
        if not (cache / ARCHIVE).exists():
            download({ARCHIVE: SHA256}, cache, print)
        partial = home.with_name(f"{home.name}.{time.monotonic_ns()}.part")
        with tarfile.open(cache / ARCHIVE) as archive:
            archive.extractall(partial, filter="data")
        try:
            partial.rename(home)
        except OSError:  # another process was faster
            if not home.exists():
                raise
        (cache / ARCHIVE).unlink(missing_ok=True)
    return home
