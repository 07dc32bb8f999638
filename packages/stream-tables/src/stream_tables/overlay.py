"""The changes of one table partition that are not committed yet.

Table writes go here, and reach the store when a checkpoint is committed: there is nothing to roll back in
the store and nothing to wipe after a crash. Two layers: *active* takes the writes of the running interval, *frozen* holds those of
the checkpoint that is under way.

What is kept is what will be read, before a checkpoint and after it. So a value is kept as it is only when JSON surely gives back the same
(:func:`stream_tables.values.is_kept`). All others are kept encoded, so that they cannot be changed in place either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from threading import get_ident

from stream_core.engine.participants import Reading
from stream_core.errors import StoreError
from stream_core.streams.effects import Effects, Session
from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.values import ABSENT, DELETED, Before, Encoded, Entry

__all__ = ["ENTRY", "Overlay"]

ENTRY = 120
"""Bytes that an entry takes in memory beside the bytes of its key, roughly: its place, its key as an object, and a value that is small."""

OBJECT = 60
"""Bytes that a value which is encoded takes beside its bytes, roughly."""

SLICE = 5_000
"""Entries that are looked at before the event loop gets a turn."""


class Overlay:
    """Uncommitted changes of one table partition.

    Attributes:
        active: the changes of the running interval.
        writers: the effects of the actors that change this partition.
        frozen: the changes of the checkpoint that is under way.
        frozen_readings: which readings contributed to them.
        writer: the only actor that changes this partition; ``None`` when there is none, or more than one, or a guard.
        guard: called with key and value before each change, and may refuse it; nearly always there is none.
        session: of the event that made the last change of the running interval.
        size: bytes of the active layer, roughly.
        frozen_size: bytes of the frozen layer, roughly.
        thread: the only one that may change it: events, checkpoints and roll-backs take turns there. Any other may read.
    """

    __slots__ = (
        "_last",
        "_partitions",
        "_readings",
        "_table",
        "active",
        "frozen",
        "frozen_readings",
        "frozen_size",
        "guard",
        "session",
        "size",
        "thread",
        "writer",
        "writers",
    )

    def __init__(self, table: str, partitions: int) -> None:
        self.thread = get_ident()
        self._table = table
        self._partitions = partitions
        self.active: dict[bytes, Entry] = {}
        self.frozen: dict[bytes, Entry] = {}
        self._readings: set[Reading] = set()
        self.session: Session | None = None
        self.writers: list[Effects] = []
        self._last: Effects | None = None
        self.writer: Effects | None = None
        self.frozen_readings: set[Reading] = set()
        self.guard: Callable[[bytes, Entry], None] | None = None
        self.size = self.frozen_size = 0

    def set(self, effects: Effects, key: bytes, value: Entry) -> None:
        """Change ``key`` as part of the open event, whose effects are given.

        Raises:
            TableError: the event may not change this table.
        """
        if get_ident() != self.thread:
            raise TableError(
                f"table {self._table} is changed in another thread than that of its event, as by asyncio.to_thread(): return what is to be "
                "assigned, and assign it in the loop over the stream"
            )
        if effects is not self.writer or effects.session is not self.session:
            self._meet(effects, key, value)
        active = self.active
        previous = active.get(key, ABSENT)
        effects.undo.append((self, key, previous))
        effects.attention = True
        active[key] = value
        if previous is ABSENT:
            self.size += len(key) + ENTRY
        elif type(previous) is Encoded:
            self.size -= len(previous.data) + OBJECT
        if type(value) is Encoded:
            self.size += len(value.data) + OBJECT

    def count(self, key: bytes, previous: Before, value: Before) -> None:
        """Keep :attr:`size` right when the active layer says something else of ``key``."""
        self.size += _weight(key, value) - _weight(key, previous)

    def seed(self, key: bytes, value: bytes | None) -> None:
        """Write the committed value of ``key`` to the changelog again: an uncommitted one lies in it."""
        self._put(key, DELETED if value is None else Encoded(value))

    def restore(self, key: bytes, previous: Before) -> None:
        """Take back a change of an event that failed."""
        self._put(key, previous)

    def _put(self, key: bytes, value: Before) -> None:
        """Let the active layer say this of ``key``; ABSENT lets it say nothing."""
        self.count(key, self.active.get(key, ABSENT), value)
        if value is ABSENT:
            self.active.pop(key, None)
        else:
            self.active[key] = value

    def _meet(self, effects: Effects, key: bytes, value: Entry) -> None:
        """Do what is needed before a change when another actor, another session or a guard may be concerned."""
        if effects is not self._last or effects.session is not self.session:
            self._enter(effects)
        if effects is not self.writer:
            self.entangle(effects, key, key + b"\0")
        if self.guard is not None:
            self.guard(key, value)

    def _enter(self, effects: Effects) -> None:
        session = effects.session
        if session is None or session.dead:
            raise TableError(f"table {self._table}: the partition of this event was given up; its changes are dropped")
        if effects.concurrent:
            raise TableError(
                f"table {self._table} cannot be changed by {effects.name}: with concurrency > 1 events finish out of order; "
                "give the agent concurrency=1, or group its stream and change the table in another agent"
            )
        if session.partitions != self._partitions:
            raise PartitionsMismatchError(
                f"table {self._table} has {self._partitions} partitions, and topic {session.tp.topic} has {session.partitions}: "
                "repartition the stream, or declare the table with partitions= of its source"
            )
        self._last, self.session = effects, session
        self._readings.add(Reading(session.tp, effects.subscription))
        if effects not in self.writers:
            self.writers.append(effects)
            self.writer = effects if len(self.writers) == 1 and self.guard is None else None

    def leave(self, effects: Effects) -> None:
        """Forget who has changed this partition and has nothing open: the only actor that is left needs to look at no other again."""
        if effects in self.writers and not effects.undo:
            self.writers.remove(effects)
            self._last = self.session = None  # who goes on is looked at once more: the interval may be a new one
            self.writer = self.writers[0] if len(self.writers) == 1 and self.guard is None else None

    def set_guard(self, guard: Callable[[bytes, Entry], None] | None) -> None:
        """Let ``guard`` see each change before it is made; ``None`` ends that. Without one it costs nothing."""
        self.guard = guard
        self.writer = self.writers[0] if guard is None and len(self.writers) == 1 else None

    def entangle(self, effects: Effects, begin: bytes = b"", end: bytes | None = None) -> None:
        """Pin the open events of other actors that changed keys of a range: this one sees the changes, so they are cut together.

        What is gone because such an event deleted it is seen, too.

        Args:
            effects: of the event that sees the range.
            begin: the first key.
            end: the key before which the range ends: ``key + b"\\0"`` for one key alone, ``None`` for no end.
        """
        for other in self.writers:
            if other is not effects and other.atom is not None and not other.pinned:
                other.pinned = any(
                    overlay is self and begin <= key and (end is None or key < end) for overlay, key, _ in other.undo
                )

    def check(self) -> None:
        """Make sure that a cut would drop nothing.

        Raises:
            StoreError: the changes of the checkpoint before are still frozen. They are committed and in no store: a cut would let
                the position in the changelog move past them.
        """
        if self.frozen:
            raise StoreError(
                f"table {self._table}: {len(self.frozen)} changes of the checkpoint before are not stored; "
                "the worker must end, or drop the interval and recover the partition"
            )

    def cut(self, unfinished: Sequence[Effects]) -> None:
        """Freeze the active layer, less what open events changed: that goes on into the next interval.

        Raises:
            StoreError: as :meth:`check`.
        """
        self.check()
        frozen, active, readings = self.active, dict[bytes, Entry](), set[Reading]()
        if any(effects.undo for effects in unfinished):
            frozen = frozen.copy()  # threads that read meanwhile must find what is taken out below
        frozen_size, size = self.size, 0
        for effects in unfinished:
            for at, (overlay, key, previous) in enumerate(effects.undo):
                if overlay is not self or key in active:
                    continue
                active[key] = value = frozen.pop(key)
                effects.undo[at] = (self, key, ABSENT)
                size += _weight(key, value)
                frozen_size += _weight(key, previous) - _weight(key, value)
                if previous is not ABSENT:
                    frozen[key] = previous
                if effects.session is not None:
                    readings.add(Reading(effects.session.tp, effects.subscription))
        self.frozen = frozen  # first: threads read the active layer before this one, and must not miss it in both
        self.active = active
        self.frozen_size, self.size = frozen_size, size
        self.frozen_readings, self._readings = self._readings, readings
        self.session = None

    def stored(self, keys: Iterable[bytes]) -> None:
        """Take keys out of the frozen layer that are in the store now: threads that read meanwhile look there next."""
        frozen = self.frozen
        for key in keys:
            del frozen[key]

    def thaw(self) -> None:
        """Forget the frozen layer: it is in the store."""
        self.frozen, self.frozen_size = {}, 0

    def clear(self) -> None:
        """Drop everything that is not committed."""
        self.active, self.frozen = {}, {}
        self._readings, self.frozen_readings = set(), set()
        self._last, self.session, self.writers, self.writer = None, None, [], None
        self.size = self.frozen_size = 0

    async def entries(self) -> AsyncIterator[list[tuple[bytes, Entry]]]:
        """Give the entries of the frozen layer and then of the active one, some at a time with turns for the event loop between.

        What is changed meanwhile is there as it was, as it is, or not at all. What a checkpoint stores meanwhile may be missing: whoever
        looks into the store after this finds it there.
        """
        for layer in (self.frozen, self.active):
            keys = list(layer)
            for at in range(0, len(keys), SLICE):
                yield [(key, layer[key]) for key in keys[at : at + SLICE] if key in layer]
                await asyncio.sleep(0)

    def range(self, begin: bytes, end: bytes | None) -> dict[bytes, Entry]:
        """Give the uncommitted entries of a range, the newer layer over the older one; the order is that of the changes."""
        active = self.active  # before the other one: see cut()
        entries = {**self.frozen, **active}
        return {key: entry for key, entry in entries.items() if begin <= key and (end is None or key < end)}


def _weight(key: bytes, value: Before) -> int:
    """Estimate the bytes of memory that an entry takes."""
    if value is ABSENT:
        return 0
    return len(key) + ENTRY + (len(value.data) + OBJECT if type(value) is Encoded else 0)
