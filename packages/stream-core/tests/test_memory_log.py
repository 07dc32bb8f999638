"""The log of a partition, compared with a model that is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.memory.log import Entry, PartitionLog

PRODUCERS = (1, 2, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("plain"), st.integers(1, 3), st.none()),
        st.tuples(st.just("transactional"), st.integers(1, 3), st.sampled_from(PRODUCERS)),
        st.tuples(st.sampled_from(["commit", "abort"]), st.just(0), st.sampled_from(PRODUCERS)),
    ),
    max_size=25,
)


@dataclass
class Slot:
    """What is at one offset: ``state`` is committed, open, aborted or control."""

    state: str
    producer: int | None = None


def build(steps: list[tuple[str, int, int | None]]) -> tuple[PartitionLog, list[Slot]]:
    """A log and its model after the same steps; deciding a transaction that is not open is left out."""
    log = PartitionLog()
    slots: list[Slot] = []
    for kind, count, producer in steps:
        if kind in {"plain", "transactional"}:
            base = log.append([Entry(0, b"k", b"%d" % n) for n in range(count)], producer)
            assert base == len(slots)
            slots += [Slot("open" if producer else "committed", producer) for _ in range(count)]
        elif any(slot.state == "open" and slot.producer == producer for slot in slots):
            assert producer is not None
            log.end_transaction(producer, commit=kind == "commit")
            for slot in slots:
                if slot.state == "open" and slot.producer == producer:
                    slot.state = "committed" if kind == "commit" else "aborted"
            slots.append(Slot("control"))
    return log, slots


def test_offsets_count_control_records() -> None:
    """A transaction's control record takes an offset that no record has."""
    log = PartitionLog()
    log.append([Entry(0, None, b"a")], 1)
    log.end_transaction(1, commit=True)

    assert log.append([Entry(0, None, b"b")]) == 2
    assert [record.offset for record in log.read(0, 10, committed=True).records] == [0, 2]


@given(STEPS, st.integers(1, 5))
def test_reads_like_the_model(steps: list[tuple[str, int, int | None]], limit: int) -> None:
    """From every position and in both isolation levels a read gives the records that the model shows, and moves on."""
    log, slots = build(steps)
    states = [slot.state for slot in slots]
    stable = states.index("open") if "open" in states else len(states)
    assert (log.end, log.stable) == (len(slots), stable)

    for committed, bound, hidden in ((True, stable, {"control", "aborted"}), (False, len(slots), {"control"})):
        expected = [offset for offset in range(bound) if states[offset] not in hidden]
        for start in range(len(slots) + 1):
            position, seen = start, []
            while (found := log.read(position, limit, committed=committed)).next_offset > position:
                assert found.end_offset == bound
                seen += [record.offset for record in found.records]
                position = found.next_offset
            assert seen == [offset for offset in expected if offset >= start]
            assert position == max(start, bound)


@given(
    st.lists(
        st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([None, b"1", b"2"]), st.integers(0, 9)),
        max_size=15,
    ),
    st.integers(0, 9),
    st.integers(0, 9),
)
def test_compaction_keeps_the_last_of_each_key(
    records: list[tuple[bytes, bytes | None, int]], until: int, tombstones_since: int
) -> None:
    """Folding a compacted log gives the same table; offsets and end stay, and what is too young is untouched."""
    records = sorted(records, key=lambda record: record[2])
    log = PartitionLog()
    log.append([Entry(timestamp, key, value) for key, value, timestamp in records])
    before = log.read(0, 100, committed=True).records

    log.compact(until, tombstones_since)
    after = log.read(0, 100, committed=True).records

    folded = [{record.key: record.value for record in each} for each in (before, after)]
    table, compacted = ({key: value for key, value in fold.items() if value} for fold in folded)
    assert compacted == table
    assert set(after) <= set(before)
    assert [r for r in after if r.timestamp > until] == [r for r in before if r.timestamp > until]
    keys = [r.key for r in after if r.timestamp <= until]
    assert len(keys) == len(set(keys))
    assert log.end == len(records)


def test_compaction_drops_aborted_and_stops_at_open_transactions() -> None:
    """Aborted records do not shadow older values, and nothing from the first open transaction on is touched."""
    log = PartitionLog()
    log.append([Entry(0, b"k", b"old"), Entry(0, b"k", b"good")])
    log.append([Entry(0, b"k", b"aborted")], 1)
    log.end_transaction(1, commit=False)
    log.append([Entry(0, b"k", b"open")], 2)
    log.append([Entry(0, b"k", b"behind")])

    log.compact(9, 0)

    assert [record.value for record in log.read(0, 10, committed=False).records] == [b"good", b"open", b"behind"]


def test_retention_stops_at_open_transactions() -> None:
    """Old records go and the start moves with them, but not past the last stable offset."""
    log = PartitionLog()
    log.append([Entry(1, None, b"a"), Entry(5, None, b"b")])
    log.retain(3)
    assert (log.start, log.end) == (1, 2)

    log.append([Entry(5, None, b"open")], 1)
    log.retain(100)

    assert (log.start, log.end) == (2, 3)
    assert [record.value for record in log.read(2, 10, committed=False).records] == [b"open"]


@pytest.mark.parametrize(("before", "start"), [(0, 0), (2, 2), (9, 3)])
def test_truncation_moves_the_start(before: int, start: int) -> None:
    """Truncating drops what is below an offset, at most everything."""
    log = PartitionLog()
    log.append([Entry(0, None, b"%d" % n) for n in range(3)])

    log.truncate(before)

    assert (log.start, log.end) == (start, 3)
    assert [record.offset for record in log.read(start, 10, committed=True).records] == list(range(start, 3))
