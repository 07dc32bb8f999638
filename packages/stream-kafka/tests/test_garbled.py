"""Records that are none, whatever wrote them, cost those around them nothing."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import aiokafka.errors as kafka
import pytest
from aiokafka.codec import gzip_encode
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_core.policies import FailurePolicy
from stream_core.primitives import TP
from stream_core.sending.dead_letters import letter_headers
from stream_core.streams.verdicts import Verdict
from stream_kafka.consuming.fetching import Fetched, drain
from stream_kafka.consuming.garbled import Extracted, batch_at

_HEADER = struct.Struct(">qiibIhiqqqhii")
_ATTRIBUTES = 21
_TIME = 1_700_000_000_000
_GZIP = 1
_LOG_APPEND_TIME = 8

Name = bytes | None


class Raw(NamedTuple):
    """A record as bytes on the wire: its header names may be anything."""

    key: bytes | None = None
    value: bytes | None = b"v"
    headers: tuple[tuple[Name, bytes | None], ...] = ()
    tail: bytes = b""
    count: int | None = None

    @property
    def good(self) -> bool:
        """Whether it is a record."""
        return not self.tail and self.count is None and all(_text(name) is not None for name, _ in self.headers)

    def encoded(self, index: int) -> bytes:
        """The record, with its length in front."""
        body = bytearray(b"\0")
        for number in (index * 10, index):
            encode_varint(number, body.append)
        _put(body, self.key)
        _put(body, self.value)
        encode_varint(len(self.headers) if self.count is None else self.count, body.append)
        for name, value in self.headers:
            _put(body, name)
            _put(body, value)
        body += self.tail
        length = bytearray()
        encode_varint(len(body), length.append)
        return bytes(length + body)


def _put(body: bytearray, data: bytes | None) -> None:
    encode_varint(-1 if data is None else len(data), body.append)
    body += data or b""


def _text(name: Name) -> str | None:
    try:
        return name.decode() if name is not None else None
    except UnicodeDecodeError:
        return None


def batch_of(base: int, records: list[Raw], *, attributes: int = 0, gaps: int = 0) -> bytes:
    """A batch as a broker stores it; ``gaps`` offsets behind the last record were compacted away."""
    body = b"".join(record.encoded(index) for index, record in enumerate(records))
    if attributes & _GZIP:
        body = gzip_encode(body)
    last = len(records) - 1 + gaps
    head = (0, 2, 0, attributes, last, _TIME, _TIME + last * 10, -1, -1, -1, len(records))
    data = bytearray(_HEADER.pack(base, _HEADER.size - 12 + len(body), *head) + body)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[_ATTRIBUTES:])))
    return bytes(data)


def drained(data: bytes, offset: int = 0) -> tuple[Extracted, Fetched]:
    """What is taken out of a fetch that brought ``data``."""
    source = Fetched(
        TopicPartition("t", 0), data, None, offset, check_crcs=True, isolation_level=0, max_unpacked=1 << 20
    )
    return drain(source), source


bytes_or_none = st.none() | st.binary(max_size=8)
names = st.text(max_size=6).map(str.encode) | st.binary(max_size=6) | st.none()
raws = st.builds(
    Raw,
    bytes_or_none,
    bytes_or_none,
    st.lists(st.tuples(names, bytes_or_none), max_size=3).map(tuple),
    st.sampled_from([b"", b"", b"", b"\xff"]),
    st.sampled_from([None, None, None, -1, 9]),
)
attributes = st.sampled_from([0, _GZIP, _LOG_APPEND_TIME, _GZIP | _LOG_APPEND_TIME])


@given(
    st.lists(st.tuples(st.lists(raws, min_size=1, max_size=5), attributes, st.integers(0, 2)), min_size=1, max_size=4)
)
def test_good_records_come_whatever_is_around_them(batches: list[tuple[list[Raw], int, int]]) -> None:
    """Each record comes at its offset, those that are none say why, and the position passes all of them."""
    data, offset, expected, garbled, times = b"", 0, {}, set(), {}
    for records, kind, gaps in batches:
        data += batch_of(offset, records, attributes=kind, gaps=gaps)
        for index, record in enumerate(records):
            last = _TIME + (len(records) - 1 + gaps) * 10
            times[offset + index] = last if kind & _LOG_APPEND_TIME else _TIME + index * 10
            if record.good:
                headers = [(_text(name), value) for name, value in record.headers]
                expected[offset + index] = (record.key, record.value, headers)
            else:
                garbled.add(offset + index)
        offset += len(records) + gaps

    taken, source = drained(data)

    assert source.next_fetch_offset == offset
    assert set(taken.garbled) == garbled
    assert all(taken.garbled.values())
    assert {record.offset: record.timestamp for record in taken.records} == times
    assert [record.offset for record in taken.records] == sorted(times)
    found: dict[int, Any] = {
        record.offset: (record.key, record.value, list(record.headers))
        for record in taken.records
        if record.offset not in garbled
    }
    assert found == expected


@pytest.mark.parametrize("kind", [0, _GZIP], ids=["plain", "gzip"])
def test_a_header_name_that_is_no_text_can_be_sent_on(kind: int) -> None:
    """The record keeps key, value and time, the reason has the bytes of the name, and its dead letter can be encoded."""
    bad = Raw(b"k", b"v", ((b"\xff\xfe", b"1"), (b"ok", b"2")))
    taken, _ = drained(batch_of(7, [Raw(value=b"0"), bad, Raw(value=b"2")], attributes=kind), 7)

    assert [record.value for record in taken.records] == [b"0", b"v", b"2"]
    assert taken.garbled == {8: r"the name of a header is no UTF-8: b'\xff\xfe'"}
    record = taken.records[1]
    assert (record.key, list(record.headers)) == (b"k", [("\\xff\\xfe", b"1"), ("ok", b"2")])
    letter = letter_headers("agent", TP("t", 0), record, Verdict.of(ValueError(taken.garbled[8]), FailurePolicy.SKIP))
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 16)
    assert builder.append(0, None, record.key, record.value, letter) is not None


def test_a_record_of_which_nothing_can_be_read_keeps_its_bytes() -> None:
    """They are the value, so that a dead letter has them."""
    bad = Raw(b"k", b"v", count=9)
    taken, _ = drained(batch_of(0, [bad]))

    assert taken.records[0].value == bad.encoded(0)[1:]
    assert set(taken.garbled) == {0}


def test_records_before_the_position_are_not_told_of() -> None:
    """A batch is fetched whole; what was delivered from it is not delivered, nor rejected, again."""
    bad = Raw(headers=((b"\xff", None),))
    taken, _ = drained(batch_of(0, [bad, bad, Raw()]), 1)

    assert [record.offset for record in taken.records] == [1, 2]
    assert set(taken.garbled) == {1}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: data[:61] + b"\x7e" + data[62:], "is broken: a record of 63 bytes"),
        (lambda data: data[:64] + b"\x7e" + data[65:], "is broken: a record with the offset 63"),
    ],
    ids=["length", "offset"],
)
def test_a_batch_without_records_that_can_be_told_apart_is_damaged(spoil: Any, said: str) -> None:
    """Its checksum is right, so it was written like that; its position does not move."""
    data = bytearray(spoil(batch_of(0, [Raw(headers=((b"\xff", None),)), Raw()])))
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[_ATTRIBUTES:])))

    with pytest.raises(kafka.CorruptRecordException, match=said):
        drained(bytes(data))


def test_what_cannot_be_unpacked_is_damaged() -> None:
    """As said by whatever unpacks it."""
    data = bytearray(batch_of(0, [Raw()]))
    struct.pack_into(">h", data, _ATTRIBUTES, _GZIP)
    struct.pack_into(">I", data, 17, calc_crc32c(bytes(data[_ATTRIBUTES:])))

    with pytest.raises(kafka.CorruptRecordException, match="cannot be unpacked"):
        drained(bytes(data))


def test_a_batch_is_found_by_its_offset() -> None:
    """Or the error names the offset."""
    first, second = batch_of(0, [Raw()]), batch_of(5, [Raw(), Raw()])
    assert batch_at(first + second, 5) == (second, len(first + second))
    with pytest.raises(kafka.CorruptRecordException, match="offset 6"):
        batch_at(first + second, 6)
