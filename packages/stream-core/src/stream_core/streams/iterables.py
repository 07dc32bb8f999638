"""Streams over what is not a channel: any plain or asynchronous iterable."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from typing import Any, TypeVar

from stream_core.streams.channel import Channel
from stream_core.streams.iteration import Exhausted, Form
from stream_core.streams.sessions import Inbox, Subscription
from stream_core.streams.stream import LooseStream, Stream

__all__ = ["each", "stream_of"]

T = TypeVar("T")

_END = object()


class _Pulling(Inbox):
    """An inbox that takes the next value from an iterable when somebody waits for one.

    Args:
        channel: hands the values over.
        values: the iterable.
    """

    def __init__(self, channel: Channel[Any, Any], values: AsyncIterable[Any] | Iterable[Any]) -> None:
        super().__init__()
        self._channel = channel
        self._values = each(values)
        self._next: asyncio.Task[Any] | None = None

    async def wait(self) -> None:
        """Wait for the next value, which goes on arriving when the wait is cancelled. Raises Exhausted."""
        if self._next is None:
            self._next = asyncio.create_task(_next(self._values))
        await asyncio.wait([self._next])
        arrived, self._next = self._next, None
        if (value := arrived.result()) is _END:
            raise Exhausted
        await self._channel.send(value)

    async def close(self) -> None:
        """Leave the iterable."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.wait([self._next])
        await self._values.aclose()


class _Finite(LooseStream[T]):
    """A stream that ends.

    Args:
        subscription: reads the channel.
        channel: what the values are sent to.
        inbox: takes them from the iterable.
    """

    def __init__(self, subscription: Subscription, channel: Channel[Any, T], inbox: _Pulling) -> None:
        super().__init__(subscription, close=channel.unsubscribe)
        self._inbox = inbox

    def read(self, form: Form) -> AsyncGenerator[Any, None]:
        """Iterate over values, events or items."""
        return self._until_the_end(super().read(form))

    def _take(self, form: Form, max_: int, within: float | None, *, by_partition: bool) -> Any:
        return self._until_the_end(super()._take(form, max_, within, by_partition=by_partition))

    async def _until_the_end(self, items: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        try:
            async for item in items:
                yield item
        except Exhausted:
            pass
        finally:
            await items.aclose()
            await self._inbox.close()


def stream_of(values: AsyncIterable[T] | Iterable[T], name: str = "iterable") -> Stream[T]:
    """Make a stream over any iterable, with all operators but ``through`` and ``group_by``; it ends with the iterable.

    Args:
        values: the values; one is taken when the loop over the stream asks for it.
        name: for messages.
    """
    channel: Channel[Any, T] = Channel(name)
    subscription = Subscription(name, ())
    subscription.inbox = inbox = _Pulling(channel, values)
    channel.subscribe(subscription)
    return _Finite(subscription, channel, inbox)


async def each(values: AsyncIterable[T] | Iterable[T]) -> AsyncGenerator[T, None]:
    """Iterate over a plain or an asynchronous iterable."""
    if isinstance(values, AsyncIterable):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


async def _next(values: AsyncIterator[Any]) -> Any:
    return await anext(values, _END)
