"""The app: what it is, what it is made with, and how it is configured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App
from stream_core.memory import MemoryTransport

from .programs import python, take, until, write

Make = Callable[..., App]


def test_an_app_needs_only_a_name(faust: Any) -> None:
    """An app is made with its id alone; the broker is then ``kafka://localhost``, and tables are in memory."""
    app = faust.App("example")
    assert app.id == "example"
    assert [url.partition("://")[2].partition(":")[0] for url in app.conf.broker] == ["localhost"]
    assert app.conf.broker_scheme == "kafka"
    assert app.conf.store == "memory://"


def test_a_broker_and_a_store_are_arguments(faust: Any) -> None:
    """The URL of the broker and of the store are given by name."""
    app = faust.App("myid", broker="kafka://kafka.example.com", store="rocksdb://")
    assert app.conf.broker == ["kafka://kafka.example.com"]
    assert app.conf.store == "rocksdb://"


def test_all_settings_are_arguments(faust: Any) -> None:
    """Each setting can be an argument of the app; one that does not exist is answered with the nearest name."""
    app = faust.App("myid", version=2, topic_partitions=3, stream_buffer_maxsize=10)
    assert (app.id, app.conf.topic_partitions, app.conf.stream_buffer_maxsize) == ("myid-v2", 3, 10)
    with pytest.raises(faust.StreamError, match="did you mean 'topic_partitions'"):
        faust.App("myid", topic_partition=3)


def test_an_app_defines_processors(make: Make) -> None:
    """Topics, channels, tables, agents, tasks, timers and services are defined through the app."""
    app = make()
    assert app.topic("names") is app.topics["names"]
    assert app.Table("totals") is app.tables["totals"]

    @app.agent(app.channel())
    async def agent(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.task
    async def task() -> None: ...

    @app.timer(1.0)
    async def timer() -> None: ...

    assert list(app.agents.values()) == [agent]
    assert len(app.chores) == 2


async def test_several_apps_live_in_one_process(make: Make) -> None:
    """Two apps run side by side in one process, each with agents of its own."""
    done: asyncio.Queue[Any] = asyncio.Queue()
    apps = [make("demo1"), make("demo2")]
    for app in apps:

        @app.agent(app.topic(f"{app.id}-names"), name=app.id)
        async def greet(stream: Any, who: str = app.id) -> None:
            async for name in stream:
                await done.put((who, name))

    async with apps[0], apps[1]:
        for app in apps:
            await app.send(f"{app.id}-names", value="you")
        assert sorted(await take(done, 2)) == [("demo1", "you"), ("demo2", "you")]


async def test_sends_are_safe_from_threads(make: Make) -> None:
    """Other threads send to topics and to channels of an app that runs."""
    app = make()
    heard: list[Any] = []
    numbers, local = app.topic("numbers", value_type=int), app.channel(value_type=int)

    @app.agent(numbers)
    async def of_topic(stream: Any) -> None:
        async for value in stream:
            heard.append(value)

    @app.agent(local)
    async def of_channel(stream: Any) -> None:
        async for value in stream:
            heard.append(-value)

    async def send(first: int) -> None:
        for value in range(first, first + 20):
            await (await numbers.send(value=value))
            await local.send(value=value)

    async with app:
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, send(first)) for first in (1, 21, 41)))
        await until(lambda: len(heard) == 120)
    assert sorted(heard) == sorted([*range(1, 61), *(-value for value in range(1, 61))])


async def test_questions_are_asked_from_threads(make: Make) -> None:
    """Other threads ask agents of an app that runs, each in an event loop of its own."""
    app = make()

    @app.agent()
    async def double(stream: Any) -> Any:
        async for value in stream:
            yield 2 * value

    async with app:
        asking = (asyncio.to_thread(asyncio.run, double.ask(number)) for number in range(10))
        assert await asyncio.gather(*asking) == [2 * number for number in range(10)]


def test_definitions_are_safe_from_threads(make: Make) -> None:
    """A topic that several threads describe at once is one topic."""
    app = make()

    async def define() -> list[Any]:
        return list(await asyncio.gather(*(asyncio.to_thread(app.topic, f"t{number % 5}") for number in range(40))))

    assert len(set(map(id, asyncio.run(define())))) == 5


