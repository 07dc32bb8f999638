"""Services that start and stop with an app, or with a worker: those of mode, and whatever else has ``start`` and ``stop``."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any

from stream_app.running.service import make_ready
from stream_core.background import Background
from stream_core.errors import ConfigurationError, WorkerError

__all__ = ["PATIENCE", "Services", "check_service", "crash_of", "within_patience"]

logger = logging.getLogger(__name__)

GIVE_UP = 1.0
"""Seconds for what is cancelled to end."""

PATIENCE = 5.0
"""Seconds for a service to stop: what comes after it, such as the last commit of the app, must not wait for it for ever."""


def check_service(service: Any) -> None:
    """Raise ConfigurationError unless it is an object with ``async start()`` and ``async stop()``, or the class of one."""
    if not all(inspect.iscoroutinefunction(getattr(service, name, None)) for name in ("start", "stop")):
        raise ConfigurationError(
            f"{service!r} is not a service: give it `async def start(self)` and `async def stop(self)`"
        )


def crash_of(service: Any) -> WorkerError:
    """Make the failure of whoever runs a service of mode that has crashed."""
    reason = service.crash_reason
    error = WorkerError(f"the service {service!r} crashed: {type(reason).__name__}: {reason}")
    error.__cause__ = reason
    return error


class Services:
    """Starts and stops services.

    Args:
        services: objects, and classes that make one without arguments.
        above: the node of the service that they belong to, in mode's tree: it hears of their crashes.
    """

    def __init__(self, services: Iterable[Any], above: Any = None) -> None:
        self._services = tuple(services)
        self._above = above
        self._running: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        """Iterate over those of mode that were started."""
        return (one for one in self._running if hasattr(one, "crash_reason"))

    async def start(self, background: Background) -> None:
        """Start all, one after the other.

        Args:
            background: watches those that nobody above hears of: the crash of one is a failure.
        """
        for one in self._services:
            service = one() if isinstance(one, type) else one
            self._running.append(service)
            attached = self._above is not None and hasattr(service, "beacon")
            if attached:
                service.beacon.reattach(self._above)
            make_ready(service)
            await service.start()
            if not attached and hasattr(service, "crash_reason") and hasattr(service, "wait_until_stopped"):
                background.spawn(_until_crash(service), f"the service {service!r}", users=True)

    async def stop(self) -> None:
        """Stop those that were started, the last one first; what one raises is logged, and none holds up the others for long."""
        running, self._running = self._running, []
        for service in reversed(running):
            try:
                if not await within_patience(service.stop()):
                    logger.error("the service %r has not stopped within %g s; going on without it", service, PATIENCE)
            except Exception:
                logger.exception("the service %r failed to stop", service)


async def within_patience(body: Awaitable[None]) -> bool:
    """Await what a user has written for the stop, for :data:`PATIENCE` seconds at most; return whether it has ended by itself.

    One that is late is cancelled, and left behind when it does not end for that either. Raises what it raises in time.
    """
    task = asyncio.ensure_future(body)
    task.add_done_callback(_seen)
    try:
        done, _ = await asyncio.wait([task], timeout=PATIENCE)
    finally:  # also when the stop itself is cancelled
        task.cancel()
    if not done:
        await asyncio.wait([task], timeout=GIVE_UP)
        return False
    task.result()
    return True


def _seen(task: asyncio.Future[None]) -> None:
    """Take the error out of a task that nobody awaits any more: asyncio would log it as one that was overlooked."""
    if not task.cancelled():
        task.exception()


async def _until_crash(service: Any) -> None:
    await service.wait_until_stopped()
    if service.crash_reason is not None:
        raise crash_of(service)
