"""An event: one record, decoded, with what it takes to answer, forward or inspect it."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar, Unpack

from stream_core.primitives import TP, Headers, HeadersArg
from stream_core.streams.cursor import active_cursor
from stream_core.streams.decoded import key_of
from stream_core.streams.targets import SendOptions, Target, send_of
from stream_core.values.encoding import verbatim

if TYPE_CHECKING:
    from stream_core.primitives import RawRecord, RecordMetadata
    from stream_core.streams.cursor import Acknowledgement, Cursor
    from stream_core.streams.effects import Session
    from stream_core.values.schemas import Schema

__all__ = ["Event", "ManualEvent", "Message", "current_event", "event_of", "make_event"]

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
        """The decoded key. Raises DecodeError."""
        return key_of(self._schema, self._tp, self._record)

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

    @property
    def acked(self) -> bool:
        """Whether it is finished."""
        return False

    def ack(self) -> bool:
        """Finish this event, in a stream of ``noack()``; in any other an event is finished by asking for the next one.

        Returns:
            whether it was not finished before; always false where there is nothing to do by hand.
        """
        return False

    async def __aenter__(self) -> Self:
        """Acknowledge the event at the end of the block, unless that raised."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge."""
        if error is None:
            self.ack()

    async def send(
        self,
        channel: Target | str,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        **options: Unpack[SendOptions],
    ) -> Awaitable[RecordMetadata]:
        """Send to a topic or channel, with the decoded key and value of this event where none is given.

        Args:
            channel: an agent, a topic or its name, a channel in memory, or an object with such a ``send``.
            key: the key.
            value: the value.
            partition: the partition to send to.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.
            options: see :class:`~stream_core.streams.targets.SendOptions`; for topics, channels and agents.

        Returns:
            what can be awaited for the metadata of the new record.
        """
        value, key = self.value if value is None else value, self.key if key is None else key
        return await _send(channel, options, value, key, partition, timestamp, headers)

    async def forward(
        self,
        channel: Target | str,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        **options: Unpack[SendOptions],
    ) -> Awaitable[RecordMetadata]:
        """Send this event on: the same bytes and headers, unless others are given instead; the arguments are those of :meth:`send`.

        Returns:
            what can be awaited for the metadata of the new record.
        """
        record = self._record
        value, key = verbatim(record.value) if value is None else value, verbatim(record.key) if key is None else key
        headers = list(record.headers) if headers is None else headers
        return await _send(channel, options, value, key, partition, timestamp, headers)

    def __repr__(self) -> str:
        return f"<Event {self._tp} offset={self._record.offset} key={self._record.key!r} value={self.value!r}>"


async def _send(
    channel: Target | str,
    options: SendOptions,
    value: Any,
    key: Any,
    partition: int | None,
    timestamp: float | None,
    headers: HeadersArg | None,
) -> Awaitable[RecordMetadata]:
    """Send to a target, with options where some are given: one that is neither agent, topic nor channel need not take them."""
    return await send_of(channel, "an event")(
        value=value, key=key, partition=partition, timestamp=timestamp, headers=headers, **options
    )


class ManualEvent(Event[V]):
    """An event of a stream that does not acknowledge by itself.

    Args:
        schema: how the topic it came from is decoded.
        tp: its partition.
        record: the raw record.
        value: the decoded value.
        acknowledgement: finishes it.
    """

    __slots__ = ("_acknowledgement",)

    def __init__(self, schema: Schema, tp: TP, record: RawRecord, value: V, acknowledgement: Acknowledgement) -> None:
        super().__init__(schema, tp, record, value)
        self._acknowledgement = acknowledgement

    @property
    def acked(self) -> bool:
        """Whether it is finished."""
        return self._acknowledgement.given

    def ack(self) -> bool:
        """Finish this event; returns whether it was not finished before."""
        return self._acknowledgement.give()


def current_event() -> Event[Any] | None:
    """Return the event that the running actor works on, or ``None`` outside an event."""
    cursor = active_cursor()
    return None if cursor is None else event_of(cursor)


def event_of(cursor: Cursor) -> Event[Any] | None:
    """Make the open event of a cursor, or return ``None``. Its value is decoded again: what a body changed in place is not in it."""
    session, record = cursor.session, cursor.record
    if session is None or record is None:
        return None
    return make_event(session, record, session.schema.read_value(record), cursor.acknowledgement)


def make_event(
    session: Session, record: RawRecord, value: Any, acknowledgement: Acknowledgement | None = None
) -> Event[Any]:
    """Make the event of a record; one to acknowledge where that is done by hand."""
    if acknowledgement is None:
        return Event(session.schema, session.tp, record, value)
    return ManualEvent(session.schema, session.tp, record, value, acknowledgement)