class Driver(MemoryTransport):
    """A driver of the user's own, whose clusters live in this process."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url.partition("://")[2])

    @classmethod
    def url(cls) -> str:
        """The URL of a cluster of its own."""
        return f"{cls.__module__}:{cls.__qualname__}://{uuid4().hex}"


async def test_the_scheme_of_a_broker_may_be_the_path_of_a_class(make: Make) -> None:
    """``broker="package.module:Class://"`` runs on a driver of the user's own."""
    done: asyncio.Queue[Any] = asyncio.Queue()
    app = make(broker=Driver.url())

    @app.agent(app.topic("names"))
    async def greet(stream: Any) -> None:
        async for name in stream:
            await done.put(name)

    async with app:
        await app.send("names", value="you")
        assert await take(done) == ["you"]


@pytest.mark.parametrize("store", ["rocksdb://", "memory://"])
async def test_tables_are_kept_by_the_store(make: Make, tmp_path: Path, store: str) -> None:
    """What a table holds is there after a restart; ``rocksdb://`` keeps it in files, ``memory://`` recovers it from the changelog."""
    broker = Driver.url()
    for round_ in (1, 2):
        app = make(store=store, broker=broker)
        counts, done = app.Table("counts", default=int), asyncio.Queue[Any]()

        @app.agent(app.topic("seen"))
        async def count(stream: Any, counts: Any = counts, done: Any = done) -> None:
            async for name in stream:
                counts[name] += 1
                await done.put(counts[name])

        async with app:
            await app.send("seen", value="a", key="a")
            assert await take(done) == [round_]
    files = await asyncio.to_thread(lambda: list(tmp_path.rglob("CURRENT")))
    assert bool(files) == (store == "rocksdb://")


def test_an_app_is_configured_in_two_steps(faust: Any) -> None:
    """An app is made first, and its settings are assigned afterwards; ``None`` restores the default."""
    app = faust.App("myApp")
    app.conf.broker = "kafka://one;kafka://two"
    app.conf.topic_partitions = 5
    assert (app.conf.broker, app.conf.topic_partitions) == (["kafka://one", "kafka://two"], 5)
    app.conf.topic_partitions = None
    assert app.conf.topic_partitions is None


def test_an_app_that_is_configured_is_run_by_main(tmp_path: Path, faust: Any) -> None:
    """``app.main()`` behind the two steps is the command line of that app."""
    program = f"""
            import {faust.__name__} as faust

            app = faust.App("myApp")
            app.conf.broker = "memory://"

            @app.agent()
            async def listen(stream):
                "Listens."
                async for value in stream:
                    print(value)

            if __name__ == "__main__":
                app.main()
    """
    write(tmp_path, {"program.py": program})
    done = python(tmp_path, "program.py", "agents")
    assert done.returncode == 0, done.stderr
    assert "myApp-program.listen" in done.stdout


def test_a_subclass_has_classes_of_its_own(make: Make, faust: Any) -> None:
    """Classes in the body of a subclass of the app take the place of those for settings, topics, channels, tables and agents."""

    class MyApp(faust.App):  # type: ignore[misc]  # either spelling of the library
        class Settings(faust.Settings):  # type: ignore[misc]
            pass

        class Topic(faust.Topic):  # type: ignore[misc]
            pass

        class Channel(faust.Channel):  # type: ignore[misc]
            pass

        class Table(faust.Table):  # type: ignore[misc]
            pass

        class Agent(faust.Agent):  # type: ignore[misc]
            pass

    app: Any = make(cls=MyApp)

    @app.agent()  # type: ignore[untyped-decorator]
    async def process(stream: Any) -> None:
        async for _ in stream:
            pass

    made = [app.conf, app.topic("t"), app.channel(), app.Table("k"), process]
    assert [type(one).__qualname__.rpartition(".")[2] for one in made] == [
        "Settings",
        "Topic",
        "Channel",
        "Table",
        "Agent",
    ]
    assert all(type(one).__qualname__.startswith("test_a_subclass") for one in made)
