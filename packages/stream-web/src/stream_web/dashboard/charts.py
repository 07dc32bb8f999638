"""Draws numbers over time, and who owns which partitions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stream_web.dashboard.markup import Element, el

__all__ = ["amount", "chart", "partitions", "ranges"]

WIDTH, HEIGHT = 300, 70
SHOWN = 150
"""How many moments a chart has: five minutes."""

CELL, ROW = 18, 40
"""The side of a partition, and how many stand in a row."""

COLOURS = 8
"""How many classes of colours style sheets have for workers."""


def chart(title: str, unit: str, values: Mapping[int, float], now: int) -> Element:
    """Draw a line of numbers over the last five minutes, with the last and the highest of them in words.

    Args:
        title: what they are.
        unit: stands after them.
        values: by moment, in periods.
        now: the last moment.
    """
    first = now - SHOWN + 1
    shown = [(slot, values[slot]) for slot in sorted(values) if first <= slot <= now]
    last = shown[-1][1] if shown else 0.0
    highest = max((value for _, value in shown), default=0.0)
    top = highest or 1.0
    places = [
        (round((slot - first) * WIDTH / (SHOWN - 1), 1), round(HEIGHT - 2 - value / top * (HEIGHT - 4), 1))
        for slot, value in shown
    ]
    line = " ".join(f"{x},{y}" for x, y in places)
    area = f"{places[0][0]},{HEIGHT} {line} {places[-1][0]},{HEIGHT}" if places else ""
    words = f"{title}: {amount(last)}{unit} now, {amount(highest)}{unit} at most in the last five minutes"
    return el(
        "figure",
        el(
            "figcaption",
            el("span", title),
            el("b", f"{amount(last)}{unit}"),
            el("small", f"highest {amount(highest)}{unit}"),
        ),
        el(
            "svg",
            el("title", words),
            el("polygon", points=area, class_="area") if places else None,
            el("polyline", points=line, class_="line") if places else None,
            viewBox=f"0 0 {WIDTH} {HEIGHT}",
            preserveAspectRatio="none",
            role="img",
            aria_label=words,
        ),
    )


def partitions(topic: str, owners: Mapping[int, int], notes: Mapping[int, str]) -> Element:
    """Draw the partitions of a topic, each with the number of the worker that owns it.

    Args:
        topic: its name.
        owners: by partition the number of its worker; 0 when that is not known.
        notes: what is to be said of a partition beside.
    """
    by_owner: dict[int, list[int]] = {}
    for partition, owner in sorted(owners.items()):
        by_owner.setdefault(owner, []).append(partition)
    words = "; ".join(
        f"{ranges(found)} on {f'worker {owner}' if owner else 'a worker that is not known'}"
        for owner, found in sorted(by_owner.items())
    )
    count = max(owners, default=-1) + 1
    cells = []
    for partition, owner in sorted(owners.items()):
        x, y = partition % ROW * CELL, partition // ROW * CELL
        note = notes.get(partition, "")
        cells.append(
            el(
                "g",
                el("title", f"partition {partition}: worker {owner or 'unknown'}{note}"),
                el("rect", x=x + 1, y=y + 1, width=CELL - 2, height=CELL - 2, rx=3),
                el("text", owner or "?", x=x + CELL / 2, y=y + CELL / 2 + 3.5),
                class_=f"w{(owner - 1) % COLOURS}" if owner else "unknown",
            )
        )
    width, height = min(count, ROW) * CELL, -(-count // ROW) * CELL
    return el(
        "svg",
        el("title", f"Partitions of {topic}"),
        *cells,
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="partitions",
        role="img",
        aria_label=f"Partitions of {topic}: {words}",
    )


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers shortly: ``0\u20133, 7``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(f"{first}" if first == last else f"{first}\u2013{last}" for first, last in found)


def amount(value: float) -> str:
    """Write a number for people: 12500 is ``12.5 k``."""
    for bound, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * bound:
            return f"{value / bound:.4g}\u202f{unit}"
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.1f}"
