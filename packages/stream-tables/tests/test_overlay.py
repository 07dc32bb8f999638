"""Overlay and store against a plain dictionary: events that fail, cuts through open events, commits and aborts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any
from weakref import ref

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_core.engine.participants import Interval, Reading
from stream_core.errors import RecordRefusedError
from stream_core.memory import MemoryStores
from stream_core.primitives import TP, StoredRecord
from stream_core.states import SessionState
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session
from stream_core.values.schemas import Schema
from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.overlay import ENTRY, OBJECT
from stream_tables.partition import TablePartition
from stream_tables.values import ABSENT, Encoded

SOURCE, CHANGELOG = TP("source", 0), TP("changelog", 0)
KEYS = [b"a", b"b", b"c"]
NOTHING = object()
VALUES = st.one_of(
    st.integers(0, 9),
    st.text(max_size=5),
    st.text("xü", min_size=90, max_size=110),
    st.lists(st.integers(0, 9), max_size=2),
)


def new_partition(stores: MemoryStores | None = None) -> TablePartition:
    """A table partition on an empty disk."""
    return TablePartition("table", CHANGELOG, 1, Schema(), (stores or MemoryStores()).open("table", 0))


def actor(name: str, *, concurrent: bool = False) -> Cursor:
    """The cursor of an actor."""
    return Cursor(name, name, lambda held: None, concurrent=concurrent)


def begin(cursor: Cursor, session: Session, offset: int = 0) -> None:
    """Open an event."""
    cursor.session, cursor.record = session, StoredRecord(offset, 0, None, b"")


def finish(cursor: Cursor) -> None:
    """Finish the open event, as a stream does."""
    cursor.finish()
    cursor.record = None


def value_of(part: TablePartition, key: bytes) -> Any:
    """What is seen outside of events."""
    return part.get(None, key)


def items_of(part: TablePartition) -> Iterator[tuple[bytes, Any]]:
    """All keys and values, uncommitted ones included."""
    return ((key, part.value_of(None, key, entry)) for key, entry in part.range(None))


def weight(layer: dict[bytes, Any]) -> int:
    """About how many bytes a layer has in memory."""
    return sum(
        len(key) + ENTRY + (len(value.data) + OBJECT if isinstance(value, Encoded) else 0)
        for key, value in layer.items()
    )


class OverlayAgainstDict(RuleBasedStateMachine):
    """Three actors on one partition: two write, the third only reads."""

    cursors = st.integers(0, 2)
    writers = st.integers(0, 1)
    keys = st.sampled_from(KEYS)

    def __init__(self) -> None:
        super().__init__()
        self.session = Session(SOURCE, Schema(), 1)
        self.part = new_partition()
        self.actors = [actor(f"actor-{number}") for number in range(3)]
        self.visible: dict[bytes, Any] = {}
        self.stored: dict[bytes, Any] = {}
        self.cut_state: dict[bytes, Any] | None = None
        self.before: list[dict[bytes, Any]] = [{}, {}, {}]  # what each open event changed, as it was
        self.pinned: set[int] = set()

    @initialize()
    def connect(self) -> None:
        """Nothing is open."""

    def _open(self, number: int) -> Cursor:
        cursor = self.actors[number]
        if cursor.record is None:
            begin(cursor, self.session)
        return cursor

    def _touch(self, number: int, key: bytes) -> None:
        self.pinned |= {other for other in range(3) if other != number and key in self.before[other]}

    def _change(self, number: int, key: bytes, value: Any) -> None:
        self._touch(number, key)
        self.before[number].setdefault(key, self.visible.get(key, NOTHING))
        self._put(self.visible, key, value)

    @staticmethod
    def _put(state: dict[bytes, Any], key: bytes, value: Any) -> None:
        if value is NOTHING:
            state.pop(key, None)
        else:
            state[key] = value

    def _close(self, number: int) -> None:
        self.actors[number].record = None
        self.before[number] = {}
        self.pinned.discard(number)

    @rule(number=writers, key=keys, value=VALUES)
    def write(self, number: int, key: bytes, value: Any) -> None:
        """An event assigns."""
        self.part.set(self._open(number), key, value)
        self._change(number, key, value)

    @rule(number=writers, key=keys)
    def delete(self, number: int, key: bytes) -> None:
        """An event deletes."""
        self.part.delete(self._open(number), key)
        self._change(number, key, NOTHING)

    @rule(number=cursors, key=keys)
    def read(self, number: int, key: bytes) -> None:
        """An event reads, its own changes and those of others."""
        value = self.part.get(self._open(number), key)
        assert (NOTHING if value is ABSENT else value) == self.visible.get(key, NOTHING)
        self._touch(number, key)

    @rule(number=cursors, first=st.just(b"") | keys, end=st.none() | keys)
    def iterate(self, number: int, first: bytes, end: bytes | None) -> None:
        """An event looks at a range or at everything, in order, and so at what others have deleted there, too; at nothing else."""
        cursor = self._open(number)
        found = [(key, self.part.value_of(cursor, key, entry)) for key, entry in self.part.range(cursor, first, end)]
        within = [key for key in sorted(KEYS) if first <= key and (end is None or key < end)]
        assert found == [(key, self.visible[key]) for key in within if key in self.visible]
        for key in within:
            self._touch(number, key)

    @precondition(lambda self: self.cut_state is None)
    @rule(key=keys)
    def seed(self, key: bytes) -> None:
        """A recovery has passed a change over: what is stored is written again, unless something newer is."""
        if key not in self.part.overlay.active:
            self.part.overlay.seed(key, self.part.store.get(key))

    @rule(number=cursors)
    def finish(self, number: int) -> None:
        """An event finishes: its changes stay."""
        finish(self.actors[number])
        self._close(number)

    @rule(number=cursors)
    def fail(self, number: int) -> None:
        """An event fails: its changes go, and when others have seen them the interval is dropped."""
        if self.actors[number].record is None:
            return
        seen = self.actors[number].rollback()
        assert seen == (number in self.pinned)
        if seen:
            self.abort()
        else:
            for key, value in self.before[number].items():
                self._put(self.visible, key, value)
            self._close(number)

    @precondition(lambda self: self.cut_state is None and not self.pinned)
    @rule()
    def cut(self) -> None:
        """A checkpoint begins: what finished events did is frozen, and what open ones did goes on."""
        self.part.overlay.cut([cursor for cursor in self.actors if cursor.record is not None and cursor.undo])
        self.cut_state = dict(self.visible)
        for before in self.before:
            for key, value in before.items():
                self._put(self.cut_state, key, value)

    @precondition(lambda self: self.cut_state is not None)
    @rule()
    def commit(self) -> None:
        """The checkpoint is committed: the store has what was frozen, and nothing else."""
        changes = dict(self.part.changes({}).records)
        before = dict(self.part.store.range())
        asyncio.run(self.part.commit(1))
        after = {key: value for key, value in {**before, **changes}.items() if value is not None}
        assert dict(self.part.store.range()) == after
        assert self.cut_state is not None
        self.stored, self.cut_state = self.cut_state, None

    @rule()
    def abort(self) -> None:
        """Everything uncommitted is dropped, open events included; at any time, also between cut and commit."""
        for number, cursor in enumerate(self.actors):
            cursor.abandon()
            cursor.attention = False
            self._close(number)
        self.part.overlay.clear()
        self.visible, self.cut_state = dict(self.stored), None

    @invariant()
    def everybody_sees_the_same(self) -> None:
        """Single reads, iteration and the store agree with the dictionary; pins are where keys met."""
        decode = Schema().decode_value
        for key in KEYS:
            value = value_of(self.part, key)
            assert (NOTHING if value is ABSENT else value) == self.visible.get(key, NOTHING)
        assert dict(items_of(self.part)) == self.visible
        assert {key: decode(value) for key, value in self.part.store.range()} == self.stored
        assert {number for number, cursor in enumerate(self.actors) if cursor.pinned} == self.pinned

    @invariant()
    def the_sizes_are_right(self) -> None:
        """Each layer counts its keys and encoded values once, whatever was assigned, taken back, cut and dropped before."""
        overlay = self.part.overlay
        assert overlay.size == weight(overlay.active)
        assert overlay.frozen_size == weight(overlay.frozen)


OverlayAgainstDict.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestOverlayAgainstDict = OverlayAgainstDict.TestCase


@pytest.fixture
def part() -> TablePartition:
    """A table partition."""
    return new_partition()


@pytest.fixture
def session() -> Session:
    """The session of a source partition."""
    return Session(SOURCE, Schema(), 1)


def test_a_value_that_changes_in_place(part: TablePartition, session: Session) -> None:
    """Nobody changes a value behind the table's back: what is read is a copy, and what was assigned is kept as it was."""
    cursor, value = actor("one"), [1]
    begin(cursor, session)
    part.set(cursor, b"a", value)
    value.append(2)
    part.get(cursor, b"a").append(3)
    assert part.get(cursor, b"a") == [1]


