"""A table with windows, as events see it: a dictionary whose values are the windows of a key.

``counts[key] += 1`` changes every window that the instant of the event lies in; ``counts[key].current()`` reads one.
Which instant that is, is the *relativity* of a handle: that of the record, of a field, of the clock, or a fixed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from operator import attrgetter, itemgetter
from types import MemberDescriptorType
from typing import Any, Generic, Self, TypeVar, cast, overload

from stream_core.errors import ConfigurationError
from stream_core.streams.cursor import Cursor, active_cursor
from stream_core.streams.effects import Effects, active_effects, current_effects
from stream_core.streams.events import Event, event_of
from stream_core.values.fields import FieldDescriptor
from stream_tables.errors import TableError
from stream_tables.held import Held
from stream_tables.keys import Keys
from stream_tables.values import ABSENT, PLAIN, Absent
from stream_tables.windows.kinds import ASSIGN, NAMES, Change, Seconds, Window, WindowRange, label, milliseconds
from stream_tables.windows.late import Late, LatePolicy
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import EARLIEST, FURTHEST, LATEST, TIME

__all__ = ["RelativeArg", "WindowSet", "WindowedItems", "WindowedKeys", "WindowedTable", "WindowedValues"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
D = TypeVar("D")
R = TypeVar("R", bound=Callable[[], Any])

RelativeArg = FieldDescriptor[Any] | MemberDescriptorType | Callable[[Event[Any]], float | datetime] | float | datetime
"""What says the instant of an event: a field of its value, a function of it, or an instant that is the same for all, in seconds."""

Instant = Callable[["Event[Any] | None"], int]
"""Gives the instant of an event, or of the open one, in milliseconds."""


class WindowedTable(Generic[K, V]):
    """The windows of a table, made by ``table.tumbling()``, ``hopping()`` and their like.

    Each change belongs to the windows that the instant of its event lies in, and each read to one window. Which instant that is:
    see :meth:`relative_to`. What a method returns that names another instant is a second handle on the same windows.

    The time of a partition is the latest instant of an event that has changed it. Several agents that change one table share that
    time: where one of them lags behind the others by more than the grace, its events are late. Give each a table of its own, or a
    longer grace.

    Args:
        table: the table whose partitions hold the windows.
        keys: its keys.
        window: the kind of windows.
        late: what happens to events that come when all their windows are closed.
        key_index: as in Faust; keys can be listed without it.
        instant: says the instant of an event; ``None`` for that of its record.

    Attributes:
        table: the table.
        window: the kind of windows.
        key_index: the same.
        late: what happens to late events, and how many there were here.
    """

    def __init__(
        self,
        table: Held[K, V],
        keys: Keys[K],
        window: Window,
        late: LatePolicy,
        *,
        key_index: bool = False,
        instant: Instant | None = None,
    ) -> None:
        self.table = table
        self.window = window
        self.late = late
        self.key_index = key_index
        self._instant = instant
        self._keys = keys
        self._encode = self._keys.encode

    @property
    def name(self) -> str:
        """Name of the table."""
        return self.table.name

    def on_recover(self, callback: R) -> R:
        """Call a function when a rebalance is over and all partitions of this worker are recovered; a decorator, as that of the table."""
        return self.table.on_recover(callback)

    def on_window_close(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Call a function for each window that closes; a decorator, as the option ``on_window_close`` of the table."""
        return self.table.tell_closed(callback)

    # -- relativity

    def clone(self, relative_to: RelativeArg | None = None) -> WindowedTable[K, V]:
        """Make another handle on the same windows; relative to the timestamp of records unless another instant is given."""
        return self._with(None if relative_to is None else self._instant_of(relative_to))

    def relative_to_stream(self) -> WindowedTable[K, V]:
        """Take the timestamp of the record of an event as its instant. This is so unless something else is said."""
        return self._with(None)

    def relative_to_now(self) -> WindowedTable[K, V]:
        """Take the time of the clock as the instant of reads and changes."""
        return self._with(lambda event: self._clock())

    def relative_to_field(self, field: Any) -> WindowedTable[K, V]:
        """Take a field of the value of an event as its instant.

        Args:
            field: such as ``Order.made_at``: a number of seconds since the epoch, a datetime, or a date and time as text (ISO 8601).
                For a type checker it has the type of its values.
        """
        if not isinstance(field, (FieldDescriptor, MemberDescriptorType)):
            raise ConfigurationError(f"table {self.name}: relative_to_field({field!r}) needs a field of a record")
        return self._with(self._instant_of(field))

    def relative_to(self, instant: RelativeArg) -> WindowedTable[K, V]:
        """Take something else as the instant of an event.

        Args:
            instant: a field of its value, a function that is called with the event and returns seconds since the epoch or a datetime, or
                seconds or a datetime that are the same for all.
        """
        return self._with(self._instant_of(instant))

    relative_to_timestamp = relative_to

    def _with(self, instant: Instant | None) -> WindowedTable[K, V]:
        return WindowedTable(self.table, self._keys, self.window, self.late, key_index=self.key_index, instant=instant)

    def _instant_of(self, given: RelativeArg) -> Instant:
        if isinstance(given, FieldDescriptor):
            return lambda event: self._milliseconds(given.getattr(self._event(event).value))
        if isinstance(given, MemberDescriptorType):  # what `Order.made_at` is
            read = attrgetter(given.__name__)
            return lambda event: self._milliseconds(read(self._event(event).value))
        if callable(given):
            return lambda event: self._milliseconds(given(self._event(event)))
        fixed = self._milliseconds(given)
        return lambda event: fixed

    def _milliseconds(self, instant: Any) -> int:
        """Read an instant. Raises TableError when it is none."""
        if isinstance(instant, str):
            try:
                instant = datetime.fromisoformat(instant)
            except ValueError as error:
                raise TableError(f"table {self.name}: {instant!r} is not an instant: {error}") from error
        if isinstance(instant, datetime):
            return round(instant.timestamp() * 1000)
        if isinstance(instant, (int, float)) and not isinstance(instant, bool) and abs(instant) < 1e15:
            return round(instant * 1000)
        raise TableError(
            f"table {self.name}: {instant!r} is not an instant: give seconds since the epoch, a datetime, or one as text in ISO 8601"
        )

    def _event(self, event: Event[Any] | None) -> Event[Any]:
        """Give the event, or else the open one. Raises TableError when there is none."""
        if event is None and (cursor := active_cursor()) is not None:
            event = event_of(cursor)
        if event is None:
            raise TableError(
                f"table {self.name}: outside of events there is no instant to take from one: give the event, or use now(), "
                "relative_to_now() or relative_to(timestamp)"
            )
        return event

    def _clock(self) -> int:
        """Give the time of the clock in milliseconds."""
        return round(self.table.clock.wall() * 1000)

    def _of_record(self, event: Event[Any] | None) -> int:
        """Give the timestamp of the record of an event, or of the open one, in milliseconds."""
        if event is None:
            cursor = active_cursor()
            if cursor is not None and cursor.record is not None:
                at = cursor.record.timestamp
                return at if EARLIEST < at < FURTHEST else EARLIEST if at < 0 else FURTHEST
        return min(max(round(self._event(event).message.timestamp * 1000), EARLIEST), FURTHEST)

    def instant(self, event: Event[Any] | None = None) -> int:
        """Give the instant of an event, or of the open one, in milliseconds.

        :meta private:
        """
        return self._of_record(event) if self._instant is None else self._instant(event)

    def get_timestamp(self, event: Event[Any] | None = None) -> float:
        """Give the instant of an event, or of the open one, in seconds since the epoch. Raises TableError when there is none."""
        return label(self.instant(event))

    # -- reading

    def __getitem__(self, key: K) -> WindowSet[K, V]:
        return WindowSet(self, key)

    def read(self, key: K, at: int) -> V:
        """Give the value of the latest window of a key that an instant in milliseconds lies in, or the default.

        :meta private:
        """
        value = self._look(key, lambda part, effects, data: self.window.value(part, effects, data, at))
        return self._or_default(key, value, at)

    def read_range(self, key: K, start: float, end: float) -> V:
        """Give the value of the window of a key with these labels, or the default.

        :meta private:
        """
        value = self._look(key, lambda part, effects, data: self.window.within(part, effects, data, start, end))
        return self._or_default(key, value, round(start * 1000))

    def windows(self, key: K) -> Iterator[tuple[WindowRange, V]]:
        """Give all windows of a key.

        :meta private:
        """
        found = self._look(key, lambda part, effects, data: list(self.window.of_key(part, effects, data)) or ABSENT)
        return iter(() if found is ABSENT else found)

    def committed(self, key: K) -> list[tuple[WindowRange, V]]:
        """Give all windows of a key with their values, as of the last checkpoint, from the partitions that this worker holds."""
        data = self._encode(key)
        parts = [cast("WindowedPartition[V]", part).committed() for part in self.table.parts.values()]
        return sorted((one for part in parts for one in self.window.of_key(part, None, data)), key=itemgetter(0))

    def _parts(self) -> Iterator[tuple[WindowedPartition[V], Effects | None]]:
        """Give the partition of the open event with its effects; outside of events all that are here."""
        effects = active_effects()
        parts = self.table.parts.values() if effects is None else [self.table.part(effects)]
        return iter([(cast("WindowedPartition[V]", part), effects) for part in parts])

    def _or_default(self, key: K, value: V | Absent, at: int) -> V:
        """Give a value, or else a default, a new value, which counts when it is assigned."""
        if value is not ABSENT:
            return value
        if self.table.default is None:
            raise self.table.missing(key)
        made = self.table.default()
        for part, effects in () if type(made) in PLAIN else self._parts():
            if effects is not None and part.in_place is not None:
                part.in_place.lend(effects, self.window.row_at(self._encode(key), at), made)
        return made

    def _look(
        self, key: object, read: Callable[[WindowedPartition[V], Effects | None, bytes], D | Absent]
    ) -> D | Absent:
        """Read a key in the partition of the open event; outside of events in all that are here, until one has something."""
        data, found = self._encode(key), cast("D | Absent", ABSENT)
        for part, effects in self._parts():
            if effects is not None:
                return read(part, effects, data)
            found = self.table.look(part, partial(read, part, effects, data), found)
            if found is not ABSENT:
                break
        return found

    def __contains__(self, key: object) -> bool:
        """Tell whether the latest window of the instant has a value of the key."""
        at = self.instant()
        return self._look(key, lambda part, effects, data: self.window.value(part, effects, data, at)) is not ABSENT

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys())

    def __len__(self) -> int:
        return sum(1 for _ in self._all_keys())

    def keys(self) -> WindowedKeys[K, V]:
        """Give a view of the keys that have any window, and of those of one window: ``keys().current()``."""
        return WindowedKeys(self)

    def values(self) -> WindowedValues[K, V]:
        """Give a view of the values in the window of the instant, or of another one: ``values().delta(60)``."""
        return WindowedValues(self)

    def items(self) -> WindowedItems[K, V]:
        """Give a view of keys and values in the window of the instant, or of another one: ``items().now()``."""
        return WindowedItems(self)

    def entries(self, at: int) -> Iterator[tuple[K, V]]:
        """Give keys and values of the latest window that an instant in milliseconds lies in.

        :meta private:
        """
        nothing: Iterator[tuple[bytes, V]] = iter(())
        for part, effects in self._parts():
            for data, value in self.table.look(part, partial(self.window.at, part, effects, at), nothing):
                key = self._keys.decode(part.changelog, data)
                if key is not None:
                    yield key, value

    def _all_keys(self) -> Iterator[K]:
        nothing: Iterator[tuple[bytes, WindowRange, V]] = iter(())
        for part, effects in self._parts():
            found = self.table.look(part, partial(self.window.everything, part, effects), nothing)
            for data in dict.fromkeys(data for data, _, _ in found):
                if (key := self._keys.decode(part.changelog, data)) is not None:
                    yield key

    # -- changing

    def __setitem__(self, key: K, value: V | WindowSet[K, V]) -> None:
        if type(value) is not WindowSet:
            self.change(key, Change(ASSIGN, value))
        elif value.table is not self or not value.changed or (value.key is not key and value.key != key):
            raise TableError(  # else `table[key] += 1`, which is done
                f"table {self.name}: what table[key] gives are the windows of a key, and no value: assign one, such as "
                "table[other].value()"
            )

    def __delitem__(self, key: K) -> None:
        """Delete the windows of the instant. Raises KeyError when none of them has a value."""
        self.delete(key)

    def delete(self, key: K, event: Event[Any] | None = None) -> None:
        """Delete the open windows of the instant. Raises KeyError when none of them has a value.

        :meta private:
        """
        effects = self.table.writer()
        part = cast("WindowedPartition[V]", self.table.part(effects))
        at, data = self.instant(event), self._encode(key)
        time = part.time(effects)
        if at > time and part.is_future(at):
            self._is_late(part, key, at, time, is_future=True)
            return
        found = None if at <= EARLIEST else self.window.delete(part, effects, data, at, max(at, time))
        if found is None:
            self._is_late(part, key, at, time, is_future=False)
        elif not found:
            raise self.table.missing(key)
        else:
            part.move(effects, at)

    def add(self, key: K, operand: V, event: Event[Any] | None) -> None:
        """Add to all open windows of the instant: the path of an event, look-ups and as few calls as can be.

        :meta private:
        """
        effects, table, data = current_effects(), self.table, None
        if (
            type(effects) is Cursor
            and effects.session is table._session
            and not effects.others
            and (record := effects.record) is not None
            and event is None
        ):
            data = self._encode(key)
            at = record.timestamp if self._instant is None else self._instant(None)
            if self.window.add(cast("WindowedPartition[V]", table._here), effects, data, at, operand):
                return
        self.change(key, Change("+", operand), event, data)

    def change(self, key: K, change: Change, event: Event[Any] | None = None, data: bytes | None = None) -> None:
        """Change all open windows of the instant.

        :meta private:
        """
        effects = current_effects()
        if effects is None or effects.atom is None:
            effects = self.table.writer()
        part = cast("WindowedPartition[V]", self.table.part(effects))
        if data is None:
            data = self._encode(key)
        at = self.instant(event)
        overlay = part.overlay
        time = overlay.active.get(TIME) if effects is overlay.writer else None
        if type(time) is not int:
            time = part.time(effects)
        if at > time and part.is_future(at):
            self._is_late(part, key, at, time, is_future=True)
        elif at <= EARLIEST or not self.window.change(part, effects, data, at, max(at, time), change):
            self._is_late(part, key, at, time, is_future=False)
        elif at > time:
            overlay.set(effects, TIME, at)

    def _is_late(self, part: WindowedPartition[V], key: K, at: int, time: int, *, is_future: bool) -> None:
        seen = self._clock() if is_future else time
        self.late.meet(Late(self.name, key, label(at), label(seen), is_future))

    def __repr__(self) -> str:
        return f"<WindowedTable {self.name}: {self.window!r}>"


