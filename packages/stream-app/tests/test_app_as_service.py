"""An app is a service of mode: hooks, dependencies, tasks, its place in the tree, and starting again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import mode
import pytest
from mode.threads import ServiceThread

import stream_app as faust
from stream_core.errors import ConfigurationError, WorkerError

from .apps import cluster, make, until
from .test_service import Told
from .test_web_server import free_port


class Hooked(faust.App):
    """Notes its hooks, and raises in one, or hangs, if told to."""

    told: list[str]
    fails = ""
    hangs = ""

    async def tell(self, what: str) -> None:
        """Note a hook."""
        self.told.append(what)
        if what == self.fails:
            raise ValueError(what)
        if what == self.hangs:
            await asyncio.Event().wait()

    def on_init(self) -> None:
        """Note it; definitions can be made here."""
        self.told = ["init"]
        self.numbers = self.topic("numbers", value_type=int)

    async def on_first_start(self) -> None:
        """Note it."""
        await self.tell("first start")

    async def on_start(self) -> None:
        """Note it."""
        await self.tell("start")

    async def on_started(self) -> None:
        """Note it; sends work, because the app is operational."""
        await self.numbers.send(1)
        await self.tell("started")

    async def on_stop(self) -> None:
        """Note it; sends work still."""
        await self.numbers.send(2)
        await self.tell("stop")

    async def on_shutdown(self) -> None:
        """Note it."""
        await self.tell("shutdown")

    @mode.Service.task
    async def beside(self) -> None:
        """Run with the app."""
        self.told.append("task")
        await self.sleep(1000)


def hooked(**options: Any) -> Hooked:
    """Such an app."""
    made = make(**options)
    return Hooked("shop", broker=made.conf.broker, web_enabled=False)


async def test_an_app_is_a_service_of_mode() -> None:
    """With its state, its flags and its place in the tree."""
    app = make()
    assert isinstance(app, mode.Service)
    assert (app.state, app.started, app.should_stop) == ("init", False, False)
    async with app:
        assert (app.state, app.started, app.should_stop) == ("running", True, False)
        assert app.loop is asyncio.get_running_loop()
    assert (app.state, app.should_stop) == ("shutdown", True)
    assert app.beacon.data is app


def test_hooks_of_an_app_that_is_started_again() -> None:
    """They come in the order of mode, in whichever event loop; the first start is the first only."""
    app = hooked()
    app.add_dependency(Told(app.told))

    async def run() -> None:
        async with app:
            await until(lambda: "task" in app.told)

    dependency = ["first start", "start", "started"]
    end = ["stop", "stop", "shutdown", "shutdown"]
    asyncio.run(run())
    app.told.remove("task")  # begins when the app is operational, as on_started does
    assert app.told == ["init", "first start", "start", *dependency, "started", *end]
    app.told.clear()
    asyncio.run(run())
    app.told.remove("task")
    assert app.told == ["start", "start", "started", "started", *end]


@pytest.mark.parametrize("fails", ["first start", "start", "started"])
async def test_a_hook_of_the_start_that_raises(fails: str) -> None:
    """The start raises that, and nothing is left of it; another one begins anew."""
    app, before = hooked(), asyncio.all_tasks()
    app.fails = fails
    with pytest.raises(ValueError, match=fails):
        await app.start()
    assert asyncio.all_tasks() == before
    app.fails = ""
    await app.start()
    assert app.engine.ready
    await app.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("fails", ["stop", "shutdown"])
async def test_a_hook_of_the_stop_that_raises(fails: str) -> None:
    """The stop raises that when everything has stopped."""
    app, before = hooked(), asyncio.all_tasks()
    app.fails = fails
    await app.start()
    with pytest.raises(ValueError, match=fails):
        await app.stop()
    assert asyncio.all_tasks() == before
    assert app.outcome == "committed, left the group"


@pytest.mark.looptime
@pytest.mark.parametrize("hangs", ["stop", "shutdown"])
async def test_a_hook_of_the_stop_that_hangs(hangs: str, caplog: pytest.LogCaptureFixture) -> None:
    """The app commits and leaves without it, after five seconds."""
    app, before = hooked(), asyncio.all_tasks()
    app.hangs = hangs
    await app.start()
    await app.stop()
    assert f"on_{hangs} of app shop has not returned within 5 s; going on without it" in caplog.text
    assert asyncio.all_tasks() == before
    assert app.outcome == "committed, left the group"


@pytest.mark.parametrize("hangs", ["first start", "start", "started"])
@pytest.mark.parametrize("by", ["stop", "cancel"])
async def test_a_hook_of_the_start_that_hangs(hangs: str, by: str) -> None:
    """Stop and cancellation end it all the same."""
    app, before = hooked(), asyncio.all_tasks()
    app.hangs = hangs
    starting = asyncio.create_task(app.start())
    await until(lambda: hangs in app.told)
    async with asyncio.timeout(25):
        if by == "stop":
            await app.stop()
            with pytest.raises(WorkerError, match="was stopped before it had started"):
                await starting
        else:
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
    assert asyncio.all_tasks() == before


async def test_dependencies_of_an_app() -> None:
    """They are there before the first event, and until the last one is committed; services come after, and go before."""
    told: list[str] = []

    class Named(Told):
        def __init__(self, name: str) -> None:
            super().__init__(told)
            self.name = name

        def tell(self, what: str) -> None:
            if what in ("start", "stop"):
                super().tell(f"{self.name} {what}")

    class WithDatabase(faust.App):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.some_service = self.service(Named("service"))

        def on_init_dependencies(self) -> list[Any]:
            return [Named("database")]

    app = WithDatabase("shop", broker=make().conf.broker, web_enabled=False)

    @app.agent("numbers", value_type=int)
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            told.append(str(number))

    await app.start()
    await app.send("numbers", value=1)
    await until(lambda: "1" in told)
    assert app.some_service.beacon.root is app.beacon
    late = Named("late")
    assert await app.add_runtime_dependency(late) is late
    assert late.running
    await app.remove_dependency(late)
    await app.stop()
    assert told == [
        *["database start", "service start", "1", "late start", "late stop"],
        *["service stop", "database stop"],
    ]


class Plain(mode.Service):
    """A service of mode itself, with a task; its first start raises if told to."""

    def __init__(self, told: list[str], *, fails: bool = False) -> None:
        super().__init__()
        self.told = told
        self.fails = fails

    async def on_start(self) -> None:
        """Note it."""
        self.told.append("start")
        if self.fails:
            self.fails = False
            raise ValueError("not yet")

    async def on_stop(self) -> None:
        """Note it."""
        self.told.append("stop")

    @mode.Service.task
    async def beside(self) -> None:
        """Note that it runs."""
        self.told.append("task")
        await self.sleep(1000)


@pytest.mark.parametrize("ends", ["stop", "failed start", "closed loop"])
@pytest.mark.parametrize("kind", ["dependency", "service", "below a dependency", "below a service"])
def test_services_of_mode_start_again(kind: str, ends: str) -> None:
    """As often as the app does, whichever way it ended, and in whichever event loop."""
    app, told = make(), list[str]()
    plain = Plain(told, fails=ends == "failed start")
    service = mode.Service() if kind.startswith("below") else plain
    if service is not plain:
        service.add_dependency(plain)
    if "dependency" in kind:
        app.add_dependency(service)
    else:
        app.service(service)

    async def run(*, stop: bool = True) -> None:
        await app.start()
        await until(lambda: "task" in told)
        if stop:
            await app.stop()

    if ends == "failed start":
        with pytest.raises(ValueError, match="not yet"):
            asyncio.run(run())
    elif ends == "closed loop":
        asyncio.run(run(stop=False))
        with pytest.raises(ConfigurationError):
            asyncio.run(app.stop())
    for _ in range(2):
        told.clear()
        asyncio.run(run())
        assert told == ["start", "task", "stop"]


@pytest.mark.parametrize("kind", ["dependency", "service", "class"])
async def test_a_service_in_a_thread_starts_once(kind: str) -> None:
    """It keeps the event loop of its thread, which mode closes; that is said, and a class is made anew by each start."""
    threads: list[int] = []

    class Apart(ServiceThread):
        async def on_thread_started(self) -> None:
            threads.append(threading.get_ident())

    app = make()
    if kind == "dependency":
        app.add_dependency(Apart())
    else:
        app.service(Apart if kind == "class" else Apart())
    async with app:
        pass
    if kind == "class":
        async with app:
            pass
    else:
        with pytest.raises(
            ConfigurationError, match=r"a ServiceThread starts only once: give its class to app\.service"
        ):
            await app.start()
    assert len(threads) == (2 if kind == "class" else 1)
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("kind", ["dependency", "service", "task of the class"])
async def test_what_crashes_below_an_app(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """The app cannot go on for that reason; it is logged once by it, with the name of the service, and raised by wait and stop."""

    class Falling(Told):
        @mode.Service.task
        async def fall(self) -> None:
            await asyncio.sleep(0)
            raise ValueError("fallen")

    class FallingApp(faust.App):
        @mode.Service.task
        async def fall(self) -> None:
            raise ValueError("fallen")

    make_app = FallingApp if kind == "task of the class" else faust.App
    app = make_app("shop", broker=make().conf.broker, web_enabled=False)
    if kind == "service":
        app.service(Falling([]))
    await app.start()
    if kind == "dependency":
        await app.add_runtime_dependency(Falling([]))
    kind_of_error = ValueError if kind == "task of the class" else WorkerError
    async with asyncio.timeout(10):
        with pytest.raises(kind_of_error, match="fallen"):
            await app.wait()
    assert (app.crashed, app.state) == (True, "crashed")
    with pytest.raises(kind_of_error, match="fallen"):
        await app.stop()
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert "the worker of shop cannot go on" in line.getMessage()
    assert line.exc_info is not None
    assert kind == "task of the class" or "Falling" in line.getMessage()


async def test_an_app_that_crashes_before_it_is_operational() -> None:
    """Its start raises why."""

    class Early(faust.App):
        async def on_start(self) -> None:
            await self.crash(ValueError("fallen"))

    app = Early("shop", broker=make().conf.broker, web_enabled=False)
    with pytest.raises(ValueError, match="fallen"):
        await app.start()
    assert (app.running, app.failure) == (False, app.crash_reason)


async def test_a_client_has_no_tasks_and_services() -> None:
    """Its hooks and dependencies are those of the app."""
    app = hooked()
    app.service(Told(app.told, fails="start"))
    dependency = Told([])
    app.add_dependency(dependency)
    await app.start_client()
    assert app.client_only
    assert dependency.running
    await app.stop()
    assert app.told == ["init", "first start", "start", "started", "stop", "shutdown"]
    assert dependency.told == ["first start", "start", "started", "stop", "shutdown"]


async def test_an_app_that_is_started_again_by_restart() -> None:
    """Is a client again where it was one, and runs in its own event loop whoever asks for it."""
    app = make()
    await app.start_client()
    await app.restart()
    assert app.client_only
    await app.stop()
    await app.start()
    await asyncio.to_thread(asyncio.run, app.restart())
    assert not app.client_only
    assert app.loop is asyncio.get_running_loop()
    assert app.engine.ready
    await app.stop()


@pytest.mark.parametrize("where", ["task", "timer", "agent", "task of the class", "revoked handler"])
async def test_an_app_is_restarted_by_what_it_runs(where: str) -> None:
    """It starts again, also where its stop cancels who has asked for that."""
    asked, again = list[str](), asyncio.Event()

    async def restart(*_: Any, **__: Any) -> None:
        if asked:
            again.set()
        else:
            asked.append(where)
            await app.restart()

    class Own(faust.App):
        @faust.Service.task
        async def own(self) -> None:
            if where == "task of the class":
                await restart()

    app = make(kind=Own, stream_wait_empty=False)
    numbers = app.topic("numbers", value_type=int)

    @app.agent(numbers)
    async def read(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            if where == "agent":
                await restart()

    if where == "task":
        app.task(restart)
    if where == "timer":
        app.timer(0.01)(restart)
    if where == "revoked handler":
        app.on_partitions_revoked.connect(restart, weak=False)
    before = asyncio.all_tasks()
    starting = asyncio.create_task(app.start())
    if where == "agent":
        await starting
        await numbers.send(value=1)
    if where == "revoked handler":
        await starting
        first = app.wiring
        app.engine.clients.consumer.rejoin()
        await until(lambda: app.wiring is not None and app.wiring is not first and app.wiring.started)
        app.engine.clients.consumer.rejoin()
    async with asyncio.timeout(20):
        await again.wait()
    await asyncio.wait([starting])
    await app.stop()
    assert asyncio.all_tasks() - before <= {starting}


HOOKS_OF_A_START = (
    "on_first_start",
    "on_start",
    "on_started_init_extra_tasks",
    "on_started_init_extra_services",
    "on_started",
)


@pytest.mark.parametrize("hook", HOOKS_OF_A_START)
async def test_an_app_is_restarted_by_a_hook_of_its_start(hook: str) -> None:
    """One start remains: each hook behind is called once, and one engine runs."""
    told = list[str]()

    async def called(name: str) -> None:
        told.append(name)
        if name == hook and told.count(hook) == 1:
            await app.restart()

    app = make()
    for name in HOOKS_OF_A_START:
        setattr(app, name, partial(called, name))
    async with asyncio.timeout(20):
        await app.start()
    at = HOOKS_OF_A_START.index(hook)
    again = HOOKS_OF_A_START if hook == "on_first_start" else HOOKS_OF_A_START[1:]
    assert told == [*HOOKS_OF_A_START[: at + 1], *again]
    assert len(app.engines.all()) == 1
    assert app.engine.ready
    await app.stop()
    assert not app.engines


@pytest.mark.parametrize("fails", [False, True])
async def test_a_start_that_a_restart_overtakes(*, fails: bool) -> None:
    """Whoever waits for it waits for the other one, and hears where there is none: else a worker would say that it is ready."""
    entered, go_on = list[int](), asyncio.Event()

    class Slow(faust.App):
        async def on_start(self) -> None:
            entered.append(1)
            await go_on.wait()
            if fails:
                raise ValueError("no")

    app = make(kind=Slow)
    start = asyncio.create_task(app.start())
    await until(lambda: entered)
    again = asyncio.create_task(app.restart())
    await until(lambda: len(entered) == 2)
    assert not start.done()
    go_on.set()
    async with asyncio.timeout(20):
        if fails:
            with pytest.raises(WorkerError, match="was stopped before it had started"):
                await start
            with pytest.raises(ValueError, match="no"):
                await again
        else:
            await start
            assert app.engine.ready
            await again
    await app.stop()
    assert not app.running


async def test_a_restart_in_a_start_that_fails() -> None:
    """The start that has asked for it fails likewise, and nothing is left."""
    app, starts = make(), list[int]()

    class Once(mode.Service):
        async def on_start(self) -> None:
            starts.append(len(starts))
            if starts == [0]:
                await app.restart()
            raise ValueError("no")

    app.add_dependency(Once())
    before = asyncio.all_tasks()
    with pytest.raises(ValueError, match="no"):
        await app.start()
    assert not app.running
    await until(lambda: asyncio.all_tasks() == before)


async def test_a_restart_that_is_stopped() -> None:
    """The stop has the last word, and a restart behind it works as ever."""

    class Stopped(faust.App):
        async def on_restart(self) -> None:
            await self.stop()

    app = make(kind=Stopped)
    await app.start()
    await app.restart()
    assert not app.running
    await app.start()
    await app.stop()


async def test_a_restart_that_fails_is_logged_where_nobody_awaits_it(caplog: pytest.LogCaptureFixture) -> None:
    """The task that has asked for it is cancelled by the stop."""

    class Failing(faust.App):
        async def on_restart(self) -> None:
            raise ValueError("not again")

    app = make(kind=Failing)

    @app.task
    async def restart() -> None:
        await app.restart()

    await asyncio.wait([asyncio.create_task(app.start())])
    await until(lambda: "restart of app shop failed: ValueError: not again" in caplog.text)
    assert not app.running


async def test_a_stop_goes_on_when_what_awaits_it_is_cancelled() -> None:
    """Wherever it is then: nothing of the app is left, and a start waits for the end of the stop."""
    app = make()
    before = asyncio.all_tasks()
    ended = False
    turns = 0
    while not ended:
        await app.start()
        stopping = asyncio.create_task(app.stop())
        for _ in range(turns):
            await asyncio.sleep(0)
        ended = stopping.done()
        stopping.cancel()
        await asyncio.wait([stopping])
        if turns == 0:  # it has not begun
            await app.stop()
        turns += 1
        await app.start_client()
        assert app.client_only
        await app.stop()
        assert asyncio.all_tasks() - before == set()


async def test_a_stop_in_a_handler_of_revoked_partitions() -> None:
    """The group is left, whatever becomes of the handler that asked for it."""
    app = make()

    @app.agent(app.topic("numbers", value_type=int))
    async def read(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_revoked.connect
    async def stop(app: faust.App, revoked: Any, **_: Any) -> None:
        await app.stop()

    await app.start()
    group = app.engine.ownership.group
    assert group is not None
    app.engine.clients.consumer.rejoin()
    await app.wait(timeout=20)
    assert app.outcome == "committed, left the group"
    assert not cluster(app).group("shop").knows(group.member)


async def test_a_task_of_a_dependency_that_stops_the_app() -> None:
    """It goes on when the app has stopped; the stop does not wait for it."""

    class Ending(faust.Service):
        @faust.Service.task
        async def end(self) -> None:
            await app.stop()
            told.append(app.running)

    app, told = make(), list[bool]()
    app.add_dependency(Ending())
    with pytest.raises(WorkerError, match="was stopped before it had started"):
        await app.start()
    await until(lambda: told)
    assert told == [False]


def test_a_stop_that_comes_too_late_for_its_event_loop(tmp_path: Path) -> None:
    """It says so, and leaves nothing behind that a second start would meet: all that the app had starts again."""
    told = list[str]()

    class Own(faust.App):
        @faust.Service.task
        async def own(self) -> None:
            told.append("task")
            await asyncio.Event().wait()

    class Sensor(faust.Sensor):
        async def on_start(self) -> None:
            told.append("sensor")

    class Beside(mode.Service):
        async def on_start(self) -> None:
            told.append("service of mode")

    app = make(
        kind=Own,
        store="rocksdb://",
        datadir=tmp_path,
        store_lock_timeout=3600,
        web_enabled=True,
        web_bind="127.0.0.1",
        web_port=free_port(),
    )
    table = app.Table("counts", default=int, partitions=1)
    numbers = app.topic("numbers", value_type=int, partitions=1)
    app.sensors.add(Sensor())
    app.add_dependency(Told(told))
    app.service(Told(told))
    app.service(Beside())

    @app.agent(numbers)
    async def count(stream: faust.Stream[int]) -> None:
        async for number in stream:
            table["sum"] += number

    async def first() -> tuple[str, Any]:
        await app.start()
        await (await numbers.send(value=1))
        await until(lambda: table["sum"] == 1)
        return app.engine.host.instance, app.http_client

    async def again() -> None:
        with pytest.raises(ConfigurationError, match="the event loop of app shop has ended"):
            await app.stop()
        assert not app.running
        begun = sorted(one for one in told if one != "first start")
        told.clear()
        async with asyncio.timeout(20), app:
            assert app.engine.host.instance == instance
            assert app.http_client is not client
            await client.close()
            await (await numbers.send(value=2))
            await until(lambda: table["sum"] == 3)
            assert sorted(told) == begun
        assert not app.running

    with asyncio.Runner() as runner:
        instance, client = runner.run(first())
        while tasks := asyncio.all_tasks(runner.get_loop()):
            runner.run(cancel(tasks))
    asyncio.run(again())


async def cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Let tasks end."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_waiting_with_an_app() -> None:
    """As in mode: for something, as long as the app goes on; and for its end, as long as one wants."""
    app = make()
    async with app:
        assert await app.wait(asyncio.sleep(0, "slept"), timeout=10) == ("slept", False)
        with pytest.raises(TimeoutError):
            await app.wait(timeout=0)
        waiting = asyncio.create_task(app.wait(asyncio.Event().wait()))
        await asyncio.sleep(0)
    assert (await waiting).stopped
    with pytest.raises(ConfigurationError, match="not started"):
        await app.wait()


@pytest.mark.parametrize("kind", ["worker", "service of mode"])
async def test_an_app_that_ran_below_another_service(kind: str) -> None:
    """When it runs alone, behind that, its failure is raised as ever: nobody above hears of it."""
    app = make()
    above: Any = faust.Worker(app, daemon=False, loglevel="CRITICAL") if kind == "worker" else mode.Service()
    if kind != "worker":
        above.add_dependency(app)
    await above.start()
    assert app.engine.ready
    await above.stop()

    @app.task
    async def fail() -> None:
        raise ValueError("no")

    async def run() -> None:
        async with asyncio.timeout(10), app:
            await asyncio.shield(app.engine.failure)

    with pytest.raises(ValueError, match="no"):
        await run()


async def test_an_app_below_a_service_that_crashed_before() -> None:
    """It starts all the same, when it is told to."""
    app = make()
    service = mode.Service()
    service.add_dependency(app)
    await service.crash(ValueError("above"))
    assert app.crashed
    async with app:
        assert app.engine.ready


async def test_a_task_that_stops_the_app_at_once() -> None:
    """It ends it as any other stop before the start is over, and whoever has started it hears of it."""
    app = make()

    @app.task
    async def end() -> None:
        await app.stop()

    before = asyncio.all_tasks()
    with pytest.raises(WorkerError, match="was stopped before it had started"):
        await app.start()
    assert app.outcome == "committed, left the group"
    await until(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize("fails", [True, False])
def test_an_app_in_a_worker_of_mode(fails: bool) -> None:
    """mode's own worker runs it as any service, and exits with 1 when it cannot go on."""
    app = make()

    @app.task
    async def end() -> None:
        if fails:
            raise ValueError("no")
        os.kill(os.getpid(), signal.SIGTERM)

    loop = asyncio.new_event_loop()
    worker = mode.Worker(app, loop=loop, override_logging=False, redirect_stdouts=False, quiet=True)
    with pytest.raises(SystemExit) as ended:
        worker.execute_from_commandline()
    assert ended.value.code == int(fails)
    assert not app.running


