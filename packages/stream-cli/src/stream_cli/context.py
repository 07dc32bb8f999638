"""What all commands share: the global options, and the app they are about."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields
from pathlib import Path

import click

from stream_cli.locate import Application, locate
from stream_core.errors import ConfigurationError, StreamError
from stream_core.stacks import report_of

__all__ = ["Invocation", "json_option", "pass_invocation"]

_HOW = """this command needs an app, and none was given.

  stream -A bank {command}            the attribute "app" of bank.py
  stream -A bank:accounts {command}   another attribute
  python bank.py {command}            when bank.py ends with app.main()"""


@dataclass
class Invocation:
    """One call of the program.

    Attributes:
        bound: the app, when the program was started by it (``app.main()``).
        path: where to find the app, as ``-A`` gave it.
        workdir: the directory to work in.
        datadir: the directory for the state of the worker, in place of the app's own setting.
        loop: the event loop: ``auto``, ``aio`` or ``uvloop``.
        quiet: print nothing but errors.
        debug: log everything.
        as_json: print JSON and nothing else.
    """

    bound: Application | None = None
    path: str | None = None
    workdir: Path | None = None
    datadir: Path | None = None
    loop: str = "auto"
    quiet: bool = False
    debug: bool = False
    as_json: bool = False

    @classmethod
    def of(cls, context: click.Context) -> Invocation:
        """Return that of a call, and change to its directory when it is first asked for: what is imported is looked for there."""
        root = context.find_root()
        if not isinstance(root.obj, cls):
            given = {field.name: root.params.get(field.name) for field in fields(cls) if root.params.get(field.name)}
            root.obj = cls(**{"bound": root.obj, **given})
            if root.obj.workdir is not None:
                os.chdir(root.obj.workdir)
        found: Invocation = root.obj
        return found

    @property
    def has_app(self) -> bool:
        """Whether an app was given."""
        return self.path is not None or self.bound is not None

    def app(self) -> Application:
        """Return the app that this call is about, with the global options applied to its settings.

        Raises:
            click.UsageError: none was given.
            ConfigurationError: it could not be found.
        """
        if not self.has_app:
            raise click.UsageError(_HOW.format(command=click.get_current_context().info_name))
        app = locate(self.path) if self.path is not None else self.bound
        assert app is not None
        if self.datadir is not None:
            app.conf.datadir = self.datadir
        return app

    def whole_app(self) -> Application:
        """Return the app with everything that belongs to it imported, for commands that do not run it."""
        return self.finalized(self.app())

    @staticmethod
    def finalized(app: Application) -> Application:
        """Return ``app``, with everything that belongs to it imported.

        Raises:
            ConfigurationError: it adds a command that the program has itself, a module of it cannot be imported, or a function that
                configures it raised; the message has the traceback of the user's code.
        """
        try:
            app.finalize()
        except StreamError:
            raise
        except Exception as error:
            raise ConfigurationError(f"app {app.id} could not be configured:\n{report_of(error)}") from error
        context = click.get_current_context(silent=True)
        own = getattr(context.find_root().command, "own", ()) if context is not None else ()
        if taken := sorted(typed for typed in app.commands if typed.partition(" ")[0] in own):
            raise ConfigurationError(
                f"app {app.id} adds the command {taken[0]!r}, which the program has itself: give it another name, app.command(name=...)"
            )
        return app


pass_invocation = click.make_pass_decorator(Invocation)
"""Decorator for commands: hands over the :class:`Invocation` as first argument."""


def _print_json(context: click.Context, _: click.Parameter, chosen: bool) -> None:
    if chosen:
        context.ensure_object(Invocation).as_json = True


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_print_json,
    help="Print JSON, for programs, and nothing else.",
)
"""Decorator for commands that print a table: the global option may stand after their name too."""
