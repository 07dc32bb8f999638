"""From the records of a chunk to what a body gets. This is the path of decoding, from the top:

==========================  ===================================================================================
``Chunk.decoded``           once per chunk, whoever reads it first; asks the decoder of its session
``Topic.decode``            that decoder: unwraps questions, then :meth:`Decoded.of`
:meth:`Decoded.of`          the values by the schema, and apart from them the records that it cannot decode
``Schema.decode_values``    all values in one call, in :mod:`stream_core.values.schemas`
``decoder(type)``           bytes to one value, in :mod:`stream_core.values.decoding`: nearly always msgspec alone
==========================  ===================================================================================

A record that the body does not get is :class:`Rejected`, and keeps its place among the others. Keys are decoded only where somebody
asks for them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from stream_core.errors import DecodeError
from stream_core.values.schemas import Failure, decode_error

if TYPE_CHECKING:
    from stream_core.errors import EventError
    from stream_core.primitives import TP, RawRecord
    from stream_core.streams.verdicts import Verdict
    from stream_core.values.schemas import Schema

__all__ = ["Decoded", "Decoder", "Rejected", "key_of"]


class Rejected(NamedTuple):
    """A record that the body does not get: it could not be decoded, or its event has failed for good.

    Attributes:
        at: index in ``Decoded.values`` before which the record belongs.
        record: the record.
        why: the error of decoding, on which the policy of the topic decides, or what was decided already.
    """

    at: int
    record: RawRecord
    why: EventError | Verdict


class Decoded(NamedTuple):
    """The records of a chunk that the body gets, their values, and those between them that it does not."""

    records: Sequence[RawRecord]
    values: Sequence[Any]
    rejected: Sequence[Rejected] = ()

    @classmethod
    def of(cls, schema: Schema, tp: TP, records: Sequence[RawRecord]) -> Decoded:
        """Decode the values of some records of ``tp``; those that cannot be decoded are rejected."""
        values, failed = schema.decode_values(records)
        if not failed:
            return cls(records, values)

        def check(record: RawRecord, value: Any) -> Any:
            if type(value) is not Failure:
                return value
            return Rejected(
                0, record, decode_error("value", record.value, schema.value_type, value.error, tp, record.offset)
            )

        return cls(records, values)._sift(check)

    def with_garbled(self, tp: TP, garbled: Sequence[RawRecord], reasons: Mapping[int, str]) -> Decoded:
        """Add records of which nothing can be read, as rejected.

        Args:
            tp: their partition.
            garbled: the records, with nothing but their offsets.
            reasons: why, by offset.
        """
        rejected = list(self.rejected)
        for record in garbled:
            reason = f"cannot read the record: {reasons[record.offset]}"
            at = bisect_left(self.records, record.offset, key=lambda good: good.offset)
            rejected.append(Rejected(at, record, DecodeError(reason, tp, record.offset, final=True)))
        rejected.sort(key=lambda one: one.record.offset)
        return Decoded(self.records, self.values, rejected)

    def judged(self, verdicts: Mapping[int, Verdict]) -> Decoded:
        """Reject the events on which something was decided."""

        def judge(record: RawRecord, value: Any) -> Any:
            verdict = verdicts.get(record.offset)
            return value if verdict is None else Rejected(0, record, verdict)

        rejected = [judge(one.record, one)._replace(at=one.at) for one in self.rejected]
        return self._replace(rejected=rejected)._sift(judge)

    def with_keys(self, schema: Schema, tp: TP) -> Decoded:
        """Make pairs of key and value of the values; records whose keys cannot be decoded are rejected."""

        def pair(record: RawRecord, value: Any) -> Any:
            try:
                return key_of(schema, tp, record), value
            except DecodeError as error:
                return Rejected(0, record, error)

        return self._sift(pair)

    def in_order(self) -> Iterator[tuple[RawRecord, Any]]:
        """Iterate over all records in order, with their values, or the :class:`Rejected` that stands for one."""
        good, at = zip(self.records, self.values, strict=True), 0
        for one in self.rejected:
            yield from islice(good, one.at - at)
            at = one.at
            yield one.record, one
        yield from good

    def _sift(self, make: Callable[[RawRecord, Any], Any]) -> Decoded:
        """Replace each value by what ``make`` gives for it; the :class:`Rejected` among that join those that there are, in order."""
        records: list[RawRecord] = []
        values: list[Any] = []
        rejected: list[Rejected] = []
        for record, value in self.in_order():
            made = value if type(value) is Rejected else make(record, value)
            if type(made) is Rejected:
                rejected.append(made._replace(at=len(values)))
            else:
                records.append(record)
                values.append(made)
        return Decoded(records, values, rejected)


Decoder = Callable[["TP", Sequence["RawRecord"]], Decoded]
"""Decodes records of one partition by the schema of their topic."""


def key_of(schema: Schema, tp: TP, record: RawRecord) -> Any:
    """Decode the key of a record. Raises DecodeError, which names the place."""
    try:
        return schema.read_key(record)
    except Exception as cause:
        raise decode_error("key", record.key, schema.key_type, cause, tp, record.offset) from cause
