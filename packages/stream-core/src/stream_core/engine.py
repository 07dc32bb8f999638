"""The engine: it owns the loop, and is the only code that touches a port.

::

    Consumer ─Batch─▶ PartitionSession ─Chunk─▶ Stream ─▶ agent body ─▶ Outbox ─▶ Producer ─┐
        ▲                                                    └▶ tables (Participant)         │
        └────────────── offsets ◀── Checkpoint ◀── acknowledgements ◀────────────────────────┘
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

from stream_core.actors import Actor
from stream_core.agents import Agent
from stream_core.announcing import Announcing
from stream_core.background import Background
from stream_core.backpressure import BackPressure
from stream_core.checkpoint import Checkpoint
from stream_core.clients import Clients, EngineSettings
from stream_core.errors import (
    BatchRefusedError,
    BrokerUnavailableError,
    DeadlineError,
    FencedError,
    OffsetOutOfRangeError,
    TransportError,
    WorkerError,
)
from stream_core.failpoints import Failpoint
from stream_core.joining import Joining
from stream_core.leadership import Leadership
from stream_core.outbox import Outbox
from stream_core.ownership import Hooks, Ownership
from stream_core.participants import Participant
from stream_core.ports import RebalanceListener, Transport
from stream_core.records import TP
from stream_core.replies import Replies
from stream_core.topics import Topic
from stream_core.topology import Topology
from stream_core.watchdog import Watchdog

__all__ = ["Engine"]

logger = logging.getLogger(__name__)

POLL = 1.0
PATIENCE = 5
"""Aborts in a row, for reasons that waiting does not mend, after which the worker gives up."""


class Engine:
    """Runs agents over topics.

    Args:
        transport: the driver of the cluster.
        settings: of the engine.
        topics: all topics of the app, sources and outputs.
        agents: all agents.
        participants: the tables.
        client_only: agents are not run: they can be sent to and asked.
        on_member: told the member id in the group at each assignment, to be kept for a successor after a crash.
    """

    def __init__(
        self,
        transport: Transport,
        settings: EngineSettings,
        *,
        topics: Collection[Topic[Any, Any]],
        agents: Sequence[Agent],
        participants: Sequence[Participant] = (),
        client_only: bool = False,
        on_member: Callable[[str], None] = lambda member: None,
    ) -> None:
        self._settings = settings
        self._topics = {topic.name: topic for topic in topics}
        self._participants = participants
        self.outbox = Outbox(transactional=settings.exactly_once)
        self.clients = Clients(transport, settings, self.outbox)
        self.replies = Replies(transport, self.clients.admin, settings)
        self.topology = Topology(
            *(settings.group, self._topics, self.outbox),
            max_restarts=settings.max_restarts,
            on_progress=self._progressed,
            on_conflict=self._conflict,
            on_actor=self._act,
            on_change=self._changed,
        )
        self._fetching = False
        self.ownership = Ownership(
            *(settings, self.clients, self.outbox),
            topics=self._topics,
            subscriptions=self.topology.subscriptions,
            participants=participants,
            hooks=Hooks(on_member, self._opened, self.fail),
        )
        self.leadership = Leadership(self.topology, self.ownership)
        self._joining = Joining(
            *(settings, self.clients, self.topology, self.ownership),
            topics=self._topics,
            participants=participants,
            unread=_topics_of(agents) if client_only else (),
            subscribe=self._subscribe,
        )
        self._agents = agents
        for agent in () if client_only else agents:
            self.topology.add(agent)
        self._lock = asyncio.Lock()
        self._progress, self._commit_now, self._ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._pressure = BackPressure(settings, self.clients, self.ownership, self.topology.subscriptions)
        self.background = Background()
        self.announcing = Announcing(self.background, settings.drain_timeout)
        self._aborts = 0
        self._spoiled: tuple[str, BaseException] | None = None

    # -- life

    async def start(self) -> None:
        """Connect, declare topics, join the group, recover; returns when every partition assigned is running.

        Raises:
            BrokerUnavailableError: no broker answers, and ``fail_fast`` is set.
            ConfigurationError: topics do not fit their definitions.
            WorkerError: an agent or a store failed for good.
        """
        clients, settings = self.clients, self._settings
        await clients.start()
        await self._joining.declare()
        for participant in self._participants:
            await clients.patiently(participant.start)
        if settings.predecessor:
            await clients.patiently(partial(clients.admin.remove_member, settings.group, settings.predecessor))
        for topic in self._topics.values():
            topic.bind(self.outbox)
        for agent in self._agents:
            agent.bind(self.replies)
        if settings.reply_create:
            await clients.patiently(self.replies.listen)
        for actor in list(self.topology.actors):
            self._act(actor)
        await self._joining.asked(self.failure)
        await self._joining.join()
        self.background.spawn(self._commit_loop(), "checkpoints")
        self.background.spawn(self._supervise(), "supervisor")
        self.background.spawn(self._discover(), "discovery of topics")
        await self.background.until(self._ready)

    def _act(self, actor: Actor) -> None:
        self.background.watch(actor.start())

    def _subscribe(self, sources: set[str]) -> None:
        """Join the group for these topics."""
        if sources:
            listener = RebalanceListener(self.ownership.assigned, self._revoked)
            self.clients.consumer.subscribe(sources, self.announcing.around(listener))
        if sources and not self._fetching:
            self._fetching = True
            self.background.spawn(self._fetch(), "fetch")
        elif not self._fetching:
            self._ready.set()
            if self._settings.exactly_once:
                self.outbox.open_gate()

    def _changed(self) -> None:
        """Somebody reads something else now."""
        if self._joining.outdated():
            self.background.spawn(self._joining.join(), "join for another topic")

    def add(self, topic: Topic[Any, Any]) -> None:
        """Let a topic be sent to that was described after the start."""
        if topic.name not in self._topics:
            self._topics[topic.name] = topic
            topic.bind(self.outbox)

    async def stop(self) -> None:
        """Finish open events, commit, leave the group and close; bounded by the deadlines of the settings."""
        self.ownership.stopping = True
        await self._give_up("stop", lost=False)
        await self.background.stop(self._settings.drain_timeout)
        for topic in self._topics.values():
            topic.bind(None)
        for agent in self._agents:
            agent.bind(None)
        await self.replies.stop()
        await self.clients.stop()
        for participant in self._participants:
            await participant.stop()

    @property
    def failure(self) -> asyncio.Future[Any]:
        """Has the error as its result once the worker cannot go on."""
        return self.background.failure

    @property
    def ready(self) -> bool:
        """Whether this worker has its partitions and works on them; without agents, whether it is started."""
        working = self.ownership.ready if self._fetching else self._ready.is_set()
        return working and not self.failure.done()

    def fail(self, error: BaseException) -> None:
        """The worker cannot go on: whoever runs it looks at :attr:`failure`, stops it and exits non-zero."""
        self.background.fail(error)

    async def _discover(self) -> None:
        """Look for topics that match the patterns of those who read by one."""
        while True:
            await asyncio.sleep(self._settings.discovery_interval)
            if self.topology.has_patterns:
                with contextlib.suppress(TransportError):  # the next look is soon
                    await self._joining.look()

    # -- records in

    async def _fetch(self) -> None:
        consumer = self.clients.consumer
        while True:
            try:
                batches = await consumer.poll(POLL)
            except OffsetOutOfRangeError as error:
                await self.ownership.out_of_range(error.tp, self.checkpoint)
                continue
            for batch in batches:
                session = self.ownership.sessions.get(batch.tp)
                if session is not None and session.running and session.open:
                    session.deliver(batch)
            await self._pressure.hungry()

    def _progressed(self) -> None:
        """An agent finished some events."""
        self._progress.set()
        self._pressure.release()
        if not self._commit_now.is_set() and self._due():
            self._commit_now.set()

    def _due(self) -> bool:
        """Whether a checkpoint comes early, because so much has happened since the last one."""
        every = self._settings.commit_every
        if every is not None and self.ownership.uncommitted >= every:
            return True
        return sum(participant.pending for participant in self._participants) > self._settings.commit_bytes

    # -- checkpoints

    async def _commit_loop(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._commit_now.wait(), self._settings.commit_interval)
            self._commit_now.clear()
            await self.checkpoint()

    async def checkpoint(self) -> bool:
        """Commit what is finished now; returns whether anything was committed. Failure aborts the interval."""
        async with self._lock:
            return await self._checkpoint(self._settings.deadline)

    async def _checkpoint(self, deadline: float) -> bool:
        ownership = self.ownership
        group, epoch = ownership.group, ownership.epoch
        if group is None:
            return False
        if self._spoiled:
            await self._abort(*self._spoiled)
            return False
        checkpoint = Checkpoint(
            *(lambda: ownership.running, group, lambda: self.topology.cursors),
            clients=self.clients,
            outbox=self.outbox,
            participants=self._participants,
            exactly_once=self._settings.exactly_once,
            is_current=lambda: ownership.epoch == epoch and not self._spoiled,
        )
        try:
            async with asyncio.timeout(deadline):
                done = await checkpoint.run()
        except (TransportError, TimeoutError, Failpoint) as error:
            if ownership.epoch == epoch:
                await self._abort(f"checkpoint failed: {error or type(error).__name__}", error)
            return False
        except Exception as error:
            self.fail(error)
            return False
        if done:
            self._aborts = 0
            self.outbox.relax({tp: session.committed for tp, session in ownership.sessions.items()})
        return done

    async def _abort(self, reason: str, error: BaseException) -> None:
        """Drop the interval: nothing of it counts; it is replayed from the committed offsets."""
        self._aborts += 1
        waiting_helps = isinstance(error, (DeadlineError, BrokerUnavailableError, FencedError, TimeoutError, Failpoint))
        if self._aborts > PATIENCE and not waiting_helps:
            self.fail(WorkerError(f"{self._aborts} checkpoints failed in a row: {reason}"))
            return
        delay = min(0.05 * 2**self._aborts, 5.0)
        logger.error("%s; the interval is dropped and replayed in %.1f s", reason, delay, exc_info=not waiting_helps)
        if BatchRefusedError.behind(error):
            self.outbox.take_care({tp: session.fetch_position for tp, session in self.ownership.sessions.items()})
        tps, group = list(self.ownership.sessions), self.ownership.group
        self._drop()
        if group is not None:
            self.ownership.reopen(tps, group, delay)

    def _drop(self) -> None:
        """Forget everything since the last checkpoint, in one moment."""
        cursors = set(self.ownership.release())
        for participant in self._participants:
            participant.aborted()
        self.outbox.drop()
        self.ownership.stale_producer = True
        self._spoiled = None
        for actor in self.topology.actors:
            if actor.cursor in cursors:
                actor.interrupt()

    def _conflict(self, reason: str, error: BaseException | None) -> None:
        """The next checkpoint must not count the interval but drop it, and is due now."""
        self._spoiled = self._spoiled or (reason, error or Failpoint(reason))
        self._commit_now.set()

    # -- rebalances

    def _opened(self) -> None:
        self._ready.set()

    async def _revoked(self, tps: frozenset[TP], lost: bool) -> None:
        await self._give_up("revocation", lost=lost)

    async def _give_up(self, why: str, *, lost: bool) -> None:
        """Finish open events, commit and give up all partitions; what is not finished in time comes to nothing."""
        ownership = self.ownership
        ownership.close()
        for actor in self.topology.actors:
            actor.wake()
        if not ownership.sessions:
            ownership.release()
            return
        budget, committed = self._settings.drain_timeout, False
        try:
            async with asyncio.timeout(budget):
                if not lost:
                    drained = await self._drained(budget / 2)
                    async with self._lock:
                        epoch = ownership.epoch
                        await self._checkpoint(budget)
                        committed = drained and ownership.epoch == epoch and not self.failure.done()
        except TimeoutError:
            logger.warning("%s: not committed within %.0f s; given up uncommitted, to be replayed", why, budget)
        finally:  # whatever happens, a cancellation too: nothing of these sessions may go on
            if committed:
                ownership.release()
                self.outbox.close_gate()
            else:
                self._drop()

    async def _drained(self, budget: float) -> bool:
        """Wait until no event is open, or the budget is used up; returns whether none is."""
        try:
            async with asyncio.timeout(budget):
                while any(session.cursors() for session in self.ownership.sessions.values()):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            logger.warning("some events are still open after %.0f s; they are replayed by the next owner", budget)
            return False
        return True

    # -- health

    async def _supervise(self) -> None:
        settings, loop = self._settings, asyncio.get_running_loop()
        watchdog = Watchdog(self.topology.actors, settings.processing_timeout, settings.deadline / 4)
        while True:
            await asyncio.sleep(1.0)
            self.clients.check()
            if (broken := self.outbox.broken) is not None:
                self.outbox.broken = None
                await self.clients.mend(broken)
            watchdog.look(loop.time())


def _topics_of(agents: Sequence[Agent]) -> list[str]:
    return [part.name for agent in agents if isinstance(agent.topic, Topic) for part in agent.topic.parts]
