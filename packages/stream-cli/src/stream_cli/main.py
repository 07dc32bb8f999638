"""Run the program: parse the global options, find the command, turn errors into one clear sentence and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import click

from stream_cli import plugins
from stream_cli.completion import completion
from stream_cli.context import Invocation
from stream_cli.listing import agents, tables
from stream_cli.locate import Application
from stream_cli.models import model, models
from stream_cli.send import send
from stream_cli.worker import worker
from stream_core.errors import StreamError
from stream_core.event_loops import LOOPS

__all__ = ["cli", "main", "run"]

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_PRESENT_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


class _Program(click.Group):
    """Own commands first, then those that other packages add, which are not imported before they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *plugins.names()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or plugins.load(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StreamError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Program, epilog="Exit codes: 0 done, 1 something failed, 2 the arguments are wrong.")
@click.option(
    "-A", "--app", "path", metavar="MODULE[:NAME]", help="The app: a module, and its attribute when that is not 'app'."
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and the log.")
@click.option("--debug", is_flag=True, help="Log everything, as worker -l debug does.")
@click.option("-W", "--workdir", type=_PRESENT_DIRECTORY, help="Change to this directory first.")
@click.option(
    "-D", "--datadir", type=_DIRECTORY, help="Directory for the state of workers.  [default: setting datadir]"
)
@click.option(
    "-L",
    "--loop",
    type=click.Choice(LOOPS),
    default="auto",
    help="The event loop; aio is Python's own.  [default: uvloop where it is installed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs, where a table or a result is printed.")
@click.version_option(version("stream-cli"), prog_name="stream")
@click.pass_context
def cli(context: click.Context, /, path: str | None, **options: Any) -> None:
    """Stream processing for Kafka.

    \b
    Examples:
      stream broker                       a Kafka for development, on this machine
      stream -A bank worker               run the app in bank.py
      stream -A bank agents               its agents, and the topics that they read
      stream -A bank send @count hello    send something to one of them
      stream -A bank:accounts worker      the app is the attribute "accounts"
      python bank.py worker               the same when bank.py ends with app.main()
      stream worker --help                everything about one command
    """
    invocation = Invocation(context.obj, path, **options)
    if invocation.workdir is not None:
        os.chdir(invocation.workdir)
    context.obj = invocation


for _command in (agents, completion, model, models, send, tables, worker):
    cli.add_command(_command)


def run(app: Application | None, argv: Sequence[str]) -> NoReturn:
    """Run the program with arguments, and exit the process.

    Args:
        app: the app that the commands are about unless ``-A`` names another; ``None`` when only ``-A`` does.
        argv: the arguments, without the name of the program.
    """
    cli.main(args=list(argv), prog_name=None if app is not None else "stream", obj=app)
    raise AssertionError("click exits the process")


def main() -> NoReturn:
    """Run the ``stream`` program: its entry point."""
    run(None, sys.argv[1:])
