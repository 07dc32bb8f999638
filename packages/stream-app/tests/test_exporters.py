"""Monitors that show or push the numbers of a worker, and traces."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from typing import Any
from uuid import uuid4

import pytest

import stream_app as faust


def make_app(**options: Any) -> faust.App:
    """An app on a broker of its own."""
    return faust.App(
        "shop",
        broker=f"memory://{uuid4().hex}",
        store="memory://",
        web_enabled=False,
        broker_commit_interval=0.05,
        topic_partitions=1,
        **options,
    )


async def work(app: faust.App, *, events: int = 3, headers: Any = None) -> None:
    """Let an app that sends on what it gets work until all is committed."""
    orders, bills = app.topic("orders", value_type=int), app.topic("bills", value_type=int)
    totals, done = app.Table("totals", default=int), asyncio.Event()
    count = 0

    @app.agent(orders, name="bill")
    async def bill(stream: Any) -> None:
        async for value in stream:
            totals["tea"] += value
            await bills.send(value=value)

    @app.agent(bills, name="collect")
    async def collect(stream: Any) -> None:
        nonlocal count
        async for _ in stream:
            count += 1
            if count == events:
                done.set()

    async with app:
        for value in range(events):
            await orders.send(value=value, headers=headers)
        async with asyncio.timeout(20):
            await done.wait()


def read(server: socket.socket) -> list[str]:
    """The lines that were sent to a server."""
    server.setblocking(False)
    lines: list[str] = []
    while True:
        try:
            lines += server.recv(65536).decode().splitlines()
        except BlockingIOError:
            return lines


@pytest.mark.parametrize("name", ["statsd", "datadog"])
async def test_numbers_are_pushed_by_udp(name: str) -> None:
    """In the words of statsd; for Datadog topics and the like are tags."""
    pytest.importorskip("datadog", reason="the extras statsd and datadog are not installed")
    from stream_app.sensors.statsd import DatadogMonitor, StatsdMonitor  # noqa: PLC0415 - of an extra

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        kind = StatsdMonitor if name == "statsd" else DatadogMonitor
        monitor = kind("127.0.0.1", server.getsockname()[1], "shop", interval=3600, grace=4)
        await work(make_app(monitor=monitor))
        lines = read(server)
    if name == "statsd":
        expected = {
            "shop.messages_received:6|c",
            "shop.topic.orders.messages_received:3|c",
            "shop.stream.bill.events:3|c",
        }
        assert not any("|#" in line for line in lines)
    else:
        expected = {"shop.topic_messages_received:3|c|#topic:orders", "shop.stream_events:3|c|#stream:bill"}
    assert expected <= {line.strip() for line in lines}, lines


async def test_metrics_by_fausts_names() -> None:
    """In any registry, with the name of the app in front."""
    pytest.importorskip("prometheus_client", reason="the extra prometheus is not installed")
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415 - of an extra

    from stream_app.sensors.prometheus import setup_prometheus_sensors  # noqa: PLC0415 - of an extra

    app, registry = make_app(), CollectorRegistry()
    setup_prometheus_sensors(app, pattern="/faust", registry=registry)
    app.monitor.count("cups", 2)
    await work(app)
    text = generate_latest(registry).decode()
    for line in (
        "shop_total_events_total 6.0",
        'shop_messages_received_per_topic_total{topic="orders"} 3.0',
        'shop_total_events_per_stream_total{stream="bill"} 3.0',
        'shop_table_operations_total{operation="keys_updated",table="totals"}',
        'shop_metrics_by_name_total{metric="cups"} 2.0',
        "shop_consumer_commit_latency_count",
    ):
        assert line in text


async def test_metrics_of_opentelemetry() -> None:
    """Whoever reads the meter gets the numbers of the worker."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not installed")
    from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - of an extra
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415 - of an extra

    from stream_app.sensors.otel import OpenTelemetryMonitor  # noqa: PLC0415 - of an extra

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    await work(make_app(monitor=OpenTelemetryMonitor(meter=provider.get_meter("shop"))))
    data: Any = reader.get_metrics_data()
    found = {
        metric.name: metric for one in data.resource_metrics for scope in one.scope_metrics for metric in scope.metrics
    }
    points = {point.attributes["stream"]: point.value for point in found["faust.events.total"].data.data_points}
    assert points == {"bill": 3, "collect": 3}
    assert found["faust.commit.latency"].data.data_points[0].count >= 1
    provider.shutdown()


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_a_trace_goes_on_from_record_to_record(guarantee: str) -> None:
    """The event is a span of the trace that its record carries, and what it sends carries that span."""
    pytest.importorskip("opentelemetry.sdk", reason="the extra opentelemetry is not installed")
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - of an extra
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: PLC0415 - of an extra
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: PLC0415 - of an extra

    from stream_app.sensors.otel import setup_opentelemetry  # noqa: PLC0415 - of an extra

    provider, exporter = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    app = make_app(processing_guarantee=guarantee)
    setup_opentelemetry(app, tracer=provider.get_tracer("shop"))
    trace = 0x0AF7651916CD43DD8448EB211C80319C
    await work(app, events=2, headers={"traceparent": f"00-{trace:032x}-b7ad6b7169203331-01".encode()})
    spans: Any = exporter.get_finished_spans()
    first = {span.context.span_id: span for span in spans if span.name == "bill orders"}
    second = [span for span in spans if span.name == "collect bills"]
    assert len(first) == len(second) == 2
    assert {span.context.trace_id for span in spans} == {trace}
    assert {span.parent.span_id for span in second} == set(first)
    assert {span.parent.span_id for span in first.values()} == {0xB7AD6B7169203331}
    provider.shutdown()


async def test_timers_are_spans_unless_they_say_no() -> None:
    """And so are blocks and functions; without a tracer nothing happens."""

    class Tracer:
        names: list[str] = []  # noqa: RUF012 - of one test

        def start_as_current_span(self, name: str, attributes: Any = None) -> Any:
            self.names.append(name)
            return app.trace("nothing", trace_enabled=False)

    app, ticked = make_app(), asyncio.Event()

    @app.timer(0.001)
    async def tick() -> None:
        ticked.set()

    @app.task(traced=False)
    async def silent() -> None:
        pass

    @app.traced
    async def load() -> int:
        return 3

    assert await load() == 3
    app.tracer = Tracer()
    assert await load() == 3
    async with app:
        await ticked.wait()
    assert Tracer.names[0].endswith("load")
    assert "tick" in " ".join(Tracer.names)
    assert "silent" not in " ".join(Tracer.names)


def test_without_the_extras_everything_else_works() -> None:
    """What needs one says which; blocked in an interpreter of its own, so that nothing is loaded already."""
    program = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("datadog", "opentelemetry", "prometheus_client"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import stream_app as faust, importlib
from stream_core.errors import MissingPackageError
app = faust.App("shop", broker="memory://")
assert app.monitor.asdict()["events_total"] == 0
for name in ("statsd", "datadog", "prometheus", "otel"):
    try:
        importlib.import_module("stream_app.sensors." + name)
    except MissingPackageError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("pip install 'stream-app[") == 4, done.stdout
