"""Looks for events that take too long: whoever hangs is named, with the line where it hangs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from stream_core.agents.actor import Actor
from stream_core.primitives import RawRecord

__all__ = ["Watchdog"]

logger = logging.getLogger(__name__)


class Watchdog:
    """Watches the open events of actors.

    Args:
        actors: whom to watch.
        timeout: seconds that one event may take before it is reported, once.
        patience: the same for an event that keeps the checkpoint from being made: before long that drops the interval.
    """

    def __init__(self, actors: Sequence[Actor], timeout: float, patience: float) -> None:
        self._actors = actors
        self._timeout = timeout
        self._patience = min(patience, timeout)
        self._since: dict[Actor, tuple[RawRecord | None, float]] = {}
        self._reported: set[Actor] = set()

    def look(self, now: float) -> None:
        """Look at all actors; ``now`` is the time of the event loop, in seconds."""
        for actor in self._actors:
            record = actor.cursor.record
            known, since = self._since.get(actor, (None, now))
            if record is None or record is not known:
                self._since[actor] = (record, now)
                self._reported.discard(actor)
                continue
            pinned = actor.cursor.pinned
            if now - since > (self._patience if pinned else self._timeout) and actor not in self._reported:
                self._reported.add(actor)
                session = actor.cursor.session
                logger.error(
                    "agent %s works on %s offset %d for %.0f s already (%s); it waits in: %s",
                    actor.cursor.name,
                    session.tp if session is not None else "?",
                    record.offset,
                    now - since,
                    "nothing can be committed meanwhile" if pinned else "stream_processing_timeout",
                    actor.where(),
                )