def test_names_of_faust_for_the_life_of_an_app() -> None:
    """They are there, and do what they say."""
    app = make(autodiscover=["stream_app.running.drivers"])
    heard: list[bool] = []

    @app.on_worker_init
    def init(app: faust.App, **kwargs: Any) -> None:
        heard.append(app.in_worker)

    @app.actor("numbers")
    async def note(stream: faust.Stream[int]) -> None: ...

    assert app.agents[note.name] is note
    assert not app.finalized
    assert app.discover("stream_core.memory.log") == ["stream_app.running.drivers", "stream_core.memory.log"]
    app.finalize()
    assert app.finalized
    assert not app.in_worker
    app.worker_init()
    assert heard == [True]
    with pytest.raises(ConfigurationError, match="there is no module 'no_such_module'"):
        app.discover("no_such_module")


@pytest.mark.parametrize("name", ["on_first_start", "on_start", "on_started", "on_stop", "on_shutdown"])
async def test_a_hook_that_is_not_async(name: str) -> None:
    """Is named, by the start or by the stop, and nothing is left."""
    called: list[str] = []
    plain = type("Plain", (faust.App,), {name: lambda self: called.append(name)})
    vars(plain)[name].__name__ = name
    app, before = plain("shop", broker=make().conf.broker, web_enabled=False), asyncio.all_tasks()

    async def run() -> None:
        async with app:
            pass

    with pytest.raises(ConfigurationError, match=rf"is not async: write `async def {name}\(self\)`"):
        await run()
    assert called == [name]
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("name", ["on_first_start", "on_start", "on_started", "on_stop", "on_shutdown"])
async def test_a_hook_that_awaits_something_cancelled(name: str) -> None:
    """Fails in a sentence: nobody has cancelled the app, and the error of asyncio is empty."""

    async def wait(self: Any) -> None:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    wait.__qualname__ = f"Waiting.{name}"
    app = type("Waiting", (faust.App,), {name: wait})("shop", broker=make().conf.broker, web_enabled=False)

    async def run() -> None:
        async with app:
            pass

    with pytest.raises(WorkerError, match=rf"^what the hook Waiting\.{name} awaited was cancelled$"):
        await run()
    assert not app.running


