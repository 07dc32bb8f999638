"""Where values can be sent, and what may be said of one send."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from stream_core.errors import ConfigurationError
from stream_core.runs import topic_named
from stream_core.values.codecs import CodecArg

if TYPE_CHECKING:
    from stream_core.primitives import HeadersArg, RecordMetadata
    from stream_core.values.schemas import Schema

__all__ = ["SendCallback", "SendOptions", "Target", "send_of"]

SendCallback = Callable[["asyncio.Future[RecordMetadata]"], Any]
"""Called once with a future that is done: its ``result()`` is the metadata of the record, or raises why it was not sent. Sync or async."""


class SendOptions(TypedDict, total=False):
    """What one send may say beside the record.

    Attributes:
        schema: encodes this record, in place of the schema of the topic.
        key_serializer: codec of this key, by name, in place of that of the topic.
        value_serializer: codec of this value likewise.
        callback: called with what became of the record; see :data:`SendCallback`.
        force: send at once, and not as an effect of the event that is open.
    """

    schema: Schema | None
    key_serializer: CodecArg
    value_serializer: CodecArg
    callback: SendCallback | None
    force: bool


class Target(Protocol):
    """Where a value can be sent: an agent, a topic or a channel in memory."""

    async def send(
        self,
        *,
        value: Any = None,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Send a record."""


def send_of(target: Target | str, what: str) -> Callable[..., Awaitable[Awaitable[RecordMetadata]]]:
    """Return how one sends to a target.

    Args:
        target: what was given as one; a name is that of a topic of the app that runs here.
        what: names the call in the error.

    Raises:
        ConfigurationError: nothing can be sent to it; a name says nothing to an engine without an app, nor where several apps run
            and this task belongs to none of them.
    """
    if isinstance(target, str) and (topic := topic_named(target)) is not None:
        return topic.send  # type: ignore[no-any-return]
    if isinstance(target, str) or not hasattr(target, "send"):
        make = f"app.topic({target!r})" if isinstance(target, str) else "app.topic(name)"
        raise ConfigurationError(
            f"{what} sends to an agent, a topic or a channel, and not to {target!r}: make a topic with {make}"
        )
    return target.send
