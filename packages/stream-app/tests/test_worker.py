"""Workers and services: what starts together, stops together, and whose failure ends the process."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import Any

import mode
import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.garbage import NEW, OLDER
from stream_core.signals import StopSignals
from stream_core.testing.clock import ManualClock

from .apps import make, until

STAGES = """
    import asyncio, atexit, os, signal, sys
    import stream_app as faust

    stage, number = sys.argv.pop(), getattr(signal, sys.argv.pop())

    def reach(name):
        if name == stage:
            os.kill(os.getpid(), number)

    app = faust.App("stages", broker="memory://", web_enabled=False)
    left = []

    @app.on_worker_init.connect
    def init(app, **kwargs):
        reach("init")

    @app.on_configured.connect
    def configured(app, conf, **kwargs):
        reach("configured")

    @app.on_worker_shutdown.connect
    def shutdown(app, **kwargs):
        reach("shutdown")

    async def last():
        try:
            await asyncio.Event().wait()
        finally:
            reach("loop closes")

    @app.task
    async def go():
        left.append(asyncio.ensure_future(last()))
        reach("running")
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)

    @atexit.register
    def end():
        reach("exit")

    app.main()
"""
"""A worker that sends itself a signal at one stage of its life."""


def at_stage(stage: str, number: str, directory: Path, loop: str) -> subprocess.CompletedProcess[str]:
    """Run it until it ends."""
    program = directory / "stages.py"
    program.write_text(textwrap.dedent(STAGES), encoding="utf-8")
    command = [sys.executable, program, "--loop", loop, "worker", number, stage]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)


class Plain:
    """A service that is not a class of anybody's."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def start(self) -> None:
        """Start."""
        self.told.append("start")

    async def stop(self) -> None:
        """Stop."""
        self.told.append("stop")


class Broken(Plain):
    """A service that cannot stop."""

    async def stop(self) -> None:
        """Fail."""
        raise ValueError("cannot stop")


async def test_several_apps_and_services_in_one_worker() -> None:
    """They start together, and a stop that is asked for ends them all, with exit code 0."""
    one, two, plain = make("one"), make("two"), Plain()
    inits: list[str] = []
    for app in (one, two):

        @app.on_worker_init.connect
        def init(app: faust.App, **kwargs: Any) -> None:
            inits.append(app.id)

    worker = faust.Worker(one, two, plain, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: started(one) and started(two))
    assert (inits, plain.told, worker.app) == (["one", "two"], ["start"], one)
    await worker.stop()
    assert await running == 0
    assert plain.told == ["start", "stop"]
    assert not started(one)
    assert not started(two)


def started(app: faust.App) -> bool:
    """Whether an app runs."""
    try:
        return app.engine.ready
    except ConfigurationError:
        return False


async def test_the_failure_of_one_app_ends_the_worker() -> None:
    """The others are stopped, and the exit code is 1."""
    one, two = make("one"), make("two")

    @two.task
    async def fail() -> None:
        raise ValueError("no")

    assert await faust.Worker(one, two, loglevel="CRITICAL").start() == 1
    assert not started(one)
    assert not started(two)


async def test_an_app_that_cannot_start_ends_the_worker() -> None:
    """So does an app whose topics do not fit."""
    one, two = make("one"), make("two", topic_disable_leader=True)
    two.task(on_leader=True)(one.stop)
    assert await faust.Worker(one, two, loglevel="CRITICAL").start() == 1
    assert not started(one)


async def test_signals_of_the_process() -> None:
    """SIGUSR1 logs where the tasks wait, and SIGTERM stops."""
    app = make()

    @app.task
    async def linger() -> None:
        await asyncio.Event().wait()

    running = asyncio.create_task(faust.Worker(app, loglevel="CRITICAL").start())
    await until(lambda: started(app))
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_where_tasks_wait(caplog: pytest.LogCaptureFixture) -> None:
    """SIGUSR1 logs the line in which each task waits."""
    app = make()

    @app.task
    async def linger() -> None:
        await asyncio.Event().wait()

    worker = faust.Worker(app, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: started(app))
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: "linger" in caplog.text)
    assert "test_worker.py" in caplog.text
    await worker.stop()
    assert await running == 0


