"""The snapshot of a worker as metrics of Prometheus, and the page that shows them.

The names of agents, topics, tables and partitions are labels; nothing that a record says is one, so their number is bounded by what the
app defines and what the worker owns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiohttp import hdrs, web
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from stream_core.engine.snapshot import DurationsSnapshot, Snapshot, TrafficSnapshot

__all__ = ["Metrics", "SnapshotCollector"]

Row = tuple[tuple[str, ...], float | None]
"""The values of the labels, and the value of the metric; ``None`` when there is none now."""


class Metrics:
    """The page ``/metrics``: the metrics of a worker, and after them those that its program has registered.

    Args:
        snapshot: asked at each request; it must not wait.
        registry: of the metrics of the program; that of the process when left out.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], registry: CollectorRegistry = REGISTRY) -> None:
        # A registry of its own: two workers in one process have metrics of the same names, and each shows its own.
        self._own = CollectorRegistry(auto_describe=False)
        self._own.register(SnapshotCollector(snapshot))
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """Give the route of this page."""
        return [web.get("/metrics", self._metrics)]

    async def _metrics(self, request: web.Request) -> web.Response:
        text = generate_latest(self._own) + generate_latest(self._registry)
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})


class SnapshotCollector(Collector):
    """Makes metrics of a snapshot; it can be registered in any registry of ``prometheus_client``."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Make all metrics as they are now."""
        snapshot = self._snapshot()
        yield from _worker(snapshot)
        yield from _agents(snapshot)
        yield from _partitions(snapshot)
        yield from _tables(snapshot)
        yield from _intervals(snapshot)
        yield from _group_and_web(snapshot)
        yield from _traffic("received", "that the worker has fetched", snapshot.received)
        yield from _traffic("sent", "that brokers have acknowledged", snapshot.sent)
        failed = {one.topic: one.failed for one in snapshot.sent}
        yield _counts(
            "stream_sent_failed_batches", "Batches of records that brokers have not acknowledged.", "topic", failed
        )


# -- how a metric is made


