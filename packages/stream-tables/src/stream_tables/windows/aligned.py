"""Windows of one size that begin at fixed instants: tumbling ones stand side by side, hopping ones overlap.

A window at ``start`` holds the instants ``start <= t < start + size``. Starts are multiples of the step, counted from minus the size as
Faust does: for a size that is a multiple of the step these are the multiples of the step. A row is the start in eight bytes, then the key:
one range holds a window with all its keys, the ranges lie in the order of their ends, and expiry deletes one range.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, MutableMapping
from threading import get_ident
from typing import Any

from stream_core.errors import ConfigurationError
from stream_core.ports import KeyRange, Store
from stream_core.streams.effects import Effects
from stream_tables.values import ABSENT, HIGHEST, LOWEST, Absent
from stream_tables.windows.kinds import ASSIGN, Change, Closing, Seconds, Window, WindowRange, label, milliseconds
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import EARLIEST, NEVER, ROWS, TIME, LogKeys, big_endian, number

__all__ = ["HoppingWindow", "TumblingWindow"]


class HoppingWindow(Window):
    """Windows of one size, of which a new one begins with each step: an instant lies in several of them.

    Args:
        size: seconds or a timedelta that a window is long.
        step: between the starts of two windows; not longer than the size.
        expires: how long a window can be read after its end; ``None`` for ever.
        grace: how long events still change it after its end; as long as it can be read when left out.

    Attributes:
        size: in seconds.
        step: in seconds.

    Raises:
        ConfigurationError: a length is none, or shorter than a millisecond, or the step is longer than the size.
    """

    def __init__(
        self, size: Seconds, step: Seconds, expires: Seconds | None = None, *, grace: Seconds | None = None
    ) -> None:
        super().__init__(expires, grace)
        self._size = milliseconds(size, "size")
        self._step = milliseconds(step, "step")
        self.size, self.step = self._size / 1000, self._step / 1000
        if self._step > self._size:
            raise ConfigurationError(
                f"hopping windows with size={self.size:g} s and step={self.step:g} s would leave gaps: events in them would be in no "
                "window; give a step that is not longer than the size"
            )
        self._offset = -self._size % self._step
        self._gone = None if self.keeps is None else self._size + self.keeps
        """Milliseconds from its start to the moment after which a window cannot be read."""
        self.open_for = None if self.waits is None else self._size + self.waits
        """Milliseconds after its start for which a window takes events."""

    @property
    def name(self) -> str:
        """Kind and sizes as text."""
        return f"hopping {self._size} {self._step}"

    @property
    def span(self) -> int:
        """The most milliseconds between the first event of a window and its end."""
        return self._size

    # -- arithmetic

    def latest(self, at: int) -> int:
        """Give the start of the latest window that ``at`` lies in; milliseconds."""
        return at - (at - self._offset) % self._step

    def starts(self, at: int) -> range:
        """Give the starts of all windows that ``at`` lies in, the earliest first; milliseconds."""
        latest = self.latest(at)
        return range(latest - (latest + self._size - 1 - at) // self._step * self._step, latest + 1, self._step)

    def labels(self, start: int) -> WindowRange:
        """Give the labels of the window at ``start``."""
        begin = label(start)
        # Float arithmetic in this order, and a tenth of a second: that is Faust's, on the wire. It has no windows that are shorter.
        return WindowRange(begin, begin + self.size - (0.1 if self._size >= 100 else 0.001))

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Give the windows that an instant lies in, the earliest first."""
        return [self.labels(start) for start in self.starts(round(timestamp * 1000))]

    def current(self, timestamp: float) -> WindowRange:
        """Give the latest window that an instant lies in; seconds since the epoch."""
        return self.labels(self.latest(round(timestamp * 1000)))

    def earliest(self, timestamp: float) -> WindowRange:
        """Give the earliest window that an instant lies in; seconds since the epoch."""
        return self.labels(self.starts(round(timestamp * 1000))[0])

    def delta(self, timestamp: float, d: Seconds) -> WindowRange:
        """Give the latest window that an instant lies in which is ``d`` before another one; seconds since the epoch."""
        return self.labels(self.latest(round(timestamp * 1000) - milliseconds(d, "delta", least=0)))

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Tell whether the window that begins at an instant cannot be read any more at a later one; seconds since the epoch."""
        return self._gone is not None and round(timestamp * 1000) + self._gone <= round(latest_timestamp * 1000)

    # -- events

    def change(
        self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int, change: Change
    ) -> bool:
        """See :meth:`.kinds.Window.change`."""
        function, operand, assigned = change.function, change.operand, change.operation == ASSIGN
        found = False
        for start in self.starts(at):
            if self.open_for is not None and start + self.open_for <= time:
                continue
            row = big_endian(start) + key
            before = None if assigned else part.get(effects, row)
            if before is ABSENT:
                before = part.fresh(key)
            part.put(effects, row, function(before, operand))
            found = True
        return found

    def delete(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int) -> bool | None:
        """See :meth:`.kinds.Window.delete`."""
        there = None
        for start in self.starts(at):
            if self.open_for is None or start + self.open_for > time:
                row = big_endian(start) + key
                there = there or False
                if part.holds(effects, row):
                    part.delete(effects, row)
                    there = True
        return there

    # -- reading

    def row_at(self, key: bytes, at: int) -> bytes:
        """See :meth:`.kinds.Window.row_at`: that of the latest window."""
        return big_endian(self.latest(at)) + key

    def value(self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, at: int) -> Any | Absent:
        """See :meth:`.kinds.Window.value`."""
        return self._read(part, effects, key, self.latest(at))

    def within(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, start: float, end: float
    ) -> Any | Absent:
        """See :meth:`.kinds.Window.within`."""
        at = round(start * 1000)
        return self._read(part, effects, key, at) if self.latest(at) == at else ABSENT

    def _read(self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, start: int) -> Any | Absent:
        if self._is_gone(start, part.time(effects)):
            return ABSENT
        return part.get(effects, big_endian(start) + key)

    def _is_gone(self, start: int, time: int) -> bool:
        return self._gone is not None and start + self._gone <= time

    def of_key(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes
    ) -> Iterator[tuple[WindowRange, Any]]:
        """See :meth:`.kinds.Window.of_key`; where windows stay for ever, and before the first event, all keys are looked through."""
        time = part.time(effects)
        if self._gone is None or time == NEVER:
            return ((span, value) for found, span, value in self.everything(part, effects) if found == key)
        first = self.latest(time - self._gone) + self._step
        found = ((start, part.get(effects, big_endian(start) + key)) for start in range(first, time + 1, self._step))
        return iter([(self.labels(start), value) for start, value in found if value is not ABSENT])

    def at(self, part: WindowedPartition[Any], effects: Effects | None, at: int) -> Iterator[tuple[bytes, Any]]:
        """See :meth:`.kinds.Window.at`."""
        start = self.latest(at)
        if self._is_gone(start, part.time(effects)):
            return iter(())
        rows = part.range(effects, big_endian(start), big_endian(start + 1))
        return ((row[8:], part.value_of(effects, row, found)) for row, found in rows)

    def everything(
        self, part: WindowedPartition[Any], effects: Effects | None
    ) -> Iterator[tuple[bytes, WindowRange, Any]]:
        """See :meth:`.kinds.Window.everything`."""
        rows = part.range(effects, self._first(part.time(effects)))
        return ((row[8:], self.labels(number(row[:8])), part.value_of(effects, row, found)) for row, found in rows)

    def _first(self, time: int) -> bytes:
        """Give the first row that can be read at a time of the partition; where ranges were deleted, a scan begins after them."""
        return ROWS if self._gone is None or time == NEVER else big_endian(time - self._gone + 1)

    # -- closing

    def bound(self, time: int) -> bytes:
        """See :meth:`.rows.Layout.bound`."""
        if self.open_for is None or time == NEVER:
            return ROWS
        return big_endian(self.latest(time - self.open_for) + 1)  # the same until the next window closes

    def due(self, row: bytes, *, told: bool) -> int:
        """See :meth:`.rows.Layout.due`."""
        return number(row[:8]) + ((self.open_for if told else self._gone) or 0)

    def closing(self, part: WindowedPartition[Any], effects: Effects, row: bytes) -> Closing | None:
        """See :meth:`.kinds.Window.closing`."""
        part.overlay.entangle(effects, row, row + b"\0")
        value = part.get(None, row)  # whoever is told of it cannot assign it, and may change it
        return None if value is ABSENT else Closing(row[8:], self.labels(number(row[:8])), value)

    def expire(
        self, store: Store, changes: MutableMapping[bytes, bytes | None], time: int, closed: bytes | None, begin: bytes
    ) -> Collection[KeyRange]:
        """See :meth:`.rows.Layout.expire`."""
        end = self._first(time)
        if closed is not None:
            end = min(end, closed[:8])  # a window is one range: the one that is closed in part stays
        if end <= ROWS:
            return ()
        for row in [row for row in changes if ROWS <= row < end]:
            del changes[row]
        return [(ROWS, end)]

    # -- the changelog

    def to_log(self, keys: LogKeys, row: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_log`."""
        return keys.write(row[8:], *self.labels(number(row[:8])))

    def to_row(self, keys: LogKeys, key: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_row`; a window of another size has another end, and a session none."""
        if (found := keys.read(key)) is None:
            return None
        row, labels = found
        start = round(labels[0] * 1000)
        if len(labels) != 2 or self.latest(start) != start or abs(labels[1] - self.labels(start).end) > 1e-3:
            return None
        return big_endian(start) + row


class TumblingWindow(HoppingWindow):
    """Windows of one size that stand side by side: an instant lies in one of them.

    Args:
        size: seconds or a timedelta that a window is long.
        expires: how long a window can be read after its end; ``None`` for ever.
        grace: how long events still change it after its end; as long as it can be read when left out.

    Raises:
        ConfigurationError: a length is none, or shorter than a millisecond.
    """

    tumbling = True

    def add(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, operand: Any) -> bool:
        """See :meth:`.kinds.Window.add`: done here where only one actor writes, and both are numbers that a table keeps as they are."""
        overlay = part.overlay
        if effects is not overlay.writer or effects.session is not overlay.session or get_ident() != overlay.thread:
            return False
        active = overlay.active
        time = active.get(TIME)
        if type(time) is not int or (at > time and at > part.future):
            return False
        start = at - at % self._size
        if self.open_for is not None and start + self.open_for <= time:
            return False
        if start != part.start:
            if at <= EARLIEST:
                return False
            part.start, part.prefix = start, big_endian(start)
        row = part.prefix + key
        before = active.get(row)
        kind = type(operand)
        if type(before) is not kind or (kind is not int and kind is not float):
            return False
        value = before + operand
        if not (LOWEST <= value <= HIGHEST if kind is int else value - value == 0.0):
            return False
        undo = effects.undo
        undo.append((overlay, row, before))
        active[row] = value
        if at > time:
            undo.append((overlay, TIME, time))
            active[TIME] = at
        effects.attention = True
        return True

    def __init__(self, size: Seconds, expires: Seconds | None = None, *, grace: Seconds | None = None) -> None:
        super().__init__(size, size, expires, grace=grace)

    @property
    def name(self) -> str:
        """Kind and sizes as text; a hopping window whose step is its size is the same."""
        return f"hopping {self._size} {self._step}"
