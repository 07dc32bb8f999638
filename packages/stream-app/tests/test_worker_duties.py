"""What a worker does for its process: directory, title, log, debugging, signals, exit code, hooks, event loop."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import urllib.request
from collections.abc import Callable
from contextlib import closing
from functools import wraps
from pathlib import Path
from typing import Any

import mode
import pytest
import setproctitle

import stream_app as faust
from stream_app.running.blocking import BlockingDetector
from stream_app.running.logs import set_up_logging
from stream_core.errors import ConfigurationError

from .apps import make, until
from .test_service import Told


async def run_until_ready(worker: faust.Worker) -> asyncio.Task[int]:
    """Start a worker in a task, and wait until it is ready."""
    running = asyncio.create_task(worker.start())
    await until(lambda: worker._ready or running.done())
    return running


def free_ports(number: int) -> int:
    """The first of some ports in a row that nobody listens on."""
    while True:
        with closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            first: int = one.getsockname()[1]
        try:
            for port in range(first, first + number):
                with closing(socket.socket()) as other:
                    other.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


# -- a worker of mode


class Hooked(faust.Worker):
    """Notes its hooks."""

    def __init__(self, told: list[str], *args: Any, fails: str = "", **options: Any) -> None:
        super().__init__(*args, loglevel="CRITICAL", **options)
        self.told = told
        self.fails = fails
        self.dependency = Told([])

    def tell(self, what: str) -> None:
        """Note a hook."""
        self.told.append(what)
        if what == self.fails:
            raise ValueError(what)

    def on_init_dependencies(self) -> list[Any]:
        """A service that starts before the apps."""
        return [self.dependency]

    async def on_execute(self) -> None:
        """Note it."""
        self.tell("execute")

    def on_setup_root_logger(self, logger: logging.Logger, level: int) -> None:
        """Note it."""
        assert logger is logging.root
        self.tell("root logger")

    async def on_start(self) -> None:
        """Note it."""
        self.tell("start")

    async def on_started(self) -> None:
        """Note it."""
        assert self.dependency.running
        self.tell("started")

    async def on_stop(self) -> None:
        """Note it."""
        assert self.dependency.running
        self.tell("stop")

    async def on_shutdown(self) -> None:
        """Note it."""
        assert not self.dependency.running
        self.tell("shutdown")

    def on_worker_shutdown(self) -> None:
        """Note it."""
        self.tell("worker shutdown")


async def test_a_worker_is_one_of_mode() -> None:
    """With its hooks, its place in the tree, and its state; and it can run again."""
    told: list[str] = []
    app = make()
    worker = Hooked(told, app)
    assert isinstance(worker, mode.Worker)
    assert app.beacon.root is worker.beacon
    for _ in range(2):
        told.clear()
        running = await run_until_ready(worker)
        await until(lambda: "started" in told)
        assert worker.state == "running"
        with pytest.raises(ConfigurationError, match="runs already"):
            await worker.start()
        await worker.stop()
        assert await running == 0
        assert worker.state == "shutdown"
        assert told == ["root logger", "execute", "start", "started", "stop", "shutdown", "worker shutdown"]


async def test_a_worker_whose_last_hook_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and changes nothing: everything has stopped."""
    worker = Hooked([], make(), fails="worker shutdown")
    running = await run_until_ready(worker)
    await worker.stop()
    assert await running == 0
    assert "on_worker_shutdown of the worker failed" in caplog.text


