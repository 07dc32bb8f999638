"""The commands ``agents`` and ``tables``: what an app consists of. No broker is asked."""

from __future__ import annotations

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import short_name
from stream_cli.output import print_rows

__all__ = ["agents", "first_line", "tables"]


@click.command()
@json_option
@pass_invocation
def agents(invocation: Invocation) -> None:
    """List the agents of the app, and the topics that they read.

    The names are those that "stream send" takes. No broker is needed.

    \b
    Examples:
      stream -A bank agents
      stream -A bank agents --json
      python bank.py agents
    """
    known = invocation.whole_app().agents
    rows = [
        {
            "name": short_name(name, known),
            "topic": str(agent.topic),
            "help": first_line(agent.help),
            "full_name": name,
        }
        for name, agent in sorted(known.items())
    ]
    print_rows("Agents", ("name", "topic", "help"), rows, as_json=invocation.as_json)


@click.command()
@json_option
@pass_invocation
def tables(invocation: Invocation) -> None:
    """List the tables of the app, and their changelogs.

    A changelog is the topic that keeps the changes of a table. No broker is needed.

    \b
    Examples:
      stream -A bank tables
      stream -A bank tables --json
    """
    known = invocation.whole_app().tables
    rows = [
        {"name": name, "changelog": table.changelog, "help": first_line(table.help)}
        for name, table in sorted(known.items())
    ]
    print_rows("Tables", ("name", "changelog", "help"), rows, as_json=invocation.as_json)


def first_line(text: str) -> str:
    """Return the first line of a docstring."""
    return text.strip().partition("\n")[0].strip()
