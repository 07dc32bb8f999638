"""What this worker owns: sessions from assignment over recovery to revocation.

The callbacks of the consumer only snapshot and wake: recovery runs in a task of its own, because no heartbeat is sent while
``assigned`` runs. ``epoch`` moves on with every assignment, revocation and drop of an interval, and whoever has waited for something
compares it before doing anything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial

from stream_core.engine.context import EngineContext
from stream_core.engine.participants import Change, Reading, Shard
from stream_core.engine.sources import Sources
from stream_core.engine.starts import Start, Starts
from stream_core.engine.work import Works
from stream_core.errors import (
    AuthenticationError,
    BrokerUnavailableError,
    DeadlineError,
    FencedError,
    TransportError,
)
from stream_core.primitives import TP, GroupMetadata, Offset, listed
from stream_core.states import EngineState, IntervalState, SessionState
from stream_core.streams.effects import Effects
from stream_core.streams.metadata import CommitMetadata, Identity
from stream_core.streams.sessions import PartitionSession, Subscription
from stream_core.streams.units import UNITS, UnitCount
from stream_core.together import together

__all__ = ["Ownership"]

logger = logging.getLogger(__name__)

RETRY = 1.0


class Ownership:
    """The sessions of the current generation.

    Args:
        context: what the parts of the engine share. Its interval is spoiled by what goes wrong here, and begins when partitions are opened.
        subscriptions: all agents' subscriptions.
        works: what is done beside events in the shards that run.
        on_member: told the member id of each generation.
        on_ready: called when everything assigned is recovered and running.

    Attributes:
        sources: what is known of the topics.
    """

    def __init__(
        self,
        context: EngineContext,
        subscriptions: Sequence[Subscription],
        works: Works,
        *,
        on_member: Callable[[str], None],
        on_ready: Callable[[], None],
    ) -> None:
        self._received = context.counters.received
        self._watch = context.watch
        self._settings = context.settings
        self._engine = context.state
        self._interval = context.interval
        self._background = context.background
        self._clients = context.clients
        self._outbox = context.outbox
        self._topics = context.topics
        self._subscriptions = subscriptions
        self._participants = context.participants
        self._works = works
        self._has_work = any(participant.has_work for participant in context.participants)
        self._on_member = on_member
        self._on_ready = on_ready
        self._opening: asyncio.Task[None] | None = None
        self.sources = Sources(context)
        self._starts = Starts(context)
        self.sessions: dict[TP, PartitionSession] = {}
        self.group: GroupMetadata | None = None
        self.epoch = 0
        self._superseded: list[PartitionSession] = []

    @property
    def running(self) -> list[PartitionSession]:
        """The sessions that deliver events, closing ones included until they are given up."""
        return [session for session in self.sessions.values() if session.running]

    @property
    def uncommitted(self) -> int:
        """How many offsets are finished and not committed."""
        return sum(session.position - session.committed for session in self.running)

    def open_work(self) -> list[Effects]:
        """Return the effects of the open events of these sessions, and of their other open units of work."""
        return [effects for session in self._all() for effects in session.open_work()]

    def open_units(self) -> list[Effects]:
        """Return the effects of the open units of work that no record brought."""
        return [effects for session in self._all() for effects in session.units]

    def _all(self) -> list[PartitionSession]:
        return [*self.sessions.values(), *self._superseded]

    def assigned(self, tps: frozenset[TP], group: GroupMetadata) -> None:
        """Make the sessions of a new generation, and recover them in the background."""
        if self._engine.state in (EngineState.FAILED, EngineState.STOPPING):
            return
        self._engine.to(EngineState.RECOVERING)
        self.release()  # nothing is left, unless a revocation was cut short
        self.group = group
        self._clients.member = True
        self._on_member(group.member)
        self.sessions = {tp: self._session(tp) for tp in sorted(tps)}
        for subscription in self._subscriptions:
            subscription.verdicts.clear()  # these were for the interval that was dropped, if one was
        shown = f": {listed(tps)}" if tps else ""
        logger.info("generation %d: %d partitions assigned%s", group.generation, len(tps), shown)
        self._open_soon(self._settings.recovery_delay)

    def _session(self, tp: TP) -> PartitionSession:
        topic = self._topics[tp.topic]
        session = PartitionSession(tp, topic.wire, self.sources.counts.get(tp.topic, 0), topic.decode)
        if any(topic.wire.registered):
            session.prepare = topic.ready_to_read
        session.traffic = self._received[tp.topic]
        session.watch = self._watch
        session.maxsize = topic.maxsize or self._settings.buffer_maxsize
        return session

    def suspend(self) -> None:
        """Take no more events; those that are open may finish, and count."""
        self._cancel_opening()
        for session in self.sessions.values():
            session.suspend()
        self._works.suspend()

    def stop_fetching(self) -> None:
        """Fetch nothing more of what is owned: it would be dropped, and costs the last checkpoint its time."""
        self._clients.consumer.pause(self.sessions)

    def release(self) -> list[Effects]:
        """Give all sessions up; returns the effects of the open work, which come to nothing now."""
        self._cancel_opening()
        self.epoch += 1
        work = [effects for session in self._all() for effects in session.close()]
        self._works.close()
        self.sessions, self._superseded = {}, []
        self.group = None
        return work

    def reopen(self, tps: Collection[TP], group: GroupMetadata, delay: float) -> None:
        """Make new sessions, after a drop, for what was released and is still owned; they begin at the committed offsets."""
        self._clients.consumer.pause(tps)
        self.group = group
        self.sessions = {tp: self._session(tp) for tp in tps}
        self._open_soon(delay)

    def _cancel_opening(self) -> None:
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None

    def _open_soon(self, delay: float) -> None:
        self._cancel_opening()
        self._opening = asyncio.create_task(self._open(self.epoch, delay), name="open partitions")

    async def _open(self, epoch: int, delay: float) -> None:
        """Recover and run all sessions of this epoch; tries again until it works or the epoch is over."""
        try:
            await asyncio.sleep(delay)
            while self.epoch == epoch:
                try:
                    await self._recover(epoch)
                except FencedError as error:
                    logger.warning("%s; waiting for the next assignment", error)
                    return
                except AuthenticationError:
                    raise
                except TransportError as error:
                    logger.warning("cannot open the partitions yet: %s", error)
                    await asyncio.sleep(RETRY)
                else:
                    return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._background.fail(error)

    async def _recover(self, epoch: int) -> None:
        """Recover the partitions of the assignment with number ``epoch``; one that comes meanwhile ends this one."""
        # First, because the new owner of a partition waits for its store, and the steps below may wait for the broker.
        shards = self._shards(list(self.sessions.values()))
        for participant in self._participants:
            await participant.keep(list(shards))
        if self._clients.lease_over():
            raise DeadlineError("no heartbeat was answered for too long; waiting for the group")
        if self._interval.state is IntervalState.DROPPED:
            await self._clients.renew()  # a producer that has nothing to do with the one before
        self._interval.begin()
        if self.epoch != epoch:
            return
        # After an attempt that failed some may run: to open them again would drop what their events have changed since.
        sessions = [session for session in self.sessions.values() if session.state is SessionState.RESTORING]
        committed = await self._clients.consumer.committed([session.tp for session in sessions])
        # After the offsets: when a topic is made again between the two, old offsets meet its new id. What the changelogs say of the old
        # topic is history then, which is right, since its events cannot come again; and an offset that names the old id does not count.
        ids = await self.sources.look(self.sessions)
        identities = await self.sources.identify(ids)
        if self.epoch != epoch or self.group is None:
            return
        known = self.sources.identities
        for session in sessions:
            if known.get(session.tp.topic) != identities.get(session.tp.topic):
                self._forget(session.tp)
        # A topic of which some partitions run already is compared with what it was when those were opened.
        running = {tp.topic for tp, session in self.sessions.items() if session.running}
        self.sources.identities = identities | {name: one for name, one in known.items() if name in running}
        starts = await self._starts.find(committed, identities, self.group)
        if self.epoch != epoch:
            return
        if self._settings.exactly_once and not self.running:
            self._outbox.held.open_gate()
        opening = self._shards(sessions).items()
        await together(self._run(epoch, shard, members, starts, ids) for shard, members in opening)
        if self.epoch == epoch and self._engine.state is EngineState.RECOVERING:
            self._on_ready()

    def _forget(self, tp: TP) -> None:
        """Forget what was decided on events of a partition, and where its log ended: others have their offsets now."""
        self._starts.forget(tp)
        for subscription in self._subscriptions:
            subscription.verdicts.pop(tp, None)

    def _shards(self, sessions: Sequence[PartitionSession]) -> dict[Shard, list[PartitionSession]]:
        shards: dict[Shard, list[PartitionSession]] = {}
        for session in sessions:
            shards.setdefault(Shard(session.partitions, session.partition), []).append(session)
        return shards

    async def _send_now(self, change: Change) -> int:
        """Send one record ahead of the checkpoints, and return its offset when it is acknowledged."""
        effects = self._outbox.effects
        try:
            await effects.partitions(change.topic)
            delivery = effects.send(change.topic, change.partition, change.key, change.value, headers=change.headers)
            return (await delivery).offset
        except TransportError as error:  # the producer may be of no more use, and partitions that run have sent by it
            self._interval.spoil(
                f"topic {change.topic}, partition {change.partition}: the claim is not acknowledged", error
            )
            raise

    async def _run(
        self,
        epoch: int,
        shard: Shard,
        sessions: Sequence[PartitionSession],
        starts: Mapping[TP, Start],
        ids: Mapping[str, str],
    ) -> None:
        """Recover one shard, then deliver its partitions."""
        committed: dict[Reading, int] = {}
        for session in sessions:
            start, said = starts[session.tp].offset, starts[session.tp].metadata
            names = {subscription.name for subscription in self._subscriptions_of(session.tp.topic)}
            for name in names | said.leads.keys():  # also of agents that had another name, or are gone
                committed[Reading(session.tp, name)] = max(start, said.leads.get(name, start))
            committed[Reading(session.tp, "")] = start
            if said.units is not None:
                committed[Reading(session.tp, UNITS)] = said.units
            session.unit_count = UnitCount(said.units)
        generation = self.group.generation if self.group is not None else 0
        exactly_once = self._settings.exactly_once
        send = None if exactly_once else self._send_now
        unread = all(starts[session.tp].metadata.unread for session in sessions)
        for participant in self._participants:
            await participant.open(
                shard, committed, generation, ids=ids, send=send, exactly_once=exactly_once, unread=unread
            )
        if self.epoch != epoch or any(session.state is not SessionState.RESTORING for session in sessions):
            return  # given up meanwhile
        for session in sessions:
            start, said = starts[session.tp].offset, starts[session.tp].metadata
            session.run(start, self._subscriptions_of(session.tp.topic), said.leads)
            self._clients.consumer.seek(session.tp, start)
        self._clients.consumer.resume([session.tp for session in sessions])
        self._begin_work(shard)

    def _begin_work(self, shard: Shard) -> None:
        if self._has_work:
            work = self._works.begin(partial(self._sessions_of, shard))
            for participant in self._participants:
                if participant.has_work:
                    participant.running(shard, work)

    def _sessions_of(self, shard: Shard) -> list[PartitionSession]:
        return [
            one
            for one in self.sessions.values()
            if one.partition == shard.partition and one.partitions == shard.partitions
        ]

    def _subscriptions_of(self, topic: str) -> list[Subscription]:
        return [subscription for subscription in self._subscriptions if topic in subscription.topics]

    async def out_of_range(self, tp: TP, offset: int, checkpoint: Callable[[], Awaitable[bool]]) -> None:
        """Go on where the log of ``tp`` begins or ends, since it does not hold ``offset`` (any more), and say so.

        Where the log was cut off, after an unclean election, the end is right: there is nothing to read again. Else the setting
        ``offset_reset`` decides: retention took the record away, or the topic was made again.

        What was fetched before and waits for its agents is not lost: it is worked on where the log goes on behind it. Where the log
        goes back its interval is dropped, and what the log still holds of it is read again.

        Raises:
            TransportError: it could not be found out, or not be committed; it can be tried again.
        """
        session, group, epoch = self.sessions.get(tp), self.group, self.epoch
        if session is None or group is None:
            return
        await checkpoint()
        consumer, known = self._clients.consumer, self.sources.identities.get(tp.topic)
        identity = await self._identity(tp.topic)
        start, end = (await consumer.start_offsets([tp]))[tp], (await consumer.end_offsets([tp]))[tp]
        if identity != await self._identity(tp.topic):
            raise BrokerUnavailableError(f"topic {tp.topic} is being made again: where it begins is not known yet")
        cut_off = known is not None and offset > end and identity == known
        position = end if cut_off or self._settings.offset_reset == "latest" else start
        again = cut_off and session.backlog > 0 and session.position < position
        if position < offset:
            self._forget(tp)
        if self.epoch == epoch and position < offset and not again:
            said = CommitMetadata(units=session.unit_count.committed, identity=identity)
            await self._starts.commit({tp: Offset(position, said.encode(tp))}, group)
        if self.epoch != epoch or self.sessions.get(tp) is not session:
            return
        logger.error(
            "%s: offset %d is not in the log any more, which holds %d to %d (retention, an unclean election, or the topic was made again); "
            "going on at offset %d",
            tp,
            offset,
            start,
            end,
            session.position if again else position,
        )
        if position >= offset:
            session.fetch_position = position
            consumer.seek(tp, position)
            await checkpoint()  # so that the next owner does not meet this again
            return
        if again:
            self._interval.spoil(
                f"{tp}: the log was cut off at offset {end}, and events before that are not finished", None
            )
            await checkpoint()
            return
        self._supersede(session, position)

    def _supersede(self, session: PartitionSession, position: int) -> None:
        """Go on elsewhere in the log, in a session of its own: open events of the one before may finish, and count."""
        tp = session.tp
        session.suspend()
        self._superseded.append(session)
        self.sessions[tp] = fresh = self._session(tp)
        fresh.unit_count = session.unit_count  # units of the old session count there, too
        # A checkpoint may have moved it while the old one was committed: the next one does it anew.
        fresh.unit_count.worked = True
        fresh.run(position, self._subscriptions_of(tp.topic), {})
        self._clients.consumer.seek(tp, position)

    async def _identity(self, topic: str) -> Identity | None:
        """Ask which topic of this name there is now."""
        return (await self.sources.identify(await self.sources.look(self.sessions))).get(topic)