@pytest.mark.parametrize("fails", ["start", "started", "stop", "shutdown"])
async def test_a_hook_of_a_worker_that_raises(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    """The worker ends with 1 and says why, and everything has stopped."""
    told: list[str] = []
    app, before = make(), asyncio.all_tasks()
    worker = Hooked(told, app, fails=fails)
    running = await run_until_ready(worker)
    if fails in ("stop", "shutdown"):
        await worker.stop()
    assert await running == 1
    assert f"the worker ends: {fails}" in caplog.text
    assert (app.running, worker.dependency.running) == (False, False)
    assert told[-1] == "worker shutdown"
    assert asyncio.all_tasks() == before


async def test_a_worker_that_returns_when_it_is_ready() -> None:
    """With ``daemon=False`` whoever starts it goes on, and stops it."""
    app = make()
    worker = faust.Worker(app, daemon=False, loglevel="CRITICAL")
    assert await worker.start() == 0
    assert app.engine.ready
    await worker.stop()
    assert not app.running

    broken = make(topic_disable_leader=True)
    broken.task(on_leader=True)(broken.stop)
    assert await faust.Worker(broken, daemon=False, loglevel="CRITICAL").start() == 1


async def test_a_worker_that_is_given_up_before_it_is_ready() -> None:
    """With ``daemon=False`` too, a start that is cancelled leaves nothing that runs."""
    app, begun, before = make(), asyncio.Event(), asyncio.all_tasks()

    class Slow(mode.Service):
        async def on_start(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    app.service(Slow)
    worker = faust.Worker(app, daemon=False, loglevel="CRITICAL")
    starting = asyncio.create_task(worker.start())
    await begun.wait()
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert (worker.running, app.running) == (False, False)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize("hook", ["on_stop", "on_shutdown"])
async def test_a_hook_of_a_worker_that_stops_it(hook: str) -> None:
    """Goes on at once: the end of the worker would else wait for itself."""
    worker_class = type("Stopping", (faust.Worker,), {hook: faust.Worker.stop})
    app = make()
    worker = worker_class(app, daemon=False, loglevel="CRITICAL")
    assert await worker.start() == 0
    async with asyncio.timeout(10):
        await worker.stop()
    assert (worker.running, app.running) == (False, False)


async def test_a_worker_that_is_started_again_by_restart() -> None:
    """Has ended wholly before."""
    app = make()
    worker = faust.Worker(app, daemon=False, loglevel="CRITICAL")
    assert await worker.start() == 0
    first = app.engine
    await worker.restart()
    assert app.engine is not first
    assert app.engine.ready
    await worker.stop()
    assert (worker.running, app.running) == (False, False)


async def test_a_worker_starts_all_that_it_depends_on() -> None:
    """Before its apps, at each start; and stops it."""
    told: list[str] = []
    first, second = Told(told), Told(told)
    worker = faust.Worker(make(), daemon=False, loglevel="CRITICAL")
    worker.add_dependency(first)
    worker.add_dependency(second)
    assert await worker.start() == 0
    assert (first.running, second.running) == (True, True)
    await worker.restart()
    assert (first.running, second.running) == (True, True)
    await worker.stop()
    assert (first.running, second.running) == (False, False)


async def test_a_worker_of_an_app_that_runs() -> None:
    """Is refused, and leaves the app alone."""
    app = make()
    async with app:
        with pytest.raises(ConfigurationError, match="a worker cannot start shop: it runs already"):
            await faust.Worker(app, loglevel="CRITICAL").start()
        assert app.engine.ready


async def test_a_crash_of_one_app_leaves_the_others_to_commit(caplog: pytest.LogCaptureFixture) -> None:
    """The worker crashes with the first, and the second stops as ever."""
    one, two = make("one"), make("two")

    @one.task
    async def fail() -> None:
        raise ValueError("no")

    worker = faust.Worker(one, two, loglevel="INFO")
    with caplog.at_level("INFO"):
        assert await worker.start() == 1
    assert isinstance(worker.crash_reason, ValueError)
    assert "worker of two has stopped: committed, left the group" in caplog.text
    assert not two.crashed


async def cancelled(self: object) -> None:
    """A hook that awaits what was cancelled, while nobody cancels the hook."""
    promise = asyncio.get_running_loop().create_future()
    promise.cancel()
    await promise


@pytest.mark.parametrize("hook", ["on_first_start", "on_start", "on_started"])
async def test_a_hook_that_ends_cancelled_ends_the_worker(hook: str, caplog: pytest.LogCaptureFixture) -> None:
    """The start is not done, and the worker does not call itself ready."""
    app = type("Shop", (faust.App,), {hook: cancelled})("shop", broker="memory://", web_enabled=False)
    with caplog.at_level("INFO"):
        assert await faust.Worker(app, daemon=False, loglevel="INFO").start() == 1
    assert "awaited was cancelled" in caplog.text
    assert "is ready" not in caplog.text


@pytest.mark.parametrize("hook", ["on_stop", "on_shutdown"])
@pytest.mark.parametrize("whose", [faust.App, faust.Worker])
async def test_a_hook_of_the_stop_that_ends_cancelled_is_told(
    whose: type, hook: str, caplog: pytest.LogCaptureFixture
) -> None:
    """All else is stopped, and the exit code says that something was not."""
    kinds = {one: type("Own", (one,), {hook: cancelled}) if one is whose else one for one in (faust.App, faust.Worker)}
    app = kinds[faust.App]("shop", broker="memory://", web_enabled=False)
    worker = kinds[faust.Worker](app, daemon=False, loglevel="INFO")
    assert await worker.start() == 0
    with caplog.at_level("INFO"):
        await worker.stop()
    assert "the worker ends: what the hook " in caplog.text
    assert "awaited was cancelled" in caplog.text
    assert "worker of shop has stopped" in caplog.text
    assert not app.running


def test_the_exit_code() -> None:
    """Of a program that does nothing but run a worker is 1 when that could not go on."""
    app = make()

    @app.task
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(SystemExit) as ended:
        faust.Worker(app, loglevel="CRITICAL").execute_from_commandline()
    assert ended.value.code == 1


def test_the_loop_of_the_guides() -> None:
    """``await worker.start()`` in a loop of one's own, and a clean end of that loop, also of what else runs in it."""
    app, told = make(), list[str]()
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def linger() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.append("cancelled")

    async def start_worker(worker: faust.Worker) -> None:
        lingering.append(asyncio.create_task(linger()))
        await worker.start()

    @app.task
    async def end() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    lingering: list[asyncio.Task[None]] = []
    worker = faust.Worker(app, loop=loop, loglevel="CRITICAL")
    try:
        loop.run_until_complete(start_worker(worker))
    finally:
        worker.stop_and_shutdown_loop()
        asyncio.set_event_loop(None)
    assert loop.is_closed()
    assert told == ["cancelled"]
    worker.stop_and_shutdown_loop()  # nothing is left to do
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- the process


async def test_directory_and_title(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker changes to ``workdir``, and listings of processes show what it does and for which app."""
    monkeypatch.chdir(Path.cwd())
    before = setproctitle.getproctitle()
    app = make(web_enabled=True, web_port=free_ports(1))
    running = await run_until_ready(faust.Worker(app, workdir=tmp_path, loglevel="CRITICAL"))
    assert Path.cwd() == tmp_path
    where = f"shop http://127.0.0.1:{app.conf.web_port} {tmp_path / 'shop-data'}"
    assert setproctitle.getproctitle() == f"[Stream:Worker] -running- {where}"
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert setproctitle.getproctitle() == before


async def test_what_runs(caplog: pytest.LogCaptureFixture) -> None:
    """SIGUSR1 logs each task with its line, and the stack of each other thread; events go on."""
    app, release = make(), threading.Event()

    @app.task
    async def linger() -> None:
        await asyncio.to_thread(release.wait)

    running = await run_until_ready(faust.Worker(app, loglevel="CRITICAL"))
    os.kill(os.getpid(), signal.SIGUSR1)
    await until(lambda: "SIGUSR1: these tasks run" in caplog.text)
    assert "linger" in caplog.text
    assert "in wait" in caplog.text.partition("and these threads")[2]
    release.set()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0


async def test_several_apps_with_a_web_server_each() -> None:
    """The port of each is its setting, as in the guides."""
    apps = [make(f"app{i}", web_enabled=True) for i in range(4)]
    first = free_ports(4)
    for i, app in enumerate(apps):
        app.conf.web_port = first + i
    worker = faust.Worker(*apps, loglevel="CRITICAL")
    assert worker.app is apps[0]
    running = await run_until_ready(worker)

    def look(port: int) -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=10) as answer:
            return int(answer.status)

    for i in range(4):
        assert await asyncio.to_thread(look, first + i) == 200
    await worker.stop()
    assert await running == 0


async def test_only_the_main_app_with_a_web_server() -> None:
    """Other apps, or servers for them, are passed as services."""
    main, other = make("main", web_enabled=True, web_port=free_ports(1)), make("other")
    server = Told([])
    running = await run_until_ready(worker := faust.Worker(main, other, server, loglevel="CRITICAL"))
    assert server.running
    assert other.engine.ready
    await worker.stop()
    assert await running == 0
    assert not server.running


# -- debugging


CONSOLE = """
    import asyncio, os, signal, socket, sys
    import stream_app as faust

    app, first = faust.App("shop", broker="memory://", web_enabled=False), int(sys.argv[1])


    @app.task
    async def look():
        _, writer = await asyncio.open_connection("127.0.0.1", first + 3)
        writer.close()
        for address in {found[4][0] for found in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}:
            if not address.startswith("127."):
                try:
                    await asyncio.open_connection(address, first + 3)
                except OSError:
                    continue
                raise RuntimeError(f"the console can be reached at {address}")
        os.kill(os.getpid(), signal.SIGTERM)


    taken = socket.create_server(("127.0.0.1", first + 1))
    faust.Worker(app, debug=True, console_port=first).execute_from_commandline()
"""


def test_the_debugging_console(tmp_path: Path) -> None:
    """With ``debug`` there is one for this machine only; a port in use moves it."""
    (tmp_path / "console.py").write_text(textwrap.dedent(CONSOLE))
    first = free_ports(6)
    done = subprocess.run(
        [sys.executable, "console.py", str(first)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"telnet 127.0.0.1 {first + 3}, or http://127.0.0.1:{first + 4}" in done.stderr
    assert "committed, left the group" in done.stderr


async def test_a_debugging_console_that_cannot_start(caplog: pytest.LogCaptureFixture) -> None:
    """The worker says so, and runs: here a warning of aiomonitor is an error, in its thread."""
    worker = faust.Worker(make(), debug=True, console_port=free_ports(3), loglevel="CRITICAL")
    running = await run_until_ready(worker)
    await worker.stop()
    assert await running == 0
    assert "there is no debugging console: " in caplog.text


class WithoutConsole(faust.Worker):
    """A worker whose debugging is the detector."""

    async def _add_monitor(self) -> None:
        """Add nothing."""


async def test_who_blocks_the_event_loop(caplog: pytest.LogCaptureFixture) -> None:
    """The task is named, with the line that it is in; nothing is raised in it."""
    app = make()
    told = threading.Event()

    class Telling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is blocked for more than" in record.getMessage():
                told.set()

    handler = Telling()
    logging.getLogger("stream").addHandler(handler)

    @app.task
    async def blocking() -> None:
        assert told.wait(60)

    worker = WithoutConsole(app, debug=True, blocking_timeout=0.05, loglevel="CRITICAL")
    running = await run_until_ready(worker)
    await until(told.is_set)
    logging.getLogger("stream").removeHandler(handler)
    (line, *_) = [record.getMessage() for record in caplog.records if "is blocked for more than" in record.getMessage()]
    assert line.startswith("the event loop is blocked for more than 0.05 s by task ")
    assert "test_who_blocks_the_event_loop.<locals>.blocking, in " in line
    assert "assert told.wait(60)" in line
    await worker.stop()
    assert await running == 0


async def test_the_detector_ends_with_its_thread() -> None:
    """Nothing of it is left."""
    detector = BlockingDetector(1000.0)
    detector.start()
    assert any(thread.name == "blocking detector" for thread in threading.enumerate())
    detector.stop()
    assert not any(thread.name == "blocking detector" for thread in threading.enumerate())


# -- the log


def with_new_log(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with a root logger as in a new process."""

    @wraps(test)
    def run(*args: Any, **options: Any) -> None:
        handlers, level = logging.root.handlers[:], logging.root.level
        logging.root.handlers[:] = []
        try:
            test(*args, **options)
        finally:
            for handler in logging.root.handlers:
                handler.close()
            logging.root.handlers[:] = handlers
            logging.root.setLevel(level)

    return run


class Terminal(io.StringIO):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@with_new_log
def test_levels_and_files(tmp_path: Path) -> None:
    """What is below the level is left out; the lines have time, process, level and logger."""
    for name, level in (("a", "warning"), ("b", logging.WARNING)):
        logging.root.handlers[:] = []
        set_up_logging(level, tmp_path / name)
        logging.getLogger("shop").info("left out")
        logging.getLogger("shop").warning("written")
        (line,) = (tmp_path / name).read_text().splitlines()
        assert line.endswith(f"[{os.getpid()}] [WARNING] shop: written")
        logging.root.handlers[0].close()


@with_new_log
def test_what_the_program_has_set_up_stays() -> None:
    """A worker changes neither its handlers nor its level."""
    file = io.StringIO()
    logging.basicConfig(stream=file, level="ERROR", format="mine: %(message)s")
    set_up_logging("DEBUG", None)
    logging.getLogger("shop").error("one")
    logging.getLogger("shop").warning("two")
    assert file.getvalue() == "mine: one\n"


@pytest.mark.parametrize("plain", [True, False])
@with_new_log
def test_colours_on_a_terminal(plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are some, unless NO_COLOR is set."""
    if plain:
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        monkeypatch.delenv("NO_COLOR", raising=False)
    set_up_logging("INFO", terminal := Terminal())
    logging.getLogger("shop").error("red")
    assert ("\x1b[31m" in terminal.getvalue()) is not plain
    assert "shop: " in terminal.getvalue()


@pytest.mark.parametrize(
    ("name", "short"),
    [("stream_web.server", "web.server"), ("stream_core.engine.ownership", "engine.ownership"), ("shop.a", "shop.a")],
)
@with_new_log
def test_names_are_short_on_a_terminal(name: str, short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks at a terminal knows which program it is, and which day; the names of others stay whole."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    set_up_logging("INFO", terminal := Terminal())
    logging.getLogger(name).info("said")
    assert re.match(rf"\[\d\d:\d\d:\d\d\] .* {re.escape(short)}: ", terminal.getvalue())


@with_new_log
def test_json() -> None:
    """Each line is an object, with the exception and what is added."""
    set_up_logging("INFO", file := io.StringIO(), log_format="json")
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("shop").exception("sold %d", 3, extra={"order": 7})
    line = json.loads(file.getvalue())
    assert (line["level"], line["logger"], line["message"], line["order"]) == ("ERROR", "shop", "sold 3", 7)
    assert line["process"] == os.getpid()
    assert "ValueError: no" in line["exc_info"]
    assert line["time"]


@with_new_log
def test_more_handlers() -> None:
    """They get what the log gets, once, in its format unless they have their own."""
    mine, own = io.StringIO(), io.StringIO()
    handler, formatted = logging.StreamHandler(mine), logging.StreamHandler(own)
    formatted.setFormatter(logging.Formatter("own: %(message)s"))
    set_up_logging("INFO", file := io.StringIO(), handlers=[handler, formatted])
    set_up_logging("INFO", None, handlers=[handler, formatted])
    logging.getLogger("shop").info("sold")
    assert mine.getvalue() == file.getvalue() != ""
    assert own.getvalue() == "own: sold\n"


@pytest.mark.parametrize("merge", [True, False])
@with_new_log
def test_a_configuration_of_ones_own(merge: bool, tmp_path: Path) -> None:
    """It is used instead of level and file, or beside them; loggers that exist already go on."""
    logger = logging.getLogger("shop.existing")
    config = {
        "formatters": {"short": {"format": "short: %(message)s"}},
        "handlers": {"file": {"class": "logging.FileHandler", "filename": str(tmp_path / "own"), "formatter": "short"}},
        "loggers": {"shop": {"handlers": ["file"], "level": "DEBUG"}},
    }
    set_up_logging("INFO", tmp_path / "log", config={**config, "merge": True} if merge else config)
    logger.debug("detail")
    logging.getLogger("other").info("beside")
    assert (tmp_path / "own").read_text() == "short: detail\n"
    assert (tmp_path / "log").exists() is merge
    if merge:
        assert "other: beside" in (tmp_path / "log").read_text()
    for handler in logging.getLogger("shop").handlers[:]:
        logging.getLogger("shop").removeHandler(handler)
        handler.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"level": "LOUD"}, "there is no log level 'LOUD'; use CRITICAL"),
        ({"config": {"handlers": {"x": {"class": "no.such.Class"}}}}, "logging_config cannot be used: .*'x'"),
        ({"config": {"version": 7}}, "logging_config cannot be used: Unsupported version: 7"),
    ],
)
@with_new_log
def test_a_log_that_cannot_be_set_up(options: dict[str, Any], reason: str) -> None:
    """Is said in a sentence."""
    with pytest.raises(ConfigurationError, match=reason):
        set_up_logging(**{"level": "INFO", "file": None, **options})


async def test_prints_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """With ``redirect_stdouts`` they are records of the level that is given; and print again when the worker has ended."""
    app, before = make(), sys.stdout

    @app.task
    async def talk() -> None:
        print("sold out")

    worker = faust.Worker(app, loglevel="CRITICAL", redirect_stdouts=True, redirect_stdouts_level="ERROR")
    running = await run_until_ready(worker)
    await until(lambda: "sold out" in caplog.text)
    await worker.stop()
    assert await running == 0
    assert [record.levelname for record in caplog.records if record.getMessage() == "sold out"] == ["ERROR"]
    assert sys.stdout is before


async def test_a_log_that_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """With ``override_logging=False`` the worker sets up nothing, and looks at no level and file."""
    worker = faust.Worker(make(), override_logging=False, loglevel="no level", logfile="/no/such/directory/log")
    running = await run_until_ready(worker)
    await worker.stop()
    assert await running == 0


async def test_a_worker_says_and_carps() -> None:
    """To the files that it is given, unless it is quiet."""
    out, err = io.StringIO(), io.StringIO()
    for quiet in (False, True):
        worker = faust.Worker(make(), stdout=out, stderr=err, quiet=quiet)
        worker.say("said")
        worker.carp("carped")
    assert (out.getvalue(), err.getvalue()) == ("said\n", "carped\n")
