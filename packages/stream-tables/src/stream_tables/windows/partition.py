"""One partition of a table with windows: the time that it is at, how far its windows are closed, and what goes at a checkpoint.

Time is what accepted events say: the latest instant of one that changed this partition. It and the place up to which windows are closed
are rows, see :mod:`.rows`.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from threading import get_ident
from typing import Any, TypeVar

from stream_core.engine.participants import Change, Interval, OnLost, Reading, ShardChanges
from stream_core.engine.snapshot import TablePartitionSnapshot
from stream_core.errors import RecordRefusedError, StoreCorruptError
from stream_core.ports import KeyRange, Store
from stream_core.primitives import TP
from stream_core.streams.effects import Effects
from stream_core.values.schemas import Schema
from stream_tables.changelog import RESERVED, TIME_KEY
from stream_tables.errors import TableError, TableKeyError
from stream_tables.partition import Followed, State, TablePartition, not_told
from stream_tables.values import ABSENT, DELETED, Before, Encoded, Entry
from stream_tables.windows.rows import BEHIND, CLOSED, NEVER, ROWS, TIME, Layout, LogKeys

__all__ = ["MAX_FUTURE", "WindowedPartition"]

V = TypeVar("V")

MAX_FUTURE = 86_400_000
"""Milliseconds that an event may be ahead of the clock: one that is further ahead would close everything before it."""

SLICE = 1_000
"""Stored rows that are passed over before the event loop gets a turn."""

_LOGGED = {TIME: TIME_KEY, CLOSED: RESERVED + b"closed"}
"""The keys of the reserved rows in a changelog."""

_ROWS = {key: row for row, key in _LOGGED.items()}


class WindowedPartition(TablePartition[V]):
    """The windows of one table partition.

    Args:
        table: name of the table.
        changelog: its changelog partition.
        partitions: how many partitions the table has.
        schema: how keys and values are encoded.
        store: the durable values.
        on_lost: told when the store turns out to be damaged.
        window: how its windows lie.
        default: makes the value that an operation begins with where there is none; ``None``: it is a KeyError.
        told: whether somebody is told that windows close: they stay until then.
        options: as for a :class:`TablePartition`.

    Attributes:
        future: an instant, in milliseconds, that is known not to be too far ahead of the clock.
        keys: how keys stand in the changelog.
        prefix: what rows of the window begin with that was changed last, and begins at ``start``.
        start: see there; for the path of an event.
        window: how its windows lie.
    """

    last_keys = frozenset({TIME, CLOSED})

    __slots__ = ("_decode_key", "_default", "_swept", "_time", "_told", "future", "keys", "prefix", "start", "window")

    def __init__(
        self,
        table: str,
        changelog: TP,
        partitions: int,
        schema: Schema,
        store: Store,
        on_lost: OnLost = not_told,
        *,
        window: Layout,
        default: Callable[[], V] | None = None,
        told: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(table, changelog, partitions, schema, store, on_lost, **options)
        self.window = window
        self.keys = LogKeys(schema)
        self.values.key_of = self.row_as_text
        self._decode_key = schema.decode_key
        if self.in_place is not None:
            self.in_place.show = self.key_as_text
        self._default = default
        self._told = told
        self.future = NEVER
        self.start, self.prefix = NEVER, b""
        self._swept = ROWS
        self._time: int | None = None

    # -- time

    def time(self, effects: Effects | None) -> int:
        """Give the latest instant of an event that changed this partition, in milliseconds; :data:`.rows.NEVER` before the first.

        Args:
            effects: of who asks; what others have open, and has moved the time, is pinned.
        """
        overlay = self.overlay
        if effects is not None and effects is not overlay.writer:
            overlay.entangle(effects, TIME, CLOSED)
        return self._time_of(overlay.active.get(TIME, ABSENT))

    def _time_of(self, entry: Before) -> int:
        if entry is ABSENT:
            entry = self.overlay.frozen.get(TIME, ABSENT)
        if type(entry) is int:
            return entry
        if entry is DELETED:  # the value before an interval that comes again, when there was none
            return NEVER
        if type(entry) is Encoded:
            return int(entry.data)
        return self.stored_time

    @property
    def stored_time(self) -> int:
        """The time as of the last checkpoint."""
        time = self._time
        if time is None:
            time = int(self._read(TIME) or NEVER)
            if get_ident() == self._thread:  # in another one a checkpoint may have stored a later one meanwhile
                self._time = time
        return time

    def finished_time(self) -> int:
        """Give the time without what open events have moved: it is never taken back, unless the whole interval is."""
        overlay = self.overlay
        time = self._time_of(overlay.active.get(TIME, ABSENT))
        for effects in overlay.writers:
            before = next((before for at, key, before in effects.undo if at is overlay and key == TIME), None)
            if before is not None:
                time = min(time, self._time_of(before))
        return time

    def move(self, effects: Effects, at: int) -> None:
        """Let the time be at least ``at``, as part of the open event."""
        if at > self.time(effects):
            self.overlay.set(effects, TIME, at)

    def is_future(self, at: int) -> bool:
        """Tell whether an instant is too far ahead of the clock to be true; the clock is looked at only where the last look does not do."""
        if at <= self.future:
            return False
        self.future = round(self.clock.wall() * 1000) + MAX_FUTURE
        return at > self.future

    def snapshot(self, table: str, follower: Followed | None) -> TablePartitionSnapshot:
        """Tell how it is and which time it is at, from what is in memory; see the table partition."""
        entry: Before = self.overlay.active.get(TIME, ABSENT)
        if entry is ABSENT:
            entry = self.overlay.frozen.get(TIME, ABSENT)
        at = NEVER if entry is ABSENT and self._time is None else self._time_of(entry)
        return replace(super().snapshot(table, follower), event_time=None if at == NEVER else at / 1000)

    # -- how far windows are closed

    def closed(self, effects: Effects | None) -> bytes:
        """Give the row before which all windows are closed, and were told of."""
        return self._boundary(self.data(effects, CLOSED))

    def _boundary(self, data: bytes | None) -> bytes:
        """Read the row out of what is kept, which names the kind: the rows of another one are in another order."""
        name, _, row = (data or b"").partition(b"\n")
        return row if name.decode(errors="replace") == self.window.name else ROWS

    def close(self, effects: Effects, row: bytes) -> None:
        """Let all windows before ``row`` be closed, as part of an open unit of work."""
        self.overlay.set(effects, CLOSED, Encoded(b"%b\n%b" % (self.window.name.encode(), row)))

    async def rows(self, begin: bytes, end: bytes) -> AsyncIterator[bytes]:
        """Give the rows of a range in their order, stored and changed, with turns for the event loop.

        For ranges in which nothing changes any more. A row that is given may be deleted.

        Raises:
            StoreError: the store is closed or damaged.
        """
        heap: list[bytes] = []
        async for some in self.overlay.entries():
            for row in self.changed_rows(some, begin, end):
                heapq.heappush(heap, row)
        last = b""
        try:
            for row, _ in self.store.range(begin, end):
                while heap and heap[0] < row:
                    if (found := heapq.heappop(heap)) != last:
                        last = found
                        yield found
                if row != last:
                    last = row
                    yield row
        except StoreCorruptError as error:
            self.lose(error)
            raise
        while heap:
            if (found := heapq.heappop(heap)) != last:
                last = found
                yield found

    def changed_rows(self, changes: Iterable[tuple[bytes, Entry]], begin: bytes, end: bytes) -> Iterator[bytes]:
        """Give the rows in the order of which changed windows lie in a range."""
        return (row for row, _ in changes if begin <= row < end)

    async def first(self, begin: bytes) -> bytes | None:
        """Give the first row from ``begin`` on, stored or changed, with turns for the event loop; ``None`` when there is none.

        Raises:
            StoreError: the store is closed or damaged.
        """
        overlay, first = self.overlay, BEHIND
        async for some in overlay.entries():
            there = [item for item in some if item[1] is not DELETED]
            first = min(self.changed_rows(there, begin, first), default=first)
        try:
            for count, (row, _) in enumerate(self.store.range(begin, first), 1):
                if overlay.active.get(row) is not DELETED and overlay.frozen.get(row) is not DELETED:
                    return row
                if count % SLICE == 0:
                    await asyncio.sleep(0)
        except StoreCorruptError as error:
            self.lose(error)
            raise
        return None if first == BEHIND else first

    # -- values

    def row_as_text(self, row: bytes) -> str:
        """Show a row in a message, by its key in the changelog."""
        return (self._logged(row) or row).decode(errors="replace")

    def key_as_text(self, row: bytes) -> str:
        """Show the key of a row in a message, without its window."""
        found = self.keys.read(self._logged(row) or b"")
        return self.values.shown(row) if found is None else repr(self._decode_key(found[0]))

    def fresh(self, key: bytes) -> V:
        """Make the value that an operation begins with where there is none. Raises TableKeyError when there is no default."""
        if self._default is None:
            raise TableKeyError(self._decode_key(key))
        return self._default()

    def set(self, effects: Effects, key: bytes, value: V) -> None:
        """Refuse to write past the windows."""
        raise TableError(
            f"table {self._table} has windows: change it by what tumbling(), hopping() and their like return, which knows the time"
        )

    def put(self, effects: Effects, row: bytes, value: V) -> None:
        """Give a row a value, as part of the open event."""
        super().set(effects, row, value)

    def put_data(self, effects: Effects, row: bytes, data: bytes) -> None:
        """Give a row bytes that a kind of window makes sense of, as part of the open event."""
        self.overlay.set(effects, row, Encoded(data))

    def data(self, effects: Effects | None, row: bytes) -> bytes | None:
        """Read the bytes of a row as the open event sees them; ``None`` when there is none."""
        overlay = self.overlay
        if effects is not None and effects is not overlay.writer:
            overlay.entangle(effects, row, row + b"\0")
        entry: Before = overlay.active.get(row, ABSENT)
        if entry is ABSENT:
            entry = overlay.frozen.get(row, ABSENT)
        return self._read(row) if entry is ABSENT else self._stored(row, entry)

    def committed(self) -> WindowedPartition[V]:
        """Give this partition as of its last checkpoint, to read from: damage that is met there is damage of this one."""
        seen = copy(self)
        seen.overlay, seen.in_place, seen._time = self.make_overlay(self._table, self.partitions), None, None
        return seen

    # -- checkpoint and recovery

    @property
    def layout(self) -> str:
        """What lies in the store: windows of this kind."""
        return self.window.name

    def enter(self, state: State) -> None:
        """Go over to ``state``; what was known of the store is read again."""
        super().enter(state)
        self._time = None
        self._swept = ROWS

    def ready(self) -> bool:
        """Delete what is expired: the changelog may have brought it again. Returns whether there was something to look at."""
        changes: dict[bytes, bytes | None] = {}
        deleted = self._gone(changes, self.stored_time, self._read(CLOSED))
        if deleted:
            self.store.write(changes, deleted=deleted)
        return bool(deleted)

    def refuse(self, change: Change, error: RecordRefusedError) -> bool:
        """Let events that make this change again fail with ``error``; they know it by its row. Returns whether that helps."""
        row = self.row(change.key)
        return row is not None and super().refuse(change._replace(key=row), error)

    def row(self, key: bytes) -> bytes | None:
        """Give the row of a key in the changelog; ``None`` when it is not a window of this kind."""
        return _ROWS.get(key) or self.window.to_row(self.keys, key)

    def derived(self, changes: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes | None]:
        """Give what else is to be stored when changes are read from the changelog."""
        return self.window.derived(self.store, changes)

    def _logged(self, key: bytes) -> bytes | None:
        return _LOGGED.get(key) or self.window.to_log(self.keys, key)

    def _stored(self, key: bytes, entry: Entry) -> bytes | None:
        if key == TIME and type(entry) is int:
            return b"%d" % entry
        return self.values.stored(entry)

    def changes(self, intervals: Mapping[Reading, Interval]) -> ShardChanges:
        """Make one changelog record for each row in the frozen layer that does not follow from others."""
        self._sent = 0
        return ShardChanges(self.changelog, self._origin(intervals), self._records())

    def _records(self) -> Iterator[tuple[bytes, bytes | None]]:
        for row, entry in self.overlay.frozen.items():
            if (key := self._logged(row)) is not None:
                self._sent += 1
                yield key, self._stored(row, entry)

    def _to_store(self, keys: Iterable[bytes], entries: Iterable[Entry]) -> dict[bytes, bytes | None]:
        """Give the rows to be stored for some keys of the frozen layer, with those that follow from them."""
        changes = {row: self._stored(row, entry) for row, entry in zip(keys, entries, strict=True)}
        changes.update(self.derived(changes))
        if TIME in changes:
            self._time = int(changes[TIME] or NEVER)
        return changes

    def _expired(self, changes: dict[bytes, bytes | None]) -> Collection[KeyRange]:
        """Give the ranges that expire by the time of the cut; of what was stored before the last changes they take what lies there."""
        return self._gone(changes, self.stored_time, changes.get(CLOSED) or self._read(CLOSED))

    def _gone(self, changes: dict[bytes, bytes | None], time: int, closed: bytes | None) -> Collection[KeyRange]:
        """Give the ranges of windows that nobody can read any more at a time, and that are closed where that is told."""
        if time == NEVER:
            return ()
        boundary = self._boundary(closed) if self._told else None
        deleted = self.window.expire(self.store, changes, time, boundary, self._swept)
        self._swept = max((end or ROWS for _, end in deleted), default=self._swept)
        return deleted
