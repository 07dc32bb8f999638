"""Windows that belong to one key each and begin where its events are: what sessions and sliding windows have in common.

A window lies in the store twice ::

    0xff ‖ length of the key in 4 bytes ‖ key ‖ start      → what the kind keeps       its row, by key; the changelog has it
    end of its events ‖ key ‖ start                        → nothing                   where it is in the order of closing

The second follows from the first. It is made when a checkpoint or a recovery stores the first, and is never in the overlay, where an event
that makes a window longer would leave one behind each time. One that is out of date is passed over when it is met, and goes in its turn.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from stream_core.errors import StoreCorruptError, StoreError
from stream_core.ports import KeyRange, Store
from stream_core.streams.effects import Effects
from stream_tables.overlay import Overlay
from stream_tables.partition import Found, State
from stream_tables.values import ABSENT, Absent, Before, Encoded, Entry
from stream_tables.windows.kinds import Seconds, Window
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import BEHIND, NEVER, ROWS, Layout, LogKeys, big_endian, number

__all__ = ["KEYED", "KeyedLayout", "KeyedPartition", "KeyedWindow", "as_data", "by_key", "split"]

KEYED = BEHIND
"""Rows by key begin so, after all rows by time."""

SWEEP = 1_000
"""Windows that go at a time, some milliseconds."""

LEAST = 10_000
"""Windows that may go with one checkpoint, however little has changed. What is left goes with the next ones, and is not read meanwhile."""


def by_key(key: bytes) -> bytes:
    """Give what the rows of a key begin with."""
    return b"%b%b%b" % (KEYED, len(key).to_bytes(4), key)


def split(row: bytes) -> tuple[bytes, int]:
    """Give key and start of a row by key."""
    return row[5:-8], number(row[-8:])


def _prefix(row: bytes) -> bytes:
    """Give what the rows of the key of a row begin with; nothing for rows that are of no key."""
    return row[: 5 + int.from_bytes(row[1:5])] if row[:1] == KEYED else b""


class KeyedOverlay(Overlay):
    """Uncommitted changes that also finds those of one key, without looking through all.

    Attributes:
        latest: row of the latest window by key, where all windows of the key have been looked at in this interval. What takes changes back
            forgets it.
    """

    __slots__ = ("_frozen_rows", "_rows", "latest")

    def __init__(self, table: str, partitions: int) -> None:
        super().__init__(table, partitions)
        self._rows: dict[bytes, dict[bytes, None]] = {}
        self._frozen_rows: dict[bytes, dict[bytes, None]] = {}
        self.latest: dict[bytes, bytes] = {}

    def set(self, effects: Effects, key: bytes, value: Entry) -> None:
        """Change a row as part of the open event."""
        super().set(effects, key, value)
        self._rows.setdefault(_prefix(key), {})[key] = None

    def _put(self, key: bytes, value: Before) -> None:
        super()._put(key, value)
        self._rows.setdefault(_prefix(key), {})[key] = None
        self.latest.clear()

    def cut(self, unfinished: Sequence[Effects]) -> None:
        """Freeze the active layer, less what open events changed."""
        super().cut(unfinished)
        rows: dict[bytes, dict[bytes, None]] = {}
        for row in self.active:
            rows.setdefault(_prefix(row), {})[row] = None
        self._frozen_rows = self._rows  # first: threads read the active rows before these
        self._rows = rows
        self.latest = {}

    def stored(self, keys: Iterable[bytes]) -> None:
        """Take rows out of the frozen layer that are in the store now."""
        super().stored(keys)
        for row in keys:
            prefix = _prefix(row)
            rows = self._frozen_rows.get(prefix, {})
            rows.pop(row, None)
            if not rows:
                self._frozen_rows.pop(prefix, None)

    def thaw(self) -> None:
        """Forget the frozen layer: it is in the store."""
        super().thaw()
        self._frozen_rows = {}

    def clear(self) -> None:
        """Drop everything that is not committed."""
        super().clear()
        self._rows, self._frozen_rows, self.latest = {}, {}, {}

    def range(self, begin: bytes, end: bytes | None) -> dict[bytes, Entry]:
        """Give the uncommitted entries of a range; those within one key are found by it."""
        prefix = _prefix(begin)
        if not prefix or end is None or not end.startswith(prefix):
            return super().range(begin, end)
        entries: dict[bytes, Entry] = {}
        active, frozen = self.active, self.frozen  # in this order: see cut()
        for rows in (self._rows, self._frozen_rows):
            for row in tuple(rows.get(prefix, ())):
                if begin <= row < end:
                    entry: Before = active.get(row, ABSENT)
                    if entry is ABSENT:
                        entry = frozen.get(row, ABSENT)
                    if entry is not ABSENT:
                        entries[row] = entry
        return entries


class KeyedPartition(WindowedPartition[Any]):
    """One partition of a table whose windows belong to one key each."""

    __slots__ = ()

    overlay: KeyedOverlay
    window: KeyedLayout

    @property
    def table(self) -> str:
        """Name of the table."""
        return self._table

    async def commit(self, end: int | None) -> None:
        """Write the frozen layer to the store, then let go what is expired: more than has changed, so that what is left gets less.

        Raises:
            StoreError: the store takes no writes. The partition is behind.
        """
        left = max(LEAST, 2 * len(self.overlay.frozen))
        await super().commit(end)
        while left > 0 and self.state is State.RUNNING:
            try:
                swept = self.ready()
            except StoreCorruptError as error:
                self.lose(error)
                return
            except StoreError:
                self.enter(State.BEHIND)
                raise
            if not swept:
                return
            left -= SWEEP
            await asyncio.sleep(0)

    @property
    def has_default(self) -> bool:
        """Whether there is a value that an operation begins with where there is none."""
        return self._default is not None

    @staticmethod
    def make_overlay(table: str, partitions: int) -> Overlay:
        """Make an overlay that finds the changes of a key."""
        return KeyedOverlay(table, partitions)

    def get(self, effects: Effects | None, key: bytes) -> Any | Absent:
        """Read the window of a row as the open event sees it, or ABSENT."""
        data = self.data(effects, key)
        return ABSENT if data is None else self.window.value_of(self, effects, key, data)

    def unchanged(self, effects: Effects | None, key: bytes) -> Any | Absent:
        """Read a window that is stored: what lies there is no value yet."""
        return self.get(effects, key)

    def holds(self, effects: Effects | None, key: bytes) -> bool:
        """Tell whether the open event sees a window of a row that has a value."""
        data = self.data(effects, key)
        return data is not None and self.window.has_value(self, effects, key, data)

    def entries(self, effects: Effects | None) -> Iterator[tuple[bytes, Found]]:
        """Iterate over all rows whose window has a value; those by time, and of the partition itself, are among them, and no keys."""
        rows, has_value = self.range(effects), self.window.has_value
        return (
            (row, found) for row, found in rows if row[:1] != KEYED or has_value(self, effects, row, as_data(found))
        )

    def value_of(self, effects: Effects | None, key: bytes, found: Found) -> Any:
        """Give the value of the window that stands behind what a range has found."""
        return self.window.value_of(self, effects, key, as_data(found))

    def of(
        self, effects: Effects | None, key: bytes, first: int | None = None, last: int | None = None
    ) -> Iterator[tuple[bytes, int, bytes]]:
        """Give the rows of a key whose start is in ``[first, last]``, in the order of time: row, start, and what it has."""
        prefix = by_key(key)
        begin = prefix if first is None else prefix + big_endian(first)
        end = prefix + (b"\xff" * 9 if last is None else big_endian(last + 1))
        return ((row, number(row[-8:]), as_data(found)) for row, found in self.range(effects, begin, end))

    def all(self, effects: Effects | None) -> Iterator[tuple[bytes, bytes, int, bytes]]:
        """Give all rows in the order of keys and time: row, key, start, and what it has."""
        rows = self.range(effects, KEYED)
        return ((row, *split(row), as_data(found)) for row, found in rows)

    def lend(self, effects: Effects | None, row: bytes, value: Any) -> None:
        """Remember a value that an event has, where changes in place are looked for."""
        if self.in_place is not None:
            self.in_place.lend(effects, row, value)

    def seal(self, row: bytes, value: Any) -> bytes:
        """Give the bytes of a value. Raises EncodeError, in the event, when it cannot be kept."""
        kept = self.values.seal(row, value)
        return kept.data if type(kept) is Encoded else self.values.encode(kept)

    def _kept(self, key: bytes) -> bytes | None:
        data = self.data(None, key)
        return None if data is None else self.window.payload(data)

    def changed_rows(self, changes: Iterable[tuple[bytes, Entry]], begin: bytes, end: bytes) -> Iterator[bytes]:
        """Give the rows by time of changed windows that lie in a range."""
        window, first, last = self.window, begin[:8], end[:8]
        for row, entry in changes:
            if type(entry) is Encoded and row[:1] == KEYED and first <= window.instant(row, entry.data) <= last:
                timed = window.timed(row, entry.data)
                if begin <= timed < end:
                    yield timed


class KeyedLayout(Layout):
    """How what belongs to one key lies by key and by time.

    Args:
        tail: milliseconds between the last event of a window and its end.
        ahead: milliseconds for which an event is needed after the end of its own window, by those of later ones.
        keeps: milliseconds for which it can be read after its end; ``None`` for ever.
        waits: milliseconds for which it takes events after its end; likewise.
    """

    def __init__(self, tail: int, ahead: int, keeps: int | None, waits: int | None) -> None:
        self._tail = tail
        self._ahead = ahead
        self._closes = None if waits is None else tail + waits
        """Milliseconds after its last event up to which a window takes events."""
        self._goes = None if keeps is None else tail + keeps
        """Milliseconds after its last event up to which a window can be read."""

    @property
    def span(self) -> int:
        """The most milliseconds between the moment at which a row is written and the end of the last window that needs it."""
        return self._tail + self._ahead

    # -- what a kind says of a row

    @abstractmethod
    def instant(self, row: bytes, data: bytes) -> bytes:
        """Give the instant of the last event of a window, in eight bytes, from its row and what that has."""

    @abstractmethod
    def value_of(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> Any:
        """Give the value of the window of a row."""

    def has_value(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> bool:
        """Tell whether the window of a row has a value; one that was deleted can still have a row."""
        return True

    def timed(self, row: bytes, data: bytes) -> bytes:
        """Give the row by time."""
        return self.instant(row, data) + row[5:]

    def is_open(self, until: int, time: int) -> bool:
        """Tell whether a window whose last event is at ``until`` takes events."""
        return self._closes is None or until + self._closes >= time

    def is_gone(self, until: int, time: int) -> bool:
        """Tell whether a window whose last event is at ``until`` cannot be read any more."""
        return self._goes is not None and until + self._goes < time

    # -- closing and expiry

    def bound(self, time: int) -> bytes:
        """See :meth:`.rows.Layout.bound`."""
        return ROWS if self._closes is None or time == NEVER else big_endian(time - self._closes)

    def due(self, row: bytes, *, told: bool) -> int:
        """See :meth:`.rows.Layout.due`."""
        return number(row[:8]) + 1 + ((self._closes or 0) if told else (self._goes or 0) + self._ahead)

    def expire(
        self, store: Store, changes: MutableMapping[bytes, bytes | None], time: int, closed: bytes | None, begin: bytes
    ) -> Collection[KeyRange]:
        """See :meth:`.rows.Layout.expire`; some at a time, each with its row by key."""
        if self._goes is None or (closed is not None and closed <= ROWS):
            return ()
        end = big_endian(time - self._goes - self._ahead)
        if closed is not None:
            end = min(end, big_endian(number(closed[:8]) - self._ahead))
        gone = [row for row in changes if begin <= row < end]
        if len(gone) > SWEEP:
            gone.sort()
            end = gone[SWEEP]
        for count, (row, _) in enumerate(store.range(begin, end)):
            if count == SWEEP:
                end = row
                break
            gone.append(row)
        for row in gone:
            if row < end:
                changes.pop(row, None)
                named = by_key(row[8:-8]) + row[-8:]
                data = changes[named] if named in changes else store.get(named)
                if data is not None and self.timed(named, data) == row:
                    changes[named] = None
        return [(begin, end)] if begin < end else ()

    # -- the changelog

    def to_log(self, keys: LogKeys, row: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_log`: rows by time are not in it."""
        if row[:1] != KEYED:
            return None
        key, start = split(row)
        return keys.write(key, *self.named(start))

    @abstractmethod
    def named(self, start: int) -> Sequence[float]:
        """Give the labels, in seconds, that stand in the changelog for a window."""

    def derived(self, store: Store, changes: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes | None]:
        """See :meth:`.rows.Layout.derived`: the rows by time."""
        if self._closes is None and self._goes is None:
            return {}
        rows: dict[bytes, bytes | None] = {}
        for row, data in changes.items():
            if row[:1] == KEYED:
                before = self.replaced(store, row, data)
                if before is not None:
                    rows[self.timed(row, before)] = None
                if data is not None:
                    rows[self.timed(row, data)] = b""
        return rows

    def replaced(self, store: Store, row: bytes, data: bytes | None) -> bytes | None:
        """Give what a row has had, where that may have another row by time."""
        return store.get(row)


class KeyedWindow(KeyedLayout, Window):
    """A kind of window that belongs to one key and begins where an event of it is."""

    part_type = KeyedPartition

    def row_at(self, key: bytes, at: int) -> bytes:
        """See :meth:`.kinds.Window.row_at`: one that begins at the instant."""
        return by_key(key) + big_endian(at)

    def __init__(self, tail: int, ahead: int, expires: Seconds | None, grace: Seconds | None) -> None:
        Window.__init__(self, expires, grace)
        KeyedLayout.__init__(self, tail, ahead, self.keeps, self.waits)


def as_data(found: Found) -> bytes:
    """Give the bytes of what a range has found."""
    return found.data if type(found) is Encoded else found  # type: ignore[return-value]  # these rows are always bytes
