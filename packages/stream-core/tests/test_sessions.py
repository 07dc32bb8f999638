"""Partition sessions: chunks, progress of several subscriptions, leads, and what is left when a session is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_core.errors import DecodeError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Batch, RawRecord, StoredRecord
from stream_core.streams.cursor import Cursor, give_back
from stream_core.streams.decoded import Decoded, Rejected
from stream_core.streams.sessions import CHUNK, Chunk, Feed, PartitionSession, Subscription
from stream_core.streams.verdicts import Verdict
from stream_core.values.schemas import Schema

SOURCE = TP("source", 0)


def decode(tp: TP, records: Sequence[RawRecord]) -> Decoded:
    """The offsets stand for the values."""
    return Decoded(records, [record.offset for record in records])


def session_of(*subscriptions: Subscription, at: int = 0, leads: dict[str, int] | None = None) -> PartitionSession:
    """A session that delivers from ``at`` on."""
    session = PartitionSession(SOURCE, Schema(), 1, decode)
    session.run(at, subscriptions, leads or {})
    return session


def batch(*offsets: int, next_offset: int = -1, end_offset: int = -1) -> Batch:
    """A batch of records at these offsets."""
    records = [StoredRecord(offset, 0, None, b"") for offset in offsets]
    return Batch(SOURCE, records, next_offset if next_offset >= 0 else offsets[-1] + 1, end_offset)


def open_event(subscription: Subscription, session: PartitionSession, offset: int) -> Cursor:
    """A cursor of the subscription with an event open."""
    cursor = Cursor("actor", subscription.name, lambda held: None)
    cursor.session, cursor.record = session, StoredRecord(offset, 0, None, b"")
    subscription.cursors.append(cursor)
    return cursor


def taken(subscription: Subscription) -> Chunk:
    """The next chunk, which must be there."""
    _, chunk = subscription.inbox.take() or (None, None)
    assert chunk is not None
    return chunk


def offsets(chunk: Chunk) -> list[int]:
    """The offsets in a chunk."""
    return [record.offset for record in chunk.records]


@pytest.fixture
def subscription() -> Subscription:
    """One reader of the topic."""
    return Subscription("agent", ["source"])


def test_batches_come_in_chunks(subscription: Subscription) -> None:
    """A large batch is split, the last chunk reaches up to the fetch position, and nothing is lost on the way."""
    session = session_of(subscription)
    session.deliver(batch(*range(2 * CHUNK + 10), next_offset=2 * CHUNK + 15))

    chunks = [taken(subscription) for _ in range(3)]

    assert [len(chunk.records) for chunk in chunks] == [CHUNK, CHUNK, 10]
    assert [chunk.next_offset for chunk in chunks] == [CHUNK, 2 * CHUNK, 2 * CHUNK + 15]
    assert [offset for chunk in chunks for offset in offsets(chunk)] == list(range(2 * CHUNK + 10))
    assert subscription.inbox.take() is None


def test_a_chunk_is_decoded_once() -> None:
    """All subscriptions share the decoded values of a chunk."""
    first, second = Subscription("first", ["source"]), Subscription("second", ["source"])
    session_of(first, second).deliver(batch(0, 1))
    assert taken(first).decoded() is taken(second).decoded()


def test_position_follows_the_open_event(subscription: Subscription) -> None:
    """While an event is open its offset is the position; the chunk finished, it is the fetch position."""
    session = session_of(subscription)
    feed = session.feeds["agent"]
    session.deliver(batch(0, 1, 2, next_offset=5))
    chunk = taken(subscription)
    assert session.position == 0

    cursor = open_event(subscription, session, 2)
    assert session.position == 2

    cursor.record = None
    feed.finish(chunk)
    assert (session.position, session.backlog) == (5, 0)


def test_control_records_move_the_position(subscription: Subscription) -> None:
    """A batch without records moves the position when nothing is unfinished, and only then."""
    session = session_of(subscription)
    session.deliver(Batch(SOURCE, [], 3))
    assert session.position == 3

    session.deliver(batch(3, 4))
    session.deliver(Batch(SOURCE, [], 9))
    assert session.position == 3


def test_lag_is_what_lies_behind_the_fetch_position(subscription: Subscription) -> None:
    """The lag is counted to the end that the fetch saw; it is unknown when the fetch saw none."""
    session = session_of(subscription)
    assert session.lag == -1
    session.deliver(batch(0, 1, end_offset=10))
    assert session.lag == 8


def test_the_slowest_subscription_holds_the_offset() -> None:
    """The offset is the minimum; who is ahead of it is a lead, and the backlog is that of the slowest."""
    slow, fast = Subscription("slow", ["source"]), Subscription("fast", ["source"])
    session = session_of(slow, fast)
    session.deliver(batch(*range(10)))
    session.feeds["fast"].finish(taken(fast))

    assert (session.position, session.leads, session.backlog) == (0, {"fast": 10}, 10)

    session.feeds["slow"].finish(taken(slow))
    assert (session.position, session.leads, session.backlog) == (10, {}, 0)


@pytest.mark.parametrize(("lead", "rest"), [(3, [3, 4, 5]), (5, [5]), (6, []), (20, [])])
def test_a_lead_is_skipped(lead: int, rest: list[int]) -> None:
    """A subscription that was ahead of the committed offset gets nothing again that it had finished."""
    slow, fast = Subscription("slow", ["source"]), Subscription("fast", ["source"])
    session = session_of(slow, fast, leads={"fast": lead})
    session.deliver(batch(*range(6)))

    assert offsets(taken(slow)) == list(range(6))
    _, chunk = fast.inbox.take() or (None, None)
    assert (offsets(chunk) if chunk is not None else []) == rest
    assert session.feeds["fast"].position == lead


def test_a_lead_may_lie_in_a_gap() -> None:
    """Skipping goes by offsets, not by numbers of records."""
    fast = Subscription("fast", ["source"])
    session_of(fast, leads={"fast": 5}).deliver(batch(0, 2, 4, 8, 9))
    assert offsets(taken(fast)) == [8, 9]


def test_what_is_given_back_comes_first(subscription: Subscription) -> None:
    """The unfinished part of a chunk is taken again before what came after it; what lies below stays finished."""
    session = session_of(subscription)
    feed = session.feeds["agent"]
    session.deliver(batch(0, 1, 2))
    session.deliver(batch(3, 4))

    give_back([partial(feed.put_back, chunk) for chunk in feed.rest(taken(subscription), 1)])

    assert (session.position, feed.backlog, subscription.inbox.records) == (1, 4, 4)
    assert offsets(taken(subscription)) == [1, 2]
    assert offsets(taken(subscription)) == [3, 4]


def test_giving_nothing_back_finishes(subscription: Subscription) -> None:
    """When the last event of a chunk was skipped the chunk is finished, up to the fetch position."""
    session = session_of(subscription)
    session.deliver(batch(0, 1, next_offset=7))
    assert session.feeds["agent"].rest(taken(subscription), 2) == []
    assert (session.position, session.backlog, subscription.inbox.take()) == (7, 0, None)


def test_verdicts_last_until_they_are_committed(subscription: Subscription) -> None:
    """What was decided on an event is known for its chunk, also in a session that replays it, and forgotten behind the commit."""
    verdict = Verdict.of(ValueError("it failed"), FailurePolicy.SKIP)
    session_of(subscription).feeds["agent"].judge(1, verdict)
    for _ in range(2):
        session = session_of(subscription)
        feed = session.feeds["agent"]
        session.deliver(batch(0, 1))
        session.deliver(batch(2))
        chunk = taken(subscription)
        assert feed.verdicts(chunk) == {1: verdict}
        assert feed.verdicts(taken(subscription)) == {}
    feed.judge(2, verdict)
    feed.committed = 2
    feed.finish(chunk)
    assert subscription.verdicts[SOURCE].since(0) == {2: verdict}


def test_backlog_counts_until_finished() -> None:
    """Records count as backlog from delivery until their chunk is finished, for each subscription by itself."""
    one, two = Subscription("one", ["source"]), Subscription("two", ["source"])
    session = session_of(one, two)
    session.deliver(batch(0, 1))
    session.deliver(batch(2, 3, 4))
    chunk = taken(one)
    assert [feed.backlog for feed in session.feeds.values()] == [5, 5]
    session.feeds["one"].finish(chunk)
    assert [feed.backlog for feed in session.feeds.values()] == [3, 5]
    assert session.backlog == 5


def test_progress_is_told(subscription: Subscription) -> None:
    """Whoever waits for room hears of each chunk that is finished."""
    calls: list[int] = []
    subscription.on_progress = lambda: calls.append(1)
    session = session_of(subscription)
    session.deliver(batch(0))
    session.feeds["agent"].finish(taken(subscription))
    assert calls == [1]


def test_a_closed_session_gives_nothing(subscription: Subscription) -> None:
    """Chunks of a closed session are dropped; an event that is open is told, and still holds the position."""
    closed, running = session_of(subscription), session_of(subscription, at=5)
    closed.deliver(batch(0, 1))
    running.deliver(batch(5))
    cursor = open_event(subscription, closed, 0)

    closed.close()

    assert cursor.attention
    assert closed.open_work() == [cursor]
    assert taken(subscription).session is running
    assert subscription.inbox.records == 0
    assert closed.position == 0


def test_out_of_order_the_prefix_counts() -> None:
    """With several actors events are handed out one by one, and the position is the first that is unfinished."""
    subscription = Subscription("agent", ["source"], concurrency=3)
    session = session_of(subscription)
    feed: Feed = session.feeds["agent"]
    session.deliver(batch(0, 1, 4, next_offset=6))
    chunks = [taken(subscription) for _ in range(3)]
    assert [offsets(chunk) for chunk in chunks] == [[0], [1], [4]]

    feed.finish(chunks[2])
    feed.finish(chunks[1])
    assert (session.position, session.backlog) == (0, 1)

    feed.finish(chunks[0])
    assert (session.position, session.backlog) == (6, 0)


@pytest.mark.looptime
async def test_all_waiting_actors_wake_up() -> None:
    """Everyone who waits at an empty inbox looks again when a chunk comes."""
    subscription = Subscription("agent", ["source"], concurrency=2)
    session = session_of(subscription)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(subscription.inbox.wait())
        group.create_task(subscription.inbox.wait())
        await asyncio.sleep(1)
        session.deliver(batch(0))


@given(st.lists(st.sampled_from(["good", "undecodable", "garbled", "compacted"]), max_size=30))
def test_records_that_are_none_are_rejected_at_their_place(kinds: list[str]) -> None:
    """Whatever is between them, every record is handed on or rejected once, in order, and the garbled ones say why."""
    undecodable = {offset for offset, kind in enumerate(kinds) if kind == "undecodable"}
    garbled = {offset: f"reason {offset}" for offset, kind in enumerate(kinds) if kind == "garbled"}

    def decode(tp: TP, records: Sequence[RawRecord]) -> Decoded:
        good = [record for record in records if record.offset not in undecodable]
        rejected = [
            Rejected(sum(one.offset < record.offset for one in good), record, DecodeError("no", tp, record.offset))
            for record in records
            if record.offset in undecodable
        ]
        return Decoded(good, [record.offset for record in good], rejected)

    session = PartitionSession(SOURCE, Schema(), 1, decode)
    session.run(0, [], {})
    records = [StoredRecord(offset, 0, None, b"") for offset, kind in enumerate(kinds) if kind != "compacted"]
    session.deliver(Batch(SOURCE, records, len(kinds), garbled=garbled))

    decoded = Chunk(session, records, len(kinds)).decoded()

    assert [record.offset for record in decoded.records] == list(decoded.values)
    merged: list[int] = []
    for index in range(len(decoded.records) + 1):
        merged += [one.record.offset for one in decoded.rejected if one.at == index]
        merged += list(decoded.values[index : index + 1])
    assert merged == [record.offset for record in records]
    assert {one.record.offset for one in decoded.rejected} == undecodable | set(garbled)
    for one in decoded.rejected:
        if reason := garbled.get(one.record.offset):
            assert f"{reason} [topic source, partition 0, offset {one.record.offset}]" in str(one.why)
