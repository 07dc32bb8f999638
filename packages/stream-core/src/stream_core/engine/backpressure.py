"""Back-pressure: partitions whose agents are behind are paused, by count and by bytes, and resumed when they have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stream_core.engine.context import EngineContext
from stream_core.engine.ownership import Ownership
from stream_core.streams.sessions import PartitionSession, Subscription

__all__ = ["LEAST", "BackPressure"]

LEAST = 1024 * 1024
"""Bytes that may wait of each partition, however many there are: about what one fetch brings."""

CHANGES = 3
"""How many times ``commit_bytes`` of changes may be in memory before nothing more is fetched, and no more of what was fetched is taken."""


class BackPressure:
    """Whether more records are fetched, and of which partitions.

    Records are never left in the client's buffers while others wait: it would stop fetching for them too. So each poll takes all, and
    partitions that have enough are paused.

    Args:
        context: what the parts of the engine share. Its settings say how much may wait: by count for each partition, by bytes for all
            together, of which each has an equal share. The uncommitted changes of its participants are in memory until they are stored.
        ownership: the sessions that deliver records.
        subscriptions: who reads, kept up to date by its owner.
    """

    def __init__(self, context: EngineContext, ownership: Ownership, subscriptions: Sequence[Subscription]) -> None:
        self._settings = context.settings
        self._clients = context.clients
        self._participants = context.participants
        self._counters = context.counters
        self._sensors = context.sensors
        self._ownership = ownership
        self._subscriptions = subscriptions
        self._progress = asyncio.Event()
        self._held: set[PartitionSession] = set()

    async def hungry(self) -> None:
        """Wait, after records have come, until some agent runs out of them; then pause the partitions that have enough."""
        while self._loaded() or not self._has_hungry_readers():
            self._progress.clear()
            await self._progress.wait()
        self.hold()

    async def room(self) -> None:
        """Wait until changes of units of work that no record brought have room in memory."""
        while self._loaded():
            self._progress.clear()
            await self._progress.wait()

    def _has_hungry_readers(self) -> bool:
        """Tell whether some reader is running out of records, or there is no reader. Readers come and go while others are waited for."""
        low = max(self._settings.buffer_maxsize // 2, 1)
        readers = [reader for reader in self._subscriptions if reader.topics and reader.cursors]
        return not readers or any(reader.hungry(low) for reader in readers)

    def _loaded(self) -> bool:
        """Tell whether so many changes wait for checkpoints that events which would make more of them have to wait, too.

        From ``commit_bytes`` on a checkpoint comes early; there is more only while one is under way that takes long.
        """
        frozen = sum(participant.under_way for participant in self._participants)
        if not frozen:  # an event that has changed that much may itself wait for another one
            return False
        return frozen + sum(one.pending for one in self._participants) > CHANGES * self._settings.commit_bytes

    def hold(self) -> None:
        """Pause the partitions that have enough."""
        running = self._ownership.running
        share = self._share(len(running))
        for session in running:
            full = session.waiting >= session.maxsize or session.waiting_bytes >= share
            if full and session.open and session not in self._held:
                self._held.add(session)
                self._counters.paused[session.tp.topic] += 1
                self._sensors.tell("on_topic_buffer_full", session.tp)
                self._clients.consumer.pause([session.tp])

    def release(self) -> None:
        """Resume, after events or a checkpoint have finished, the partitions that are down to half of what they may have.

        While too many changes wait for a checkpoint, agents take nothing more of what was fetched for them, either: small records may make
        large values. The checkpoint needs none of their events, so that this ends with it. Channels are not held: they are inside.
        """
        self._progress.set()
        loaded = self._loaded()
        for reader in self._subscriptions:
            if reader.topics or not loaded:
                for inbox in reader.inboxes:
                    inbox.hold(loaded)
        if not self._held:
            return
        share = self._share(len(self._ownership.running))
        for session in list(self._held):
            room = session.waiting <= session.maxsize // 2 and session.waiting_bytes <= share / 2
            if room or not session.open:
                self._held.discard(session)
                if session.open:
                    self._clients.consumer.resume([session.tp])

    def _share(self, partitions: int) -> float:
        return max(self._settings.buffer_max_bytes / max(partitions, 1), LEAST)
