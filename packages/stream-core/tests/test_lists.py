"""Lists of ``take``: what processors in front of it send while a list fills, under exactly-once; and when time is up."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from stream_core.clocks import SystemClock
from stream_core.errors import ProduceError, Skip
from stream_core.runs import Run
from stream_core.streams.stream import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime

EXACTLY_ONCE = {"transactional_id": "worker"}


async def test_a_list_for_which_more_is_sent_than_one_event_may_hold(lab: Lab) -> None:
    """The bound is for one event: a long list whose processors send much is handed over, and each record is sent once."""
    topic, out, got = lab.topic("numbers"), lab.topic("out"), list[Any]()

    async def copy(value: int) -> int:
        await out.send([value, "x" * 900_000])
        return value

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(copy).take(25):
            await out.send(["list", ""])
            got.append(values)

    lab.put(topic, range(25))
    await lab.start([lab.agent(body, topic)], [out], **EXACTLY_ONCE)
    await lab.caught_up(topic)
    assert got == [list(range(25))]
    assert [number for number, _ in lab.values(out)] == [*range(25), "list"]


async def test_the_position_does_not_pass_what_a_dropped_event_has_sent(lab: Lab) -> None:
    """An event that a processor dropped, in front of the list that is open, is committed together with what was sent for it."""
    topic, out, gate = lab.topic("numbers"), lab.topic("out"), asyncio.Event()

    async def divert(value: int) -> int:
        if value == 0:
            await out.send(value)
            raise Skip
        return value

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.add_processor(divert).take(1):
            await gate.wait()

    lab.put(topic, range(2))
    await lab.start([lab.agent(body, topic)], [out], **EXACTLY_ONCE)
    await lab.until(lambda: getattr(lab.committed(topic), "offset", 0) == 1, "the dropped event is committed")
    assert lab.values(out) == [0]
    gate.set()
    await lab.caught_up(topic)


@pytest.mark.parametrize("by_partition", [False, True])
async def test_a_list_whose_processor_waited_for_its_send_holds_up_no_checkpoint(lab: Lab, by_partition: bool) -> None:
    """What has left belongs to the open transaction: its list does not wait for events that may never come, and nothing is sent twice."""
    topic, other, out, got = lab.topic("numbers", 2), lab.topic("other"), lab.topic("out"), list[Any]()

    async def copy(value: int) -> int:
        await (await out.send(value))
        return value

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(copy).take(10, by_partition=by_partition):
            got.extend(values)

    async def others(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    lab.put(topic, range(3))
    lab.put(topic, range(10, 13), partition=1)
    lab.put(other, range(2))
    agents = [lab.agent(body, topic), lab.agent(others, other)]
    await lab.start(agents, [out], **EXACTLY_ONCE)
    await lab.caught_up(topic, other)
    assert sorted(got) == sorted(lab.values(out)) == [0, 1, 2, 10, 11, 12]


@pytest.mark.parametrize("comes", [True, False], ids=["handed over", "dropped"])
async def test_who_waits_beside_a_list_for_what_its_processor_sent(lab: Lab, comes: bool) -> None:
    """It hears of the record when the list is finished, and of a failure only when the interval is dropped."""
    topic, out, told = lab.topic("numbers"), lab.topic("out"), asyncio.Queue[Any]()
    waiting = list[asyncio.Task[None]]()

    async def copy(value: int) -> int:
        sent = await out.send(value)

        async def wait() -> None:
            try:
                told.put_nowait((await sent).offset)
            except ProduceError as error:
                told.put_nowait(error)

        waiting.append(asyncio.create_task(wait()))
        return value

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream.add_processor(copy).take(2):
            pass

    lab.put(topic, range(1))
    engine = await lab.start([lab.agent(body, topic)], [out], **EXACTLY_ONCE)
    await lab.until(lambda: bool(waiting), "the processor has sent")
    await asyncio.sleep(1.0)  # of the clock of the test: it waits for its list
    assert told.empty()
    if comes:
        lab.put(topic, range(1, 2))
        await lab.caught_up(topic)
    else:
        await lab.stop(engine)
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    heard = [told.get_nowait() for _ in waiting]
    assert sorted(heard) == [0, 1] if comes else [type(error) for error in heard] == [ProduceError]


async def test_what_left_before_a_stop_is_committed_with_its_event(lab: Lab) -> None:
    """A stop that comes while a processor waits, after its send has left, lets the event go on to its end."""
    topic, out, got = lab.topic("numbers"), lab.topic("out"), list[Any]()
    left, gate = asyncio.Event(), asyncio.Event()

    async def copy(value: int) -> int:
        await (await out.send(value))
        left.set()
        await gate.wait()
        return value

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.add_processor(copy).take(10):
            got.append(values)

    lab.put(topic, range(1))
    engine = await lab.start([lab.agent(body, topic)], [out], **EXACTLY_ONCE)
    await left.wait()
    stopping = asyncio.create_task(lab.stop(engine))
    await asyncio.sleep(1.0)  # of the clock of the test: the stop waits for the event
    gate.set()
    await stopping
    assert got == [[0]]
    assert lab.values(out) == [0]
    assert getattr(lab.committed(topic), "offset", 0) == 1


class Early(SystemClock):
    """A clock whose timers end a little before their time, as those of event loops with coarse time may."""

    def timeout_at(self, when: float) -> AbstractAsyncContextManager[object]:
        """End a millisecond early."""
        return super().timeout_at(when - 0.001)


async def test_a_timer_that_ends_early_keeps_no_loop_busy(lab: Lab) -> None:
    """The list is handed over then: looking again and again whether its time has come would leave no turn for anybody."""
    topic, got = lab.topic("numbers"), list[Any]()

    async def body(stream: Stream[Any]) -> None:
        async for values in stream.take(10, within=0.3):
            got.append(values)

    lab.put(topic, range(3))
    await lab.start([lab.agent(body, topic)], run=Run("app", Early()))
    await lab.caught_up(topic)
    assert got == [[0, 1, 2]]
