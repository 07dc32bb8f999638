"""The restarts of a service, several at once too: which of them starts it, which wait for that, and what takes it back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["Restarts", "Start", "enter_start", "starts_around"]

Start = asyncio.Task[None]
"""The task of a start."""

_starts: ContextVar[tuple[Start, ...]] = ContextVar("starts that this code is a part of", default=())


def starts_around() -> tuple[Start, ...]:
    """Give the starts that this code is a part of: it runs in a hook of theirs, or in a task that one has made."""
    return _starts.get()


def enter_start(start: Start) -> None:
    """Let what runs in this task be a part of a start, which the task is. Those that are over are forgotten: tasks may live for long."""
    under_way = tuple(one for one in _starts.get() if not one.done())
    _starts.set((*under_way, start))


class Restarts:
    """The restarts of one service that are under way.

    Attributes:
        wanted: nobody has stopped the service since the last one was asked for.
        last: done with the restart that was asked for last; ``None`` when none is under way.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.last: asyncio.Future[None] | None = None
        self._asked_in: tuple[Start, ...] = ()

    def ask(self) -> None:
        """Take note that a restart is wanted, and of the starts that have asked for it by a hook."""
        self.wanted, self._asked_in = True, starts_around()

    def give_up_with(self, start: Start) -> None:
        """Take back the restart that was asked for last, where it is a part of a start that failed or was cancelled."""
        if start in self._asked_in:
            self.wanted = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Forget a restart in another event loop: that was closed in the midst of it."""
        if self.last is not None and self.last.get_loop() is not loop:
            self.last = None

    @contextmanager
    def under_way(self) -> Iterator[asyncio.Future[None]]:
        """Let a restart be the last one as long as the block runs; gives what is done behind it."""
        this = self.last = asyncio.get_running_loop().create_future()
        try:
            yield this
        finally:
            this.set_result(None)
            if self.last is this:
                self.last = None

    async def is_done_by_another(self, this: asyncio.Future[None], running: Callable[[], bool]) -> bool:
        """Wait for restarts that were asked for behind this one; returns whether one has started the service, or a stop has come.

        Args:
            this: the restart.
            running: whether the service runs.
        """
        while self.last not in (None, this):
            await asyncio.wait([self.last])
            if running() or not self.wanted:
                return True
        self.last = this
        return False

    async def over(self, but: asyncio.Future[None] | None) -> None:
        """Wait for the end of the last one, unless it is ``but``: whoever is a part of a restart does not wait for it."""
        if self.last not in (None, but):
            await asyncio.wait([self.last])
