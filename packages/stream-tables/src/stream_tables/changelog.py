"""What is on a changelog besides keys and values: who wrote a record, and which source offsets it is the result of.

Under at-least-once a worker may die between its changelog records and the commit of its offsets. The events of that interval are
replayed, and their old results must not count a second time. So each record carries a header that lists, for each
contributing reading, the offsets ``[start, end)`` of its interval and the id of the source topic. While the committed position lies in
one of these intervals, its events come again, so the record does not count yet. An interval of a topic that was deleted and
made again is history: its events cannot come again. Under exactly-once nobody sees records of an interval that was not committed, and no
interval is named.

The header also carries an *epoch* that each owner chooses above all those it met. Before an owner does its first event it writes a
*claim*, a record that has only its epoch: what an owner before it writes later stands after the claim, has a lower epoch, and
is passed over by whoever reads the changelog.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import msgspec

from stream_core.engine.participants import Change, Interval, Reading
from stream_core.ports import Store
from stream_core.primitives import TP, Headers, RawRecord, StoredRecord
from stream_core.values.schemas import Schema

__all__ = [
    "CLAIM",
    "HEADER",
    "RESERVED",
    "TIME_KEY",
    "Origin",
    "Replay",
    "claim",
    "decode_claim",
    "decode_origin",
    "encode_origin",
]

HEADER = "stream-origin"

CLAIM = "stream-claim"
"""The header of a claim, by which recovery knows it."""

RESERVED = b"\xff\xfestream-"
"""Keys that begin so are no keys of a table: they are neither text nor JSON."""

TIME_KEY = RESERVED + b"time"
"""The key of the time of a partition whose windows or values go by it."""

_CLAIM_KEY = RESERVED + b"claim"
"""The key of claims, so that compaction keeps the last one."""


class Origin(NamedTuple):
    """Where a changelog record comes from.

    Attributes:
        epoch: of the owner that wrote it.
        intervals: the offsets of its interval, by reading.
        ids: topic id by source; a topic that is missing has an unknown id.
    """

    epoch: int
    intervals: Mapping[Reading, Interval]
    ids: Mapping[str, str] = {}

    def uncommitted(self, committed: Mapping[Reading, int], ids: Mapping[str, str] | None = None) -> bool:
        """Tell whether events of the record's interval come again."""
        return any(
            _begins_again(reading, interval, committed) and self._same(reading.tp.topic, ids or {})
            for reading, interval in self.intervals.items()
        )

    def _same(self, topic: str, ids: Mapping[str, str]) -> bool:
        """Tell whether the source is the topic that the record means, as far as that is known."""
        then, now = self.ids.get(topic), ids.get(topic)
        return not then or not now or then == now


def _begins_again(reading: Reading, interval: Interval, committed: Mapping[Reading, int]) -> bool:
    """Tell whether the events of an interval come again.

    An agent that is not known may have another name now, or be gone. If its interval begins where its source goes on, it was not
    committed: one agent by another name does it again, and of one that is gone nothing counts that was not committed.
    """
    position = committed.get(reading)
    if position is None:
        return committed.get(Reading(reading.tp, ""), -1) == interval.start < interval.end
    return interval.start <= position < interval.end


_Epoch = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
"""Others may write anything into a header; an epoch near the largest number would leave none for the owners after it."""


class _Row(msgspec.Struct, array_like=True, omit_defaults=True):
    topic: str
    partition: int
    subscription: str
    start: int
    end: int
    id: str = ""  # absent in records of workers before there were ids


_decode = msgspec.json.Decoder(tuple[_Epoch, list[_Row]]).decode
_decode_epoch = msgspec.json.Decoder(_Epoch).decode


