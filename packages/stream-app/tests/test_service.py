"""Services of mode as they are here: what they begin they finish, and why they could not is told."""

from __future__ import annotations

import asyncio
from datetime import UTC
from typing import Any
from zoneinfo import ZoneInfo

import mode
import pytest

from stream_app.running.service import Service, abandon
from stream_core.errors import ConfigurationError

from .apps import until


class Told(Service):
    """Notes its hooks, and raises in one if told to."""

    def __init__(self, told: list[str], *, fails: str = "", **options: Any) -> None:
        super().__init__(**options)
        self.told = told
        self.fails = fails

    def tell(self, what: str) -> None:
        """Note a hook."""
        self.told.append(what)
        if what == self.fails:
            raise ValueError(what)

    async def on_first_start(self) -> None:
        """Note it."""
        self.tell("first start")

    async def on_start(self) -> None:
        """Note it."""
        self.tell("start")

    async def on_started(self) -> None:
        """Note it."""
        self.tell("started")

    async def on_stop(self) -> None:
        """Note it."""
        self.tell("stop")

    async def on_shutdown(self) -> None:
        """Note it."""
        self.tell("shutdown")

    async def on_restart(self) -> None:
        """Note it."""
        self.tell("restart")


async def test_hooks_in_order() -> None:
    """Those of mode, in its order; the first start is the first only."""
    told: list[str] = []
    service = Told(told)
    assert service.state == "init"
    async with service:
        assert service.state == "running"
        with pytest.raises(ConfigurationError, match="runs already"):
            await service.start()
        assert not await service.maybe_start()
    assert service.state == "shutdown"
    assert told == ["first start", "start", "started", "stop", "shutdown"]
    told.clear()
    await service.start()
    await service.restart()
    await service.stop()
    await service.stop()
    assert told == ["start", "started", "stop", "shutdown", "restart", "start", "started", "stop", "shutdown"]


class Live(mode.Service):
    """Knows which of its kind run."""

    def __init__(self, name: str, live: list[str]) -> None:
        super().__init__()
        self.name = name
        self.live = live

    async def on_start(self) -> None:
        """Note it."""
        self.live.append(self.name)

    async def on_stop(self) -> None:
        """Note it."""
        self.live.remove(self.name)


@pytest.mark.parametrize("again", ["start", "restart", "a start behind one that failed"])
async def test_dependencies_that_are_added_while_it_runs(again: str) -> None:
    """They end with the run, and the hooks add them anew; those of the first start and before are there in each."""
    live: list[str] = []

    class Adding(Service):
        fails = "a start behind" in again

        async def on_first_start(self) -> None:
            await self.add_runtime_dependency(Live("at first", live))

        async def on_started(self) -> None:
            await self.add_runtime_dependency(Live("in a hook", live))
            if self.fails:
                self.fails = False
                raise ValueError("not yet")

    service = Adding()
    await service.add_runtime_dependency(Live("before", live))
    if service.fails:
        with pytest.raises(ValueError, match="not yet"):
            await service.start()
    else:
        await service.start()
        await service.add_runtime_dependency(Live("by the way", live))
        removed = await service.add_runtime_dependency(Live("removed", live))
        await service.remove_dependency(removed)
        assert sorted(live) == ["at first", "before", "by the way", "in a hook"]
    for _ in range(2):
        if again == "restart":
            await service.restart()
        else:
            await service.stop()
            assert live == []
            await service.start()
        assert sorted(live) == ["at first", "before", "in a hook"]
        assert len(service.beacon.children) == 3
    await service.stop()
    assert live == []


async def test_a_first_start_that_is_tried_again_adds_once() -> None:
    """What its hook has added before it raised is forgotten."""
    live: list[str] = []

    class Adding(Service):
        fails = True

        async def on_first_start(self) -> None:
            await self.add_runtime_dependency(Live("at first", live))
            if self.fails:
                self.fails = False
                raise ValueError("not yet")

    service = Adding()
    with pytest.raises(ValueError, match="not yet"):
        await service.start()
    for _ in range(2):
        async with service:
            assert live == ["at first"]


