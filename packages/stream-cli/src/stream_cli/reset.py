"""The commands ``reset`` and ``clean-versions``: delete what an app keeps on this machine, after saying what that is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.locate import Application
from stream_cli.output import print_rows
from stream_cli.planning import dry_run_option, go_on, yes_option

__all__ = ["clean_versions", "reset"]


@click.command()
@dry_run_option
@yes_option
@json_option
@pass_invocation
def reset(invocation: Invocation, /, dry_run: bool, yes: bool) -> None:
    """Delete the local stores of the tables: workers recover them from their changelogs.

    What is on the broker stays as it is: topics, changelogs and offsets. It refuses while a worker with this data directory runs. No
    broker is needed.

    \b
    Examples:
      stream -A bank reset --dry-run
      stream -A bank reset
      stream -A bank -D /var/lib/bank reset --yes
    """
    app = invocation.whole_app()
    _delete(invocation, app, app.local_state.tables(), "stores of tables", dry_run=dry_run, yes=yes)


@click.command("clean-versions")
@dry_run_option
@yes_option
@json_option
@pass_invocation
def clean_versions(invocation: Invocation, /, dry_run: bool, yes: bool) -> None:
    """Delete the directories of versions of the app before this one, App(version=...).

    It refuses while a worker of such a version runs with this data directory. No broker is needed; what older versions have on it stays.

    \b
    Examples:
      stream -A bank clean-versions --dry-run
      stream -A bank clean-versions --yes
    """
    app = invocation.whole_app()
    _delete(invocation, app, app.local_state.old_versions(), "directories of old versions", dry_run=dry_run, yes=yes)


def _delete(
    invocation: Invocation, app: Application, paths: Sequence[Path], what: str, *, dry_run: bool, yes: bool
) -> None:
    state = app.local_state
    with state.held(paths):
        pass  # a worker that runs is told before the question
    rows = [{"directory": str(path)} for path in paths]
    if rows or invocation.as_json:
        print_rows("Delete", ("directory",), rows, as_json=invocation.as_json)
    if go_on(invocation, f"Delete these {len(paths)} {what}?", anything=bool(paths), dry_run=dry_run, yes=yes):
        with state.held(paths):  # one may have started while the question waited, for which none has to wait
            state.delete(paths)
