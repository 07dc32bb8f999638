"""What users install: the wheels of all packages, in empty environments outside the workspace."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]
MODULES = {
    "stream-core": "stream_core",
    "stream-kafka": "stream_kafka",
    "stream-tables": "stream_tables",
    "stream-web": "stream_web",
    "stream-cli": "stream_cli",
    "stream-app": "stream_app",
    "stream-faust": "faust",
}
"""Import name of each distribution."""

IMPORT = """
import importlib, importlib.metadata, json, sys
modules = json.loads(sys.argv[1])
for module in modules.values():
    importlib.import_module(module)
print(json.dumps({name: importlib.metadata.version(name) for name in modules}))
"""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command to its end and return what it wrote; the test fails with its output if it does."""
    done = subprocess.run(command, cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment outside the workspace."""

    directory: Path

    def install(self, wheels: Sequence[Path], constraints: Path) -> None:
        """Install wheel files and what they require, at the versions of the lock file."""
        python = self.directory / "bin" / "python"
        run("uv", "pip", "install", "--python", python, "--constraint", constraints, *wheels, cwd=self.directory)

    def run(self, program: str, *args: str) -> str:
        """Run a program of the environment, with the environment's directory as the working directory."""
        return run(self.directory / "bin" / program, *args, cwd=self.directory)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The built wheel of each distribution."""
    dist = tmp_path_factory.mktemp("dist")
    run("uv", "build", "--all-packages", "--no-sources", "--out-dir", dist, cwd=ROOT)
    return {path.name.split("-")[0].replace("_", "-"): path for path in dist.glob("*.whl")}


@pytest.fixture(scope="module")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The third-party versions of the lock file."""
    path = tmp_path_factory.mktemp("lock") / "constraints.txt"
    options = ("--frozen", "--all-packages", "--all-extras", "--no-emit-workspace", "--no-hashes", "--quiet")
    run("uv", "export", *options, "--output-file", path, cwd=ROOT)
    return path


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """An empty environment of the running Python."""
    directory = tmp_path / "environment"
    run("uv", "venv", "--python", sys.executable, directory, cwd=tmp_path)
    return Environment(directory)


def test_there_is_a_wheel_of_every_package(wheels: dict[str, Path]) -> None:
    """The seven distributions are built, and no others."""
    assert sorted(wheels) == sorted(MODULES)


def test_wheels_carry_the_licence_and_the_type_marker(wheels: dict[str, Path]) -> None:
    """Each wheel brings LICENSE, as the licence asks, and py.typed, so that its types are used."""
    for name, wheel in wheels.items():
        names = zipfile.ZipFile(wheel).namelist()
        assert f"{MODULES[name]}/py.typed" in names
        assert [entry for entry in names if entry.endswith(".dist-info/licenses/LICENSE")], (
            f"{wheel.name} has no LICENSE"
        )


def test_all_wheels_install_and_import_together(
    wheels: dict[str, Path], constraints: Path, environment: Environment
) -> None:
    """In an empty environment all packages import, at one version, and the program shows its help."""
    environment.install(list(wheels.values()), constraints)
    versions = json.loads(environment.run("python", "-I", "-c", IMPORT, json.dumps(MODULES)))
    assert len(set(versions.values())) == 1
    assert "Usage:" in environment.run("stream", "--help")


def test_core_is_enough_for_itself(wheels: dict[str, Path], constraints: Path, environment: Environment) -> None:
    """stream-core imports where none of its siblings is installed."""
    environment.install([wheels["stream-core"]], constraints)
    core = {"stream-core": MODULES["stream-core"]}
    assert json.loads(environment.run("python", "-I", "-c", IMPORT, json.dumps(core))).keys() == core.keys()
