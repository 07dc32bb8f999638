"""What waits for agents is bounded in bytes, too."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from stream_core.counters import Counters
from stream_core.engine.backpressure import LEAST, BackPressure
from stream_core.primitives import SAMPLE, TP, Batch, StoredRecord
from stream_core.sensors import Sensors
from stream_core.settings import EngineSettings
from stream_core.streams.decoded import Decoded
from stream_core.streams.sessions import PartitionSession, Subscription
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import GROUP, Lab


def records(sizes: Sequence[int], start: int = 0) -> list[StoredRecord]:
    """Records with values of these sizes, without keys."""
    return [StoredRecord(start + index, 0, None, bytes(size)) for index, size in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [[], [5], [1, 2, 3], [1000] * (2 * SAMPLE - 1), list(range(2 * SAMPLE - 1))])
def test_the_size_of_a_small_batch_is_exact(sizes: list[int]) -> None:
    """Large records come in small batches, so that these are counted."""
    assert Batch(TP("t", 0), records(sizes), len(sizes)).size == sum(sizes)


def test_keys_count_and_tombstones_are_nothing() -> None:
    """Size is that of keys and values."""
    batch = Batch(TP("t", 0), [StoredRecord(0, 0, b"key", None), StoredRecord(1, 0, None, b"value")], 2)
    assert batch.size == 8


def test_the_size_of_a_large_batch_is_estimated() -> None:
    """A few records out of thousands say about how large it is."""
    sizes = [100 + index % 7 for index in range(10_000)]
    assert Batch(TP("t", 0), records(sizes), len(sizes)).size == pytest.approx(sum(sizes), rel=0.05)


def session(partition: int = 0, maxsize: int = 1000) -> PartitionSession:
    """A session that runs, with one reader."""
    made = PartitionSession(TP("t", partition), Schema(bytes, bytes), 4, lambda tp, given: Decoded(given, given))
    made.maxsize = maxsize
    made.run(0, [Subscription("reader", ["t"])], {})
    return made


def deliver(to: PartitionSession, sizes: Sequence[int]) -> None:
    """Let records of these sizes arrive."""
    start = to.fetch_position
    to.deliver(Batch(to.tp, records(sizes, start), start + len(sizes)))


def finish(of: PartitionSession) -> None:
    """Finish the oldest chunk."""
    (feed,) = of.feeds.values()
    taken = feed.subscription.inbox.take()
    assert taken is not None
    feed.finish(taken[1])


def test_bytes_follow_what_waits() -> None:
    """They are the mean size of what waits, by the number of records that wait."""
    one = session()
    deliver(one, [100] * 10)
    assert one.backlog_bytes == 1000
    deliver(one, [300] * 10)
    assert one.backlog_bytes == 4000
    finish(one)
    assert one.backlog_bytes == 2000
    finish(one)
    deliver(one, [7])
    assert one.backlog_bytes == 7


class Consumer:
    """Keeps what is paused."""

    def __init__(self) -> None:
        self.paused: set[TP] = set()

    def pause(self, tps: Sequence[TP]) -> None:
        """Note it."""
        self.paused.update(tps)

    def resume(self, tps: Sequence[TP]) -> None:
        """Note it."""
        self.paused.difference_update(tps)


def context(consumer: Any, participants: list[Any], **settings: Any) -> Any:
    """What back-pressure needs of an engine."""
    return SimpleNamespace(
        settings=EngineSettings(GROUP, **settings),
        clients=SimpleNamespace(consumer=consumer),
        participants=participants,
        counters=Counters(),
        sensors=Sensors(),
    )


def pressure(sessions: list[PartitionSession], max_bytes: int) -> tuple[BackPressure, Consumer]:
    """Back-pressure over sessions."""
    consumer = Consumer()
    ownership: Any = SimpleNamespace(running=sessions)
    return BackPressure(context(consumer, [], buffer_max_bytes=max_bytes), ownership, []), consumer


def test_a_partition_is_paused_by_its_share_of_bytes_and_resumed_at_half() -> None:
    """Two partitions share the bound; the one that is behind waits, the other goes on."""
    slow, fast = session(0), session(1)
    held, consumer = pressure([slow, fast], 8 * LEAST)
    for _ in range(3):
        deliver(slow, [LEAST])
        held.hold()
        assert consumer.paused == set()
    deliver(slow, [LEAST])
    deliver(fast, [LEAST])
    held.hold()
    assert consumer.paused == {slow.tp}
    finish(slow)
    held.release()
    assert consumer.paused == {slow.tp}
    finish(slow)
    held.release()
    assert consumer.paused == set()


def test_each_partition_may_have_something() -> None:
    """However many partitions there are, each may hold about one fetch: else nothing would arrive at all."""
    sessions = [session(partition) for partition in range(4)]
    held, consumer = pressure(sessions, 1)
    for one in sessions:
        deliver(one, [LEAST - 1])
    held.hold()
    assert consumer.paused == set()
    deliver(sessions[0], [1])
    held.hold()
    assert consumer.paused == {sessions[0].tp}


def test_count_and_bytes_both_bound() -> None:
    """Many small records pause a partition as few large ones do, and it is resumed when neither is too much."""
    one = session(maxsize=4)
    held, consumer = pressure([one], 100 * LEAST)
    deliver(one, [1] * 4)
    held.hold()
    assert consumer.paused == {one.tp}
    finish(one)
    held.release()
    assert consumer.paused == set()


def test_closed_sessions_are_forgotten() -> None:
    """A partition that was given up is not resumed by who gave it up."""
    one = session(maxsize=1)
    held, consumer = pressure([one], LEAST)
    deliver(one, [1])
    held.hold()
    one.close()
    held.release()
    assert consumer.paused == {one.tp}
    held.hold()
    assert consumer.paused == {one.tp}


async def test_large_records_do_not_fill_the_memory(lab: Lab) -> None:
    """Of large records an agent that is behind has a few waiting, not thousands; in the end it gets all of them."""
    topic = lab.topic("large", schema=Schema(bytes, bytes))
    seen: list[bytes] = []

    async def body(stream: Stream[bytes]) -> None:
        async for value in stream:
            await asyncio.sleep(0.01)
            seen.append(value[:3])

    engine = await lab.start([lab.agent(body, topic)], buffer_max_bytes=LEAST)
    (session,) = engine.ownership.sessions.values()
    values = [b"%03d" % number + bytes(LEAST // 4) for number in range(60)]
    position, full = 0, 0
    for value in values:
        lab.put(topic, [value])
        await asyncio.sleep(0.002)
        if session.fetch_position > position:
            waiting = position - len(seen)
            assert waiting < 5, f"{waiting} large records wait, and more were fetched"
        position = session.fetch_position
        full += session.backlog_bytes >= LEAST
    assert full
    await lab.caught_up(topic)
    assert seen == [value[:3] for value in values]


async def test_changes_that_wait_for_a_checkpoint_are_bounded() -> None:
    """While a checkpoint takes long, and memory is full of changes, nothing more is fetched; when it has ended that goes on."""
    tables = SimpleNamespace(pending=1001, under_way=2000)
    ownership: Any = SimpleNamespace(running=[])
    pressure = BackPressure(context(None, [tables], commit_bytes=1000), ownership, [])
    waiting = asyncio.ensure_future(pressure.hungry())
    for _ in range(3):
        pressure.release()
        await asyncio.sleep(0)
    assert not waiting.done()

    tables.under_way = 0  # only what no checkpoint has taken is left: it comes early for that
    pressure.release()
    await waiting
    tables.pending = 4001
    await pressure.hungry()


class ChangesOf:
    """A participant that has as much to store as a test says."""

    pending = under_way = 0


async def test_what_was_fetched_waits_for_a_checkpoint_too() -> None:
    """Small records may make large values: while memory is full of changes an agent takes no further chunk, and goes on behind it.

    What waits in a channel is taken all the same.
    """
    changes, one = ChangesOf(), session()
    (feed,) = one.feeds.values()
    reader, channel = feed.subscription, Subscription("channel", [])
    ownership: Any = SimpleNamespace(running=[one])
    pressure = BackPressure(context(None, [changes], commit_bytes=1000), ownership, [reader, channel])
    deliver(one, [1] * 10)
    deliver(one, [1] * 20)
    finish(one)

    changes.under_way, changes.pending = 1000, 2001
    pressure.release()
    assert reader.inbox.take() is None
    waiting = asyncio.ensure_future(reader.inbox.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    assert not channel.inbox.held

    changes.under_way = 0
    pressure.release()
    await waiting
    taken = reader.inbox.take()
    assert taken is not None
    assert len(taken[1].records) == 20
