"""What stacks tell: where a coroutine waits, which errors are logged with a traceback, and where a module failed."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from itertools import dropwhile
from types import TracebackType
from typing import Any

from stream_core.errors import DecodeError, StreamError

__all__ = ["for_its_author", "report_of", "traceback_of", "waiting_in"]

_OURS = ("stream_core", "stream_kafka", "stream_tables", "stream_web", "stream_cli", "stream_app", "faust")
_CHAIN = (("cr_frame", "cr_await"), ("ag_frame", "ag_await"), ("gi_frame", "gi_yieldfrom"))


def traceback_of(error: BaseException, logger: logging.Logger) -> BaseException | None:
    """Give the error as ``exc_info`` of a log line, or ``None`` where its sentence says all and the frames would all be ours.

    Args:
        error: what is logged.
        logger: at the level DEBUG it shows the traceback of every error.
    """
    if isinstance(error, DecodeError) and not logger.isEnabledFor(logging.DEBUG):
        return None
    return for_its_author(error, logger)


def for_its_author(error: BaseException, logger: logging.Logger) -> BaseException:
    """Give an error of code that we have called as ``exc_info`` of a log line, without the frames in which its author can do nothing.

    These are those that lead to that code, and behind it those in which an error of ours was made, with what it was made from: its
    sentence says what was wrong. An error of another kind whose frames are all ours keeps them, because the fault is ours.

    Args:
        error: what is logged; the frames are taken off itself.
        logger: at the level DEBUG it shows all frames.
    """
    if not logger.isEnabledFor(logging.DEBUG):
        _take_ours_off(error, set(), explained=False)
    return error


def _take_ours_off(error: BaseException, seen: set[int], *, explained: bool) -> None:
    """Take them off an error, and off what it was raised from.

    Args:
        error: the error.
        seen: the ids of those that are done.
        explained: whether an error of ours was made from it.
    """
    seen.add(id(error))
    explained = explained or isinstance(error, StreamError)
    steps = []
    step = error.__traceback__
    while step is not None:
        steps.append(step)
        step = step.tb_next
    ours = [_is_ours(str(step.tb_frame.f_globals.get("__name__"))) for step in steps]
    if all(ours):
        kept = [] if explained else steps
    else:
        kept = [step for at, step in enumerate(steps) if not ours[at] or not (explained or at < ours.index(False))]
    shown: TracebackType | None = None
    for step in reversed(kept):
        shown = TracebackType(shown, step.tb_frame, step.tb_lasti, step.tb_lineno)
    error.__traceback__ = shown
    for cause in (error.__cause__, error.__context__):
        if cause is not None and id(cause) not in seen:
            _take_ours_off(cause, seen, explained=explained)


def report_of(error: BaseException) -> str:
    """Give the traceback of code that we have imported for its author, without the frames that are ours or of the import system.

    Args:
        error: what the code raised. Frames of ours inside of the code are left out where the error is ours too, because its sentence
            says what was wrong.
    """
    return "\n".join(_report_of(error, set())).rstrip()


def _report_of(error: BaseException, told: set[int]) -> Iterator[str]:
    """Give the report of what an error was raised from first, as Python does, and then that of the error."""
    told.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in told:
        yield from _report_of(cause, told)
        yield "\nThis was the cause of:" if error.__cause__ is not None else "\nWhile that was handled:"
    yield _own_report_of(error)


def _own_report_of(error: BaseException) -> str:
    frames = [
        (str(frame.f_globals.get("__name__")), frame, line) for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    of_its_author = dropwhile(lambda each: _is_ours(each[0]) or _is_of_imports(each[0]), frames)
    shown = [
        (frame, line)
        for module, frame, line in of_its_author
        if not _is_of_imports(module) and not (isinstance(error, StreamError) and _is_ours(module))
    ]
    stack = traceback.StackSummary.extract(iter(shown)).format()
    return "".join((*stack, *traceback.format_exception_only(error))).rstrip()


def _is_of_imports(module: str) -> bool:
    return module.partition(".")[0] == "importlib"


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in _OURS


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
