"""Rebalances: what is counted when partitions come and go, and who is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stream_core.engine.context import EngineContext
from stream_core.errors import FencedError
from stream_core.primitives import TP, GroupMetadata
from stream_core.sensors import Begun

__all__ = ["Rebalances"]

logger = logging.getLogger(__name__)


async def _nothing(_what: str, _tps: frozenset[TP]) -> None:
    """Do nothing: no handler of the app is set."""


class Rebalances:
    """Counts rebalances, and tells a handler of the app and sensors of them.

    Args:
        context: what the parts of the engine share.

    Attributes:
        handler: awaited with ``"assigned"`` or ``"revoked"`` and the partitions, and with ``"complete"`` when those are worked on. One that
            hangs does not hold up the group.
    """

    def __init__(self, context: EngineContext) -> None:
        self._timeout = context.settings.drain_timeout
        self._counters = context.counters
        self._sensors = context.sensors
        self._background = context.background
        self._clock = asyncio.get_running_loop().time
        self._moving: float | None = None
        self._opening: tuple[float, Begun, GroupMetadata] | None = None
        self._telling: asyncio.Task[None] | None = None
        self.handler: Callable[[str, frozenset[TP]], Awaitable[None]] = _nothing

    def assigned(self, tps: frozenset[TP], group: GroupMetadata) -> None:
        """Take note that partitions have come."""
        self._counters.rebalances["assigned"] += 1
        if self._moving is not None:
            self._counters.returns.add(self._clock() - self._moving)
            self._moving = None
        self._opening = (self._clock(), self._sensors.begin("on_assignment_start", group), group)
        self._telling = self._background.spawn(self._tell("assigned", tps), "partitions assigned")

    def opened(self) -> None:
        """Take note that all partitions are worked on: those that have come, or the same ones again after a drop, which is no rebalance."""
        if (opening := self._opening) is not None:
            started, begun, group = opening
            self._opening = None
            self._counters.moves.add(self._clock() - started)
            self._sensors.end("on_assignment_completed", begun, lambda state: (group, state))
        telling, self._telling = self._telling, None
        if telling is not None:
            self._background.spawn(self._tell("complete", frozenset(), after=telling), "rebalance complete")

    def revoked(self, tps: frozenset[TP], *, lost: bool) -> asyncio.Task[None]:
        """Take note that partitions go; returns the task that tells the handler. It ends at a stop, before the group is left."""
        self._counters.rebalances["lost" if lost else "revoked"] += 1
        self._moving = self._moving or self._clock()
        if (opening := self._opening) is not None:
            _, begun, group = opening
            self._opening = None
            error = FencedError("the partitions were given up before all of them were open")
            self._sensors.end("on_assignment_error", begun, lambda state: (group, state, error))
        return self._background.spawn(self._tell("revoked", tps), "partitions revoked")

    async def _tell(self, what: str, tps: frozenset[TP], after: asyncio.Task[None] | None = None) -> None:
        """Call the handler, behind what was told before and may still be heard; what it raises is logged."""
        if after is not None:
            await asyncio.wait([after])
        try:
            async with asyncio.timeout(self._timeout):
                await self.handler(what, tps)
        except Exception:
            logger.exception("a handler of partitions %s failed", what)
