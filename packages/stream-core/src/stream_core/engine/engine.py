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
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from stream_core.agents.agent import Agent
from stream_core.agents.replies import Replies
from stream_core.calls import act_in, is_here
from stream_core.engine.backpressure import BackPressure
from stream_core.engine.context import EngineContext
from stream_core.engine.fetching import Fetching
from stream_core.engine.idle import Idleness
from stream_core.engine.interval import RunningInterval
from stream_core.engine.joining import Joining
from stream_core.engine.leadership import Leadership
from stream_core.engine.letters import LetterFinder
from stream_core.engine.observer import Observer
from stream_core.engine.ownership import Ownership
from stream_core.engine.participants import Participant
from stream_core.engine.rebalances import Rebalances
from stream_core.engine.snapshot import Snapshot, Status
from stream_core.engine.topology import Topology
from stream_core.engine.watchdog import Watchdog
from stream_core.engine.work import Works
from stream_core.errors import ConfigurationError, TransportError
from stream_core.ports import NOBODY, RebalanceListener, Transport
from stream_core.primitives import TP, GroupMetadata
from stream_core.runs import Run
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.sensors import Sensors
from stream_core.settings import EngineSettings
from stream_core.states import EngineState
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream

__all__ = ["Engine"]

logger = logging.getLogger(__name__)


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
        run: what the handles are bound to; a new one when left out.
        sensors: who is told of what happens.

    Attributes:
        host: what the other members of the group are told of this one; set it before the start.
        counters: what it has done so far.
        letters: finds dead letters, for the dashboard.
        stop_timeout: seconds for a stop, all in all; that of the settings, unless somebody knows better that a broker does not answer.
    """

    def __init__(
        self,
        transport: Transport,
        settings: EngineSettings,
        *,
        topics: Collection[AnyTopic],
        agents: Sequence[Agent],
        participants: Sequence[Participant] = (),
        client_only: bool = False,
        on_member: Callable[[str], None] = lambda member: None,
        run: Run | None = None,
        sensors: Sensors | None = None,
    ) -> None:
        context = EngineContext(
            transport,
            settings,
            topics=topics,
            participants=participants,
            run=Run(settings.group) if run is None else run,
            sensors=Sensors() if sensors is None else sensors,
            on_failure=self._failed,
        )
        self.run, self.sensors, self.counters = context.run, context.sensors, context.counters
        self.background, self.outbox, self.clients = context.background, context.outbox, context.clients
        self._settings = settings
        self.stop_timeout = settings.stop_timeout
        self._topics = context.topics
        self._machine = context.state
        self._agents = agents
        self._participants = participants
        self.host = NOBODY
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._collapse: asyncio.Task[None] | None = None
        self.rebalances = Rebalances(context)
        self.letters = LetterFinder(transport, self.clients.admin)
        self.replies = Replies(transport, self.clients.admin, settings, fail=self.fail, outcomes=self.counters.asks)
        self.topology = Topology(context, on_progress=self._progressed, on_change=self._changed)
        self._idleness = Idleness(lambda: self.clients.consumer, lambda: self.ownership.running)
        self._works = Works(
            self.run,
            self.background,
            self._idleness,
            emit=self.outbox.held.emit,
            on_conflict=context.interval.spoil,
            on_progress=self._progressed,
        )
        self.ownership = Ownership(
            context, self.topology.subscriptions, self._works, on_member=on_member, on_ready=self._opened
        )
        self.interval = RunningInterval(context, self.topology, self.ownership)
        self.leadership = Leadership(self.topology, self.ownership, self.clients.lease_over)
        self._joining = Joining(
            context,
            self.topology,
            self.ownership,
            unread=_topics_of(agents) if client_only else (),
            subscribe=self._subscribe,
        )
        self._observer = Observer(
            context, self.topology, self.ownership, self.interval, self._joining, host=lambda: self.host
        )
        self._pressure = BackPressure(context, self.ownership, self.topology.subscriptions)
        self._works.room = self._pressure.room
        self._fetching = Fetching(self.clients.consumer, self.ownership, self.interval, self._pressure)
        self._watchdog = Watchdog(context, self.topology, self._works, self._joining)
        self.outbox.late |= {topic.name: partial(self._joining.make, topic) for topic in topics if topic.by_name}
        for agent in () if client_only else agents:
            self.topology.add(agent)
        for participant in participants:
            participant.attend(context.interval.spoil)

    # -- life

    async def start(self) -> None:
        """Connect, declare topics, join the group, recover; returns when every partition assigned is running.

        Raises:
            BrokerUnavailableError: no broker answers, and ``fail_fast`` is set.
            ConfigurationError: topics do not fit their definitions.
            WorkerError: an agent or a store failed for good.
        """
        with self.run.entered():  # whatever is started here finds this engine, where there are several
            await self._start()

    async def _start(self) -> None:
        """Start the parts in the order in which they need each other, and wait until the first assignment is worked on."""
        self._machine.to(EngineState.STARTING)
        clients, settings = self.clients, self._settings
        await clients.start()
        await self._joining.declare()
        for participant in self._participants:
            await clients.patiently(partial(participant.start, self.outbox.effects.max_record_size))
        if settings.predecessor:
            await clients.patiently(partial(clients.admin.remove_member, settings.group, settings.predecessor))
        for topic in self._topics.values():
            topic.bind(self.run, self.outbox)
        for agent in self._agents:
            agent.bind(self.run, self.replies)
        if settings.reply_create:
            await clients.patiently(self.replies.listen)
        self.topology.start()
        await self._joining.asked(self.failure)
        await self._joining.join()
        self.background.spawn(self.interval.run(self._pressure.release), "checkpoints")
        self.background.spawn(self._watchdog.run(), "supervisor")
        self.background.spawn(self._discover(), "discovery of topics")
        if any(participant.has_work for participant in self._participants):
            self.background.spawn(self._idleness.run(self.run.clock), "look for idle partitions")
        await self.background.until(self._ready)

    def _subscribe(self, sources: set[str]) -> None:
        """Join the group for these topics."""
        if sources:
            listener = RebalanceListener(self._assigned, self._revoked)
            self.clients.consumer.subscribe(sources, listener, self.host)
        if sources and self._reading is None:
            self._machine.to(EngineState.JOINING)
            self._reading = self.background.spawn(self._fetching.run(), "fetch")
        elif self._reading is None:
            self._opened()
            if self._settings.exactly_once:
                self.outbox.held.open_gate()

    def _changed(self) -> None:
        """Join the group again when the topics that are read have changed."""
        if self._joining.outdated():
            self.background.spawn(self._joining.join(), "join for another topic")

    def add(self, topic: AnyTopic) -> None:
        """Let programs send to a topic that was described after the start, in whichever thread.

        :meta private:
        """
        topic.bind(self.run, self.outbox)
        if topic.name not in self._topics:
            self.outbox.late[topic.name] = partial(self._joining.make, topic)
            act_in(self._loop, lambda: self._topics.setdefault(topic.name, topic))  # where others iterate over them

    def stream(self, channel: AnyTopic | Channel[Any, Any], name: str | None = None) -> Stream[Any]:
        """Make a stream over a topic or channel, outside of agents; see :meth:`Topology.stream`.

        Raises:
            ConfigurationError: there is a stream or agent of that name, or this is not the event loop of the engine.
        """
        if not is_here(self._loop):
            raise ConfigurationError(
                f"{channel} cannot be read by a stream here: the app runs in another event loop; read it in "
                "a task of the app (@app.task), and hand over what is found"
            )
        return self.topology.stream(channel, name)

    async def stop(self) -> None:
        """Finish open events, commit, leave the group and close everything; within ``stop_timeout``, and only once.

        Each step is made whatever the ones before it raise; the first of these errors is raised at the end.
        """
        if self.state in (EngineState.STOPPING, EngineState.STOPPED):
            return
        self._machine.to(EngineState.STOPPING)
        budget = self.stop_timeout
        end = asyncio.get_running_loop().time() + budget

        def left() -> float:
            return max(end - asyncio.get_running_loop().time(), 1.0)

        try:
            async with AsyncExitStack() as steps:  # from the last to the first
                for participant in self._participants:
                    steps.push_async_callback(participant.stop)
                steps.push_async_callback(self._close_clients, left)
                steps.callback(self._unbind)
                steps.push_async_callback(self.background.stop, budget / 5)
                steps.push_async_callback(self._works.stop, budget / 5)
                steps.push_async_callback(self._give_up, min(self._settings.drain_timeout, budget / 2))
        finally:
            self._machine.to(EngineState.STOPPED)

    async def _give_up(self, budget: float) -> None:
        clock = asyncio.get_running_loop().time
        end = clock() + budget
        if self._collapse is not None:  # it is being given up already
            await asyncio.wait([self._collapse], timeout=budget)
            self._collapse.cancel()
        await self.interval.give_up("stop", lost=False, budget=max(end - clock(), 0.1))

    async def _close_clients(self, left: Callable[[], float]) -> None:
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left() / 2):
                    await self.replies.stop()
        finally:
            await self.clients.stop(left())

    def _unbind(self) -> None:
        self.topology.leave_channels()
        self.run.end()

    @property
    def state(self) -> EngineState:
        """What the engine does now."""
        return self._machine.state

    @property
    def failure(self) -> asyncio.Future[Any]:
        """Has the error as its result once the worker cannot go on."""
        return self.background.failure

    @property
    def ready(self) -> bool:
        """Whether this worker has its partitions, can read all of them and works on them; without agents, whether it is started."""
        return self.status().ready

    @property
    def missing(self) -> set[str]:
        """Topics that are read and do not exist any more, as of the last look (``discovery_interval``).

        :meta private:
        """
        return self._joining.missing

    def snapshot(self) -> Snapshot:
        """Tell how everything is now, from what is in memory: no broker or store is asked.

        It may be called at any time, before the start and after the stop, too, and from any thread.
        """
        return self._observer.snapshot()

    def status(self) -> Status:
        """Tell whether it is ready, and why not: the part of :meth:`snapshot` that may be asked for every second."""
        return self._observer.status()

    def fail(self, error: BaseException) -> None:
        """Say that the worker cannot go on: whoever runs it looks at :attr:`failure`, stops it and exits non-zero.

        :meta private:
        """
        self.background.fail(error)

    def _failed(self, error: BaseException) -> None:
        """Give everything up at once, so that others get the partitions also where nobody stops this engine."""
        if self._machine.may(EngineState.FAILED):
            self._machine.to(EngineState.FAILED)
            self._collapse = asyncio.create_task(self._give_everything_up(), name="give up after a failure")

    async def _give_everything_up(self) -> None:
        """Commit what is whole, drop the rest, and leave the group.

        An interval that met the failure is dropped already. One that did not, because an agent cannot go on for instance, is committed
        as at any revocation: its events need not be done again.
        """
        try:
            await self.interval.give_up("failure", lost=False, budget=self._settings.drain_timeout)
        finally:
            if self._reading is not None:
                self._reading.cancel()
                self.clients.member = False
                await self.clients.consumer.stop()

    async def _discover(self) -> None:
        """Look for topics that match the patterns of those who read by one, and for sources that are gone."""
        while True:
            await self.run.clock.sleep(self._settings.discovery_interval)
            with contextlib.suppress(TransportError):  # the next look is soon
                if self.topology.has_patterns:
                    await self._joining.look()
                await self._joining.look_for_missing()

    def _progressed(self) -> None:
        """Take note that an agent has finished events: a checkpoint may be due, and there may be room for more records."""
        self.interval.progressed()
        self._works.progressed()
        self._pressure.release()

    async def checkpoint(self) -> bool:
        """Commit what is finished now; returns whether anything was committed. See :mod:`stream_core.engine.interval`.

        :meta private:
        """
        return await self.interval.checkpoint()

    # -- rebalances

    def _opened(self) -> None:
        self._machine.to(EngineState.RUNNING)
        self._ready.set()
        self.rebalances.opened()

    def _assigned(self, tps: frozenset[TP], group: GroupMetadata) -> None:
        self.rebalances.assigned(tps, group)
        self.ownership.assigned(tps, group)

    async def _revoked(self, tps: frozenset[TP], lost: bool) -> None:
        telling = self.rebalances.revoked(tps, lost=lost)
        if self._machine.may(EngineState.REVOKING):
            self._machine.to(EngineState.REVOKING)
        try:
            await self.interval.give_up("revocation", lost=lost, budget=self._settings.drain_timeout, beside=telling)
        finally:
            if self.state is EngineState.REVOKING:
                self._machine.to(EngineState.JOINING)


def _topics_of(agents: Sequence[Agent]) -> list[str]:
    return [part.name for agent in agents if isinstance(agent.topic, Topic) for part in agent.topic.parts]
