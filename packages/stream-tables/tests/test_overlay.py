"""Overlay and store against a plain dictionary: events that fail, cuts through open events, commits and aborts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stream_core.cursor import Cursor, Session
from stream_core.memory import MemoryStores
from stream_core.participants import Interval, Reading
from stream_core.records import TP, StoredRecord
from stream_core.schemas import Schema
from stream_core.states import SessionState
from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.overlay import ABSENT
from stream_tables.partition import TablePartition

SOURCE, CHANGELOG = TP("source", 0), TP("changelog", 0)
KEYS = [b"a", b"b", b"c"]
NOTHING = object()


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

    @rule(number=writers, key=keys, value=st.one_of(st.integers(0, 9), st.lists(st.integers(0, 9), max_size=2)))
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
        changes = {change.key: change.value for change in self.part.changes({})}
        before = dict(self.part.store.items())
        asyncio.run(self.part.commit(1))
        after = {key: value for key, value in {**before, **changes}.items() if value is not None}
        assert dict(self.part.store.items()) == after
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
        assert dict(self.part.items()) == self.visible
        assert {key: decode(value) for key, value in self.part.store.items()} == self.stored
        assert {number for number, cursor in enumerate(self.actors) if cursor.pinned} == self.pinned


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

    (headers,) = {change.headers for change in part.changes({Reading(SOURCE, "one"): Interval(0, 3)})}
    assert headers == (("stream-origin", b'[0,[["source",0,"one",0,3]]]'),)


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
