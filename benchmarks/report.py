"""The result as a table, and as a file."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.harness import Options, Result
from benchmarks.rows import Kind
from stream_kafka.broker import KAFKA_VERSION

__all__ = ["save", "table"]

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("stream-app", "aiokafka", "msgspec", "rocksdict", "uvloop")


def table(results: Sequence[Result]) -> Table:
    """One line a row: ratios (seconds, milliseconds) of the rounds, ratios by processor time, and the medians of both programs."""
    title = "ratios of events per second, pair by pair; recoveries in seconds; latencies in milliseconds"
    made = Table(title=title, title_justify="left")
    for name in ("row", "min / median / max", "by CPU time", "goal", "", "base", "ours", "CPU s per M"):
        made.add_column(name, justify="left" if name == "row" else "right")
    for result in results:
        row, middle = result.row, median(result.values)
        speed = row.kind is Kind.SPEED
        made.add_row(
            f"{row.name}\n[dim]{row.title}",
            _spread(result.values),
            _spread(result.cpu_values) if speed else "",
            f"{'≥' if speed else '≤'} {row.goal:g} ({row.aim:g})",
            "[green]met" if row.met(middle) else "[red]missed",
            _brief(row.kind, result.base),
            _brief(row.kind, result.ours),
            f"{_median(result.base, 'cpu_per_million'):.2f} / {_median(result.ours, 'cpu_per_million'):.2f}"
            if speed
            else "",
        )
    return made


def _brief(kind: Kind, reports: Sequence[dict[str, Any]]) -> str:
    if not reports or kind is Kind.RECOVERY:
        return ""
    if kind is Kind.LATENCY:
        return f"p50 {_median(reports, 'p50'):.1f}, p99 {_median(reports, 'p99'):.1f} ms"
    return f"{_median(reports, 'events_per_second'):,.0f}/s"


def _median(reports: Sequence[dict[str, Any]], name: str) -> float:
    return float(median(report[name] for report in reports))


def _spread(values: Sequence[float]) -> str:
    return f"{min(values):.2f} / [bold]{median(values):.2f}[/] / {max(values):.2f}"


def save(results: Sequence[Result], options: Options) -> Path:
    """Write everything that was measured to a file of its own; returns its path."""
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
                "median": median(result.values),
                "values": result.values,
                "cpu_values": result.cpu_values,
                "base": result.base,
                "ours": result.ours,
            }
            for result in results
        ],
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{now:%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
