"""Tells who keeps an event loop from running."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback

__all__ = ["BlockingDetector"]

logger = logging.getLogger("stream")

BEATS = 4
"""How often, within its time, the loop says that it runs."""


class BlockingDetector:
    """Watches an event loop from a thread, and logs the task and the line that keep it from running.

    Unlike mode's it raises nothing in the code that blocks, and works in any thread.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._beat = time.monotonic()
        self._ended = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher = threading.Thread(target=self._watch, name="blocking detector", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._tick()
        self._watcher.start()

    def stop(self) -> None:
        """End, and wait for the thread."""
        if self._timer is not None:
            self._timer.cancel()
        self._ended.set()
        self._watcher.join()

    def _tick(self) -> None:
        self._beat = time.monotonic()
        self._timer = self._loop.call_later(self._timeout / BEATS, self._tick)

    def _watch(self) -> None:
        told = 0.0  # the last beat before what was told last
        while not self._ended.wait(self._timeout / BEATS):
            beat = self._beat
            if time.monotonic() - beat > self._timeout and beat != told:
                told = beat
                self._tell()

    def _tell(self) -> None:
        frame = sys._current_frames().get(self._thread)
        stack = traceback.extract_stack(frame)
        task = asyncio.current_task(self._loop)
        last = stack[-1] if stack else None
        logger.warning(
            "the event loop is blocked for more than %g s by %s%s\n%s",
            self._timeout,
            task.get_name() if task is not None else "a callback",
            f", in {last.filename}, line {last.lineno}: {last.line}" if last is not None else "",
            "".join(traceback.format_list(stack)),
        )
