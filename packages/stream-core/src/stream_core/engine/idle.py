"""Which partitions are idle: read to their ends, with nothing new for some time.

That nothing was delivered says little: a broker that does not answer delivers nothing, too. So the ends of the logs are asked for, once a
second and for quiet partitions only, and time passes from one answer to the next. When answers fail to come for a while it begins anew:
producers could not reach the broker either, and what they hold back is older than that time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from stream_core.clocks import Clock
from stream_core.errors import AuthenticationError, TransportError
from stream_core.ports import Consumer
from stream_core.streams.sessions import PartitionSession

__all__ = ["Idleness", "Rest"]

logger = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two looks."""

GAP = 3 * EVERY
"""Seconds between two answers from which on nothing is known of the time in between."""


class Quiet(NamedTuple):
    """A partition that was at its end, at a position, in all looks since one."""

    position: int
    since: float
    until: float


class Rest(NamedTuple):
    """For how long inputs have had nothing new, by the clock that only grows.

    Attributes:
        since: the first look at which that was so; another one when something has come since.
        until: the last one.
    """

    since: float
    until: float

    @property
    def seconds(self) -> float:
        """How long that is."""
        return self.until - self.since


class Idleness:
    """Looks which partitions are idle.

    Args:
        consumer: gives the client to ask for the ends of the logs.
        sessions: gives the partitions that somebody wants to know it of.
    """

    def __init__(self, consumer: Callable[[], Consumer], sessions: Callable[[], Collection[PartitionSession]]) -> None:
        self._consumer = consumer
        self._sessions = sessions
        self._quiet: dict[PartitionSession, Quiet] = {}

    async def run(self, clock: Clock) -> None:
        """Look until cancelled. Raises AuthenticationError, for which waiting does not help."""
        while True:
            await clock.sleep(EVERY)
            await self.look(clock.monotonic())

    async def look(self, now: float) -> None:
        """Ask for the ends of the partitions that have nothing to do; ``now`` is the time of the question, in seconds."""
        asked = {one: one.fetch_position for one in self._sessions() if _at_rest(one)}
        if not asked:
            self._quiet = {}
            return
        try:
            ends = await self._consumer().end_offsets([one.tp for one in asked])
        except AuthenticationError:
            raise
        except TransportError as error:  # what was known stays true; nothing is added to it
            logger.debug("it is not known whether partitions are idle: %s", error)
            return
        before, self._quiet = self._quiet, {}
        for session, position in asked.items():
            if _at_rest(session) and session.fetch_position == position >= ends[session.tp]:
                known = before.get(session)
                goes_on = known is not None and known.position == position and now - known.until < GAP
                self._quiet[session] = Quiet(position, known.since if known is not None and goes_on else now, now)

    def of(self, sessions: Sequence[PartitionSession]) -> Rest | None:
        """Tell for how long all of these partitions were idle, ``None`` when one is not."""
        found = [self._quiet.get(session) for session in sessions]
        quiet = [
            one
            for session, one in zip(sessions, found, strict=True)
            if one is not None and _at_rest(session) and session.fetch_position == one.position
        ]
        if not quiet or len(quiet) < len(found):
            return None
        since = max(one.since for one in quiet)
        return Rest(since, max(since, min(one.until for one in quiet)))


def _at_rest(session: PartitionSession) -> bool:
    """Tell whether a partition takes events and has none."""
    return session.open and not session.backlog
