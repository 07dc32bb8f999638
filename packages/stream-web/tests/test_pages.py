"""The pages of a snapshot: that of a real engine as JSON and as metrics, over a real socket, as a scraper reads them."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from stream_core.agents.agent import Agent
from stream_core.engine.engine import Engine
from stream_core.engine.snapshot import (
    Snapshot,
    TablePartitionSnapshot,
    as_json,
)
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Host, TopicSpec
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.values.schemas import Schema
from stream_web import Stats, WebServer
from stream_web.metrics import Metrics, SnapshotCollector


@asynccontextmanager
async def working(group: str = "bank", agent: str = "count") -> AsyncIterator[Engine]:
    """An engine that has finished ten events, of which two were skipped."""
    transport = MemoryTransport(uuid4().hex)
    transport.cluster.create(TopicSpec("deposits", 2))
    topic = Topic[Any, Any]("deposits", schema=Schema())

    async def count(stream: Any) -> None:
        async for value in stream:
            if value % 5 == 0:
                raise ValueError(value)

    engine = Engine(
        transport,
        EngineSettings(group, commit_interval=0.05),
        topics=[topic],
        agents=[Agent(count, name=agent, topic=topic, on_failure=FailurePolicy.SKIP)],
    )
    engine.host = Host("worker-1", "http://worker-1.example:6066")
    await engine.start()
    try:
        transport.cluster.append(TP("deposits", 1), [Entry(1_000, None, b"%d" % number) for number in range(10)])
        async with asyncio.timeout(30):
            while not any(one.committed == 10 for one in engine.snapshot().partitions):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        yield engine
    finally:
        await engine.stop()
        MemoryCluster.discard(transport.cluster.name)


@asynccontextmanager
async def serving(*routes: web.AbstractRouteDef) -> AsyncIterator[Callable[[str], Any]]:
    """A server of these routes; gives what fetches a page of it, in a thread, as any program would."""
    server = WebServer(bind="127.0.0.1", port=0, explicit_port=True, app_id="bank", routes=routes)
    await server.start()

    def fetch(path: str) -> tuple[str, str]:
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            return answer.headers["Content-Type"], answer.read().decode()

    try:
        yield lambda path: asyncio.to_thread(fetch, path)
    finally:
        await server.stop()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """What Prometheus makes of a page: each value by its name and its labels' values, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_stats_are_the_snapshot() -> None:
    """All of it, as JSON."""
    async with working() as engine, serving(*Stats(engine.snapshot).routes()) as fetch:
        kind, text = await fetch("/stats")
        stats, expected = json.loads(text), as_json(engine.snapshot())
        assert kind.startswith("application/json")
        assert stats.keys() == expected.keys()
        assert stats["status"] == {"state": "running", "ready": True, "reason": "", "failed": False, "recovery": None}
        assert stats["partitions"] == json.loads(json.dumps(expected["partitions"]))
        (agent,) = stats["agents"]
        assert (agent["finished"], agent["failures"], agent["skipped"]) == (10, 2, 2)


async def test_the_assignment_says_who_owns_what() -> None:
    """By worker, with the URL that it has told the others; what this one works on is there by itself."""
    async with working() as engine, serving(*Stats(engine.snapshot).routes()) as fetch:
        _, text = await fetch("/assignment")
        assert json.loads(text) == {
            "app": "bank",
            "instance": "worker-1",
            "generation": 1,
            "settled": True,
            "actives": {"deposits": [0, 1]},
            "standbys": {},
            "owners": [
                {"instance": "worker-1", "url": "http://worker-1.example:6066", "partitions": {"deposits": [0, 1]}}
            ],
        }


