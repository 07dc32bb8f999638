"""The command ``worker``: run one worker of an app in this process."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from stream_cli import banner
from stream_cli.context import Invocation, pass_invocation
from stream_cli.locate import Application
from stream_cli.processes import Child, supervise
from stream_cli.recovering import recovery_bar
from stream_cli.times import Seconds

__all__ = ["worker"]

_SHORT = {"CRIT": "CRITICAL", "WARN": "WARNING"}
_LEVELS = ("CRIT", "CRITICAL", "ERROR", "WARN", "WARNING", "INFO", "DEBUG")


@click.command()
@click.option(
    "-l",
    "--loglevel",
    type=click.Choice(_LEVELS, case_sensitive=False),
    help="Least severity that is logged.  [default: INFO; DEBUG with --debug]",
)
@click.option(
    "-f",
    "--logfile",
    type=click.Path(dir_okay=False, writable=True),
    help="Log to this file.  [default: standard error]",
)
@click.option(
    "--log-format",
    type=click.Choice(("text", "json")),
    help="How the log is written.  [default: text, in colours on a terminal]",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    default=1,
    help="Run this many workers, and start again those that end.  [default: 1]",
)
@click.option(
    "--blocking-timeout",
    type=Seconds(min_open=True),
    metavar="SECONDS",
    help="Log who blocks the event loop for longer.  [default: setting blocking_timeout; 10 with --debug]",
)
@click.option(
    "--console-port",
    type=click.IntRange(1, 65533),
    envvar=["FAUST_CONSOLE_PORT", "F_CONSOLE_PORT"],
    help="With --debug, first port of the debugging console.  [default: 50101]",
)
@click.option(
    "--fail-fast", is_flag=True, help="Exit with 1 when no broker answers at start, instead of waiting for one."
)
@click.option(
    "--with-web/--without-web", default=None, help="Start the web server, or do not.  [default: setting web_enabled]"
)
@click.option(
    "-p", "--web-port", type=click.IntRange(1, 65535), help="Port of the web server.  [default: setting web_port]"
)
@click.option("-b", "--web-bind", help="Address that the web server listens on.  [default: setting web_bind]")
@pass_invocation
@click.pass_context
def worker(
    context: click.Context,
    invocation: Invocation,
    /,
    loglevel: str | None,
    logfile: str | None,
    fail_fast: bool,
    processes: int,
    with_web: bool | None,
    web_port: int | None,
    web_bind: str | None,
    **more: Any,
) -> None:
    """Run a worker of the app until Ctrl+C or SIGTERM.

    It finishes the events it has begun, commits, and leaves the group; a second signal ends it at once. Start more workers to
    share the partitions among them, or have --processes start them: each is a process of its own, and is started again when it ends
    by itself. The exit code is 0 after a stop that was asked for, else 1.

    \b
    Examples:
      stream -A bank worker
      stream -A bank worker -l debug --web-port 6067
      stream -A bank --datadir /var/lib/bank worker -l info -f bank.log
      stream -A bank worker --processes 4
    """
    child = Child.of_environment()
    if child is not None:
        child.end_with_supervisor()
    app = invocation.app()
    _apply_web(app, with_web, web_port, web_bind)
    invocation.finalized(app)
    _print_promptly()
    level = _SHORT.get(loglevel, loglevel) if loglevel else "DEBUG" if invocation.debug else "INFO"
    if not invocation.quiet and child is None:
        banner.show(app, log=f"{level} to {logfile or 'standard error'}")
    options = {name: value for name, value in more.items() if value is not None}
    if invocation.debug:
        options["debug"] = True
    runnable = app.worker(loop=invocation.loop, loglevel=level, logfile=logfile, fail_fast=fail_fast, **options)
    if processes > 1 and child is None:
        context.exit(supervise(processes, level=level, logfile=logfile))
    if child is not None and (web_port is not None or "web_port" in app.conf.values):
        app.conf.web_port += child.number  # one that nobody has chosen goes on to the next free one by itself
    with recovery_bar(lambda: app.engine.status().recovery, shown=not invocation.quiet and child is None):
        code = runnable.execute_from_commandline()
    context.exit(code)


def _print_promptly() -> None:
    """Let what agents print appear line by line, in a pipe or file too."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


def _apply_web(app: Application, with_web: bool | None, web_port: int | None, web_bind: str | None) -> None:
    for name, value in (("web_enabled", with_web), ("web_port", web_port), ("web_bind", web_bind)):
        if value is not None:
            setattr(app.conf, name, value)
