"""Projects that are installed: each of the ways that the page on layouts shows gives a program of its own."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from .conftest import Install
from .environments import MODULES, ROOT, Environment, run

PAGE = (ROOT / "docs" / "layouts.md").read_text(encoding="utf-8")
PROJECT = {
    "README.rst": "Proj\n",
    "MANIFEST.in": "include README.rst\n",
    "proj/__init__.py": "",
    "proj/users/__init__.py": "",
    "proj/users/agents.py": """
        import os, signal
        from proj.app import app

        @app.agent("users")
        async def greet(stream):
            async for name in stream:
                print("hello", name.decode(), flush=True)
                os.kill(os.getpid(), signal.SIGTERM)

        @app.task
        async def sign_up():
            await greet.cast(b"ola")
    """,
}


def block(language: str, within: str) -> str:
    """The block of the page in this language with these words in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if within in text]
    return str(found)


FILES = {"pyproject": {"pyproject.toml": block("toml", "[project]")}, "setup": {"setup.py": block("python", "setup(")}}
"""What makes the project one that can be installed, as the page has it."""


@pytest.fixture(scope="module")
def environment(install: Install) -> Environment:
    """An environment with all of our packages, and nothing that only the workspace has."""
    return install(*MODULES)


@pytest.mark.parametrize("editable", [True, False], ids=["editable", "copied"])
@pytest.mark.parametrize("kind", FILES)
def test_a_project_is_a_program(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, editable: bool
) -> None:
    """``pip install`` makes ``proj``: a worker of the agents in its packages, wherever it is called; ``-m proj`` is the same."""
    monkeypatch.setenv("BROKER_URL", "memory://")
    monkeypatch.setenv("APP_WEB_ENABLED", "false")
    parts = {"proj/app.py": block("python", "# proj/app.py"), "proj/__main__.py": block("python", "# proj/__main__.py")}
    for name, text in {**PROJECT, **parts, **FILES[kind]}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    arguments = ["--editable"] if editable else []
    # what the project requires is there already: no stranger of that name is fetched
    options = ("--no-deps", "--reinstall", "--python", environment.python)
    run("uv", "pip", "install", *options, *arguments, tmp_path, cwd=environment.directory)
    for program in (("proj",), ("python", "-m", "proj")):
        assert "greet" in environment.run(*program, "agents")
        printed = environment.run(*program, "worker", "-l", "info")
        assert "hello ola" in printed
        assert "worker of proj has stopped: committed, left the group" in printed
    environment.uninstall("proj")


def test_django_that_is_not_installed(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Django project without Django is refused with what to do; a program that finds nothing by itself does not look for it."""
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")
    program = "import stream_app\napp = stream_app.App('proj', broker='memory://', autodiscover={})\napp.finalize()\n"
    refused = environment.execute(program.format(True), code=1)
    assert "DJANGO_SETTINGS_MODULE=proj.settings names a Django project, and Django is not installed" in refused
    assert "pip install django, or unset the variable" in refused
    environment.execute(program.format(False))