def test_a_loop_of_ones_own() -> None:
    """A worker runs in the loop that it is given, and closes it when it is told to."""
    loop = asyncio.new_event_loop()
    app = make()
    worker = faust.Worker(app, loop=loop, loglevel="CRITICAL")

    async def end() -> None:
        await until(lambda: started(app))
        await worker.stop()

    ending = loop.create_task(end())
    assert worker.execute_from_commandline() == 0
    assert ending.done()
    worker.stop_and_shutdown_loop()
    assert loop.is_closed()


def test_the_garbage_collector_looks_less_often() -> None:
    """While a worker has its process: a fetch makes thousands of objects at a time, and none of them is garbage."""
    loop, app, before = asyncio.new_event_loop(), make(), gc.get_threshold()
    worker = faust.Worker(app, loop=loop, loglevel="CRITICAL")

    async def look() -> tuple[int, ...]:
        await until(lambda: started(app))
        await worker.stop()
        return gc.get_threshold()[:2]  # Python 3.14 ignores the third one

    looking = loop.create_task(look())
    gc.set_threshold(700, 10, 10)
    try:
        assert worker.execute_from_commandline() == 0
        assert looking.result() == (NEW, OLDER[0])
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
        worker.stop_and_shutdown_loop()


async def test_services_of_an_app() -> None:
    """A service of mode, as a class or object, and any other object with start and stop run as long as the app."""
    app, plain, told = make(), Plain(), list[str]()
    app.service(plain)

    @app.service
    class Told(mode.Service):
        async def on_start(self) -> None:
            told.append("start")

        async def on_stop(self) -> None:
            told.append("stop")

    app.service(Broken())
    await app.start()
    assert (plain.told, told) == (["start"], ["start"])
    with pytest.raises(ConfigurationError, match="while app shop runs"):
        app.service(Plain())
    await app.stop()
    assert (plain.told, told) == (["start", "stop"], ["start", "stop"])


@pytest.mark.looptime
@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_service_that_does_not_stop(stubborn: bool, caplog: pytest.LogCaptureFixture) -> None:
    """It is left behind, also when it swallows its cancellation: the others are stopped, and the app commits and leaves its group."""
    app, plain, go = make(), Plain(), asyncio.Event()
    app.service(plain)

    class Hanging(Plain):
        async def stop(self) -> None:
            with suppress(asyncio.CancelledError):
                await go.wait()
            if stubborn:
                await go.wait()

    app.service(Hanging())
    await app.start()
    begin = asyncio.get_running_loop().time()
    await app.stop()
    assert asyncio.get_running_loop().time() - begin < 10
    assert "has not stopped within 5 s; going on without it" in caplog.text
    assert plain.told == ["start", "stop"]
    assert not started(app)
    go.set()


async def test_a_service_that_crashes_ends_the_app() -> None:
    """Its reason is the failure."""
    app = make()

    @app.service
    class Crashing(mode.Service):
        @mode.Service.task
        async def fall(self) -> None:
            raise ValueError("fallen")

    await app.start()
    async with asyncio.timeout(10):
        with pytest.raises(WorkerError, match="crashed: ValueError: fallen"):
            await app.wait()
    with pytest.raises(WorkerError, match="crashed: ValueError: fallen"):
        await app.stop()


def test_what_is_no_service() -> None:
    """It is refused in a sentence, by apps and by workers."""
    with pytest.raises(ConfigurationError, match="is not a service: give it"):
        make().service(object())
    with pytest.raises(ConfigurationError, match="is not a service: give it"):
        faust.Worker(make(), object())


# -- what a worker says


async def test_a_failure_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """By the app whose failure it is; the last line says that the worker has stopped."""
    app = make()

    @app.task
    async def fail() -> None:
        raise ValueError("no")

    assert await faust.Worker(app, loglevel="CRITICAL").start() == 1
    assert [record.levelname for record in caplog.records].count("CRITICAL") == 1
    assert caplog.records[-1].getMessage().startswith("worker of shop has stopped: after a failure")


async def test_a_start_that_fails_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    """By the worker: nobody else knows of it."""
    app = make(topic_disable_leader=True)
    app.task(on_leader=True)(app.stop)
    with caplog.at_level("INFO"):
        assert await faust.Worker(app).start() == 1
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert line.getMessage().startswith("the worker ends: topic_disable_leader is set")
    assert caplog.records[-1].getMessage() == "worker of shop has stopped before it was ready"


