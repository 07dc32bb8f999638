"""The commands ``agents`` and ``tables``: what an app consists of, and what of it is on this machine. No broker is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import short_name
from stream_cli.output import in_units, print_rows

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
    """List the tables of the app, their changelogs, and their stores on this machine.

    A changelog is the topic that keeps the changes of a table. Of each store on disk its size is shown, and the changelog offset up to
    which it has everything; a store that a worker has open does not tell that. No broker is needed.

    \b
    Examples:
      stream -A bank tables
      stream -A bank tables --json
    """
    app = invocation.whole_app()
    rows: list[dict[str, Any]] = []
    for name, table in sorted(app.tables.items()):
        parts = [{**part._asdict(), "path": str(part.path)} for part in app.local_state.stored(table).partitions()]
        row = {"name": name, "changelog": table.changelog, "help": first_line(table.help), "stores": parts}
        if not invocation.as_json:
            row |= {
                "on disk": in_units(sum(part["bytes"] for part in parts)) if parts else "",
                "positions": _positions(parts),
            }
        rows.append(row)
    on_disk = ("on disk", "positions") if any(row["stores"] for row in rows) else ()
    print_rows("Tables", ("name", "changelog", *on_disk, "help"), rows, as_json=invocation.as_json)


def _positions(parts: Sequence[Mapping[str, Any]]) -> str:
    """Return where each store is; several of a partition are copies."""
    return ", ".join(
        f"{part['partition']}: {part['state'] if part['position'] is None else part['position']}" for part in parts
    )


def first_line(text: str) -> str:
    """Return the first line of a docstring."""
    return text.strip().partition("\n")[0].strip()
