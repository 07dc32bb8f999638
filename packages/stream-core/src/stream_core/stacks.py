"""Where a coroutine waits: from its own line down to the innermost await, which a task's own stack does not tell."""

from __future__ import annotations

from typing import Any

__all__ = ["waiting_in"]

_CHAIN = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def waiting_in(awaitable: Any) -> str:
    """The lines in which a suspended coroutine or generator waits, outermost first, such as ``app.py:12 count > ...``.

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