async def test_the_last_line_of_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """Says what has become of its work."""
    app = make()

    @app.agent("numbers")
    async def note(stream: Any) -> None:
        async for _ in stream:
            pass

    worker = faust.Worker(app)
    with caplog.at_level("INFO"):
        running = asyncio.create_task(worker.start())
        await until(lambda: "worker of shop is ready" in caplog.text)
        await worker.stop()
        assert await running == 0
    assert caplog.records[-1].getMessage() == "worker of shop has stopped: committed, left the group"


async def test_the_last_line_of_a_worker_with_open_events(caplog: pytest.LogCaptureFixture) -> None:
    """Says that what did not finish in time is done again."""
    app = make(broker_rebalance_timeout=0.3)
    begun = asyncio.Event()

    @app.agent("numbers")
    async def stuck(stream: Any) -> None:
        async for _ in stream:
            begun.set()
            await asyncio.Event().wait()

    worker = faust.Worker(app)
    with caplog.at_level("INFO"):
        running = asyncio.create_task(worker.start())
        await until(lambda: started(app))
        await app.send("numbers", value=1)
        await begun.wait()
        await worker.stop()
        assert await running == 0
    assert "worker of shop has stopped: left the group, not all of its open events were committed" in caplog.text


async def test_a_worker_is_stopped_from_another_thread() -> None:
    """Its loop ends what runs in it."""
    app = make()
    worker = faust.Worker(app, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: started(app))
    await asyncio.to_thread(lambda: asyncio.run(worker.stop()))
    assert await running == 0
    await worker.stop()  # it has ended


@pytest.mark.parametrize("ready", [True, False])
async def test_a_worker_that_is_cancelled_stops_its_apps(ready: bool) -> None:
    """In a program of somebody's that ends the task of a worker, nothing runs on; at whichever moment that is."""
    app, plain = make(), Plain()
    before = asyncio.all_tasks()
    running = asyncio.create_task(faust.Worker(app, plain, loglevel="CRITICAL").start())
    await until(lambda: started(app) if ready else plain.told)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not started(app)
    assert plain.told == ["start", "stop"]
    assert asyncio.all_tasks() == before


def test_a_log_file_that_cannot_be_written(tmp_path: Path) -> None:
    """The worker says so, and nothing is started."""
    file = tmp_path / "missing" / "shop.log"
    with pytest.raises(
        ConfigurationError, match=rf"the log file {file} cannot be written: No such file or directory; make"
    ):
        faust.Worker(make(), logfile=file).execute_from_commandline()


