"""A directive for Sphinx that draws instants and windows over a line of time: as SVG in the page, so that nothing is drawn by hand.

A line of it is ``name: 5 20 50`` for instants, or ``name: 0-60 60-120`` for windows; a window may have its label, ``0-60=two``.
"""

from __future__ import annotations

import re
from html import escape

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

__all__ = ["Timeline", "draw"]

LEFT, WIDTH, HEIGHT = 130, 520, 30
"""Of the names, of the time beside them, and of a row."""

INSTANT = re.compile(r"\d+")
WINDOW = re.compile(r"(\d+)-(\d+)(?:=(.+))?")


def draw(text: str, title: str) -> str:
    """Draw the picture that the lines describe; ``title`` is for those who cannot see it.

    Raises:
        ValueError: a line has no name, or something that is neither an instant nor a window.
    """
    rows = [line.split(": ", 1) for line in map(str.strip, text.splitlines()) if line]
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError("each line has a name, a colon, and instants or windows")
    scale = WIDTH / max(int(number) for _, marks in rows for number in re.findall(r"\d+", re.sub(r"=\S+", "", marks)))
    shapes = []
    for at, (name, marks) in enumerate(rows):
        y = at * HEIGHT
        shapes.append(f'<text x="{LEFT - 12}" y="{y + 20}" style="text-anchor: end">{escape(name)}</text>')
        shapes.append(f'<path class="arrow" d="M{LEFT} {y + HEIGHT - 2}H{LEFT + WIDTH}"/>')
        shapes += [_mark(mark, y, scale) for mark in marks.split()]
    return (
        f'<svg class="picture" role="img" viewBox="0 0 {LEFT + WIDTH + 20} {len(rows) * HEIGHT + 4}" style="max-width: 780px">'
        f"<title>{escape(title)}</title>{''.join(shapes)}</svg>"
    )


def _mark(mark: str, y: int, scale: float) -> str:
    if INSTANT.fullmatch(mark):
        x = LEFT + int(mark) * scale
        return f'<circle cx="{x:.1f}" cy="{y + HEIGHT - 2}" r="4"/><text x="{x:.1f}" y="{y + 18}">{mark}</text>'
    if (found := WINDOW.fullmatch(mark)) is None:
        raise ValueError(f"neither an instant nor a window: {mark}")
    start, width = LEFT + int(found[1]) * scale, (int(found[2]) - int(found[1])) * scale
    label = found[3] or f"{found[1]} to {found[2]}"
    return (
        f'<g><rect x="{start + 1:.1f}" y="{y + 4}" width="{max(width - 2, 3):.1f}" height="{HEIGHT - 8}" rx="4"/>'
        f'<text x="{start + width / 2:.1f}" y="{y + 20}">{escape(label)}</text></g>'
    )


class Timeline(SphinxDirective):
    """The directive: ``title`` as its argument, the rows as its content."""

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
