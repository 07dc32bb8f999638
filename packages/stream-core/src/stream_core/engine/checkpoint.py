"""The checkpoint: one walk through the steps that commit an interval; :mod:`stream_core.engine.interval` says what follows when one fails.

1. *settle*: wait for events whose effects others have seen already; the interval has such an event as a whole, or not at all.
2. *cut*: fix, in one moment, which events belong to it. Nothing here waits for user code: open events go on into the next interval.
3. *changes*: send one changelog record for each changed key, with its final value and the offsets of the events behind it.
4. *acknowledgements*: wait for every send of the interval.
5. *offsets*: commit them, fenced by the generation; under exactly-once in the transaction that has everything sent. The interval
   counts from here on.
6. *stores*: write the changes and the changelog positions to the disk.

The order is the guarantee. Offsets after acknowledgements: what is committed will not be done again, so all its effects must be in the
logs. Stores after offsets: a store that is ahead of the offsets would count the events of the interval twice; one that is behind is
caught up from the changelog.

The interval can be dropped at any ``await``. So a checkpoint looks after each of them whether the interval is still the one it began
with, and never waits between a look and a send.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Coroutine, Sequence
from itertools import islice
from typing import Any

from stream_core.counters import Changes
from stream_core.engine.context import EngineContext
from stream_core.engine.ownership import Ownership
from stream_core.engine.participants import Interval, Participant, Reading, ShardChanges
from stream_core.engine.topology import Topology
from stream_core.errors import (
    BatchRefusedError,
    EncodeError,
    FencedError,
    RecordRefusedError,
    StreamError,
    TransportError,
    WorkerError,
)
from stream_core.failpoints import reach
from stream_core.ports import Producer
from stream_core.primitives import TP, GroupMetadata, Offset, RecordMetadata
from stream_core.sending.held import SETTLE
from stream_core.streams.effects import Effects
from stream_core.streams.metadata import CommitMetadata
from stream_core.streams.sessions import Feed, PartitionSession
from stream_core.streams.units import UNITS
from stream_core.together import together

__all__ = ["ChangeRefusedError", "Checkpoint"]

logger = logging.getLogger(__name__)

LOOK = 1.0
"""Seconds between two looks at whether acknowledgements come."""

SLICE = 250
"""Changes sent before the event loop gets a turn, in however many shards they are."""


class ChangeRefusedError(StreamError):
    """The broker refused the changelog record of a table for good: the event that makes the change fails when it is replayed.

    Args:
        message: which record, and why.
        helps: whether the replay is one event further than the one before.
    """

    def __init__(self, message: str, *, helps: bool) -> None:
        super().__init__(message)
        self.helps = helps


class Checkpoint:
    """One walk through the steps.

    The sessions and cursors are asked for at the cut, because one that began while the checkpoint waited has effects in the interval, too.

    Args:
        context: what the parts of the engine share.
        topology: the actors.
        ownership: the sessions.

    Attributes:
        undecided: the commit of the offsets was asked for, and its answer is not there.
        changes: how many keys it has updated and deleted, by changelog.
    """

    def __init__(self, context: EngineContext, topology: Topology, ownership: Ownership) -> None:
        assert ownership.group is not None
        self._deadline = context.settings.deadline
        self._exactly_once = context.settings.exactly_once
        self._status = context.interval
        self._clients = context.clients
        self._outbox = context.outbox
        self._participants = context.participants
        self._sensors = context.sensors
        self._topology = topology
        self._ownership = ownership
        self.changes = defaultdict[str, Changes](Changes)
        self._epoch = ownership.epoch
        self._group: GroupMetadata = ownership.group
        self._effects: Producer = context.outbox.effects
        self._timeout: asyncio.Timeout | None = None
        self._sessions: Sequence[PartitionSession] = ()
        self._offsets: dict[TP, Offset] = {}
        self._positions: list[tuple[Feed, int]] = []
        self._sent = 0
        self._last: dict[TP, Awaitable[RecordMetadata]] = {}
        self._ends: dict[TP, int] = {}
        self.undecided = False

    def is_current(self) -> bool:
        """Tell whether the assignment that this checkpoint began with still holds."""
        return self._ownership.epoch == self._epoch

    def _still_current(self) -> None:
        if not self.is_current() or self._status.spoiled:
            raise FencedError("the interval was dropped while the checkpoint ran")

    def _work(self) -> list[Effects]:
        """Give the effects of all that may be open: of every actor, and of units of work that no record brought."""
        return [*self._topology.cursors, *self._ownership.open_units()]

    def expire(self) -> None:
        """End the checkpoint with TimeoutError: what it waits for was dropped."""
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(0.0)

    async def run(self, deadline: float) -> bool:
        """Go through all steps.

        Args:
            deadline: seconds until TimeoutError; put off while acknowledgements come.

        Returns:
            False when there was nothing to do.

        Raises:
            TransportError: the interval must be dropped.
            TimeoutError: likewise.
            ChangeRefusedError: likewise; a participant knows the change.
            WorkerError: a store failed after the commit: the worker must stop, and a restart replays.
        """
        try:
            async with asyncio.timeout(deadline) as self._timeout:
                return await self._steps()
        finally:
            self._timeout = None

    async def _steps(self) -> bool:
        try:
            await self._settle()
            self._still_current()
            if not self._cut():
                return False
        finally:
            self._outbox.held.cut_done()
        await self._send_changes()
        await self._acknowledge()
        await self._commit()
        await self._store()
        if self._exactly_once:
            await self._next_transaction()
        self._status.stored()
        return True

    async def _settle(self) -> None:
        """Settle: wait until no event is open whose effects others have seen. Meanwhile no event releases its sends, so that this ends."""
        while any(effects.pinned for effects in self._work()):
            self._outbox.held.cut_waits()
            await asyncio.sleep(SETTLE)

    def _cut(self) -> bool:
        """Cut: fix positions and table changes in one moment; return whether there is anything to commit."""
        self._sessions = self._ownership.running
        unfinished = [effects for effects in self._work() if effects.atom is not None]
        for session in self._sessions:
            position, leads = session.position, session.leads
            self._positions += [(feed, feed.position) for feed in session.feeds.values()]
            moved = any(feed.position != feed.committed for feed in session.feeds.values())
            # Also where only units of work have finished: the offset is what a broker fences an owner by that was replaced.
            if session.unit_count.cut() or moved or position != session.committed:
                identity = self._ownership.sources.identities.get(session.tp.topic)
                metadata = CommitMetadata(leads, session.unit_count.position, identity)
                self._offsets[session.tp] = Offset(position, metadata.encode(session.tp))
        if not (self._offsets or any(participant.pending for participant in self._participants)):
            return False
        self._status.cut()
        for participant in self._participants:
            participant.cut([effects for effects in unfinished if effects.undo])
        if self._exactly_once:
            self._outbox.held.close_gate()
        reach("checkpoint.cut")
        return True

    async def _send_changes(self) -> None:
        """Send the changes of all participants to their changelogs."""
        intervals: dict[Reading, Interval] = {}
        for feed, position in self._positions:
            if position > feed.committed:
                intervals[Reading(feed.session.tp, feed.subscription.name)] = Interval(feed.committed, position)
        for session in self._sessions:
            count = session.unit_count
            if count.committed is not None and count.position is not None and count.committed < count.position:
                intervals[Reading(session.tp, UNITS)] = Interval(count.committed, count.position)
        for participant in self._participants:
            for shard in participant.changes(intervals):
                await self._effects.partitions(shard.tp.topic)
                self._still_current()
                await self._send_shard(participant, shard)
        reach("checkpoint.changelog")

    async def _send_shard(self, participant: Participant, shard: ShardChanges) -> None:
        """Send the changes of one shard; one at a time, when a record of the interval was refused before, so that the one is found."""
        changes, records = self.changes[shard.tp.topic], iter(shard.records)
        size = 1 if self._outbox.one_by_one else SLICE
        while some := list(islice(records, min(size, SLICE - self._sent))):
            changes.add(some)
            if size == 1:
                await self._send_alone(participant, shard, *some[0])
            else:
                await self._send_some(participant, shard, some)
            self._sent += len(some)
            if self._sent >= SLICE:
                self._sent = 0
                await asyncio.sleep(0)
                self._still_current()

    async def _send_some(
        self, participant: Participant, shard: ShardChanges, some: list[tuple[bytes, bytes | None]]
    ) -> None:
        """Send some changes, all but the waits for room in one turn of the event loop."""
        effects = self._effects
        while some:
            last, taken = effects.send_many(*shard.tp, some, shard.headers)
            if last is not None:
                self._last[shard.tp] = last
            some = some[taken:]
            if effects.crowded:
                await effects.room()
                self._still_current()
            elif some:
                await self._send_alone(participant, shard, *some.pop(0))  # too large, which is said there

    async def _send_alone(self, participant: Participant, shard: ShardChanges, key: bytes, value: bytes | None) -> None:
        """Send a change and wait until it is acknowledged. Raises ChangeRefusedError when it is refused for good: events know it then."""
        topic, partition = shard.tp
        try:
            self._last[shard.tp] = delivery = self._effects.send(topic, partition, key, value, None, shard.headers)
            await delivery
            self._still_current()
        except (BatchRefusedError, EncodeError) as error:
            if isinstance(error, BatchRefusedError) and not self._outbox.one_by_one:
                raise  # of a batch before: which record it was is not known
            refused = RecordRefusedError(f"topic {topic}: the broker refuses the record: {error}", topic)
            refused.__cause__ = error
            helps = participant.refuse(shard.change(key, value), refused)
            raise ChangeRefusedError(f"topic {topic}, partition {partition}: {error}", helps=helps) from error

    async def _acknowledge(self) -> None:
        """Wait for all acknowledgements; ask the broker meanwhile whether the sources are what they were."""
        waits: list[Coroutine[Any, Any, None]] = [
            self._effects.flush(),
            self._outbox.aside.acknowledged(),  # answers, and questions
            self._ownership.sources.compare(self._ownership.sessions),
        ]
        watching = asyncio.create_task(self._watch_progress(), name="progress of a checkpoint")
        try:
            await together(waits)
        finally:
            watching.cancel()
        for tp, delivery in self._last.items():
            offset = (await delivery).offset
            if offset >= 0:  # else the broker had that batch already, and does not say where
                self._ends[tp] = offset + 1
        reach("checkpoint.acked")
        self._still_current()

    async def _watch_progress(self) -> None:
        """Put the deadline off while acknowledgements come: the deadline is for a silent broker, not for a slow link or a quota.

        What events send meanwhile makes the backlog grow, and says nothing of the broker.
        """
        backlog = self._outbox.backlog
        while True:
            await asyncio.sleep(LOOK)
            before, backlog = backlog, self._outbox.backlog
            if backlog < before:
                assert self._timeout is not None
                if not self._timeout.expired():
                    self._timeout.reschedule(asyncio.get_running_loop().time() + self._deadline)

    async def _commit(self) -> None:
        """Commit the offsets; whatever fails between request and answer leaves the outcome undecided."""
        self.undecided = True
        begun = self._sensors.begin("on_commit_initiated", self._clients.consumer)
        if self._exactly_once:
            await self._effects.commit(self._offsets, self._group)
        elif self._offsets:
            await self._clients.consumer.commit(self._offsets, self._group)
        self.undecided = False
        for session in self._sessions:
            if session.tp in self._offsets:
                session.committed = self._offsets[session.tp].offset
                session.unit_count.commit()
        for feed, position in self._positions:
            feed.committed = max(feed.committed, position)
        if not self.is_current():
            raise FencedError("the interval was dropped while its offsets were committed")
        self._status.committed()
        reach("checkpoint.committed")
        self._sensors.end("on_commit_completed", begun, lambda state: (self._clients.consumer, state))
        if self._offsets:
            self._sensors.tell("on_tp_commit", {tp: offset.offset for tp, offset in self._offsets.items()})

    async def _store(self) -> None:
        """Let the participants store what is committed."""
        for participant in self._participants:
            try:
                await participant.committed(self._ends)
            except Exception as error:
                raise WorkerError(f"a table could not be stored after its checkpoint was committed: {error}") from error
        reach("checkpoint.stored")

    async def _next_transaction(self) -> None:
        """Begin the next transaction, and let the held sends of its interval go.

        A producer that cannot begin is replaced, which loses nothing: no send of the interval has reached it yet.
        """
        self._still_current()
        try:
            await self._effects.begin()
        except TransportError as error:
            logger.info("the producer is replaced before the next transaction: %s", error)
            self._still_current()
            await self._clients.renew()
        self._still_current()
        self._outbox.held.open_gate()
