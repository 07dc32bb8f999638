"""The log of one partition, with the offsets that Kafka would give: transactions leave control records behind."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from stream_core.records import Headers, StoredRecord

__all__ = ["Entry", "Fetched", "PartitionLog"]

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


class PartitionLog:
    """Records in offset order, open transactions, and what was aborted.

    Attributes:
        start: the earliest offset that can be read.
        end: the offset that the next record gets (the end of the log, open transactions included).
    """

    def __init__(self) -> None:
        self.start = 0
        self.end = 0
        self._records: list[StoredRecord] = []
        self._open: dict[int, list[int]] = {}  # offsets by producer id, the longest open transaction first
        self._aborted: list[int] = []

    @property
    def stable(self) -> int:
        """The last stable offset: where the first open transaction begins, else the end."""
        return next(iter(self._open.values()))[0] if self._open else self.end

    def append(self, entries: Sequence[Entry], producer_id: int | None = None) -> int:
        """Append records in one go; with a producer id they belong to its open transaction. Returns the first offset."""
        base = self.end
        self._records += [StoredRecord(offset, *entry) for offset, entry in enumerate(entries, base)]
        self.end += len(entries)
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

    def truncate(self, before: int) -> None:
        """Drop everything below an offset, as retention and DeleteRecords do."""
        self.start = max(self.start, min(before, self.end))
        del self._records[: bisect_left(self._records, self.start, key=_offset)]
        del self._aborted[: bisect_left(self._aborted, self.start)]

    def retain(self, since: int) -> None:
        """Drop the head of the log that is older than ``since`` (milliseconds since the epoch), at most all that is stable."""
        kept = (record.offset for record in self._records if record.timestamp >= since)
        self.truncate(min(next(kept, self.end), self.stable))

    def compact(self, until: int, tombstones_since: int) -> None:
        """Keep the last record of each key, and drop what was aborted; offsets stay as they are.

        Args:
            until: records younger than this (milliseconds since the epoch), and all behind the first of them, are
                left alone, as is everything past the last stable offset.
            tombstones_since: tombstones older than this are dropped as well. (Kafka counts from the first cleaning.)
        """
        young = next((record.offset for record in self._records if record.timestamp > until), self.end)
        bound = min(young, self.stable)
        behind = bisect_left(self._records, bound, key=_offset)
        aborted = set(self._aborted)
        head = [record for record in self._records[:behind] if record.offset not in aborted]
        last = {record.key: record.offset for record in head}
        self._records[:behind] = [
            record
            for record in head
            if last[record.key] == record.offset and (record.value is not None or record.timestamp >= tombstones_since)
        ]
        del self._aborted[: bisect_left(self._aborted, bound)]
