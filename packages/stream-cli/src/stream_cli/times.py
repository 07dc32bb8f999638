"""Times as they are typed: a date and a clock, how long ago, or so many seconds."""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import click

__all__ = ["Seconds", "read_moment"]

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_AGE = re.compile(r"(?:\d{1,9}[wdhms])+")
_EPOCH = datetime.fromtimestamp(0, UTC)


class Seconds(click.FloatRange):
    """A type of options: a number of seconds, which has an end.

    Args:
        min_open: whether it has to be more than 0.
    """

    def __init__(self, *, min_open: bool = False) -> None:
        super().__init__(min=0, min_open=min_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raises click.BadParameter when it is none, or not in the range."""
        seconds = super().convert(value, param, ctx)
        if not math.isfinite(seconds):  # no comparison with a range refuses "nan"
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return seconds


def read_moment(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """Return a time as milliseconds since the epoch: a callback for an option; ``None`` where it was not given.

    Args:
        context: of the call.
        parameter: the option.
        text: ISO 8601, such as ``2026-11-28T14:30``, which is UTC unless it says otherwise; or an age, such as ``90m`` or ``1d12h``.

    Raises:
        click.BadParameter: it is neither.
    """
    if text is None:
        return None
    try:
        moment = _ago(text) if _AGE.fullmatch(text) else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r} is not a time: write 2026-11-28T14:30, which is UTC, or with its zone, 2026-11-28T14:30+01:00; "
            "or how long ago, such as 90m, 2h or 1d12h",
            context,
            parameter,
        ) from None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def _ago(text: str) -> datetime:
    ages = [timedelta(**{_UNITS[unit]: int(count)}) for count, unit in re.findall(r"(\d+)(\w)", text)]
    return datetime.fromtimestamp(time.time(), UTC) - sum(ages, timedelta())