class Replay:
    """What one changelog partition says of its table, for whoever looks at it without a worker.

    Claims are no values, and what a replaced owner has written after a claim does not count. What the last owner has written counts,
    also where its offsets are not committed yet: it writes the same again.

    Args:
        schema: of the table's changelog.
        only: the keys to look for; ``None`` for all.
        part: gives the key of a window from a key in the changelog, where the table has windows.
        expired: tells whether a value is gone at a time in milliseconds, where values age.
        shown: makes keys and values of all records, where those of others count in a value.
    """

    def __init__(
        self,
        schema: Schema,
        only: Collection[bytes] | None = None,
        part: Callable[[bytes], bytes | None] = lambda key: None,
        expired: Callable[[bytes, int], bool] | None = None,
        shown: Callable[[list[RawRecord]], Iterator[tuple[Any, Any]]] | None = None,
    ) -> None:
        self._schema = schema
        self._only = only
        self._part = part
        self._records: dict[bytes, RawRecord] = {}
        self._epoch = 0
        self._expired = expired
        self._shown = shown
        self._time: int | None = None

    def begin(self, store: Store, epoch: int) -> None:
        """Begin with what a store has, to read the changelog from its position on. Raises StoreError."""
        self._epoch = epoch
        found = store.range() if self._only is None else ((key, store.get(key)) for key in self._only)
        self._records = {key: StoredRecord(-1, 0, key, value) for key, value in found if value is not None}

    def apply(self, record: RawRecord) -> None:
        """Take in the next record."""
        if record.key is None:
            return
        origin, claimed = decode_origin(record.headers), decode_claim(record.headers)
        epoch = claimed if origin is None else origin.epoch
        if epoch is not None:
            if epoch < self._epoch:
                return
            self._epoch = epoch
        if record.key == TIME_KEY:
            self._time = None if record.value is None else int(record.value)
        if record.key.startswith(RESERVED) or not self._is_wanted(record.key):
            return
        if record.value is None:
            self._records.pop(record.key, None)
        else:
            self._records[record.key] = record

    def _is_wanted(self, key: bytes) -> bool:
        """Tell whether a key is looked for; all windows of a key are looked for with it."""
        return self._only is None or key in self._only or self._part(key) in self._only

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over the keys and their values, decoded, in the order of the bytes of the keys. Raises ValidationError."""
        expired, time = self._expired, self._time
        if self._shown is not None:
            yield from self._shown([record for _, record in sorted(self._records.items())])
            return
        for _, record in sorted(self._records.items()):
            if expired is not None and time is not None and expired(record.value or b"", time):
                continue
            yield self._schema.read_key(record), self._schema.read_value(record)


def encode_origin(epoch: int, intervals: Mapping[Reading, Interval], ids: Mapping[str, str] | None = None) -> Headers:
    """Make the headers of a changelog record, from the epoch of its owner, the intervals and the ids of the sources."""
    known = ids or {}
    rows = [
        [*tp, subscription, *interval, *([known[tp.topic]] if known.get(tp.topic) else [])]
        for (tp, subscription), interval in sorted(intervals.items())
    ]
    return ((HEADER, msgspec.json.encode((epoch, rows))),)


def decode_origin(headers: Sequence[tuple[str, bytes | None]]) -> Origin | None:
    """Give the origin in these headers, or ``None`` when there is none that can be read: such a record always counts."""
    data = _find(headers, HEADER)
    if data is None:
        return None
    try:
        epoch, rows = _decode(data)
    except (ValueError, RecursionError):
        return None
    intervals = {Reading(TP(row.topic, row.partition), row.subscription): Interval(row.start, row.end) for row in rows}
    return Origin(epoch, intervals, {row.topic: row.id for row in rows if row.id})


def claim(changelog: TP, epoch: int) -> Change:
    """Make the record by which an owner claims a changelog partition."""
    return Change(changelog.topic, changelog.partition, _CLAIM_KEY, b"", ((CLAIM, b"%d" % epoch),))


def decode_claim(headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    """Give the epoch of a claim; ``None`` for any other record."""
    data = _find(headers, CLAIM)
    if data is None:
        return None
    try:
        return _decode_epoch(data)
    except (ValueError, RecursionError):
        return None


def _find(headers: Sequence[tuple[str, bytes | None]], wanted: str) -> bytes | None:
    """Give the first header of a name; one without a value, which Kafka allows, is like none."""
    return next((data for name, data in headers if name == wanted), None)
