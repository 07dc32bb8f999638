"""Agents with ``isolated_partitions``: an actor for each assigned partition, which holds up none but itself."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from stream_core.agents.agent import Agent
from stream_core.errors import WorkerError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, RawRecord
from stream_core.sending.topic import Topic
from stream_core.streams.cursor import Cursor
from stream_core.streams.decoded import Decoded
from stream_core.streams.events import current_event
from stream_core.streams.iteration import Iteration
from stream_core.streams.sessions import Chunk, Inbox, PartitionSession, Subscription
from stream_core.streams.stream import Stream
from stream_core.values.schemas import Schema

from .harness import Lab

pytestmark = pytest.mark.looptime


class Partitions:
    """A body that notes, for each run of its own, the events it gets, and which runs have ended.

    Args:
        work: what it does with each event, called with its partition and value.
    """

    def __init__(self, work: Callable[[int, Any], Any] = lambda partition, value: None) -> None:
        self.runs: list[list[tuple[int, Any]]] = []
        self.ended = 0
        self._work = work

    async def body(self, stream: Stream[Any]) -> None:
        """Note each event, then work on it."""
        mine: list[tuple[int, Any]] = []
        self.runs.append(mine)
        try:
            async for event in stream.events():
                mine.append((event.message.partition, event.value))
                if (waits := self._work(event.message.partition, event.value)) is not None:
                    await waits
        finally:
            self.ended += 1

    @property
    def seen(self) -> list[tuple[int, Any]]:
        """The events of all runs."""
        return [one for run in self.runs for one in run]


def of(lab: Lab, partitions: Partitions, topic: Topic[Any, Any], **options: Any) -> Agent:
    """An agent with that body."""
    return Agent(partitions.body, topic=topic, name="isolated", isolated_partitions=True, **options)


def committed(lab: Lab, topic: Topic[Any, Any], partition: int) -> int:
    """The committed offset of a partition, 0 before there is one."""
    offset = lab.committed(topic, partition)
    return 0 if offset is None else offset.offset


async def test_an_actor_for_each_partition(lab: Lab) -> None:
    """Each run of the body gets the events of one partition, in order; all of them are one reader."""
    topic, partitions = lab.topic("numbers", 3), Partitions()
    for partition in range(3):
        lab.put(topic, range(2500), partition)
    engine = await lab.start([of(lab, partitions, topic)])
    await lab.caught_up(topic)
    assert sorted(partitions.runs) == [[(partition, value) for value in range(2500)] for partition in range(3)]
    (reader,) = engine.snapshot().agents
    assert (reader.name, reader.running, reader.finished, reader.waiting) == ("isolated", 3, 7500, 0)


async def test_a_partition_that_waits_holds_up_only_itself(lab: Lab) -> None:
    """Others are fetched and worked on, however much there is, although more waits in that one than is kept."""
    topic, held = lab.topic("numbers", 2), asyncio.Event()
    partitions = Partitions(lambda partition, value: held.wait() if partition == 0 else None)
    lab.put(topic, range(200), 0)
    lab.put(topic, range(200), 1)
    await lab.start([of(lab, partitions, topic)], buffer_maxsize=10)
    await lab.until(lambda: committed(lab, topic, 1) == 200, "partition 1 is committed")
    assert [one for one in partitions.seen if one[0] == 0] == [(0, 0)]
    assert committed(lab, topic, 0) == 0
    held.set()
    await lab.caught_up(topic)
    assert Counter(partitions.seen) == Counter((partition, value) for partition in range(2) for value in range(200))


async def test_a_partition_that_fails_holds_up_only_itself(lab: Lab) -> None:
    """While its event waits to be tried again the others go on; then its events come in order, the failed one first."""
    topic = lab.topic("numbers", 2)

    def work(partition: int, value: Any) -> None:
        if partition == 0 and value == 1 and partitions.seen.count((0, 1)) == 1:
            raise ValueError("not yet")

    partitions = Partitions(work)
    lab.put(topic, range(3), 0)
    lab.put(topic, range(3), 1)
    await lab.start([of(lab, partitions, topic, on_failure=FailurePolicy.retry(3, delay=20.0, then="skip"))])
    await lab.until(lambda: committed(lab, topic, 1) == 3, "partition 1 is committed", timeout=10.0)
    assert [one for one in partitions.seen if one[0] == 0] == [(0, 0), (0, 1)]
    await lab.until(lambda: committed(lab, topic, 0) == 3, "partition 0 is committed")
    assert [one for one in partitions.seen if one[0] == 0] == [(0, 0), (0, 1), (0, 1), (0, 2)]


@pytest.mark.parametrize("stubborn", [False, True])
async def test_actors_end_with_their_partitions(lab: Lab, stubborn: bool) -> None:
    """A rebalance ends them, also those that wait to try an event again or have caught the cancellation; new ones begin."""
    topic = lab.topic("numbers", 2)

    async def waits(value: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise

    def work(partition: int, value: Any) -> Any:
        if partition == 0 and len(lab.engines) == 1:
            raise ValueError("not yet")
        return waits(value) if partition == 1 and len(lab.engines) == 1 else None

    engines: list[Any] = []
    partitions, others = Partitions(work), Partitions()
    lab.put(topic, [1], 0)
    lab.put(topic, [1, 2], 1)
    policy = FailurePolicy.retry(3, delay=1e6, longest=1e7, then="skip")
    engines.append(await lab.start([of(lab, partitions, topic, on_failure=policy)], drain_timeout=1.0))
    await lab.until(lambda: sorted(partitions.seen) == [(0, 1), (1, 1)], "both have begun")
    engines.append(await lab.start([of(lab, others, topic)], drain_timeout=1.0))
    await lab.caught_up(topic)
    await lab.until(lambda: len(partitions.runs) - partitions.ended == 1, "the actors of before have ended")
    assert {partition for partition, _ in partitions.runs[-1] + others.runs[0]} == {0, 1}
    assert len(others.runs) == 1
    for engine in engines:
        assert [reader.running for reader in engine.snapshot().agents] == [1]
        assert len(engine.topology.actors) == 1
        assert not engine.failure.done()


async def test_an_interval_that_is_dropped_is_replayed(lab: Lab) -> None:
    """The actors stay, and get the events again from the committed offsets on."""
    topic, partitions = lab.topic("numbers", 2), Partitions()
    lab.put(topic, [1], 0)
    lab.put(topic, [1], 1)
    engine = await lab.start([of(lab, partitions, topic)], commit_interval=1e6)
    await lab.until(lambda: len(partitions.seen) == 2, "both are worked on")
    engine.interval.status.spoil("for the test", None)
    await lab.until(lambda: len(partitions.seen) == 4, "both are worked on again")
    assert await engine.checkpoint()
    assert sorted(partitions.runs) == [[(0, 1), (0, 1)], [(1, 1), (1, 1)]]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (lambda stream: stream.through("other"), r"through\(\) reads all partitions as one stream"),
        (lambda stream: stream.group_by(lambda value: value, name="value"), r"group_by\(\) reads all partitions"),
        (lambda stream: stream & stream, r"combine\(\) reads all partitions"),
        (lambda stream: stream.noack(), r"too late for noack\(\): give its topic acks=False"),
    ],
)
async def test_what_reads_all_partitions_is_refused(lab: Lab, body: Callable[[Any], Any], told: str) -> None:
    """In a sentence that says what to do."""
    topic = lab.topic("numbers")

    async def isolated(stream: Stream[Any]) -> None:
        async for _ in body(stream):
            raise AssertionError("refused before the first event")

    engine = lab.engine([lab.agent(isolated, topic, isolated_partitions=True)], max_restarts=0)
    lab.engines.append(engine)
    starting = asyncio.create_task(engine.start())
    error = await lab.failed(engine)
    assert isinstance(error, WorkerError)
    with pytest.raises(WorkerError, match=told):
        raise error
    with suppress(WorkerError):
        await starting


async def test_events_that_are_finished_by_hand(lab: Lab) -> None:
    """Where the topic says so, as in other agents: nothing behind the first that is not finished is committed."""
    topic = lab.topic("numbers", 2, acks=False)
    events: list[Any] = []
    partitions = Partitions(lambda partition, value: events.append(current_event()))
    lab.put(topic, range(3), 0)
    lab.put(topic, range(3), 1)
    await lab.start([of(lab, partitions, topic)])
    await lab.until(lambda: len(events) == 6, "all are seen")
    for event in events:
        if event.value != 1 or event.message.partition == 1:
            event.ack()
    await lab.until(lambda: committed(lab, topic, 1) == 3, "partition 1 is committed")
    assert committed(lab, topic, 0) == 1


async def test_a_new_partition_goes_on_while_others_are_held() -> None:
    """What its own actor may take decides, when its records have to be made ready first: else the actor would ask without end."""
    reader, tp = Subscription("isolated", ("numbers",)), TP("numbers", 1)
    reader.isolate = lambda tp: Inbox()
    session = PartitionSession(tp, Schema(), 2, lambda tp, chunk: Decoded(chunk, chunk))
    session.run(0, [reader], {})
    feed = session.feeds["isolated"]
    asked: list[bool] = []

    async def prepare(records: Sequence[RawRecord], wanted: Callable[[], bool]) -> None:
        asked.append(wanted())

    session.prepare = prepare
    iteration = Iteration(reader, Cursor("isolated[0]", "isolated", lambda held: None), reader.lanes[tp])
    reader.inbox.hold(True)
    assert await iteration.can_decode(feed, Chunk(session, (), 0))
    assert asked == [True]