def test_readings_of_agents_on_one_topic(part: TablePartition, session: Session) -> None:
    """Two agents on one partition contribute two intervals to the changelog, although they share the session."""
    one, two = actor("one"), actor("two")
    for cursor in (one, two, one):
        begin(cursor, session)
        part.set(cursor, cursor.name.encode(), 1)
        finish(cursor)
    part.overlay.cut([])
    assert part.overlay.frozen_readings == {Reading(SOURCE, "one"), Reading(SOURCE, "two")}

    assert part.changes({Reading(SOURCE, "one"): Interval(0, 3)}).headers == (
        ("stream-origin", b'[0,[["source",0,"one",0,3]]]'),
    )


def test_readings_of_an_open_event_belong_to_the_next_interval(part: TablePartition, session: Session) -> None:
    """Who changed something in an event that is open at the cut contributes to the next interval again."""
    one, two = actor("one"), actor("two")
    for cursor in (one, two):
        begin(cursor, session)
        part.set(cursor, cursor.name.encode(), 1)
    finish(one)

    part.overlay.cut([two])
    part.overlay.thaw()
    finish(two)
    part.overlay.cut([])

    assert part.overlay.frozen == {b"two": 1}
    assert part.overlay.frozen_readings == {Reading(SOURCE, "two")}


