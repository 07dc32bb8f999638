"""The command ``new``: a project to begin with, in the layout that the guide to the App suggests."""

from __future__ import annotations

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.output import print_rows
from stream_core.errors import ConfigurationError

__all__ = ["new"]

FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    ".gitignore": "gitignore",
    "$package/__init__.py": "package__init__.py",
    "$package/__main__.py": "package__main__.py",
    "$package/app.py": "app.py",
    "$package/visits/__init__.py": "visits__init__.py",
    "$package/visits/agents.py": "agents.py",
    "$package/visits/commands.py": "commands.py",
    "$package/visits/models.py": "models.py",
    "tests/test_visits.py": "test_visits.py",
}
"""The files of a project, and the templates that they are made from."""

_TAKEN = {"faust", "mode", "stream", "test", "tests", *sys.stdlib_module_names}
"""Names of packages that would hide others, or be hidden by them."""


@click.command()
@click.argument("name")
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), help="Where to write it.  [default: NAME]"
)
@json_option
@pass_invocation
def new(invocation: Invocation, /, name: str, directory: Path | None) -> None:
    """Write a new project: an app with an agent, a table, a command and tests.

    NAME is that of the project, of its program and of its package, in which "-" becomes "_". Nothing that exists is overwritten.

    \b
    Examples:
      stream new shop
      stream new shop --directory projects/shop
    """
    package = name.replace("-", "_")
    if not re.fullmatch(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*", name) or keyword.iskeyword(package):
        raise click.UsageError(
            f"{name!r} cannot be the name of a package: use small letters, digits, '-' and '_', as in my-shop"
        )
    if package in _TAKEN or package.startswith("stream_"):
        raise click.UsageError(
            f"{name!r} is the name of another package, which could not be imported any more: choose another one"
        )
    directory = Path(name) if directory is None else directory
    names = {"name": name, "package": package}
    texts = {
        directory / Template(path).substitute(names): Template(_read(template)).substitute(names)
        for path, template in FILES.items()
    }
    if present := [path for path in texts if path.exists() or path.is_symlink()]:
        raise ConfigurationError(
            f"{present[0]} exists, and nothing is overwritten: name another directory with --directory"
        )
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    if invocation.as_json or not invocation.quiet:
        print_rows("Written", ("file",), [{"file": str(path)} for path in texts], as_json=invocation.as_json)
    if not (invocation.as_json or invocation.quiet):
        click.echo(f"{directory / 'README.md'} says what to type next.")


def _read(template: str) -> str:
    return files("stream_cli").joinpath("template", f"{template}.txt").read_text(encoding="utf-8")
