"""The log of a partition: what each operation leaves, in examples; test_memory_log_model.py compares all of them with a model."""

from __future__ import annotations

import pytest

from stream_core.memory.log import Entry, PartitionLog, record_size


def values(log: PartitionLog) -> list[tuple[int, bytes | None]]:
    """Offset and value of all records that the log holds."""
    return [(record.offset, record.value) for record in log.read(log.start, 100, committed=False).records]


def test_offsets_count_control_records() -> None:
    """A transaction's control record takes an offset that no record has."""
    log = PartitionLog()
    log.append([Entry(0, None, b"a")], 1)
    log.end_transaction(1, commit=True)

    assert log.append([Entry(0, None, b"b")]) == 2
    assert values(log) == [(0, b"a"), (2, b"b")]


def test_compaction_keeps_offsets() -> None:
    """The last record of each key stays at its offset; a read from a gap begins behind it, and the end is where it was."""
    log = PartitionLog()
    log.append([Entry(0, key, value) for key, value in ((b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", b"4"))])
    log.append([Entry(0, b"a", b"5")])

    log.compact(until=0, now=0, tombstone_retention=0)

    assert values(log) == [(3, b"4"), (4, b"5")]
    assert (log.start, log.end, len(log)) == (0, 5, 2)
    found = log.read(1, 1, committed=True)
    assert ([record.offset for record in found.records], found.next_offset) == ([3], 4)


def test_compaction_leaves_young_records_alone() -> None:
    """What is younger than the compaction lag stays, with everything behind it, and does not push out what is older."""
    log = PartitionLog()
    log.append([Entry(1, b"a", b"old"), Entry(2, b"a", b"kept"), Entry(9, b"a", b"young"), Entry(1, b"a", b"behind")])

    log.compact(until=5, now=9, tombstone_retention=0)

    assert values(log) == [(1, b"kept"), (2, b"young"), (3, b"behind")]


def test_a_tombstone_outlives_the_first_compaction() -> None:
    """It stays for its retention after the first compaction that met it, so that readers who are behind learn of it."""
    log = PartitionLog()
    log.append([Entry(0, b"a", b"1"), Entry(0, b"a", None), Entry(0, b"b", b"2")])

    seen = []
    for now in (100, 109, 110):
        log.compact(until=100, now=now, tombstone_retention=10)
        seen.append(values(log))

    assert seen == [[(1, None), (2, b"2")], [(1, None), (2, b"2")], [(2, b"2")]]


def test_compaction_drops_aborted_and_stops_at_open_transactions() -> None:
    """Aborted records do not shadow older values, and nothing from the first open transaction on is touched."""
    log = PartitionLog()
    log.append([Entry(0, b"k", b"old"), Entry(0, b"k", b"good")])
    log.append([Entry(0, b"k", b"aborted")], 1)
    log.end_transaction(1, commit=False)
    log.append([Entry(0, b"k", b"open")], 2)
    log.append([Entry(0, b"k", b"behind")])

    log.compact(until=9, now=9, tombstone_retention=0)

    assert [value for _, value in values(log)] == [b"good", b"open", b"behind"]


def test_retention_by_time_stops_at_open_transactions() -> None:
    """Old records go and the start moves with them, but not past the last stable offset."""
    log = PartitionLog()
    log.append([Entry(1, None, b"a"), Entry(5, None, b"b")])
    log.retain_since(3)
    assert (log.start, log.end) == (1, 2)

    log.append([Entry(5, None, b"open")], 1)
    log.retain_since(100)

    assert (log.start, log.end) == (2, 3)
    assert values(log) == [(2, b"open")]


@pytest.mark.parametrize(("records", "start"), [(0, 3), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_retention_by_size_keeps_what_fits_and_one_more(records: int, start: int) -> None:
    """As long as the rest is not below the bound, the oldest record goes; in Kafka the same holds of segments."""
    log = PartitionLog()
    entries = [Entry(0, None, b"12345") for _ in range(4)]
    log.append(entries)

    log.retain_bytes(records * record_size(entries[0]) + 1 if records else 1)

    assert log.start == start


@pytest.mark.parametrize(("before", "start"), [(0, 0), (2, 2), (9, 3)])
def test_truncation_moves_the_start(before: int, start: int) -> None:
    """Truncating drops what is below an offset, at most everything."""
    log = PartitionLog()
    log.append([Entry(0, None, b"%d" % n) for n in range(3)])

    log.truncate(before)

    assert (log.start, log.end) == (start, 3)
    assert [offset for offset, _ in values(log)] == list(range(start, 3))


def test_a_truncated_transaction_does_not_move_the_stable_offset_back() -> None:
    """Who truncates into an open transaction finds the last stable offset at the start of the log."""
    log = PartitionLog()
    log.append([Entry(0, None, b"open"), Entry(0, None, b"open")], 1)
    log.truncate(1)
    assert log.stable == 1

    log.end_transaction(1, commit=False)

    assert (log.start, log.stable, log.end) == (1, 3, 3)


def test_sizes_count_everything() -> None:
    """Key, value and headers make a record larger; headers of other clients may have no value."""
    sizes = [
        record_size(Entry(0, *fields))
        for fields in (
            (None, None),
            (b"k", None),
            (b"k", b"v"),
            (b"k", b"v", [("ü", None)]),
            (b"k", b"v", [("ü", b"h")]),
        )
    ]

    assert sizes == sorted(set(sizes))
