"""One partition of a table: its overlay over its store, what a checkpoint does to both, and in which state it is.

==========  =====================================================  ============================
state       what it means                                          what may follow
==========  =====================================================  ============================
OPENING     the store is open, and not looked at yet               REPLAYING, LOST
REPLAYING   changelog records are applied to the store             RUNNING, LOST, OPENING
RUNNING     events change it, checkpoints store it                 OPENING (the interval was
                                                                   dropped), BEHIND, LOST
BEHIND      a write failed: the store lacks committed values       CLOSED, and opened anew
LOST        the files are damaged                                  OPENING, emptied
CLOSED      given up                                               nothing
==========  =====================================================  ============================

Each may become CLOSED. The changelog holds everything that was ever committed, so a store is never repaired:
one that is LOST is emptied and replayed from the beginning, one that is BEHIND is opened anew and replayed from its position.
What must never happen is that the position in a store moves past a value that the store does not have. So only a RUNNING
partition writes it in a checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from operator import itemgetter
from threading import get_ident
from typing import ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar

from stream_core.clocks import SYSTEM, Clock
from stream_core.engine.participants import Change, Interval, OnLost, Reading, ShardChanges
from stream_core.engine.snapshot import TablePartitionSnapshot
from stream_core.errors import (
    FencedError,
    RecordRefusedError,
    StoreCorruptError,
    StoreError,
)
from stream_core.ports import KeyRange, Store
from stream_core.primitives import TP, Headers, RawRecord
from stream_core.states import Machine
from stream_core.streams.effects import Effects
from stream_core.values.schemas import Schema
from stream_tables.changelog import encode_origin
from stream_tables.in_place import InPlace
from stream_tables.overlay import Overlay
from stream_tables.refusals import Refusals
from stream_tables.stores import CHUNK
from stream_tables.values import ABSENT, DELETED, Absent, Before, Encoded, Entry, Kept, Values

__all__ = ["PARTITION", "TOMBSTONES", "Applying", "Facts", "Followed", "Found", "State", "TablePartition", "not_told"]

TOMBSTONES = 7 * 86400.0
"""Seconds for which a changelog keeps deletions (``delete.retention.ms``) when nobody says something else."""

SORTED = 4 * CHUNK
"""So many changes are put in order at once when a checkpoint is stored: it takes about as long as writing a chunk."""

V = TypeVar("V")

Found: TypeAlias = Kept | bytes
"""What stands for a value where a range is read: what the overlay keeps, or what is stored."""

logger = logging.getLogger(__name__)


class Facts:
    """Names of the facts that a store keeps beside its values."""

    POSITION = "changelog_position"
    EPOCH = "epoch"
    TOPIC_ID = "changelog_id"
    LAYOUT = "layout"
    WRITTEN_AT = "written_at"


class State(Enum):
    """In which state a table partition is; see the top of this module."""

    OPENING = "opening"
    REPLAYING = "replaying"
    RUNNING = "running"
    BEHIND = "behind"
    LOST = "lost"
    CLOSED = "closed"


PARTITION: Final[Mapping[State, Set[State]]] = {
    State.OPENING: {State.OPENING, State.REPLAYING, State.LOST, State.CLOSED},
    State.REPLAYING: {State.OPENING, State.RUNNING, State.LOST, State.CLOSED},
    State.RUNNING: {State.OPENING, State.BEHIND, State.LOST, State.CLOSED},
    State.BEHIND: {State.LOST, State.CLOSED},
    State.LOST: {State.OPENING, State.CLOSED},
    State.CLOSED: set(),
}
"""The states that may follow each state."""


def not_told(reason: str, error: BaseException) -> None:
    """Tell nobody: the partition belongs to no engine."""


@dataclass(frozen=True, slots=True)
class Applying:
    """How a changelog is applied to the store of a table partition.

    Attributes:
        recovery_buffer: records that are written to the store at a time, with the position after them.
        standby_buffer: the same for who follows without end; ``None`` for the same number.
        on_event: told of each record of the changelog that counts, before it is applied. What it raises ends the replay.
    """

    recovery_buffer: int = CHUNK
    standby_buffer: int | None = None
    on_event: Callable[[TP, RawRecord], Awaitable[None]] | None = None


APPLYING = Applying()


class Followed(Protocol):
    """How far a follower is in the changelog: when and where it began, where it is, and ends; without end the target is ``None``."""

    began: float
    start: int
    position: int
    target: int | None


class TablePartition(Generic[V]):
    """The values of one table partition.

    Args:
        table: name of the table.
        changelog: its changelog partition.
        partitions: how many partitions the table has.
        schema: how keys and values are encoded.
        store: the durable values.
        on_lost: told when the store turns out to be damaged, or the log to have records of somebody else.
        clock: tells when the store was written.
        max_record_size: bytes of the largest changelog record, with key and headers; ``None`` for no limit.
        check_mutations: find values that an event changes in place and does not assign.
        applying: how its changelog is applied.

    Attributes:
        applying: the same.
        clock: the same.
        end: the changelog offset after the last record that this owner knows of; ``None`` when the log is not claimed.
        epoch: of its owner, which stands in each changelog record.
        exactly_once: its changelog records name no interval.
        ids: topic id by source.
        in_place: finds what was changed in place; ``None`` when nobody asked for it.
        opening: differs for each time that it is opened.
        tombstones: seconds for which the changelog keeps deletions.
        topic_id: of the changelog; empty when unknown.
        values: how its values are kept.
    """

    last_keys: ClassVar[Set[bytes]] = frozenset()
    """What a checkpoint stores with the last of its changes, because all others have to be there when it is read."""

    __slots__ = (
        "_intervals",
        "_loop",
        "_on_lost",
        "_refusals",
        "_sent",
        "_state",
        "_table",
        "_thread",
        "applying",
        "changelog",
        "clock",
        "end",
        "epoch",
        "exactly_once",
        "ids",
        "in_place",
        "opening",
        "overlay",
        "partitions",
        "store",
        "tombstones",
        "topic_id",
        "values",
    )

    def __init__(
        self,
        table: str,
        changelog: TP,
        partitions: int,
        schema: Schema,
        store: Store,
        on_lost: OnLost = not_told,
        *,
        clock: Clock = SYSTEM,
        max_record_size: int | None = None,
        check_mutations: bool = False,
        applying: Applying = APPLYING,
    ) -> None:
        self._table = table
        self._on_lost = on_lost
        self._loop: asyncio.AbstractEventLoop | None = None  # of the engine, which a bench has none of
        self._thread = get_ident()
        self.clock = clock
        self.applying = applying
        with suppress(RuntimeError):
            self._loop = asyncio.get_running_loop()
        self.changelog = changelog
        self.store = store
        self.partitions = partitions
        self.values: Values[V] = Values(table, changelog, schema, max_record_size)
        self.overlay = self.make_overlay(table, partitions)
        self.end: int | None = None
        self.epoch = 0
        self.exactly_once = False
        self.ids: Mapping[str, str] = {}
        self.topic_id = ""
        self.tombstones = TOMBSTONES
        self.opening: object = None
        self._state = Machine(f"table partition {changelog}", State.OPENING, PARTITION)
        self.in_place = (
            InPlace(table, self.overlay, encode=self.values.encode, kept=self._kept, show=self.values.shown)
            if check_mutations
            else None
        )
        self._refusals = Refusals(table, self.values)
        self._intervals: Mapping[Reading, Interval] = {}
        self._sent = 0

    @staticmethod
    def make_overlay(table: str, partitions: int) -> Overlay:
        """Make what holds the changes that are not committed."""
        return Overlay(table, partitions)

    # -- states

    @property
    def state(self) -> State:
        """In which state it is."""
        return self._state.state

    def enter(self, state: State) -> None:
        """Go over to ``state``. Raises IllegalStateError when it cannot follow the state before, which is a fault of this program."""
        self._state.to(state)

    def lose(self, error: BaseException) -> None:
        """Give up what the store has, because a read or a write met damage; the engine is told, and opens the partition again.

        Any thread may read, and so meet damage: what follows from it belongs to the thread of the engine.
        """
        if self._loop is not None and get_ident() != self._thread:
            with suppress(RuntimeError):  # the loop is closed: nobody drives the partition any more
                self._loop.call_soon_threadsafe(self.lose, error)
            return
        if self.state not in (State.LOST, State.CLOSED):
            self.enter(State.LOST)
            logger.error("table partition %s is replayed from the beginning: %s", self.changelog, error)
            self._on_lost(f"table partition {self.changelog} is lost here", error)

    def ready(self) -> bool:
        """Do what is due when the store has all that the changelog has; returns whether it was something. Raises StoreError."""
        return False

    def snapshot(self, table: str, follower: Followed | None) -> TablePartitionSnapshot:
        """Tell how it is, from what is in memory.

        Args:
            table: name of the table.
            follower: how far its follower is, when it has one now.
        """
        overlay, passed, whole, rate = self.overlay, 0, 0, 0.0
        if follower is not None:
            passed = follower.position - follower.start
            whole = 0 if follower.target is None else follower.target - follower.start
            elapsed = self.clock.monotonic() - follower.began
            rate = passed / elapsed if whole and elapsed > 0 else 0.0
        try:
            size = self.store.size()
        except StoreError:
            size = None  # it is closed, or damaged: whoever works on it says so
        return TablePartitionSnapshot(
            table=table,
            partition=self.changelog.partition,
            changelog=self.changelog.topic,
            state=self.state.value,
            changed_keys=len(overlay.active) + len(overlay.frozen),
            changed_bytes=overlay.size + overlay.frozen_size,
            position=self.end if follower is None else follower.position,
            recovered=passed,
            to_recover=whole,
            recovery_rate=rate,
            recovery_left=max(whole - passed, 0) / rate if rate else None,
            stored_keys=None if size is None else size.keys,
            stored_bytes=None if size is None else size.bytes,
        )

    # -- reading

    def get(self, effects: Effects | None, key: bytes) -> V | Absent:
        """Read the value of ``key`` as the open event sees it, or ABSENT.

        Raises:
            ValidationError: the value is not of the type of the table.
        """
        overlay = self.overlay
        if effects is not None and effects is not overlay.writer:
            overlay.entangle(effects, key, key + b"\0")
        entry = overlay.active.get(key)
        if entry is None:
            entry = overlay.frozen.get(key)
        if entry is None:
            return self.unchanged(effects, key)
        if type(entry) is Encoded:
            return self._seen(effects, key, entry.data)
        return ABSENT if entry is DELETED else entry  # type: ignore[return-value]  # what is kept as it is has the type of the table

    def unchanged(self, effects: Effects | None, key: bytes) -> V | Absent:
        """Read the value of a key over which no change lies, or ABSENT. Raises as :meth:`get`."""
        data = self._read(key)
        return ABSENT if data is None else self._seen(effects, key, data)

    def _seen(self, effects: Effects | None, key: bytes, data: bytes) -> V:
        """Make of its bytes the value that the open event sees."""
        value = self.values.read(key, data)
        if self.in_place is not None:
            self.in_place.lend(effects, key, value)
        return value

    def holds(self, effects: Effects | None, key: bytes) -> bool:
        """Tell whether the open event sees a value of ``key``, of whatever type."""
        overlay = self.overlay
        if effects is not None and effects is not overlay.writer:
            overlay.entangle(effects, key, key + b"\0")
        value: Before = overlay.active.get(key, ABSENT)
        if value is ABSENT:
            value = overlay.frozen.get(key, ABSENT)
        return self._read(key) is not None if value is ABSENT else value is not DELETED

    def range(
        self, effects: Effects | None, begin: bytes = b"", end: bytes | None = None
    ) -> Iterator[tuple[bytes, Found]]:
        """Iterate over a range of encoded keys, in the order of bytes, as the open event sees them at the moment of the call.

        What other actors have open in the range is pinned, as it is by reading single keys: also what is not there because an event
        deleted it.

        Args:
            effects: of the open event; ``None`` outside of events.
            begin: the first key.
            end: the key before which the range ends; ``None`` for no end.

        Returns:
            The keys, each with what :meth:`value_of` takes. Stored values are read as the iterator comes to them.

        Raises:
            StoreCorruptError: the files are damaged, here or at a later step of the iterator; the partition is lost.
            StoreError: the store is closed, here or at a later step.
        """
        overlay = self.overlay
        if effects is not None and effects is not overlay.writer:
            overlay.entangle(effects, begin, end)
        # Before the store: in another thread, a checkpoint may move values from here to there.
        changed = overlay.range(begin, end)
        try:
            stored = self.store.range(begin, end)
        except StoreCorruptError as error:
            self.lose(error)
            raise
        return self._over(stored, changed)

    def entries(self, effects: Effects | None) -> Iterator[tuple[bytes, Found]]:
        """Iterate over all keys that have a value, as :meth:`range` does."""
        return self.range(effects)

    def value_of(self, effects: Effects | None, key: bytes, found: Found) -> V:
        """Give the value that stands behind what :meth:`range` has found.

        Raises:
            ValidationError: the value is not of the type of the table.
        """
        data = found.data if type(found) is Encoded else found
        if type(data) is not bytes:
            return data  # type: ignore[return-value]  # what is kept as it is has the type of the table
        return self._seen(effects, key, data)

    def committed_value(self, key: bytes) -> V | Absent:
        """Read the value of ``key`` as of the last checkpoint, or ABSENT.

        Raises:
            StoreCorruptError: its files are damaged; the partition is lost, and is recovered from the changelog.
        """
        data = self._read(key)
        return ABSENT if data is None else self.values.read(key, data)

    def _read(self, key: bytes) -> bytes | None:
        try:
            return self.store.get(key)
        except StoreCorruptError as error:
            self.lose(error)
            raise

    def _over(
        self, stored: Iterator[tuple[bytes, bytes]], changed: Mapping[bytes, Entry]
    ) -> Iterator[tuple[bytes, Found]]:
        """Merge what is stored with what was changed since, in the order of the keys."""
        there = ((key, entry) for key, entry in changed.items() if entry is not DELETED)
        written: list[tuple[bytes, Found]] = sorted(there, key=itemgetter(0), reverse=True)
        try:
            for item in stored:
                while written and written[-1][0] < item[0]:  # by hand: heapq.merge takes twice as long
                    yield written.pop()
                if item[0] not in changed:
                    yield item
        except StoreCorruptError as error:
            self.lose(error)
            raise
        yield from reversed(written)

    def _kept(self, key: bytes) -> bytes | None:
        """Give the bytes of the value that is seen, or ``None``."""
        value: Before = self.overlay.active.get(key, ABSENT)
        if value is ABSENT:
            value = self.overlay.frozen.get(key, ABSENT)
        return self._read(key) if value is ABSENT else self.values.stored(value)

    # -- writing

    def set(self, effects: Effects, key: bytes, value: V) -> None:
        """Change ``key`` as part of the open event."""
        self.overlay.set(effects, key, self.values.seal(key, value))
        if self.in_place is not None:
            self.in_place.lend(effects, key, value)

    def delete(self, effects: Effects, key: bytes) -> None:
        """Delete ``key`` as part of the open event."""
        self.overlay.set(effects, key, DELETED)

    def refuse(self, change: Change, error: RecordRefusedError) -> bool:
        """Let events that make this change again fail with ``error``, until the events of its interval are committed.

        Returns whether that helps; see :meth:`stream_core.engine.participants.Participant.refuse`.
        """
        helps = self._refusals.add(change, self._mine(), error)
        self.overlay.set_guard(self._refusals.guard)
        return helps

    # -- checkpoint

    def changes(self, intervals: Mapping[Reading, Interval]) -> ShardChanges:
        """Make one changelog record for each key in the frozen layer, with the intervals of its events."""
        frozen = self.overlay.frozen
        self._sent = len(frozen)
        return ShardChanges(
            self.changelog, self._origin(intervals), zip(frozen, self.values.all_stored(frozen.values()), strict=True)
        )

    def _origin(self, intervals: Mapping[Reading, Interval]) -> Headers:
        """Make the headers of the changelog records of a cut."""
        self._intervals = intervals
        return encode_origin(self.epoch, {} if self.exactly_once else self._mine(), self.ids)

    # -- what lies in the store in another way than in the changelog: windows

    @property
    def layout(self) -> str:
        """What lies in the store, where it is not the keys of the changelog."""
        return ""

    def row(self, key: bytes) -> bytes | None:
        """Give the key in the store of a key in the changelog; ``None`` when it is not a key of this table."""
        return key

    def derived(self, changes: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes | None]:
        """Give what else is to be stored when changes are read from the changelog."""
        return {}

    def _to_store(self, keys: Iterable[bytes], entries: Iterable[Entry]) -> dict[bytes, bytes | None]:
        """Give what is to be stored for some keys of the frozen layer."""
        return dict(zip(keys, self.values.all_stored(entries), strict=True))

    def _expired(self, changes: dict[bytes, bytes | None]) -> Collection[KeyRange]:
        """Give the ranges to delete with the last changes of a cut, and take out of these what lies there."""
        return ()

    def _mine(self) -> dict[Reading, Interval]:
        """Give the intervals of the events behind the frozen layer."""
        intervals = self._intervals
        return {reading: intervals[reading] for reading in self.overlay.frozen_readings if reading in intervals}

    def facts(self, position: int, epoch: int) -> dict[str, bytes]:
        """Make the facts that are written together with values.

        Args:
            position: the changelog offset up to which the store has everything.
            epoch: the highest epoch below it.
        """
        facts = {
            Facts.POSITION: b"%d" % position,
            Facts.EPOCH: b"%d" % epoch,
            Facts.WRITTEN_AT: b"%d" % self.clock.wall(),
        }
        if self.topic_id:
            facts[Facts.TOPIC_ID] = self.topic_id.encode()
        if self.layout:
            facts[Facts.LAYOUT] = self.layout.encode()
        return facts

    async def _write(self, facts: Mapping[str, bytes] | None, going_on: Callable[[], bool]) -> None:
        """Write the frozen layer to the store, some entries at a time with turns for the event loop between; the facts come with the last.

        What is stored leaves the layer at once, so that no turn has to free all of it. When this ends early the store is replayed from
        the position that it has: see :func:`stream_tables.stores.write_chunked`.
        """
        frozen, last = self.overlay.frozen, self.last_keys
        # Something is left for the last write: until the position is there, no cut may be taken for one behind this.
        while (surplus := len(frozen) - CHUNK) > len(last):
            # The end of a dictionary is where taking out costs nothing. RocksDB keeps changes in order, and takes those that come in
            # order in three quarters of the time.
            run = sorted(islice(reversed(frozen), min(SORTED, surplus)))
            if last:
                run = [key for key in run if key not in last]
            while run:
                some, run = run[:CHUNK], run[CHUNK:]
                self.store.write(self._to_store(some, map(frozen.__getitem__, some)))
                self.overlay.stored(some)
                await asyncio.sleep(0)
                if not going_on():
                    return
        changes = self._to_store(frozen, frozen.values())
        deleted = self._expired(changes)
        self.store.write(changes, facts, deleted=deleted)

    async def commit(self, end: int | None) -> None:
        """Write the frozen layer to the store; the changelog position moves with the last of it.

        It does not move past records of somebody else: a replaced owner may have written late. The engine is told, and
        opens it again, so that these records are looked at while the claim before them is still in the log.

        A partition that is lost or was given up meanwhile writes nothing: the next recovery takes the values from the changelog.

        Args:
            end: the changelog offset after the last change; ``None`` when there was none, or when the broker has the change and did not
                say where.

        Raises:
            StoreError: the store takes no writes. The partition is behind, and the frozen layer stays frozen.
        """
        frozen = self.overlay.frozen

        def going_on() -> bool:  # else the interval was dropped while others ran, and the store may be in a replay
            return self.overlay.frozen is frozen and self.state not in (State.LOST, State.BEHIND, State.CLOSED)

        if not going_on():
            return
        if frozen:
            alone = end is not None and (self.end is None or end - self.end == self._sent)
            try:
                await self._write(self.facts(end, self.epoch) if end is not None and alone else None, going_on)
            except StoreCorruptError as error:
                self.lose(error)
            except StoreError:
                if self.state is State.CLOSED:
                    return
                self.enter(State.BEHIND)
                raise
            if alone and self.end is not None:
                self.end = end
            elif not alone and going_on():
                reason = f"table partition {self.changelog} is not written by this worker alone; if it comes again, another app has this id"
                if end is None:
                    reason = f"table partition {self.changelog} does not know where its records are"
                self._on_lost(reason, FencedError(f"{self._sent} changes end at {end}, and began at {self.end}"))
        if going_on():
            self.overlay.thaw()
            if self._refusals:
                self._refusals.forget(self._intervals)
                if not self._refusals:
                    self.overlay.set_guard(None)
