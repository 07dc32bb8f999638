"""The dashboard and the alerts of ``deploy/`` go with what a worker shows to Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.metrics_core import Metric

import stream_app as faust
from stream_web.metrics import SnapshotCollector

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
NAME = re.compile(r"\bstream_[a-z0-9_]+\b")


def names(metric: Metric) -> Iterator[str]:
    """The names of the samples of a metric, also of one that has none now."""
    match metric.type:
        case "counter":
            yield f"{metric.name}_total"
        case "histogram":
            yield from (f"{metric.name}_{part}" for part in ("bucket", "count", "sum"))
        case "info":
            yield f"{metric.name}_info"
        case _:
            yield metric.name


async def shown() -> set[str]:
    """The metrics of a worker."""
    app: Any = faust.App("shop", broker=f"memory://{uuid4().hex}", web_enabled=False)
    async with app:
        return {name for metric in SnapshotCollector(app.engine.snapshot).collect() for name in names(metric)}


@pytest.mark.parametrize("file", ["grafana-dashboard.json", "prometheus-rules.yml"])
async def test_each_metric_of_the_files_exists(file: str) -> None:
    """None of them has a name that no worker shows."""
    used = set(NAME.findall((DEPLOY / file).read_text()))
    assert used
    assert used <= await shown()


async def test_the_page_names_each_metric_and_alert() -> None:
    """In its tables, and no other ones."""
    page = (DEPLOY.parent / "docs" / "monitoring.md").read_text()
    rules = (DEPLOY / "prometheus-rules.yml").read_text()
    assert set(re.findall(r"`(Stream[A-Z]\w+)`", page)) == set(re.findall(r"alert: (\w+)", rules))
    assert json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]


def test_prometheus_takes_the_rules() -> None:
    """And they fire where they should."""
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed; it is in the package prometheus of Debian")
    for command in (["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules-test.yml"]):
        done = subprocess.run([tool, *command], cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
