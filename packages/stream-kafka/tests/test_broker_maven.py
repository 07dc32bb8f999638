"""Fetching files: from a Maven repository that the test serves."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stream_core.errors import BrokerUnavailableError
from stream_kafka.broker.maven import REPOSITORY, download
from stream_kafka.broker.ports import HOST, free_port


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
    def url(self) -> str:
        """Where it is."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def publish(self, path: str, content: bytes) -> dict[str, str]:
        """Add a file; returns its path with its sum."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return {path: hashlib.sha256(content).hexdigest()}

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


TOP, OTHER = "org/example/top/1.0/top-1.0.jar", "org/example/other/1.0/other-1.0.jar"


def test_files_are_fetched_into_the_layout_of_the_repository(repository: Repository, tmp_path: Path) -> None:
    """Whole and nothing beside them, and the caller hears how many there are."""
    files = repository.publish(TOP, b"top") | repository.publish(OTHER, b"other")
    cache, said = tmp_path / "cache", list[str]()
    download(files, cache, said.append, repository.url)
    found = {str(file.relative_to(cache)): file.read_bytes() for file in cache.rglob("*") if file.is_file()}
    assert found == {TOP: b"top", OTHER: b"other"}
    assert said == ["2 files to fetch"]


def test_the_environment_names_a_mirror(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked instead of the central repository."""
    monkeypatch.setenv(REPOSITORY, f"{repository.url}/")
    download(repository.publish(TOP, b"top"), tmp_path, print)
    assert (tmp_path / TOP).read_bytes() == b"top"
    assert repository.asked == [f"/{TOP}"]


def test_another_file_is_refused_and_not_kept(repository: Repository, tmp_path: Path) -> None:
    """A file with another sum than its pin is an error, whatever the repository says about it; the next try fetches it again."""
    files = repository.publish(TOP, b"top")
    repository.publish(TOP, b"not what it was")
    repository.publish(f"{TOP}.sha1", hashlib.sha1(b"not what it was", usedforsecurity=False).hexdigest().encode())
    with pytest.raises(
        BrokerUnavailableError, match=r"top-1\.0\.jar is not the file that it should be, and is not used"
    ):
        download(files, tmp_path / "cache", print, repository.url)
    assert not list((tmp_path / "cache").rglob("*.jar*"))
    repository.publish(TOP, b"top")
    download(files, tmp_path / "cache", print, repository.url)
    assert (tmp_path / "cache" / TOP).read_bytes() == b"top"


def test_file_that_the_repository_does_not_have(repository: Repository, tmp_path: Path) -> None:
    """The error names where it was looked for."""
    files = repository.publish(TOP, b"top")
    (repository.root / TOP).unlink()
    with pytest.raises(BrokerUnavailableError, match=rf"there is no {repository.url}/{TOP}: is a mirror incomplete"):
        download(files, tmp_path / "cache", print, repository.url)


def test_repository_that_does_not_answer(tmp_path: Path) -> None:
    """A repository that cannot be reached is one clear error that says what to check."""
    with pytest.raises(BrokerUnavailableError, match="Check the network and its proxy settings"):
        download({TOP: "0"}, tmp_path, print, f"http://{HOST}:{free_port()}")
