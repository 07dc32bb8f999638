"""Actors: who runs again after a failure, who is told, and what is nobody's fault."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import mode
import pytest

from stream_core.agents.agent import Agent
from stream_core.agents.supervisors import Strategy, Supervisor
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, DeadlineError, ProduceError, WorkerError
from stream_core.policies import FailurePolicy
from stream_core.primitives import Offset
from stream_core.streams.events import current_event
from stream_core.streams.stream import Stream

from .harness import Lab

pytestmark = pytest.mark.looptime


class Failing:
    """A body that fails at each value once, or always at some.

    Args:
        always: the values at which it always fails.
    """

    def __init__(self, *always: int) -> None:
        self.seen: list[int] = []
        self.started = 0
        self._always = always

    async def body(self, stream: Stream[int]) -> None:
        """Note each value, then fail."""
        self.started += 1
        async for value in stream:
            self.seen.append(value)
            if value in self._always or self.seen.count(value) == 1:
                raise ValueError(value)


class OwnSupervisor(mode.OneForAllSupervisor):
    """A supervisor of a program's own."""


# -- on_error


@pytest.mark.parametrize("is_async", [False, True])
async def test_on_error(lab: Lab, is_async: bool) -> None:
    """It is called with the agent and the exception after each failure, when no event is open."""
    topic = lab.topic("numbers")
    told: list[Any] = []

    def note(agent: Agent, error: BaseException) -> None:
        told.append((agent.name, repr(error), current_event()))

    async def note_later(agent: Agent, error: BaseException) -> None:
        await asyncio.sleep(1)
        note(agent, error)

    failing = Failing(2)
    policy = FailurePolicy.retry(2, then="skip")
    agent = lab.agent(failing.body, topic, on_failure=policy, on_error=note_later if is_async else note)
    lab.put(topic, [1, 2])
    await lab.start([agent])
    await lab.caught_up(topic)
    assert told == [("body", f"ValueError({value})", None) for value in (1, 2, 2, 2)]


async def test_on_error_before_the_worker_ends(lab: Lab) -> None:
    """The failure that ends the worker is told too."""
    topic = lab.topic("numbers")
    told: list[Any] = []
    agent = lab.agent(Failing(1).body, topic, on_error=lambda agent, error: told.append(error))
    engine = await lab.start([agent], max_restarts=1)
    lab.put(topic, [1])
    await lab.failed(engine)
    await lab.stop(engine)
    assert len(told) == 2


async def test_on_error_that_sends(lab: Lab) -> None:
    """What it sends leaves at once, also under exactly-once, where the failed event leaves nothing."""
    topic, errors = lab.topic("numbers"), lab.topic("errors")

    async def tell(_agent: Agent, error: BaseException) -> None:
        await errors.send(str(error))

    lab.put(topic, [1])
    await lab.start(
        [lab.agent(Failing(1).body, topic, on_failure="skip", on_error=tell)], [errors], transactional_id="worker"
    )
    await lab.caught_up(topic)
    assert lab.values(errors) == ["1"]


@pytest.mark.parametrize("hangs", [False, True])
async def test_on_error_that_fails_itself(lab: Lab, hangs: bool, caplog: pytest.LogCaptureFixture) -> None:
    """A callback that raises, or takes for ever, is logged and changes nothing."""
    topic = lab.topic("numbers")

    async def tell(_agent: Agent, _error: BaseException) -> None:
        if hangs:
            await asyncio.get_running_loop().create_future()
        raise KeyError("no")

    lab.put(topic, [1, 2])
    await lab.start([lab.agent(Failing(1).body, topic, on_failure="skip", on_error=tell)])
    await lab.until(lambda: lab.committed(topic) == Offset(2), "all", timeout=200)
    assert "on_error of agent body failed" in caplog.text


# -- supervisors


