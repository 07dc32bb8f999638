"""A clock that a test drives by hand."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count

__all__ = ["ManualClock"]

Alarm = tuple[float, int, Callable[[], None]]

TURNS = 200
"""Turns that the event loop gets for whoever wakes, before time moves on: work on a broker in this process takes some dozens."""


class ManualClock:
    """A :class:`~stream_core.clocks.Clock` that stands still until a test moves it.

    It also stands in wherever a callable that returns seconds is asked for.

    Args:
        now: seconds to begin with, on both clocks.
    """

    def __init__(self, now: float = 0.0) -> None:
        self._now = now
        self._set_by = 0.0
        self._alarms: list[Alarm] = []
        self._numbers = count()

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self._now

    def wall(self) -> float:
        """Return the time in seconds, as somebody has set it."""
        return self._now + self._set_by

    # -- moving it

    def advance(self, seconds: float) -> None:
        """Move on, at once: whoever sleeps meanwhile wakes late, as after a suspend of the machine.

        Args:
            seconds: zero or more.

        Raises:
            ValueError: a negative number: time does not go back.
        """
        if seconds < 0:
            raise ValueError(f"a clock cannot be advanced by {seconds} seconds; give zero or more")
        self._now += seconds
        while self._alarms and self._alarms[0][0] <= self._now:
            heapq.heappop(self._alarms)[2]()

    async def pass_by(self, seconds: float) -> None:
        """Let so many seconds pass: whoever sleeps wakes in its moment, does what it has to do, and may sleep again.

        Args:
            seconds: zero or more.
        """
        end = self._now + seconds
        await self._settle()
        while self._alarms and self._alarms[0][0] <= end:
            self.advance(max(0.0, self._alarms[0][0] - self._now))
            await self._settle()
        self.advance(max(0.0, end - self._now))
        await self._settle()

    def set_wall(self, seconds: float) -> None:
        """Set the clock on the wall, as an administrator or NTP does; :meth:`monotonic` and whoever sleeps do not notice.

        Args:
            seconds: since the epoch; earlier than it is now, too.
        """
        self._set_by = seconds - self._now

    async def _settle(self) -> None:
        for _ in range(TURNS):
            await asyncio.sleep(0)

    # -- waiting for it

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved on by so many seconds."""
        woken = asyncio.get_running_loop().create_future()
        alarm = self._at(self._now + seconds, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            self._cancel(alarm)

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """Let a block end with TimeoutError when the clock was moved to ``when``."""
        return self._timeout(when)

    @asynccontextmanager
    async def _timeout(self, when: float) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as scope:
            alarm = self._at(when, lambda: None if scope.expired() else scope.reschedule(loop.time()))
            try:
                yield
            finally:
                self._cancel(alarm)

    def _at(self, when: float, wake: Callable[[], None]) -> Alarm:
        alarm = when, next(self._numbers), wake
        if when <= self._now:
            wake()
        else:
            heapq.heappush(self._alarms, alarm)
        return alarm

    def _cancel(self, alarm: Alarm) -> None:
        if alarm in self._alarms:
            self._alarms.remove(alarm)
            heapq.heapify(self._alarms)
