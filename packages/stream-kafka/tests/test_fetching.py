"""Records are taken out of fetched bytes whole, in order, and without those of aborted transactions."""

from __future__ import annotations

import gc
import struct
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import aiokafka.errors as kafka
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c
from aiokafka.structs import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from stream_kafka.connecting.client import Client
from stream_kafka.consuming.fetching import BatchFetcher, Fetched, drain
from stream_kafka.settings import KafkaSettings

_CRC = 17
_ATTRIBUTES = 21
_CONTROL = 0x20
_ABORT = b"\x00\x00\x00\x00"
_COMMIT = b"\x00\x00\x00\x01"


def _batch(base: int, values: Iterable[bytes], *, producer: int = -1, control: bytes | None = None) -> bytes:
    """The bytes of one batch as a broker stores it."""
    builder = DefaultRecordBatchBuilder(
        2,
        0,
        is_transactional=int(producer >= 0),
        producer_id=producer,
        producer_epoch=0,
        base_sequence=0,
        batch_size=1 << 20,
    )
    for index, value in enumerate([b""] if control is not None else values):
        builder.append(index, 1_700_000_000_000, control, value, [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, base)
    if control is not None:
        (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES)
        struct.pack_into(">h", data, _ATTRIBUTES, attributes | _CONTROL)
    struct.pack_into(">I", data, _CRC, calc_crc32c(bytes(data[_ATTRIBUTES:])))
    return bytes(data)


def _fetched(
    data: bytes, offset: int = 0, *, committed: bool = False, aborted: list[tuple[int, int]] | None = None
) -> Fetched:
    return Fetched(
        TopicPartition("t", 0),
        data,
        aborted,
        offset,
        check_crcs=True,
        isolation_level=int(committed),
        max_unpacked=1 << 20,
    )


def _values(records: list[Any]) -> list[bytes]:
    return [record.value for record in records]


def test_a_fetch_is_freed_without_the_collector() -> None:
    """The bytes of a fetch go with the last reference to it: nothing of it is in a reference cycle once it is drained."""
    source = _fetched(_batch(0, [b"a"]))
    drain(source)
    watched = weakref.ref(source)

    gc.disable()
    try:
        del source
        assert watched() is None
    finally:
        gc.enable()


def test_all_batches_of_a_fetch_are_one_list() -> None:
    """The records come in order, and the position is behind the last one."""
    source = _fetched(_batch(0, [b"a", b"b"]) + _batch(2, [b"c"]))

    assert _values(drain(source).records) == [b"a", b"b", b"c"]
    assert source.next_fetch_offset == 3


def test_a_fetch_from_the_middle_of_a_batch_leaves_out_its_beginning() -> None:
    """Brokers send whole batches; records before the position were delivered already."""
    source = _fetched(_batch(10, [b"a", b"b", b"c"]), offset=11)

    assert _values(drain(source).records) == [b"b", b"c"]
    assert source.next_fetch_offset == 13


def test_a_wrong_checksum_raises_when_nothing_is_before_it() -> None:
    """The position does not move: the next fetch says the same."""
    damaged = bytearray(_batch(0, [b"a"]))
    damaged[-1] ^= 1
    source = _fetched(bytes(damaged))

    with pytest.raises(kafka.CorruptRecordException, match="offset 0"):
        drain(source)
    assert source.next_fetch_offset == 0


@pytest.mark.parametrize("check", [True, False])
async def test_checksums_are_compared_unless_told_otherwise(check: bool) -> None:
    """``check_crcs`` is the client's own option, and on by default."""
    settings = KafkaSettings(check_crcs=check)
    client = Client(settings)
    fetcher = BatchFetcher(client, SubscriptionState(), settings, read_committed=False)
    try:
        assert fetcher._check_crcs is check
    finally:
        await fetcher.close()
        await client.disconnect()
    damaged = bytearray(_batch(0, [b"a"]))
    damaged[_CRC] ^= 1
    source = _fetched(bytes(damaged))
    source._check_crcs = False
    assert _values(drain(source).records) == [b"a"]


def test_what_is_before_a_wrong_checksum_is_delivered() -> None:
    """Whole batches before the damage come, and the position stops in front of it."""
    damaged = bytearray(_batch(2, [b"c"]))
    damaged[-1] ^= 1
    source = _fetched(_batch(0, [b"a", b"b"]) + bytes(damaged))

    assert _values(drain(source).records) == [b"a", b"b"]
    assert source.next_fetch_offset == 2


def test_control_records_move_the_position_only() -> None:
    """Under both isolation levels nobody sees them."""
    data = _batch(0, [b"a"], producer=7) + _batch(1, [], producer=7, control=_COMMIT)
    for committed in (False, True):
        source = _fetched(data, committed=committed)
        assert _values(drain(source).records) == [b"a"]
        assert source.next_fetch_offset == 2


def test_aborted_records_are_seen_only_under_read_uncommitted() -> None:
    """Without read_committed they are records like all others."""
    data = _batch(0, [b"x"], producer=7) + _batch(1, [], producer=7, control=_ABORT)

    hidden = _fetched(data, committed=True, aborted=[(7, 0)])
    shown = _fetched(data)

    assert drain(hidden).records == []
    assert _values(drain(shown).records) == [b"x"]
    assert hidden.next_fetch_offset == shown.next_fetch_offset == 2


class _Log(NamedTuple):
    data: bytes
    aborted: list[tuple[int, int]]
    kept: list[tuple[int, bytes]]
    end: int


def _log(steps: list[tuple[int, int]]) -> _Log:
    """A log of interleaved transactions: (producer, n) writes n records, or ends its transaction: 0 commits, -1 aborts."""
    data, offset = b"", 0
    open_: dict[int, list[tuple[int, bytes]]] = {}
    aborted: list[tuple[int, int]] = []
    kept: list[tuple[int, bytes]] = []
    steps = [*steps, *((producer, 0) for producer in range(3))]
    for producer, count in steps:
        if count > 0:
            values = [b"%d" % (offset + index) for index in range(count)]
            data += _batch(offset, values, producer=producer)
            open_.setdefault(producer, []).extend((offset + index, value) for index, value in enumerate(values))
            offset += count
        elif producer in open_:
            written = open_.pop(producer)
            data += _batch(offset, [], producer=producer, control=_ABORT if count else _COMMIT)
            offset += 1
            if count:
                aborted.append((producer, written[0][0]))
            else:
                kept += written
    return _Log(data, aborted, sorted(kept), offset)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 4)), max_size=25))
def test_read_committed_sees_exactly_the_committed_records(steps: list[tuple[int, int]]) -> None:
    """However transactions interleave, what was committed comes in order, and the position reaches the end."""
    log = _log(steps)
    source = _fetched(log.data, committed=True, aborted=log.aborted)

    taken = drain(source).records

    assert [(record.offset, record.value) for record in taken] == log.kept
    assert source.next_fetch_offset == log.end
