"""Monitors that push their numbers: from a thread of their own, so that an exporter which hangs stands still alone."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, NamedTuple

from stream_app.sensors.monitor import Monitor
from stream_core.engine.snapshot import DurationsSnapshot, Snapshot

__all__ = ["Measure", "PushMonitor", "measures"]


class Measure(NamedTuple):
    """One number to push.

    Attributes:
        kind: ``count`` for what was added since the last push, ``gauge`` for what is, ``timing`` for milliseconds.
        name: where the names of topics and the like are parts of names; in Faust's words.
        short: where they are tags.
        tags: these.
        value: the number.
    """

    kind: str
    name: str
    short: str
    tags: tuple[tuple[str, str], ...]
    value: float


class PushMonitor(Monitor):
    """A monitor that pushes what has changed, in steady intervals.

    Args:
        interval: seconds between two pushes.
        grace: seconds for the last push, when the app stops; one that hangs ends with the process.
        options: those of :class:`~stream_app.sensors.monitor.Monitor`.
    """

    abstract = True

    def __init__(self, *, interval: float = 10.0, grace: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.interval = interval
        self.grace = grace
        self._before: Snapshot | None = None
        self._counted: dict[str, int] = {}
        self._quit = threading.Event()
        self._thread: threading.Thread | None = None

    async def on_start(self) -> None:
        """Begin to push."""
        if self._thread is not None and self._thread.is_alive():
            return  # it hangs in a push of the run before, and goes on when that is over
        self._quit = threading.Event()
        self._before = None
        self._thread = threading.Thread(
            target=self._run, args=(self._quit,), name=f"{self.label} of metrics", daemon=True
        )
        self._thread.start()

    async def on_stop(self) -> None:
        """Push what is left, and end; a push that hangs is left alone."""
        self._quit.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, self.grace)

    def _run(self, end: threading.Event) -> None:
        while not end.wait(self.interval):
            self._push()
        self._push()
        self.close()

    def _push(self) -> None:
        try:
            if (snapshot := self.snapshot) is not None:
                self.push([*measures(self._before, snapshot), *self._own()])
                self._before = snapshot
        except Exception as error:
            if self.app is not None:
                self.app.sensors.failed(self, "push", error)

    def _own(self) -> Iterator[Measure]:
        """Give what only the monitor counts."""
        for name, count in list(self.metric_counts.items()):
            if grown := count - self._counted.get(name, 0):
                yield Measure("count", name, name, (), grown)
            self._counted[name] = count
        grown = self.assignments_failed - self._counted.get("\0failed", 0)
        self._counted["\0failed"] = self.assignments_failed
        yield Measure("count", "assignments_error", "assignments_error", (), grown)

    def close(self) -> None:
        """Close what pushes; called after the last push."""

    @abstractmethod
    def push(self, found: list[Measure]) -> None:
        """Send numbers, in a thread; what this raises is logged once, and counted."""


def measures(before: Snapshot | None, now: Snapshot) -> Iterator[Measure]:
    """Give the numbers of a worker under Faust's names.

    Args:
        before: what was pushed last; ``None`` where nothing was.
        now: what is now.
    """
    yield from _traffic("messages_received", _records(before, "received"), now.received)
    yield from _traffic("messages_sent", _records(before, "sent"), now.sent)
    failed = sum(one.failed for one in before.sent) if before else 0
    yield _plain("count", "messages_sent_error", sum(one.failed for one in now.sent) - failed)
    active = sum(one.waiting + one.open for one in now.agents)
    yield _plain("gauge", "messages_active", active)
    yield _plain("gauge", "events_active", sum(one.open for one in now.agents))
    finished = {one.name: (one.finished, one.busy) for one in before.agents} if before else {}
    for agent in now.agents:
        events, busy = finished.get(agent.name, (0, 0.0))
        grown, tags = agent.finished - events, (("stream", agent.name),)
        yield Measure("count", f"stream.{agent.name}.events", "stream_events", tags, grown)
        if grown > 0:
            yield Measure("timing", "events_runtime", "events_runtime", tags, 1000 * (agent.busy - busy) / grown)
    total = sum(one.finished for one in now.agents) - sum(events for events, _ in finished.values())
    yield _plain("count", "events", total)
    changed = {one.table: (one.updated, one.deleted) for one in before.changes} if before else {}
    for table in now.changes:
        updated, deleted = changed.get(table.table, (0, 0))
        tags = (("table", table.table),)
        yield Measure("count", f"table.{table.table}.keys_updated", "table_keys_updated", tags, table.updated - updated)
        yield Measure("count", f"table.{table.table}.keys_deleted", "table_keys_deleted", tags, table.deleted - deleted)
    for one in now.partitions:
        place = (("topic", one.topic), ("partition", str(one.partition)))
        for name, offset in (("read", one.fetched), ("committed", one.committed), ("end", one.end)):
            if offset is not None:
                yield Measure("gauge", f"{name}_offset.{one.topic}.{one.partition}", f"{name}_offset", place, offset)
        if one.lag is not None:
            yield Measure("gauge", f"lag.{one.topic}.{one.partition}", "lag", place, one.lag)
    for name, durations, old in (
        ("commit_latency", now.checkpoints, before.checkpoints if before else None),
        ("send_latency", now.sending, before.sending if before else None),
        ("assignment_latency", now.rebalance_moves, before.rebalance_moves if before else None),
        ("rebalance_return_latency", now.rebalance_returns, before.rebalance_returns if before else None),
        ("http_response_latency", now.http.requests, before.http.requests if before else None),
    ):
        yield from _timing(name, old, durations)
    moves = before.rebalance_moves.count if before else 0
    yield _plain("count", "assignments_complete", now.rebalance_moves.count - moves)
    taken = before.rebalances if before else {}
    gone = sum(now.rebalances.get(kind, 0) - taken.get(kind, 0) for kind in ("revoked", "lost"))
    yield _plain("count", "rebalances", gone)
    recovering = any(one.state in ("opening", "replaying") for one in now.tables)
    yield _plain("gauge", "rebalances_recovering", float(recovering))
    statuses = before.http.statuses if before else {}
    for status, count in now.http.statuses.items():
        grown, tags = count - statuses.get(status, 0), (("status_code", str(status)),)
        yield Measure("count", f"http_status_code.{status}", "http_status_code", tags, grown)


def _plain(kind: str, name: str, value: float) -> Measure:
    """Make a number without tags."""
    return Measure(kind, name, name, (), value)


def _records(before: Snapshot | None, way: str) -> dict[str, int]:
    return {one.topic: one.records for one in getattr(before, way)} if before else {}


def _traffic(name: str, before: dict[str, int], now: Any) -> Iterator[Measure]:
    for one in now:
        grown = one.records - before.get(one.topic, 0)
        yield Measure("count", f"topic.{one.topic}.{name}", f"topic_{name}", (("topic", one.topic),), grown)
    yield Measure("count", name, name, (), sum(one.records for one in now) - sum(before.values()))


def _timing(name: str, before: DurationsSnapshot | None, now: DurationsSnapshot) -> Iterator[Measure]:
    """Give the mean of those that have come since the last push."""
    count, total = (before.count, before.total) if before else (0, 0.0)
    if now.count > count:
        yield Measure("timing", name, name, (), 1000 * (now.total - total) / (now.count - count))
