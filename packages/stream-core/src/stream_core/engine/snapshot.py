"""How a worker does at one moment: frozen, made of plain values, and of what is in memory only.

A :class:`Snapshot` is what pages, metrics, health checks and tests look at, so that none of them reads the parts of an engine. It
costs no request to a broker and no read of a disk: of stores it has what they count by themselves. Numbers that come from brokers are as
old as the last answer that told them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from stream_core.counters import BOUNDS, Failure

__all__ = [
    "AgentSnapshot",
    "DurationsSnapshot",
    "HttpSnapshot",
    "IntervalSnapshot",
    "MemberSnapshot",
    "OwnerSnapshot",
    "PartitionSnapshot",
    "ReadingSnapshot",
    "Recovery",
    "Snapshot",
    "Status",
    "TableChanges",
    "TablePartitionSnapshot",
    "TrafficSnapshot",
    "as_json",
]


@dataclass(frozen=True, slots=True)
class Recovery:
    """How far the recovery of tables is, of all partitions that recover now together.

    Attributes:
        partitions: how many recover now.
        done: changelog offsets that they have passed.
        total: changelog offsets that they have to pass in all; it grows while more partitions begin.
        rate: changelog offsets a second since they began.
        left: seconds that the rest takes at this rate; ``None`` while nothing is known of it.
    """

    partitions: int
    done: int
    total: int
    rate: float
    left: float | None

    @classmethod
    def of(cls, tables: Iterable[TablePartitionSnapshot]) -> Recovery | None:
        """Sum partitions of tables up; ``None`` when none of them recovers."""
        parts = [one for one in tables if one.to_recover]
        if not parts:
            return None
        done, total = sum(one.recovered for one in parts), sum(one.to_recover for one in parts)
        rate = sum(one.recovery_rate for one in parts)
        return cls(len(parts), done, total, rate, (total - done) / rate if rate else None)


@dataclass(frozen=True, slots=True)
class Status:
    """How a worker does, in a word.

    Attributes:
        state: see :class:`~stream_core.states.EngineState`.
        ready: whether it has its partitions, can read all of them and works on them.
        reason: why not, in a few words that may be shown to anybody, such as ``recovering``; empty when it is ready.
        failed: whether it cannot go on, and would after a restart at best.
        recovery: how far the tables are, while it recovers.
    """

    state: str
    ready: bool
    reason: str
    failed: bool
    recovery: Recovery | None = None


@dataclass(frozen=True, slots=True)
class AgentSnapshot:
    """One reader of events: an agent, a pipe of ``through`` or ``group_by``, or a stream outside of agents.

    Attributes:
        name: unique in the app; progress is committed under it.
        topics: what it reads; none when that is a channel.
        concurrency: how many actors it has.
        running: how many of them run; zero for a stream outside of agents, which runs in the code of its user.
        open: how many events are open now.
        waiting: records in memory that wait for it.
        finished: see :class:`~stream_core.counters.ReaderCounts`, as for the next three.
        failures: how often an event, or the body, has failed.
        skipped: events that a policy has skipped.
        dead_letters: events that a policy has sent to the dead letters.
        busy: seconds for which it has worked on its events, or waited in them.
    """

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
    busy: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadingSnapshot:
    """How far one reader is in one partition.

    Attributes:
        reader: its name.
        position: every event below this offset is finished.
        committed: the position of the last checkpoint.
        lag: records that it has not finished, as far as the end of the partition is known; else ``None``.
    """

    reader: str
    position: int
    committed: int
    lag: int | None


@dataclass(frozen=True, slots=True)
class PartitionSnapshot:
    """One partition of a source that this worker owns.

    Attributes:
        topic: its topic.
        partition: its number.
        state: restoring, running, suspended or closed.
        committed: the offset that is committed for the group; ``None`` while it is not known.
        position: the offset that would be committed now; ``None`` while it is not known.
        fetched: the offset behind what was fetched; ``None`` likewise.
        end: the offset behind the last record in the log, as of the last fetch that brought something; ``None`` before.
        lag: records that are not finished by all readers, as far as ``end`` is known; else ``None``.
        event_time: the timestamp of the last record that was fetched, in seconds since the epoch; ``None`` before.
        unreadable: why it cannot be read; empty when it can.
        readers: how far each reader is.
    """

    topic: str
    partition: int
    state: str
    committed: int | None
    position: int | None
    fetched: int | None
    end: int | None
    lag: int | None
    event_time: float | None
    unreadable: str
    readers: tuple[ReadingSnapshot, ...]


@dataclass(frozen=True, slots=True)
class TablePartitionSnapshot:
    """One partition of a table that this worker has.

    Attributes:
        table: name of the table.
        partition: its number.
        changelog: the topic of its changes.
        state: opening, replaying, running, behind, lost or closed.
        changed_keys: keys that were changed and are not stored yet.
        changed_bytes: about how many bytes these changes have.
        position: the changelog offset up to which its state is known to be complete; ``None`` when that is not known.
        recovered: changelog offsets that its recovery has passed; zero when it does not recover now.
        to_recover: changelog offsets that its recovery has to pass in all; zero likewise.
        recovery_rate: changelog offsets that its recovery has passed a second; zero likewise.
        recovery_left: seconds that the rest of it takes at this rate; ``None`` when it does not recover, or no rate is known.
        stored_keys: about how many keys its store has; ``None`` when that cannot be said, as of a store that is damaged.
        stored_bytes: about how many bytes these keys and their values take, on disk or in memory; ``None`` likewise.
        event_time: of a table with windows, the time that it is at, by which windows close, in seconds since the epoch; ``None`` for other
            tables, and before the first event.
    """

    table: str
    partition: int
    changelog: str
    state: str
    changed_keys: int
    changed_bytes: int
    position: int | None
    recovered: int
    to_recover: int
    recovery_rate: float = 0.0
    recovery_left: float | None = None
    stored_keys: int | None = None
    stored_bytes: int | None = None
    event_time: float | None = None


@dataclass(frozen=True, slots=True)
class IntervalSnapshot:
    """What is done since the last commit.

    Attributes:
        state: see :class:`~stream_core.states.IntervalState`.
        age: seconds since it began.
        events: how many offsets are finished and not committed.
        bytes: of the changes of tables, about; those that a checkpoint is about to commit belong to them.
        backlog: bytes that are sent and not acknowledged.
    """

    state: str
    age: float
    events: int
    bytes: int
    backlog: int


@dataclass(frozen=True, slots=True)
class TableChanges:
    """What checkpoints have sent to the changelog of a table, from the start of the worker on.

    Attributes:
        table: name of the table.
        updated: keys that were assigned, each counted once for a checkpoint.
        deleted: keys that were deleted, likewise.
    """

    table: str
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class DurationsSnapshot:
    """How long something took that happens again and again; see :class:`~stream_core.counters.Durations`.

    Attributes:
        count: how many.
        total: seconds of all together.
        last: seconds of the last one.
        longest: seconds of the longest one.
        buckets: how many took at most so many seconds, for each bound of :data:`~stream_core.counters.BOUNDS`.
    """

    count: int
    total: float
    last: float
    longest: float
    buckets: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class HttpSnapshot:
    """The HTTP requests that the web server of the worker has answered.

    Attributes:
        statuses: how many answers had each status.
        requests: how long requests took.
    """

    statuses: dict[int, int]
    requests: DurationsSnapshot


NONE_YET = DurationsSnapshot(0, 0.0, 0.0, 0.0, tuple((bound, 0) for bound in BOUNDS))
"""Nothing that took time."""

NO_REQUESTS = HttpSnapshot({}, NONE_YET)
"""A worker without a web server."""


@dataclass(frozen=True, slots=True)
class TrafficSnapshot:
    """The records of one topic that were received, or sent; see :class:`~stream_core.counters.Traffic`."""

    topic: str
    records: int
    bytes: int
    batches: int
    failed: int


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """A worker of the group, which may own nothing.

    Attributes:
        instance: its id; empty when unknown.
        url: where it answers requests; empty when it publishes none.
    """

    instance: str
    url: str


@dataclass(frozen=True, slots=True)
class OwnerSnapshot:
    """Who owns a partition of the group.

    Attributes:
        topic: its topic.
        partition: its number.
        instance: the id of the worker; empty when unknown.
        url: where it answers requests; empty when it publishes none.
    """

    topic: str
    partition: int
    instance: str
    url: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How a worker does.

    Attributes:
        app: id of the app, which is its consumer group.
        instance: id of this worker; empty when nobody gave it one.
        url: what it tells other workers of where it can be asked; empty when it tells nothing.
        time: when this was taken, in seconds since the epoch.
        status: what it does, and whether it is ready.
        member: its id in the group; empty when it owns nothing.
        generation: of the group, as of the last assignment; -1 before.
        agents: who reads events, by name.
        partitions: the partitions of sources that it owns, in order.
        tables: the partitions of tables that it has, in order.
        interval: what is done since the last commit.
        owners: who owns each partition of the group, in order.
        owners_settled: false while partitions are on the move: ``owners`` is what was true last.
        checkpoints: the checkpoints so far.
        drops: how often an interval was dropped, by reason.
        rebalances: how often partitions were assigned, revoked and lost.
        asks: what became of the questions that were asked here.
        received: the records of each topic that were fetched, in order.
        sent: the records of each topic that brokers have acknowledged, in order.
        recovered_records: changelog records that recoveries have read.
        failures: the events that have failed last, the latest at the end; a bounded number.
        changes: what checkpoints have sent to the changelogs of tables, in order.
        sending: how long batches of records took until brokers acknowledged them.
        rebalance_returns: how long rebalances took from the loss of partitions until some were assigned.
        rebalance_moves: how long they took from there until all partitions were worked on.
        paused: how often partitions were paused because enough of their records waited, by topic.
        http: the requests to its web server.
        sensor_errors: how often a sensor has failed or was late, by its name.
        members: the workers of the group, those that own nothing included.
    """

    app: str
    instance: str
    url: str
    time: float
    status: Status
    member: str
    generation: int
    agents: tuple[AgentSnapshot, ...]
    partitions: tuple[PartitionSnapshot, ...]
    tables: tuple[TablePartitionSnapshot, ...]
    interval: IntervalSnapshot
    owners: tuple[OwnerSnapshot, ...]
    owners_settled: bool
    checkpoints: DurationsSnapshot
    drops: dict[str, int]
    rebalances: dict[str, int]
    asks: dict[str, int]
    received: tuple[TrafficSnapshot, ...]
    sent: tuple[TrafficSnapshot, ...]
    recovered_records: int
    failures: tuple[Failure, ...] = ()
    changes: tuple[TableChanges, ...] = ()
    sending: DurationsSnapshot = NONE_YET
    rebalance_returns: DurationsSnapshot = NONE_YET
    rebalance_moves: DurationsSnapshot = NONE_YET
    paused: dict[str, int] = field(default_factory=dict)
    http: HttpSnapshot = NO_REQUESTS
    sensor_errors: dict[str, int] = field(default_factory=dict)
    members: tuple[MemberSnapshot, ...] = ()


def as_json(snapshot: Snapshot) -> dict[str, Any]:
    """Make a snapshot into what any JSON encoder takes: mappings, lists, texts, numbers and ``None``."""
    return asdict(snapshot)
