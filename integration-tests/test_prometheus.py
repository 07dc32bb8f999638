"""The dashboard and the alerts of ``deploy/`` go with what a worker shows to Prometheus."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client.metrics_core import Metric

import prometheus
import stream_app as faust
from processes import PATIENCE, run
from stream_web.metrics import SnapshotCollector

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
SHOP = """
import asyncio
import stream_app as faust

class Broken(faust.Sensor):
    def on_stream_event_in(self, tp, offset, stream, event):
        raise OSError("nobody listens")

app = faust.App("shop", broker="{broker}", web_metrics_enabled=True)
app.sensors.add(Broken())
orders = app.topic("orders", key_type=str, value_type=int, partitions=4)
paid = app.topic("paid", value_type=int, partitions=1)
waiting = app.topic("waiting", value_type=int, partitions=4)
totals = app.Table("totals", default=int, key_type=str, value_type=int)

@app.agent(orders, on_failure="dead_letter")
async def bill(stream):
    async for customer, amount in stream.items():
        if amount == 7:
            raise ValueError("no order has seven")
        totals[customer] += amount
        await paid.send(value=amount)

@app.agent(waiting)
async def stand(stream):
    async for _ in stream:
        await asyncio.Event().wait()

@app.timer(0.1)
async def order():
    for amount in range(100):
        await orders.send(key=str(amount), value=amount)
        await waiting.send(value=amount)

if __name__ == "__main__":
    app.main()
"""
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


async def met(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait until something holds; raises TimeoutError when it never does."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.2)


def pictures() -> dict[str, list[str]]:
    """The queries of the dashboard by the titles of its pictures, with what Grafana would put in for its variables."""
    panels = json.loads((DEPLOY / "grafana-dashboard.json").read_text())["panels"]
    return {
        one["title"]: [
            target["expr"].replace("$job", ".*").replace("$__rate_interval", "5s") for target in one["targets"]
        ]
        for one in panels
        if "targets" in one
    }


async def test_a_real_prometheus_reads_workers(tmp_path: Path) -> None:
    """Each picture of the dashboard has data, and alerts fire for lag, letters, a bad sensor, and a worker that waits and is killed."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus is not installed; it is the package prometheus of Debian")
    shop, lonely = tmp_path / "shop.py", tmp_path / "lonely.py"
    shop.write_text(SHOP.format(broker="memory://"))
    lonely.write_text(SHOP.format(broker="kafka://127.0.0.1:1"))
    rules = prometheus.sooner((DEPLOY / "prometheus-rules.yml").read_text())
    async with run(shop, "worker") as works, run(lonely, "worker") as waits:
        urls = [await works.url(), await waits.url()]
        async with prometheus.running(program, tmp_path, urls, rules) as server:
            for title, queries in pictures().items():
                for query in queries:
                    seen = partial(server.query, query)
                    try:  # no worker of this test drops its work: that the query for it is understood must do
                        await (seen() if title == "Dropped intervals" else met(seen))
                    except TimeoutError:
                        raise AssertionError(f"no data for {title}: {query}") from None

            async def fires(*names: str) -> bool:
                return set(names) <= set(await server.firing())

            await met(lambda: fires("StreamLagGrows", "StreamPartitionStuck", "StreamDeadLetters", "StreamSensorFails"))
            await met(lambda: fires("StreamWorkerNotReady"))
            assert not await fires("StreamWorkerGone")
            waits.process.kill()
            await met(lambda: fires("StreamWorkerGone"))
            assert (await server.firing())["StreamWorkerGone"]["instance"] == urls[1].split("//")[1]
