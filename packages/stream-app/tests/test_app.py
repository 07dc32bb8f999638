"""The app: what is defined, when it runs, what it tells, and what threads may do."""

from __future__ import annotations

import asyncio
import importlib
import re
import socket
import sys
import threading
from collections.abc import AsyncIterator
from datetime import UTC
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

import stream_app as faust
from stream_core.assignment import Member
from stream_core.errors import BrokerUnavailableError, ConfigurationError, StreamError, UnknownSettingError, WorkerError
from stream_core.memory.settings import MemorySettings
from stream_core.primitives import TP
from stream_core.states import EngineState
from stream_tables.driver import open_stores

from .apps import OtherTransport, cluster, make, until

# -- tasks and timers


async def test_tasks_and_timers_run_beside_agents() -> None:
    """Tasks start when the app is operational, and get it if they ask for it; timers tick until it stops."""
    app = make()
    seen: list[Any] = []

    @app.agent(app.topic("numbers", value_type=int))
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    @app.task
    async def once() -> None:
        await note.cast(1)

    @app.task()
    async def again(app: faust.App) -> None:
        seen.append(app.id)

    @app.timer(0.01)
    async def tick() -> None:
        await app.send("numbers", value=2)

    await app.start()
    await until(lambda: {1, 2, "shop"} <= set(seen))
    await app.stop()


