"""The wheels themselves: what is in them, and that they install together, with uv and with pip."""

from __future__ import annotations

import json
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from .conftest import Install
from .environments import MODULES, Environment, run

IMPORT = """
import importlib, importlib.metadata, json, sys
modules = json.loads(sys.argv[1])
for module in modules.values():
    importlib.import_module(module)
print(json.dumps({name: importlib.metadata.version(name) for name in modules}))
"""


def metadata(wheel: Path) -> Message:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


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


def test_wheels_introduce_themselves(wheels: dict[str, Path]) -> None:
    """Each wheel has its own summary and README, the licence, the oldest Python, classifiers that say which, and no tests."""
    said = {name: metadata(wheel) for name, wheel in wheels.items()}
    assert len({about["Summary"] for about in said.values()}) == len(wheels)
    for name, about in said.items():
        assert str(about.get_payload()).startswith(f"# {name}\n")
        assert about["Description-Content-Type"] == "text/markdown"
        assert about["License-Expression"] == "Apache-2.0"
        assert about["Requires-Python"] == ">=3.11"
        assert {
            "Framework :: AsyncIO",
            "Operating System :: OS Independent",
            "Programming Language :: Python :: 3.11",
            "Typing :: Typed",
        } <= set(about.get_all("Classifier", []))
        assert about.get_all("Keywords")
        tops = {entry.split("/")[0] for entry in zipfile.ZipFile(wheels[name]).namelist()}
        plugin = {"stream_pytest"} if name == "stream-app" else set[str]()
        assert tops == plugin | {MODULES[name], f"{name.replace('-', '_')}-{about['Version']}.dist-info"}


def test_all_wheels_install_and_import_together(everything: Environment) -> None:
    """In an empty environment all packages import, at one version, and the program shows its help."""
    versions = json.loads(everything.run("python", "-I", "-c", IMPORT, json.dumps(MODULES)))
    assert len(set(versions.values())) == 1
    assert "Usage:" in everything.run("stream", "--help")


def test_pip_installs_from_a_directory(dist: Path, tmp_path: Path) -> None:
    """Plain pip takes our packages from the directory with the wheels, never a stranger of the same name from an index."""
    environment = Environment(tmp_path)
    run("uv", "venv", "--seed", "--allow-existing", "--python", sys.executable, tmp_path, cwd=tmp_path)
    options = ("--quiet", "--disable-pip-version-check", "--find-links", str(dist))
    environment.run("pip", "install", *options, "stream-cli")
    environment.run("pip", "check", "--disable-pip-version-check")
    assert "stream broker" in environment.run("python", "-m", "stream_cli", "--help")


@pytest.fixture(scope="module")
def everything(install: Install) -> Environment:
    """What ``pip install stream-faust`` brings."""
    return install(*MODULES)
