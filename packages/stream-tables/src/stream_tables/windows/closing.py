"""Telling that windows close: a task for each table partition that runs here.

It begins with what the store says, so that a restart or a rebalance takes nothing from it: which windows are closed is a row beside them,
and is changed in the same unit of work as what the function of the user sends and changes. A unit tells of some windows, for a few
milliseconds, so that events go on beside it however many windows close at once.

Time is what events say. Where all inputs of a shard are read to their ends and nothing comes, it goes on at the pace of the clock, from
where the last event left it: never to the time of the clock, which would close everything in a replay of last year.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from inspect import isawaitable
from typing import Any

from stream_core.engine.idle import Rest
from stream_core.engine.work import Work
from stream_core.errors import ValidationError, WorkerError, is_trouble
from stream_core.streams.effects import Effects, active_effects
from stream_tables.keys import Keys
from stream_tables.overlay import Overlay
from stream_tables.windows.kinds import Closing, Window
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import NEVER, ROWS, Layout

__all__ = ["CHUNK", "IDLE", "Closer"]

PAUSE = 0.1
"""Seconds between two looks at the time of a partition, at least."""

LOOK = 1.0
"""Seconds between two looks at whether its inputs are idle, and at most at the time of a partition: finished events call for one."""

IDLE = 5.0
"""Seconds without anything new after which time goes on by the clock: events that are on their way have come by then."""

CHUNK = 0.01
"""Seconds for which windows are told of in one unit of work."""


class Told:
    """What a unit of work is about: the window that somebody is told of now, for messages."""

    now: tuple[Any, tuple[float, float]] | None = None

    def __str__(self) -> str:
        return (
            "windows that have closed"
            if self.now is None
            else f"on_window_close of {self.now[0]!r} in {tuple(self.now[1])}"
        )


OnClose = Callable[[tuple[Any, tuple[float, float]], Any], Any]


class Closer:
    """Tells that the windows of one table partition close.

    Args:
        table: name of the table.
        part: the partition.
        window: the kind of its windows, or how its values age.
        keys: reads their keys.
        on_close: called with ``(key, (start, end))`` and the value; ``None`` where nobody is told, and time only goes on when idle.
        work: begins units of work, and knows whether inputs are idle.
    """

    def __init__(
        self,
        table: str,
        part: WindowedPartition[Any],
        window: Layout,
        keys: Keys[Any],
        on_close: OnClose | None,
        work: Work,
    ) -> None:
        self._table = table
        self._part = part
        self._window = window
        self._keys = keys
        self._on_close = on_close
        self._work = work
        self._name = f"windows of {table}"
        self._seen = ROWS
        self._looked = 0.0
        self._rest: Rest | None = None
        """For how long inputs were idle at the last look."""
        self._left = NEVER
        """The time of the partition when that began."""

    async def run(self) -> None:
        """Close windows until cancelled. Raises WorkerError when the function of the user raises."""
        clock = self._part.clock
        self._looked, seen = clock.monotonic(), 0
        while True:
            await self._close()
            if clock.monotonic() - self._looked >= LOOK:
                self._looked = clock.monotonic()
                await self._go_on()
            before = seen
            if self._on_close is None:
                await clock.sleep(LOOK)
            elif (seen := await self._work.progress(before, LOOK)) != before:
                await clock.sleep(PAUSE)

    async def _close(self) -> None:
        """Tell of all windows that are closed by what events have finished, if somebody is told."""
        part, on_close = self._part, self._on_close
        bound = self._window.bound(part.finished_time())
        if on_close is None or bound <= self._seen:
            return
        begin = part.closed(None)
        if begin < bound:
            rows = part.rows(begin, bound)
            row = await anext(rows, None)
            while row is not None:
                row = await self._some(rows, row, bound, on_close)
                await asyncio.sleep(0)  # for events
        self._seen = bound

    async def _some(self, rows: AsyncIterator[bytes], row: bytes, bound: bytes, on_close: OnClose) -> bytes | None:
        """Tell of windows for some milliseconds, as one unit of work; returns the row to go on with."""
        part, next_row = self._part, None
        touched: set[object] = set()
        told = Told()
        async with self._work.unit(self._name, told):
            effects = _open()
            end = time.monotonic() + CHUNK
            while True:
                closing = self._closing(effects, row)
                if closing is not None:
                    await self._tell(on_close, closing, told)
                next_row = await anext(rows, None)
                if next_row is None or time.monotonic() >= end:
                    break
                row = next_row
            part.close(effects, bound if next_row is None else row + b"\0")
            touched.update(overlay for overlay, _, _ in effects.undo)
        self._leave(touched, effects)
        return next_row

    def _closing(self, effects: Effects, row: bytes) -> Closing | None:
        assert isinstance(self._window, Window)  # nobody is told of anything else
        try:
            return self._window.closing(self._part, effects, row)
        except ValidationError as error:
            raise WorkerError(
                f"on_window_close of table {self._table} cannot be called: {error}. No event changes a window that closes, so only the "
                "type of the table helps: give it the one that it had, or a union with it; or give the table another name"
            ) from error

    async def _tell(self, on_close: OnClose, closing: Closing, told: Told) -> None:
        key = self._keys.decode(self._part.changelog, closing.key)
        if key is None:  # of another type, which was reported
            return
        told.now = key, closing.range
        try:
            if isawaitable(answer := on_close((key, closing.range), closing.value)):
                await answer
        except Exception as error:
            if is_trouble(error):  # of a broker or a disk: the partition is opened again
                raise
            raise WorkerError(
                f"on_window_close of table {self._table} failed for {key!r} in {tuple(closing.range)}: {type(error).__name__}: {error}"
            ) from error

    async def _go_on(self) -> None:
        """Let time go on where nothing comes, up to now, when that closes a window or lets one expire."""
        rest, part = self._work.idle(), self._part
        before, self._rest = self._rest, rest
        if rest is None:
            return
        time = part.finished_time()
        if before is None or before.since != rest.since:
            self._left = time  # where the last event left it
        else:  # where windows of another table closed, what was done then may have moved it
            self._left = max(self._left, time - round(before.seconds * 1000))
        now = self._left + round(rest.seconds * 1000)
        if self._left == NEVER or rest.seconds < IDLE or now <= time or not await self._is_due(now):
            return
        async with self._work.unit(self._name, "time that goes on"):
            effects = _open()
            again = self._work.idle()
            if (
                again is not None and again.since == rest.since
            ):  # else something has come meanwhile, and says itself how late it is
                part.move(effects, now)
        self._leave({part.overlay}, effects)

    async def _is_due(self, now: int) -> bool:
        """Tell whether a window closes, and somebody is told of it, or expires when it is ``now``."""
        closes = None if self._on_close is None else await self._part.first(self._part.closed(None))
        if closes is not None and self._window.due(closes, told=True) <= now:
            return True
        expires = None if self._window.keeps is None else await self._part.first(ROWS)
        return expires is not None and self._window.due(expires, told=False) <= now

    def _leave(self, touched: set[object], effects: Effects) -> None:
        """Let the actors that go on alone write without a look at this task."""
        for overlay in touched:
            if isinstance(overlay, Overlay):
                overlay.leave(effects)


def _open() -> Effects:
    effects = active_effects()
    assert effects is not None  # a unit is open
    return effects
