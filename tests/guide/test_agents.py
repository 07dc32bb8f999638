"""``@app.agent()`` and its arguments."""

from __future__ import annotations

import asyncio
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mode
import pytest

from stream_app import App, Topic
from stream_core.errors import ConfigurationError

from .programs import take, until

Make = Callable[..., App]


async def test_an_agent_without_a_topic_has_one_of_its_own(make: Make) -> None:
    """The topic is named by the app and by the agent, which is named by its module and function."""
    app = make("stream-example")

    @app.agent()
    async def myagent(stream: Any) -> Any:
        """Example agent."""
        async for value in stream:
            yield value

    assert myagent.topic.name == f"stream-example-{myagent.name}"
    assert myagent.name.endswith("test_agents.myagent")
    assert myagent.help == "Example agent."


def test_the_version_of_the_app_is_part_of_the_topic(make: Make) -> None:
    """From version 2 on the version is in the name of the topic."""
    app = make("stream-example", version=2)

    @app.agent(name="proj.agents.add")
    async def add(stream: Any) -> None:
        async for _ in stream:
            pass

    assert add.topic.name == "stream-example-v2-proj.agents.add"


@pytest.mark.parametrize("kind", ["topic", "channel", "name"])
async def test_an_agent_reads_what_it_is_told_to(make: Make, kind: str) -> None:
    """``channel`` is a topic, a channel, or the name of a topic."""
    app = make()
    source: Any = {"topic": app.topic("t"), "channel": app.channel(), "name": "n"}[kind]
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(channel=source, name="reader")
    async def reader(stream: Any) -> None:
        async for value in stream:
            await done.put(value)

    async with app:
        await app.send(source, value=5)
        assert await take(done) == [5]


async def test_as_many_actors_as_concurrency_says(make: Make) -> None:
    """``concurrency=3`` works on three events at once, and one that came later may finish first."""
    app = make()
    waiting: dict[int, asyncio.Event] = {value: asyncio.Event() for value in range(4)}
    begun: list[int] = []
    finished: list[int] = []

    @app.agent(app.topic("feeds", value_type=int), concurrency=3)
    async def fetch(stream: Any) -> None:
        async for value in stream:
            begun.append(value)
            await waiting[value].wait()
            finished.append(value)

    async with app:
        for value in range(4):
            await app.send("feeds", value=value)
        await until(lambda: len(begun) == 3)
        waiting[2].set()
        await until(lambda: len(begun) == 4)
        assert (begun, finished) == ([0, 1, 2, 3], [2])
        for one in waiting.values():
            one.set()


async def test_an_actor_for_each_partition(make: Make) -> None:
    """``isolated_partitions=True``: each has the events of one partition, and one that waits holds up none but itself."""
    app = make()
    readings = app.topic("readings", value_type=int, partitions=2)
    table = app.Table("sums", default=int, partitions=2)
    held = asyncio.Event()
    done: list[tuple[int, int]] = []

    @app.agent(readings, isolated_partitions=True)
    async def add(stream: Any) -> None:
        mine = set[int]()
        async for event in stream.events():
            mine.add(event.message.partition)
            assert len(mine) == 1
            if event.message.partition == 0:
                await held.wait()
            table[event.message.partition] += event.value
            done.append((event.message.partition, event.value))

    async with app:
        for value in (1, 2):
            for partition in (0, 1):
                await readings.send(value=value, partition=partition)
        await until(lambda: done == [(1, 1), (1, 2)])
        held.set()
        await until(lambda: len(done) == 4)
        assert sorted(done) == [(0, 1), (0, 2), (1, 1), (1, 2)]


