"""What a worker shows on a terminal while it recovers its tables: a bar on standard error, below the log."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any, TextIO

import click

from stream_core.engine.snapshot import Recovery
from stream_core.errors import StreamError

__all__ = ["Bar", "recovery_bar"]

OFTEN = 0.25
"""Seconds between two looks."""

LONG = 10_000
"""Changelog offsets from which on a bar is worth while."""

CLEAR = "\r\033[2K"
"""What empties the line of a terminal."""


@contextmanager
def recovery_bar(look: Callable[[], Recovery | None], *, shown: bool = True) -> Iterator[None]:
    """Show how far recoveries are while a block of code runs, where standard error is a terminal.

    Args:
        look: gives how far it is, ``None`` when nothing recovers; it is called in a thread of its own, and may raise a StreamError.
        shown: whether to show anything.
    """
    if not shown or not sys.stderr.isatty():
        yield
        return
    bar, stopped = Bar(sys.stderr), Event()

    def run() -> None:
        while not stopped.wait(OFTEN):
            try:
                bar.show(look())
            except StreamError:  # it has not started yet, or has stopped
                bar.show(None)

    thread = Thread(target=run, name="recovery bar", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(5.0)
        bar.show(None)


class Bar:
    """A bar at the lower end of a log that goes on."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._bar: Any = None
        self._clearing = _Clearing(self._clear)

    def show(self, recovery: Recovery | None) -> None:
        """Draw the bar anew; ``None`` takes it away."""
        if recovery is None or (self._bar is None and recovery.total - recovery.done < LONG):
            self._end()
            return
        if self._bar is None:
            self._bar = click.progressbar(length=recovery.total, file=self._out, show_eta=False, item_show_func=_told)
            # A line of the log comes in place of the bar, which is drawn again below it.
            logging.root.handlers.insert(0, self._clearing)
            self._bar.__enter__()
        bar = self._bar
        bar.length, bar.pos, bar.current_item = recovery.total, recovery.done, recovery
        bar.label = f"recovering {recovery.partitions} table partitions"
        bar._last_line = None  # the log may have taken it away
        bar.render_progress()

    def _clear(self) -> None:
        self._out.write(CLEAR)
        self._out.flush()

    def _end(self) -> None:
        if self._bar is not None:
            bar, self._bar = self._bar, None
            logging.root.removeHandler(self._clearing)
            bar.render_finish()
            self._clear()


def _told(recovery: Recovery | None) -> str | None:
    """Say how fast a recovery is, and how long it takes."""
    if recovery is None or recovery.left is None:
        return None
    minutes, seconds = divmod(round(recovery.left), 60)
    return f"{recovery.rate:,.0f} changelog offsets/s, {minutes}:{seconds:02} left"


class _Clearing(logging.Handler):
    """Comes before all handlers of the log, and empties the line."""

    def __init__(self, clear: Callable[[], None]) -> None:
        super().__init__()
        self._clear = clear

    def emit(self, record: logging.LogRecord) -> None:
        """Empty the line."""
        self._clear()
