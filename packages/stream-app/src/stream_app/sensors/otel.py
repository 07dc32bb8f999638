"""OpenTelemetry: the numbers of a worker as metrics, and traces that go on from record to record.

A record carries the trace that it belongs to in its header ``traceparent``, as W3C Trace Context says. The event of such a record is a
span of that trace, and what is sent in the event carries the span on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from stream_app.sensors.base import Sensor
from stream_app.sensors.exporter import Measure, measures
from stream_app.sensors.monitor import Monitor
from stream_core.errors import MissingPackageError
from stream_core.primitives import TP

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.propagators.textmap import Getter, Setter
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise MissingPackageError(
        f"traces need OpenTelemetry ({error}); pip install 'stream-app[opentelemetry]'"
    ) from error

__all__ = ["OpenTelemetryMonitor", "OpenTelemetrySensor", "setup_opentelemetry"]

Headers = list[tuple[str, bytes]]

_propagator = TraceContextTextMapPropagator()


class _Headers(Getter[Sequence[tuple[str, bytes]]], Setter[Headers]):
    """Reads and writes the headers of records."""

    def get(self, carrier: Sequence[tuple[str, bytes]], key: str) -> list[str] | None:
        found = [value.decode("ascii", "replace") for name, value in carrier if name == key and value is not None]
        return found or None

    def keys(self, carrier: Sequence[tuple[str, bytes]]) -> list[str]:
        return [name for name, _ in carrier]

    def set(self, carrier: Headers, key: str, value: str) -> None:
        carrier[:] = [pair for pair in carrier if pair[0] != key]
        carrier.append((key, value.encode()))


_headers = _Headers()


def setup_opentelemetry(app: Any, *, tracer: Any = None) -> OpenTelemetrySensor:
    """Trace the events of an app, its sends, timers and HTTP requests. Call it before the app starts.

    Args:
        app: the app.
        tracer: of OpenTelemetry; that of the provider which the program has set when left out.

    Returns:
        the sensor, which is added already.
    """
    app.tracer = tracer or trace.get_tracer("stream_app")
    sensor = OpenTelemetrySensor(app.tracer)
    app.sensors.add(sensor)
    return sensor


class OpenTelemetrySensor(Sensor):
    """Makes a span of each event, and of each HTTP request.

    Args:
        tracer: makes the spans.
    """

    abstract = False

    def __init__(self, tracer: Any, **options: Any) -> None:
        super().__init__(**options)
        self.tracer = tracer

    def on_stream_event_in(self, tp: TP, offset: int, stream: Any, event: Any) -> Any:
        """Begin the span of an event, as a child of what its record carries; it is the current one while the body works."""
        parent = _propagator.extract(event.message.headers, contexts.Context(), getter=_headers)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": tp.topic,
            "messaging.destination.partition.id": str(tp.partition),
            "messaging.kafka.offset": offset,
            "messaging.consumer.group.name": self.app.id if self.app is not None else "",
        }
        span = self.tracer.start_span(
            f"{stream.name} {tp.topic}", context=parent, kind=SpanKind.CONSUMER, attributes=attributes
        )
        before, task = contexts.get_current(), _task()
        contexts.attach(trace.set_span_in_context(span, before))
        return span, before, task

    def on_stream_event_out(self, tp: TP, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        """End the span. An event that is dropped may end in another task, where nothing is current."""
        if state is None:
            return
        span, before, task = state
        if task is _task() and trace.get_current_span() is span:
            contexts.attach(before)
        span.end()

    def on_send_headers(self, topic: str, headers: Headers) -> None:
        """Let a record carry the current span."""
        _propagator.inject(headers, setter=_headers)

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        """Begin the span of a request, as a child of what its headers carry."""
        parent = _propagator.extract(dict(request.headers.items()))
        resource = request.match_info.route.resource
        name = f"{request.method} {resource.canonical if resource is not None else 'unknown'}"
        span = self.tracer.start_span(name, context=parent, kind=SpanKind.SERVER)
        before = contexts.get_current()
        contexts.attach(trace.set_span_in_context(span, before))
        return span, before

    def on_web_request_end(self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None) -> None:
        """End the span, with the status of the answer."""
        if state is None:
            return
        span, before = state
        status = response.status if response is not None else 500
        span.set_attribute("http.response.status_code", status)
        if status >= 500:
            span.set_status(StatusCode.ERROR)
        contexts.attach(before)
        span.end()


def _task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs
        return None


class OpenTelemetryMonitor(Monitor):
    """The numbers of a worker as metrics of OpenTelemetry. Whatever reads the meter reads them: they are made when it asks.

    Args:
        meter: of OpenTelemetry; that of the provider which the program has set when left out.
        service_name: of the meter, where that is left out.
        options: those of :class:`~stream_app.sensors.monitor.Monitor`.
    """

    abstract = False

    def __init__(self, *, meter: Meter | None = None, service_name: str = "faust", **options: Any) -> None:
        super().__init__(**options)
        self.meter = meter or metrics.get_meter(service_name)
        for short, name in COUNTERS.items():
            self.meter.create_observable_counter(name, [self._reads_of(short, "count")])
        for short, name in GAUGES.items():
            self.meter.create_observable_gauge(name, [self._reads_of(short, "gauge")])
        self._latencies = {
            name: self.meter.create_histogram(f"faust.{name}", unit="s")
            for name in (
                "commit.latency",
                "assignment.latency",
                "rebalance.return_latency",
                "rebalance.end_latency",
                "http.latency",
            )
        }
        self.meter.create_observable_counter("faust.custom.count", [self._custom])

    def _reads_of(self, short: str, kind: str) -> Callable[[CallbackOptions], Iterator[Observation]]:
        def read(options: CallbackOptions) -> Iterator[Observation]:
            for one in self._measures():
                if one.short == short and one.kind == kind:
                    yield Observation(one.value, dict(one.tags))

        return read

    def _measures(self) -> Iterable[Measure]:
        snapshot = self.snapshot
        return () if snapshot is None else measures(None, snapshot)

    def _custom(self, options: CallbackOptions) -> Iterator[Observation]:
        for name, count in list(self.metric_counts.items()):
            yield Observation(count, {"metric": name})

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """Record how long it took."""
        super().on_commit_completed(consumer, state)
        self._record("commit.latency", state)

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        """Record how long it took."""
        super().on_assignment_completed(assignor, state)
        self._record("assignment.latency", state)

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """Record how long it took."""
        super().on_rebalance_return(app, state)
        self._record("rebalance.return_latency", state)

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Record how long it took."""
        super().on_rebalance_end(app, state)
        self._record("rebalance.end_latency", state)

    def on_web_request_end(self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None) -> None:
        """Record how long it took."""
        super().on_web_request_end(app, request, response, state, view=view)
        self._record("http.latency", state)

    def _record(self, name: str, started: float | None) -> None:
        if started is not None:
            self._latencies[name].record(self.secs_since(started))


COUNTERS = {
    "topic_messages_received": "faust.messages.received",
    "topic_messages_sent": "faust.messages.sent",
    "messages_sent_error": "faust.messages.send_errors",
    "stream_events": "faust.events.total",
    "table_keys_updated": "faust.table.updates",
    "table_keys_deleted": "faust.table.deletes",
    "assignments_complete": "faust.assignments",
    "http_status_code": "faust.http.requests",
}
"""Counters, and which numbers of a worker they are."""

GAUGES = {
    "messages_active": "faust.messages.active",
    "events_active": "faust.events.active",
    "rebalances_recovering": "faust.rebalances.recovering",
    "read_offset": "faust.offset.read",
    "committed_offset": "faust.offset.committed",
    "end_offset": "faust.offset.end",
    "lag": "faust.offset.lag",
}
"""Gauges, likewise."""
