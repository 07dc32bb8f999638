"""The cache of the broker's jars."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest

from stream_core.errors import BrokerUnavailableError, ConfigurationError
from stream_kafka.broker.artifacts import KAFKA_VERSION, VERSIONS, cache_dir, jars, pinned
from stream_kafka.broker.maven import REPOSITORY
from stream_kafka.broker.ports import HOST, free_port

WITHOUT = """
import sys
sys.modules["requests"] = None  # what Python finds when a package is not installed
from pathlib import Path
from stream_core.errors import MissingPackageError
from stream_kafka.broker.artifacts import jars
try:
    jars(Path(sys.argv[1]))
except MissingPackageError as error:
    print(error)
"""


def digest(content: bytes) -> str:
    """The sum that a pin has for a jar."""
    return hashlib.sha256(content).hexdigest()


def test_complete_cache_is_used_as_it_is(tmp_path: Path) -> None:
    """With all jars present nothing is fetched, and they come in the order of the pins."""
    pins = {name: digest(name.encode()) for name in ("b.jar", "a.jar")}
    for name in pins:
        (tmp_path / name).write_text(name)
    said: list[str] = []
    assert jars(tmp_path, said.append, pins) == [tmp_path / "b.jar", tmp_path / "a.jar"]
    assert said == []


def test_a_changed_file_of_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each start looks: what is not the file any more is said and fetched again, and not run when that fails."""
    monkeypatch.setenv(REPOSITORY, f"http://{HOST}:{free_port()}")
    (tmp_path / "a.jar").write_bytes(b"something else")
    said: list[str] = []
    with pytest.raises(BrokerUnavailableError, match="could not be fetched"):
        jars(tmp_path, said.append, {"a.jar": digest(b"a")})
    assert said[0].startswith(f"{tmp_path / 'a.jar'} is not the file that Apache Kafka")


def test_a_cache_that_cannot_be_used(tmp_path: Path) -> None:
    """The error names it and says why, and how to have another one."""
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    with pytest.raises(ConfigurationError, match=rf"{cache} cannot be used: Not a directory\. .* XDG_CACHE_HOME"):
        jars(cache, print, {"a.jar": digest(b"a")})


def test_nobody_knows_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose user has neither HOME nor an entry in the list of users, for which ~ stays as it is."""
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "~")
    with pytest.raises(ConfigurationError, match="set HOME, or name a place for caches in XDG_CACHE_HOME"):
        cache_dir()


def test_missing_extra_is_named(tmp_path: Path) -> None:
    """Without requests the error says what to install."""
    command = [sys.executable, "-c", WITHOUT, str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert 'pip install "stream-kafka[broker]"' in answer.stdout
    assert str(tmp_path) in answer.stdout


def test_cache_is_outside_the_tree() -> None:
    """The jars are in the user's cache directory, apart for each version."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    assert cache_dir() == Path(base) / "stream" / f"kafka-{KAFKA_VERSION}"
    assert len({cache_dir(version) for version in VERSIONS}) == len(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_jar_is_pinned(version: str) -> None:
    """The list is that of the version: each file once, by a relative path, with a whole sum; the broker first."""
    pins = pinned(version)
    paths = list(pins)
    assert paths[0] == f"org/apache/kafka/kafka_2.13/{version}/kafka_2.13-{version}.jar"
    assert any(path.startswith("org/slf4j/slf4j-simple/") for path in paths)
    assert len({PurePosixPath(path).name for path in paths}) == len(paths) > 40
    for path, digest in pins.items():
        assert path.endswith(".jar")
        assert not {"", "..", "."} & set(path.split("/")), path
        assert len(bytes.fromhex(digest)) == 32


def test_another_version_is_refused_with_those_that_there_are() -> None:
    """What is not pinned is not run."""
    with pytest.raises(
        ConfigurationError, match=r"Kafka 2\.8\.0 cannot be run here: choose one of 3\.3\.2, 3\.9\.1, 4\."
    ):
        pinned("2.8.0")
