"""The command ``settings``: what an app is configured with, and by what."""

from __future__ import annotations

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import suggest
from stream_cli.output import print_rows
from stream_core.errors import UnknownSettingError

__all__ = ["settings"]


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--changed", is_flag=True, help="Leave out what has its default.")
@json_option
@pass_invocation
def settings(invocation: Invocation, /, names: tuple[str, ...], changed: bool) -> None:
    """List the settings of the app: the value of each, and where it comes from.

    That is an argument of the app, an assignment, an environment variable, a configuration, or the default. Credentials are shown as
    ***. --json has the meaning of each setting, its default and its environment variable, too. No broker is needed.

    \b
    Examples:
      stream -A bank settings
      stream -A bank settings --changed
      stream -A bank settings broker store
      stream -A bank settings --json
    """
    rows = [row._asdict() for row in invocation.whole_app().conf.describe()]
    known = [row["name"] for row in rows]
    for name in names:
        if name not in known:
            raise UnknownSettingError(
                f"there is no setting {name!r}; {suggest(name, known) or '`stream settings` lists all'}"
            )
    rows = [row for row in rows if (not names or row["name"] in names) and not (changed and row["source"] == "default")]
    print_rows("Settings", ("name", "value", "source"), rows, as_json=invocation.as_json)
