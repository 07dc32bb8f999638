"""Commands that other packages add."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner

from stream_cli import plugins
from stream_cli.main import cli

METADATA = "Metadata-Version: 2.1\nName: extra-commands\nVersion: 1\n"


def install(directory: Path, *points: EntryPoint) -> None:
    """Install a distribution with these entry points into ``directory``, as a package manager lays it out."""
    info = directory / "extra_commands-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    lines = [f"{point.name} = {point.value}" for point in points]
    (info / "entry_points.txt").write_text("\n".join([f"[{plugins.GROUP}]", *lines]))


def point(name: str, value: str) -> EntryPoint:
    """An entry point of our group."""
    return EntryPoint(name, value, plugins.GROUP)


def test_command_of_another_package(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed command is listed and runs, without an app."""
    install(workdir, point("hello", "hello_command:hello"))
    (workdir / "hello_command.py").write_text("import click\n\n@click.command()\ndef hello():\n    click.echo('hi')\n")
    monkeypatch.syspath_prepend(workdir)
    assert "hello" in plugins.names()
    assert CliRunner().invoke(cli, ["hello"]).stdout == "hi\n"


@pytest.mark.parametrize(
    ("value", "reason"), [("absent_module:x", "No module named 'absent_module'"), ("os:sep", "of type str")]
)
def test_command_that_cannot_be_loaded(workdir: Path, monkeypatch: pytest.MonkeyPatch, value: str, reason: str) -> None:
    """A broken command says why when it is called, and leaves the help and the other commands alone."""
    install(workdir, point("hello", value))
    monkeypatch.syspath_prepend(workdir)
    result = CliRunner().invoke(cli, ["hello"])
    assert result.exit_code == 1
    assert f"the command 'hello' ({value} of extra-commands) cannot be loaded" in result.stderr
    assert reason in result.stderr
    assert "worker" in CliRunner().invoke(cli, ["--help"]).stdout


def test_command_that_nobody_has() -> None:
    """A name that no package has is not a command."""
    assert plugins.load("absent") is None
