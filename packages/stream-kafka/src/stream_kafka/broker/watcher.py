"""End a broker whose starter is gone: a program of its own, run by path, with nothing but the standard library.

It is told process ids on its standard input, one a line, the last one counts and 0 is none. The other end of that pipe is open in
the starter alone, so the input ends when the starter does, however it ends. The broker holds the lock file: while that
is locked the process id is its own and no stranger's.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time

_CLEAN = 15.0
"""Seconds that the broker has to stop cleanly before it is killed."""

_KILLED = 5.0
_POLL = 0.05


def is_locked(path: str) -> bool:
    """Say whether another process holds the lock on a file."""
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def end(pid: int, path: str, clean: float = _CLEAN) -> None:
    """End the process that holds the lock on ``path``: with a signal that it can handle, then with one that it cannot.

    Args:
        pid: its id.
        path: the lock file.
        clean: seconds between the two signals.
    """
    for number, seconds in ((signal.SIGTERM, clean), (signal.SIGKILL, _KILLED)):
        until = time.monotonic() + seconds
        if not is_locked(path):
            return
        try:
            os.kill(pid, number)
            os.kill(pid, signal.SIGCONT)  # one that is stopped sees no other signal
        except ProcessLookupError:
            return
        while is_locked(path) and time.monotonic() < until:
            time.sleep(_POLL)


def main(path: str) -> None:
    """Wait until the starter is gone, then end the broker that it has left."""
    pid = 0
    for line in sys.stdin:
        pid = int(line)
    if pid:
        end(pid, path)


if __name__ == "__main__":
    main(sys.argv[1])
