"""A directive for Sphinx that draws boxes and arrows: as SVG in the page, in the colours of the theme, so that nothing is drawn by hand.

A box is ``column,row name: text | text``, an arrow is ``name -> name`` or ``name -> name: label``; the lines of one picture.
"""

from __future__ import annotations

import re
from html import escape
from typing import NamedTuple

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["Picture", "draw"]

WIDTH, HEIGHT = 132, 62
"""Of a box."""

GAP, ROW_GAP = 44, 40
"""Between boxes of a row, and between rows."""

BOX = re.compile(r"(?P<column>\d+),(?P<row>\d+) (?P<name>[^:]+): (?P<lines>.+)")
ARROW = re.compile(r"(?P<start>[^:]+?) -> (?P<end>[^:]+?)(?:: (?P<label>.+))?")


class Box(NamedTuple):
    """A box: where it begins, and what stands in it."""

    x: int
    y: int
    lines: list[str]


def draw(text: str, title: str) -> str:
    """Draw the picture that the lines describe; ``title`` is for those who cannot see it.

    Raises:
        ValueError: a line is neither a box nor an arrow between boxes.
    """
    boxes: dict[str, Box] = {}
    arrows: list[str] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        if found := BOX.fullmatch(line):
            x, y = int(found["column"]) * (WIDTH + GAP) + 1, int(found["row"]) * (HEIGHT + ROW_GAP) + 1
            boxes[found["name"]] = Box(x, y, [found["name"], *found["lines"].split(" | ")])
        elif (found := ARROW.fullmatch(line)) and {found["start"], found["end"]} <= boxes.keys():
            arrows.append(_arrow(boxes[found["start"]], boxes[found["end"]], found["label"] or ""))
        else:
            raise ValueError(f"no box, and no arrow between boxes that stand above: {line}")
    width, height = max(box.x for box in boxes.values()) + WIDTH + 1, max(box.y for box in boxes.values()) + HEIGHT + 1
    head = (
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" '
        'orient="auto">'
        '<path d="M0 0 8 4 0 8z"/></marker></defs>'
    )
    shapes = "".join([head, *arrows, *map(_box, boxes.values())])
    return (
        f'<svg class="picture" role="img" viewBox="0 0 {width} {height}" style="max-width: {width * 1.3:.0f}px">'
        f"<title>{escape(title)}</title>{shapes}</svg>"
    )


def _box(box: Box) -> str:
    lines = "".join(
        f'<text x="{box.x + WIDTH / 2}" y="{box.y + HEIGHT / 2 + 5 + 15 * (at - (len(box.lines) - 1) / 2)}">{escape(line)}</text>'
        for at, line in enumerate(box.lines)
    )
    return f'<g><rect x="{box.x}" y="{box.y}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>{lines}</g>'


def _arrow(start: Box, end: Box, label: str) -> str:
    if start.y == end.y:
        x1, x2 = (start.x + WIDTH, end.x) if start.x < end.x else (start.x, end.x + WIDTH)
        y1 = y2 = start.y + HEIGHT / 2
    else:
        x1, x2 = start.x + WIDTH / 2, end.x + WIDTH / 2
        y1, y2 = (start.y + HEIGHT, end.y) if start.y < end.y else (start.y, end.y + HEIGHT)
    place = f'x="{(x1 + x2) / 2}" y="{y1 - 6}"' if y1 == y2 else f'x="{x1 + 8}" y="{(y1 + y2) / 2 + 4}" class="beside"'
    return f'<path class="arrow" d="M{x1} {y1} {x2} {y2}" marker-end="url(#head)"/><text {place}>{escape(label)}</text>'


class Picture(SphinxDirective):
    """The directive: ``title`` as its argument, the boxes and arrows as its content."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Draw it."""
        try:
            svg = draw("\n".join(self.content), self.arguments[0])
        except ValueError as error:
            raise self.error(str(error)) from error
        return [nodes.raw("", svg, format="html")]
