"""An event: one record, decoded, with what it takes to answer, forward or inspect it."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from stream_core.cursor import active_cursor
from stream_core.records import TP, Headers

if TYPE_CHECKING:
    from stream_core.records import RawRecord, RecordMetadata
    from stream_core.schemas import Schema
    from stream_core.topics import Topic

__all__ = ["Event", "Message", "current_event"]

V = TypeVar("V")


class Message(NamedTuple):
    """The record behind an event, undecoded. ``timestamp`` is in seconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def tp(self) -> TP:
        """Topic and partition as one value."""
        return TP(self.topic, self.partition)


class Event(Generic[V]):
    """One record of a stream. Valid while its event is open; key and headers are decoded when somebody asks.

    Args:
        schema: how the topic it came from is decoded.
        tp: its partition.
        record: the raw record.
        value: the decoded value.
    """

    __slots__ = ("_record", "_schema", "_tp", "value")

    def __init__(self, schema: Schema, tp: TP, record: RawRecord, value: V) -> None:
        self._schema = schema
        self._tp = tp
        self._record = record
        self.value = value

    @property
    def key(self) -> Any:
        """The decoded key."""
        return self._schema.decode_key(self._record.key)

    @property
    def headers(self) -> dict[str, bytes]:
        """Headers by name; of a repeated name the last one."""
        return dict(self._record.headers)

    @property
    def message(self) -> Message:
        """The record as it was on the topic."""
        record = self._record
        topic, partition = self._tp
        seconds = record.timestamp / 1000
        return Message(topic, partition, record.offset, seconds, record.key, record.value, record.headers)

    async def forward(
        self, topic: Topic[Any, Any], *, key: Any = None, value: Any = None, headers: Mapping[str, bytes] | None = None
    ) -> Awaitable[RecordMetadata]:
        """Send this event on: the same bytes, unless ``key``, ``value`` or ``headers`` are given instead.

        Returns:
            what can be awaited for the metadata of the new record.
        """
        record = self._record
        return await topic.send(
            key=record.key if key is None else key,
            value=record.value if value is None else value,
            headers=list(record.headers) if headers is None else headers,
        )

    def __repr__(self) -> str:
        return f"<Event {self._tp} offset={self._record.offset} key={self._record.key!r} value={self.value!r}>"


def current_event() -> Event[Any] | None:
    """The event that the running actor works on, or ``None`` outside an event."""
    cursor = active_cursor()
    if cursor is None or cursor.session is None or cursor.record is None:
        return None
    schema = cursor.session.schema
    return Event(schema, cursor.session.tp, cursor.record, schema.decode_value(cursor.record.value))
