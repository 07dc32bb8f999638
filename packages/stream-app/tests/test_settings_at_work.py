"""What settings do: in an app and in a worker, however they were given, and when it is too late to give them."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import stream_app as faust
from stream_core.errors import ConfigurationError, UnknownSettingError

from .apps import make, until
from .test_worker_duties import WithoutConsole, run_until_ready


def detectors() -> list[threading.Thread]:
    """The threads that look at who blocks an event loop."""
    return [thread for thread in threading.enumerate() if thread.name == "blocking detector"]


# -- a worker


async def test_a_worker_takes_the_settings_of_its_app(caplog: pytest.LogCaptureFixture) -> None:
    """Also those that a handler assigns in ``on_configured``, and the log of the worker has them."""
    own = logging.NullHandler()
    app, before = make(worker_redirect_stdouts=True), sys.stdout

    @app.on_configured.connect
    def configure(app: faust.App, conf: faust.Settings, **_: Any) -> None:
        conf.worker_redirect_stdouts_level = "error"
        conf.loghandlers = [own]
        conf.blocking_timeout = 1000

    @app.task
    async def talk() -> None:
        print("sold out")

    worker = faust.Worker(app, loglevel="CRITICAL")
    running = await run_until_ready(worker)
    await until(lambda: "sold out" in caplog.text)
    assert own in logging.root.handlers
    assert len(detectors()) == 1
    logging.root.removeHandler(own)
    await worker.stop()
    assert await running == 0
    assert [record.levelname for record in caplog.records if record.getMessage() == "sold out"] == ["ERROR"]
    assert sys.stdout is before


async def test_arguments_of_a_worker_go_before_settings() -> None:
    """Also where they switch something off."""
    app = make(debug=True, worker_redirect_stdouts=True, loghandlers=[logging.NullHandler()])
    worker = faust.Worker(app, debug=False, redirect_stdouts=False, loghandlers=(), loglevel="CRITICAL")
    before = sys.stdout, logging.root.handlers[:]
    running = await run_until_ready(worker)
    assert (sys.stdout, logging.root.handlers) == before
    assert not detectors()
    await worker.stop()
    assert await running == 0


async def test_debug_is_a_setting() -> None:
    """A worker of an app under ``debug`` is watched; others are not."""
    for debug in (True, False):
        worker = WithoutConsole(make(debug=debug), loglevel="CRITICAL")
        running = await run_until_ready(worker)
        assert (worker.debug, len(detectors())) == (debug, int(debug))
        await worker.stop()
        assert await running == 0


async def test_the_log_is_configured_by_a_setting() -> None:
    """``logging_config`` is for :func:`logging.config.dictConfig`."""
    name = uuid4().hex
    app = make(logging_config={"loggers": {name: {"level": "ERROR"}}, "merge": True})
    worker = faust.Worker(app, loglevel="CRITICAL")
    running = await run_until_ready(worker)
    assert logging.getLogger(name).level == logging.ERROR
    await worker.stop()
    assert await running == 0


async def test_a_handler_of_settings_that_fails_ends_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the exit code is 1."""
    app = make()

    @app.on_configured.connect
    def configure(app: faust.App, conf: faust.Settings, **_: Any) -> None:
        conf.topic_partitions = 0

    assert await faust.Worker(app).start() == 1
    assert "topic_partitions=0 cannot be used" in caplog.text


# -- events and tables


@pytest.mark.parametrize("wait", [True, False])
async def test_whether_open_events_may_finish(wait: bool) -> None:
    """Without ``stream_wait_empty`` a stop waits for none of them, and the next worker does them again."""
    name, begun, done = uuid4().hex, asyncio.Event(), asyncio.Event()
    seen: list[int] = []

    def shop() -> faust.App:
        app = make(broker=f"memory://{name}", stream_wait_empty=wait, broker_rebalance_timeout=39, store="memory://")

        @app.agent("numbers")
        async def work(stream: Any) -> None:
            async for number in stream:
                seen.append(number)
                begun.set()
                await done.wait()

        return app

    app = shop()
    await app.start()
    await app.send("numbers", value=1)
    await begun.wait()
    if wait:
        asyncio.get_running_loop().call_later(0.05, done.set)
    await app.stop()
    assert done.is_set() is wait
    done.set()
    async with shop() as again:
        await again.send("numbers", value=2)
        await until(lambda: 2 in seen)
    assert seen == ([1, 2] if wait else [1, 1, 2])


