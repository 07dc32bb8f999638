"""Run the package tests on every other Python of this machine that the packages are for, and say which were found and run.

Every minor version is run once, on its newest release; the one that runs this program has had its turn in the workspace's own
environment. No interpreter is downloaded. An environment is made for each run from ``uv.lock``, out of uv's cache, and removed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

UV = os.environ.get("UV", "uv")
"""`uv run` says where it is."""

HOMES = (
    ("PYENV_ROOT", "~/.pyenv", "versions/*/bin/python3"),
    ("ASDF_DATA_DIR", "~/.asdf", "installs/python/*/bin/python3"),
    ("MISE_DATA_DIR", "~/.local/share/mise", "installs/python/*/bin/python3"),
)
"""Where version managers keep interpreters that are not on the path, and so not found by uv: variable, default, pattern."""

ABOUT = """
import json, platform, sys, sysconfig
free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
print(json.dumps([*sys.version_info[:4], platform.python_implementation(), free_threaded]))
"""


class Interpreter(NamedTuple):
    """A released CPython on this machine."""

    version: tuple[int, int, int]
    path: Path

    @property
    def minor(self) -> tuple[int, int]:
        """The version without the number of the release."""
        return self.version[:2]

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})"


def candidates() -> Iterator[Path]:
    """Find what may be interpreters: those that uv finds, and those that version managers keep."""
    listing = subprocess.run(
        [UV, "python", "list", "--only-installed", "--no-python-downloads", "--output-format", "json"],
        capture_output=True,
        check=True,
    )
    for found in json.loads(listing.stdout):
        yield Path(found["path"])
    for variable, default, pattern in HOMES:
        yield from sorted(Path(os.environ.get(variable) or default).expanduser().glob(pattern))


def ask(path: Path) -> Interpreter | None:
    """Ask a program which Python it is; ``None`` when it is none that counts: a preview, without GIL, another implementation, broken."""
    try:
        answer = subprocess.run([path, "-I", "-c", ABOUT], capture_output=True, check=True, timeout=30)
        major, minor, micro, *kind = json.loads(answer.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return Interpreter((major, minor, micro), path) if kind == ["final", "CPython", False] else None


def choose(found: Iterable[Interpreter], oldest: tuple[int, int], done: tuple[int, int]) -> list[Interpreter]:
    """Choose the newest of each minor version from ``oldest`` on, in their order, without the one that is ``done``."""
    newest: dict[tuple[int, int], Interpreter] = {}
    for one in found:
        if one.minor >= oldest and one.minor != done:
            newest[one.minor] = max(one, newest.get(one.minor, one), key=lambda each: each.version)
    return [newest[minor] for minor in sorted(newest)]


def declared() -> list[tuple[int, int]]:
    """Read the minor versions that the packages say they are for, the oldest first."""
    about = tomllib.loads((ROOT / "packages" / "stream-core" / "pyproject.toml").read_text(encoding="utf-8"))
    versions = [re.fullmatch(r".* :: (\d+)\.(\d+)", each) for each in about["project"]["classifiers"]]
    return sorted((int(each[1]), int(each[2])) for each in versions if each)


def run(interpreter: Interpreter, *command: str) -> int:
    """Run a command in an environment of that Python with what the tests need; returns its exit code."""
    options = ("--isolated", "--no-python-downloads", "--no-dev", "--group", "test", "--python", str(interpreter.path))
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    return subprocess.run([UV, "run", "--quiet", *options, *command], cwd=ROOT, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run the package tests with these arguments of pytest; returns the exit code: 1 when a version failed."""
    versions, done = declared(), sys.version_info[:2]
    chosen = choose(filter(None, map(ask, candidates())), versions[0], done)
    print(f"Beside Python {done[0]}.{done[1]} there are: {', '.join(map(str, chosen)) or 'none'}", flush=True)
    results: list[str] = []
    failed = False
    for interpreter in chosen:
        print(f"The package tests on {interpreter}", flush=True)
        if run(interpreter, "python", "-c", ""):
            # Our packages promise nothing for a Python that is newer than they are: those that they need may not be there yet.
            failed |= interpreter.minor in versions
            results.append(f"{interpreter}: not run, its packages could not be installed")
        elif code := run(interpreter, "pytest", "-p", "no:cacheprovider", "-q", "packages", *arguments):
            failed = True
            results.append(f"{interpreter}: failed with code {code}")
        else:
            results.append(f"{interpreter}: passed")
    print("\n".join(results), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
