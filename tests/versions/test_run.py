"""Which Pythons of a machine the package tests run on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .run import Interpreter, ask, choose, declared


def interpreter(text: str, path: str = "python3") -> Interpreter:
    """An interpreter of that version."""
    major, minor, micro = map(int, text.split("."))
    return Interpreter((major, minor, micro), Path(path))


def test_each_minor_version_runs_once() -> None:
    """The newest of each, in order; what is too old and what has been run already is left out."""
    versions = ["3.9.18", "3.13.0", "3.12.1", "3.11.7", "3.12.10", "3.12.9", "3.10.13", "3.11.2", "4.0.0"]
    chosen = choose(map(interpreter, versions), oldest=(3, 11), done=(3, 11))
    assert [one.version for one in chosen] == [(3, 12, 10), (3, 13, 0), (4, 0, 0)]


def test_a_machine_with_one_python() -> None:
    """There is nothing more to run."""
    assert choose([interpreter("3.11.7"), interpreter("3.11.2")], oldest=(3, 11), done=(3, 11)) == []


def test_the_packages_say_what_they_are_for() -> None:
    """The oldest is the one that they require."""
    assert declared()[0] == (3, 11)
    assert declared() == sorted(set(declared()))


def test_an_interpreter_says_its_version() -> None:
    """This one does."""
    assert ask(Path(sys.executable)) == Interpreter(sys.version_info[:3], Path(sys.executable))


@pytest.mark.parametrize(
    "script",
    [
        "exit 127",
        "echo no version",
        'echo \'[3, 13, 0, "final", "PyPy", false]\'',
        'echo \'[3, 15, 0, "beta", "CPython", false]\'',
        'echo \'[3, 14, 0, "final", "CPython", true]\'',
    ],
    ids=["broken", "another program", "another implementation", "preview", "without GIL"],
)
def test_what_is_no_interpreter_is_passed_over(tmp_path: Path, script: str) -> None:
    """Such as the shims of a version manager that has no such version."""
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    assert ask(program) is None


def test_what_is_not_there_is_passed_over(tmp_path: Path) -> None:
    """A link whose interpreter was removed."""
    assert ask(tmp_path / "python3") is None