@pytest.mark.parametrize(
    ("strategy", "starts"),
    [("one_for_one", 4), ("one_for_all", 6), (OwnSupervisor, 6), (mode.OneForOneSupervisor, 4)],
)
async def test_who_starts_again(lab: Lab, strategy: Any, starts: int) -> None:
    """After a failure of one actor only it runs its body again, or all actors of the agent do; their events are worked on."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    started, finished = list[int](), list[int]()

    async def body(stream: Stream[int]) -> None:
        started.append(len(started))
        async for value in stream:
            await asyncio.sleep(10 * value)
            if value == 1 and len(started) == 3:
                raise ValueError(value)
            await out.send(value)
            finished.append(value)

    lab.put(topic, [1, 2, 3])
    agent = lab.agent(body, topic, concurrency=3, supervisor_strategy=strategy)
    await lab.start([agent], [out], transactional_id="worker")
    await lab.until(lambda: lab.committed(topic) == Offset(3), "all", timeout=300)
    assert len(started) == starts
    assert sorted(lab.values(out)) == sorted(finished) == [1, 2, 3]


async def test_all_start_again_though_one_waits(lab: Lab) -> None:
    """An actor that waits to try an event again is not disturbed by the failures of another."""
    topic = lab.topic("numbers")
    failing = Failing()
    lab.put(topic, range(6))
    agent = lab.agent(failing.body, topic, concurrency=3, supervisor_strategy="one_for_all")
    await lab.start([agent])
    await lab.caught_up(topic)
    assert set(failing.seen) == set(range(6))
    assert all(failing.seen.count(value) >= 2 for value in range(6))


@pytest.mark.parametrize("strategy", ["crash", mode.CrashingSupervisor, "mode.CrashingSupervisor"])
async def test_crash_ends_the_worker(lab: Lab, strategy: Any) -> None:
    """The first failure of an agent ends the worker; its event is not committed."""
    topic = lab.topic("numbers")
    failing = Failing()
    engine = await lab.start([lab.agent(failing.body, topic, supervisor_strategy=strategy)])
    lab.put(topic, [1, 2])
    error = await lab.failed(engine)
    await lab.stop(engine)
    assert isinstance(error, WorkerError)
    assert "agent body[0] failed at numbers-0 offset 0" in str(error)
    assert failing.seen == [1]
    assert lab.committed(topic) == Offset(0)


def test_strategies_are_recognised() -> None:
    """By name, by path, and by the name of a class or of one above it."""
    for value in ("one_for_all", "mode.OneForAllSupervisor", "mode:OneForAllSupervisor", OwnSupervisor):
        assert Strategy.of(value, "") is Strategy.ONE_FOR_ALL
    assert Strategy.of(Strategy.CRASH, "") is Strategy.CRASH
    for value in ("ForfeitOneForOneSupervisor", mode.ForfeitOneForAllSupervisor):
        with pytest.raises(
            ConfigurationError, match=r"agent a: .* nobody would read on in its partitions: .* on_failure="
        ):
            Strategy.of(value, "agent a")
    for value in (int, 7):
        with pytest.raises(ConfigurationError, match=r"agent a: .* is no supervisor strategy; there are 'one_for_one'"):
            Strategy.of(value, "agent a")


def test_a_strategy_must_fit_the_policy(lab: Lab) -> None:
    """To end the worker and to go on are two things."""
    with pytest.raises(ConfigurationError, match="agent body: supervisor_strategy='crash' ends the worker"):
        lab.agent(Failing().body, lab.topic("numbers"), supervisor_strategy="crash", on_failure="skip")


def test_failures_are_counted_in_bounds() -> None:
    """Of very many events that fail now and then the oldest is forgotten."""
    supervisor = Supervisor(Strategy.ONE_FOR_ONE, 5)
    assert [supervisor.failed("first"), supervisor.failed("first")] == [1, 2]
    for event in range(1000):
        supervisor.failed(event)
    assert supervisor.failed("first") == 1
    supervisor.decided("first")
    assert supervisor.failed("first") == 1


# -- what is nobody's fault, or somebody else's


async def test_trouble_with_the_broker_is_not_the_event_s_fault(lab: Lab) -> None:
    """However often the broker fails during an event, it is not skipped for that."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    attempts: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            attempts.append(value)
            if len(attempts) <= 10:
                raise DeadlineError("the broker did not answer")
            await (await out.send(value))

    lab.put(topic, [1])
    lab.cluster.faults.fail_next("produce", ProduceError("provoked"))
    await lab.start([lab.agent(body, topic, on_failure="skip")], [out])
    await lab.caught_up(topic)
    assert lab.values(out) == [1]
    assert len(attempts) == 12