async def test_a_dependency_that_is_no_service() -> None:
    """Is refused in a sentence."""

    class Depending(faust.App):
        def on_init_dependencies(self) -> list[Any]:
            return [7]

    app = Depending("shop", broker=make().conf.broker, web_enabled=False)
    with pytest.raises(
        ConfigurationError, match="Depending: 7 is not a service of mode, so that nothing can depend on it"
    ):
        await app.start()
    with pytest.raises(ConfigurationError, match="App: 7 is not a service of mode"):
        make().add_dependency(7)  # type: ignore[arg-type]


class Reading(faust.App):
    """Reads a stream in a task of its own."""

    def on_init(self) -> None:
        """Describe what is read."""
        self.numbers = self.topic("numbers", value_type=int, partitions=1)
        self.seen: list[int] = []

    @mode.Service.task
    async def read(self) -> None:
        """Read until the app stops."""
        async for number in self.stream(self.numbers):
            self.seen.append(number)


@pytest.mark.parametrize("way", ["task of the class", "future", "service", "service above", "program"])
async def test_who_reads_a_stream_when_the_app_stops(way: str) -> None:
    """What the app runs, and what runs it, is cancelled, and the stop is a clean one; a task of the program gets an error."""
    app: faust.App = (
        Reading("shop", broker=f"memory://{way}", web_enabled=False) if way == "task of the class" else make()
    )
    numbers = app.topic("numbers", value_type=int, partitions=1)
    seen: list[int] = app.seen if isinstance(app, Reading) else []

    async def read() -> None:
        async for number in app.stream(numbers):
            seen.append(number)

    class Reader(mode.Service):
        """Reads the stream in a service."""

        @mode.Service.task
        async def reads(self) -> None:
            """Read until the end."""
            await app.wait(asyncio.sleep(0))
            await read()

    above = mode.Service()
    if way == "service above":
        above = Reader()
        above.add_dependency(app)
        await above.start()
    else:
        await app.start()
    if way == "future":
        app.add_future(read())
    if way == "service":
        await app.add_runtime_dependency(Reader())
    reading = asyncio.create_task(read()) if way == "program" else None
    await numbers.send(value=1)
    await until(lambda: seen == [1])
    await (above if way == "service above" else app).stop()
    assert (app.crash_reason, above.crash_reason) == (None, None)
    if reading is not None:
        with pytest.raises(WorkerError, match="has ended: app shop was stopped; read it anew"):
            await reading


async def test_a_restart_that_fails_is_a_crash_of_who_runs_the_app() -> None:
    """The task that has asked for it is gone by then: else the worker would go on with nothing."""
    app, above = make(), mode.Service()

    class SecondStartError(ValueError):
        """Why the second start fails."""

    starts: list[int] = []

    async def on_start() -> None:
        starts.append(1)
        if len(starts) == 2:
            raise SecondStartError("no")

    app.on_start = on_start  # type: ignore[method-assign]

    @app.task
    async def again() -> None:
        await app.restart()

    above.add_dependency(app)
    await above.start()
    await until(lambda: above.crashed)
    assert isinstance(above.crash_reason, SecondStartError)
    await above.stop()
