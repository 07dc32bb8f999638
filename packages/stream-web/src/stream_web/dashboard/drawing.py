"""Draws a graph: in layers from left to right, each node behind what leads to it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib.resources import files
from itertools import pairwise

from stream_core.engine.graph import Edge, Node, nodes_of
from stream_web.dashboard.markup import Element, el

__all__ = ["STYLE", "drawn"]

STYLE = files("stream_web.dashboard").joinpath("static/graph.css").read_text(encoding="utf-8")
"""The style sheet of a graph that stands alone."""

WIDTH, HEIGHT = 180, 30
"""Of a node."""

ACROSS, DOWN = 260, 46
"""From one layer to the next, and from one node to the next of the same layer."""

SWEEPS = 4
"""How often the order in the layers is mended."""

LONGEST = 25
"""Characters of a name that are shown; the whole of it is in the title."""

Place = Node | tuple[Edge, int]
"""What has a place: a node, or what an edge passes through on its way past a layer."""


def drawn(edges: Collection[Edge], title: str) -> Element:
    """Draw edges and what they connect.

    Args:
        edges: the edges.
        title: says to whoever cannot see it what it is.
    """
    nodes = nodes_of(edges)
    forward = _without_circles(nodes, edges)
    layer_of = _layers(nodes, forward)
    layers, paths = _ordered(nodes, forward, layer_of)
    rows = _rows(layers, paths.values())
    places = {
        place: (number * ACROSS + 10, rows[place] * DOWN + 10) for number, layer in enumerate(layers) for place in layer
    }
    lines, labels = [], []
    for edge in edges:
        path = paths.get(edge)
        line, (x, y) = _back(places, edge) if path is None else _line([places[one] for one in path])
        lines.append(el("path", d=line, class_="edge", marker_end="url(#arrow)"))
        if edge.label:
            labels.append(el("text", edge.label, x=x, y=y - 4, class_="label"))
    width = max(len(layers) - 1, 0) * ACROSS + WIDTH + 40
    height = (max(rows.values(), default=0) + 1) * DOWN + 30
    return el(
        "svg",
        el("title", title),
        el(
            "defs",
            el(
                "marker",
                el("path", d="M0 0L10 5L0 10z", class_="arrow"),
                id="arrow",
                viewBox="0 0 10 10",
                refX=10,
                refY=5,
                markerWidth=7,
                markerHeight=7,
                orient="auto-start-reverse",
            ),
        ),
        *lines,
        *(_box(node, *places[node]) for node in nodes),
        *labels,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="graph",
        role="img",
        aria_label=title,
    )


def _box(node: Node, x: float, y: float) -> Element:
    short = node.name if len(node.name) <= LONGEST else f"\u2026{node.name[1 - LONGEST :]}"
    radius = {"topic": HEIGHT / 2, "channel": HEIGHT / 2, "table": 0}.get(node.kind, 6)
    return el(
        "g",
        el("title", f"{node.kind} {node.name}"),
        el("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=radius),
        el("text", short, x=x + WIDTH / 2, y=y + HEIGHT / 2 + 4),
        class_=f"node {node.kind}",
    )


def _line(places: Sequence[tuple[float, float]]) -> tuple[str, tuple[float, float]]:
    """Draw the path of an edge through places, and say where its label stands."""
    x, y = places[0][0] + WIDTH, places[0][1] + HEIGHT / 2
    parts, bend = [f"M{x:g} {y:g}"], (ACROSS - WIDTH) / 2
    first = places[1][1] + HEIGHT / 2
    apart = (
        x + (ACROSS - WIDTH) * 0.66,
        y + (first - y) * 0.78,
    )  # near the target, where edges of one source are apart
    for number, (left, top) in enumerate(places[1:], 2):
        end = top + HEIGHT / 2
        parts.append(f"C{x + bend:g} {y:g} {left - bend:g} {end:g} {left:g} {end:g}")
        x, y = left, end
        if number < len(places):  # past a layer
            x = left + WIDTH
            parts.append(f"H{x:g}")
    return "".join(parts), apart


def _back(places: Mapping[Place, tuple[float, float]], edge: Edge) -> tuple[str, tuple[float, float]]:
    """Draw the path of an edge that closes a circle: below its ends, from right to left."""
    (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
    begin, end, low = (x1 + WIDTH, y1 + HEIGHT / 2), (x2, y2 + HEIGHT / 2), max(y1, y2) + HEIGHT + 10
    line = (
        f"M{begin[0]:g} {begin[1]:g}C{begin[0] + 40:g} {begin[1]:g} {begin[0] + 30:g} {low:g} {begin[0]:g} {low:g}"
        f"H{end[0]:g}C{end[0] - 30:g} {low:g} {end[0] - 40:g} {end[1]:g} {end[0]:g} {end[1]:g}"
    )
    return line, ((begin[0] + end[0]) / 2, low)


def _without_circles(nodes: Sequence[Node], edges: Collection[Edge]) -> list[Edge]:
    """Leave out the edges that close a circle, found by going along them depth first."""
    behind: dict[Node, list[Edge]] = defaultdict(list)
    for edge in edges:
        behind[edge.source].append(edge)
    kept: list[Edge] = []
    done: set[Node] = set()
    for start in nodes:
        if start in done:
            continue
        on_the_way, stack = {start}, [(start, iter(behind[start]))]
        while stack:  # a chain of agents may be longer than the stack of Python
            node, rest = stack[-1]
            for edge in rest:
                if edge.target in on_the_way:
                    continue
                kept.append(edge)
                if edge.target not in done:
                    on_the_way.add(edge.target)
                    stack.append((edge.target, iter(behind[edge.target])))
                    break
            else:
                stack.pop()
                on_the_way.discard(node)
                done.add(node)
    return kept


def _layers(nodes: Sequence[Node], edges: Sequence[Edge]) -> dict[Node, int]:
    """Give the layer of each node: behind all that lead to it."""
    behind: dict[Node, list[Node]] = defaultdict(list)
    leading = dict.fromkeys(nodes, 0)
    for edge in edges:
        behind[edge.source].append(edge.target)
        leading[edge.target] += 1
    found = dict.fromkeys(nodes, 0)
    ready = [node for node in nodes if not leading[node]]
    while ready:
        node = ready.pop()
        for target in behind[node]:
            found[target] = max(found[target], found[node] + 1)
            leading[target] -= 1
            if not leading[target]:
                ready.append(target)
    return found


def _ordered(
    nodes: Sequence[Node], edges: Sequence[Edge], layer_of: dict[Node, int]
) -> tuple[list[list[Place]], dict[Edge, list[Place]]]:
    """Give the layers, each in an order in which few edges cross, and what each edge passes through."""
    layers: list[list[Place]] = [[] for _ in range(max(layer_of.values(), default=-1) + 1)]
    for node in nodes:
        layers[layer_of[node]].append(node)
    paths: dict[Edge, list[Place]] = {}
    neighbours: dict[Place, list[Place]] = defaultdict(list)
    for edge in edges:
        path: list[Place] = [edge.source]
        for number in range(layer_of[edge.source] + 1, layer_of[edge.target]):
            layers[number].append((edge, number))
            path.append((edge, number))
        path.append(edge.target)
        paths[edge] = path
        for one, next_ in pairwise(path):
            neighbours[one].append(next_)
            neighbours[next_].append(one)
    rows: dict[Place, float] = {place: row for layer in layers for row, place in enumerate(layer)}

    def wanted(place: Place) -> float:
        around = neighbours[place]
        return sum(rows[one] for one in around) / len(around) if around else rows[place]

    for sweep in range(SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            layer.sort(key=wanted)
            rows.update((place, row) for row, place in enumerate(layer))
    return layers, paths


def _rows(layers: Sequence[Sequence[Place]], paths: Iterable[Sequence[Place]]) -> dict[Place, float]:
    """Give the rows of what stands in layers: in their order, one at least apart, and otherwise near what they are connected with."""
    neighbours: dict[Place, list[Place]] = defaultdict(list)
    for path in paths:
        for one, next_ in pairwise(path):
            neighbours[one].append(next_)
            neighbours[next_].append(one)
    rows: dict[Place, float] = {place: row for layer in layers for row, place in enumerate(layer)}
    for layer in (*reversed(layers), *layers):
        last = -1.0
        for place in layer:
            around = neighbours[place]
            wanted = sum(rows[one] for one in around) / len(around) if around else 0.0
            rows[place] = last = max(last + 1, wanted)
    return rows