def test_a_reader_pins_what_it_has_seen(part: TablePartition, session: Session) -> None:
    """An event that only reads what another has open makes the two be cut together; other keys do not matter."""
    writer, reader = actor("writer"), actor("reader")
    begin(writer, session)
    begin(reader, session)
    part.set(writer, b"a", 1)
    part.get(reader, b"b")
    assert not writer.pinned
    part.get(reader, b"a")
    assert writer.pinned
    assert not reader.pinned


def test_large_values_are_counted(part: TablePartition, session: Session) -> None:
    """Text, bytes and lists count with what they have, once, however often a key is assigned; a checkpoint takes it along."""
    cursor = actor("one")
    begin(cursor, session)
    for value in ("x" * 10_000, "ü" * 10_000, b"x" * 10_000, ["x" * 10_000]):
        for _ in range(3):
            part.set(cursor, b"a", value)
            assert 10_000 <= part.overlay.size <= 21_000
    part.set(cursor, b"a", 1)
    assert part.overlay.size < 1_000
    part.set(cursor, b"a", b"x" * 10_000)
    finish(cursor)
    part.overlay.cut([])
    assert part.overlay.size == 0
    assert part.overlay.frozen_size >= 10_000
    part.overlay.thaw()
    assert part.overlay.frozen_size == 0


@pytest.mark.parametrize("change", ["added", "deleted", "changed"])
def test_who_iterates_pins_what_is_seen(part: TablePartition, session: Session, change: str) -> None:
    """An event that looks at all keys depends on every open event that added, changed or deleted one, and on no other."""
    cursor, idle, writer, reader = actor("one"), actor("idle"), actor("writer"), actor("reader")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    finish(cursor)
    for one in (idle, writer, reader):
        begin(one, session)
    if change == "deleted":
        part.delete(writer, b"a")
    else:
        part.set(writer, b"a" if change == "changed" else b"b", 2)
    assert not writer.pinned

    part.range(reader)

    assert writer.pinned
    assert not idle.pinned
    assert not reader.pinned


def test_an_iteration_is_of_its_moment(part: TablePartition, session: Session) -> None:
    """What is changed behind the call is not in it, wherever the values go meanwhile: into a checkpoint, the store, or nowhere."""
    cursor = actor("one")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    part.set(cursor, b"b", [2])
    finish(cursor)
    items = [items_of(part) for _ in range(4)]
    begin(cursor, session, 1)
    part.set(cursor, b"a", 3)
    part.delete(cursor, b"b")
    part.set(cursor, b"c", 4)
    assert dict(items[0]) == {b"a": 1, b"b": [2]}
    finish(cursor)
    part.overlay.cut([])
    assert dict(items[1]) == {b"a": 1, b"b": [2]}
    asyncio.run(part.commit(1))
    assert dict(items[2]) == {b"a": 1, b"b": [2]}
    part.overlay.clear()
    assert dict(items[3]) == {b"a": 1, b"b": [2]}
    assert dict(items_of(part)) == {b"a": 3, b"c": 4}


def refused(part: TablePartition, key: bytes, intervals: dict[Reading, Interval]) -> RecordRefusedError:
    """The broker refuses the record of ``key`` of the checkpoint under way, and the interval is dropped."""
    error = RecordRefusedError("too large for the broker")
    shard = part.changes(intervals)
    part.refuse(next(shard.change(*record) for record in shard.records if record[0] == key), error)
    part.overlay.clear()
    return error


def test_what_the_broker_refused_keeps_no_error(part: TablePartition, session: Session) -> None:
    """An error has the frames that it passed, and they have all changes of the interval that is dropped."""
    cursor = actor("one")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    finish(cursor)
    part.overlay.cut([])
    gone = ref(refused(part, b"a", {Reading(SOURCE, "one"): Interval(0, 5)}))
    assert gone() is None