@pytest.mark.parametrize("pinned", [False, True])
async def test_an_event_that_hangs(lab: Lab, pinned: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is named with its place and the line where it waits; early when nothing can be committed meanwhile."""
    topic, out = lab.topic("numbers"), lab.topic("out")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            sent = await out.send(value)
            if pinned:
                await sent
            await asyncio.get_running_loop().create_future()

    lab.put(topic, [1])
    settings = {"processing_timeout": 100.0, "deadline": 20.0, "drain_timeout": 1.0}
    await lab.start([lab.agent(body, topic)], [out], transactional_id="worker", **settings)
    await asyncio.sleep(10 if pinned else 99)
    assert ("nothing can be committed meanwhile" in caplog.text) == pinned
    await asyncio.sleep(0 if pinned else 10)
    assert "agent body[0] works on numbers-0 offset 0 for" in caplog.text
    assert "test_actors.py" in caplog.text
    assert ("stream_processing_timeout" in caplog.text) == (not pinned)


async def test_failures_outside_of_events(lab: Lab) -> None:
    """A body that fails before its first event is started again, and in the end the worker gives up, whatever the policy."""
    topic = lab.topic("numbers")
    started: list[int] = []

    async def body(stream: Stream[int]) -> None:
        started.append(1)
        raise ValueError("no configuration")

    engine = lab.engine([lab.agent(body, topic, on_failure="skip")], max_restarts=3)
    lab.engines.append(engine)
    with pytest.raises(WorkerError, match="failed 4 times at no event: ValueError: no configuration"):
        await engine.start()
    await lab.stop(engine)
    assert len(started) == 4


async def test_a_body_that_fails_when_it_is_stopped(lab: Lab) -> None:
    """An error in the clean-up of a cancelled body does not keep the worker from stopping, and its event is not committed."""
    topic = lab.topic("numbers")
    entered = asyncio.Event()

    async def body(stream: Stream[int]) -> None:
        async for _ in stream:
            try:
                entered.set()
                await asyncio.get_running_loop().create_future()
            finally:
                raise ValueError("in the clean-up")

    lab.put(topic, [1])
    engine = await lab.start([lab.agent(body, topic)], drain_timeout=1.0)
    await entered.wait()
    await lab.stop(engine)
    assert lab.committed(topic) == Offset(0)


async def test_a_generator_is_closed(lab: Lab) -> None:
    """When a sink fails the body is closed before it runs again: its clean-up is done, and what it sends there does not count."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    log: list[Any] = []

    async def body(stream: Stream[int]) -> Any:
        log.append("start")
        try:
            async for value in stream:
                yield value
        finally:
            log.append("end")
            await out.send("from the clean-up")

    def sink(value: int) -> None:
        log.append(value)
        if log.count(1) == 1:
            raise ValueError(value)

    lab.put(topic, [1])
    engine = await lab.start([lab.agent(body, topic, sink=[sink])], [out], transactional_id="worker")
    await lab.caught_up(topic)
    assert log == ["start", 1, "end", "start", 1]
    assert lab.values(out) == []
    assert not engine.failure.done()


# -- cancellations


def abort(engine: Engine) -> None:
    """Let the interval be dropped and replayed, as when the broker is away."""
    engine.interval.status.spoil("provoked", DeadlineError("provoked"))


async def test_a_body_that_swallows_its_cancellation(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Its next exception is a failure like any other: logged, counted, and judged by the policy; and it can be interrupted again."""
    topic = lab.topic("numbers")
    seen: list[Any] = []
    told: list[str] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            try:
                if value in (0, 1) and seen.count(value) == 1:
                    await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                seen.append("swallowed")
            if value == 2:
                raise ValueError("two")

    agent = lab.agent(body, topic, on_failure="skip", on_error=lambda _, error: told.append(str(error)))
    engine = await lab.start([agent])
    (actor,) = engine.topology.actors
    for value in range(2):
        lab.put(topic, [value])
        await lab.until(lambda value=value: value in seen, "the body waits")  # type: ignore[misc]
        abort(engine)
        await lab.caught_up(topic)
    lab.put(topic, [2, 3])
    await lab.caught_up(topic)

    assert seen == [0, "swallowed", 0, 1, "swallowed", 1, 2, 3]
    assert told == ["two"]
    assert "numbers-0 offset 2, which is skipped: ValueError: two" in caplog.text
    assert actor._task is not None
    assert actor._task.cancelling() == 0


async def test_what_a_body_raises_instead_of_its_cancellation(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """An exception in answer to an interruption is not the fault of the event: it is told, and the event comes again under each policy."""
    topic = lab.topic("numbers")
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if len(seen) == 1:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError as error:
                    raise ConnectionError("interrupted") from error

    engine = await lab.start([lab.agent(body, topic, on_failure="skip")])
    lab.put(topic, [0, 1])
    await lab.until(lambda: bool(seen), "the body waits")
    abort(engine)
    await lab.caught_up(topic)
    assert seen == [0, 0, 1]
    assert "failed while it was interrupted: ConnectionError" in caplog.text


@pytest.mark.parametrize("form", ["values", "processed", "lists"])
async def test_nothing_of_a_closed_session_reaches_a_body_that_goes_on(lab: Lab, form: str) -> None:
    """A body that goes on after it was interrupted gets the events of the new session next, from the committed one on."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def body(stream: Stream[Any]) -> None:
        forms: dict[str, Any] = {
            "values": aiter,
            "processed": lambda stream: aiter(stream.filter(lambda value: True)),
            "lists": lambda stream: stream.take(1),
        }
        async for value in forms[form](stream):
            seen.append(value[0] if form == "lists" else value)
            if len(seen) == 2:
                with suppress(asyncio.CancelledError):
                    await asyncio.get_running_loop().create_future()

    engine = await lab.start([lab.agent(body, topic)], commit_interval=1000.0)
    lab.put(topic, range(4))
    await lab.until(lambda: len(seen) == 2, "the body waits")
    abort(engine)
    await lab.until(lambda: len(seen) == 6, "all came again")
    await engine.checkpoint()
    assert seen == [0, 1, 0, 1, 2, 3]
    assert lab.committed(topic) == Offset(4)


async def test_a_step_that_swallows_its_cancellation(lab: Lab) -> None:
    """What it returns for an event of a closed session does not reach the body, and what it sent for it does not count."""
    topic, out = lab.topic("numbers"), lab.topic("out")
    seen: list[Any] = []
    waits: list[int] = []

    async def wait(value: int) -> str:
        await out.send(value)
        waits.append(value)
        if len(waits) == 2:
            with suppress(asyncio.CancelledError):
                await asyncio.get_running_loop().create_future()
            return "late"
        return "in time"

    async def body(stream: Stream[Any]) -> None:
        async for value in stream.add_processor(wait):
            seen.append(value)

    engine = await lab.start([lab.agent(body, topic)], [out], commit_interval=1000.0, transactional_id="worker")
    lab.put(topic, range(3))
    await lab.until(lambda: len(waits) == 2, "the step waits")
    abort(engine)
    await lab.until(lambda: len(waits) == 5, "all came again")
    await engine.checkpoint()
    assert seen == ["in time"] * 4
    assert lab.values(out) == [0, 1, 2]


async def test_timeouts_and_groups_in_a_body(lab: Lab) -> None:
    """What asyncio counts of cancellations stays right after one was swallowed: timeouts end as timeouts, and groups as groups."""
    topic = lab.topic("numbers")
    seen: list[Any] = []

    async def fail() -> None:
        raise ValueError("in a task")

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            try:
                async with asyncio.timeout(None if value == 0 and not seen else 1.0):
                    if value == 2:
                        async with asyncio.TaskGroup() as group:
                            group.create_task(fail())
                    else:
                        seen.append("waits")
                        await asyncio.get_running_loop().create_future()
            except (TimeoutError, ExceptionGroup) as error:
                seen.append(type(error).__name__)
            except asyncio.CancelledError:
                seen.append("swallowed")

    engine = await lab.start([lab.agent(body, topic)])
    lab.put(topic, [0])
    await lab.until(lambda: bool(seen), "the body waits")
    abort(engine)
    await lab.until(lambda: "swallowed" in seen, "it is interrupted")
    lab.put(topic, [1, 2])
    await lab.caught_up(topic)
    assert seen == ["waits", "swallowed", "waits", "TimeoutError", "waits", "TimeoutError", "ExceptionGroup"]


async def test_a_cancellation_of_the_body_s_own(lab: Lab) -> None:
    """A body that cancels what it awaits, and takes the cancellation of its task back itself, goes on."""
    topic = lab.topic("numbers")
    seen: list[int] = []

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            task.uncancel()
            seen.append(value)
            if value == 1 and seen.count(1) == 1:
                raise ValueError("once")

    lab.put(topic, range(3))
    await lab.start([lab.agent(body, topic)])
    await lab.caught_up(topic)
    assert seen == [0, 1, 1, 2]


@pytest.mark.parametrize("way", ["its own task", "all tasks"])
async def test_a_body_that_cancels_its_own_task_is_told(lab: Lab, way: str) -> None:
    """Nobody would work on its events any more: the worker ends, and says why."""
    topic = lab.topic("numbers")

    async def body(stream: Stream[Any]) -> None:
        async for _ in stream:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await asyncio.sleep(0)

    async def stopper(stream: Stream[Any]) -> None:
        async for _ in stream:
            for task in asyncio.all_tasks():
                if task.get_name().startswith("agent "):
                    task.cancel()
            await asyncio.sleep(0)

    lab.put(topic, [1])
    engine = await lab.start([lab.agent(body if way == "its own task" else stopper, topic, name="count")])
    failure = await lab.failed(engine)
    assert isinstance(failure, WorkerError)
    assert "agent count[0] was cancelled while the worker runs" in str(failure)


async def test_a_task_group_of_the_body_fails(lab: Lab) -> None:
    """It is an error of its event as any other, also where the body has caught one of an event before."""
    topic, seen = lab.topic("numbers"), list[int]()

    async def fails(value: int) -> None:
        await asyncio.sleep(0)
        raise ValueError(value)

    async def body(stream: Stream[int]) -> None:
        async for value in stream:
            seen.append(value)
            if value == 1:
                with suppress(ExceptionGroup):
                    async with asyncio.TaskGroup() as group:
                        group.create_task(fails(value))
            elif value == 2:
                raise ValueError(value)
            elif value == 3:
                async with asyncio.TaskGroup() as group:
                    group.create_task(fails(value))

    engine = await lab.start([lab.agent(body, topic, on_failure="skip")])
    lab.put(topic, range(5))
    await lab.caught_up(topic)
    assert seen == [0, 1, 2, 3, 4]
    (actor,) = engine.topology.actors
    assert actor._task is not None
    assert actor._task.cancelling() == 0
