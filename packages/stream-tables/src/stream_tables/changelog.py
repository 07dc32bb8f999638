"""What is on a changelog besides keys and values: which source offsets a record is the result of.

Under at-least-once a worker may die between its changelog records and the commit of its offsets. The events of that interval are
replayed, and their old results must not count a second time. So each record carries a header that lists, for each
contributing reading, the offsets ``[start, end)`` of its interval. Intervals begin where the commit before ended: a record is
uncommitted exactly when a ``start`` in it equals the committed position (design decision 6).

The header also carries an *epoch* that each owner chooses above all those it met: records of an owner that was
replaced while it slept are older than what precedes them, and are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from stream_core.participants import Interval, Reading
from stream_core.records import TP, Headers

__all__ = ["HEADER", "Origin", "decode_origin", "encode_origin"]

HEADER = "stream-origin"


class Origin(NamedTuple):
    """Where a changelog record comes from."""

    epoch: int
    intervals: Mapping[Reading, Interval]

    def uncommitted(self, committed: Mapping[Reading, int]) -> bool:
        """Whether the interval of the record was never committed, given the committed positions."""
        return any(committed.get(reading) == interval.start for reading, interval in self.intervals.items())


_Wire = tuple[int, list[tuple[str, int, str, int, int]]]
_decode = msgspec.json.Decoder(_Wire).decode


def encode_origin(epoch: int, intervals: Mapping[Reading, Interval]) -> Headers:
    """The headers of a changelog record."""
    rows = [(*reading.tp, reading.subscription, *interval) for reading, interval in sorted(intervals.items())]
    return ((HEADER, msgspec.json.encode((epoch, rows))),)


def decode_origin(headers: Sequence[tuple[str, bytes]]) -> Origin | None:
    """The origin in these headers, or ``None`` when there is none that can be read: such a record always counts."""
    for name, data in headers:
        if name == HEADER:
            try:
                epoch, rows = _decode(data)
            except msgspec.DecodeError:
                return None
            return Origin(epoch, {Reading(TP(t, p), s): Interval(start, end) for t, p, s, start, end in rows})
    return None