class WindowSet(Generic[K, V]):
    """The windows of one key, made by ``table[key]``. Operators such as ``+=`` change all windows of the instant, each by its value.

    Args:
        table: the table.
        key: the key.
        event: its instant is taken; that of the open event when left out.

    Attributes:
        changed: an operator has changed the windows.
        event: the same.
        key: the same.
        table: the same.
    """

    __slots__ = ("changed", "event", "key", "table")

    def __init__(self, table: WindowedTable[K, V], key: K, event: Event[Any] | None = None) -> None:
        self.table = table
        self.key = key
        self.event = event
        self.changed = False

    # -- reading

    @property
    def timestamp(self) -> float:
        """The instant, in seconds since the epoch."""
        return self.table.get_timestamp(self.event)

    def value(self, event: Event[Any] | None = None) -> V:
        """Read the latest window of the instant.

        Args:
            event: its instant is taken; that of the open event when left out.

        Returns:
            its value, or the default of the table.

        Raises:
            KeyError: there is no value, and no default.
            TableError: there is no event.
        """
        return self.table.read(self.key, self.table.instant(event or self.event))

    def current(self, event: Event[Any] | None = None) -> V:
        """Read the latest window of the timestamp of the record, whatever the table is relative to; see :meth:`value`."""
        return self.table.read(self.key, self.table._of_record(event or self.event))

    def now(self) -> V:
        """Read the window of the clock; see :meth:`value`."""
        return self.table.read(self.key, self.table._clock())

    def delta(self, d: Seconds, event: Event[Any] | None = None) -> V:
        """Read the window of an instant that is ``d`` before that of the event; see :meth:`value`.

        Args:
            d: seconds, or a timedelta.
            event: as of :meth:`value`.
        """
        return self.table.read(self.key, self.table.instant(event or self.event) - _delta(d))

    @overload
    def __getitem__(self, at: Event[Any]) -> WindowSet[K, V]: ...
    @overload
    def __getitem__(self, at: tuple[float, float]) -> V: ...
    def __getitem__(self, at: Event[Any] | tuple[float, float]) -> WindowSet[K, V] | V:
        if isinstance(at, Event):
            return WindowSet(self.table, self.key, at)
        match at:
            case (float() | int() as start, float() | int() as end) if abs(start) < LATEST and abs(end) < LATEST:
                return self.table.read_range(self.key, start, end)
        raise TableError(
            f"table {self.table.name}: {at!r} is not an event, and no (start, end) of a window in seconds, as keys() and items() give them"
        )

    def __setitem__(self, at: Event[Any], value: V | WindowSet[K, V]) -> None:
        event = self._named(at)
        if type(value) is not WindowSet:
            self.table.change(self.key, Change(ASSIGN, value), event)
        elif value.table is not self.table or value.event is not event or not value.changed:
            raise TableError(  # else `table[key][event] += 1`, which is done
                f"table {self.table.name}: what table[key][event] gives are the windows of one event, and no value: assign one, such "
                "as table[other].value()"
            )

    def __delitem__(self, at: Event[Any]) -> None:
        self.table.delete(self.key, self._named(at))

    def _named(self, at: object) -> Event[Any]:
        """Give the event whose windows are to be changed. Raises TableError when it is none."""
        if isinstance(at, Event):
            return at
        name = self.table.name
        raise TableError(
            f"table {name}: windows are changed by an instant, and {at!r} is not an event: use {name}.relative_to(start)[key]"
        )

    def __iter__(self) -> Iterator[WindowRange]:
        return self.keys()

    def keys(self) -> Iterator[WindowRange]:
        """Give all windows of the key that can be read, the oldest first, as pairs of seconds."""
        return (span for span, _ in self.items())

    def values(self) -> Iterator[V]:
        """Give the values of all windows of the key, the oldest first."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[WindowRange, V]]:
        """Give all windows of the key with their values, the oldest first."""
        return self.table.windows(self.key)

    # -- changing

    def apply(self, operation: Callable[[V, Any], V], value: Any, event: Event[Any] | None = None) -> Self:
        """Change each window of the instant to ``operation(its value, value)``.

        Args:
            operation: such as ``operator.add``, or a function of your own.
            value: its second argument.
            event: its instant is taken; that of the open event when left out.
        """
        return self._change(NAMES.get(operation, operation), value, event)

    def _change(
        self, operation: str | Callable[[Any, Any], Any], operand: Any, event: Event[Any] | None = None
    ) -> Self:
        self.table.change(self.key, Change(operation, operand), event or self.event)
        self.changed = True
        return self

    def __iadd__(self, other: V) -> Self:
        self.table.add(self.key, other, self.event)
        self.changed = True
        return self

    def __isub__(self, other: V) -> Self:
        return self._change("-", other)

    def __imul__(self, other: V) -> Self:
        return self._change("*", other)

    def __itruediv__(self, other: V) -> Self:
        return self._change("/", other)

    def __ifloordiv__(self, other: V) -> Self:
        return self._change("//", other)

    def __imod__(self, other: V) -> Self:
        return self._change("%", other)

    def __ipow__(self, other: V) -> Self:
        return self._change("**", other)

    def __ilshift__(self, other: V) -> Self:
        return self._change("<<", other)

    def __irshift__(self, other: V) -> Self:
        return self._change(">>", other)

    def __iand__(self, other: V) -> Self:
        return self._change("&", other)

    def __ixor__(self, other: V) -> Self:
        return self._change("^", other)

    def __ior__(self, other: V) -> Self:
        return self._change("|", other)

    def __repr__(self) -> str:
        return f"<WindowSet {self.table.name}[{self.key!r}]>"


class _View(Generic[K, V, T]):
    """What a table has in one window; iterating over it takes that of the instant."""

    def __init__(self, table: WindowedTable[K, V]) -> None:
        self._table = table

    def _of(self, at: int) -> Iterator[T]:
        raise TypeError("a view says what it gives")

    def __iter__(self) -> Iterator[T]:
        return self._of(self._table.instant())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def now(self) -> Iterator[T]:
        """Give what is in the window of the clock."""
        return self._of(self._table._clock())

    def current(self, event: Event[Any] | None = None) -> Iterator[T]:
        """Give what is in the latest window of the timestamp of an event, or of the open one."""
        return self._of(self._table._of_record(event))

    def delta(self, d: Seconds, event: Event[Any] | None = None) -> Iterator[T]:
        """Give what is in the window of an instant that is ``d``, seconds or a timedelta, before that of the event."""
        return self._of(self._table.instant(event) - _delta(d))


class WindowedKeys(_View[K, V, K]):
    """The keys of a table with windows. Iterating over it gives all that have any window."""

    def _of(self, at: int) -> Iterator[K]:
        return (key for key, _ in self._table.entries(at))

    def __iter__(self) -> Iterator[K]:
        return self._table._all_keys()

    def __contains__(self, key: object) -> bool:
        return key in self._table


class WindowedValues(_View[K, V, V]):
    """The values of a table with windows."""

    def _of(self, at: int) -> Iterator[V]:
        return (value for _, value in self._table.entries(at))


class WindowedItems(_View[K, V, tuple[K, V]]):
    """The keys and values of a table with windows."""

    def _of(self, at: int) -> Iterator[tuple[K, V]]:
        return self._table.entries(at)


def _delta(d: Seconds) -> int:
    return milliseconds(d, "delta", least=0)
