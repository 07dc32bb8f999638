"""What commands that delete or change something have in common: a plan, a question, and options that answer it."""

from __future__ import annotations

import click

from stream_cli.context import Invocation

__all__ = ["dry_run_option", "go_on", "say", "yes_option"]

dry_run_option = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
"""Decorator for commands that change something."""

yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
"""Decorator for commands that change something."""


def go_on(invocation: Invocation, question: str, *, anything: bool, dry_run: bool, yes: bool) -> bool:
    """Ask whether to do what was planned, unless an option has answered that.

    Raises:
        click.UsageError: JSON was asked for and no option answers: there is nobody to ask.
        click.Abort: the answer was no.
    """
    if not anything:
        say(invocation, "There is nothing to do.")
        return False
    if dry_run:
        say(invocation, "Nothing was done, because of --dry-run.")
        return False
    if yes:
        return True
    if invocation.as_json:
        raise click.UsageError("with --json nobody is asked: give --yes, or --dry-run")
    return click.confirm(question, abort=True, err=True)


def say(invocation: Invocation, sentence: str) -> None:
    """Tell what became of it on standard error, unless somebody wants JSON or quiet."""
    if not (invocation.quiet or invocation.as_json):
        click.echo(sentence, err=True)
