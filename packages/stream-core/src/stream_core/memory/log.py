"""The log of one partition, with the offsets that Kafka would give: transactions leave control records behind."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from stream_core.primitives import Headers, StoredRecord

__all__ = ["BATCH_OVERHEAD", "Entry", "Fetched", "PartitionLog", "record_size"]

BATCH_OVERHEAD = 61
"""The bytes of a batch beside its records, in Kafka's message format 2."""

_RECORD_OVERHEAD = 7  # lengths, attributes, offset and timestamp of a record: one byte each when all of them are small
_HEADER_OVERHEAD = 2

_offset = attrgetter("offset")


class Entry(NamedTuple):
    """A record on its way into the log: it has no offset yet. ``timestamp`` is in milliseconds since the epoch."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Fetched(NamedTuple):
    """What a fetch found: records, the position behind them, and the end of what this isolation level may see."""

    records: Sequence[StoredRecord]
    next_offset: int
    end_offset: int


def record_size(record: Entry | StoredRecord) -> int:
    """Return the bytes that a record takes in Kafka's log, at least; without compression."""
    size = _RECORD_OVERHEAD + len(record.key or b"") + len(record.value or b"")
    if record.headers:
        size += sum(_HEADER_OVERHEAD + len(name.encode()) + len(content or b"") for name, content in record.headers)
    return size


class PartitionLog:
    """Records in offset order, open transactions, and what was aborted. ``len()`` is the number of records it holds.

    Attributes:
        start: the earliest offset that can be read.
        end: the offset that the next record gets (the end of the log, open transactions included).
        dirty: records appended since the log was last cleaned.
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self.dirty = 0
        self._records: list[StoredRecord] = []
        self._open: dict[int, list[int]] = {}  # offsets by producer id, the longest open transaction first
        self._aborted: list[int] = []
        self._horizons: dict[int, int] = {}  # tombstones that a compaction has met: dropped by one after this time

    def __len__(self) -> int:
        return len(self._records)

    @property
    def size(self) -> int:
        """The bytes of all records, as :func:`record_size` counts them."""
        return sum(map(record_size, self._records))

    @property
    def stable(self) -> int:
        """The last stable offset: where the first open transaction begins, else the end."""
        return max(self.start, next(iter(self._open.values()))[0]) if self._open else self.end

    def append(self, entries: Sequence[Entry], producer_id: int | None = None) -> int:
        """Append records in one go; with a producer id they belong to its open transaction. Returns the first offset."""
        base = self.end
        self._records += [StoredRecord(offset, *entry) for offset, entry in enumerate(entries, base)]
        self.end += len(entries)
        self.dirty += len(entries)
        if producer_id is not None:
            self._open.setdefault(producer_id, []).extend(range(base, self.end))
        return base

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Write the control record that decides the open transaction of a producer; it takes an offset of its own."""
        offsets = self._open.pop(producer_id)
        if not commit:
            self._aborted = sorted(self._aborted + offsets)
        self.end += 1

    def read(self, position: int, limit: int, *, committed: bool) -> Fetched:
        """Read up to ``limit`` records from ``position`` on, which lies between ``start`` and ``end``.

        Args:
            position: the offset to begin at; it need not hold a record.
            limit: the largest number of records.
            committed: read_committed: nothing past the last stable offset, nothing aborted.
        """
        bound = self.stable if committed else self.end
        first = bisect_left(self._records, position, key=_offset)
        behind = bisect_left(self._records, bound, lo=first, key=_offset)
        records = self._records[first : min(behind, first + limit)]
        next_offset = records[-1].offset + 1 if behind - first > limit else max(position, bound)
        if committed and bisect_left(self._aborted, position) < bisect_left(self._aborted, next_offset):
            aborted = set(self._aborted)
            records = [record for record in records if record.offset not in aborted]
        return Fetched(records, next_offset, bound)

    def since(self, timestamp: int) -> int | None:
        """Find the offset of the first record of a time (milliseconds since the epoch) or later; ``None`` when all are older."""
        return next((record.offset for record in self._records if record.timestamp >= timestamp), None)

    def truncate(self, before: int) -> None:
        """Drop everything below an offset, as retention and DeleteRecords do."""
        self.start = max(self.start, min(before, self.end))
        del self._records[: bisect_left(self._records, self.start, key=_offset)]
        del self._aborted[: bisect_left(self._aborted, self.start)]

    def cut_off(self, end: int) -> None:
        """Drop everything from an offset on, as an unclean election does."""
        self.end = min(self.end, end)
        del self._records[bisect_left(self._records, self.end, key=_offset) :]

    def retain_since(self, timestamp: int) -> None:
        """Drop the head of the log that is older (milliseconds since the epoch), at most all that is stable."""
        kept = self.since(timestamp)
        self.truncate(min(self.end if kept is None else kept, self.stable))

    def retain_bytes(self, size: int) -> None:
        """Drop records from the head while at least ``size`` bytes stay, at most all that is stable."""
        rest = self.size
        for record in self._records:
            rest -= record_size(record)
            if rest < size:
                self.truncate(min(record.offset, self.stable))
                return
        self.truncate(self.stable)

    def compact(self, until: int, now: int, tombstone_retention: int) -> None:
        """Keep the last record of each key, and drop what was aborted; offsets stay as they are.

        Times are in milliseconds since the epoch.

        Args:
            until: records younger than this, and all behind the first of them, are left alone, as is everything past
                the last stable offset.
            now: the time of this compaction.
            tombstone_retention: milliseconds that a tombstone stays after the first compaction that met it, so that
                readers who are behind learn of the deletion; a later compaction drops it (KIP-534).
        """
        young = next((record.offset for record in self._records if record.timestamp > until), self.end)
        bound = min(young, self.stable)
        behind = bisect_left(self._records, bound, key=_offset)
        aborted = set(self._aborted)
        head = [record for record in self._records[:behind] if record.offset not in aborted]
        last = {record.key: record.offset for record in head}
        latest = [record for record in head if last[record.key] == record.offset]
        horizons = {
            record.offset: self._horizons.get(record.offset, now + tombstone_retention)
            for record in latest
            if record.value is None
        }
        overdue = {offset for offset in horizons if offset in self._horizons and horizons[offset] <= now}
        self._records[:behind] = [record for record in latest if record.offset not in overdue]
        behind_bound = {offset: time for offset, time in self._horizons.items() if offset >= bound}
        self._horizons = behind_bound | {offset: time for offset, time in horizons.items() if offset not in overdue}
        del self._aborted[: bisect_left(self._aborted, bound)]
