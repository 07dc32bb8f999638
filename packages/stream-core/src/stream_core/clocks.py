"""Clocks: where the time comes from that an app can notice, so that a test can move it by hand.

By its clock an engine decides when a timer or calendar ticks, when a checkpoint is due, when ``take(within=...)`` hands out what it has,
what an event on a channel is stamped with, and what is too old. Two kinds of waiting have the time of the event loop, whatever the clock
says: deadlines for a broker or a disk that does not answer, and the pauses before they are asked again.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from typing import Protocol

__all__ = ["SYSTEM", "Clock", "SystemClock"]


class Clock(Protocol):
    """What tells the time: :class:`SystemClock`, and :class:`stream_core.testing.ManualClock`, which a test moves."""

    def wall(self) -> float:
        """Return the seconds since the epoch; somebody may set this clock, forward or back."""

    def monotonic(self) -> float:
        """Return the seconds since some moment; they only grow."""

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of :meth:`monotonic`; zero or fewer give the event loop a turn."""

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """Let a block end with TimeoutError when :meth:`monotonic` has reached ``when``, as :func:`asyncio.timeout_at` does."""


class SystemClock:
    """The time of this machine; :meth:`monotonic` is that of the event loop."""

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Return the time of the event loop that runs, in seconds."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(max(0.0, seconds))

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """See :func:`asyncio.timeout_at`."""
        return asyncio.timeout_at(when)


SYSTEM = SystemClock()
