"""The command line of an app: ``app.main()``, the programs, and their commands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import click
import pytest

from .programs import python, write

ROOT = Path(__file__).parents[2]
AGENTS = """\
┌Agents────┬───────────────────────────────────────┬────────────────┐
│ name     │ topic                                 │ help           │
├──────────┼───────────────────────────────────────┼────────────────┤
│ @myagent │ stream-example-examples.agent.myagent │ Example agent. │
└──────────┴───────────────────────────────────────┴────────────────┘
"""


def test_the_topics_of_agents_are_listed() -> None:
    """``python examples/agent.py agents`` prints name, topic and help of each agent."""
    done = python(ROOT, "examples/agent.py", "agents")
    assert (done.returncode, done.stdout) == (0, AGENTS)


def test_a_program_without_arguments_lists_its_commands() -> None:
    """A file that ends with ``app.main()`` prints the commands, and takes its arguments from ``sys.argv``."""
    done = python(ROOT, "examples/agent.py")
    for command in ("agents", "send", "tables", "worker"):
        assert f"\n  {command} " in done.stdout + done.stderr


def test_each_command_has_help() -> None:
    """``worker --help`` tells its options."""
    done = python(ROOT, "examples/agent.py", "worker", "--help")
    assert done.returncode == 0
    assert "--loglevel" in done.stdout


@pytest.mark.parametrize("program", [("-m", "stream_cli"), ("-m", "faust")], ids=["stream", "faust"])
@pytest.mark.parametrize("path", ["myproj", "myproj:faust_app"])
def test_the_program_finds_the_app(tmp_path: Path, program: tuple[str, ...], path: str) -> None:
    """``-A myproj`` is the attribute ``app`` of the module, and ``-A myproj:faust_app`` another one."""
    project = {"myproj.py": "import faust\n\napp = faust.App('myproj')\nfaust_app = faust.App('other')\n"}
    write(tmp_path, project)
    done = python(tmp_path, *program, "-A", path, "tables")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", ["stream_app", "faust"])
def test_the_worker_is_a_command_of_click(package: str) -> None:
    """``faust.cli.worker.worker`` is the command, for programs that extend it."""
    worker: Any = importlib.import_module(f"{package}.cli.worker").worker
    assert isinstance(worker, click.Command)
    assert worker.name == "worker"


def test_the_program_has_the_name_faust() -> None:
    """``python -m faust`` is the program, and calls itself so."""
    done = python(ROOT, "-m", "faust", "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: faust ")


def test_a_command_of_ones_own() -> None:
    """``python examples/command.py example`` runs the function; so does the program by its app."""
    for program in (("examples/command.py",), ("-m", "faust", "-A", "examples.command")):
        done = python(ROOT, *program, "example")
        assert (done.returncode, done.stdout, done.stderr) == (0, "RUNNING EXAMPLE COMMAND\n", "")


def test_the_docstring_of_a_command_is_its_help() -> None:
    """It is what ``--help`` says of the command, and its first line stands in the list of commands."""
    said = "This docstring is used as the command help in --help."
    assert f"\n  {said}\n" in python(ROOT, "examples/command.py", "example", "--help").stdout
    assert re.search(rf"\n  example +{re.escape(said)}\n", python(ROOT, "examples/command.py", "--help").stdout)


def test_commands_are_discovered(tmp_path: Path) -> None:
    """A command in a module of the project is one of the program, by whichever way that is started."""
    app = "import faust\n\napp = faust.App('proj', autodiscover=True, origin='proj')\n"
    body = "from proj.app import app\n\n\n@app.command()\ndef hello():\n    print('HELLO')\n"
    main = "from proj.app import app\n\napp.main()\n"
    write(
        tmp_path, {"proj/__init__.py": "", "proj/app.py": app, "proj/users/commands.py": body, "proj/__main__.py": main}
    )
    (tmp_path / "proj" / "users" / "__init__.py").touch()
    for program in (("-m", "proj"), ("-m", "faust", "-A", "proj")):
        done = python(tmp_path, *program, "hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, "HELLO\n", "")
