"""Tells the app which partitions come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stream_core.background import Background
from stream_core.ports import RebalanceListener
from stream_core.records import TP, GroupMetadata

__all__ = ["Announcing"]

logger = logging.getLogger(__name__)


async def _nothing(_what: str, _tps: frozenset[TP]) -> None:
    """Nobody wants to know."""


class Announcing:
    """Stands around the listener of rebalances.

    Args:
        background: runs what is told of an assignment, which nothing waits for.
        timeout: seconds for a handler; one that hangs does not hold up the group.

    Attributes:
        handler: awaited with ``"assigned"`` or ``"revoked"`` and the partitions; before they are given up.
    """

    def __init__(self, background: Background, timeout: float) -> None:
        self._background = background
        self._timeout = timeout
        self.handler: Callable[[str, frozenset[TP]], Awaitable[None]] = _nothing

    def around(self, listener: RebalanceListener) -> RebalanceListener:
        """The listener that tells the app, and then ``listener``."""

        def assigned(tps: frozenset[TP], group: GroupMetadata) -> None:
            listener.assigned(tps, group)
            self._background.spawn(self._tell("assigned", tps), "partitions assigned")

        async def revoked(tps: frozenset[TP], lost: bool) -> None:
            await self._tell("revoked", tps)
            await listener.revoked(tps, lost)

        return RebalanceListener(assigned, revoked)

    async def _tell(self, what: str, tps: frozenset[TP]) -> None:
        try:
            async with asyncio.timeout(self._timeout):
                await self.handler(what, tps)
        except Exception:
            logger.exception("a handler of partitions %s failed", what)
