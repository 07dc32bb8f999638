"""What sensors hear of events: where one overrides a callback for each event, and nowhere else.

The event is told of by a check of its effects (:class:`~stream_core.streams.effects.Check`): that is asked when the event finishes, and
forgotten whatever becomes of the event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stream_core.sensors import EVENT, MESSAGE, Begun, Sensors
from stream_core.streams.events import Event

if TYPE_CHECKING:
    from stream_core.primitives import RawRecord
    from stream_core.streams.cursor import Cursor
    from stream_core.streams.effects import Effects, Session

__all__ = ["Watch"]


class Watch:
    """Tells sensors of the records and events of one engine.

    Args:
        sensors: who is told.
    """

    def __init__(self, sensors: Sensors) -> None:
        self._sensors = sensors
        self._events = sensors.hear(*EVENT)
        self._messages = sensors.hear(*MESSAGE)
        self._left: dict[Session, dict[int, tuple[int, RawRecord]]] = {}

    @classmethod
    def of(cls, sensors: Sensors) -> Watch | None:
        """Make one where a sensor overrides a callback for events or records; else ``None``."""
        return cls(sensors) if sensors.hear(*EVENT, *MESSAGE) else None

    def arrived(self, session: Session, starts: Sequence[int], records: Sequence[RawRecord]) -> None:
        """Tell of records that were fetched, and remember how many readers each of them has.

        Args:
            session: their partition.
            starts: for each of its readers, the first offset that it gets.
            records: the records.
        """
        if not self._messages:
            return
        for closed in [one for one in self._left if one.dead]:
            del self._left[closed]
        left = self._left.setdefault(session, {})
        for record in records:
            self._sensors.tell("on_message_in", session.tp, record.offset, record)
            if readers := sum(start <= record.offset for start in starts):
                left[record.offset] = readers, record

    def finished(self, session: Session, offset: int) -> None:
        """Tell that all readers of a record are done with it, when the last one is."""
        if not (left := self._left.get(session)) or offset not in left:
            return
        readers, record = left.pop(offset)
        if readers > 1:
            left[offset] = readers - 1, record
        else:
            self._sensors.tell("on_message_out", session.tp, offset, record)

    def begin(self, cursor: Cursor, reader: object, session: Session, record: RawRecord, value: Any) -> None:
        """Tell of an event that is opened, and see to it that its end is told.

        Args:
            cursor: of whoever works on it.
            reader: the subscription.
            session: the partition of the event.
            record: the record.
            value: its value, or what stands for one that the body does not get.
        """
        if not self._events:
            return
        event = Event(session.schema, session.tp, record, value)
        begun = self._sensors.begin("on_stream_event_in", session.tp, record.offset, reader, event)
        cursor.checks.append(_Opened(self, begun, reader, session, record, event))
        cursor.attention = True

    def over(self, opened: _Opened) -> None:
        """Tell of the end of an event, however it came."""
        arguments = (opened.session.tp, opened.record.offset, opened.reader, opened.event)
        self._sensors.end("on_stream_event_out", opened.begun, lambda state: (*arguments, state))


class _Opened:
    """One event that sensors were told of."""

    def __init__(
        self, watch: Watch, begun: Begun, reader: object, session: Session, record: RawRecord, event: Event[Any]
    ) -> None:
        self.watch = watch
        self.begun = begun
        self.reader = reader
        self.session = session
        self.record = record
        self.event = event

    def check(self, effects: Effects) -> None:
        """Let the event finish."""

    def forget(self, effects: Effects) -> None:
        """Tell that the event is over."""
        self.watch.over(self)
