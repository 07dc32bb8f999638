"""What stacks tell: where a coroutine waits, and which errors are logged with a traceback."""

from __future__ import annotations

import logging
from typing import Any

from stream_core.errors import DecodeError

__all__ = ["traceback_of", "waiting_in"]

_CHAIN = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def traceback_of(error: BaseException, logger: logging.Logger) -> BaseException | None:
    """Give the error as ``exc_info`` of a log line, or ``None`` where its sentence says all and the frames would all be ours.

    Args:
        error: what is logged.
        logger: at the level DEBUG it shows the traceback of every error.
    """
    return None if isinstance(error, DecodeError) and not logger.isEnabledFor(logging.DEBUG) else error


def waiting_in(awaitable: Any) -> str:
    """Name the lines in which a suspended coroutine or generator waits, outermost first, such as ``app.py:12 count > ...``.

    A task's own stack ends at the outermost of them.

    Args:
        awaitable: a coroutine, an asynchronous generator, or what either of them awaits.
    """
    lines = []
    while awaitable is not None:
        frame, awaitable = next(
            (
                (getattr(awaitable, frame), getattr(awaitable, inner))
                for frame, inner in _CHAIN
                if hasattr(awaitable, frame)
            ),
            (None, None),
        )
        if frame is not None:
            lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
    return " > ".join(lines) or "nowhere"
