"""The wheels, built once, and environments to install them in."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .environments import ROOT, Environment, run

Install = Callable[..., Environment]
"""Makes an environment with the distributions of these names, and what they require."""


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdists and wheels of all packages; the processes of one test run share it."""
    base = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    directory, partial = base / "dist", base / "dist.partial"
    with (base / "dist.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            run("uv", "build", "--all-packages", "--no-sources", "--out-dir", partial, cwd=ROOT)
            partial.rename(directory)
    return directory


@pytest.fixture(scope="session")
def wheels(dist: Path) -> dict[str, Path]:
    """The built wheel of each distribution."""
    return {path.name.split("-")[0].replace("_", "-"): path for path in dist.glob("*.whl")}


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third-party versions of the lock file."""
    path = tmp_path_factory.mktemp("lock") / "constraints.txt"
    options = ("--frozen", "--all-packages", "--all-extras", "--no-emit-workspace", "--no-hashes", "--quiet")
    run("uv", "export", *options, "--output-file", path, cwd=ROOT)
    return path


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory, wheels: dict[str, Path], constraints: Path) -> Install:
    """Makes an empty environment of the running Python, and installs the named distributions of ours with their siblings."""

    def make(*names: str) -> Environment:
        directory = tmp_path_factory.mktemp("environment")
        run("uv", "venv", "--allow-existing", "--python", sys.executable, directory, cwd=directory)
        environment = Environment(directory)
        environment.install([wheels[name] for name in names], constraints)
        return environment

    return make
