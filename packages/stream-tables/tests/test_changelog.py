"""The header of a changelog record: what it says comes back, and what others wrote is not mistaken for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.engine.participants import Interval, Reading
from stream_core.primitives import TP, Headers, StoredRecord
from stream_core.values.schemas import Schema
from stream_tables.changelog import HEADER, Origin, Replay, claim, decode_origin, encode_origin

readings = st.builds(
    Reading, st.builds(TP, st.text(min_size=1, max_size=10), st.integers(0, 1000)), st.text(min_size=1, max_size=10)
)
intervals = st.dictionaries(readings, st.builds(Interval, st.integers(0, 2**62), st.integers(0, 2**62)), max_size=5)
CLICKS, ORDERS = Reading(TP("clicks", 0), "count"), Reading(TP("orders", 0), "count")


@given(st.integers(0, 2**62), intervals)
def test_round_trip(epoch: int, contributed: dict[Reading, Interval]) -> None:
    """Epoch and intervals come back as they were; the bytes do not depend on the order of the intervals."""
    headers = encode_origin(epoch, contributed)
    assert decode_origin(headers) == Origin(epoch, contributed)
    assert encode_origin(epoch, dict(reversed(contributed.items()))) == headers


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("traceparent", b"00-1-2-01")],
        [(HEADER, b"")],
        [(HEADER, b"not json")],
        [(HEADER, b'{"epoch":1}')],
        [(HEADER, b'[1,[["topic",0,"agent",5]]]')],
        [(HEADER, b"[1]")],
    ],
)
def test_foreign_headers(headers: Headers) -> None:
    """Without a header, or with one that cannot be read, a record has no origin: it always counts."""
    assert decode_origin(headers) is None


def test_other_headers_may_stand_beside_it() -> None:
    """The header is found among those of others."""
    headers = [("traceparent", b"x"), *encode_origin(3, {CLICKS: Interval(5, 9)}), ("other", b"")]
    assert decode_origin(headers) == Origin(3, {CLICKS: Interval(5, 9)})


def test_the_wire_format() -> None:
    """The bytes on the topic are a contract with deployed workers."""
    ((name, data),) = encode_origin(7, {ORDERS: Interval(1, 2), CLICKS: Interval(5, 9)})
    assert name == "stream-origin"
    assert msgspec.json.decode(data) == [7, [["clicks", 0, "count", 5, 9], ["orders", 0, "count", 1, 2]]]


@pytest.mark.parametrize(
    ("committed", "uncommitted"),
    [
        ({CLICKS: 5, ORDERS: 2}, True),
        ({CLICKS: 9, ORDERS: 1}, True),
        ({CLICKS: 9, ORDERS: 2}, False),
        ({CLICKS: 4}, False),
        ({}, False),
    ],
)
def test_intervals_begin_where_commits_end(committed: dict[Reading, int], uncommitted: bool) -> None:
    """A record is uncommitted exactly when one of its intervals begins at the committed position."""
    origin = Origin(0, {CLICKS: Interval(5, 9), ORDERS: Interval(1, 2)})
    assert origin.uncommitted(committed) is uncommitted


def replayed(*records: StoredRecord, only: set[bytes] | None = None) -> list[tuple[object, object]]:
    """What a changelog with these records says of a table of text and numbers."""
    replay = Replay(Schema.for_table(str, int), only)
    for record in records:
        replay.apply(record)
    return list(replay.items())


def written(epoch: int, key: str, value: bytes | None) -> StoredRecord:
    """A record of an owner."""
    return StoredRecord(0, 0, f'"{key}"'.encode(), value, encode_origin(epoch, {CLICKS: Interval(0, 1)}))


def claimed(epoch: int) -> StoredRecord:
    """The claim of an owner."""
    _, _, key, value, headers = claim(TP("changelog", 0), epoch)
    return StoredRecord(0, 0, key, value, headers)


def test_a_changelog_says_what_a_table_holds() -> None:
    """The last value of each key counts; claims are no values, and neither is a tombstone; one key can be looked for."""
    records = claimed(1), written(1, "b", b"1"), written(1, "a", b"2"), written(1, "b", b"3"), written(1, "c", b"4")
    assert replayed(*records, written(1, "c", None)) == [("a", 2), ("b", 3)]
    assert replayed(*records, only={b'"b"'}) == [("b", 3)]
    assert replayed(StoredRecord(0, 0, b'"x"', b"9"), StoredRecord(1, 0, None, b"1")) == [("x", 9)]


def test_what_a_replaced_owner_writes_does_not_count() -> None:
    """Behind the claim of another one its records are passed over."""
    assert replayed(claimed(1), written(1, "a", b"1"), claimed(2), written(1, "a", b"7"), written(2, "b", b"2")) == [
        ("a", 1),
        ("b", 2),
    ]
