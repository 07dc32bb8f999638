"""Named places where a test can make the process die, fail or wait: crash safety is tested at exact steps, not by luck.

A failpoint costs one dictionary look-up and is on the path of a checkpoint, never on the path of an event. It is armed by
the environment variable ``STREAM_FAILPOINT``, a comma-separated list of ``name:action`` or ``name:action@n`` (the n-th time
it is reached, default the first). Actions: ``kill`` ends the process as ``kill -9`` would, ``raise`` raises
:class:`Failpoint`; a program may register more with :func:`action`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

__all__ = ["Failpoint", "action", "arm", "reach"]


class Failpoint(Exception):  # noqa: N818 - it is not an error of ours, it is provoked
    """Raised by a failpoint armed with ``raise``."""


_actions: dict[str, Callable[[], None]] = {"kill": lambda: os.kill(os.getpid(), signal.SIGKILL)}
_armed: dict[str, tuple[str, int]] = {}


def arm(text: str) -> None:
    """Arm the failpoints of ``text``, in the form of the environment variable; an empty text disarms all."""
    _armed.clear()
    for part in filter(None, (p.strip() for p in text.split(","))):
        name, _, rest = part.partition(":")
        what, _, nth = rest.partition("@")
        _armed[name] = (what or "kill", int(nth or 1))


def action(name: str, call: Callable[[], None]) -> None:
    """Register an action under ``name``."""
    _actions[name] = call


def reach(name: str) -> None:
    """Say that the program is at the failpoint ``name``; does nothing unless it is armed."""
    if not _armed or name not in _armed:
        return
    what, left = _armed[name]
    if left > 1:
        _armed[name] = (what, left - 1)
        return
    del _armed[name]
    if what == "raise":
        raise Failpoint(name)
    _actions[what]()


arm(os.environ.get("STREAM_FAILPOINT", ""))
