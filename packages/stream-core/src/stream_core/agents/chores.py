"""Work beside the agents: tasks that start with the app, timers, and what a calendar says; on one worker only if wanted."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from cronsim import CronSim, CronSimError

from stream_core.errors import ConfigurationError, is_trouble
from stream_core.functions import function_of, name_of
from stream_core.runs import current_clock

__all__ = ["Chore", "crontab", "seconds_of", "task", "timer"]

logger = logging.getLogger(__name__)

LOOK = 0.5
"""Seconds between two looks at who the leader is."""

QUIET = 60.0
"""Seconds between two warnings that a timer leaves ticks out."""

LOOK_AT_CLOCK = 60.0
"""Seconds between two looks at the clock on the wall, which may be set meanwhile."""

LATE = timedelta(minutes=1)
"""By how much a moment of a calendar may be past and still count."""

CORRECTION = timedelta(hours=3)
"""A clock that is set back by more than that was wrong: as in cron."""

PAUSE = 1.0
"""Seconds before a task runs again that met trouble with the broker."""

Body = Callable[[], Awaitable[Any]]
Ticks = AsyncIterator[None]


@dataclass(frozen=True, slots=True)
class Chore:
    """A body, and when it runs.

    Attributes:
        name: for messages, such as ``timer cleanup``.
        body: what runs.
        ticks: makes the moments at which it runs; ``None`` runs it once, when the app is operational.
        on_leader: run it on the leader only: a task is cancelled when its worker is leader no longer, and runs again when
            it is once more; ticks of timers are left out.
    """

    name: str
    body: Body
    ticks: Callable[[], Ticks] | None = None
    on_leader: bool = False

    async def run(self, is_leader: Callable[[], bool]) -> None:
        """Run until cancelled, or as long as a task takes; raises what the body raises.

        Trouble with the broker ends nobody: a timer goes on with its next tick, and a task runs again.

        Args:
            is_leader: whether this worker is the leader now.
        """
        if self.ticks is not None:
            async for _ in self.ticks():
                if not self.on_leader or is_leader():
                    try:
                        await self.body()
                    except Exception as error:
                        if not is_trouble(error):
                            raise
                        logger.warning("%s goes on with its next tick: %s", self.name, error)
            return
        while True:
            try:
                if not self.on_leader:
                    await self.body()
                    return
                await _until(is_leader)
                await self._lead(is_leader)
            except Exception as error:
                if not is_trouble(error):
                    raise
                logger.warning("%s runs again in %.0f s: %s", self.name, PAUSE, error)
                await current_clock().sleep(PAUSE)

    async def _lead(self, is_leader: Callable[[], bool]) -> None:
        """Run the body while this worker is the leader."""
        running = asyncio.ensure_future(self.body())
        deposed = asyncio.ensure_future(_until(lambda: not is_leader()))
        try:
            await asyncio.wait([running, deposed], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            else:
                logger.info("%s is cancelled: another worker is the leader now", self.name)
            await deposed
        finally:
            for part in (running, deposed):
                part.cancel()
            await asyncio.wait([running])


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await current_clock().sleep(LOOK)


def task(body: Any, *, on_leader: bool = False) -> Chore:
    """Make a chore that runs once, when the app is operational. Raises ConfigurationError unless ``body`` is an async function."""
    return Chore(*_checked(body, "task"), on_leader=on_leader)


def timer(
    body: Any,
    interval: float | timedelta,
    *,
    on_leader: bool = False,
    name: str | None = None,
    max_drift_correction: float | None = None,
) -> Chore:
    """Make a chore that runs at a steady interval, first one interval after the start.

    Args:
        body: an async function.
        interval: seconds, or a timedelta.
        on_leader: on the leader only.
        name: for messages, in place of that of the function.
        max_drift_correction: how many seconds sooner than ``interval`` after the tick before one tick may come to make up for one that
            was late; as many as needed when left out.

    Raises:
        ConfigurationError: the interval is not positive, the correction is negative, or ``body`` is no async function.
    """
    name, checked = _checked(body, "timer", name)
    if max_drift_correction is not None and not max_drift_correction >= 0:  # nan, too
        raise ConfigurationError(
            f"{name}: max_drift_correction={max_drift_correction!r} is not 0 or more seconds; leave it out for ticks that keep to the beat"
        )
    try:
        every = seconds_of(interval)
    except (TypeError, ValueError):
        raise ConfigurationError(f"{name}: {interval!r} is no interval: write seconds, or a timedelta") from None
    if not every > 0:  # nan, too
        raise ConfigurationError(f"{name}: an interval of {every:g} s is not more than 0")
    return Chore(name, checked, lambda: _steadily(name, every, max_drift_correction), on_leader)


def crontab(
    body: Any,
    spec: str,
    *,
    zone: tzinfo | None = None,
    on_leader: bool = False,
) -> Chore:
    """Make a chore that runs when the clock on the wall matches a cron expression.

    Args:
        body: an async function.
        spec: minute, hour, day of month, month, day of week, such as ``"30 18 * * mon-fri"``.
        zone: the time zone of the expression; UTC when left out.
        on_leader: on the leader only.

    Raises:
        ConfigurationError: the expression cannot be read, or ``body`` is no async function.
    """
    name, checked = _checked(body, "crontab")
    here = zone or UTC
    try:
        if next(_moments(spec, here, datetime.now(UTC)), None) is None:
            raise CronSimError("there is no such day")
    except CronSimError as error:
        raise ConfigurationError(
            f"{name}: {spec!r} is no cron expression ({error}); write minute, hour, day of month, month and day of week, "
            'such as "30 18 * * mon-fri"'
        ) from error
    return Chore(name, checked, lambda: _on_calendar(spec, here), on_leader)


def seconds_of(interval: float | timedelta) -> float:
    """Give an interval in seconds."""
    return interval.total_seconds() if isinstance(interval, timedelta) else float(interval)


async def _steadily(name: str, every: float, correction: float | None) -> Ticks:
    """Tick once per interval; ticks that come too late are left out, and a warning counts them.

    Args:
        name: of the timer, for the warning.
        every: seconds between two ticks.
        correction: see ``max_drift_correction`` of :func:`timer`.
    """
    clock = current_clock()
    beat = due = clock.monotonic() + every
    missed, told = 0, -QUIET
    while True:
        await clock.sleep(due - clock.monotonic())
        ticked = clock.monotonic()
        yield
        beat += every
        due = beat if correction is None else max(beat, ticked + every - correction)
        if (late := clock.monotonic() - due) >= every:
            missed += int(late // every)
            beat = due = due + late // every * every
            if clock.monotonic() - told >= QUIET:
                logger.warning(
                    "%s leaves %d ticks out, %.3g s late: it takes longer than %g s", name, missed, late, every
                )
                missed, told = 0, clock.monotonic()


async def _on_calendar(spec: str, zone: tzinfo) -> Ticks:
    """Tick at the moments of a cron expression.

    Moments that pass while the body runs or the process sleeps are not made up for, but for the one that was waited for. As in cron, a
    clock that is set back by some hours at most repeats nothing; one that is set back by more was wrong before, and counts from anew.
    """
    clock = current_clock()

    def now() -> datetime:
        return datetime.fromtimestamp(clock.wall(), UTC)

    seen = now()
    moments = _moments(spec, zone, seen)
    due = next(moments, None)
    while due is not None:
        ticks = seen >= due
        if ticks:
            yield
        else:
            await clock.sleep(min((due - seen).total_seconds(), LOOK_AT_CLOCK))
        before, seen = seen, now()
        begin = seen - LATE
        if before - seen > CORRECTION:
            moments = _moments(spec, zone, seen)
            due = next(moments, None)
        elif ticks:
            if begin - due > LATE:  # far behind: listing each moment since then would take long
                moments = _moments(spec, zone, begin)
            due = next((moment for moment in moments if moment > begin), None)


def _moments(spec: str, zone: tzinfo, after: datetime) -> Iterator[datetime]:
    """List the moments of a cron expression later than ``after``, as CronSim lists them: in UTC, in order, each once.

    In UTC, because Python subtracts and compares two times of one zone as its clocks show them: as if no clock were ever changed.
    """
    for moment in CronSim(spec, after.astimezone(zone)):
        if (found := moment.astimezone(UTC)) > after:
            after = found
            yield found


def _checked(body: Any, kind: str, given: str | None = None) -> tuple[str, Body]:
    """Give the name of a chore for messages, such as ``timer cleanup``, and its body. Raises ConfigurationError."""
    name, body = f"{kind} {given or name_of(body)}", function_of(body)
    if not inspect.iscoroutinefunction(body):
        raise ConfigurationError(f"{name}: write it as `async def`")
    return name, body
