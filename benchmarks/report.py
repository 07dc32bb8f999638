"""The result as tables, for a terminal and for a page, and as a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bench import Options
from benchmarks.harness import Result
from benchmarks.rows import Kind
from stream_kafka.broker import KAFKA_VERSION

__all__ = ["save", "show"]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("stream-app", "aiokafka", "msgspec", "rocksdict", "uvloop")
SPREAD = "min / median / max"
COLUMNS = {
    Kind.SPEED: ("row", "work", "against", SPREAD, "by CPU time", "goal", "", "theirs /s", "ours /s", "CPU s per M"),
    Kind.LATENCY: ("row", "work", "beside", SPREAD, "goal", "", "theirs p50 / p99", "ours p50 / p99"),
    Kind.RECOVERY: ("row", "work", "state", SPREAD, "goal", ""),
}
TITLES = {
    Kind.SPEED: "Speed: ratios of events per second, ours / theirs, pair by pair",
    Kind.LATENCY: "Latency: medians in milliseconds, and percentiles",
    Kind.RECOVERY: "Start: seconds from the start of the process to the first event",
}
WORDS = {"row", "work", "against", "beside", "state"}
"""Columns of words, not numbers."""


def show(results: Sequence[Result], console: Console) -> None:
    """Print a table for each kind of row, and what is not in them and why."""
    for kind, lines in _tables(results):
        made = Table(title=TITLES[kind], title_justify="left")
        for name in COLUMNS[kind]:
            made.add_column(name, justify="left" if name in WORDS else "right", no_wrap=name != "against")
        for line in lines:
            made.add_row(*line)
        console.print(made)
    for result in results:
        if result.lacking:
            console.print(f"{result.row.name} was left out: {_brief(result.lacking)}", markup=False)
        if result.failure:
            console.print(f"{result.row.name} has failed: {_brief(result.failure)}", style="red", markup=False)


def _brief(message: str) -> str:
    """The first and the last line of a message; the whole of it was told when it happened."""
    first, *more = message.strip().splitlines()
    return f"{first} {more[-1]}" if more else first


def _tables(results: Sequence[Result]) -> Iterator[tuple[Kind, list[list[str]]]]:
    for kind in Kind:
        lines = [_line(result) for result in results if result.row.kind is kind and result.values]
        if lines:
            yield kind, lines


def _line(result: Result) -> list[str]:
    row, middle = result.row, median(result.values)
    line = [row.name, row.work, row.against, _spread(result.values)]
    if row.kind is Kind.SPEED:
        line.append(_spread(result.cpu_values))
    line += [f"{'≥' if row.kind is Kind.SPEED else '≤'} {row.goal:g}", "met" if row.met(middle) else "missed"]
    if row.kind is Kind.SPEED:
        line += [f"{_median(reports, 'events_per_second'):,.0f}" for reports in (result.base, result.ours)]
        line.append(" / ".join(f"{_median(reports, 'cpu_per_million'):.2f}" for reports in (result.base, result.ours)))
    if row.kind is Kind.LATENCY:
        line += [f"{_median(part, 'p50'):.1f} / {_median(part, 'p99'):.1f}" for part in (result.base, result.ours)]
    return line


def _median(reports: Sequence[dict[str, Any]], name: str) -> float:
    return float(median(report[name] for report in reports))


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.2f}" for value in (min(values), median(values), max(values)))


def save(results: Sequence[Result], options: Options) -> tuple[Path, Path]:
    """Write everything that was measured to a file of its own, and the tables as a page beside it; their paths."""
    now = datetime.now().astimezone()
    content = {
        "at": now.isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "processor": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "versions": {"kafka": KAFKA_VERSION} | {name: version(name) for name in PACKAGES},
        "options": asdict(options),
        "rows": [
            {
                "name": result.row.name,
                "goal": result.row.goal,
                "median": median(result.values) if result.values else None,
                "values": result.values,
                "cpu_values": result.cpu_values,
                "base": result.base,
                "ours": result.ours,
                "lacking": result.lacking,
                "failure": result.failure,
            }
            for result in results
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    page = path.with_suffix(".md")
    page.write_text("\n".join(_page(results)))
    return path, page


def _page(results: Sequence[Result]) -> Iterator[str]:
    """The tables in Markdown."""
    for kind, lines in _tables(results):
        yield from (f"{TITLES[kind]}:", "", f"| {' | '.join(COLUMNS[kind])} |")
        yield f"|{'|'.join('---' if name in WORDS else '---:' for name in COLUMNS[kind])}|"
        for line in lines:
            yield f"| {' | '.join(line)} |"
        yield ""
