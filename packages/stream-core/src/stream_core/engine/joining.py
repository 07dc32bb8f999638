"""When the consumer group is joined, and for which topics.

The bodies of agents decide on that too: ``through`` and ``group_by`` make them readers of topics that no definition names. So bodies
run first, and the group is joined when each of them waits for its first event.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from stream_core.engine.context import EngineContext
from stream_core.engine.declare import declare, declare_late
from stream_core.engine.ownership import Ownership
from stream_core.engine.participants import Participant
from stream_core.engine.topology import Topology
from stream_core.errors import ConfigurationError
from stream_core.sending.topic import AnyTopic
from stream_core.states import EngineState
from stream_core.streams.metadata import METADATA_LIMIT, has_room_for

__all__ = ["Joining"]

logger = logging.getLogger(__name__)

FIRST_ASK = 5.0
"""Seconds within which the body of an agent asks for its first event, before the group is joined without it."""


SILENCE = 3.0
"""Seconds without partitions after which it is said what is waited for."""


class Joining:
    """Declares topics and joins the group for those that are read.

    Args:
        context: what the parts of the engine share.
        topology: who reads what.
        ownership: gets the partition counts.
        unread: topics that are sources although nobody here reads them: those of agents that run elsewhere.
        subscribe: joins the group for these topics, or leaves some of them.
    """

    def __init__(
        self,
        context: EngineContext,
        topology: Topology,
        ownership: Ownership,
        *,
        unread: Collection[str],
        subscribe: Callable[[set[str]], None],
    ) -> None:
        self._settings = context.settings
        self._engine = context.state
        self._clients = context.clients
        self._topics = context.topics
        self._participants = context.participants
        self._topology = topology
        self._ownership = ownership
        self._unread = unread
        self._subscribe = subscribe
        self._joined = self._busy = False
        self._waits_since: float | None = None
        self._subscribed: set[str] = set()
        self._counts: Mapping[str, int] = {}
        self._late = context.outbox.late
        self.missing: set[str] = set()

    async def declare(self) -> None:
        """Make sure that the topics exist which are known before any body has run."""
        if self._topology.has_patterns:
            await self._clients.patiently(self.look)
        self._counts = await self._declare(())

    async def make(self, topic: AnyTopic) -> None:
        """Make sure that a topic exists which was described since the start; see :func:`declare_late`."""
        leading = self._sources() - self._topology.between
        counts = [count for name, count in self._counts.items() if name in leading]
        await declare_late(self._clients.admin, topic, self._settings, counts)

    async def asked(self, failure: asyncio.Future[Any]) -> None:
        """Wait until every body asks for its first event; raises the ``failure`` of the engine when there is one before."""
        subscriptions = self._topology.subscriptions
        while silent := {s.inbox: s.name for s in subscriptions if not s.inbox.asked.is_set()}:
            waits = [asyncio.create_task(inbox.asked.wait()) for inbox in silent]
            done, _ = await asyncio.wait([*waits, failure], timeout=FIRST_ASK, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
            if failure.done():
                raise failure.result()
            if not done:
                logger.warning(
                    "%s did not ask for an event within %.0f s; going on without waiting. Topics of through() and group_by() that "
                    "appear later cost a rebalance",
                    ", ".join(sorted(silent.values())),
                    FIRST_ASK,
                )
                return

    async def join(self) -> None:
        """Declare what is read, changelogs included, and join the group for it; again when that has changed.

        Raises:
            ConfigurationError: more agents read a topic than a commit has room for the positions of.
        """
        declared: set[str] | None = None
        while declared != self._topology.sources:  # somebody may begin to read another topic meanwhile
            declared = self._topology.sources
            self._counts = self._ownership.sources.counts = await self._declare(self._participants)
        if self._settings.exactly_once or self._participants:
            self._check_room(declared)
        self._subscribed = declared
        self._subscribe(declared)
        self._joined, self._busy = True, False

    def _check_room(self, topics: Collection[str]) -> None:
        """Make sure that no position of an agent is left out of a commit: its events would come, and count, again."""
        for topic in sorted(topics):
            readers = [reader.name for reader in self._topology.subscriptions if topic in reader.topics]
            if not has_room_for(readers):
                raise ConfigurationError(
                    f"topic {topic} is read by {len(readers)} agents, and the {METADATA_LIMIT} characters of a commit have no room for "
                    "their names and positions: give them shorter names, or let one of them pass events on to a topic of the others"
                )

    def remind(self, now: float) -> None:
        """Say why nothing happens, once for each time: whoever starts a worker again after a hard end would look for a mistake.

        Args:
            now: seconds; called every second.
        """
        if self._engine.state is not EngineState.JOINING:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= SILENCE:
            self._waits_since = math.inf
            logger.info(
                "waiting for the group %s: it keeps the place of a worker that left without a word for up to %.0f s, and lets others "
                "finish their events",
                self._settings.group,
                self._settings.session_timeout,
            )

    async def look(self) -> None:
        """Join again when there are topics that match a pattern and that the group was not joined for: also when that failed before."""
        self._topology.match(await self._clients.admin.topics())
        new = self._topology.sources - self._subscribed
        if new and self._joined and not (self._busy or self._engine.state is EngineState.STOPPING):
            logger.info("new topics match: joining the group for %s, too", ", ".join(sorted(new)))
            await self.join()

    async def look_for_missing(self) -> None:
        """Say which topics that were joined for do not exist any more; nothing else would. :attr:`missing` has them."""
        missing = self._subscribed - (await self._clients.admin.describe(self._subscribed, config=False)).keys()
        for topic in sorted(missing - self.missing):
            logger.error("topic %s does not exist any more: nothing of it is read until it is made again", topic)
        for topic in sorted(self.missing - missing):
            logger.info("topic %s exists again", topic)
        self.missing = missing

    def outdated(self) -> bool:
        """Tell, when readers have changed, whether to :meth:`join` again, which costs a rebalance."""
        if not self._joined or self._engine.state in (EngineState.STOPPING, EngineState.STOPPED):
            return False
        known = {subscription.name for subscription in self._topology.subscriptions}
        for session in self._ownership.sessions.values():
            session.forget(session.feeds.keys() - known)
        fed = all(subscription.fed or not subscription.topics for subscription in self._topology.subscriptions)
        if fed or self._busy:
            return False
        self._busy = True
        return True

    async def _declare(self, participants: Sequence[Participant]) -> dict[str, int]:
        topology, admin, sources = self._topology, self._clients.admin, self._sources()
        # What is described late, and not read, is made with the first record that is sent there: here it could only fail for others.
        topics = {name: one for name, one in self._topics.items() if name in sources or name not in self._late}
        return await self._clients.patiently(
            lambda: declare(admin, topics, sources, participants, self._settings, derived=topology.between)
        )

    def _sources(self) -> set[str]:
        return self._topology.inputs | set(self._unread)
