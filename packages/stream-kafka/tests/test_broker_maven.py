"""Fetching files: from a Maven repository that the test serves."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream_core.errors import BrokerUnavailableError, ConfigurationError
from stream_kafka.broker.maven import REPOSITORY, download
from stream_kafka.broker.ports import HOST, free_port

from .repository import Repository, SlowRepository


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository."""
    root = tmp_path / "repository"
    root.mkdir()
    served = Repository(root)
    yield served
    served.close()


TOP, OTHER = "org/example/top/1.0/top-1.0.jar", "org/example/other/1.0/other-1.0.jar"


FULL = """
import resource, sys
from pathlib import Path
from stream_core.errors import ConfigurationError
from stream_kafka.broker.maven import download
path, digest, cache, url = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    download({path: digest}, Path(cache), lambda line: None, url)
except ConfigurationError as error:
    print(error)
"""


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


def test_a_full_disk(repository: Repository, tmp_path: Path) -> None:
    """The error names the directory, and no half of a file is left."""
    files = repository.publish(TOP, b"top" * 1000)
    command = [sys.executable, "-c", FULL, TOP, files[TOP], str(tmp_path / "cache"), repository.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert f"{tmp_path / 'cache'} cannot be used: File too large. " in done.stdout
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_directory_that_cannot_be_written(repository: Repository, tmp_path: Path) -> None:
    """The error names it, and how to have another one."""
    (tmp_path / "org").touch()
    with pytest.raises(ConfigurationError, match=rf"{tmp_path} cannot be used: .* XDG_CACHE_HOME"):
        download(repository.publish(TOP, b"top"), tmp_path, print, repository.url)


def test_certificates_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What requests raises for them has no class of its own."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere"))
    with pytest.raises(BrokerUnavailableError, match=str(tmp_path / "nowhere")):
        download({TOP: "0"}, tmp_path, print, f"https://{HOST}:{free_port()}")


def test_repository_that_does_not_answer(tmp_path: Path) -> None:
    """A repository that cannot be reached is one clear error that says what to check."""
    with pytest.raises(BrokerUnavailableError, match="Check the network and its proxy settings"):
        download({TOP: "0"}, tmp_path, print, f"http://{HOST}:{free_port()}")


def test_repository_that_is_too_slow(tmp_path: Path) -> None:
    """One that sends a byte now and then never makes the reader wait in vain: only how little comes ends it."""
    slow = SlowRepository()
    try:
        with pytest.raises(
            BrokerUnavailableError, match=rf"{slow.url} is too slow: it sent \d+ bytes in 0\.2 s\. .* {REPOSITORY}"
        ):
            download({TOP: "0", OTHER: "0"}, tmp_path / "cache", print, slow.url, patience=0.2)
    finally:
        slow.close()
    assert not (tmp_path / "cache").exists()
