"""The interval: everything since the last commit, committed or dropped as a whole.

While agents work, an interval collects what their events did: sends, table changes, and how far each reader is. A *checkpoint* ends it:

1. *settle*: wait for events whose effects others have seen already; the interval has such an event as a whole, or not at all.
2. *cut*: fix, in one moment, which events belong to it. Nothing here waits for user code: open events go on into the next interval.
3. *changes*: send one changelog record for each changed key, with its final value and the offsets of the events behind it.
4. *acknowledgements*: wait for every send of the interval.
5. *offsets*: commit them, fenced by the generation; under exactly-once in the transaction that has everything sent. The interval
   counts from here on.
6. *stores*: write the changes and the changelog positions to the disk.

What can go wrong, and what follows:

- *Before 5* nothing counts. The interval is **dropped**: sessions closed, table changes forgotten, held sends thrown away, the producer
  stopped in the same moment, so that nothing of it leaves any more. Then another producer, recovery, and the same events again.
- *In 5* the outcome may be unknown. The interval is dropped all the same, because recovery asks the broker what counts. At least once,
  the commit may still arrive later and turn the committed offset back; so the group is joined anew, which fences it.
- *After 5* a store may fail. What it lacks is in the changelog, and its position stays where it was; the worker ends, and whoever
  opens the store next replays. No checkpoint may come in between: it would move the position past what was never stored. That is
  why whatever fails in a checkpoint drops the interval first, and why a table refuses a cut while the one before is not stored.
- *A partition goes away* (:meth:`RunningInterval.give_up`): its sessions are suspended first, then open events have half of the budget to
  finish, then a last checkpoint; what is not committed by then is dropped, and the next owner does it again.

Dropping is synchronous and can come at any ``await`` of a checkpoint. So the checkpoint looks after each of them whether the interval is
still the one it began with, and never between a look and a send.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from stream_core.agents.actor import Actor
from stream_core.counters import Counters
from stream_core.engine.clients import Clients
from stream_core.engine.ownership import Ownership
from stream_core.engine.participants import Change, Interval, Participant, Reading
from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    CommitError,
    DeadlineError,
    EncodeError,
    FencedError,
    RecordRefusedError,
    StreamError,
    TransportError,
    WorkerError,
)
from stream_core.failpoints import Failpoint, reach
from stream_core.ports import Producer
from stream_core.primitives import TP, GroupMetadata, Offset, RecordMetadata
from stream_core.sending.held import SETTLE
from stream_core.sending.outbox import Outbox
from stream_core.settings import EngineSettings
from stream_core.states import INTERVAL, EngineState, IntervalState, Machine
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects
from stream_core.streams.leads import encode_leads
from stream_core.streams.sessions import Feed, PartitionSession
from stream_core.together import together

__all__ = ["RunningInterval"]

logger = logging.getLogger(__name__)

PATIENCE = 5
"""Drops in a row, for reasons that waiting does not mend, after which the worker gives up."""

LOOK = 1.0
"""Seconds between two looks at whether acknowledgements come."""

SLICE = 250
"""Changes sent before the event loop gets a turn."""

WAITING_HELPS = (DeadlineError, BrokerUnavailableError, FencedError, TimeoutError, Failpoint)
"""Reasons for a drop that pass by themselves."""


class RunningInterval:
    """The interval that the agents of an engine are working on.

    Args:
        settings: of the engine.
        engine: the state of the engine.
        clients: consumer and producers.
        outbox: the sends.
        ownership: the sessions.
        cursors: gives the cursors of all actors.
        actors: gives the actors.
        participants: the tables.
        fail: called with an error after which the worker cannot go on.
        counters: counts checkpoints and drops.

    Attributes:
        due: set when a checkpoint should not wait for its time.
        progress: set when an event has finished.
        complete: whether all that was open at the last :meth:`give_up` was committed by it.
    """

    def __init__(
        self,
        settings: EngineSettings,
        engine: Machine[EngineState],
        *,
        clients: Clients,
        outbox: Outbox,
        ownership: Ownership,
        cursors: Callable[[], Sequence[Cursor]],
        actors: Callable[[], Sequence[Actor]],
        participants: Sequence[Participant],
        fail: Callable[[BaseException], None],
        counters: Counters,
    ) -> None:
        self._counters = counters
        self._clock = asyncio.get_running_loop().time
        self._began = self._cut_at = self._clock()
        self._settings = settings
        self._engine = engine
        self.clients = clients
        self.outbox = outbox
        self.ownership = ownership
        self._cursors = cursors
        self._actors = actors
        self.participants = participants
        self._fail = fail
        self._state = Machine("the interval", IntervalState.OPEN, INTERVAL)
        self._lock = asyncio.Lock()
        self._running: asyncio.Timeout | None = None
        self._spoiler: tuple[str, BaseException | None] = ("", None)
        self._drops = 0
        self._troubled: dict[TP, int] = {}
        self.complete = True
        self.due, self.progress = asyncio.Event(), asyncio.Event()

    @property
    def state(self) -> IntervalState:
        """What becomes of it."""
        return self._state.state

    @property
    def age(self) -> float:
        """Seconds since it began, as far as anybody owns partitions: then its first event may have come."""
        return self._clock() - self._began if self.ownership.group is not None else 0.0

    @property
    def spoiled(self) -> bool:
        """Whether it must be dropped."""
        return self.state is IntervalState.SPOILED

    def work(self) -> list[Effects]:
        """Return the effects of all that may be open: of every actor, and of units of work that no record brought."""
        return [*self._cursors(), *self.ownership.open_units()]

    # -- commit

    async def checkpoint(self) -> bool:
        """Commit what is finished now; returns whether anything was committed. Failure drops the interval, and it is replayed."""
        async with self._lock:
            return await self._checkpoint(self._settings.deadline)

    async def _checkpoint(self, deadline: float) -> bool:
        if self.ownership.group is None:  # nothing is owned, or it was dropped
            return False
        if self.spoiled:
            self._drop_and_replay(*self._spoiler)
            return False
        checkpoint, started = Checkpoint(self, exactly_once=self._settings.exactly_once), self._clock()
        try:
            done = await self._run(checkpoint, deadline)
        except (TransportError, TimeoutError, Failpoint, ChangeRefusedError) as error:
            if not checkpoint.is_current():
                return False  # dropped meanwhile
            if self.spoiled:
                self._drop_and_replay(*self._spoiler, undecided=checkpoint.undecided)
            else:
                undecided = checkpoint.undecided and not isinstance(error, (FencedError, CommitError))
                reason = f"checkpoint failed: {error}"
                if isinstance(error, TimeoutError):
                    reason = f"checkpoint failed: it did not end within {deadline:g} s of the last acknowledgement"
                self._drop_and_replay(reason, error, undecided=undecided)
            return False
        except Exception as error:  # nothing of it may be committed by a later checkpoint
            self._counters.drops[type(error).__name__] += 1
            self.drop()
            self._fail(error)
            return False
        if done:
            self._counters.checkpoints.add(self._clock() - started)
            self._relax()
        else:
            self._began = started  # there was nothing in it
        return done

    async def _run(self, checkpoint: Checkpoint, deadline: float) -> bool:
        try:
            async with asyncio.timeout(deadline) as self._running:
                return await checkpoint.run()
        finally:
            self._running = None

    def put_off(self) -> None:
        """Let the deadline of the checkpoint that runs begin anew."""
        if self._running is not None and not self._running.expired():
            self._running.reschedule(asyncio.get_running_loop().time() + self._settings.deadline)

    def _relax(self) -> None:
        """Something is committed: end the row of drops once all is that was in the intervals which were dropped."""
        committed = {tp: session.committed for tp, session in self.ownership.sessions.items()}
        self.outbox.one_by_one.end(committed)
        self._troubled = {tp: end for tp, end in self._troubled.items() if committed.get(tp, end) < end}
        if not self._troubled:
            self._drops = 0

    def _delivered(self) -> dict[TP, int]:
        return {tp: session.fetch_position for tp, session in self.ownership.sessions.items()}

    def cutting(self) -> None:
        """Say that the interval is cut: from here on its outcome may be unknown."""
        self._state.to(IntervalState.COMMITTING)
        self._cut_at = self._clock()

    def committed(self) -> None:
        """Say that the offsets are committed: it counts, also when the next interval is spoiled already."""
        if self.state is IntervalState.COMMITTING:
            self._state.to(IntervalState.STORING)

    def stored(self) -> None:
        """Say that the stores have it: it is over, and the next one goes on."""
        if self.state is IntervalState.STORING:
            self._state.to(IntervalState.OPEN)
            self._began = self._cut_at  # what came behind the cut belongs to the next one

    # -- drop

    def spoil(self, reason: str, error: BaseException | None) -> None:
        """Let the interval be dropped, soon: something in it must not be committed.

        Args:
            reason: in words.
            error: why, unless a failure policy has counted it already and says when the event is tried again.
        """
        if self._state.may(IntervalState.SPOILED):
            self._state.to(IntervalState.SPOILED)
            self._spoiler = (reason, error)
        self.due.set()

    def drop(self) -> None:
        """Forget everything since the last commit, in one moment: whoever awaits something of it finds it gone."""
        lost = set(self.ownership.release())
        for participant in self.participants:
            participant.aborted()
        self.outbox.drop()
        if (
            self._running is not None and not self._running.expired()
        ):  # a checkpoint waits for something that has come to nothing
            self._running.reschedule(0.0)
        if self.state is not IntervalState.DROPPED:
            self._state.to(IntervalState.DROPPED)
            self.clients.discard()  # what its builders hold must not leave either: the partitions may get another owner now
        for actor in self._actors():
            if actor.cursor in lost:
                actor.interrupt()

    async def begin(self) -> None:
        """Begin anew after a drop: with a producer that has nothing to do with the one before. Raises TransportError."""
        if self.state is IntervalState.DROPPED:
            await self.clients.renew()
            self._state.to(IntervalState.OPEN)
        self._began = self._clock()

    def _drop_and_replay(self, reason: str, error: BaseException | None, *, undecided: bool = False) -> None:
        """Drop the interval, and open its partitions again from the committed offsets, unless they are being given up."""
        tps, group = list(self.ownership.sessions), self.ownership.group
        for tp, session in self.ownership.sessions.items():
            self._troubled[tp] = max(session.position, self._troubled.get(tp, -1))
        refused = BatchRefusedError.behind(error) or isinstance(error, ChangeRefusedError)
        if refused:
            self.outbox.one_by_one.begin(self._delivered())
        self._counters.drops["replay" if error is None else type(error).__name__] += 1
        helps, delay = isinstance(error, WAITING_HELPS), 0.0
        if error is not None:  # else a policy has counted it, and decides on the pace
            self._drops += 1
            delay = min(0.05 * 2**self._drops, 5.0)
        self.drop()
        if self._drops > PATIENCE and error is not None and not helps:
            self._fail(WorkerError(f"{self._drops} checkpoints failed in a row: {reason}"))
            return
        known = error is None or helps or refused or isinstance(error, CommitError)  # which say all in a sentence
        logger.error(
            "%s; the interval is dropped and replayed in %.1f s", reason, delay, exc_info=None if known else error
        )
        if group is None or not self._engine.may(EngineState.RECOVERING):
            return
        if undecided and not self._settings.exactly_once:
            self._engine.to(EngineState.JOINING)
            self.clients.consumer.rejoin()  # the commit may still arrive: let it be of an old generation then
            return
        self._engine.to(EngineState.RECOVERING)
        self.ownership.reopen(tps, group, delay)

    # -- give up

    async def give_up(self, why: str, *, lost: bool, budget: float, beside: Awaitable[None] | None = None) -> None:
        """Give up all partitions: let open events finish and commit them; what is not committed in time comes to nothing.

        Args:
            why: for messages.
            lost: others may have the partitions already, so that nothing can be committed.
            budget: seconds for all of it.
            beside: what is told of it, which has the same budget and holds up nothing else.
        """
        telling = None if beside is None else asyncio.ensure_future(beside)
        ownership, committed = self.ownership, False
        had = bool(ownership.sessions)
        ownership.suspend()  # before anything is waited for: no event begins that could not finish
        for actor in self._actors():
            actor.wake()
        try:
            async with asyncio.timeout(budget):
                if ownership.sessions and not lost:
                    drained = await self._drained(budget / 2)
                    async with self._lock:
                        epoch = ownership.epoch
                        await self._checkpoint(budget)
                        committed = drained and ownership.epoch == epoch
                if telling is not None:
                    await asyncio.wait([telling])
        except TimeoutError:
            if ownership.sessions and not committed:
                logger.warning("%s: not committed within %.0f s; given up uncommitted, to be replayed", why, budget)
        finally:  # whatever happens, a cancellation too: nothing of these sessions may go on
            if telling is not None:
                telling.cancel()
            self.complete = committed or not had
            if committed or not ownership.sessions:
                ownership.release()
                self.outbox.held.close_gate()
            else:
                self._counters.drops["given_up"] += 1
                self.drop()

    async def _drained(self, budget: float) -> bool:
        """Wait until no event is open, or the budget is used up; returns whether none is."""
        try:
            async with asyncio.timeout(budget):
                while self.ownership.open_work():
                    self.progress.clear()
                    await self.progress.wait()
        except TimeoutError:
            names = ", ".join(sorted(effects.name for effects in self.ownership.open_work()))
            logger.warning("events are still open after %.0f s, and are replayed: of %s", budget, names)
            return False
        return True


class ChangeRefusedError(StreamError):
    """The broker refused the changelog record of a table for good: the event that makes the change fails when it is replayed."""


class Checkpoint:
    """One walk through the steps above.

    The sessions and cursors are asked for at the cut, because one that began while the checkpoint waited has effects in the interval, too.

    Args:
        interval: what is committed.
        exactly_once: commit the offsets in the transaction of the effects.

    Attributes:
        undecided: the commit of the offsets was asked for, and its answer is not there.
    """

    def __init__(self, interval: RunningInterval, *, exactly_once: bool) -> None:
        assert interval.ownership.group is not None
        self._interval = interval
        self._clients = interval.clients
        self._outbox = interval.outbox
        self._participants = interval.participants
        self._exactly_once = exactly_once
        self._epoch = interval.ownership.epoch
        self._group: GroupMetadata = interval.ownership.group
        self._effects: Producer = interval.outbox.effects
        self._sessions: Sequence[PartitionSession] = ()
        self._offsets: dict[TP, Offset] = {}
        self._positions: list[tuple[Feed, int]] = []
        self._last: dict[TP, Awaitable[RecordMetadata]] = {}
        self._ends: dict[TP, int] = {}
        self.undecided = False

    def is_current(self) -> bool:
        """Whether the assignment that this checkpoint began with still holds."""
        return self._interval.ownership.epoch == self._epoch

    def _still_current(self) -> None:
        if not self.is_current() or self._interval.spoiled:
            raise FencedError("the interval was dropped while the checkpoint ran")

    async def run(self) -> bool:
        """Go through all steps.

        Returns:
            False when there was nothing to do.

        Raises:
            TransportError: the interval must be dropped.
            ChangeRefusedError: likewise; a participant knows the change.
            WorkerError: a store failed after the commit: the worker must stop, and a restart replays.
        """
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
        self._interval.stored()
        return True

    async def _settle(self) -> None:
        """Step 1."""
        while any(effects.pinned for effects in self._interval.work()):
            self._outbox.held.cut_waits()
            await asyncio.sleep(SETTLE)

    def _cut(self) -> bool:
        """Step 2; returns whether there is anything to commit."""
        self._sessions = self._interval.ownership.running
        unfinished = [effects for effects in self._interval.work() if effects.atom is not None]
        for session in self._sessions:
            position, leads = session.position, session.leads
            self._positions += [(feed, feed.position) for feed in session.feeds.values()]
            if any(feed.position != feed.committed for feed in session.feeds.values()) or position != session.committed:
                self._offsets[session.tp] = Offset(position, encode_leads(leads, session.tp))
        if not (self._offsets or any(participant.pending for participant in self._participants)):
            return False
        self._interval.cutting()
        for participant in self._participants:
            participant.cut([effects for effects in unfinished if effects.undo])
        if self._exactly_once:
            self._outbox.held.close_gate()
        reach("checkpoint.cut")
        return True

    async def _send_changes(self) -> None:
        """Step 3."""
        intervals: dict[Reading, Interval] = {}
        for feed, position in self._positions:
            if position > feed.committed:
                intervals[Reading(feed.session.tp, feed.subscription.name)] = Interval(feed.committed, position)
        count = 0
        for participant in self._participants:
            for change in participant.changes(intervals):
                tp = TP(change.topic, change.partition)
                if tp not in self._last:
                    await self._effects.partitions(change.topic)
                    self._still_current()
                await self._send(participant, change, tp)
                count += 1
                if count % SLICE == 0 or self._effects.crowded:
                    await self._effects.room()
                    await asyncio.sleep(0)
                    self._still_current()
        reach("checkpoint.changelog")

    async def _send(self, participant: Participant, change: Change, tp: TP) -> None:
        """Send one change; alone, when a record of the interval was refused before, so that the one is found."""
        try:
            self._last[tp] = delivery = self._effects.send(
                change.topic, change.partition, change.key, change.value, headers=change.headers
            )
            if self._outbox.one_by_one:
                await delivery
                self._still_current()
        except (BatchRefusedError, EncodeError) as error:
            if not self._outbox.one_by_one and isinstance(error, BatchRefusedError):
                raise  # of a batch before: which record it was is not known
            refused = RecordRefusedError(f"topic {change.topic}: the broker refuses the record: {error}", change.topic)
            refused.__cause__ = error
            participant.refuse(change, refused)
            raise ChangeRefusedError(f"topic {change.topic}, partition {change.partition}: {error}") from error

    async def _acknowledge(self) -> None:
        """Step 4; meanwhile the broker is asked whether the sources are what they were."""
        waits: list[Coroutine[Any, Any, None]] = [
            self._effects.flush(),
            self._outbox.aside.acknowledged(),  # answers, and questions
            self._interval.ownership.compare_topics(),
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
        """Put the deadline off while acknowledgements come: it is for silence, and a slow link or a quota of the broker is none.

        What events send meanwhile makes the backlog grow, and says nothing of the broker.
        """
        backlog = self._outbox.backlog
        while True:
            await asyncio.sleep(LOOK)
            before, backlog = backlog, self._outbox.backlog
            if backlog < before:
                self._interval.put_off()

    async def _commit(self) -> None:
        """Step 5."""
        self.undecided = True
        if self._exactly_once:
            await self._effects.commit(self._offsets, self._group)
        elif self._offsets:
            await self._clients.consumer.commit(self._offsets, self._group)
        self.undecided = False
        for session in self._sessions:
            if session.tp in self._offsets:
                session.committed = self._offsets[session.tp].offset
        for feed, position in self._positions:
            feed.committed = max(feed.committed, position)
        if not self.is_current():
            raise FencedError("the interval was dropped while its offsets were committed")
        self._interval.committed()
        reach("checkpoint.committed")

    async def _store(self) -> None:
        """Step 6."""
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
            await self._effects.begin()
        except TransportError as error:
            logger.info("the producer is replaced before the next transaction: %s", error)
            self._still_current()
            await self._clients.renew()
        self._still_current()
        self._outbox.held.open_gate()
