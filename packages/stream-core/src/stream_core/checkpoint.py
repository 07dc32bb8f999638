"""A checkpoint: one object with a written order, the same for both guarantees (design decision 4).

1. *cut*: at finished events, in one moment; it never waits for user code.
2. *changes*: one changelog record per changed key, with its final value.
3. *acknowledgements*: of every send of the interval; any failure aborts.
4. *offsets*: a fenced commit, or in the transaction together with everything sent.
5. *stores*: values and changelog positions, durable.
6. *clear*: the interval is over.

A crash before 4 leaves the committed state as it was; a crash after it is repaired from the changelog.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from stream_core.clients import Clients
from stream_core.cursor import Cursor
from stream_core.errors import FencedError, TransportError, WorkerError
from stream_core.failpoints import reach
from stream_core.outbox import SETTLE, Outbox
from stream_core.participants import Interval, Participant, Reading
from stream_core.records import TP, GroupMetadata, Offset, RecordMetadata
from stream_core.sessions import Feed, PartitionSession

__all__ = ["Checkpoint", "decode_leads"]

logger = logging.getLogger(__name__)

SLICE = 250
"""Changes sent before the event loop gets a turn."""

METADATA_LIMIT = 4000
"""Bytes of metadata text in a commit; brokers allow 4096 (``offset.metadata.max.bytes``)."""


def _encode_leads(leads: Mapping[str, int], tp: TP) -> str:
    if not leads:
        return ""
    text = json.dumps(leads, separators=(",", ":"))
    if len(text.encode()) > METADATA_LIMIT:
        logger.warning("%s: the leads of %d agents do not fit a commit; they may see events again", tp, len(leads))
        return ""
    return text


def decode_leads(metadata: str) -> dict[str, int]:
    """The leads in the metadata of a commit; empty when it was written by somebody else."""
    try:
        leads = json.loads(metadata or "{}")
    except ValueError:
        return {}
    return {str(k): v for k, v in leads.items() if isinstance(v, int)} if isinstance(leads, dict) else {}


class Checkpoint:
    """One checkpoint of everything a worker owns.

    Args:
        sessions: gives the running partitions; asked at the cut, because one that began to run while the checkpoint waited has
            effects in the interval, too.
        group: the identity to commit under, snapshotted at assignment.
        cursors: gives those of all actors; asked likewise.
        clients: consumer and producers.
        outbox: whose gate closes while a transaction is committed.
        participants: the tables.
        exactly_once: commit offsets in the transaction of the effects.
        is_current: whether the assignment that this checkpoint is for still holds, and its interval may count.
    """

    def __init__(
        self,
        sessions: Callable[[], Sequence[PartitionSession]],
        group: GroupMetadata,
        cursors: Callable[[], Sequence[Cursor]],
        *,
        clients: Clients,
        outbox: Outbox,
        participants: Sequence[Participant],
        exactly_once: bool,
        is_current: Callable[[], bool],
    ) -> None:
        self._get_sessions = sessions
        self._group = group
        self._get_cursors = cursors
        self._clients = clients
        self._outbox = outbox
        self._participants = participants
        self._exactly_once = exactly_once
        self._is_current = is_current
        self._sessions: Sequence[PartitionSession] = ()
        self._offsets: dict[TP, Offset] = {}
        self._positions: list[tuple[Feed, int]] = []
        self._last: dict[TP, Awaitable[RecordMetadata]] = {}
        self._ends: dict[TP, int] = {}

    async def run(self) -> bool:
        """Go through all steps.

        Returns:
            False when there was nothing to do.

        Raises:
            TransportError: before step 4 was decided: the interval must be aborted.
            WorkerError: the stores failed after the commit: the worker must stop, a restart replays.
        """
        try:
            await self._settled()
            self._still_current()
            if not self.cut():
                return False
        finally:
            self._outbox.allow_releases()
        await self._send_changes()
        await self._acknowledge()
        await self._commit()
        await self._store()
        if self._exactly_once:
            await self._next_transaction()
        return True

    async def _settled(self) -> None:
        """Wait until no open event has effects that others see: such an event must be in the interval as a whole."""
        while any(cursor.pinned for cursor in self._get_cursors()):
            self._outbox.hold_releases()
            await asyncio.sleep(SETTLE)

    def cut(self) -> bool:
        """Step 1: fix what belongs to the interval, in one moment."""
        self._sessions = self._get_sessions()
        unfinished = [cursor for cursor in self._get_cursors() if cursor.record is not None]
        for session in self._sessions:
            position, leads = session.position, session.leads
            self._positions += [(feed, feed.position) for feed in session.feeds.values()]
            if any(feed.position != feed.committed for feed in session.feeds.values()) or position != session.committed:
                self._offsets[session.tp] = Offset(position, _encode_leads(leads, session.tp))
        if not self._offsets and not any(participant.pending for participant in self._participants):
            return False
        for participant in self._participants:
            participant.cut([cursor for cursor in unfinished if cursor.undo])
        if self._exactly_once:
            self._outbox.close_gate()
        reach("checkpoint.cut")
        return True

    async def _send_changes(self) -> None:
        """Step 2."""
        intervals: dict[Reading, Interval] = {}
        for feed, position in self._positions:
            if position > feed.committed:
                intervals[Reading(feed.session.tp, feed.subscription.name)] = Interval(feed.committed, position)
        effects, count = self._outbox.effects, 0
        for participant in self._participants:
            for change in participant.changes(intervals):
                tp = TP(change.topic, change.partition)
                if tp not in self._last:
                    await effects.partitions(change.topic)
                self._last[tp] = effects.send(tp.topic, tp.partition, change.key, change.value, headers=change.headers)
                count += 1
                if count % SLICE == 0:
                    await effects.room()
                    await asyncio.sleep(0)
        reach("checkpoint.changelog")

    async def _acknowledge(self) -> None:
        """Step 3."""
        await self._outbox.effects.flush()
        for tp, delivery in self._last.items():
            self._ends[tp] = (await delivery).offset + 1
        reach("checkpoint.acked")
        self._still_current()

    async def _commit(self) -> None:
        """Step 4; behind it the interval counts."""
        if self._exactly_once:
            await self._outbox.effects.commit(self._offsets, self._group)
        elif self._offsets:
            await self._clients.consumer.commit(self._offsets, self._group)
        for session in self._sessions:
            if session.tp in self._offsets:
                session.committed = self._offsets[session.tp].offset
        for feed, position in self._positions:
            feed.committed = max(feed.committed, position)
        reach("checkpoint.committed")

    async def _store(self) -> None:
        """Steps 5 and 6."""
        for participant in self._participants:
            try:
                await participant.committed(self._ends)
            except Exception as error:
                raise WorkerError(f"a table could not be stored after its checkpoint was committed: {error}") from error
        reach("checkpoint.stored")

    async def _next_transaction(self) -> None:
        """Let the sends of the next interval go. They have waited, so a producer that is of no more use is replaced without loss."""
        self._still_current()
        try:
            await self._outbox.effects.begin()
        except TransportError as error:
            logger.info("the producer is replaced before the next transaction: %s", error)
            await self._clients.renew()
        self._still_current()
        self._outbox.open_gate()

    def _still_current(self) -> None:
        if not self._is_current():
            raise FencedError("the interval was dropped while the checkpoint ran")
