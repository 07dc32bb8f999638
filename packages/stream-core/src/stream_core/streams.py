"""A stream: an async iterable over the events of one subscription, as an agent's body sees it.

Batches move between the layers, and a stream costs one generator step per event: no await of ours, no queue, no task and
no object but the decoded value (design decision 1). Every few events it looks at the clock, and after a few
milliseconds it gives the event loop a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, Generic, TypeVar, cast

from stream_core.cursor import Cursor
from stream_core.events import Event
from stream_core.sessions import Chunk, PartitionSession, Subscription

__all__ = ["Stream"]

T = TypeVar("T")

QUANTUM = 32
"""Events between two looks at the clock."""

TURN = 0.004
"""Seconds for which a stream may keep the event loop while its body does not wait for anything."""


class Stream(Generic[T]):
    """The events of one actor. Iterate it once: values, or :meth:`events`, or :meth:`items`.

    An event is finished when the body asks for the next one; never because the body raised or was cancelled.

    Args:
        subscription: where the events come from.
        cursor: the cursor of the actor that iterates.
    """

    def __init__(self, subscription: Subscription, cursor: Cursor) -> None:
        self._subscription = subscription
        self._cursor = cursor
        self._chunk: Chunk | None = None

    def __aiter__(self) -> AsyncIterator[T]:
        return self._read(None)

    def events(self) -> AsyncIterator[Event[T]]:
        """Iterate over whole events: key, value, headers and the message behind them."""
        return cast("AsyncIterator[Event[T]]", self._read(Event))

    def items(self) -> AsyncIterator[tuple[Any, T]]:
        """Iterate over ``(key, value)``."""
        return cast("AsyncIterator[tuple[Any, T]]", self._read(_item))

    @property
    def current_event(self) -> Event[T] | None:
        """The event that is open, or ``None``."""
        cursor = self._cursor
        if cursor.session is None or cursor.record is None:
            return None
        schema = cursor.session.schema
        return Event(schema, cursor.session.tp, cursor.record, schema.decode_value(cursor.record.value))

    async def _read(self, make: Callable[..., Any] | None) -> AsyncIterator[Any]:
        cursor, subscription = self._cursor, self._subscription
        inbox = subscription.inbox
        turn = monotonic() + TURN
        while True:
            chunk = inbox.take()
            if chunk is None:
                subscription.on_progress()  # chunks of closed sessions may have been dropped: there is room
                await inbox.wait()
                turn = monotonic() + TURN
                continue
            feed = chunk.session.feeds[subscription.name]
            records, values, error = chunk.decoded()
            items = values if make is None else map(partial(make, *_source(chunk.session)), records, values)
            pairs, left = zip(records, items, strict=False), len(values)
            self._chunk, cursor.session = chunk, chunk.session
            while left > 0 and chunk.session.open:
                left -= QUANTUM
                for record, item in islice(pairs, QUANTUM):
                    cursor.record = record
                    yield item
                    if cursor.attention and not cursor.finish():
                        break
                feed.done = record.offset + 1
                cursor.record = None
                if monotonic() >= turn:
                    subscription.on_progress()
                    await asyncio.sleep(0)
                    turn = monotonic() + TURN
            if not chunk.session.open:
                self._chunk = None
                if feed.progress is not None:
                    feed.progress.finish(record.offset)
                subscription.on_progress()
                continue
            if error is not None:
                cursor.record = chunk.records[len(values)]
                raise error
            self._chunk = None
            feed.finish(chunk)

    def rewind(self, *, skip: bool = False) -> None:
        """After the body ended early: give what it did not finish back, so that it comes first in the next iteration.

        Args:
            skip: count the open event as finished, although it failed.
        """
        cursor, chunk, self._chunk = self._cursor, self._chunk, None
        record, cursor.record = cursor.record, None
        if chunk is None:
            return
        feed = chunk.session.feeds[self._subscription.name]
        offset = feed.done if record is None else record.offset + 1 if skip else record.offset
        if chunk.session.open:
            feed.put_back(chunk, offset)
        else:
            feed.done = offset  # what lies below it may still be committed


def _source(session: PartitionSession) -> tuple[Any, Any]:
    return session.schema, session.tp


def _item(schema: Any, _tp: Any, record: Any, value: Any) -> tuple[Any, Any]:
    return schema.decode_key(record.key), value
