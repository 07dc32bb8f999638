"""A compressed batch is read like any other, and takes no more memory than it may."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import aiokafka.errors as kafka
import pytest
from aiokafka.codec import gzip_encode, lz4_encode, snappy_encode, zstd_encode
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_kafka.consuming.fetching import Fetched, drain
from stream_kafka.consuming.unpacking import TooLargeError, cost_of, unpacked

CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
HEAD = 61


def batch_of(values: list[bytes], codec: int = 0, base: int = 0) -> bytes:
    """A batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 30)
    for index, value in enumerate(values):
        assert builder.append(index, 1000 + index, b"key", value, [("h", value)]) is not None
    return rewritten(bytes(builder.build()), base=base)


def rewritten(batch: bytes, *, base: int = 0, count: int | None = None, body: bytes | None = None) -> bytes:
    """The same batch with another base offset, number of records, or records; its length and checksum fit."""
    made = bytearray(batch if body is None else batch[:HEAD] + body)
    struct.pack_into(">qi", made, 0, base, len(made) - 12)
    if count is not None:
        struct.pack_into(">i", made, 57, count)
    struct.pack_into(">I", made, 17, calc_crc32c(bytes(made[21:])))
    return bytes(made)


def fetched(data: bytes, limit: int, offset: int = 0) -> Fetched:
    """What a fetch brought."""
    return Fetched(TopicPartition("t", 0), data, None, offset, check_crcs=True, isolation_level=0, max_unpacked=limit)


def seen(records: list[Any]) -> list[Any]:
    """What can be known of records."""
    return [(one.offset, one.timestamp, one.key, one.value, list(one.headers)) for one in records]


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30), st.sampled_from(list(CODECS.values())))
def test_a_compressed_batch_has_the_records_that_were_put_in(values: list[bytes], codec: int) -> None:
    """They are those of the same batch without compression, in a client's parser as well."""
    plain = drain(fetched(batch_of(values), 1 << 20))
    packed = batch_of(values, codec)

    assert (
        seen(drain(fetched(packed, 1 << 20)).records) == seen(plain.records) == seen(list(DefaultRecordBatch(packed)))
    )


@each_codec
def test_the_limit_is_what_a_batch_takes_and_not_a_byte_less(codec: int) -> None:
    """Also where the limit lies between two sizes of memory that are tried."""
    plain, packed = batch_of([b"v" * 90_000] * 3), batch_of([b"v" * 90_000] * 3, codec)

    assert len(unpacked(packed, cost_of(plain))) == len(plain)
    with pytest.raises(TooLargeError):
        unpacked(packed, cost_of(plain) - 1)


@each_codec
def test_a_batch_that_takes_too_much_is_one_record_that_cannot_be_decoded(codec: int) -> None:
    """It stands for all of the batch; what is before is read with it, and what is behind it by the next fetch."""
    behind = batch_of([b"b"], codec, base=5)
    source = fetched(batch_of([b"a"]) + batch_of([bytes(100_000)] * 4, codec, base=1) + behind, 50_000)

    taken = drain(source)

    assert [(one.offset, one.value) for one in taken.records] == [(0, b"a"), (4, None)]
    assert list(taken.garbled) == [4]
    assert "offsets 1 to 4" in taken.garbled[4]
    assert "consumer_max_unpacked_size" in taken.garbled[4]
    assert source.next_fetch_offset == 5
    assert [one.value for one in drain(fetched(behind, 50_000, 5)).records] == [b"b"]


@each_codec
def test_many_small_records_count_by_what_their_objects_take(codec: int) -> None:
    """Nothing is unpacked for a batch that says it has more of them than fit."""
    packed = rewritten(batch_of([b""] * 10, codec), count=2**31 - 1)

    with pytest.raises(TooLargeError):
        unpacked(packed, 64 << 20)


def test_a_number_of_records_below_zero_makes_no_room() -> None:
    """It comes from outside, and is no reason to take more."""
    packed = rewritten(batch_of([bytes(100_000)], 4), count=-(2**31))

    with pytest.raises(TooLargeError):
        unpacked(packed, 50_000)


@each_codec
def test_batches_that_fit_one_by_one_are_not_unpacked_all_at_once(codec: int) -> None:
    """Once they have taken the limit together, the rest is left to the next fetch; nothing is lost or read twice."""
    batches = [batch_of([bytes(20_000)], codec, base=at) for at in range(5)]
    offsets: list[int] = []
    position = rounds = 0
    while position < 5:
        source = fetched(b"".join(batches[position:]), 50_000, position)
        taken = drain(source)
        assert not taken.garbled
        offsets += [one.offset for one in taken.records]
        position, rounds = source.next_fetch_offset, rounds + 1

    assert offsets == list(range(5))
    assert rounds == 3


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (1, gzip_encode(b"x" * 500)[:-9]),
        (1, b""),
        (2, b"\x82SNAPPY\x00" + struct.pack(">iii", 1, 1, -4) + b"x" * 20),
        (2, b"\x82SNAPPY\x00" + struct.pack(">iii", 1, 1, 400) + b"x" * 20),
        (2, snappy_encode(b"x" * 500)[:-2]),
        (3, lz4_encode(b"x" * 500)[:-9]),
        (4, zstd_encode(b"x" * 500)[:-3]),
        (4, b"no zstd at all"),
    ],
    ids=[
        "gzip cut off",
        "gzip empty",
        "block of -4",
        "block too long",
        "snappy cut off",
        "lz4 cut off",
        "zstd cut off",
        "no zstd",
    ],
)
def test_what_cannot_be_unpacked_is_damaged(codec: int, body: bytes) -> None:
    """The error names the codec; the position stays."""
    source = fetched(rewritten(batch_of([b"v"], codec), body=body), 1 << 20)

    with pytest.raises(kafka.CorruptRecordException):
        drain(source)
    assert source.next_fetch_offset == 0


def test_a_codec_that_nobody_knows_is_damage() -> None:
    """The field has room for three more than there are."""
    packed = bytearray(batch_of([b"v"], 1))
    packed[22] |= 7
    with pytest.raises(kafka.CorruptRecordException, match="number 7"):
        unpacked(bytes(packed), 1 << 20)


WITHOUT_CODECS = """
import sys
sys.modules["cramjam"] = None
from stream_kafka.consuming.unpacking import unpacked
for batch in sys.stdin.read().split():
    try:
        print(len(unpacked(bytes.fromhex(batch), 1 << 20)))
    except Exception as error:
        print(error)
"""


def test_a_codec_that_is_not_installed_says_what_to_install() -> None:
    """Gzip is part of Python, the others are not."""
    batches = "\n".join(batch_of([b"v"], codec).hex() for codec in CODECS.values())
    program = [sys.executable, "-c", WITHOUT_CODECS]
    said = subprocess.run(program, input=batches, capture_output=True, text=True, timeout=60, check=True).stdout

    assert said.splitlines() == [
        str(len(batch_of([b"v"]))),
        *(
            f"UnsupportedCodecError: a batch is compressed by {codec}; pip install 'stream-kafka[compression]'"
            for codec in ("snappy", "lz4", "zstd")
        ),
    ]
