"""Telling the app which partitions come and go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from stream_core.primitives import TP

__all__ = ["Announcing"]

logger = logging.getLogger(__name__)


async def _nothing(_what: str, _tps: frozenset[TP]) -> None:
    """Do nothing: no handler of the app is set."""


class Announcing:
    """Tells a handler of the app about partitions.

    Args:
        timeout: seconds for the handler; one that hangs does not hold up the group.

    Attributes:
        handler: awaited with ``"assigned"`` or ``"revoked"`` and the partitions, and with ``"complete"`` when those are worked on.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.handler: Callable[[str, frozenset[TP]], Awaitable[None]] = _nothing

    async def tell(self, what: str, tps: frozenset[TP], after: asyncio.Task[None] | None = None) -> None:
        """Call the handler; what it raises is logged.

        Args:
            what: ``"assigned"``, ``"revoked"`` or ``"complete"``.
            tps: which partitions.
            after: what was told before, and may still be heard.
        """
        if after is not None:
            await asyncio.wait([after])
        try:
            async with asyncio.timeout(self._timeout):
                await self.handler(what, tps)
        except Exception:
            logger.exception("a handler of partitions %s failed", what)
