"""Streams: when an event is finished, what an iteration yields, and how it shares the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

import pytest

from stream_core.errors import DecodeError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, Batch, RawRecord, StoredRecord
from stream_core.streams.cursor import Cursor, give_back
from stream_core.streams.decoded import Decoded, Rejected
from stream_core.streams.iteration import QUANTUM, TURN
from stream_core.streams.sessions import PartitionSession, Subscription
from stream_core.streams.stream import Stream
from stream_core.streams.verdicts import Verdict
from stream_core.values.schemas import Schema

pytestmark = pytest.mark.looptime

SOURCE = TP("source", 0)


class Source:
    """A subscription with one partition, as an actor has it.

    Args:
        schema: of the records.
    """

    def __init__(self, schema: Schema | None = None) -> None:
        self._schema = schema or Schema(key_type=int)
        self.subscription = Subscription("agent", ["source"])
        self.emitted: list[Any] = []
        self.cursor = Cursor("agent[0]", "agent", self.emitted.extend)
        self.subscription.cursors.append(self.cursor)
        self.session = PartitionSession(SOURCE, self._schema, 1, self._decode)
        self.session.run(0, [self.subscription], {})
        self.stream = Stream[Any](self.subscription, self.cursor)
        self.rejected: list[int] = []

    async def pass_over(self, error: Exception) -> None:
        """Reject the open event, which failed for good, as an actor does."""
        verdict = Verdict.of(error, FailurePolicy.SKIP)

        async def reject(tp: TP, one: Rejected) -> None:
            assert (tp, one.why) == (SOURCE, verdict)
            self.rejected.append(one.record.offset)

        self.subscription.reject = reject
        self.cursor.rollback()
        self.cursor.judge_open(verdict)
        await self.cursor.reject_open(verdict)
        give_back(self.cursor.withdraw())

    def _decode(self, tp: TP, records: Sequence[RawRecord]) -> Decoded:
        return Decoded(records, self._schema.decode_values(records)[0])

    def deliver(self, *values: bytes, keys: Sequence[bytes | None] = ()) -> None:
        """Records with these values come in."""
        first = self.session.fetch_position
        records = [
            StoredRecord(offset, 5000, keys[index] if keys else b"%d" % offset, value, [("name", b"header")])
            for index, (offset, value) in enumerate(enumerate(values, first))
        ]
        self.session.deliver(Batch(SOURCE, records, first + len(records)))


async def test_an_event_is_finished_by_asking_for_the_next() -> None:
    """The position stays at the open event until the next one is asked for."""
    source = Source()
    source.deliver(b"1", b"2", b"3")
    events = aiter(source.stream)
    positions = []
    for _ in range(3):
        await anext(events)
        positions.append(source.session.position)
    assert positions == [0, 1, 2]

    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    assert source.session.position == 3
    waiting.cancel()


async def test_closing_the_iteration_finishes_nothing() -> None:
    """An event whose body was left by an exception or by garbage collection is not finished, and comes first again."""
    source = Source()
    source.deliver(b"1", b"2", b"3")
    events = source.stream.__aiter__()
    await anext(events)
    assert await anext(events) == 2

    await events.aclose()  # type: ignore[attr-defined]
    give_back(source.cursor.withdraw())

    assert source.session.position == 1
    assert await anext(aiter(source.stream)) == 2


async def test_passing_an_event_over() -> None:
    """An event that failed for good is rejected where it stands, and is finished: what is behind it comes next."""
    source = Source()
    source.deliver(b"1", b"2", b"3")
    events = aiter(source.stream)
    await anext(events)
    await source.pass_over(ValueError("1"))
    assert (source.rejected, source.session.position) == ([0], 1)
    assert await anext(aiter(source.stream)) == 2
    assert (source.rejected, source.session.position) == ([0], 1)


async def test_effects_are_final_when_the_event_is_finished() -> None:
    """What an event holds back leaves when the next one is asked for, in order; what a failed one holds never does."""
    source = Source()
    source.deliver(b"1", b"2", b"3")
    events = aiter(source.stream)
    for name in "ab":
        await anext(events)
        source.cursor.held.append(name)
        source.cursor.attention = True
        assert name not in source.emitted
    await anext(events)
    source.cursor.held.append("c")
    source.cursor.attention = True

    assert not source.cursor.rollback()

    assert source.emitted == ["a", "b"]


async def test_whole_events() -> None:
    """``events()`` yields key, value, headers and the message behind them."""
    source = Source()
    source.deliver(b'{"a": 1}')
    event = await anext(source.stream.events())
    assert (event.key, event.value, event.headers) == (0, {"a": 1}, {"name": b"header"})
    assert event.message == ("source", 0, 0, 5.0, b"0", b'{"a": 1}', [("name", b"header")])
    assert event.message.tp == SOURCE
    assert repr(event) == "<Event source-0 offset=0 key=b'0' value={'a': 1}>"


async def test_keys_and_values() -> None:
    """``items()`` yields decoded keys with their values; a record without key has none."""
    source = Source()
    source.deliver(b"1", b"2", keys=[b"7", None])
    items = source.stream.items()
    assert [await anext(items), await anext(items)] == [(7, 1), (None, 2)]


async def test_a_key_that_cannot_be_decoded() -> None:
    """A bad key fails its own event, by topic, partition and offset; the event before it was finished."""
    source = Source()
    source.deliver(b"1", b"2", b"3", keys=[b"1", b"x", b"3"])
    items = source.stream.items()
    assert await anext(items) == (1, 1)

    with pytest.raises(DecodeError, match=r"cannot decode the key: .*topic source, partition 0, offset 1") as caught:
        await anext(items)

    assert (caught.value.tp, caught.value.offset) == (SOURCE, 1)
    assert source.session.position == 1
    await source.pass_over(caught.value)
    assert await anext(source.stream.items()) == (3, 3)
    assert source.rejected == [1]


async def test_values_of_a_closed_session_stop() -> None:
    """When the partition is given up, the open event may finish, and none behind it reaches the body."""
    source = Source()
    source.deliver(b"1", b"2", b"3", b"4")
    events = aiter(source.stream)
    await anext(events)
    await anext(events)

    source.session.suspend()
    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(1)

    assert not waiting.done()
    assert source.session.position == 2
    waiting.cancel()


async def test_a_failure_while_the_session_closes_loses_no_progress() -> None:
    """Events that finished before one that failed stay finished, when the partition is being given up meanwhile."""
    source = Source()
    source.deliver(b"1", b"2", b"3", b"4")
    events = aiter(source.stream)
    for _ in range(3):
        await anext(events)
    source.session.suspend()

    source.cursor.rollback()
    give_back(source.cursor.withdraw())

    assert source.session.position == 2


async def test_effects_of_a_dead_session_come_to_nothing() -> None:
    """What an event holds back does not leave when its partition was given up before it finished."""
    source = Source()
    source.deliver(b"1", b"2")
    events = aiter(source.stream)
    await anext(events)
    source.cursor.held.append("late")
    source.session.close()

    waiting = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)

    assert source.emitted == []
    waiting.cancel()


async def test_a_long_chunk_shares_the_event_loop() -> None:
    """A body that never waits gives the loop a turn every few milliseconds, without ending an event for it."""
    source = Source()
    source.deliver(*[b"1"] * 10 * QUANTUM)
    turns, finished = 0, False

    async def other() -> None:
        nonlocal turns
        while not finished:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    count = 0
    async for _ in source.stream:
        count += 1
        until = monotonic() + 1.5 * TURN / QUANTUM
        while monotonic() < until:
            pass
        if count == 10 * QUANTUM:
            break
    finished = True
    await task

    assert 8 <= turns <= 11  # at each look at the clock, and never between