@pytest.mark.parametrize("loop", ["aio", "uvloop"])
def test_a_thread_that_hangs_does_not_keep_the_process(tmp_path: Path, loop: str) -> None:
    """Closing the event loop waits for its threads; a worker that has stopped ends without them, and says where they are."""
    (tmp_path / "hanging.py").write_text(
        textwrap.dedent("""
            import asyncio, os, signal, sys, threading
            import stream_app as faust
            from stream_app.running import process

            process.PATIENCE = 0.2
            app = faust.App("hanging", broker="memory://", web_enabled=False)

            def hang():
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait()

            @app.task
            async def begin():
                await asyncio.to_thread(hang)

            raise SystemExit(faust.Worker(app, loop=sys.argv[1]).execute_from_commandline())
        """)
    )
    done = subprocess.run(
        [sys.executable, "hanging.py", loop], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "worker of hanging has stopped: committed" in done.stderr
    assert re.search(
        r"ending now, 0\.2 s after the stop, with threads that still run: \S+ at \S+threading\.py", done.stderr
    )
    assert "_do_shutdown" not in done.stderr


def test_signals_that_come_at_once_are_one() -> None:
    """A second one is one that comes more than a second later."""
    clock = ManualClock(100.0)
    signals = StopSignals(clock)
    assert signals.heard() == "first"
    assert signals.heard() == "again"
    clock.advance(1.0)
    assert signals.heard() == "again"
    clock.advance(0.1)
    assert signals.heard() == "second"


async def test_two_signals_at_once_end_nothing() -> None:
    """The worker stops as for one."""
    app = make()
    running = asyncio.create_task(faust.Worker(app, loglevel="CRITICAL").start())
    await until(lambda: started(app))
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    assert await running == 0


async def test_a_worker_that_does_nothing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """A worker without agents, tasks, timers, services and pages is most often a mistake."""
    timed, paged = make("timed"), make("paged")
    timed.timer(1000.0)(nothing)
    paged.page("/view/")(answers)
    for app, idle in ((make("idle"), True), (timed, False), (paged, False)):
        worker = faust.Worker(app)
        running = asyncio.create_task(worker.start())
        await until(lambda app=app: started(app))
        await worker.stop()
        assert await running == 0
        assert (f"the app {app.id} has no agents, tasks, timers, services and pages" in caplog.text) == idle


async def nothing() -> None:
    """Do nothing."""


async def answers(web: Any, request: Any) -> Any:
    """Be a page."""
    return web.text("yes")


def test_two_apps_of_one_name() -> None:
    """Where one of them has definitions and never runs, the worker of the other says so."""
    one, two = make("twin"), make("twin")
    assert not [line for line in one.doubts() if "two apps" in line]
    two.timer(1.0)(nothing)
    (line,) = [line for line in one.doubts() if "two apps" in line]
    assert re.search(
        r"two apps named twin: one made in .*apps, line \d+ runs, and one made in .*apps, line \d+ does not, with 1 agents",
        line,
    )
    assert not [line for line in two.doubts() if "two apps" in line]


PROJECT = {
    "proj/__init__.py": "",
    "proj/main.py": """
        import stream_app as faust

        app = faust.App("proj", broker="memory://", web_enabled=False, autodiscover=["proj.agents"])

        if __name__ == "__main__":
            app.main()
    """,
    "proj/agents.py": """
        import proj.main
        from proj.main import app


        @app.agent("numbers")
        async def count(stream):
            async for _ in stream:
                pass


        assert proj.main.app is app
    """,
}


@pytest.mark.parametrize(
    "arguments", [("-m", "proj.main"), ("proj/main.py",), ("-m", "stream_cli", "-A", "proj.main")], ids=" ".join
)
def test_a_program_and_its_module_are_one(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """However a program is started, agents in other modules are those of its app."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, *arguments, "agents", "--json"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "proj.agents.count" in done.stdout


# -- as a dependency of a service of mode


class Parent(mode.Service):
    """A service that depends on an app."""

    def __init__(self, app: faust.App) -> None:
        super().__init__()
        self.app = app

    def on_init_dependencies(self) -> list[Any]:
        """What starts and stops with it."""
        return [self.app]


async def test_an_app_is_a_dependency_of_a_service() -> None:
    """It starts, stops and starts again with it."""
    app = make()
    service = Parent(app)
    await service.start()
    assert started(app)
    assert not await app.maybe_start()
    assert app.beacon.root is service.beacon
    await service.restart()
    assert started(app)
    await service.stop()
    assert not started(app)
    await service.remove_dependency(app)
    assert app.beacon.root is None


async def test_an_app_that_fails_crashes_the_service_above() -> None:
    """For the same reason; and the app stops without raising it once more."""
    app = make()

    @app.task
    async def fail() -> None:
        raise ValueError("no")

    top = Parent(app)
    await top.start()
    async with asyncio.timeout(10):
        await top.wait_until_stopped()
    assert isinstance(top.crash_reason, ValueError)
    await top.stop()
    assert not started(app)


async def test_a_service_that_crashes_ends_the_app_below() -> None:
    """What its parent cannot go on with, it does not go on with either."""
    app = make()
    service = Parent(app)
    await service.start()
    await service.crash(KeyError("above"))
    assert isinstance(app.failure, KeyError)
    await service.stop()
    assert not started(app)


@pytest.mark.parametrize("loop", ["aio", "uvloop"])
@pytest.mark.parametrize("stage", ["init", "configured", "running", "shutdown", "loop closes", "exit"])
def test_who_asks_what_a_worker_does_never_ends_it(stage: str, loop: str, tmp_path: Path) -> None:
    """Before there is a log, and when the event loop has gone, SIGUSR1 and SIGUSR2 print where the threads are."""
    for number in ("SIGUSR1", "SIGUSR2"):
        done = at_stage(stage, number, tmp_path, loop)
        assert done.returncode == 0, done.stderr
        if stage != "exit":
            said = f"{number}: these tasks run" if stage in ("running", "shutdown") else "Current thread"
            assert said in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_stop_behind_the_stop_changes_nothing(number: str, tmp_path: Path) -> None:
    """A worker that has committed and left the group ends with 0, also if a signal comes while its event loop is closed."""
    done = at_stage("loop closes", number, tmp_path, "aio")
    assert done.returncode == 0, done.stderr
    assert "has stopped: committed, left the group" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Aborted" not in done.stderr
