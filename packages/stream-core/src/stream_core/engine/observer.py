"""Takes a :class:`~stream_core.engine.snapshot.Snapshot` of the parts of an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from stream_core.counters import BOUNDS, Durations, TopicTraffic
from stream_core.engine.context import EngineContext
from stream_core.engine.interval import RunningInterval
from stream_core.engine.joining import Joining
from stream_core.engine.ownership import Ownership
from stream_core.engine.snapshot import (
    AgentSnapshot,
    DurationsSnapshot,
    HttpSnapshot,
    IntervalSnapshot,
    MemberSnapshot,
    OwnerSnapshot,
    PartitionSnapshot,
    ReadingSnapshot,
    Recovery,
    Snapshot,
    Status,
    TableChanges,
    TablePartitionSnapshot,
    TrafficSnapshot,
)
from stream_core.engine.topology import Topology
from stream_core.errors import TransportError
from stream_core.primitives import TP, Host
from stream_core.states import EngineState
from stream_core.streams.sessions import PartitionSession, Subscription

__all__ = ["Observer"]

T = TypeVar("T")

RECOVERING = "recovering"
"""The reason of a worker that reads its tables."""

ATTEMPTS = 10
"""How often another thread looks again, when the engine has changed what it looks at."""

CHANGED = (RuntimeError, LookupError, ValueError, AttributeError)
"""What looking raises when another thread has meanwhile changed a mapping or a list, or taken away the record of a cursor."""


class Observer:
    """Looks at the parts of one engine without changing any of them.

    Args:
        context: what the parts of the engine share.
        topology: the readers and their actors.
        ownership: the sessions.
        interval: what is not committed.
        joining: knows the topics that are missing.
        host: gives what the other members of the group are told of this worker.
    """

    def __init__(
        self,
        context: EngineContext,
        topology: Topology,
        ownership: Ownership,
        interval: RunningInterval,
        joining: Joining,
        *,
        host: Callable[[], Host],
    ) -> None:
        self._settings = context.settings
        self._engine = context.state
        self._clock = context.run.clock
        self._background = context.background
        self._clients = context.clients
        self._participants = context.participants
        self._counters = context.counters
        self._sensors = context.sensors
        self._topology = topology
        self._ownership = ownership
        self._interval = interval
        self._joining = joining
        self._host = host

    def snapshot(self) -> Snapshot:
        """Look at everything.

        In the thread of the engine all of it is of one moment. In another thread its parts may be of moments that follow closely on
        each other, and what the engine changes while it is read is read again.
        """
        return _again(self._look)

    def status(self) -> Status:
        """Look at the status only; as :meth:`snapshot` does."""
        return _again(self._status)

    def _status(self) -> Status:
        reason = self._reason()
        recovery = Recovery.of(self._tables()) if reason == RECOVERING else None
        return Status(self._engine.state.value, not reason, reason, self._background.failure.done(), recovery)

    def _tables(self) -> Iterator[TablePartitionSnapshot]:
        for participant in self._participants:
            yield from participant.snapshot()

    def _look(self) -> Snapshot:
        """Put the snapshot together from what is in memory."""
        counters, host, group = self._counters, self._host(), self._ownership.group
        owners = self._clients.consumer.owners()
        return Snapshot(
            app=self._settings.group,
            instance=host.instance,
            url=host.url,
            time=self._clock.wall(),
            status=self._status(),
            member=group.member if group is not None else "",
            generation=owners.generation,
            agents=tuple(self._agents()),
            partitions=tuple(self._partitions()),
            tables=tuple(self._tables()),
            interval=self._uncommitted(),
            owners=tuple(OwnerSnapshot(*tp, one.instance, one.url) for tp, one in sorted(owners.hosts.items())),
            owners_settled=owners.settled,
            members=tuple(MemberSnapshot(host.instance, host.url) for host in owners.members),
            checkpoints=_durations(counters.checkpoints),
            drops=dict(counters.drops),
            rebalances=dict(counters.rebalances),
            asks=dict(counters.asks),
            received=_traffic(counters.received),
            sent=_traffic(counters.sent),
            recovered_records=sum(participant.recovered_records for participant in self._participants),
            failures=tuple(counters.failures.values()),
            changes=tuple(
                TableChanges(name, one.updated, one.deleted) for name, one in sorted(counters.changes.copy().items())
            ),
            sending=_durations(counters.sent.latency),
            rebalance_returns=_durations(counters.returns),
            rebalance_moves=_durations(counters.moves),
            paused=dict(counters.paused),
            http=HttpSnapshot(dict(counters.answers), _durations(counters.requests)),
            sensor_errors=dict(self._sensors.errors),
        )

    def _reason(self) -> str:
        """Say why the worker does not work on its partitions, in words for anybody; empty when it does."""
        state, clients = self._engine.state, self._clients
        if self._background.failure.done():
            return "failed"
        if state is EngineState.CREATED:
            return "not started"
        if state in (EngineState.STOPPING, EngineState.STOPPED):
            return "stopping"
        if not clients.connected:
            return "waiting for the broker"
        if self._joining.missing:
            return f"topic {', '.join(sorted(self._joining.missing))} does not exist"
        unreadable = clients.consumer.unreadable
        if unreadable:
            return f"cannot read {', '.join(map(str, sorted(unreadable)))}"
        if state is EngineState.RUNNING:
            return "waiting for the broker" if clients.lease_over() else ""
        return "waiting for partitions" if self._ownership.group is None else RECOVERING

    def _agents(self) -> Iterator[AgentSnapshot]:
        """Tell how each reader is: those of agents, and those of streams outside of agents."""
        actors = list(self._topology.actors)
        for subscription in list(self._topology.subscriptions):
            mine = [actor for actor in actors if actor.cursor in subscription.cursors]
            own = [actor for actor in mine if actor.cursor.subscription == subscription.name] or mine
            counts = subscription.counts
            yield AgentSnapshot(
                name=subscription.name,
                topics=subscription.topics,
                concurrency=subscription.concurrency,
                running=sum(actor.running for actor in own),
                open=_open(subscription),
                waiting=subscription.waiting,
                finished=counts.finished,
                failures=counts.failures,
                skipped=counts.skipped,
                dead_letters=counts.dead_letters,
                busy=counts.busy,
            )

    def _partitions(self) -> Iterator[PartitionSnapshot]:
        unreadable = self._clients.consumer.unreadable
        for _, session in sorted(self._ownership.sessions.copy().items()):
            yield _partition(session, unreadable)

    def _uncommitted(self) -> IntervalSnapshot:
        participants, interval = self._participants, self._interval
        return IntervalSnapshot(
            state=interval.state.value,
            age=interval.age,
            events=self._ownership.uncommitted,
            bytes=sum(participant.pending + participant.under_way for participant in participants),
            backlog=interval.backlog,
        )


def _again(look: Callable[[], T]) -> T:
    """Look, and look again where another thread has met a change."""
    for _ in range(ATTEMPTS - 1):
        try:
            return look()
        except CHANGED:
            pass
    return look()


def _open(subscription: Subscription) -> int:
    cursors = list(subscription.cursors)
    return sum(cursor.record is not None and cursor.subscription == subscription.name for cursor in cursors)


def _partition(session: PartitionSession, unreadable: Mapping[TP, TransportError]) -> PartitionSnapshot:
    """Tell how one assigned partition is."""
    feeds, known = session.feeds.copy(), session.committed >= 0
    end = session.fetch_position + session.lag if session.lag >= 0 else None
    readers = tuple(
        ReadingSnapshot(name, position, feed.committed, None if end is None else max(end - position, 0))
        for name, feed in feeds.items()
        for position in (feed.position,)
    )
    position = session.position if known else None
    error = unreadable.get(session.tp)
    return PartitionSnapshot(
        topic=session.tp.topic,
        partition=session.tp.partition,
        state=session.state.value,
        committed=session.committed if known else None,
        position=position,
        fetched=session.fetch_position if known else None,
        end=end,
        lag=None if end is None or position is None else max(end - position, 0),
        event_time=session.timestamp / 1000 if session.timestamp >= 0 else None,
        unreadable="" if error is None else str(error),
        readers=readers,
    )


def _durations(durations: Durations) -> DurationsSnapshot:
    counts, below = list(durations.buckets), 0
    buckets = []
    for bound, count in zip(BOUNDS, counts, strict=False):
        below += count
        buckets.append((bound, below))
    return DurationsSnapshot(
        count=durations.count,
        total=durations.total,
        last=durations.last,
        longest=durations.longest,
        buckets=tuple(buckets),
    )


def _traffic(topics: TopicTraffic) -> tuple[TrafficSnapshot, ...]:
    return tuple(
        TrafficSnapshot(topic, traffic.records, traffic.bytes, traffic.batches, traffic.failed)
        for topic, traffic in sorted(topics.copy().items())
    )