@pytest.mark.looptime
@pytest.mark.parametrize("wait", [True, False])
async def test_open_events_that_hold_up_the_commit(wait: bool) -> None:
    """Two open events that have changed one key can only be committed together: without ``stream_wait_empty`` nobody waits for that."""
    app, loop = (
        make(stream_wait_empty=wait, broker_rebalance_timeout=39, topic_partitions=1),
        asyncio.get_running_loop(),
    )
    table, begun = app.Table("counts", default=int, key_type=str, value_type=int), asyncio.Barrier(3)
    numbers = app.topic("numbers", partitions=1)

    def counting() -> Any:
        async def count(stream: Any) -> None:
            async for _ in stream:
                table["all"] += 1
                await begun.wait()
                await asyncio.Event().wait()

        return count

    for name in ("one", "two"):
        app.agent(numbers, name=name)(counting())
    await app.start()
    await numbers.send(1)
    await begun.wait()
    before = loop.time()
    await app.stop()
    assert (loop.time() - before >= 5) is wait


@pytest.mark.looptime(start=0, end=200)
async def test_recovery_waits_for_a_delay() -> None:
    """Between the assignment and the first event."""
    app, loop = make(stream_recovery_delay=50), asyncio.get_running_loop()

    @app.agent("numbers")
    async def work(stream: Any) -> None:
        async for _ in stream:
            pass

    async with app:
        assert 50 <= loop.time() < 100


async def test_how_many_keys_are_remembered() -> None:
    """Reads outside of events find all keys, whatever ``table_key_index_size`` says."""
    app = make(table_key_index_size=2, topic_partitions=2)
    table = app.Table("counts", default=int, key_type=str, value_type=int, partitions=2)
    numbers = app.topic("numbers", key_type=str, value_type=int, partitions=2)

    @app.agent(numbers)
    async def count(stream: Any) -> None:
        async for key, number in stream.items():
            table[key] += number

    keys = [str(number) for number in range(9)]
    async with app:
        for key in keys:
            await numbers.send(1, key=key)
        await until(lambda: all(table.get(key) for key in keys))
        assert [table[key] for key in keys] == [1] * 9
        assert table.key_index_size == 2
        assert 1 <= len(table._routes) <= 2


# -- classes


class OwnAgent(faust.Agent):
    """An agent of one's own."""


class OwnTable(faust.Table[Any, Any]):
    """A table of one's own."""


class OwnTopic(faust.Topic[Any, Any]):
    """A topic of one's own."""


class OwnChannel(faust.Channel[Any, Any]):
    """A channel of one's own."""


class OwnWorker(faust.Worker):
    """A worker of one's own."""


@pytest.mark.parametrize("by", ["class", "path"])
def test_classes_of_ones_own(by: str) -> None:
    """Are named by settings, as classes or by their paths, in place of attributes of a subclass of the app."""
    classes: dict[str, Any] = {
        "Agent": OwnAgent,
        "Table": OwnTable,
        "Topic": OwnTopic,
        "Channel": OwnChannel,
        "Worker": OwnWorker,
    }
    app = make(**{name: cls if by == "class" else f"{__name__}:{cls.__name__}" for name, cls in classes.items()})

    @app.agent("numbers")
    async def work(stream: Any) -> None:
        async for _ in stream:
            pass

    assert isinstance(work, OwnAgent)
    assert isinstance(app.Table("counts"), OwnTable)
    assert isinstance(app.topic("numbers"), OwnTopic)
    assert isinstance(app.channel(), OwnChannel)
    assert isinstance(app.worker(), OwnWorker)


# -- too late


@pytest.mark.parametrize(
    ("define", "setting", "value", "what"),
    [
        (lambda app: app.topic("a"), "value_serializer", "raw", "topic a was defined with json"),
        (lambda app: app.topic("a"), "Topic", OwnTopic, "topic a was defined with None"),
        (lambda app: app.channel("a"), "stream_buffer_maxsize", 1, "channel a was defined with 4096"),
        (lambda app: app.Table("a"), "version", 2, "table a was defined with 1"),
        (lambda app: app.Table("a"), "id_format", "v{self.version}-{id}", "table a was defined with"),
        (lambda app: app.agent(name="a")(read), "version", 2, "agent a was defined with 1"),
        (
            lambda app: app.agent("b", name="a")(read),
            "agent_supervisor",
            "crash",
            "agent a was defined with one_for_one",
        ),
        (lambda app: app.crontab("* * * * *")(tick), "timezone", "Europe/Berlin", "crontab tick was defined with UTC"),
    ],
)
def test_a_setting_that_comes_too_late_is_refused(
    define: Callable[[faust.App], Any], setting: str, value: Any, what: str
) -> None:
    """What a definition has used cannot be changed behind it; the value that it has may be said again."""
    app = make()
    before = getattr(app.conf, setting)
    define(app)
    with pytest.raises(ConfigurationError, match=f"{setting} cannot be changed any more: {what}"):
        setattr(app.conf, setting, value)
    with pytest.raises(ConfigurationError, match=f"{setting} cannot be changed any more: {what}"):
        app.config_from_object({setting: value})
    setattr(app.conf, setting, before)
    setattr(app.conf, setting, None)
    assert getattr(app.conf, setting) == before


