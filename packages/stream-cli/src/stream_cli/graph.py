"""The command ``graph``: which agent reads which topic, and where its results go, as far as the definitions say it."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

from stream_cli.context import Invocation, json_option, pass_invocation
from stream_cli.locate import Application
from stream_cli.names import short_name
from stream_cli.output import print_json
from stream_core.agents.agent import Agent
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel

__all__ = ["graph"]


class Edge(NamedTuple):
    """From what to what something goes, and why; each end is a kind and a name."""

    source: tuple[str, str]
    target: tuple[str, str]
    label: str = ""


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
    """Show what flows where in the app: topics, agents, their sinks and dead letters, tables.

    It shows what the definitions say. What the bodies of agents send, and topics of through() and group_by(), are known to a worker
    that runs: see the web page of it. Mermaid is what many documents and wikis draw by themselves. No broker is needed.

    \b
    Examples:
      stream -A bank graph
      stream -A bank graph --format mermaid > bank.mmd
      stream -A bank graph --json
    """
    app = invocation.whole_app()
    edges = _edges(app)
    if invocation.as_json:
        print_json(
            [
                {
                    "from": {"kind": one.source[0], "name": one.source[1]},
                    "to": {"kind": one.target[0], "name": one.target[1]},
                }
                | {"label": one.label}
                for one in edges
            ]
        )
    elif form == "mermaid":
        click.echo(_mermaid(edges))
    else:
        for source, target, label in edges:
            click.echo(f"{source[0]} {source[1]} -> {target[0]} {target[1]}" + (f"  ({label})" if label else ""))


def _edges(app: Application) -> list[Edge]:
    edges = []
    for full, agent in sorted(app.agents.items()):
        me = ("agent", short_name(full, app.agents))
        edges += [Edge(source, me) for source in _places(agent.topic)]
        for sink in agent.sinks:
            edges += [Edge(me, target, "sink") for target in _sink(app, sink)]
        policy = agent.on_failure
        if policy.action == "dead_letter":
            edges.append(Edge(me, ("topic", policy.topic or f"{app.id}-dead-letter"), "what fails"))
    edges += [
        Edge(("table", name), ("topic", table.changelog), "changes") for name, table in sorted(app.tables.items())
    ]
    return edges


def _places(topic: Any) -> list[tuple[str, str]]:
    if isinstance(topic, Channel):
        return [("channel", str(topic))]
    return [("topic", part.name) for part in topic.parts] or [("topic", str(topic))]


def _sink(app: Application, sink: Any) -> list[tuple[str, str]]:
    if isinstance(sink, Agent):
        return [("agent", short_name(sink.name, app.agents))]
    if isinstance(sink, Topic | Channel):
        return _places(sink)
    return [("function", getattr(sink, "__name__", type(sink).__name__))]


_SHAPES = {"topic": "[({})]", "agent": "[{}]", "table": "[/{}/]", "channel": "([{}])", "function": ">{}]"}


def _mermaid(edges: list[Edge]) -> str:
    nodes = list(dict.fromkeys(end for edge in edges for end in (edge.source, edge.target)))
    ids = {node: f"n{number}" for number, node in enumerate(nodes)}
    lines = ["flowchart LR"]
    for node in nodes:
        name = node[1].replace('"', "#quot;")
        lines.append(f"    {ids[node]}" + _SHAPES[node[0]].format(f'"{name}"'))
    for source, target, label in edges:
        arrow = f"-- {label} -->" if label else "-->"
        lines.append(f"    {ids[source]} {arrow} {ids[target]}")
    return "\n".join(lines)
