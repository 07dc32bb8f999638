"""The command ``graph``: which agent reads which topic, and where its results go, as far as the definitions say it."""

from __future__ import annotations

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.names import short_name
from stream_cli.output import print_json
from stream_core.engine.graph import edges_of, graph_json, mermaid

__all__ = ["graph"]


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "mermaid"]),
    default="text",
    show_default=True,
    help="How to print it.",
)
@json_option
@pass_invocation
def graph(invocation: Invocation, /, form: str) -> None:
    """Show what flows where in the app: topics, agents, their sinks and dead letters, tables, and what the bodies of agents name.

    It shows what the definitions say. Topics of through() and group_by() are known to a worker that runs: see its page /graph. Mermaid
    is what many documents and wikis draw by themselves. No broker is needed.

    \b
    Examples:
      stream -A bank graph
      stream -A bank graph --format mermaid > bank.mmd
      stream -A bank graph --json
    """
    app = invocation.whole_app()
    edges = edges_of(app.id, app.agents, app.tables, lambda name: short_name(name, app.agents))
    if invocation.as_json:
        print_json(graph_json(edges))
    elif form == "mermaid":
        click.echo(mermaid(edges))
    else:
        for source, target, label in edges:
            click.echo(
                f"{source.kind} {source.name} -> {target.kind} {target.name}" + (f"  ({label})" if label else "")
            )
