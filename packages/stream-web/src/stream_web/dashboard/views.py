"""What one worker tells of itself to whoever looks at all of them, and what that makes together."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TypeVar

import msgspec

from stream_core.counters import Failure
from stream_core.engine.snapshot import Snapshot, TablePartitionSnapshot, TrafficSnapshot
from stream_web.dashboard.samples import PERIOD, Sample

__all__ = [
    "AgentView",
    "Cluster",
    "PartitionView",
    "TopicView",
    "Worker",
    "WorkerView",
    "natural",
    "view_of",
]

S = TypeVar("S", bound=msgspec.Struct)

BEHIND = 5
"""Periods that a worker may be behind others and is still waited for."""


class AgentView(msgspec.Struct, array_like=True, frozen=True):
    """One reader of events, see :class:`~stream_core.engine.snapshot.AgentSnapshot`; ``rate`` is in events per second."""

    name: str
    topics: tuple[str, ...]
    concurrency: int
    running: int
    open: int
    waiting: int
    finished: int
    failures: int
    skipped: int
    dead_letters: int
    rate: float


class PartitionView(msgspec.Struct, array_like=True, frozen=True):
    """One partition that the worker owns, see :class:`~stream_core.engine.snapshot.PartitionSnapshot`."""

    topic: str
    partition: int
    state: str
    lag: int | None
    unreadable: str


class TopicView(msgspec.Struct, array_like=True, frozen=True):
    """What came from one topic, and went there: in all, and records per second."""

    topic: str
    received: int
    sent: int
    bytes_received: int
    bytes_sent: int
    received_rate: float
    sent_rate: float


class WorkerView(msgspec.Struct, frozen=True):
    """How one worker does; :class:`~stream_core.engine.snapshot.Snapshot` has more of it."""

    app: str
    instance: str
    version: str
    time: float
    state: str
    ready: bool
    reason: str
    failed: bool
    generation: int
    settled: bool
    commits: int
    last_commit: float
    drops: int
    open_seconds: float
    agents: tuple[AgentView, ...]
    partitions: tuple[PartitionView, ...]
    tables: tuple[TablePartitionSnapshot, ...]
    topics: tuple[TopicView, ...]
    failures: tuple[Failure, ...]
    samples: tuple[Sample, ...]


def view_of(
    snapshot: Snapshot,
    version: str,
    samples: Sequence[Sample],
    rates: Mapping[tuple[str, str], float],
) -> WorkerView:
    """Make the view of a snapshot.

    Args:
        snapshot: the snapshot.
        version: of the package.
        samples: the last minutes.
        rates: what was counted per second lately, by ``(kind, name)``.
    """
    status, checkpoints = snapshot.status, snapshot.checkpoints
    return WorkerView(
        app=snapshot.app,
        instance=snapshot.instance,
        version=version,
        time=snapshot.time,
        state=status.state,
        ready=status.ready,
        reason=status.reason,
        failed=status.failed,
        generation=snapshot.generation,
        settled=snapshot.owners_settled,
        commits=checkpoints.count,
        last_commit=checkpoints.last,
        drops=sum(snapshot.drops.values()),
        open_seconds=snapshot.interval.age,
        agents=tuple(_seen(AgentView, one, rate=rates.get(("agent", one.name), 0.0)) for one in snapshot.agents),
        partitions=tuple(_seen(PartitionView, one) for one in snapshot.partitions),
        tables=snapshot.tables,
        topics=tuple(_topics(snapshot, rates)),
        failures=snapshot.failures,
        samples=tuple(samples),
    )


def _seen(view: type[S], snapshot: object, **more: object) -> S:
    """Make a view of what a snapshot has under the same names, and of what is told beside it."""
    return view(**{name: more[name] if name in more else getattr(snapshot, name) for name in view.__struct_fields__})


def _topics(snapshot: Snapshot, rates: Mapping[tuple[str, str], float]) -> Iterator[TopicView]:
    received = {one.topic: one for one in snapshot.received}
    sent = {one.topic: one for one in snapshot.sent}
    for name in sorted({*received, *sent}):
        nothing = TrafficSnapshot(name, 0, 0, 0, 0)
        came, went = received.get(name, nothing), sent.get(name, nothing)
        moved = came.records, went.records, came.bytes, went.bytes
        yield TopicView(name, *moved, rates.get(("received", name), 0.0), rates.get(("sent", name), 0.0))


@dataclass(frozen=True)
class Worker:
    """One worker of the group, as far as this one knows it.

    Attributes:
        number: its place in the list, from 1.
        instance: its id.
        url: where it is reached; empty when it tells nothing.
        view: what it tells; ``None`` when it was not heard.
        trouble: why it was not heard.
        here: whether it is this one.
    """

    number: int
    instance: str
    url: str
    view: WorkerView | None
    trouble: str
    here: bool


@dataclass(frozen=True)
class Cluster:
    """All workers of an app.

    Attributes:
        app: its id.
        workers: the workers, by id: from each of them they have the same numbers.
        owners: by topic, by partition the number of the worker that owns it; 0 for one that is not known.
        settled: false while partitions move.
        here: this worker.
    """

    app: str
    workers: tuple[Worker, ...]
    owners: Mapping[str, Mapping[int, int]]
    settled: bool
    here: WorkerView

    @property
    def heard(self) -> list[WorkerView]:
        """What the workers tell that were heard."""
        return [one.view for one in self.workers if one.view is not None]

    def agents(self) -> list[AgentView]:
        """Give the agents, each with the sums over all workers."""
        found: dict[str, list[AgentView]] = defaultdict(list)
        for view in self.heard:
            for agent in view.agents:
                found[agent.name].append(agent)
        return [_together(found[name]) for name in sorted(found, key=natural)]

    def topics(self) -> dict[str, TopicView]:
        """Give what came from the topics and went there, with the sums over all workers."""
        found: dict[str, TopicView] = {}
        for view in self.heard:
            for one in view.topics:
                before = found.get(one.topic)
                values = msgspec.structs.astuple(one)[1:]
                if before is not None:
                    values = tuple(a + b for a, b in zip(msgspec.structs.astuple(before)[1:], values, strict=True))
                found[one.topic] = TopicView(one.topic, *values)
        return found

    def partitions(self) -> dict[str, dict[int, PartitionView]]:
        """Give the partitions of sources by topic and number, of the workers that were heard."""
        found: dict[str, dict[int, PartitionView]] = defaultdict(dict)
        for view in self.heard:
            for one in view.partitions:
                found[one.topic][one.partition] = one
        return found

    def tables(self) -> dict[str, list[TablePartitionSnapshot]]:
        """Give the partitions of tables by the name of the table."""
        found: dict[str, list[TablePartitionSnapshot]] = defaultdict(list)
        for view in self.heard:
            for one in view.tables:
                found[one.table].append(one)
        return {name: sorted(found[name], key=lambda one: one.partition) for name in sorted(found, key=natural)}

    def failures(self, most: int) -> list[tuple[int, Failure]]:
        """Give the failures that came last, the latest first, each with the number of its worker."""
        found = [(one.number, failure) for one in self.workers if one.view for failure in one.view.failures]
        return sorted(found, key=lambda one: one[1].time, reverse=True)[:most]

    @property
    def moment(self) -> int:
        """The last period of which all workers have told, in periods since the epoch; a worker that is far behind is not waited for."""
        last = [view.samples[-1].slot for view in self.heard if view.samples]
        newest = max(last, default=int(self.here.time // PERIOD))
        return min((slot for slot in last if slot >= newest - BEHIND), default=newest)

    def series(self) -> Series:
        """Give what was done per second, and what waited, over the last minutes, of all workers together."""
        made = Series()
        for view in self.heard:
            for before, after in pairwise(view.samples):
                seconds = (after.slot - before.slot) * PERIOD
                if seconds > 0:
                    made.finished[after.slot] += max(after.finished - before.finished, 0) / seconds
                    made.sent[after.slot] += max(after.sent - before.sent, 0) / seconds
                    made.lag[after.slot] += after.lag
        return made


@dataclass
class Series:
    """Numbers by moment, in periods since the epoch; rates are per second."""

    finished: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    sent: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    lag: dict[int, float] = field(default_factory=lambda: defaultdict(float))


def natural(name: str) -> list[tuple[int, str]]:
    """Make a key by which people sort names: ``agent-2`` stands before ``agent-10``."""
    return [(int(part), "") if part.isdecimal() and len(part) < 20 else (-1, part) for part in re.split(r"(\d+)", name)]


def _together(views: Sequence[AgentView]) -> AgentView:
    first = views[0]
    if len(views) == 1:
        return first
    topics = tuple(sorted({topic for view in views for topic in view.topics}))
    sums = [sum(column) for column in zip(*(msgspec.structs.astuple(view)[2:] for view in views), strict=True)]
    return AgentView(first.name, topics, *sums)
