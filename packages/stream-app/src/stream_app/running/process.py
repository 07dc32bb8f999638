"""What a worker sets up in its process: title and open files; and a look at what runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from stream_core.stacks import waiting_in

__all__ = ["Title", "allow_open_files", "end_soon", "other_threads", "running_tasks"]

logger = logging.getLogger("stream")

PATIENCE = 5.0
"""Seconds for threads to end after the stop of a worker."""


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: each store of a table partition takes some."""
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def running_tasks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    """Give a line for each task of a loop: its name, and where it waits."""
    for task in sorted(asyncio.all_tasks(loop), key=lambda one: one.get_name()):
        yield f"{task.get_name()}: {waiting_in(task.get_coro())}"


def other_threads() -> Iterator[str]:
    """Give the name of each other thread, and its stack."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.ident in frames:
            yield f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}"


class Title:
    """The title of the process in listings of ``ps``, where setproctitle is installed."""

    def __init__(self, program: str, details: Callable[[], str]) -> None:
        self._program = program
        self._details = details
        self._before: str | None = None

    def show(self, state: str) -> None:
        """Show a state, such as ``running``."""
        if (module := _setproctitle()) is not None:
            self._before = self._before or module.getproctitle()
            module.setproctitle(f"[{self._program}] -{state}- {self._details()}")

    def restore(self) -> None:
        """Show what was there before."""
        if (module := _setproctitle()) is not None and self._before is not None:
            module.setproctitle(self._before)


def _setproctitle() -> Any:
    try:
        import setproctitle  # noqa: PLC0415 - optional
    except ImportError:
        return None
    return setproctitle


def end_soon(code: int) -> threading.Timer:
    """End the process in some seconds, unless the timer is cancelled that is returned.

    An event loop that is closed waits for its threads. One in which a call of the user hangs, begun by ``asyncio.to_thread`` for
    instance, would keep a worker for ever that has left its group.
    """

    def leave() -> None:
        logger.warning(
            "ending now, %g s after the stop, with threads that still run: %s", PATIENCE, "; ".join(_running_threads())
        )
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)

    timer = threading.Timer(PATIENCE, leave)
    timer.daemon = True
    timer.start()
    return timer


def _running_threads() -> Iterator[str]:
    """Name and place of each thread that the interpreter would wait for, but for the one in which asyncio waits for the others."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread() or "_do_shutdown" in thread.name:
            continue
        if thread.ident in frames:
            last = traceback.extract_stack(frames[thread.ident])[-1]
            yield f"{thread.name} at {last.filename}, line {last.lineno}"
