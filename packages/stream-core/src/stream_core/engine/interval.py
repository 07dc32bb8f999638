"""The interval: everything since the last commit, committed or dropped as a whole.

While agents work, an interval collects what their events did: sends, table changes, and how far each reader is. A checkpoint ends it
(:mod:`stream_core.engine.checkpoint` has its steps, and why they come in this order)::

    settle ─▶ cut ─▶ changes ─▶ acknowledgements ─▶ offsets ─▶ stores ─▶ the next interval
    └──────────────── nothing counts yet ────────┘ └ unknown ┘ └ it counts
                           │                            │           │
                      drop, replay            drop, join anew    the worker ends: a restart
                                              (at least once)    replays the changelog

- *Before the offsets* nothing counts. The interval is **dropped**: sessions closed, table changes forgotten, held sends thrown away, the
  producer stopped in the same moment, so that nothing of it leaves any more. Then another producer, recovery, and the same events again.
- *While the offsets are committed* the outcome may be unknown. The interval is dropped all the same, because recovery asks the broker
  what counts. At least once, the commit may still arrive later and turn the committed offset back; so the group is joined anew, which
  fences it.
- *After the offsets* a store may fail. What it lacks is in the changelog, and its position stays where it was; the worker ends, and
  whoever opens the store next replays. No checkpoint may come in between: it would move the position past what was never stored. That
  is why whatever fails in a checkpoint drops the interval first, and why a table refuses a cut while the one before is not stored.
- *Something in it must not be committed* (:meth:`IntervalStatus.spoil`), such as an event that failed after others had seen its changes:
  the next checkpoint, which comes at once, drops instead of committing.
- *A partition goes away* (:meth:`RunningInterval.give_up`), at a revocation, a stop or a failure::

    suspend sessions ─▶ open events finish (half of the budget) ─▶ a last checkpoint ─▶ release
                                                                   └ not in time: drop; the next owner does it again

Dropping is synchronous, and can come at any ``await``: one moment after it nothing of the interval can be sent, stored or read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from stream_core.engine.checkpoint import ChangeRefusedError, Checkpoint
from stream_core.engine.context import EngineContext
from stream_core.engine.ownership import Ownership
from stream_core.engine.topology import Topology
from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    CommitError,
    DeadlineError,
    FencedError,
    TransportError,
    WorkerError,
)
from stream_core.failpoints import Failpoint
from stream_core.primitives import TP
from stream_core.states import EngineState, IntervalState

__all__ = ["RunningInterval"]

logger = logging.getLogger(__name__)

PATIENCE = 5
"""Drops in a row, for reasons that waiting does not mend, after which the worker gives up."""

FINDS = 100
"""Drops that count for nothing in such a row, each because a change was found that the broker refuses: from then on its event fails."""

SEARCH = 10
"""Events after which a checkpoint comes while it is looked for what the broker refuses: that is in few of them, and the others count."""

WAITING_HELPS = (DeadlineError, BrokerUnavailableError, FencedError, TimeoutError, Failpoint)
"""Reasons for a drop that pass by themselves."""


class Trouble(NamedTuple):
    """What has to be committed of a partition before a row of drops is over.

    Attributes:
        end: the position after all of its events that were in a dropped interval.
        committed: its committed position at the last drop.
    """

    end: int
    committed: int


class RunningInterval:
    """The interval that the agents of an engine are working on: what ends it, and what follows.

    Args:
        context: what the parts of the engine share.
        topology: the actors.
        ownership: the sessions.

    Attributes:
        status: what is to become of it.
        complete: whether all that was open at the last :meth:`give_up` was committed by it.
    """

    def __init__(self, context: EngineContext, topology: Topology, ownership: Ownership) -> None:
        self._context = context
        self._settings = context.settings
        self._engine = context.state
        self.status = context.interval
        self._background = context.background
        self._clients = context.clients
        self._outbox = context.outbox
        self._participants = context.participants
        self._counters = context.counters
        self._topology = topology
        self._ownership = ownership
        self._clock = asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._running: Checkpoint | None = None
        self._drops = self._found = 0
        self._troubled: dict[TP, Trouble] = {}
        self._tables: dict[str, str] = {}
        self.complete = True

    @property
    def state(self) -> IntervalState:
        """What becomes of it."""
        return self.status.state

    @property
    def age(self) -> float:
        """Seconds since it began, as far as anybody owns partitions: then its first event may have come."""
        return self._clock() - self.status.began if self._ownership.group is not None else 0.0

    @property
    def backlog(self) -> int:
        """Bytes that were sent, and are not acknowledged yet."""
        return self._outbox.backlog

    def progressed(self) -> None:
        """Take note that an agent has finished events: wake who waits for that, and let a checkpoint come early when much has happened."""
        self.status.progress.set()
        if not self.status.due.is_set() and self._much():
            self.status.due.set()

    def _much(self) -> bool:
        every = self._settings.commit_every
        if self._outbox.one_by_one:
            every = min(every or SEARCH, SEARCH)
        if every is not None and self._ownership.uncommitted >= every:
            return True
        return sum(participant.pending for participant in self._participants) > self._settings.commit_bytes

    # -- commit

    async def run(self, done: Callable[[], None]) -> None:
        """Make checkpoints: each when its time has come, or earlier when it is due; ``done`` is called after each."""
        due, clock = self.status.due, self._context.run.clock
        while True:
            with suppress(TimeoutError):
                async with clock.timeout_at(clock.monotonic() + self._settings.commit_interval):
                    await due.wait()  # wait_for swallows a cancellation on Python 3.11
            due.clear()
            await self.checkpoint()
            done()

    async def checkpoint(self) -> bool:
        """Commit what is finished now; returns whether anything was committed. Failure drops the interval, and it is replayed."""
        async with self._lock:
            return await self._checkpoint(self._settings.deadline)

    async def _checkpoint(self, deadline: float) -> bool:
        """Run one checkpoint, and drop the interval when it fails; returns whether anything was committed."""
        if self._ownership.group is None:  # nothing is owned, or it was dropped
            return False
        if self.status.spoiled:
            self._drop_and_replay(*self.status.reason)
            return False
        started = self._clock()
        self._running = checkpoint = Checkpoint(self._context, self._topology, self._ownership)
        try:
            done = await checkpoint.run(deadline)
        except (TransportError, TimeoutError, Failpoint, ChangeRefusedError) as error:
            if not checkpoint.is_current():
                return False  # dropped meanwhile
            if self.status.spoiled:
                self._drop_and_replay(*self.status.reason, undecided=checkpoint.undecided)
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
            self._background.fail(error)
            return False
        finally:
            self._running = None
        if done:
            self._counters.checkpoints.add(self._clock() - started)
            for changelog, changes in checkpoint.changes.items():
                total = self._counters.changes[self._table_of(changelog)]
                total.updated += changes.updated
                total.deleted += changes.deleted
            self._relax()
        else:
            self.status.began = started  # there was nothing in it
        return done

    def _table_of(self, changelog: str) -> str:
        """Give the name of a table by its changelog."""
        if changelog not in self._tables:
            parts = (one for participant in self._participants for one in participant.snapshot())
            self._tables.update((one.changelog, one.table) for one in parts)
        return self._tables.setdefault(changelog, changelog)

    def _relax(self) -> None:
        """End the row of drops once everything is committed that was in the dropped intervals; called when something was committed."""
        committed = {tp: session.committed for tp, session in self._ownership.sessions.items()}
        self._outbox.one_by_one.end(committed)
        self._troubled = {tp: one for tp, one in self._troubled.items() if committed.get(tp, one.end) < one.end}
        if not self._troubled:
            self._drops = self._found = 0
        elif self._found and all(committed[tp] > one.committed for tp, one in self._troubled.items()):
            self._found = 1

    # -- drop

    def drop(self) -> None:
        """Forget everything since the last commit, in one moment: whoever awaits something of it finds it gone."""
        lost = set(self._ownership.release())
        for participant in self._participants:
            participant.aborted()
        self._outbox.drop()
        if self._running is not None:
            self._running.expire()
        if self.status.drop():
            self._clients.discard()  # what its builders hold must not leave either: the partitions may get another owner now
        for actor in self._topology.actors:
            if actor.cursor in lost:
                actor.interrupt()

    def _drop_and_replay(self, reason: str, error: BaseException | None, *, undecided: bool = False) -> None:
        """Drop the interval, and open its partitions again from the committed offsets, unless they are being given up."""
        tps, group = list(self._ownership.sessions), self._ownership.group
        for tp, session in self._ownership.sessions.items():
            end = max(session.position, self._troubled[tp].end if tp in self._troubled else -1)
            self._troubled[tp] = Trouble(end, session.committed)
        refused = BatchRefusedError.behind(error) or isinstance(error, ChangeRefusedError)
        if refused:
            self._outbox.one_by_one.begin({tp: one.fetch_position for tp, one in self._ownership.sessions.items()})
        self._counters.drops["replay" if error is None else type(error).__name__] += 1
        helps, delay = isinstance(error, WAITING_HELPS), 0.0
        if isinstance(error, ChangeRefusedError) and error.helps and self._found < FINDS:
            self._found += 1
            self._drops = 0
        if error is not None:  # else a policy has counted it, and decides on the pace
            self._drops += 1
            delay = min(0.05 * 2**self._drops, 5.0)
        self.drop()
        if self._drops > PATIENCE and error is not None and not helps:
            self._background.fail(WorkerError(f"{self._drops} checkpoints failed in a row: {reason}"))
            return
        known = error is None or helps or refused or isinstance(error, CommitError)  # which say all in a sentence
        logger.error(
            "%s; the interval is dropped and replayed in %.1f s", reason, delay, exc_info=None if known else error
        )
        if group is None or not self._engine.may(EngineState.RECOVERING):
            return
        if undecided and not self._settings.exactly_once:
            self._engine.to(EngineState.JOINING)
            self._clients.consumer.rejoin()  # the commit may still arrive: let it be of an old generation then
            return
        self._engine.to(EngineState.RECOVERING)
        self._ownership.reopen(tps, group, delay)

    # -- give up

    async def give_up(self, why: str, *, lost: bool, budget: float, beside: asyncio.Task[None] | None = None) -> None:
        """Give up all partitions: let open events finish and commit them; what is not committed in time comes to nothing.

        Args:
            why: for messages.
            lost: others may have the partitions already, so that nothing can be committed.
            budget: seconds for all of it.
            beside: tells of it, has the same budget, and holds up nothing else.
        """
        ownership, committed = self._ownership, False
        had = bool(ownership.sessions)
        ownership.suspend()  # before anything is waited for: no event begins that could not finish
        for actor in self._topology.actors:
            actor.wake()
        try:
            async with asyncio.timeout(budget):
                if ownership.sessions and not lost:
                    ownership.stop_fetching()
                    drained = await self._drained(budget / 2 if self._settings.wait_empty else 0.0)
                    if drained or self._settings.wait_empty or not self._held_up():
                        async with self._lock:
                            epoch = ownership.epoch
                            await self._checkpoint(budget)
                            committed = drained and ownership.epoch == epoch
                if beside is not None:
                    await asyncio.wait([beside])
        except TimeoutError:
            if ownership.sessions and not committed:
                logger.warning("%s: not committed within %.0f s; given up uncommitted, to be replayed", why, budget)
        finally:  # whatever happens, a cancellation too: nothing of these sessions may go on
            if beside is not None:
                self._background.dismiss(beside)
            self.complete = committed or not had
            if committed or not ownership.sessions:
                ownership.release()
                self._outbox.held.close_gate()
            else:
                self._counters.drops["given_up"] += 1
                self.drop()
            self._topology.gave_up()

    def _held_up(self) -> bool:
        """Tell whether an open event keeps everything from being committed before it finishes."""
        return any(effects.pinned for effects in self._ownership.open_work())

    async def _drained(self, budget: float) -> bool:
        """Wait up to ``budget`` seconds until no event is open; return whether none is."""
        try:
            async with asyncio.timeout(budget):
                while self._ownership.open_work():
                    self.status.progress.clear()
                    await self.status.progress.wait()
        except TimeoutError:
            names = ", ".join(sorted(effects.name for effects in self._ownership.open_work()))
            logger.warning("events are still open after %.0f s, and are replayed: of %s", budget, names)
            return False
        return True
