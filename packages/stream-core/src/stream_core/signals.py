"""Which signals of the process ask a program to stop, and which ask what it does."""

from __future__ import annotations

import atexit
import faulthandler
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

__all__ = ["AT_ONCE", "StopSignals", "end_with_the_stop", "look_signals", "outlive_looks", "stop_signals"]

AT_ONCE = 1.0
"""Seconds within which signals are one: ``timeout`` and terminals send one to the process, and one to its group."""


class StopSignals:
    """Tells the first signal, which asks for a stop, from the second, which ends the process.

    Args:
        clock: gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._first: float | None = None

    def heard(self) -> Literal["first", "again", "second"]:
        """Hear a signal; ``again`` is one that comes at once after the first."""
        if self._first is None:
            self._first = self._clock()
            return "first"
        return "again" if self._clock() - self._first <= AT_ONCE else "second"


def stop_signals() -> tuple[signal.Signals, ...]:
    """Give the signals that ask this process to stop: SIGINT, SIGTERM, and SIGHUP, which comes when its terminal is closed.

    A SIGHUP that is ignored stays so: ``nohup`` starts programs that are to outlive their terminal.
    """
    hangup = getattr(signal, "SIGHUP", None)  # there is none on Windows
    hung = () if hangup is None or signal.getsignal(hangup) is signal.SIG_IGN else (hangup,)
    return (signal.SIGINT, signal.SIGTERM, *hung)


def look_signals() -> tuple[signal.Signals, ...]:
    """Give the signals that ask what this process does: SIGUSR1, and SIGUSR2, at which a worker of Faust starts a debugger."""
    return tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))


def outlive_looks(tell: Callable[[signal.Signals], Any] | None = None) -> None:
    """Let no signal that asks what this process does end it, as is the default, from now on to its end.

    For processes that are ours, from their first line on: an event loop hears of signals only while it runs, and gives them back to their
    default when it is closed. Does nothing in threads other than the main one.

    Args:
        tell: called in the main thread with the signal; when left out the stacks of all threads are printed to standard error.
    """

    def heard(number: int, frame: object) -> None:
        if tell is not None:
            tell(signal.Signals(number))
            return
        with suppress(Exception):  # standard error may be closed, or no file
            faulthandler.dump_traceback()

    with suppress(ValueError):
        for number in look_signals():
            if signal.getsignal(number) in (signal.SIG_DFL, signal.SIG_IGN):
                atexit.register(signal.signal, number, signal.SIG_IGN)  # the interpreter gives back what it handles
            signal.signal(number, heard)


@contextmanager
def end_with_the_stop() -> Iterator[Callable[[], None]]:
    """Let signals that ask for a stop change nothing any more in what is left of a block of code, once the stop is done.

    Gives what to call then. The end of the block must be near: nothing but SIGKILL ends the process before.
    """
    before: dict[signal.Signals, Any] = {}

    def done() -> None:
        with suppress(ValueError):
            for number in stop_signals():
                before[number] = signal.signal(number, signal.SIG_IGN)

    try:
        yield done
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