async def test_metrics_are_what_prometheus_reads() -> None:
    """Its own parser finds the numbers of the snapshot, and no metric twice."""
    async with working() as engine, serving(*Metrics(engine.snapshot, CollectorRegistry()).routes()) as fetch:
        kind, text = await fetch("/metrics")
        found = samples(text)
    assert kind == "text/plain; version=0.0.4; charset=utf-8"
    assert found["stream_ready",] == 1
    assert found["stream_agent_events_total", "count"] == 10
    assert found["stream_agent_skipped_events_total", "count"] == 2
    assert found["stream_agent_actors", "count"] == 1
    assert found["stream_partition_committed_offset", "1", "deposits"] == 10
    assert found["stream_partition_lag", "1", "deposits"] == 0
    assert ("stream_partition_lag", "0", "deposits") not in found  # nothing has come from there
    assert found["stream_partition_event_time_seconds", "1", "deposits"] == 1
    assert found["stream_reader_lag", "1", "count", "deposits"] == 0
    assert found["stream_received_records_total", "deposits"] == 10
    assert found["stream_rebalances_total", "assigned"] == 1
    assert found["stream_checkpoint_seconds_bucket", "+Inf"] == found["stream_checkpoint_seconds_count",] > 0
    assert found["stream_worker_info", "bank", "worker-1", "running"] == 1
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names))


async def test_metrics_of_the_program_stand_on_the_same_page() -> None:
    """What it registers in a registry is shown behind those of the worker."""
    registry = CollectorRegistry()
    Counter("teas", "Cups of tea.", registry=registry).inc(3)
    async with working() as engine, serving(*Metrics(engine.snapshot, registry).routes()) as fetch:
        found = samples((await fetch("/metrics"))[1])
    assert (found["teas_total",], found["stream_ready",]) == (3, 1)


async def test_two_workers_in_one_process_each_show_their_own() -> None:
    """Metrics of the same names are in no registry that both share."""
    async with working("one") as one, working("two") as two:
        pages = [Metrics(engine.snapshot, CollectorRegistry()).routes() for engine in (one, two)]
        async with serving(*pages[0]) as first, serving(*pages[1]) as second:
            texts = [(await fetch("/metrics"))[1] for fetch in (first, second)]
    assert [
        ("stream_worker_info", app, "worker-1", "running") in samples(text)
        for app, text in zip(("one", "two"), texts, strict=True)
    ] == [True, True]


async def test_names_that_need_escaping_stay_what_they_are() -> None:
    """An agent may be named as one likes."""
    name = 'a "quoted"\\ name\nof two lines'
    async with working(agent=name) as engine, serving(*Metrics(engine.snapshot, CollectorRegistry()).routes()) as fetch:
        assert samples((await fetch("/metrics"))[1])["stream_agent_events_total", name] == 10


async def test_tables_are_metrics_too() -> None:
    """With what is left of a recovery."""
    async with working() as engine:
        base = engine.snapshot()
    table = TablePartitionSnapshot(
        "totals", 3, "bank-totals-changelog", "replaying", 0, 0, 700, 600, 1000, stored_keys=7, event_time=12.5
    )
    snapshot = Snapshot(
        **{field: getattr(base, field) for field in Snapshot.__dataclass_fields__} | {"tables": (table,)}
    )
    metrics = {metric.name: metric for metric in SnapshotCollector(lambda: snapshot).collect()}

    def value(metric: Metric) -> tuple[dict[str, str], float]:
        (sample,) = metric.samples
        return sample.labels, sample.value

    assert value(metrics["stream_table_running"]) == ({"table": "totals", "partition": "3"}, 0)
    assert value(metrics["stream_table_left_to_recover"]) == ({"table": "totals", "partition": "3"}, 400)
    assert value(metrics["stream_table_stored_keys"]) == ({"table": "totals", "partition": "3"}, 7)
    assert value(metrics["stream_table_event_time_seconds"]) == ({"table": "totals", "partition": "3"}, 12.5)
    assert metrics["stream_table_stored_bytes"].samples == []


@pytest.mark.parametrize("page", ["/stats", "/assignment", "/metrics"])
async def test_pages_answer_before_the_start_and_behind_the_stop(page: str) -> None:
    """A worker that has nothing says so."""
    engine = Engine(MemoryTransport(uuid4().hex), EngineSettings("bank"), topics=[], agents=[])
    routes = [*Stats(engine.snapshot).routes(), *Metrics(engine.snapshot, CollectorRegistry()).routes()]
    async with serving(*routes) as fetch:
        before = (await fetch(page))[1]
        await engine.start()
        await engine.stop()
        after = (await fetch(page))[1]
    assert "bank" in before
    assert "bank" in after