def test_nothing_is_bound_to_a_loop_before_the_start() -> None:
    """A service is made where no event loop is, and runs in one after the other."""
    told: list[str] = []

    class Ticking(Told):
        @Service.task
        async def tick(self) -> None:
            await self.sleep(1000)
            self.tell("awake")

    service = Ticking(told)
    assert service._loop is None
    for _ in range(2):

        async def run() -> None:
            async with service:
                assert service.loop is asyncio.get_running_loop()
                await asyncio.sleep(0)

        asyncio.run(run())
    assert told.count("awake") == 2


@pytest.mark.looptime
async def test_a_wait_tells_the_end_of_its_time_from_a_stop() -> None:
    """The former is a TimeoutError, the latter a result."""
    async with Told([]) as service:
        for waiting in (service.wait, service.wait_first):
            with pytest.raises(TimeoutError):
                await waiting(asyncio.Event().wait(), timeout=1)
        with pytest.raises(TimeoutError):
            await service.wait_many([asyncio.Event().wait()], timeout=1)
        with pytest.raises(TimeoutError):
            await service.wait(timeout=1)
        assert not await service.wait_for_stopped(timeout=1)
        assert not await service.wait_for_stopped(asyncio.Event().wait(), timeout=1)
        assert await service.wait(asyncio.sleep(1, "slept"), timeout=2) == ("slept", False)
        (done, pending), stopped = await service.wait_many([asyncio.sleep(1, "slept")], timeout=2)
        assert ([one.result() for one in done], pending, stopped) == (["slept"], set(), False)
        waits = [
            asyncio.create_task(service.wait_for_stopped()),
            asyncio.create_task(service.wait_for_stopped(asyncio.Event().wait())),
        ]
        await asyncio.sleep(0)
    assert await asyncio.gather(*waits) == [True, True]