def _gauge(name: str, help_: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def _counter(name: str, help_: str, labels: Sequence[str], rows: Iterable[Row]) -> Metric:
    family = CounterMetricFamily(name, help_, labels=labels)
    for values, value in rows:
        if value is not None:
            family.add_metric(values, value)
    return family


def _single(name: str, help_: str, value: float | None) -> Metric:
    return _gauge(name, help_, (), [((), value)])


def _counts(name: str, help_: str, label: str, counts: Mapping[Any, float]) -> Metric:
    return _counter(name, help_, [label], (((str(key),), count) for key, count in counts.items()))


def _histogram(name: str, help_: str, durations: DurationsSnapshot) -> Metric:
    family = HistogramMetricFamily(name, help_)
    buckets = [(f"{bound:g}", float(count)) for bound, count in durations.buckets]
    family.add_metric([], [*buckets, ("+Inf", float(durations.count))], durations.total)
    return family


# -- the metrics


def _worker(snapshot: Snapshot) -> Iterator[Metric]:
    status = snapshot.status
    about = {"app": snapshot.app, "instance": snapshot.instance, "state": status.state}
    yield InfoMetricFamily("stream_worker", "Which worker this is, and what it does.", about)
    yield _single("stream_ready", "1 while the worker has its partitions and works on them.", status.ready)
    yield _single("stream_failed", "1 when the worker cannot go on.", status.failed)
    settled = snapshot.owners_settled
    yield _single("stream_owners_settled", "0 while partitions of the group are on the move.", settled)
    moved = "How often partitions were assigned, revoked, and lost to other workers."
    yield _counts("stream_rebalances", moved, "kind", snapshot.rebalances)
    asked = "What became of questions that were asked of agents."
    yield _counts("stream_asks", asked, "outcome", snapshot.asks)


def _agents(snapshot: Snapshot) -> Iterator[Metric]:
    agents = snapshot.agents
    names = [(one.name,) for one in agents]
    for kind, name, help_, values in (
        (_gauge, "actors", "Actors that run.", [one.running for one in agents]),
        (_gauge, "open_events", "Events that are open.", [one.open for one in agents]),
        (_gauge, "waiting_records", "Records in memory that wait for the agent.", [one.waiting for one in agents]),
        (_counter, "events", "Events that are finished.", [one.finished for one in agents]),
        (
            _counter,
            "busy_seconds",
            "Seconds for which the agent has worked on its events, or waited in them.",
            [one.busy for one in agents],
        ),
        (_counter, "failures", "How often an event, or the body, has failed.", [one.failures for one in agents]),
        (_counter, "skipped_events", "Events that a failure policy has skipped.", [one.skipped for one in agents]),
        (
            _counter,
            "dead_letters",
            "Events that a failure policy has sent to the dead letters.",
            [one.dead_letters for one in agents],
        ),
    ):
        yield kind(f"stream_agent_{name}", help_, ["agent"], zip(names, values, strict=True))


def _partitions(snapshot: Snapshot) -> Iterator[Metric]:
    labels, owned = ["topic", "partition"], snapshot.partitions
    names = [(one.topic, str(one.partition)) for one in owned]
    for name, help_, values in (
        ("committed_offset", "The offset that is committed.", [one.committed for one in owned]),
        ("position", "The offset that would be committed now.", [one.position for one in owned]),
        ("end_offset", "The offset after the last record, as of the last fetch.", [one.end for one in owned]),
        ("lag", "Records that are not finished by all readers.", [one.lag for one in owned]),
        ("event_time_seconds", "Timestamp of the last record that was fetched.", [one.event_time for one in owned]),
        ("unreadable", "1 while the partition cannot be read.", [float(bool(one.unreadable)) for one in owned]),
    ):
        yield _gauge(f"stream_partition_{name}", help_, labels, zip(names, values, strict=True))
    readers = [((one.reader, *name), one.lag) for name, part in zip(names, owned, strict=True) for one in part.readers]
    yield _gauge("stream_reader_lag", "Records that one reader has not finished.", ["reader", *labels], readers)


def _tables(snapshot: Snapshot) -> Iterator[Metric]:
    tables = snapshot.tables
    names = [(one.table, str(one.partition)) for one in tables]
    for name, help_, values in (
        ("running", "1 when the partition is recovered and works.", [one.state == "running" for one in tables]),
        ("changed_keys", "Keys that were changed and are not stored.", [one.changed_keys for one in tables]),
        ("changed_bytes", "About how many bytes these changes have.", [one.changed_bytes for one in tables]),
        ("left_to_recover", "Changelog offsets to go.", [one.to_recover - one.recovered for one in tables]),
        ("stored_keys", "About how many keys its store has.", [one.stored_keys for one in tables]),
        ("stored_bytes", "About how many bytes its store takes.", [one.stored_bytes for one in tables]),
        ("event_time_seconds", "Time by which its windows close.", [one.event_time for one in tables]),
    ):
        yield _gauge(f"stream_table_{name}", help_, ["table", "partition"], zip(names, values, strict=True))
    recovered = [((), snapshot.recovered_records)]
    yield _counter("stream_recovered_records", "Changelog records that recoveries have read.", (), recovered)


def _intervals(snapshot: Snapshot) -> Iterator[Metric]:
    interval, checkpoints = snapshot.interval, snapshot.checkpoints
    yield _single("stream_interval_age_seconds", "Seconds since the last commit.", interval.age)
    yield _single("stream_interval_events", "Events that are finished and not committed.", interval.events)
    yield _single("stream_interval_bytes", "About how many bytes of tables are not committed.", interval.bytes)
    yield _single("stream_backlog_bytes", "Bytes that are sent and not acknowledged.", interval.backlog)
    dropped = "How often the work since the last commit was dropped, to be done again."
    yield _counts("stream_dropped_intervals", dropped, "reason", snapshot.drops)
    yield _histogram("stream_checkpoint_seconds", "How long checkpoints took.", checkpoints)
    yield _single("stream_checkpoint_longest_seconds", "How long the longest checkpoint took.", checkpoints.longest)


def _group_and_web(snapshot: Snapshot) -> Iterator[Metric]:
    yield _histogram("stream_send_seconds", "How long batches took until they were acknowledged.", snapshot.sending)
    returns, moves = snapshot.rebalance_returns, snapshot.rebalance_moves
    yield _histogram("stream_rebalance_return_seconds", "How long rebalances took until partitions came.", returns)
    yield _histogram("stream_rebalance_open_seconds", "How long assigned partitions took to be worked on.", moves)
    yield _histogram("stream_http_request_seconds", "How long HTTP requests took.", snapshot.http.requests)
    yield _counts("stream_http_responses", "Answers to HTTP requests.", "status", snapshot.http.statuses)
    paused = "How often enough records of a partition waited."
    yield _counts("stream_paused_partitions", paused, "topic", snapshot.paused)
    updated = {one.table: one.updated for one in snapshot.changes}
    yield _counts("stream_table_updated_keys", "Keys that checkpoints have updated.", "table", updated)
    deleted = {one.table: one.deleted for one in snapshot.changes}
    yield _counts("stream_table_deleted_keys", "Keys that checkpoints have deleted.", "table", deleted)
    failed = "How often a sensor has failed, or was late."
    yield _counts("stream_sensor_errors", failed, "sensor", snapshot.sensor_errors)


def _traffic(way: str, what: str, topics: Sequence[TrafficSnapshot]) -> Iterator[Metric]:
    for unit, help_, counts in (
        ("records", f"Records {what}.", {one.topic: one.records for one in topics}),
        ("bytes", f"About how many bytes the records have {what}.", {one.topic: one.bytes for one in topics}),
        ("batches", f"Batches {what}.", {one.topic: one.batches for one in topics}),
    ):
        yield _counts(f"stream_{way}_{unit}", help_, "topic", counts)
