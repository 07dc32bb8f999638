"""What flows where in an app, as far as its definitions say it; and, of one that runs, what the bodies of agents have made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from stream_core.agents.agent import Agent
from stream_core.functions import function_of
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel

__all__ = [
    "Edge",
    "Node",
    "edges_of",
    "graph_json",
    "mermaid",
    "names_ending_in",
    "nodes_of",
    "shortest_end",
]


class Node(NamedTuple):
    """One end of an edge.

    Attributes:
        kind: ``topic``, ``agent``, ``table``, ``channel``, ``function`` or ``stream``.
        name: its name.
    """

    kind: str
    name: str


class Edge(NamedTuple):
    """From what to what something goes.

    Attributes:
        source: where it comes from.
        target: where it goes.
        label: why; empty where that is plain.
    """

    source: Node
    target: Node
    label: str = ""


def edges_of(
    app_id: str,
    agents: Mapping[str, Agent],
    tables: Mapping[str, Any],
    shown: Callable[[str], str] = str,
    pipes: Iterable[tuple[str, str, str]] = (),
) -> list[Edge]:
    """Give what flows where: from topics to agents, to sinks, dead letters and what bodies name; from tables to changelogs.

    A body names a topic, table or agent where it uses it by a global name, or one of the function around it. What it finds in another
    way, as an attribute for instance, is not seen.

    Args:
        app_id: id of the app.
        agents: its agents by name.
        tables: its tables by name; each has a ``changelog``.
        shown: makes of the full name of an agent what is shown.
        pipes: of an app that runs what :attr:`~stream_core.engine.topology.Topology.pipes` gives.
    """
    edges: dict[Edge, None] = {}
    for full, agent in sorted(agents.items()):
        me = Node("agent", shown(full))
        sources = list(_places(agent.topic))
        known = {*sources}
        edges.update((Edge(source, me), None) for source in sources)
        for sink in agent.sinks:
            targets = list(_sink(sink, shown))
            known.update(targets)
            edges.update((Edge(me, target, "sink"), None) for target in targets)
        for used in _used(agents, tables, agent, shown):
            if used not in known and used != me:
                edges[Edge(me, used, "uses")] = None
        policy = agent.on_failure
        if policy.action == "dead_letter":
            edges[Edge(me, Node("topic", policy.topic or f"{app_id}-dead-letter"), "what fails")] = None
    for front, topic, behind in pipes:
        first, last = (
            Node("agent", shown(name)) if name in agents else Node("stream", name) for name in (front, behind)
        )
        edges[Edge(first, Node("topic", topic), "through")] = None
        edges[Edge(Node("topic", topic), last, "through")] = None
    for name, table in sorted(tables.items()):
        edges[Edge(Node("table", name), Node("topic", table.changelog), "changes")] = None
    return list(edges)


def _places(topic: Any) -> Iterator[Node]:
    if isinstance(topic, Channel):
        yield Node("channel", str(topic))
        return
    yield from [Node("topic", part.name) for part in topic.parts] or [Node("topic", str(topic))]


def _sink(sink: Any, shown: Callable[[str], str]) -> Iterator[Node]:
    if isinstance(sink, Agent):
        yield Node("agent", shown(sink.name))
    elif isinstance(sink, Topic | Channel):
        yield from _places(sink)
    else:
        yield Node("function", getattr(sink, "__name__", type(sink).__name__))


def _used(
    agents: Mapping[str, Agent], tables: Mapping[str, Any], agent: Agent, shown: Callable[[str], str]
) -> Iterator[Node]:
    """Give what the body of an agent names."""
    known = {id(table): name for name, table in tables.items()}
    for given in _named(agent.body):
        value = inspect.getattr_static(given, "table", given) if id(given) not in known else given  # windows of a table
        if isinstance(value, Agent) and agents.get(value.name) is value:
            yield Node("agent", shown(value.name))
        elif id(value) in known:
            yield Node("table", known[id(value)])
        elif isinstance(value, Topic):
            yield from _places(value)


def _named(body: Any) -> Iterator[Any]:
    """Give the values of the names that a function takes from around it."""
    function = function_of(body)
    while isinstance(function, partial):
        function = function.func
    function = inspect.unwrap(getattr(function, "__func__", function))
    try:
        variables = inspect.getclosurevars(function)
    except (TypeError, ValueError):  # it is written in C, or a cell of it is empty yet
        return
    yield from variables.nonlocals.values()
    yield from variables.globals.values()


_SHAPES = {
    "topic": "[({})]",
    "agent": "[{}]",
    "table": "[/{}/]",
    "channel": "([{}])",
    "function": ">{}]",
    "stream": "[{}]",
}


def mermaid(edges: Collection[Edge]) -> str:
    """Write edges in the language of Mermaid."""
    ids = {node: f"n{number}" for number, node in enumerate(nodes_of(edges))}
    lines = ["flowchart LR"]
    for node, short in ids.items():
        name = node.name.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
        lines.append(f"    {short}" + _SHAPES[node.kind].format(f'"{name}"'))
    for source, target, label in edges:
        arrow = f"-- {label} -->" if label else "-->"
        lines.append(f"    {ids[source]} {arrow} {ids[target]}")
    return "\n".join(lines)


def nodes_of(edges: Iterable[Edge]) -> list[Node]:
    """Give the ends of edges, each once, in their order."""
    return list(dict.fromkeys(end for edge in edges for end in (edge.source, edge.target)))


def graph_json(edges: Iterable[Edge]) -> list[dict[str, Any]]:
    """Give edges as what any JSON encoder takes."""
    return [{"from": one.source._asdict(), "to": one.target._asdict(), "label": one.label} for one in edges]


def shortest_end(name: str, names: Collection[str]) -> str:
    """Return the shortest end of a dotted name that no other name of ``names`` has."""
    parts = name.split(".")
    ends = (".".join(parts[-length:]) for length in range(1, len(parts)))
    return next((end for end in ends if names_ending_in(end, names) == [name]), name)


def names_ending_in(end: str, names: Iterable[str]) -> list[str]:
    """Give the dotted names that end in some parts."""
    return [name for name in names if name == end or name.endswith(f".{end}")]