@pytest.mark.parametrize("value", [1, "text", [1, 2], "long" * 100, NOTHING])
def test_a_change_that_the_broker_refused(part: TablePartition, session: Session, value: Any) -> None:
    """The event that makes the same change again fails, whoever makes it; other values, other keys and other tables are free."""
    cursor, other = actor("one"), actor("other")
    reading = Reading(SOURCE, "one")

    def change(who: Cursor, key: bytes, to: Any) -> None:
        if to is NOTHING:
            part.delete(who, key)
        else:
            part.set(who, key, to)

    begin(cursor, session)
    change(cursor, b"a", value)
    finish(cursor)
    part.overlay.cut([])
    refused(part, b"a", {reading: Interval(0, 5)})

    for who in (cursor, other):
        begin(who, session)
        change(who, b"a", "something else")
        change(who, b"b", value)
        with pytest.raises(RecordRefusedError, match="table table, key b'a': too large for the broker"):
            change(who, b"a", value)
        assert value_of(part, b"a") == "something else"
        finish(who)


def test_what_was_refused_is_forgotten_when_its_events_are_committed(part: TablePartition, session: Session) -> None:
    """A checkpoint that commits only some of the interval does not end it; the one that commits the rest does, and costs are gone."""
    cursor = actor("one")
    mine, others = Reading(SOURCE, "one"), Reading(SOURCE, "two")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    finish(cursor)
    part.overlay.cut([])
    refused(part, b"a", {mine: Interval(0, 5), others: Interval(0, 9)})

    for intervals in ({mine: Interval(0, 3), others: Interval(0, 9)}, {others: Interval(9, 20)}):
        begin(cursor, session, 1)
        part.set(cursor, b"b", 1)
        with pytest.raises(RecordRefusedError):
            part.set(cursor, b"a", 1)
        finish(cursor)
        part.overlay.cut([])
        part.changes(intervals)
        asyncio.run(part.commit(1))
    part.overlay.cut([])
    part.changes({mine: Interval(3, 5)})
    asyncio.run(part.commit(None))

    begin(cursor, session, 6)
    part.set(cursor, b"a", 1)
    assert value_of(part, b"a") == 1
    assert part.overlay.guard is None
    assert part.overlay.writer is cursor


def test_an_abort_between_cut_and_commit(part: TablePartition, session: Session) -> None:
    """A commit whose interval was dropped meanwhile writes nothing: above all not the changelog position."""
    cursor = actor("one")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    finish(cursor)
    part.overlay.cut([])
    part.overlay.clear()

    asyncio.run(part.commit(7))

    assert part.store.fact("changelog_position") is None
    assert value_of(part, b"a") is ABSENT


def test_actors_that_share_events_are_refused(part: TablePartition, session: Session) -> None:
    """An agent with concurrency cannot change a table, whoever changed it before."""
    alone, crowd = actor("alone"), actor("crowd", concurrent=True)
    begin(alone, session)
    part.set(alone, b"a", 1)
    begin(crowd, session)
    with pytest.raises(TableError, match="table table cannot be changed by crowd: with concurrency > 1"):
        part.set(crowd, b"a", 2)


def test_another_partition_count_is_refused(part: TablePartition) -> None:
    """Events of a topic with another partition count would meet foreign state."""
    cursor = actor("one")
    begin(cursor, Session(TP("other", 0), Schema(), 4))
    with pytest.raises(PartitionsMismatchError, match="table table has 1 partitions, and topic other has 4"):
        part.set(cursor, b"a", 1)


def test_a_partition_that_was_given_up_is_refused(part: TablePartition, session: Session) -> None:
    """An event whose partition is gone cannot change anything any more."""
    cursor = actor("one")
    begin(cursor, session)
    part.set(cursor, b"a", 1)
    cursor.session = Session(session.tp, session.schema, session.partitions, SessionState.CLOSED)
    cursor.abandon()
    part.overlay.clear()
    with pytest.raises(TableError, match="the partition of this event was given up"):
        part.set(cursor, b"a", 2)
    assert value_of(part, b"a") is ABSENT


def test_what_is_open_at_a_cut_can_still_fail(part: TablePartition, session: Session) -> None:
    """An event that changed a key twice, around a cut, takes all of it back when it fails."""
    cursor = actor("one")
    begin(cursor, session, 0)
    part.set(cursor, b"a", 1)
    finish(cursor)
    begin(cursor, session, 1)
    part.set(cursor, b"a", 2)
    part.set(cursor, b"a", 3)
    part.overlay.cut([cursor])
    part.set(cursor, b"a", 4)
    assert part.overlay.frozen == {b"a": 1}

    assert not cursor.rollback()

    assert value_of(part, b"a") == 1
    asyncio.run(part.commit(1))
    assert value_of(part, b"a") == 1
