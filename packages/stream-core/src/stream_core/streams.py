"""A stream: an async iterable over the events of one subscription, as an agent's body sees it.

Batches move between the layers, and a stream costs one generator step per event: no await of ours, no queue, no task and
no object but the decoded value (design decision 1). Every few events it looks at the clock, and after a few
milliseconds it gives the event loop a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, Generic, Literal, TypeVar, cast

from stream_core.cursor import Cursor
from stream_core.errors import DecodeError
from stream_core.events import Event
from stream_core.records import RawRecord
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
        return self._read("values")

    def events(self) -> AsyncIterator[Event[T]]:
        """Iterate over whole events: key, value, headers and the message behind them."""
        return cast("AsyncIterator[Event[T]]", self._read("events"))

    def items(self) -> AsyncIterator[tuple[Any, T]]:
        """Iterate over ``(key, value)``."""
        return cast("AsyncIterator[tuple[Any, T]]", self._read("items"))

    @property
    def current_event(self) -> Event[T] | None:
        """The event that is open, or ``None``."""
        cursor = self._cursor
        if cursor.session is None or cursor.record is None:
            return None
        schema = cursor.session.schema
        return Event(schema, cursor.session.tp, cursor.record, schema.decode_value(cursor.record.value))

    async def _read(self, form: Literal["values", "events", "items"]) -> AsyncIterator[Any]:
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
            if form == "items":
                values, error = _with_keys(chunk.session, records, values, error)
            make = partial(Event, chunk.session.schema, chunk.session.tp)
            items = map(make, records, values) if form == "events" else values
            pairs, left = zip(records, items, strict=False), len(values)
            self._chunk, cursor.session = chunk, chunk.session
            while left > 0 and chunk.session.open:
                left -= QUANTUM
                for record, item in islice(pairs, QUANTUM):
                    cursor.record = record
                    yield item
                    if cursor.attention and not cursor.finish():
                        break
                feed.reach(record.offset)
                cursor.record = None
                if monotonic() >= turn:
                    subscription.on_progress()
                    await asyncio.sleep(0)
                    turn = monotonic() + TURN
            if not chunk.session.open:
                self._chunk = None
                subscription.on_progress()
                continue
            if error is not None:
                cursor.record = next(record for record in chunk.records if record.offset == error.offset)
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


def _with_keys(
    session: PartitionSession, records: Sequence[RawRecord], values: Sequence[Any], error: DecodeError | None
) -> tuple[list[tuple[Any, Any]], DecodeError | None]:
    """Pairs of key and value, up to the first key that cannot be decoded."""
    pairs: list[tuple[Any, Any]] = []
    for record, value in zip(records, values, strict=False):
        try:
            pairs.append((session.schema.decode_key(record.key), value))
        except Exception as cause:
            error = DecodeError(f"cannot decode the key: {cause}", session.tp, record.offset)
            error.__cause__ = cause
            break
    return pairs, error
