"""Run the program: parse the global options, find the command, turn errors into one clear sentence and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, NoReturn

import click

from stream_cli import plugins
from stream_cli.context import Invocation
from stream_cli.locate import Application
from stream_core.errors import StreamError
from stream_core.event_loops import LOOPS
from stream_core.signals import outlive_looks

__all__ = ["call_command", "cli", "run"]

_DIRECTORY = click.Path(file_okay=False, path_type=Path)
_PRESENT_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)

_OWN = {
    "agents": "listing",
    "clean-versions": "reset",
    "completion": "completion",
    "dlq": "dlq",
    "graph": "graph",
    "lag": "topics",
    "model": "models",
    "models": "models",
    "new": "new",
    "offsets": "offsets",
    "reset": "reset",
    "send": "send",
    "settings": "settings",
    "table": "table",
    "tables": "listing",
    "tail": "tail",
    "topics": "topics",
    "worker": "worker",
}
"""The commands of the program, and the modules of this package that have them."""


class _Program(click.Group):
    """Own commands first, then those that other packages and the app add.

    None is imported before it is needed: a worker would keep in memory what it has loaded.
    """

    own = frozenset(_OWN)
    """The names of its own commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.own, *plugins.names(), *self._listed(ctx)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.own:
            command: click.Command = getattr(_module(_OWN[cmd_name]), cmd_name.replace("-", "_"))
            return command
        return plugins.load(cmd_name) or self._of_app(ctx).get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            near = get_close_matches(name, self.list_commands(ctx), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else " --help lists them."
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            Invocation.of(ctx)
            return super().invoke(ctx)
        except StreamError as error:
            raise click.ClickException(str(error)) from error

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the program. Where standard output cannot be written to, that is a sentence; click ends quietly when its reader has gone."""
        try:
            return super().main(*args, **extra)
        except OSError as error:
            if not _module("output").is_of_output(error):
                raise
            sys.stdout = io.StringIO()  # else Python fails once more at its end, with what is in the buffer
            said = [
                f"standard output cannot be written to: {error.strerror or error}",
                *getattr(error, "__notes__", ()),
            ]
            click.ClickException("; ".join(said)).show()
            sys.exit(1)

    def _of_app(self, ctx: click.Context) -> dict[str, click.Command]:
        """Return the commands of the app, if one was given."""
        invocation = Invocation.of(ctx)
        if not invocation.has_app:
            return {}
        found: dict[str, click.Command] = _module("commands").commands_of(invocation.whole_app())
        return found

    def _listed(self, ctx: click.Context) -> Iterable[str]:
        """Return the names of them for the help, or the completion, which an app that cannot be imported must not keep from coming."""
        try:
            return self._of_app(ctx)
        except Exception as error:
            if not ctx.resilient_parsing:
                said = str(error).partition("\n")[0]
                click.echo(f"The commands of the app are missing from this list: {said}", err=True)
            return ()


@click.group(cls=_Program, epilog="Exit codes: 0 done, 1 something failed, 2 the arguments are wrong.")
@click.option(
    "-A",
    "--app",
    "path",
    metavar="MODULE[:NAME]",
    is_eager=True,
    help="The app: a module, and its attribute when that is not 'app'.",
)
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors and the log.")
@click.option(
    "--debug", is_flag=True, help="Log everything, as worker -l debug does; a worker also has a debugging console."
)
@click.option(
    "-W",
    "--workdir",
    type=_PRESENT_DIRECTORY,
    envvar=["FAUST_WORKDIR", "F_WORKDIR"],
    is_eager=True,
    help="Change to this directory first.",
)
@click.option(
    "-D", "--datadir", type=_DIRECTORY, help="Directory for the state of workers.  [default: setting datadir]"
)
@click.option(
    "-L",
    "--loop",
    type=click.Choice(LOOPS),
    default="auto",
    envvar=["FAUST_LOOP", "F_LOOP"],
    help="The event loop; aio is Python's own.  [default: uvloop where it is installed]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs, where a table or a result is printed.")
@click.version_option(version("stream-cli"), prog_name="stream")
def cli(**_: Any) -> None:
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


def _module(name: str) -> Any:
    return importlib.import_module(f"stream_cli.{name}")


def run(app: Application | None, argv: Sequence[str]) -> NoReturn:
    """Run the program with arguments, and exit the process.

    Args:
        app: the app that the commands are about unless ``-A`` names another; ``None`` when only ``-A`` does.
        argv: the arguments, without the name of the program.
    """
    _open_what_is_closed()
    outlive_looks()
    cli.main(args=list(argv), prog_name=None if app is not None else "stream", obj=app)
    raise AssertionError("click exits the process")


def _open_what_is_closed() -> None:
    """Put an empty file in the place of each standard stream that the caller has closed, as ``<&-`` does in a shell.

    A socket would take the free descriptor otherwise: programs that this one starts would read from it, and uvloop aborts the process.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            # The lowest that is free, which is this one: those below it are open by now.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            if getattr(sys, name) is None:  # else the program has put something in its place
                setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - for the life of the program


def call_command(
    command: str,
    args: Sequence[str] = (),
    *,
    app: Any = None,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> tuple[int, IO[str], IO[str]]:
    """Call a command of the program in this process, for tests and scripts.

    Args:
        command: its name.
        args: its arguments.
        app: the app that it is about; ``None`` where the arguments name one, or none is needed.
        stdout: gets what it prints; a new buffer when left out.
        stderr: gets its errors likewise.

    Returns:
        the exit code, and both of these.
    """
    out, err = stdout or io.StringIO(), stderr or io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            cli.main([*command.split(), *args], prog_name="stream", obj=app)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        else:
            code = 0
    return code, out, err
