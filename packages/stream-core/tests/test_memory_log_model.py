"""The log of a partition against a model with one slot per offset, which is too simple to be wrong."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stream_core.memory.log import Entry, PartitionLog, record_size
from stream_core.primitives import StoredRecord

PRODUCERS = (1, 2, 3)
RECORDS = st.lists(
    st.tuples(st.integers(-5, 0), st.sampled_from([b"a", b"b", b"c"]), st.sampled_from([None, b"", b"value"])),
    min_size=1,
    max_size=3,
)


@dataclass
class Slot:
    """What is at one offset.

    Attributes:
        state: plain, open, committed, aborted, or control.
        record: ``None`` for what is not there (any more).
        producer: of a transactional record.
        horizon: when a tombstone that a compaction has met may go.
    """

    state: str
    record: StoredRecord | None = None
    producer: int | None = None
    horizon: int | None = None


class LogMachine(RuleBasedStateMachine):
    """Does the same to a log and to its model, and looks at both from everywhere after each step."""

    def __init__(self) -> None:
        super().__init__()
        self.log = PartitionLog()
        self.slots: list[Slot] = []
        self.start = 0
        self.now = 10

    # -- what happens to a log

    @rule(records=RECORDS, producer=st.one_of(st.none(), st.sampled_from(PRODUCERS)))
    def append(self, records: list[tuple[int, bytes, bytes | None]], producer: int | None) -> None:
        """Records arrive, somewhat out of the order of their timestamps."""
        entries = [Entry(self.now + age, key, value) for age, key, value in records]
        assert self.log.append(entries, producer) == len(self.slots)
        for entry in entries:
            record = StoredRecord(len(self.slots), *entry)
            self.slots.append(Slot("open" if producer else "plain", record, producer))

    @precondition(lambda self: any(slot.state == "open" for slot in self.slots))
    @rule(data=st.data(), commit=st.booleans())
    def decide(self, data: st.DataObject, commit: bool) -> None:
        """One of the open transactions ends."""
        mine = sorted({slot.producer for slot in self.slots if slot.state == "open" and slot.producer})
        producer = data.draw(st.sampled_from(mine))
        self.log.end_transaction(producer, commit=commit)
        for slot in self.slots:
            if slot.state == "open" and slot.producer == producer:
                slot.state = "committed" if commit else "aborted"
        self.slots.append(Slot("control"))

    @rule(passed=st.integers(1, 5))
    def wait(self, passed: int) -> None:
        """Time passes."""
        self.now += passed

    @rule(lag=st.integers(0, 6), retention=st.integers(0, 6))
    def compact(self, lag: int, retention: int) -> None:
        """Each key keeps its last record; what readers fold out of the log stays the same."""
        before = self.folded()
        self.log.compact(self.now - lag, self.now, retention)

        old = [slot for slot in self.slots[: self.dirty_from(lag)] if slot.record is not None]
        for slot in old:
            assert slot.record is not None
            newer = any(later.key == slot.record.key for later in self.decided(old, behind=slot.record.offset))
            if slot.state == "aborted" or newer:
                slot.record = None
            elif slot.record.value is None and slot.horizon is None:
                slot.horizon = self.now + retention
            elif slot.horizon is not None and slot.horizon <= self.now:
                slot.record = None
        assert self.folded() == before

    @rule(age=st.integers(0, 8))
    def retain_since(self, age: int) -> None:
        """The head of the log is too old."""
        self.log.retain_since(self.now - age)
        kept = [record.offset for record in self.held() if record.timestamp >= self.now - age]
        self.begin_at(min([*kept[:1], self.stable()]))

    @rule(size=st.integers(0, 60))
    def retain_bytes(self, size: int) -> None:
        """The log is too large."""
        self.log.retain_bytes(size)
        held = self.held()
        kept = [record.offset for at, record in enumerate(held) if sum(map(record_size, held[at + 1 :])) < size]
        self.begin_at(min([*kept[:1], self.stable()]))

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        """Somebody deletes records."""
        before = data.draw(st.integers(0, len(self.slots) + 1))
        self.log.truncate(before)
        self.begin_at(min(before, len(self.slots)))

    # -- what the model says

    def begin_at(self, start: int) -> None:
        """Nothing is left below an offset."""
        self.start = max(self.start, start)
        for slot in self.slots[: self.start]:
            slot.record = None

    def held(self) -> list[StoredRecord]:
        """All records that are there."""
        return [slot.record for slot in self.slots if slot.record is not None]

    def stable(self) -> int:
        """The last stable offset."""
        first = next((offset for offset, slot in enumerate(self.slots) if slot.state == "open"), len(self.slots))
        return max(self.start, first)

    def dirty_from(self, lag: int) -> int:
        """The first offset that a compaction with this lag leaves alone."""
        young = [record.offset for record in self.held() if record.timestamp > self.now - lag]
        return min([*young[:1], self.stable()])

    def decided(self, slots: list[Slot], behind: int) -> list[StoredRecord]:
        """The records behind an offset that are not aborted."""
        return [
            slot.record
            for slot in slots
            if slot.record is not None and slot.state != "aborted" and slot.record.offset > behind
        ]

    def folded(self) -> dict[bytes | None, bytes]:
        """The table that a reader of committed records makes of the log."""
        table = {record.key: record.value for record in self.log.read(self.start, 1000, committed=True).records}
        return {key: value for key, value in table.items() if value is not None}

    @invariant()
    def is_like_the_model(self) -> None:
        """Bounds, and what is read from every position in both isolation levels, are as the model says."""
        end, stable = len(self.slots), self.stable()
        assert (self.log.start, self.log.end, self.log.stable) == (self.start, end, stable)
        for committed, bound in ((True, stable), (False, end)):
            visible = [
                slot.record
                for slot in self.slots[:bound]
                if slot.record is not None and not (committed and slot.state == "aborted")
            ]
            for position in range(self.start, end + 1):
                expected = [record for record in visible if record.offset >= position]
                self.read(position, bound, committed, expected)

    def read(self, position: int, bound: int, committed: bool, expected: list[StoredRecord]) -> None:
        """Read on in twos until the position stands still: it gets to the bound, over gaps, and past no record."""
        begun, seen = position, list[StoredRecord]()
        while (found := self.log.read(position, 2, committed=committed)).next_offset > position:
            assert found.end_offset == bound
            seen += found.records
            position = found.next_offset
        assert seen == expected
        assert position == max(begun, bound)


TestLog = LogMachine.TestCase
TestLog.settings = settings(max_examples=80, stateful_step_count=25, deadline=None)
