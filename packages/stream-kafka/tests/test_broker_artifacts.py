"""The cache of the broker's jars."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from stream_kafka.broker.artifacts import KAFKA_VERSION, cache_dir, jars

WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # what Python finds when a package is not installed
from pathlib import Path
from stream_core.errors import MissingPackageError
from stream_kafka.broker.artifacts import jars
try:
    jars(Path(sys.argv[2]))
except MissingPackageError as error:
    print(error)
"""


def test_complete_cache_is_used_as_it_is(tmp_path: Path) -> None:
    """With all jars of its list present nothing is resolved, in the order of the list."""
    for name in ("b.jar", "a.jar"):
        (tmp_path / name).touch()
    (tmp_path / "classpath").write_text("b.jar\na.jar\n")
    said: list[str] = []
    assert jars(tmp_path, said.append) == [tmp_path / "b.jar", tmp_path / "a.jar"]
    assert said == []


def test_missing_extra_is_named(tmp_path: Path) -> None:
    """Without jgo (or what it brings) the error says what to install."""
    for package in ("jgo", "requests"):
        command = [sys.executable, "-c", WITHOUT, package, str(tmp_path)]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert 'pip install "stream-kafka[broker]"' in answer.stdout
        assert str(tmp_path) in answer.stdout


def test_cache_is_outside_the_tree() -> None:
    """The jars are in the user's cache directory, apart for each version."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    assert cache_dir() == Path(base) / "stream" / f"kafka-{KAFKA_VERSION}"