def test_what_names_all_that_it_needs_leaves_the_settings_open() -> None:
    """A topic with serializers of its own, a calendar with a zone, an agent on a topic."""
    app = make()
    topic = app.topic("a", key_serializer="raw", value_serializer="json")
    app.agent(topic, name="a", supervisor_strategy="crash")(read)
    app.crontab("* * * * *", timezone="UTC")(tick)
    app.conf.key_serializer = app.conf.value_serializer = "raw"
    app.conf.version, app.conf.timezone, app.conf.agent_supervisor = 2, "Europe/Berlin", "crash"


async def read(stream: Any) -> None:
    """The body of an agent."""
    async for _ in stream:
        pass


async def tick() -> None:
    """The body of a calendar."""


async def test_nothing_is_assigned_after_the_start() -> None:
    """By no way."""
    app = make()
    async with app:
        for change in (lambda: setattr(app.conf, "web_port", 1), lambda: app.config_from_object({"web_port": 1})):
            with pytest.raises(ConfigurationError, match="web_port cannot be changed: the app has started"):
                change()


# -- configuration from objects


class InCapitals:
    """As modules of other frameworks have their settings."""

    TOPIC_PARTITIONS = 3
    BROKER = "memory://a"
    Table = OwnTable
    _store = "nothing"


def test_names_in_capitals() -> None:
    """Count as settings, in objects and in mappings; a class has the name of its setting as it is."""
    app = make()
    app.config_from_object(InCapitals)
    assert (app.conf.topic_partitions, app.conf.broker, app.conf.Table) == (3, ["memory://a"], OwnTable)
    assert app.conf.sources["topic_partitions"] == "configuration InCapitals"
    app.config_from_object(InCapitals())
    app.config_from_object({"TOPIC_PARTITIONS": 4}, force=True)
    assert app.conf.topic_partitions == 4
    with pytest.raises(ConfigurationError, match="names the setting topic_partitions twice"):
        app.config_from_object({"TOPIC_PARTITIONS": 4, "topic_partitions": 5})
    with pytest.raises(UnknownSettingError, match="did you mean 'broker'"):
        app.config_from_object({"BROKR": 4})


def configuration(directory: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a module, and give its name."""
    name = f"configuration_{uuid4().hex}"
    (directory / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(directory)
    return name


def test_what_a_module_must_not_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Settings of Faust that have no effect are refused; what it imports is left alone; a slip of the pen is logged."""
    app = make()
    with pytest.raises(ConfigurationError, match="'table_standby_replicas' of Faust has no effect here"):
        app.config_from_object(configuration(tmp_path, "table_standby_replicas = 2\n", monkeypatch))
    with pytest.raises(UnknownSettingError, match="'commit_interval' is now broker_commit_interval"):
        app.config_from_object(configuration(tmp_path, "COMMIT_INTERVAL = 2\n", monkeypatch))
    imports = "from stream_app import Event, Stream\nimport json as web\nbrokers = 3\nhost = 4\n"
    app.config_from_object(configuration(tmp_path, imports, monkeypatch))
    assert [record.getMessage().partition("has ")[2] for record in caplog.records] == [
        "brokers, which is not a setting: did you mean broker?"
    ]


@pytest.mark.parametrize("source", [None, 3, ["broker"], b"module", "", ":Class", ".module"])
def test_what_is_no_configuration(source: Any) -> None:
    """Is refused, and not passed over."""
    with pytest.raises(
        ConfigurationError,
        match=r"is not a configuration: give a module|cannot be loaded: it is not a name of a module",
    ):
        make().config_from_object(source)


def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``silent`` is for a module that does not exist, not for one that fails."""
    app = make()
    name = configuration(tmp_path, "import no_such_module_at_all\n", monkeypatch)
    for silent in (False, True):
        with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
            app.config_from_object(name, silent=silent)
    app.config_from_object("no.such.module", silent=True)
    app.config_from_object("no.such.module:Class", silent=True)
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        app.config_from_object(f"{name[:-1]}:Class")
