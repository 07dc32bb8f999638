"""The monitor: the numbers of a worker under Faust's names. They are made of a snapshot when somebody reads them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import Any

from stream_app.sensors.base import Sensor
from stream_core.primitives import TP

__all__ = ["Monitor", "TableState"]


@dataclass
class TableState:
    """What is counted of one table.

    Attributes:
        table: its name.
        keys_retrieved: how often a key was read; counted only by a monitor that is made with ``count_table_reads=True``.
        keys_updated: keys that were assigned, once for each checkpoint.
        keys_deleted: keys that were deleted, likewise.
    """

    table: str
    keys_retrieved: int = 0
    keys_updated: int = 0
    keys_deleted: int = 0

    def asdict(self) -> dict[str, int]:
        """Give the numbers by their names."""
        return {name: value for name, value in asdict(self).items() if name != "table"}


class Monitor(Sensor):
    """The numbers of a worker: ``app.monitor``.

    Counts come from the counters of the worker, once for each batch, and cost nothing for an event; what happens again after a failure
    counts again. They begin anew when the app starts again. A class of your own may override callbacks, as of any sensor.

    Args:
        max_avg_history: from how many last values averages are made.
        max_commit_latency_history: how many last values of ``commit_latency`` are kept.
        max_send_latency_history: likewise.
        max_assignment_latency_history: likewise.
        count_table_reads: count each read of a table, which costs about as much as the read.
        time: the clock, in seconds.

    Attributes:
        commit_latency: how long the last commits of offsets took, in seconds.
        send_latency: how long the last batches took that were acknowledged when somebody looked, in seconds.
        assignment_latency: how long it took the last times from an assignment until all partitions were worked on, in seconds.
        assignments_failed: how often partitions went away before that.
        rebalances: how many rebalances there were.
        rebalance_return_latency: how long partitions were gone in the last ones, in seconds.
        rebalance_end_latency: how long the last ones took as a whole, in seconds.
        http_response_latency: how long the last HTTP requests took, in seconds.
        metric_counts: what the program has counted by :meth:`count`.
        time: the clock.
    """

    abstract = False

    def __init__(
        self,
        *,
        max_avg_history: int = 100,
        max_commit_latency_history: int = 30,
        max_send_latency_history: int = 30,
        max_assignment_latency_history: int = 30,
        count_table_reads: bool = False,
        time: Callable[[], float] = monotonic,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.time = time
        self.commit_latency: deque[float] = deque(maxlen=max_commit_latency_history)
        self.send_latency: deque[float] = deque(maxlen=max_send_latency_history)
        self.assignment_latency: deque[float] = deque(maxlen=max_assignment_latency_history)
        self.assignments_failed = 0
        self.rebalances = 0
        self.rebalance_return_latency: deque[float] = deque(maxlen=max_avg_history)
        self.rebalance_end_latency: deque[float] = deque(maxlen=max_avg_history)
        self.http_response_latency: deque[float] = deque(maxlen=max_avg_history)
        self.metric_counts: Counter[str] = Counter()
        self._reads: Counter[str] = Counter()
        self._ends: dict[TP, int] = {}
        self._rates: dict[str, tuple[float, int, float]] = {}
        self._batches = 0
        if count_table_reads:
            self.on_table_get = self._count_read  # type: ignore[method-assign]

    # -- helpers

    def count(self, metric_name: str, count: int = 1) -> None:
        """Count something of the program's own."""
        self.metric_counts[metric_name] += count

    def secs_since(self, start_time: float) -> float:
        """Give the seconds since a time of :attr:`time`."""
        return self.time() - start_time

    def ms_since(self, start_time: float) -> float:
        """Give the milliseconds since a time of :attr:`time`."""
        return self.secs_to_ms(self.secs_since(start_time))

    def secs_to_ms(self, timestamp: float) -> float:
        """Give milliseconds for seconds."""
        return timestamp * 1000.0

    def track_tp_end_offset(self, tp: TP, offset: int) -> None:
        """Take note of the end of a partition that the worker has not read yet: what it reads tells it by itself."""
        self._ends[tp] = offset

    # -- records and events

    @property
    def messages_active(self) -> int:
        """Records in memory that are not finished by all who read them."""
        return sum(one.waiting + one.open for one in self.snapshot.agents) if self.snapshot else 0

    @property
    def messages_received_total(self) -> int:
        """Records that were fetched."""
        return sum(self.messages_received_by_topic.values())

    @property
    def messages_received_by_topic(self) -> dict[str, int]:
        """The same by topic."""
        return {one.topic: one.records for one in self.snapshot.received} if self.snapshot else {}

    @property
    def messages_s(self) -> float:
        """Records that were fetched in a second, since somebody asked for it at least a second ago."""
        return self._rate("messages", self.messages_received_total)

    @property
    def messages_sent(self) -> int:
        """Records that brokers have acknowledged."""
        return sum(self.messages_sent_by_topic.values())

    @property
    def messages_sent_by_topic(self) -> dict[str, int]:
        """The same by topic."""
        return {one.topic: one.records for one in self.snapshot.sent} if self.snapshot else {}

    @property
    def events_active(self) -> int:
        """Events that are open."""
        return sum(one.open for one in self.snapshot.agents) if self.snapshot else 0

    @property
    def events_total(self) -> int:
        """Events that are finished, counted for each reader."""
        return sum(self.events_by_task.values())

    @property
    def events_s(self) -> float:
        """Events that were finished in a second, since somebody asked for it at least a second ago."""
        return self._rate("events", self.events_total)

    @property
    def events_by_task(self) -> dict[str, int]:
        """The finished events of each agent."""
        return {one.name: one.finished for one in self.snapshot.agents} if self.snapshot else {}

    @property
    def events_by_stream(self) -> dict[str, int]:
        """The same: each agent has one stream."""
        return self.events_by_task

    @property
    def events_runtime_avg(self) -> float:
        """Seconds that a finished event took, in the mean, with all that its body waited for."""
        snapshot = self.snapshot
        busy = sum(one.busy for one in snapshot.agents) if snapshot else 0.0
        return busy / self.events_total if self.events_total else 0.0

    @property
    def send_errors(self) -> int:
        """Batches of records that brokers have not acknowledged."""
        return sum(one.failed for one in self.snapshot.sent) if self.snapshot else 0

    @property
    def topic_buffer_full(self) -> Counter[str]:
        """How often partitions were paused because enough of their records waited, by topic."""
        return Counter(self.snapshot.paused if self.snapshot else {})

    @property
    def tables(self) -> dict[str, TableState]:
        """What is counted of each table."""
        snapshot = self.snapshot
        names = {*self._reads, *(one.table for one in snapshot.tables)} if snapshot else set(self._reads)
        found = {name: TableState(name, self._reads[name]) for name in sorted(names)}
        for one in snapshot.changes if snapshot else ():
            state = found.setdefault(one.table, TableState(one.table, self._reads[one.table]))
            state.keys_updated, state.keys_deleted = one.updated, one.deleted
        return found

    # -- offsets

    @property
    def tp_committed_offsets(self) -> dict[TP, int]:
        """The committed offset of each partition that the worker owns, as far as it is known."""
        return self._offsets("committed")

    @property
    def tp_read_offsets(self) -> dict[TP, int]:
        """The offset after what was fetched, likewise."""
        return self._offsets("fetched")

    @property
    def tp_end_offsets(self) -> dict[TP, int]:
        """The offset after the last record, likewise."""
        return {**self._ends, **self._offsets("end")}

    def _offsets(self, name: str) -> dict[TP, int]:
        found = (
            {TP(one.topic, one.partition): getattr(one, name) for one in self.snapshot.partitions}
            if self.snapshot
            else {}
        )
        return {tp: offset for tp, offset in found.items() if offset is not None}

    # -- the group, and the web

    @property
    def assignments_completed(self) -> int:
        """How often partitions were assigned, and all of them worked on."""
        return self.snapshot.rebalance_moves.count if self.snapshot else 0

    @property
    def rebalance_return_avg(self) -> float:
        """The mean of :attr:`rebalance_return_latency`."""
        return _mean(self.rebalance_return_latency)

    @property
    def rebalance_end_avg(self) -> float:
        """The mean of :attr:`rebalance_end_latency`."""
        return _mean(self.rebalance_end_latency)

    @property
    def http_response_codes(self) -> Counter[int]:
        """How many answers of the web server had each status."""
        return Counter(self.snapshot.http.statuses if self.snapshot else {})

    @property
    def http_response_latency_avg(self) -> float:
        """The mean of :attr:`http_response_latency`."""
        return _mean(self.http_response_latency)

    # -- what it hears

    def on_commit_initiated(self, consumer: Any) -> Any:
        """Begin to measure."""
        return self.time()

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        """Measure."""
        if state is not None:
            self.commit_latency.append(self.secs_since(state))
        if (snapshot := self.snapshot) is not None and snapshot.sending.count != self._batches:
            self._batches = snapshot.sending.count
            self.send_latency.append(snapshot.sending.last)

    def on_assignment_start(self, assignor: Any) -> Any:
        """Begin to measure."""
        return self.time()

    def on_assignment_error(self, assignor: Any, state: Any, exc: BaseException) -> None:
        """Count."""
        self.assignments_failed += 1

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        """Measure."""
        if state is not None:
            self.assignment_latency.append(self.secs_since(state))

    def on_rebalance_start(self, app: Any) -> Any:
        """Count, and begin to measure."""
        self.rebalances += 1
        return self.time()

    def on_rebalance_return(self, app: Any, state: Any) -> None:
        """Measure."""
        if state is not None:
            self.rebalance_return_latency.append(self.secs_since(state))

    def on_rebalance_end(self, app: Any, state: Any) -> None:
        """Measure."""
        if state is not None:
            self.rebalance_end_latency.append(self.secs_since(state))

    def on_web_request_start(self, app: Any, request: Any, *, view: Any = None) -> Any:
        """Begin to measure."""
        return self.time()

    def on_web_request_end(self, app: Any, request: Any, response: Any, state: Any, *, view: Any = None) -> None:
        """Measure."""
        if state is not None:
            self.http_response_latency.append(self.secs_since(state))

    def _count_read(self, table: Any, key: Any) -> None:
        self._reads[table.name] += 1

    def _rate(self, name: str, total: int) -> float:
        """Give the growth of a number in a second, between two moments of which others have asked that are a second apart."""
        now = self.time()
        since, before, rate = self._rates.get(name, (now, total, 0.0))
        if total < before:  # the worker has started anew
            since, before = now, total
        if now - since >= 1.0:
            rate = (total - before) / (now - since)
            since, before = now, total
        self._rates[name] = since, before, rate
        return rate

    def asdict(self) -> dict[str, Any]:
        """Give all of it, as plain values; topics and partitions are texts."""
        return {
            "messages_active": self.messages_active,
            "messages_received_total": self.messages_received_total,
            "messages_sent": self.messages_sent,
            "messages_sent_by_topic": self.messages_sent_by_topic,
            "messages_s": self.messages_s,
            "messages_received_by_topic": self.messages_received_by_topic,
            "events_active": self.events_active,
            "events_total": self.events_total,
            "events_s": self.events_s,
            "events_runtime_avg": self.events_runtime_avg,
            "events_by_task": self.events_by_task,
            "events_by_stream": self.events_by_stream,
            "commit_latency": list(self.commit_latency),
            "send_latency": list(self.send_latency),
            "send_errors": self.send_errors,
            "assignment_latency": list(self.assignment_latency),
            "assignments_completed": self.assignments_completed,
            "assignments_failed": self.assignments_failed,
            "topic_buffer_full": dict(self.topic_buffer_full),
            "tables": {name: state.asdict() for name, state in self.tables.items()},
            "metric_counts": dict(self.metric_counts),
            "topic_committed_offsets": _by_topic(self.tp_committed_offsets),
            "topic_read_offsets": _by_topic(self.tp_read_offsets),
            "topic_end_offsets": _by_topic(self.tp_end_offsets),
            "rebalances": self.rebalances,
            "rebalance_return_latency": list(self.rebalance_return_latency),
            "rebalance_end_latency": list(self.rebalance_end_latency),
            "rebalance_return_avg": self.rebalance_return_avg,
            "rebalance_end_avg": self.rebalance_end_avg,
            "http_response_codes": dict(self.http_response_codes),
            "http_response_latency": list(self.http_response_latency),
            "http_response_latency_avg": self.http_response_latency_avg,
        }


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _by_topic(offsets: Mapping[TP, int]) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for tp, offset in sorted(offsets.items()):
        found.setdefault(tp.topic, {})[tp.partition] = offset
    return found
