"""What is known of the topics that are read: how many partitions they have, and which topics of their names they are."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from stream_core.engine.context import EngineContext
from stream_core.errors import BrokerUnavailableError, CommitError, WorkerError
from stream_core.primitives import TP, TopicInfo
from stream_core.streams.metadata import Identity
from stream_core.streams.sessions import PartitionSession

__all__ = ["Sources"]

logger = logging.getLogger(__name__)


class Sources:
    """Compares topics with what they were when the worker began to read them.

    Args:
        context: what the parts of the engine share.

    Attributes:
        counts: how many partitions each source has.
        identities: which topics the sources and the changelogs were when the partitions were opened.
    """

    def __init__(self, context: EngineContext) -> None:
        self._clients = context.clients
        self._participants = context.participants
        self._cluster: str | None = None
        self.counts: dict[str, int] = {}
        self.identities: dict[str, Identity] = {}

    async def look(self, sessions: Mapping[TP, PartitionSession]) -> dict[str, str]:
        """Ask for the ids of the sources and of the topics that participants keep their changes in, and compare partition counts.

        Args:
            sessions: the partitions that are read; they learn the counts.

        Returns:
            the ids that the broker tells.

        Raises:
            WorkerError: a source has got more partitions, and there are tables: keys have moved, away from their state.
        """
        sources = {tp.topic for tp in sessions}
        names = sources.union(*(participant.topics for participant in self._participants))
        described = await self._clients.admin.describe(names, config=False)
        for topic in sorted(sources & described.keys()):
            self._compare_count(described[topic], sessions.values())
        return {name: info.id for name, info in described.items() if info.id}

    async def identify(self, ids: Mapping[str, str]) -> dict[str, Identity]:
        """Return which topics these are, by their ids; the cluster is asked for its own id once."""
        if self._cluster is None:
            self._cluster = await self._clients.admin.cluster_id()
        return {name: Identity(self._cluster, one) for name, one in ids.items()}

    async def compare(self, sessions: Mapping[TP, PartitionSession]) -> None:
        """Look whether a source is not what it was when its partitions were opened, before its offsets and what its events changed count.

        Producers may know of new partitions, or of a new topic of that name, long before the group does.

        Raises:
            CommitError: it was made again: its offsets mean something else now.
            BrokerUnavailableError: it is not there now.
            WorkerError: as :meth:`look`.
        """
        sources, ids = {tp.topic for tp in sessions}, await self.look(sessions)
        for topic in sorted(sources & self.identities.keys()):
            if topic not in ids:
                # Clients try such a commit again until there is a topic of that name: it may be another one.
                raise BrokerUnavailableError(
                    f"topic {topic} is not known: it was deleted, or the broker has just started"
                )
            if ids[topic] != self.identities[topic].topic:
                raise CommitError(
                    f"topic {topic} was deleted and made again: what was done of the old one cannot be committed"
                )

    def _compare_count(self, source: TopicInfo, sessions: Collection[PartitionSession]) -> None:
        """Look whether a source has as many partitions as when the worker started. Raises WorkerError when not, and there are tables."""
        known = self.counts.get(source.name, source.partitions)
        if source.partitions == known:
            return
        if self._participants:
            raise WorkerError(
                f"topic {source.name} has {source.partitions} partitions now, and had {known} when the worker started: its keys have moved "
                "to other partitions, away from their state in the tables. Send to a new topic with the new count and read that "
                "under a new version= of the app, or make the topic again with the old count"
            )
        logger.warning("topic %s has %d partitions now, and had %d", source.name, source.partitions, known)
        self.counts[source.name] = source.partitions
        for session in sessions:
            if session.tp.topic == source.name:
                session.partitions = source.partitions
