"""The drawing of a graph: whatever it is, all of it is drawn, and no node on another one."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from stream_core.engine.graph import Edge, Node, nodes_of
from stream_web.dashboard.charts import amount, chart, ranges
from stream_web.dashboard.drawing import HEIGHT, WIDTH, drawn
from stream_web.dashboard.markup import html_of, svg_of

NODES = st.builds(Node, st.sampled_from(["topic", "agent", "table"]), st.text(min_size=1, max_size=30))
EDGES = st.lists(NODES, min_size=2, max_size=12, unique=True).flatmap(
    lambda nodes: st.lists(
        st.builds(Edge, st.sampled_from(nodes), st.sampled_from(nodes), st.text(max_size=10)), max_size=30, unique=True
    )
)


@given(EDGES)
def test_every_graph_is_drawn(edges: list[Edge]) -> None:
    """Circles and all: each node once, each edge once, and no two nodes at one place; the document can be read."""
    picture = drawn(edges, "flow")
    boxes = list(picture.iter("g"))
    places = {(rect.get("x"), rect.get("y")) for box in boxes for rect in box.iter("rect")}
    assert len(boxes) == len(places) == len(nodes_of(edges))
    assert sum(one.get("class") == "edge" for one in picture.iter("path")) == len(edges)
    width, height = float(picture.get("width") or 0), float(picture.get("height") or 0)
    for x, y in places:
        assert 0 <= float(x or -1) <= width - WIDTH
        assert 0 <= float(y or -1) <= height - HEIGHT
    html_of(picture)
    ElementTree.fromstring(svg_of(picture).partition("\n")[2])


def test_what_leads_to_a_node_stands_left_of_it() -> None:
    """Also where an edge passes a layer; one that closes a circle goes back."""
    a, b, c = (Node("agent", name) for name in "abc")
    picture = drawn([Edge(a, b), Edge(b, c), Edge(a, c), Edge(c, a)], "flow")
    x = {box.findtext("text"): float(box[1].get("x") or 0) for box in picture.iter("g")}
    assert x["a"] < x["b"] < x["c"]


def test_a_chain_longer_than_the_stack_is_drawn() -> None:
    """A thousand agents in a row."""
    nodes = [Node("agent", str(number)) for number in range(1500)]
    picture = drawn([Edge(one, other) for one, other in pairwise(nodes)], "flow")
    assert len(list(picture.iter("g"))) == 1500


@given(st.dictionaries(st.integers(0, 200), st.floats(0, 1e12), max_size=50))
def test_a_chart_stays_within_its_frame(values: dict[int, float]) -> None:
    """Whatever the numbers are, also when there are none."""
    picture = chart("Events", "/s", values, 180)
    for line in picture.iter("polyline"):
        for place in (line.get("points") or "").split():
            x, y = map(float, place.split(","))
            assert 0 <= x <= 300
            assert 0 <= y <= 70


@given(st.sets(st.integers(0, 60)))
def test_ranges_have_each_number_once(numbers: set[int]) -> None:
    """Read back they are the same numbers."""
    read: list[int] = []
    for part in filter(None, ranges(numbers).split(", ")):
        first, _, last = part.partition("\u2013")
        read += range(int(first), int(last or first) + 1)
    assert read == sorted(numbers)


def test_amounts_are_short() -> None:
    """Small ones exactly, large ones with a unit."""
    assert [amount(value) for value in (0, 0.25, 7, 512.7, 9999)] == ["0", "0.2", "7", "513", "9999"]
    assert [amount(value) for value in (12_500, 3e8, 2.5e10)] == ["12.5\u202fk", "300\u202fM", "25\u202fG"]
