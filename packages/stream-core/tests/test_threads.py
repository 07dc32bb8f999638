"""An engine is used from threads and event loops that are not its own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from stream_core.calls import Call, call_in, run_in
from stream_core.errors import ConfigurationError, NoReplyError, ProduceError, StreamError, WorkerError
from stream_core.runs import PerRun, Run
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream

from .harness import Lab

THREADS = 4


async def double(stream: Stream[Any]) -> AsyncIterator[Any]:
    """Answer with twice the value."""
    async for value in stream:
        yield 2 * value


async def forever() -> None:
    """Wait for what never comes."""
    await asyncio.get_running_loop().create_future()


@contextmanager
def other_loop() -> Iterator[Callable[[Awaitable[Any]], Any]]:
    """Run an event loop in another thread; gives what runs something in it and waits."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def result(awaitable: Awaitable[Any]) -> Any:
        return await awaitable

    try:
        yield lambda awaitable: asyncio.run_coroutine_threadsafe(result(awaitable), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def in_threads(body: Callable[[int], Any], count: int = THREADS) -> list[Any]:
    """Run a function in several threads at once; gives what they return."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(count) as pool:
        return list(await asyncio.gather(*(loop.run_in_executor(pool, body, number) for number in range(count))))


# -- calls


async def test_what_is_cancelled_is_cancelled_for_who_awaits_it_elsewhere() -> None:
    """A promise that is given up, and a call, raise in another loop what they raise in that of the engine."""
    loop = asyncio.get_running_loop()
    given_up: asyncio.Future[None] = loop.create_future()

    async def promise() -> None:
        loop.call_soon(given_up.cancel)
        await asyncio.shield(given_up)

    async def cancelled() -> None:
        call = call_in(loop, forever, "the app")
        call.cancel()
        await call

    async def both() -> None:
        for awaited in (run_in(loop, promise, "the app"), cancelled()):
            with pytest.raises(asyncio.CancelledError):
                await awaited

    def elsewhere(_: int) -> None:
        asyncio.run(both())

    await in_threads(elsewhere, 1)


async def test_a_call_runs_in_the_loop_it_is_made_into() -> None:
    """Whoever calls, and from whichever loop: results and errors are those of the coroutine."""
    loop = asyncio.get_running_loop()

    async def where(error: Exception | None = None) -> asyncio.AbstractEventLoop:
        if error is not None:
            raise error
        return asyncio.get_running_loop()

    def elsewhere(_: int) -> None:
        assert asyncio.run(run_in(loop, where, "the app")) is loop
        assert call_in(loop, where, "the app").result(30) is loop
        for error in KeyError("mine"), TimeoutError("mine"), NoReplyError("mine"):
            with pytest.raises(type(error), match="mine"):
                call_in(loop, lambda error=error: where(error), "the app").result(30)  # type: ignore[misc]
            with pytest.raises(type(error), match="mine"):
                asyncio.run(run_in(loop, lambda error=error: where(error), "the app"))  # type: ignore[misc]

    await in_threads(elsewhere)
    assert await run_in(loop, where, "the app") is loop


async def test_who_waits_for_a_call_stops_when_the_time_is_over() -> None:
    """The call goes on, and is waited for again; one that is cancelled ends."""
    loop = asyncio.get_running_loop()
    go, ended = asyncio.Event(), list[str]()

    async def body() -> str:
        try:
            await go.wait()
        finally:
            ended.append("ended")
        return "done"

    call = call_in(loop, body, "the app")
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(call.result, 0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call
    assert not ended
    go.set()
    assert [await call, await call, await asyncio.to_thread(call.result)] == ["done", "done", "done"]
    go.clear()

    async def give_up() -> None:
        async with asyncio.timeout(0.01):
            await run_in(loop, body, "the app")

    ended.clear()
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(asyncio.run, give_up())
    while not ended:  # noqa: ASYNC110 - it is cancelled in its own time
        await asyncio.sleep(0)


async def test_a_loop_does_not_wait_for_itself() -> None:
    """``result()`` in the thread of the loop would never return; it says so."""
    call = call_in(asyncio.get_running_loop(), forever, "the app")
    with pytest.raises(ConfigurationError, match="await it instead"):
        call.result()
    call.cancel()


def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    """What runs in it is cancelled, and what has not begun never begins: both are an error of whoever waits."""
    calls: list[Call[None]] = []

    async def main() -> None:
        calls.append(call_in(asyncio.get_running_loop(), forever, "the app"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    asyncio.run(main())
    loop = asyncio.new_event_loop()
    loop.call_soon(lambda: calls.append(call_in(loop, forever, "the app")))
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    for call in calls:
        with pytest.raises(WorkerError, match="the event loop of the app has ended"):
            call.result(30)
    with pytest.raises(WorkerError, match="the event loop of the app has ended"):
        asyncio.run(_wait(calls[-1]))
    with pytest.raises(ConfigurationError, match="the event loop of the app has ended"):
        call_in(loop, forever, "the app")


async def _wait(call: Call[Any]) -> Any:
    return await call


def test_a_loop_that_stands_still_leaves_nobody_waiting() -> None:
    """A loop that nobody runs any more is not closed for all that; a thread that waits for it hears of that."""
    loop = asyncio.new_event_loop()
    calls: list[Call[None]] = []
    loop.call_soon(lambda: calls.append(call_in(loop, forever, "the app")))
    loop.call_soon(loop.stop)
    loop.run_forever()
    with pytest.raises(WorkerError, match="the event loop of the app has ended"):
        calls[0].result(30)
    loop.run_until_complete(asyncio.sleep(0))
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


# -- sends and questions


@pytest.mark.parametrize("settings", [{}, {"transactional_id": "worker"}])
async def test_threads_send_and_ask_at_once(lab: Lab, settings: dict[str, Any]) -> None:
    """Each has its records in order and its answers, over a thread's own loops, and without one; events go on meanwhile."""
    numbers, questions, out = lab.topic("numbers"), lab.topic("questions"), lab.topic("out")
    local: Channel[Any, Any] = Channel("local", maxsize=3)
    heard: list[Any] = []

    async def forward(stream: Stream[Any]) -> None:
        async for value in stream:
            await out.send(value)

    async def listen(stream: Stream[Any]) -> None:
        async for value in stream:
            heard.append(value)

    agent = lab.agent(double, questions)
    await lab.start([lab.agent(forward, numbers), lab.agent(listen, local), agent], [out], **settings)

    def work(thread: int) -> list[Any]:
        async def some() -> list[Any]:
            delivery = await numbers.send([thread, "awaited"])
            await local.send([thread, "channel"])
            promise = await agent.ask_nowait(thread)
            mapped = sorted([answer async for answer in agent.map([1, 2])])
            return [await promise, await agent.ask(thread), mapped, await agent.join([3, 4]), (await delivery).topic]

        told = []
        for number in range(10):
            assert numbers.send_soon([thread, number]).result(30).topic == "numbers"
            told.append(asyncio.run(some()))
        return told

    answers = await in_threads(work)
    assert answers == [[[2 * thread, 2 * thread, [2, 4], [6, 8], "numbers"]] * 10 for thread in range(THREADS)]
    await lab.caught_up(numbers)
    sent = lab.values(numbers)
    assert sorted(lab.values(out), key=str) == sorted(sent, key=str)
    for thread in range(THREADS):
        own = [value for one, value in sent if one == thread]
        assert own == [part for number in range(10) for part in (number, "awaited")]
    await lab.until(lambda: len(heard) == 10 * THREADS, "what was sent to the channel")


async def test_a_loop_of_ones_own_lasts(lab: Lab) -> None:
    """A program that has a loop in another thread asks from it as often as it likes; what it gives up is cancelled."""
    agent = lab.agent(double, lab.topic("numbers"))
    unanswered = asyncio.Event()

    async def silent(stream: Stream[Any]) -> AsyncIterator[Any]:
        async for value in stream:
            await unanswered.wait()
            yield value

    nobody = lab.agent(silent, lab.topic("unanswered"))
    engine = await lab.start([agent, nobody])

    def elsewhere() -> None:
        with other_loop() as run:
            assert [run(agent.ask(number)) for number in range(5)] == [0, 2, 4, 6, 8]
            promise = run(agent.ask_nowait(5))
            assert run(promise) == run(promise) == 10
            assert promise.done()
            with pytest.raises(NoReplyError):
                run(nobody.ask(1, timeout=0.0))

    await asyncio.to_thread(elsewhere)
    await lab.until(lambda: not engine.replies._promises, "nothing is waited for")
    unanswered.set()


async def test_a_thread_without_an_engine_is_told(lab: Lab) -> None:
    """Before the start and after the stop, whichever way it sends or asks."""
    topic = lab.topic("numbers")
    agent = lab.agent(double, topic)

    def work(_: int) -> None:
        for send in topic.send, agent.ask, agent.ask_nowait, agent.cast:
            with pytest.raises(ConfigurationError, match="the app is not started"):
                asyncio.run(send(1))  # type: ignore[operator,arg-type]
        with pytest.raises(ConfigurationError, match="the app is not started"):
            topic.send_soon(1)

    await in_threads(work)
    engine = await lab.start([agent])
    await lab.stop(engine)
    await in_threads(work)


def test_a_second_loop_of_the_thread_is_told() -> None:
    """While the loop of the engine stands still, sends and questions from another loop of its thread are refused."""
    loop = asyncio.new_event_loop()
    lab = loop.run_until_complete(_made())
    topic = lab.topic("numbers")
    agent = lab.agent(double, topic)
    loop.run_until_complete(lab.start([agent]))
    for send in topic.send, agent.ask, agent.cast:
        with pytest.raises(ConfigurationError, match="stands still"):
            asyncio.run(send(1))  # type: ignore[operator,arg-type]
    with pytest.raises(ConfigurationError, match="stands still"):
        topic.send_soon(1)
    assert loop.run_until_complete(agent.ask(1)) == 2
    loop.run_until_complete(lab.__aexit__())
    loop.close()


async def _made() -> Lab:
    return Lab()


async def test_threads_that_send_while_engines_come_and_go(lab: Lab) -> None:
    """Each send and question ends, with its record and answer, or with an error that says why; none hangs."""
    topic, out, local = lab.topic("numbers"), lab.topic("out"), Channel[Any, Any]("local", maxsize=2)
    agent = lab.agent(double, topic)
    over = threading.Event()

    async def listen(stream: Stream[Any]) -> None:
        async for _ in stream:
            await asyncio.sleep(0.001)

    def work(thread: int) -> int:
        done = 0
        while not over.is_set():
            with suppress(StreamError):
                out.send_soon(thread).result(30)
                done += 1
            with suppress(StreamError):
                asyncio.run(_both(agent.ask(thread, timeout=30), local.send(thread)))
        return done

    working = asyncio.ensure_future(in_threads(work))
    for _ in range(5):
        engine = await lab.start([agent, lab.agent(listen, local)], [out])
        await asyncio.sleep(0.1)
        await lab.stop(engine)
    over.set()
    async with asyncio.timeout(30):
        counts = await working
    assert 0 < sum(counts) <= len(lab.records("out"))


async def _both(*some: Awaitable[Any]) -> None:
    await asyncio.gather(*some)


async def test_a_thread_that_waits_for_room_hears_of_the_stop(lab: Lab) -> None:
    """A send waits while the producer is replaced; the stop ends that wait with an error."""
    topic = lab.topic("numbers")
    engine = await lab.start([lab.agent(double, topic)], stop_timeout=2.0)
    assert engine.outbox.aside.producer is not None
    engine.outbox.aside.producer = None  # as while it is replaced
    waiting = asyncio.ensure_future(asyncio.to_thread(lambda: topic.send_soon(1).result(30)))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await lab.stop(engine)
    with pytest.raises(ProduceError, match="the app is stopped"):
        await waiting


# -- channels


async def test_a_channel_is_read_in_one_loop(lab: Lab) -> None:
    """A second loop that reads it is refused: events would be handed over in the wrong one."""
    local: Channel[Any, Any] = Channel("local")

    async def listen(stream: Stream[Any]) -> None:
        async for _ in stream:
            pass

    await lab.start([lab.agent(listen, local)])

    async def read() -> None:
        async for _ in local.stream():
            pass

    for reading in read, local.get:
        with pytest.raises(ConfigurationError, match="read in another event loop"):
            await asyncio.to_thread(asyncio.run, reading())  # type: ignore[arg-type]


async def test_an_event_that_is_pulled_comes_from_any_thread() -> None:
    """Whoever waits in ``get`` is woken up in his own loop."""
    local: Channel[Any, Any] = Channel("local")
    getting = asyncio.ensure_future(local.get(timeout=30))
    await asyncio.sleep(0)
    await asyncio.to_thread(asyncio.run, _wait_for(local.send("from a thread")))
    assert (await getting).value == "from a thread"


@pytest.mark.parametrize("closed", ["before", "behind"])
def test_a_channel_forgets_who_reads_in_a_loop_that_is_closed(closed: str) -> None:
    """Whoever sends does not wait for them, whether the loop is closed before others read the channel, or behind that."""
    local: Channel[Any, Any] = Channel("local", maxsize=2)
    gone, here = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def leave() -> list[asyncio.Task[Any]]:
        local.stream()
        for value in range(2):
            await local.put(value)
        left: list[asyncio.Task[Any]] = [asyncio.create_task(one) for one in (local.put(2), local.get())]
        await asyncio.sleep(0)
        return left

    async def begin() -> Stream[Any]:
        return local.stream()

    async def use(stream: Stream[Any]) -> None:
        async with asyncio.timeout(20):
            values = aiter(stream)
            for value in range(5):
                await local.put(value)
                assert await anext(values) == value
            assert (await local.get()).value == 3
            assert local.subscriber_count == 1
            await values.aclose()  # type: ignore[attr-defined]

    left = gone.run_until_complete(leave())
    if closed == "before":
        gone.close()
    stream = here.run_until_complete(begin())
    gone.close()
    here.run_until_complete(use(stream))
    here.close()
    assert not any(task.done() for task in left)


def test_a_channel_that_nobody_reads_any_more() -> None:
    """Its readers were in an event loop that is closed: whoever sends does not wait."""
    local: Channel[Any, Any] = Channel("local", maxsize=2)

    async def put() -> None:
        async with asyncio.timeout(20):
            for value in range(5):
                await local.put(value)

    async def leave() -> None:
        local.stream()
        await local.put(1)

    asyncio.run(leave())
    asyncio.run(put())
    assert local.subscriber_count == 0


async def _wait_for(awaitable: Awaitable[Any]) -> None:
    await awaitable


# -- handles


async def test_handles_are_bound_in_several_threads() -> None:
    """Engines that begin and end in several threads leave what is right for all: one, none, or to be looked up."""
    for _ in range(50):
        handle, runs = PerRun[int](), [Run(str(number)) for number in range(THREADS)]
        barrier = threading.Barrier(THREADS)

        def bind(number: int, handle: PerRun[int] = handle, runs: list[Run] = runs, barrier: Any = barrier) -> None:
            barrier.wait()
            handle.bind(runs[number], number)
            if number:
                runs[number].end()

        await in_threads(bind)
        assert handle.only == 0
        assert contextvars.copy_context().run(handle.find, "cannot") == 0
