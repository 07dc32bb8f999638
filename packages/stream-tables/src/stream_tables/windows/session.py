"""Session windows: the events of a key that follow each other closely, as the visit of a user.

An event joins every session of its key that is open and no further away than the gap, and makes one of them. ::

    gap 5          ──10──12────────────────────20──   two sessions: 12 and 20 are further apart than 5
                   ──10──12──────16────────────20──   16 is within 5 of both, and makes them one: 10 to 20

Begin and end are those of its first and last event, both in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from threading import get_ident
from typing import TYPE_CHECKING, Any, NamedTuple

from stream_core.errors import ValidationError
from stream_core.streams.effects import Effects
from stream_tables.values import ABSENT, DELETED, HIGHEST, LOWEST, Absent, Encoded
from stream_tables.windows.keyed import KeyedPartition, KeyedWindow, by_key, split
from stream_tables.windows.kinds import ASSIGN, Change, Closing, Seconds, WindowRange, label, milliseconds
from stream_tables.windows.rows import TIME, LogKeys, big_endian, number

if TYPE_CHECKING:
    from stream_tables.windows.partition import WindowedPartition

__all__ = ["SessionWindow"]


class Found(NamedTuple):
    """A session: its row, first and last instant in milliseconds, and what the row has."""

    row: bytes
    start: int
    end: int
    data: bytes


class SessionWindow(KeyedWindow):
    """Windows of events that follow each other closely.

    Args:
        gap: seconds or a timedelta: an event that is no further than this from a session belongs to it.
        expires: how long a session can be read after its end (its last event, and the gap); ``None`` for ever.
        grace: how long a session still takes events after that end; as long as it can be read when left out.

    Attributes:
        gap: in seconds.

    Raises:
        ConfigurationError: a length is none, or the gap is shorter than a millisecond.
    """

    def __init__(self, gap: Seconds, expires: Seconds | None = None, *, grace: Seconds | None = None) -> None:
        self._gap = milliseconds(gap, "gap")
        super().__init__(self._gap, 0, expires, grace)
        self.gap = self._gap / 1000

    @property
    def name(self) -> str:
        """Kind and sizes as text."""
        return f"session {self._gap}"

    # -- events

    def change(
        self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int, change: Change
    ) -> bool:
        """See :meth:`.kinds.Window.change`: the values of sessions that become one are combined by the same operation, the oldest first.

        An event that comes later than the grace still counts in a session that it lies in. It begins none, and moves the beginning of none:
        that could reach over one that is closed.
        """
        assert isinstance(part, KeyedPartition)
        overlay = part.overlay
        found, is_latest = self._fast(part, effects, key, at, time), True
        if found is None:
            found, is_latest = self._near(part, effects, key, at, time)
        if not self.is_open(at, time) and not any(one.start <= at <= one.end for one in found):
            return False
        if change.operation == ASSIGN:
            value = change.operand
        else:
            function = change.function
            values = [self._read(part, one) for one in found]
            value = values[0] if values else part.fresh(key)
            for other in values[1:]:
                value = function(value, other)
            value = function(value, change.operand)
        start, end = (min(at, found[0].start), max(at, found[-1].end)) if found else (at, at)
        row = by_key(key) + big_endian(start)
        for one in found:
            if one.row != row:
                overlay.set(effects, one.row, DELETED)
        part.put_data(effects, row, big_endian(end) + part.seal(row, value))
        part.lend(effects, row, value)
        if is_latest:
            overlay.latest[key] = row
        return True

    def add(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, operand: Any) -> bool:
        """See :meth:`.kinds.Window.add`: done here for the latest session of a key, where one actor writes integers."""
        assert isinstance(part, KeyedPartition)
        overlay = part.overlay
        if effects is not overlay.writer or effects.session is not overlay.session or get_ident() != overlay.thread:
            return False
        active = overlay.active
        time, row = active.get(TIME), overlay.latest.get(key)
        if type(time) is not int or (at > time and at > part.future) or row is None:
            return False
        entry = active.get(row)
        if type(entry) is not Encoded or type(operand) is not int:
            return False
        data = entry.data
        end = number(data[:8])
        if not number(row[-8:]) <= at <= end + self._gap or not self.is_open(end, max(at, time)):
            return False
        values = part.values
        before = values.decode(data[8:])
        if type(before) is not int or not LOWEST <= (value := before + operand) <= HIGHEST:
            return False
        made = Encoded((big_endian(at) if at > end else data[:8]) + values.encode(value))
        undo = effects.undo
        undo.append((overlay, row, entry))
        active[row] = made
        overlay.size += len(made.data) - len(data)
        if at > time:
            undo.append((overlay, TIME, time))
            active[TIME] = at
        effects.attention = True
        return True

    def _fast(self, part: KeyedPartition, effects: Effects, key: bytes, at: int, time: int) -> list[Found] | None:
        """Give the latest session of a key, where it was changed in this interval and the event belongs to no other; none after it."""
        overlay = part.overlay
        if effects is not overlay.writer or (row := overlay.latest.get(key)) is None:
            return None
        entry = overlay.active.get(row)
        if type(entry) is not Encoded:
            return None
        start, end = number(row[-8:]), number(entry.data[:8])
        if at > end + self._gap:
            return []
        return [Found(row, start, end, entry.data)] if start <= at and self.is_open(end, time) else None

    def _near(
        self, part: KeyedPartition, effects: Effects | None, key: bytes, at: int, time: int
    ) -> tuple[list[Found], bool]:
        """Give the open sessions of a key to which an event belongs, the oldest first; and whether the key has none after them."""
        found: list[Found] = []
        for one in self._around(part, effects, key, at):
            if one.start > at + self._gap:
                return found, False
            if at <= one.end + self._gap and self.is_open(one.end, time):
                found.append(one)
        return found, True

    def _around(self, part: KeyedPartition, effects: Effects | None, key: bytes, at: int) -> Iterator[Found]:
        """Give the sessions of a key in their order, from one on that begins before all that an event at an instant may be near.

        No two sessions have an instant in common, so those before it end too early. It is looked for in steps: a busy key may have as
        many sessions as fit into the time for which they can be read.
        """
        near = at - self._gap
        for first in (near - 64 * self._gap, near - 4096 * self._gap, None):
            sessions = self._of(part, effects, key, first)
            one = next(sessions, None)
            if one is not None and (first is None or one.start <= near):
                return chain((one,), sessions)
        return iter(())

    def _of(
        self, part: KeyedPartition, effects: Effects | None, key: bytes, first: int | None = None
    ) -> Iterator[Found]:
        return (Found(row, start, self.until(start, data), data) for row, start, data in part.of(effects, key, first))

    def delete(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int) -> bool | None:
        """See :meth:`.kinds.Window.delete`: the open sessions that the event belongs to."""
        assert isinstance(part, KeyedPartition)
        found, _ = self._near(part, effects, key, at, time)
        if not self.is_open(at, time) and not any(one.start <= at <= one.end for one in found):
            return None
        for one in found:
            part.delete(effects, one.row)
        return bool(found)

    # -- reading

    def value(self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, at: int) -> Any | Absent:
        """See :meth:`.kinds.Window.value`: the session that ``at`` lies in, or else the latest open one that an event there would join."""
        assert isinstance(part, KeyedPartition)
        time = part.time(effects)
        found = self._chosen(self._around(part, effects, key, at), at, time)
        return ABSENT if found is None else self._lend(part, effects, found)

    def _chosen(self, sessions: Iterator[Found], at: int, time: int) -> Found | None:
        chosen = None
        for one in sessions:
            if one.start <= at <= one.end:
                return None if self.is_gone(one.end, time) else one
            if one.start > at + self._gap:
                break
            if at <= one.end + self._gap and self.is_open(one.end, time):
                chosen = one
        return chosen

    def within(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, start: float, end: float
    ) -> Any | Absent:
        """See :meth:`.kinds.Window.within`."""
        assert isinstance(part, KeyedPartition)
        begin, last = round(start * 1000), round(end * 1000)
        row = by_key(key) + big_endian(begin)
        data = part.data(effects, row)
        if data is None or self.until(begin, data) != last or self.is_gone(last, part.time(effects)):
            return ABSENT
        return self._lend(part, effects, Found(row, begin, last, data))

    def of_key(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes
    ) -> Iterator[tuple[WindowRange, Any]]:
        """See :meth:`.kinds.Window.of_key`."""
        assert isinstance(part, KeyedPartition)
        time = part.time(effects)
        return (
            (self.labels(one.start, one.end), self._lend(part, effects, one))
            for one in self._of(part, effects, key)
            if not self.is_gone(one.end, time)
        )

    def at(self, part: WindowedPartition[Any], effects: Effects | None, at: int) -> Iterator[tuple[bytes, Any]]:
        """See :meth:`.kinds.Window.at`; all sessions are looked through."""
        assert isinstance(part, KeyedPartition)
        time = part.time(effects)
        of_keys: dict[bytes, list[Found]] = {}
        for row, key, start, data in part.all(effects):
            of_keys.setdefault(key, []).append(Found(row, start, self.until(start, data), data))
        for key, sessions in of_keys.items():
            if (found := self._chosen(iter(sessions), at, time)) is not None:
                yield key, self._lend(part, effects, found)

    def everything(
        self, part: WindowedPartition[Any], effects: Effects | None
    ) -> Iterator[tuple[bytes, WindowRange, Any]]:
        """See :meth:`.kinds.Window.everything`."""
        assert isinstance(part, KeyedPartition)
        time = part.time(effects)
        for row, key, start, data in part.all(effects):
            end = self.until(start, data)
            if not self.is_gone(end, time):
                yield key, self.labels(start, end), self.value_of(part, effects, row, data)

    def closing(self, part: WindowedPartition[Any], effects: Effects, row: bytes) -> Closing | None:
        """See :meth:`.kinds.Window.closing`: none where the session has gone on since."""
        assert isinstance(part, KeyedPartition)
        end, key, start = number(row[:8]), row[8:-8], number(row[-8:])
        named = by_key(key) + row[-8:]
        data = part.data(effects, named)
        if data is None or self.until(start, data) != end:
            return None
        value = self.value_of(part, None, named, data)  # whoever is told of it cannot assign it, and may change it
        return Closing(key, self.labels(start, end), value)

    # -- rows

    def labels(self, start: int, end: int) -> WindowRange:
        """Give the labels of a session: the instants of its first and last event."""
        return WindowRange(label(start), label(end))

    def until(self, start: int, data: bytes) -> int:
        """Give the last instant of a session from its start and what its row has."""
        return number(data[:8]) if len(data) >= 8 else start

    def instant(self, row: bytes, data: bytes) -> bytes:
        """See :meth:`.keyed.KeyedWindow.instant`."""
        return data[:8] if len(data) >= 8 else row[-8:]

    def payload(self, data: bytes) -> bytes:
        """See :meth:`.rows.Layout.payload`."""
        return data[8:]

    def last(self, data: bytes) -> float | None:
        """See :meth:`.rows.Layout.last`: its last event."""
        return label(number(data[:8])) if len(data) >= 8 else None

    def value_of(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> Any:
        """See :meth:`.keyed.KeyedWindow.value_of`. Raises ValidationError when the row is of something else."""
        return self._lend(part, effects, Found(row, split(row)[1], 0, data))

    def _read(self, part: KeyedPartition, found: Found) -> Any:
        if len(found.data) < 8:
            raise ValidationError(
                f"{part.changelog} has a record of {part.row_as_text(found.row)} that is not a session"
            )
        return part.values.read(found.row, found.data[8:])

    def _lend(self, part: KeyedPartition, effects: Effects | None, found: Found) -> Any:
        value = self._read(part, found)
        part.lend(effects, found.row, value)
        return value

    def named(self, start: int) -> Sequence[float]:
        """Give the label of its beginning: the end changes, and is in the value."""
        return (label(start),)

    def row_of(self, keys: LogKeys, key: bytes, start: float, end: float) -> bytes | None:
        """See :meth:`.kinds.Window.row_of`: the beginning tells sessions of a key apart."""
        return by_key(key) + big_endian(round(start * 1000))

    def to_row(self, keys: LogKeys, key: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_row`."""
        found = keys.read(key)
        if found is None or len(found[1]) != 1:
            return None
        return by_key(found[0]) + big_endian(round(found[1][0] * 1000))
