"""The fold of a changelog partition into a store, which may go on without end.

A *follower* applies the records that count, in their order, and remembers in the store how far it is. Recovery is a follower with a
target: it knows what is committed, so it decides on each record when it meets it. A follower without a target does not know it. Under
at-least-once the last records of a changelog may be of an interval that comes again, and applying them would overwrite the values before
them. So it holds them back until the same owner has written for another checkpoint. That shows that the checkpoint before was
committed, and that whatever this owner passed over when it took the changelog over was written again, with its first checkpoint. Under
exactly-once nobody sees records that are not committed, and nothing is held.

What is held is in memory only, and the position in the store stays in front of it. So a follower is ended at any time, and the next one
on its store, that of an owner among them, meets these records again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from stream_core.engine.participants import Reading
from stream_core.primitives import Batch, Headers, RawRecord
from stream_tables.changelog import Origin, decode_claim, decode_origin
from stream_tables.partition import Facts, TablePartition
from stream_tables.stores import write_chunked

__all__ = ["COMPACTION_LAG", "REWRITE", "Follower"]

logger = logging.getLogger(__name__)

COMPACTION_LAG = 600.0
"""Seconds for which a changelog keeps every record (``min.compaction.lag.ms``)."""

REWRITE = 86400.0
"""Seconds after which a position is written although no value has changed."""


class Place(NamedTuple):
    """Where the next follower of a store begins.

    Attributes:
        offset: of the changelog.
        epoch: the highest one below that offset.
    """

    offset: int
    epoch: int


class Follower:
    """Applies one changelog partition to the store of its table partition.

    Args:
        part: the table partition, in state REPLAYING while this works.
        position: the changelog offset to begin at.
        target: the changelog offset to reach; ``None`` to follow without end.
        committed: the committed position of each reading of the sources; ``None`` when it is not known, as for who follows without end.

    Attributes:
        position: the changelog offset up to which every record was applied, passed over or held.
        began: when it began, by the clock of the partition.
        start: the changelog offset at which it began.
        target: the changelog offset to reach, or ``None``.
        done: resolved when the target is reached, or with the error that ended the follower; cancelling it ends the follower.
    """

    def __init__(
        self,
        part: TablePartition[Any],
        position: int,
        target: int | None = None,
        committed: Mapping[Reading, int] | None = None,
    ) -> None:
        self.part = part
        self.began = part.clock.monotonic()
        self.start = self.position = position
        self.target = target
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._committed = committed
        self._whole = position == 0 or part.store.fact(Facts.POSITION) is not None
        # Claims and markers of transactions change no value: that they were met is written only where the position would become so old
        # that deletions may be gone after it, or where all may be, as in the changelog of windows. A store that was not written is
        # opened three times as fast.
        self._stale = bool(part.layout) or part.clock.wall() - int(part.store.fact(Facts.WRITTEN_AT) or 0) > REWRITE
        self._forget()

    def _forget(self) -> None:
        """Begin with nothing held, passed over or met."""
        self._passed: set[bytes] = set()
        self._held: dict[bytes, RawRecord] = {}
        self._decided: Sequence[RawRecord] = ()
        self._first_passed = self._first_held = Place(self.position, self.part.epoch)
        self._headers: Headers = ()
        self._origin: Origin | None = None
        self._comes_again = False
        self._checkpoint: tuple[int, Headers] = (-1, ())

    @property
    def reached(self) -> bool:
        """Whether there is a target, and the position is there."""
        return self.target is not None and self.position >= self.target

    def extend(self, target: int) -> None:
        """Go on to a target that is further ahead."""
        self.target = target
        self.done = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        """End with an error, unless it has ended."""
        if not self.done.done():
            self.done.set_exception(error)

    def restart(self, position: int, target: int | None) -> None:
        """Empty the store and begin again at ``position``. Raises StoreError."""
        self.part.store.wipe()
        self.part.epoch = 0
        self.began = self.part.clock.monotonic()
        self.start = self.position = position
        self.target = target
        self._whole = position == 0
        self._forget()

    async def apply(self, batch: Batch) -> None:
        """Apply some records, in chunks; the position in the store moves with each.

        It stays at the first record that is held, and at the first that was passed over until a checkpoint has written the value
        before that to the changelog again: who takes over earlier must meet these records again.

        Raises:
            StoreError: the store cannot be read or written; no later record may be applied.
        """
        records, done, applying = batch.records, self.done, self.part.applying
        size = (
            applying.recovery_buffer if self.target is not None else applying.standby_buffer or applying.recovery_buffer
        )
        for at in range(0, max(len(records), 1), size):
            chunk = records[at : at + size]
            await self._write(chunk, batch.next_offset if at + size >= len(records) else chunk[-1].offset + 1, done)
            await asyncio.sleep(0)
            if done.done():  # cancelled: the store may belong to others already
                return

    async def _write(self, records: Sequence[RawRecord], position: int, done: asyncio.Future[None]) -> None:
        changes: dict[bytes, bytes | None] = {}
        expected, tell = self.position, self.part.applying.on_event
        row = self.part.row if self.part.layout else None
        for record in records:
            key = record.key if row is None or record.key is None else row(record.key)
            if record.offset != expected:
                self._whole = False  # compaction has removed what was there, or it is not a record
            expected = record.offset + 1
            counts = key is not None and (
                not (headers := record.headers) or self._counts(record, key, headers, changes)
            )
            if tell is not None:
                decided, self._decided = self._decided, ()
                for one in (*decided, record) if counts else decided:  # those that were held until now come first
                    await tell(self.part.changelog, one)
            if counts and key is not None:
                changes[key] = record.value
                if self._passed:
                    self._passed.discard(key)
                if self._held:
                    self._held.pop(key, None)
        if changes or self._stale:
            resume = Place(position, self.part.epoch)
            if self._passed:
                resume = min(resume, self._first_passed)
            if self._held:
                resume = min(resume, self._first_held)
            # What was held is an interval long, so that this may be more than one write; values first, the position with the last.
            changes.update(self.part.derived(changes))
            await write_chunked(self.part.store, changes, self.part.facts(*resume), lambda: not done.done())
            self._stale = False
        self.position = position

    def _counts(self, record: RawRecord, key: bytes, headers: Headers, changes: dict[bytes, bytes | None]) -> bool:
        """Tell whether a record counts now: its owner was the owner, and its events do not come again, as far as that is known."""
        if headers != self._headers:  # all records of one checkpoint have the same
            self._look_at(headers, changes)
        origin, epoch = self._origin, self.part.epoch
        if origin is None:
            claimed = decode_claim(headers)
            if claimed is not None:
                self.part.epoch = max(epoch, claimed)
            return claimed is None
        if origin.epoch < epoch:
            logger.warning("%s offset %d: written by a replaced owner; passed over", self.part.changelog, record.offset)
            self._pass_over(key, Place(record.offset, epoch))
            return False
        self.part.epoch = origin.epoch
        if not self._comes_again or self._is_alone(record, key, changes):
            return True
        place = Place(record.offset, epoch)
        if self._committed is None:
            self._hold(key, record, place)
        else:
            self._pass_over(key, place)
        return False

    def _look_at(self, headers: Headers, changes: dict[bytes, bytes | None]) -> None:
        """Read headers that differ from those of the record before."""
        self._headers, self._origin = headers, decode_origin(headers)
        if (origin := self._origin) is None:
            return
        if self._committed is None:
            self._comes_again = any(interval.start < interval.end for interval in origin.intervals.values())
        else:
            self._comes_again = origin.uncommitted(self._committed, self.part.ids)
        if origin.epoch < self.part.epoch:
            return
        epoch, before = self._checkpoint
        if origin.epoch == epoch and headers != before:  # its owner has gone on: everything before is decided
            self._decided = list(self._held.values())
            changes.update((key, record.value) for key, record in self._held.items())
            self._held.clear()
        self._checkpoint = origin.epoch, headers

    def _hold(self, key: bytes, record: RawRecord, place: Place) -> None:
        if not self._held:
            self._first_held = place
        self._held[key] = record
        self._passed.discard(key)  # who takes over meets this record again, and decides on the key by it

    def _pass_over(self, key: bytes, place: Place) -> None:
        if not self._passed:
            self._first_passed = place
        self._passed.add(key)

    def _is_alone(self, record: RawRecord, key: bytes, changes: Mapping[bytes, bytes | None]) -> bool:
        """Tell whether compaction may have taken the value before a record away, so that this is the only one."""
        if self._whole or self.part.clock.wall() - record.timestamp / 1000 <= COMPACTION_LAG:
            return False
        if key in self._held or changes.get(key) is not None or self.part.store.get(key) is not None:
            return False
        if self._committed is not None:
            logger.warning(
                "%s offset %d: its events are not committed and will be replayed, but it is older than the compaction lag, "
                "so that the value before it may be gone; it is applied",
                self.part.changelog,
                record.offset,
            )
        return True

    def finish(self) -> None:
        """Have what was passed over written to the changelog again, at the next checkpoint. Raises StoreError."""
        for key in self._passed:
            self.part.overlay.seed(key, self.part.store.get(key))