async def test_a_stop_before_the_start_is_over_ends_it() -> None:
    """Whenever it comes, nothing is left: no task, no member of the group, and whoever waits for the start hears why it ended."""
    turns = 0
    ticked: list[int] = []
    while True:
        app = make()

        @app.agent(app.topic("numbers", value_type=int))
        async def note(stream: faust.Stream[int]) -> None:
            async for _ in stream:
                pass

        @app.timer(0.001)
        async def tick() -> None:
            ticked.append(1)

        before = asyncio.all_tasks()
        starting = asyncio.create_task(app.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if starting.done():
            await app.stop()
            break
        async with asyncio.timeout(25):
            await app.stop()
            if turns:
                with pytest.raises(WorkerError, match="was stopped before it had started"):
                    await starting
            else:  # it had not begun
                await starting
                await app.stop()
        ticked.clear()
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before
        assert not cluster(app).group("shop").members
        assert not ticked
        turns += 3
    assert turns > 10


@pytest.mark.parametrize("kind", ["task", "timer", "stream error"])
async def test_a_task_that_fails_is_the_failure_of_the_app(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing goes wrong in silence: it is named once, with its traceback, and raised by whoever waits for the app, and by its stop."""
    app = make()
    error = StreamError("no") if kind == "stream error" else ValueError("no")

    @app.task if kind != "timer" else app.timer(0.01)
    async def broken() -> None:
        raise error

    await app.start()
    async with asyncio.timeout(10):
        with pytest.raises(type(error), match="no") as waited:
            await app.wait()
    assert waited.value is error
    engine = app.engine
    with pytest.raises(type(error), match="no"):
        await app.stop()
    assert not engine.ready
    assert app.failure is error
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert re.match(r"the worker of shop cannot go on: (task|timer) .*broken failed: .*no$", line.getMessage())
    assert line.exc_info is not None
    assert line.exc_info[1] is error
    await app.stop()  # it is stopped


async def test_an_agent_that_ends_for_good(caplog: pytest.LogCaptureFixture) -> None:
    """By an exception, or because it leaves its loop: it is logged, and ``async with app`` and ``app.stop`` raise it."""
    for ending in ("exception", "break"):
        app = make(agent_max_restarts=0)

        @app.agent("numbers", name="broken", value_type=int)
        async def broken(stream: faust.Stream[int], ending: str = ending) -> None:
            async for _ in stream:
                if ending == "exception":
                    raise ValueError("no")
                break

        async def work(app: faust.App = app) -> None:
            async with asyncio.timeout(10), app:
                await app.send("numbers", value=1)
                await asyncio.shield(app.engine.failure)

        with pytest.raises(WorkerError, match="agent broken"):
            await work()
        with pytest.raises(ConfigurationError, match="not started"):
            app.engine.ready  # noqa: B018 - it raises
        lines = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
        assert len(lines) == 1
        assert "the worker of shop cannot go on: agent broken" in lines[0]
        caplog.clear()


async def test_what_the_block_raises_goes_first() -> None:
    """``async with app`` raises what its block raises, and stops all the same."""
    app = make()

    async def fail() -> None:
        async with app:
            app.engine.fail(ValueError("no"))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert isinstance(app.failure, ValueError)
    async with app:  # it can be started again
        assert app.failure is None


async def test_waiting_for_an_app() -> None:
    """It ends with the app, and needs one that is started."""
    app = make()
    with pytest.raises(ConfigurationError, match="app shop is not started"):
        await app.wait()
    await app.start()
    waiting = asyncio.create_task(app.wait())
    await asyncio.gather(app.stop(), app.stop())
    async with asyncio.timeout(10):
        await waiting


async def test_a_stop_that_is_cancelled_before_the_start_is_over() -> None:
    """What was started stops all the same: the start is given up in a step like the others."""
    app, told = make(), list[str]()

    @app.agent(app.topic("numbers", value_type=int))
    async def note(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.service
    class Slow:
        async def start(self) -> None:
            told.append("start")
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)

        async def stop(self) -> None:
            told.append("stop")

    before = asyncio.all_tasks()
    starting = asyncio.create_task(app.start())
    await until(lambda: told)
    stopping = asyncio.create_task(app.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    with pytest.raises(WorkerError, match="was stopped before it had started"):
        await starting
    assert told == ["start", "stop"]
    assert asyncio.all_tasks() == before
    assert not cluster(app).group("shop").members


@pytest.mark.parametrize("turns", range(1, 8))
@pytest.mark.parametrize("fails", ["start", "task"])
async def test_waiting_for_an_app_that_has_not_started_yet(turns: int, fails: str) -> None:
    """Whenever the waiting begins, it raises why the app cannot start, or why it cannot go on."""
    app = make()

    @app.service
    class Service:
        async def start(self) -> None:
            for _ in range(8):
                await asyncio.sleep(0)
            if fails == "start":
                raise ValueError("bad start")

        async def stop(self) -> None:
            pass

    @app.task
    async def task() -> None:
        raise ValueError("bad task")

    starting = asyncio.create_task(app.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        with pytest.raises(ValueError, match=f"bad {fails}"):
            await app.wait()
    if fails == "start":
        with pytest.raises(ValueError, match="bad start"):
            await starting
    else:
        await starting
        with pytest.raises(ValueError, match="bad task"):
            await app.stop()


async def test_a_service_that_stops_the_app_when_it_is_started() -> None:
    """The start says so, and nothing runs."""
    app, told = make(), list[str]()

    @app.service
    class Stopping:
        async def start(self) -> None:
            await app.stop()

        async def stop(self) -> None:
            told.append("stop")

    @app.task
    async def never() -> None:
        told.append("task")

    before = asyncio.all_tasks()
    with pytest.raises(WorkerError, match="was stopped before it had started"):
        await app.start()
    assert told == ["stop"]
    assert asyncio.all_tasks() == before


async def test_stopping_from_another_thread() -> None:
    """The app stops in its own event loop; of a loop that has ended without it, that is said."""
    app = make()
    await app.start()
    await asyncio.to_thread(lambda: asyncio.run(app.stop()))
    with pytest.raises(ConfigurationError, match="not started"):
        app.engine.ready  # noqa: B018 - it raises

    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=1)
    await asyncio.to_thread(lambda: asyncio.run(app.start()))
    with pytest.raises(ConfigurationError, match="the event loop of app shop has ended"):
        await app.stop()
    async with app:  # which finds nothing that was left
        await (await numbers.send(value=1))


def test_stopping_while_its_event_loop_stands_still() -> None:
    """Elsewhere it is refused; the app goes on with its loop, and is stopped there."""
    app, loop = make(), asyncio.new_event_loop()
    try:
        loop.run_until_complete(app.start())
        with pytest.raises(ConfigurationError, match="stands still"):
            asyncio.run(app.stop())
        assert app.running
        loop.run_until_complete(app.stop())
        assert not app.running
        assert asyncio.all_tasks(loop) == set()
    finally:
        loop.close()


async def test_two_workers_of_one_app_in_one_process() -> None:
    """Under exactly-once, too: they share the partitions, and none takes the other's place as a producer."""
    name = f"memory://{uuid4().hex}"
    seen: list[int] = []

    def worker() -> faust.App:
        app = make(broker=name, processing_guarantee="exactly_once")

        @app.agent(app.topic("numbers", key_type=int, value_type=int, partitions=4), name="note")
        async def note(stream: faust.Stream[int]) -> None:
            async for number in stream:
                await out.send(number)

        out = app.topic("out", value_type=int)

        @app.agent(out, name="see")
        async def see(stream: faust.Stream[int]) -> None:
            async for number in stream:
                seen.append(number)

        return app

    one, two = worker(), worker()
    async with one, two:
        for number in range(20):
            await one.topic("numbers").send(number, key=number)
        await until(lambda: len(seen) >= 20)
        assert sorted(seen) == list(range(20))
        assert one.engine.ownership.sessions
        assert two.engine.ownership.sessions


async def test_one_of_two_workers_leads() -> None:
    """What is ``on_leader`` runs on one worker, and on the other when that one leaves."""
    name = f"memory://{uuid4().hex}"
    ran: list[str] = []

    def worker(which: str) -> faust.App:
        app = make(broker=name)

        @app.agent(app.topic("numbers", value_type=int, partitions=2))
        async def note(stream: faust.Stream[int]) -> None:
            async for _ in stream:
                pass

        @app.task(on_leader=True)
        async def lead() -> None:
            ran.append(which)
            await asyncio.sleep(1000)

        app.Table("counts", default=int)
        return app

    one, two = worker("one"), worker("two")
    await one.start()
    await two.start()
    await until(lambda: one.is_leader() != two.is_leader())
    leader, other = (one, two) if one.is_leader() else (two, one)
    await until(lambda: bool(ran))
    await leader.stop()
    await until(other.is_leader)
    await until(lambda: len(set(ran)) == 2 or ran[-1] == ("two" if other is two else "one"))
    await other.stop()
    log = cluster(one)
    assert log.topic("shop-__assignor-__leader").partitions == 1
    assert log.topic("shop-counts-changelog").partitions == 2


async def test_without_a_leader() -> None:
    """``is_leader`` of an app in which nothing is on the leader is an error, unless a leader is wanted all the same."""
    app = make()
    await app.start()
    with pytest.raises(ConfigurationError, match="on_leader=True"):
        app.is_leader()
    await app.stop()

    app = make(topic_disable_leader=False)
    await app.start()
    await until(app.is_leader)
    await app.stop()

    app = make(topic_disable_leader=True)
    app.task(on_leader=True)(app.stop)
    with pytest.raises(ConfigurationError, match="topic_disable_leader is set"):
        await app.start()


# -- channels, streams, sends


async def test_channels_and_streams() -> None:
    """An agent reads a channel; a task reads a topic, and what it finished is committed."""
    app = make()
    local: Any = app.channel(value_type=int)
    numbers = app.topic("numbers", value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(local)
    async def forward(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await numbers.send(number + 1)

    @app.task
    async def read() -> None:
        async for number in app.stream("numbers"):
            seen.append(number)

    await app.start()
    await local.send(1)
    await until(lambda: seen == [2])
    tp = TP("numbers", 0)
    offsets = cluster(app).group("shop").offsets
    await until(lambda: getattr(offsets.fetch([tp])[tp], "offset", 0) == 1)
    await app.stop()


async def test_a_stream_over_an_iterable() -> None:
    """It ends with the iterable, and has operators."""
    app = make()
    assert [value async for value in app.stream([1, 2, 3]).filter(lambda value: value != 2)] == [1, 3]
    assert [values async for values in app.stream(range(5)).take(2, within=1000)] == [[0, 1], [2, 3], [4]]


async def test_a_topic_described_while_the_app_runs() -> None:
    """It can be sent to; agents, tables and tasks are refused then."""
    app = make()
    await app.start()
    cluster(app).create(faust_spec("late"))
    assert (await (await app.send("late", key="k", value={"a": 1}))).offset == 0
    for define in (app.agent("late"), app.timer(1.0), app.task):

        async def body(*_: Any) -> None: ...

        with pytest.raises(ConfigurationError, match="while app shop runs"):
            define(body)  # type: ignore[operator]
    with pytest.raises(ConfigurationError, match="table late is defined while app shop runs"):
        app.Table("late")
    await app.stop()


def faust_spec(name: str) -> Any:
    """A topic of one partition."""
    from stream_core.primitives import TopicSpec  # noqa: PLC0415 - used here only

    return TopicSpec(name, 1)


async def test_sends_from_other_threads() -> None:
    """A thread without an event loop, and one with its own, send through the loop of the app."""
    app = make()
    numbers = app.topic("numbers", value_type=int, partitions=1)
    seen: list[int] = []

    @app.agent(numbers)
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    def plain() -> None:
        assert numbers.send_soon(1).result(10).offset >= 0

    def looped() -> None:
        async def send() -> None:
            assert (await (await numbers.send(2))).offset >= 0
            assert (await numbers.send_soon(3)).offset >= 0

        asyncio.run(send())

    await app.start()
    await asyncio.gather(asyncio.to_thread(plain), asyncio.to_thread(looped))
    assert (await numbers.send_soon(4)).offset == 3
    await until(lambda: sorted(seen) == [1, 2, 3, 4])
    await app.stop()


def test_definitions_from_threads() -> None:
    """Threads that describe the same topic get the same one; of two agents of a name one is refused."""
    app = make()
    topics, errors = set(), list[Exception]()
    barrier = threading.Barrier(8)

    def define() -> None:
        async def body(stream: Any) -> None: ...

        barrier.wait()
        topics.add(app.topic("numbers", value_type=int))
        try:
            app.agent("numbers", name="same")(body)
        except ConfigurationError as error:
            errors.append(error)

    threads = [threading.Thread(target=define) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(topics) == 1
    assert len(errors) == 7


async def test_several_apps_in_one_process() -> None:
    """Each has its own engine; a topic of one is not that of the other."""
    one, two = make(), make()
    seen: list[str] = []
    for which, app in (("one", one), ("two", two)):

        @app.agent("numbers", name="note")
        async def note(stream: Any, which: str = which) -> None:
            async for value in stream:
                seen.append(f"{which}-{value}")

        await app.start()
    await one.send("numbers", value=1)
    await two.send("numbers", value=2)
    await until(lambda: sorted(seen) == ["one-1", "two-2"])
    await one.stop()
    await two.stop()


async def test_a_client() -> None:
    """A program that runs no agents asks those of another."""
    name = f"memory://{uuid4().hex}"

    def program() -> tuple[faust.App, faust.Agent]:
        app = make(broker=name)

        @app.agent(name="double")
        async def double(stream: Any) -> AsyncIterator[Any]:
            async for value in stream:
                yield value * 2

        return app, double

    (worker, _), (client, double) = program(), program()
    await worker.start()
    await client.start_client()
    assert await double.ask(21) == 42
    await client.stop()
    await worker.stop()


async def test_what_a_client_creates() -> None:
    """Outputs have as many partitions as what the agents of the app read, also when a client is the first to start."""
    app = make()
    app.topic("out")

    @app.agent(app.topic("numbers", partitions=3))
    async def note(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start_client()
    assert cluster(app).topic("out").partitions == cluster(app).topic("numbers").partitions == 3
    await app.stop()


async def test_where_answers_go() -> None:
    """The topic for answers has the name, prefix and retention of the settings; a given one is left behind, one of its own is not."""
    worker = make(reply_to_allowed="answers, mine-")

    @worker.agent(name="double")
    async def double(stream: Any) -> AsyncIterator[Any]:
        async for value in stream:
            yield value * 2

    await worker.start()
    for settings, begin, stays in (
        ({"reply_to": "answers", "reply_expires": 60, "reply_create_topic": True}, "answers", True),
        ({"reply_to_prefix": "mine-"}, "mine-", False),
    ):
        client = make(broker=worker.conf.broker[0], **settings)

        @client.agent(name="double")
        async def asked(stream: Any) -> AsyncIterator[Any]:
            async for value in stream:
                yield value

        await client.start_client()
        there = [name for name in cluster(worker).topics() if name.startswith(begin)]
        assert len(there) == ("reply_create_topic" in settings)
        assert await asked.ask(21) == 42
        (name,) = (name for name in cluster(worker).topics() if name.startswith(begin))
        assert cluster(worker).topic(name).config["retention.ms"] == ("60000" if stays else "86400000")
        await client.stop()
        assert (name in cluster(worker).topics()) == stays
    await worker.stop()


def test_the_supervisor_of_agents_that_name_none() -> None:
    """It is that of the settings."""

    async def body(stream: Any) -> None: ...

    app = make(agent_supervisor="one_for_all")
    assert app.agent(name="one")(body).strategy.value == "one_for_all"
    assert app.agent(name="two", supervisor_strategy="crash")(body).strategy.value == "crash"


def test_topics_of_agents() -> None:
    """An agent without a topic gets one of its own, which may be described with it; a topic that is given may not."""
    app = make()

    async def body(stream: Any) -> None: ...

    @app.agent
    async def bare(stream: Any) -> None: ...

    assert str(bare.topic) == f"shop-{bare.name}"
    own = app.agent(name="mine", value_type=int, partitions=3)(body)
    assert (str(own.topic), own.topic.schema.value_type) == ("shop-mine", int)
    with pytest.raises(ConfigurationError, match="partitions describe a topic of its own"):
        app.agent(app.topic("numbers"), name="other", partitions=3)(body)


class Body:
    """An object that can be called."""

    async def __call__(self, stream: Any) -> None:
        """Read nothing."""


async def test_bodies_that_cannot_read_a_stream() -> None:
    """They are refused at the definition, with what to write."""
    app = make()

    async def without() -> None: ...

    async def with_more(stream: Any, more: Any) -> None: ...

    async def plain(stream: Any) -> None:
        for _ in stream:
            pass

    async def plain_events(stream: Any) -> AsyncIterator[Any]:
        for event in stream.events():
            yield event

    async def fine(stream: Any, more: int = 0) -> None:
        async for values in stream:
            for _ in values:
                pass

    async def prepared(stream: Any) -> None:
        stream = [stream]
        for one in stream:
            async for _ in one:
                pass

    for body in (without, with_more):
        with pytest.raises(
            ConfigurationError, match=r"called with the stream and nothing else, .*write `async def body\(stream\)`"
        ):
            app.agent()(body)  # type: ignore[arg-type]
    for body in (plain, plain_events):
        with pytest.raises(ConfigurationError, match=r"a stream is read by `async for \.\.\. in stream`"):
            app.agent()(body)
    app.agent("numbers")(Body())
    app.agent("numbers")(Body().__call__)
    for body in (fine, prepared):
        app.agent("numbers")(body)


async def test_a_body_that_fails_without_an_event() -> None:
    """No policy would help, and none is advised."""
    app = make(agent_max_restarts=0)

    @app.agent("numbers", name="broken")
    async def broken(stream: Any) -> None:
        raise ValueError("no")

    with pytest.raises(WorkerError, match=r"at no event: ValueError: no; mend the agent$"):
        await app.start()


async def test_a_list_is_no_key_of_group_by() -> None:
    """Neither as fields nor made by a function, and it is said what to write."""
    for key, said in (
        ([1, 2], r"for several fields a function that makes one text of them"),
        (
            lambda number: [number, 1],
            r"group_by\(name='pair'\) made the key \[7, 1\]; make text, bytes or a number of it",
        ),
    ):
        app = make(agent_max_restarts=0)

        @app.agent("numbers", name="regroup", value_type=int)
        async def regroup(stream: faust.Stream[int], key: Any = key) -> None:
            async for _ in stream.group_by(key, name="pair"):
                pass

        async def work(app: faust.App = app) -> None:
            async with asyncio.timeout(10), app:
                await app.send("numbers", value=7)
                await app.wait()

        with pytest.raises(WorkerError, match=said):
            await work()


async def test_the_zone_of_a_calendar() -> None:
    """Is an object or a name, as in the setting."""
    app = make()

    async def body() -> None: ...

    app.crontab("0 18 * * *", timezone="Europe/Berlin")(body)
    app.crontab("0 18 * * *", timezone=UTC)(body)
    with pytest.raises(ConfigurationError, match="there is no time zone 'Europe/Berlim'"):
        app.crontab("0 18 * * *", timezone="Europe/Berlim")(body)
    with pytest.raises(ConfigurationError, match=r"timer .*body: an interval of 0 s is not more than 0"):
        app.timer(0)(body)


# -- signals and settings


async def test_signals() -> None:
    """Functions are called for one app, or for all of them, with what there is to tell."""
    app, told = make(), list[Any]()

    @app.on_before_configured
    def before(app: faust.App, **kwargs: Any) -> None:
        told.append("before")

    @app.on_configured.connect
    def configured(app: faust.App, conf: faust.Settings, **kwargs: Any) -> None:
        conf.topic_partitions = 3

    @app.on_after_configured.connect
    def after(app: faust.App, **kwargs: Any) -> None:
        told.append(app.conf.topic_partitions)

    @app.on_partitions_assigned.connect
    async def assigned(app: faust.App, assigned: set[TP], **kwargs: Any) -> None:
        told.append(len(assigned))

    @faust.App.on_partitions_revoked.connect
    def revoked(app: faust.App, revoked: set[TP], **kwargs: Any) -> None:
        told.append(app.id)

    @app.agent("numbers")
    async def note(stream: Any) -> None:
        async for _ in stream:
            pass

    await app.start()
    await until(lambda: told == ["before", 3, 3])
    await app.stop()
    faust.App.on_partitions_revoked.disconnect(revoked)


def test_settings_of_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module, a class and a mapping give settings; the environment wins; unknown names are errors in a mapping only."""
    (tmp_path / "shopconfig.py").write_text("web_port = 1\nnothing = 2\n\nclass Production:\n    web_port = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TOPIC_PARTITIONS", "9")
    app = make()
    app.config_from_object("shopconfig")
    assert app.conf.web_port == 1
    for path in ("shopconfig:Production", "shopconfig.Production"):
        app.conf.web_port = None
        app.config_from_object(path)
        assert app.conf.web_port == 3
    app.config_from_object({"web_port": 5, "topic_partitions": 1})
    assert (app.conf.web_port, app.conf.topic_partitions) == (5, 9)
    with pytest.raises(UnknownSettingError, match="web_prot"):
        app.config_from_object({"web_prot": 5})
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        app.config_from_object("nowhere")
    app.config_from_object("nowhere", silent=True)


# -- tests of agents


async def test_an_agent_alone() -> None:
    """Results are by offset; tables are there and empty; what the agent raises comes out of ``put``."""
    app = make()
    counts = app.Table("counts", default=int, key_type=str, value_type=int)
    out = app.topic("out")

    @app.agent(app.topic("words", value_type=str))
    async def count(stream: faust.Stream[str]) -> AsyncIterator[str]:
        async for word in stream:
            if not word:
                raise ValueError("no word")
            counts[word] += 1
            await out.send(word)
            yield f"{word}: {counts[word]}"

    for _ in range(2):
        async with count.test_context() as agent:
            event = await agent.put("a", key="k", headers={"h": b"1"})
            assert agent.results[event.message.offset] == "a: 1"
            assert (event.value, event.key, event.headers) == ("a", b"k", {"h": b"1"})
            await agent.put("a")
            assert agent.results == {0: "a: 1", 1: "a: 2"}
            assert agent.name == count.name
            assert agent.processed_offset == 1
    async with count.test_context() as agent:
        with pytest.raises(ValueError, match="no word"):
            await agent.put("")
    async with count.test_context() as agent:
        await agent.throw(RuntimeError("thrown"))
        with pytest.raises(RuntimeError, match="thrown"):
            await agent.put("b")


async def test_an_agent_alone_on_a_channel() -> None:
    """An agent without replies has the values as its results; one on a channel is tested in the same way."""
    app, seen = make(), list[int]()

    @app.agent(app.channel(value_type=int))
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    async with note.test_context() as agent:
        await agent.put(7)
        assert agent.results == {0: 7}
    assert seen == [7]


# -- the web server of a worker


async def test_health_without_a_broker(caplog: pytest.LogCaptureFixture) -> None:
    """The worker is alive, and says why it is not ready."""
    app = make(web_enabled=True, web_port=free_port())
    for _ in range(1000):
        cluster(app).faults.fail_next("connect", BrokerUnavailableError("provoked"))
    starting = asyncio.create_task(app.start())
    await until(lambda: "provoked; waiting for it" in caplog.text)
    assert await health(app, "live") == (200, {"status": "live"})
    assert await health(app, "ready") == (503, {"status": "not ready", "reason": "waiting for the broker"})
    starting.cancel()
    await asyncio.wait([starting])
    assert starting.cancelled()


async def test_health_after_a_failure() -> None:
    """Both pages tell of it until the app is stopped."""
    app = make(web_enabled=True, web_port=free_port())
    await app.start()
    assert await health(app, "live") == (200, {"status": "live"})
    assert await health(app, "ready") == (200, {"status": "ready"})
    app.engine.fail(ValueError("no"))
    assert await health(app, "live") == (503, {"status": "failed"})
    assert await health(app, "ready") == (503, {"status": "not ready", "reason": "failed"})
    with pytest.raises(ValueError, match="no"):
        await app.stop()


async def test_health_while_it_waits_for_partitions() -> None:
    """A member that is silent holds up the group: the worker is alive, and not ready."""
    app = make(web_enabled=True, web_port=free_port())
    app.agent(app.topic("words", partitions=1), name="count")(reading)
    broker = cluster(app)
    await broker.connect()
    silent = await broker.group("shop").join("", Member(frozenset(["words"])), lambda: None, MemorySettings())
    assert silent is not None

    starting = asyncio.create_task(app.start())
    await until(lambda: len(broker.group("shop").members) == 2)
    assert await health(app, "live") == (200, {"status": "live"})
    assert await health(app, "ready") == (503, {"status": "not ready", "reason": "waiting for partitions"})
    broker.group("shop").leave(silent.metadata.member)
    await starting
    assert await health(app, "ready") == (200, {"status": "ready"})
    await app.stop()


async def test_health_with_a_partition_that_cannot_be_read() -> None:
    """The worker works on the others, is alive, and names the one while it is damaged."""
    app = make(web_enabled=True, web_port=free_port())
    seen: list[int] = []

    @app.agent(app.topic("numbers", value_type=int, partitions=2))
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    await app.start()
    cluster(app).faults.damaged[TP("numbers", 1)] = "wrong checksum"
    assert await health(app, "ready") == (503, {"status": "not ready", "reason": "cannot read numbers-1"})
    assert await health(app, "live") == (200, {"status": "live"})
    await app.topics["numbers"].send(1, partition=0)
    await until(lambda: seen == [1])
    cluster(app).faults.damaged.clear()
    assert await health(app, "ready") == (200, {"status": "ready"})
    await app.stop()


async def test_health_while_it_recovers(tmp_path: Path) -> None:
    """A table whose store another process still has is recovered when that gives it up: until then the worker is not ready."""
    app = make(
        broker=OtherTransport.url(), store="rocksdb://", datadir=tmp_path, web_enabled=True, web_port=free_port()
    )
    app.Table("counts", default=int, key_type=str, value_type=int)
    app.agent(app.topic("words", partitions=1), name="count")(reading)
    other = open_stores(tmp_path / "v1" / "tables")
    other.open("counts", 0)

    starting = asyncio.create_task(app.start())
    await until(lambda: app.topics and engine_state(app) is EngineState.RECOVERING)
    assert await health(app, "live") == (200, {"status": "live"})
    assert await health(app, "ready") == (503, {"status": "not ready", "reason": "recovering"})
    other.close()
    await starting
    assert await health(app, "ready") == (200, {"status": "ready"})
    await app.stop()


def engine_state(app: faust.App) -> EngineState | None:
    """What the engine of an app does, once there is one."""
    try:
        return app.engine.state
    except ConfigurationError:
        return None


async def reading(stream: Any) -> None:
    """Read all events."""
    async for _ in stream:
        pass


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def health(app: faust.App, page: str) -> tuple[int, Any]:
    """What a page of the worker answers."""
    url = f"http://127.0.0.1:{app.conf.web_port}/health/{page}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def test_a_start_that_failed_imports_its_modules_when_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app does not run without the agents that it did not find at first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"late_{uuid4().hex}"
    app = make(autodiscover=[name])
    configured: list[str] = []
    app.on_configured.connect(lambda app, conf, **_: configured.append(app.id))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="autodiscover: there is no module"):
            await app.start()
    (tmp_path / f"{name}.py").write_text("found = True\n")
    importlib.invalidate_caches()
    await app.start()
    assert sys.modules[name].found
    await app.stop()
    await app.start()
    assert configured == ["shop"]
    await app.stop()
