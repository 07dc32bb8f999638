"""Sends from other threads, and sends for whose start nobody waits: both happen in the event loop of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from stream_core.calls import Call, call_in, run_in
from stream_core.primitives import RecordMetadata
from stream_core.sending.callbacks import tell
from stream_core.streams.targets import SendCallback

__all__ = ["Send", "Sent", "send_in", "send_soon_in"]

Send = Callable[[], Awaitable[Awaitable[RecordMetadata]]]
"""Sends a record; what it returns can be awaited for the metadata."""

Sent = Call[RecordMetadata]
"""A record that another event loop sends: await it for the metadata, or ask for its ``result(timeout)`` in a thread without a loop."""

APP = "the app"


async def send_in(loop: asyncio.AbstractEventLoop, send: Send) -> Sent:
    """Send in ``loop``, and return once the record is on its way; raises what ``send`` raises."""
    delivery = await run_in(loop, send, APP)
    return call_in(loop, lambda: delivery, APP)


def send_soon_in(
    loop: asyncio.AbstractEventLoop,
    send: Send,
    topic: str,
    callback: SendCallback | None,
    unheard: Callable[[BaseException], None],
) -> Sent:
    """Send in ``loop``, from any thread and without waiting; errors of ``send`` are those of the result.

    Args:
        loop: of the engine.
        send: sends the record.
        topic: of the record, for messages.
        callback: is called with what became of it.
        unheard: is called with an error for which nobody asks; never where there is a callback.
    """

    async def sent() -> RecordMetadata:
        return await (await send())

    if callback is None:
        return call_in(loop, sent, APP, unheard)

    async def told() -> RecordMetadata:
        future: asyncio.Future[RecordMetadata] = loop.create_future()
        try:
            future.set_result(await sent())
        except Exception as error:
            future.set_exception(error)
        await tell(future, callback, topic)
        return future.result()

    return call_in(loop, told, APP)