async def test_sinks_take_what_an_agent_yields(make: Make) -> None:
    """A sink is another agent, a topic, a channel, or a function, async or not."""
    app = make()
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent()
    async def second(stream: Any) -> None:
        async for value in stream:
            await done.put(("agent", value))

    topic = app.topic("results")

    @app.agent(topic)
    async def third(stream: Any) -> None:
        async for value in stream:
            await done.put(("topic", value))

    def plain(value: Any) -> None:
        done.put_nowait(("function", value))

    async def later(value: Any) -> None:
        await done.put(("async function", value))

    @app.agent(sink=[second, topic, plain, later])
    async def first(stream: Any) -> Any:
        async for value in stream:
            yield value * 2

    async with app:
        await first.cast(4)
        assert sorted(await take(done, 4)) == [(kind, 8) for kind in ("agent", "async function", "function", "topic")]


async def test_errors_are_told(make: Make) -> None:
    """``on_error`` is called with the agent and the exception."""
    app = make()
    told: list[Any] = []

    def on_error(agent: Any, error: BaseException) -> None:
        told.append((agent, str(error)))

    @app.agent(on_error=on_error, on_failure="skip")
    async def fragile(stream: Any) -> None:
        async for value in stream:
            raise ValueError(value)

    async with app:
        await fragile.cast("broken")
        await until(lambda: told)
    assert told == [(fragile, "broken")]


@pytest.mark.parametrize("strategy", [None, mode.OneForOneSupervisor, mode.OneForAllSupervisor], ids=str)
async def test_actors_are_restarted(make: Make, strategy: Any) -> None:
    """An actor whose body raises starts again: alone by default and with OneForOneSupervisor, with all others by OneForAllSupervisor."""
    app = make()
    starts: list[int] = []
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.agent(app.topic("values", value_type=int), concurrency=2, supervisor_strategy=strategy)
    async def fragile(stream: Any) -> None:
        starts.append(1)
        async for value in stream:
            if value == 1 and len(starts) == 2:
                raise ValueError("once")
            await done.put(value)

    async with app:
        await until(lambda: len(starts) == 2)
        await app.send("values", value=1)
        assert await take(done) == [1]
    assert len(starts) == (4 if strategy is mode.OneForAllSupervisor else 3)


async def test_an_agent_may_crash_the_worker(make: Make, faust: Any) -> None:
    """With CrashingSupervisor the first exception ends the worker, with exit code 1."""
    app = make()
    tries: list[Any] = []

    @app.agent(supervisor_strategy=mode.CrashingSupervisor)
    async def fragile(stream: Any) -> None:
        async for value in stream:
            tries.append(value)
            raise ValueError(value)

    @app.task
    async def feed() -> None:
        await fragile.cast("broken")

    assert await faust.Worker(app, loglevel="CRITICAL").start() == 1
    assert tries == ["broken"]


def test_other_arguments_describe_the_topic(make: Make) -> None:
    """Without a channel, arguments of ``app.topic()`` describe the topic of the agent; with one they are refused."""
    app = make()

    @app.agent(value_type=int, key_type=str, partitions=4, retention=60.0, compacting=True, internal=True, maxsize=5)
    async def one(stream: Any) -> None:
        async for _ in stream:
            pass

    assert isinstance(one.topic, Topic)
    assert (one.topic.schema.value_type, one.topic.partitions, one.topic.maxsize) == (int, 4, 5)
    assert one.topic.config == {"retention.ms": "60000", "cleanup.policy": "compact"}
    with pytest.raises(ConfigurationError, match="partitions describe"):
        app.agent(app.topic("other"), partitions=4)(one.body)


async def test_the_example_runs_in_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The agent of ``examples/agent.py`` prints what it is sent, and answers with it."""
    monkeypatch.setenv("BROKER_URL", "memory://example-agent")
    monkeypatch.setenv("APP_WEB_ENABLED", "false")
    names = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "agent.py"), run_name="agent")
    async with names["app"]:
        assert await names["myagent"].ask(b"hello", timeout=20) == "hello"
    assert "MYAGENT RECEIVED -- b'hello'\n" in capsys.readouterr().out
