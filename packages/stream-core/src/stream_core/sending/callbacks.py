"""Callbacks of sends: whoever sends may be called with what became of the record, instead of waiting for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from inspect import isawaitable

from stream_core.primitives import RecordMetadata
from stream_core.streams.effects import set_effects
from stream_core.streams.targets import SendCallback

__all__ = ["call_when_sent", "tell"]

logger = logging.getLogger(__name__)

_waiting: set[asyncio.Task[None]] = set()
"""Those that wait for an acknowledgement: an event loop alone keeps no task alive."""


def call_when_sent(sent: Awaitable[RecordMetadata], callback: SendCallback, topic: str) -> None:
    """Call ``callback`` once it is decided what becomes of a record; in the event loop that runs here.

    Args:
        sent: waits for the acknowledgement.
        callback: what to call; see :data:`~stream_core.streams.targets.SendCallback`.
        topic: of the record, for messages.
    """
    task = asyncio.get_running_loop().create_task(_wait(sent, callback, topic), name=f"callback of a send to {topic}")
    _waiting.add(task)
    task.add_done_callback(_waiting.discard)


async def _wait(sent: Awaitable[RecordMetadata], callback: SendCallback, topic: str) -> None:
    set_effects(None)  # what a callback sends is no effect of the event in which the record was sent
    future: asyncio.Future[RecordMetadata] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(await sent)
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        future.cancel()
    except Exception as error:
        future.set_exception(error)
    await tell(future, callback, topic)


async def tell(future: asyncio.Future[RecordMetadata], callback: SendCallback, topic: str) -> None:
    """Call ``callback`` with a future that is done, and wait for it where it is async; what it raises is logged."""
    if not future.cancelled():
        future.exception()  # it is told: asyncio need not say that nobody has asked
    try:
        if isawaitable(answer := callback(future)):
            await answer
    except Exception:
        logger.exception("the callback of a send to topic %s failed", topic)
