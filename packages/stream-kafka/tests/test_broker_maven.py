"""Fetching artifacts: from a Maven repository that the test serves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream_core.errors import BrokerUnavailableError
from stream_kafka.broker.maven import download
from stream_kafka.broker.ports import HOST, free_port

POM = """<project><modelVersion>4.0.0</modelVersion>
<groupId>org.example</groupId><artifactId>{name}</artifactId><version>1.0</version><dependencies>{dependencies}</dependencies></project>"""
DEPENDENCY = """<dependency><groupId>org.example</groupId><artifactId>{name}</artifactId><version>1.0</version>
<scope>{scope}</scope></dependency>"""


class Repository:
    """A Maven repository in a directory, served over HTTP."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[str] = []
        handler = partial(_handler(self.asked), directory=str(root))
        self._server = ThreadingHTTPServer((HOST, 0), handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    @property
    def remotes(self) -> dict[str, str]:
        """What a download takes as repositories."""
        return {"ours": f"http://{HOST}:{self._server.server_address[1]}"}

    def publish(self, name: str, *dependencies: tuple[str, str]) -> Path:
        """Add ``org.example:name:1.0`` with dependencies (name and scope); returns its jar."""
        directory = self.root / "org" / "example" / name / "1.0"
        directory.mkdir(parents=True)
        listed = "".join(DEPENDENCY.format(name=each, scope=scope) for each, scope in dependencies)
        (directory / f"{name}-1.0.pom").write_text(POM.format(name=name, dependencies=listed))
        jar = directory / f"{name}-1.0.jar"
        jar.write_bytes(name.encode())
        jar.with_name(f"{jar.name}.sha1").write_text(hashlib.sha1(name.encode()).hexdigest())
        return jar

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(asked: list[str]) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name upstream
            asked.append(self.path)

    return Handler


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository."""
    root = tmp_path / "repository"
    root.mkdir()
    served = Repository(root)
    yield served
    served.close()


def fetch(repository: Repository, cache: Path, said: list[str] | None = None) -> list[Path]:
    """Download ``org.example:top:1.0`` from ``repository``."""
    say = (said if said is not None else []).append
    return download(["org.example:top:1.0"], cache, say, repository.remotes)


def test_fetches_what_is_needed_at_run_time(repository: Repository, tmp_path: Path) -> None:
    """Dependencies of all levels come along, those of tests do not, and the caller hears how many there are."""
    repository.publish("top", ("middle", "runtime"), ("junit", "test"))
    repository.publish("middle", ("bottom", "compile"))
    repository.publish("bottom")
    repository.publish("junit")
    said: list[str] = []
    jars = fetch(repository, tmp_path / "cache", said)
    assert {jar.name: jar.read_bytes() for jar in jars} == {
        "top-1.0.jar": b"top",
        "middle-1.0.jar": b"middle",
        "bottom-1.0.jar": b"bottom",
    }
    assert said == ["3 files to fetch"]


def test_nothing_is_fetched_twice(repository: Repository, tmp_path: Path) -> None:
    """A file that the cache has is not asked for again."""
    repository.publish("top")
    first = fetch(repository, tmp_path / "cache")
    repository.asked.clear()
    assert fetch(repository, tmp_path / "cache") == first
    assert repository.asked == []


def test_damaged_file_is_refused_and_not_kept(repository: Repository, tmp_path: Path) -> None:
    """A jar whose checksum is wrong raises, and the next try fetches it again."""
    jar = repository.publish("top")
    jar.write_bytes(b"damaged")
    with pytest.raises(BrokerUnavailableError, match=r"top-1\.0\.jar was damaged on its way"):
        fetch(repository, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.jar*"))
    jar.write_bytes(b"top")
    assert [found.read_bytes() for found in fetch(repository, tmp_path / "cache")] == [b"top"]


def test_file_that_no_repository_has(repository: Repository, tmp_path: Path) -> None:
    """The error names the artifact and the repositories that were asked."""
    repository.publish("top").unlink()
    with pytest.raises(BrokerUnavailableError, match=r"no Maven repository \(ours\) has org\.example:top:jar:1\.0"):
        fetch(repository, tmp_path / "cache")


def test_repository_that_does_not_answer(tmp_path: Path) -> None:
    """A repository that cannot be reached is one clear error that says what to check."""
    nowhere = {"ours": f"http://{HOST}:{free_port()}"}
    with pytest.raises(BrokerUnavailableError, match="Check the network and its proxy settings"):
        download(["org.example:top:1.0"], tmp_path, print, nowhere)
