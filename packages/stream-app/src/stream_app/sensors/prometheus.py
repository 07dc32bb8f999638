"""Faust's metrics for Prometheus, by Faust's names. The page ``/metrics`` of a worker has more, by names of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stream_app.sensors.monitor import Monitor
from stream_core.engine.snapshot import DurationsSnapshot
from stream_core.errors import MissingPackageError
from stream_core.primitives import TP

try:
    from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingPackageError(
        f"the monitor for Prometheus needs its client ({error}); pip install 'stream-app[prometheus]'"
    ) from error

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["PrometheusMonitor", "setup_prometheus_sensors"]

METRICS = "/metrics"


def setup_prometheus_sensors(
    app: Any, pattern: str = METRICS, registry: CollectorRegistry = REGISTRY, name_prefix: str | None = None
) -> None:
    """Show the numbers of an app to Prometheus by Faust's names, and make ``app.monitor`` the monitor that does it.

    Args:
        app: the app; it is not started yet.
        pattern: path of the page. The page ``/metrics`` of the worker shows them beside its own.
        registry: where they are registered.
        name_prefix: what their names begin with; the name of the app when left out.
    """
    app.monitor = monitor = PrometheusMonitor(app, registry=registry, name_prefix=name_prefix)
    if pattern == METRICS and registry is REGISTRY:
        return

    async def page(view: Any, request: Any) -> Any:
        return view.bytes(generate_latest(monitor.registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    app.page(pattern, name="metrics")(page)


class PrometheusMonitor(Monitor):
    """A monitor whose numbers Prometheus collects.

    Args:
        app: the app.
        registry: where it is registered.
        name_prefix: what names begin with; the name of the app when left out.
        options: those of :class:`~stream_app.sensors.monitor.Monitor`.
    """

    abstract = False

    def __init__(
        self, app: Any, *, registry: CollectorRegistry = REGISTRY, name_prefix: str | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.registry = registry
        self.name_prefix = name_prefix or app.conf.name
        registry.register(_Collector(self))


class _Collector(Collector):
    def __init__(self, monitor: PrometheusMonitor) -> None:
        self._monitor = monitor

    def describe(self) -> Iterable[Metric]:
        """Describe nothing: names are not known before the first start."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Make all metrics as they are now."""
        monitor, snapshot = self._monitor, self._monitor.snapshot
        prefix = "".join(char if char.isalnum() else "_" for char in monitor.name_prefix)

        def counter(name: str, value: float) -> Metric:
            return CounterMetricFamily(f"{prefix}_{name}", name.replace("_", " "), value=value)

        def gauge(name: str, value: float) -> Metric:
            return GaugeMetricFamily(f"{prefix}_{name}", name.replace("_", " "), value=value)

        def counters(name: str, label: str, counts: Mapping[Any, float]) -> Metric:
            family = CounterMetricFamily(f"{prefix}_{name}", name.replace("_", " "), labels=[label])
            for value, count in counts.items():
                family.add_metric([str(value)], count)
            return family

        def offsets(name: str, found: Mapping[TP, int]) -> Metric:
            family = GaugeMetricFamily(f"{prefix}_{name}", name.replace("_", " "), labels=["topic", "partition"])
            for tp, offset in found.items():
                family.add_metric([tp.topic, str(tp.partition)], offset)
            return family

        yield counter("messages_received", monitor.messages_received_total)
        yield gauge("active_messages", monitor.messages_active)
        yield counters("messages_received_per_topic", "topic", monitor.messages_received_by_topic)
        yield offsets("messages_received_per_topics_partition", monitor.tp_read_offsets)
        yield counter("total_events", monitor.events_total)
        yield gauge("total_active_events", monitor.events_active)
        yield counters("total_events_per_stream", "stream", monitor.events_by_stream)
        operations = CounterMetricFamily(
            f"{prefix}_table_operations", "table operations", labels=["table", "operation"]
        )
        for name, state in monitor.tables.items():
            for operation, count in state.asdict().items():
                operations.add_metric([name, operation], count)
        yield operations
        yield counters("topic_messages_sent", "topic", monitor.messages_sent_by_topic)
        yield counter("total_sent_messages", monitor.messages_sent)
        yield counter("total_error_messages_sent", monitor.send_errors)
        assigned = {"completed": monitor.assignments_completed, "error": monitor.assignments_failed}
        yield counters("assignment_operations", "operation", assigned)
        yield counter("total_rebalances", monitor.rebalances)
        recovering = any(one.state in ("opening", "replaying") for one in snapshot.tables) if snapshot else False
        yield gauge("total_rebalances_recovering", recovering)
        yield counters("metrics_by_name", "metric", dict(monitor.metric_counts))
        yield counters("http_status_codes", "status_code", monitor.http_response_codes)
        yield offsets("topic_partition_end_offset", monitor.tp_end_offsets)
        yield offsets("topic_partition_offset_commited", monitor.tp_committed_offsets)
        if snapshot is not None:
            yield _histogram(f"{prefix}_producer_send_latency", snapshot.sending)
            yield _histogram(f"{prefix}_consumer_commit_latency", snapshot.checkpoints)
            yield _histogram(f"{prefix}_assign_latency", snapshot.rebalance_moves)
            yield _histogram(f"{prefix}_rebalance_done_consumer_latency", snapshot.rebalance_returns)
            yield _histogram(f"{prefix}_http_latency", snapshot.http.requests)


def _histogram(name: str, durations: DurationsSnapshot) -> Metric:
    buckets = [(f"{bound:g}", float(count)) for bound, count in durations.buckets]
    family = HistogramMetricFamily(name, "Seconds.")
    family.add_metric([], [*buckets, ("+Inf", durations.count)], sum_value=durations.total)
    return family