@pytest.mark.looptime
async def test_a_stop_lets_tasks_finish() -> None:
    """What a task has begun it ends, within the time for that; a task that waits for something else is cancelled then."""
    told: list[str] = []

    class Working(Told):
        drain_timeout = 5.0

        @Service.task
        async def work(self) -> None:
            while not self.should_stop:
                await self.sleep(1000)
                await asyncio.sleep(1)  # its work
                self.tell("worked")

        @Service.task
        async def wait_for_ever(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                self.tell("cancelled")

        @Service.timer(2.0)
        async def tick(self) -> None:
            self.tell("tick")

    clock = asyncio.get_running_loop().time
    async with Working(told):
        await asyncio.sleep(5)
        begin = clock()
    assert clock() - begin == pytest.approx(5)
    assert told == ["first start", "start", "started", "tick", "tick", "stop", "worked", "cancelled", "shutdown"]
    begin = clock()
    async with Told(told):
        pass
    assert clock() - begin == 0


@pytest.mark.parametrize("fails", ["stop", "shutdown"])
async def test_a_hook_of_the_stop_that_raises(fails: str) -> None:
    """All the rest is stopped, and the error is raised then."""
    told: list[str] = []
    child = Told(told)
    service = Told(told, fails=fails)
    service.add_dependency(child)
    await service.start()
    told.clear()
    with pytest.raises(ValueError, match=fails):
        await service.stop()
    assert sorted(told) == ["shutdown", "shutdown", "stop", "stop"]
    assert (child.running, service.running) == (False, False)
    await service.stop()


@pytest.mark.parametrize("fails", ["first start", "start", "started"])
async def test_a_start_that_fails_leaves_nothing(fails: str) -> None:
    """What was started is stopped; ``on_stop`` is called where ``on_start`` has returned, and another start begins anew."""
    told: list[str] = []
    child = Told(told)

    class Parent(Told):
        def on_init_dependencies(self) -> list[Any]:
            return [child]

        @Service.task
        async def linger(self) -> None:
            await self.sleep(1000)

    before = asyncio.all_tasks()
    service = Parent(told, fails=fails)
    with pytest.raises(ValueError, match=fails):
        await service.start()
    assert (child.running, service.running) == (False, False)
    assert asyncio.all_tasks() == before
    assert ("stop" in told) == (fails == "started")
    service.fails = ""
    await service.start()
    assert (child.running, service.running) == (True, True)
    assert list(service._children) == [child]
    await service.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("by", ["cancel", "stop", "own stop"])
async def test_a_start_that_is_given_up(by: str) -> None:
    """Whoever cancels it, stops the service meanwhile, or stops it from a hook: nothing is left."""
    told: list[str] = []
    child = Told(told)

    class Slow(Told):
        def on_init_dependencies(self) -> list[Any]:
            return [child]

        async def on_started(self) -> None:
            self.tell("started")
            if by == "own stop":
                await self.stop()
            else:
                await asyncio.Event().wait()

    before = asyncio.all_tasks()
    service = Slow(told)
    starting = asyncio.create_task(service.start())
    while "started" not in told or not child.running:
        if starting.done():
            break
        await asyncio.sleep(0)
    if by == "cancel":
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    else:
        if by == "stop":
            await service.stop()
        await starting
    assert (child.running, service.running) == (False, False)
    assert told.count("stop") == told.count("shutdown") == 2
    assert asyncio.all_tasks() == before


async def test_a_crash_is_not_swallowed() -> None:
    """It is raised by the end of ``async with``, by stop, and by whoever waits; and it can be looked at afterwards."""
    error = ValueError("fallen")

    class Falling(Told):
        @Service.task
        async def fall(self) -> None:
            raise error

    async def run(service: Service) -> None:
        async with service:
            with pytest.raises(ValueError, match="fallen"):
                await service.wait()
            await service.wait_until_stopped()  # it tells when, not why

    service = Falling([])
    with pytest.raises(ValueError, match="fallen"):
        await run(service)
    assert (service.crash_reason, service.state) == (error, "crashed")
    await service.start()
    with pytest.raises(ValueError, match="fallen"):
        await service.wait()
    with pytest.raises(ValueError, match="fallen"):
        await service.stop()


async def test_a_crash_wakes_who_sleeps() -> None:
    """Nobody sleeps on in a service that has crashed."""
    async with asyncio.timeout(10), Told([]) as parent:
        child = Told([])
        await parent.add_runtime_dependency(child)
        sleeping = asyncio.create_task(parent.sleep(1000))
        await asyncio.sleep(0)
        await child.crash(ValueError("fallen"))
        await sleeping
        assert isinstance(parent.crash_reason, ValueError)
        with pytest.raises(ValueError, match="fallen"):
            await parent.stop()


async def test_whoever_stops_a_service_from_its_own_task() -> None:
    """Goes on behind the stop; and a second stop waits for the first."""
    told: list[str] = []

    class Leaving(Told):
        @Service.task
        async def leave(self) -> None:
            await self.stop()
            self.tell("left")

    service = Leaving(told)
    await service.start()
    async with asyncio.timeout(10):
        await service.stop()
        await until(lambda: "left" in told)
    assert told == ["first start", "start", "started", "stop", "shutdown", "left"]


@pytest.mark.parametrize("hook", ["on_stop", "on_shutdown", "on_stop below"])
async def test_a_hook_of_the_stop_that_stops(hook: str) -> None:
    """Goes on at once: the stop that it is a part of would else wait for itself."""
    told: list[str] = []
    service: Told

    async def stop(self: Any) -> None:
        await service.stop()
        told.append("hook")

    below = type("Below", (mode.Service,), {"on_stop": stop} if hook == "on_stop below" else {})()
    service = type("Above", (Told,), {} if hook == "on_stop below" else {hook: stop})(told)
    service.add_dependency(below)
    async with asyncio.timeout(10):
        await service.start()
        await service.stop()
    assert "hook" in told
    assert not service.running


async def test_a_task_that_is_cancelled_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing ends without a word."""

    class Cancelled(Told):
        @Service.task
        async def vanish(self) -> None:
            raise asyncio.CancelledError

    async with Cancelled([]):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert "vanish was cancelled, and does not run any more" in caplog.text


async def test_under_a_supervisor_of_mode() -> None:
    """It is restarted when it crashes, and nobody above hears of that."""
    told: list[str] = []
    service = Told(told)
    supervisor = mode.OneForOneSupervisor()
    supervisor.add(service)
    async with asyncio.timeout(10), supervisor:
        await service.crash(ValueError("fallen"))
        await until(lambda: "restart" in told and service.running)
    assert not service.running


def test_a_calendar_that_cannot_be_read() -> None:
    """Is refused where it is written."""
    with pytest.raises(ConfigurationError, match="is no cron expression"):

        @Service.crontab("61 * * * *", timezone=UTC)
        async def never(self: Any) -> None: ...


@pytest.mark.looptime
async def test_calendars_of_a_service() -> None:
    """They end with the service, at once: whoever waits for a moment does not work."""
    told: list[str] = []
    clock = asyncio.get_running_loop().time

    class Ringing(Told):
        @Service.crontab("* * * * *", timezone=ZoneInfo("Europe/Berlin"))
        async def ring(self) -> None:
            self.tell("ring")

    async with Ringing(told):
        await asyncio.sleep(0)
        begin = clock()
    assert clock() == begin


async def test_tasks_of_classes_of_one_name() -> None:
    """Each class has its own, in their order, and those of the classes above it that it does not replace."""
    told: list[str] = []

    def with_tasks(*names: str) -> type[Told]:
        async def note(self: Told) -> None:
            self.tell("task")

        return type("Same", (Told,), dict.fromkeys(names, Service.task(note)))

    first, second = with_tasks("one", "two"), with_tasks("three")
    replaced = type("Same", (first,), {"two": None})
    for cls, number in ((first, 2), (second, 1), (replaced, 1)):
        told.clear()
        async with cls(told):
            await until(lambda number=number: told.count("task") == number)


@pytest.mark.parametrize("fails", ["start", "cancel"])
async def test_an_error_behind_a_start_that_failed(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    """What is raised is why the start failed, or that it was cancelled; what the stop raised is logged."""

    class Slow(Told):
        async def on_started(self) -> None:
            self.told.append("started")
            if fails == "start":
                raise KeyError("why")
            await asyncio.Event().wait()

    told: list[str] = []
    service = Slow(told, fails="stop")
    starting = asyncio.create_task(service.start())
    if fails == "cancel":
        await until(lambda: "started" in told)
        starting.cancel()
    with pytest.raises(KeyError if fails == "start" else asyncio.CancelledError):
        await starting
    assert "failed to stop after its start" in caplog.text
    assert not service.running


def test_a_task_that_is_thrown_away_is_no_crash() -> None:
    """As when its event loop was closed while it ran: the service may run again in another one."""
    service = Told([])
    task = service._execute_task(asyncio.sleep(0))
    assert task.send(None) is None
    task.close()
    assert not service.crashed


def test_a_service_is_started_again_where_its_event_loop_was_closed() -> None:
    """Whoever waits for it in that loop is forgotten; what depends on it is started again, too, and what runs elsewhere is left alone."""
    told, of_child = list[str](), list[str]()
    service, child, beside = Told(told), Told(of_child), Told([])
    service.add_dependency(child)
    gone, here = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def begin() -> asyncio.Task[None]:
        await service.start()
        waiting = asyncio.create_task(service.wait_until_stopped())
        await asyncio.sleep(0)
        return waiting

    waiting = gone.run_until_complete(begin())
    here.run_until_complete(beside.start())
    service.add_dependency(beside)
    gone.close()
    abandon(service)
    assert (service.running, child.running, beside.running) == (False, False, True)
    here.run_until_complete(service.start())
    here.run_until_complete(service.stop())
    assert told == ["first start", "start", "started", "start", "started", "stop", "shutdown"]
    assert of_child == told
    assert not waiting.done()
    here.close()
