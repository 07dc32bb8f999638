"""The event loop of a driver: it tells when nothing is left to do, and its time moves when it is told to.

Between two calls of the driver the loop stands still. While it runs, every wait for time is a timer of the loop, so that the loop knows
which moment comes next: the driver jumps there. What comes from outside of the loop, such as a thread or a socket, takes real time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from time import monotonic
from typing import Any, TypeVar, TypeVarTuple, Unpack

from stream_core.clocks import SystemClock

__all__ = ["PATIENCE", "SPIN", "Deadline", "DrivenClock", "DrivenLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LOOK = 0.01
"""Seconds of real time in which something from outside may come, before the loop says that nothing is left to do."""

PATIENCE = 30.0
"""Seconds of real time to wait for threads, sockets and brokers."""

SPIN = 20.0
"""Seconds of real time that tasks may go on without ever waiting for anything."""


class _Selector(selectors.DefaultSelector):
    """Tells the loop that it has nothing left to do but to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waiter: asyncio.Future[float | None] | None = None
        self.given_up = 0.0
        self.outside = False
        self.slept: Callable[[float], None] = lambda seconds: None

    def select(self, timeout: float | None = None) -> Any:
        """Wait for sockets; who waits for the loop to be idle is told instead, with the seconds to the next timer."""
        waiter = self.waiter
        if waiter is None or waiter.done():
            return super().select(timeout)
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            if monotonic() > self.given_up:
                waiter.set_exception(TimeoutError("tasks go on without ever waiting for anything"))
            return found
        if self.outside:
            began = monotonic()
            found = super().select(LOOK if timeout is None else min(timeout, LOOK))
            self.slept(monotonic() - began)
            if found:
                return found
        waiter.set_result(timeout)
        return found


class DrivenLoop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved.

    Args:
        real: its time is that of the machine, because a broker outside of this process takes part.
        spin: seconds of real time that tasks may go on without ever waiting for anything.
    """

    def __init__(self, *, real: bool = False, spin: float = SPIN) -> None:
        self._real = real
        self._passed = 0.0
        self._jobs = 0
        self._spin = spin
        self._watch = _Selector()
        self._watch.slept = self._slept
        super().__init__(self._watch)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return monotonic() if self._real else self._passed

    @property
    def from_outside(self) -> bool:
        """Whether a thread or a socket may wake a task: then time is real."""
        # One is the loop's own, for other threads.
        return self._real or self._jobs > 0 or len(self._watch.get_map()) > 1

    @property
    def in_threads(self) -> bool:
        """Whether threads of the loop are at work."""
        return self._jobs > 0

    def jump(self, seconds: float) -> None:
        """Let time pass at once; whoever waits for a moment until then goes on."""
        self._passed += max(seconds, 0.0)

    async def idle(self, *, look: bool = False) -> float | None:
        """Wait until every task waits.

        Args:
            look: wait a moment of real time for what may come from outside.

        Returns:
            the seconds to the next timer; ``None`` where there is none.

        Raises:
            TimeoutError: tasks go on for ever without waiting for anything.
        """
        watch = self._watch
        waiter: asyncio.Future[float | None] = self.create_future()
        watch.waiter = waiter
        watch.given_up, watch.outside = monotonic() + self._spin, look or self.from_outside
        try:
            return await waiter
        except TimeoutError:
            self._spin = min(self._spin, 0.5)  # whoever stops the rest need not wait for it as long
            raise
        finally:
            watch.waiter = None

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread; see :meth:`asyncio.loop.run_in_executor`."""
        job = super().run_in_executor(executor, func, *args)
        self._jobs += 1
        job.add_done_callback(self._job_done)
        return job

    def _job_done(self, _: object) -> None:
        self._jobs -= 1

    def _slept(self, seconds: float) -> None:
        self._passed += seconds


class Deadline:
    """Bounds what is waited for: seconds of the driver's time, or of real time where the loop waits for something outside."""

    def __init__(self, loop: DrivenLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._end = loop.time() + seconds
        self._real_end = monotonic() + PATIENCE

    def go_on(self, left: float | None, why: Callable[[], str]) -> None:
        """Let time pass to the next moment at which something happens.

        Args:
            left: seconds to it; ``None`` where there is none.
            why: says who is waited for.

        Raises:
            TimeoutError: there is none, or it is too late.
        """
        loop = self._loop
        if loop.from_outside:
            if monotonic() > self._real_end:
                raise TimeoutError(f"{why()} within {PATIENCE:g} s")
        elif left is None or loop.time() >= self._end:
            raise TimeoutError(f"{why()} within {self._seconds:g} s of the driver's time")
        else:
            loop.jump(left)


class DrivenClock(SystemClock):
    """The clock of an app that is driven: the time of its loop, from a moment on."""

    def __init__(self, loop: DrivenLoop, now: float) -> None:
        self._loop = loop
        self._origin = now - loop.time()

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return self._origin + self._loop.time()

    def monotonic(self) -> float:
        """Return the time of the loop, in seconds."""
        return self._loop.time()
