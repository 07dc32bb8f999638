"""Methods, partials, and objects that can be called go where functions go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stream_app import App
from stream_core.errors import ConfigurationError

done: list[Any] = []


class Worker:
    """What a user has: an object with methods."""

    async def method(self, stream: Any) -> Any:
        async for value in stream:
            yield ("method", value)

    async def __call__(self, stream: Any) -> Any:
        async for value in stream:
            yield ("called", value)

    @classmethod
    async def of_class(cls, stream: Any) -> Any:
        async for value in stream:
            yield (cls.__name__, value)

    @staticmethod
    async def static(stream: Any) -> Any:
        async for value in stream:
            yield ("static", value)

    async def chore(self) -> None:
        done.append("method")

    async def with_app(self, app: Any) -> None:
        done.append(app.id)


class Chore:
    """An object that can be called."""

    async def __call__(self) -> None:
        done.append("called")


async def more(word: str, stream: Any) -> Any:
    async for value in stream:
        yield (word, value)


async def chore(word: str) -> None:
    done.append(word)


async def chore_of(word: str, app: Any) -> None:
    done.append((word, app.id))


async def by_default(word: str = "default") -> None:
    done.append(word)


BODIES: dict[str, tuple[Any, str, str]] = {
    "method": (Worker().method, "Worker.method", "method"),
    "object": (Worker(), "Worker", "called"),
    "class method": (Worker.of_class, "Worker.of_class", "Worker"),
    "static method": (Worker.static, "Worker.static", "static"),
    "static method in its class": (vars(Worker)["static"], "Worker.static", "static"),
    "partial": (partial(more, "partial"), "more", "partial"),
    "partial of a method": (partial(Worker().method), "Worker.method", "method"),
    "partial of an object": (partial(Worker()), "Worker", "called"),
}


@pytest.fixture
def app(tmp_path: Path) -> App:
    """An app on a broker of its own."""
    done.clear()
    return App("app", broker=f"memory://{uuid4().hex}", web_enabled=False, datadir=tmp_path, topic_partitions=1)


@pytest.mark.parametrize("direct", [True, False], ids=["@app.agent", "@app.agent()"])
@pytest.mark.parametrize(("body", "name", "word"), BODIES.values(), ids=BODIES.keys())
async def test_bodies_of_agents(app: App, body: Any, name: str, word: str, direct: bool) -> None:
    """Each is an agent with the name of its function or class, and answers."""
    agent = app.agent(body) if direct else app.agent()(body)
    assert agent.name == f"{__name__}.{name}"
    async with app:
        assert await agent.ask(1) == [word, 1]


CHORES: dict[str, tuple[Any, Any]] = {
    "method": (Worker().chore, "method"),
    "method with the app": (Worker().with_app, "app"),
    "object": (Chore(), "called"),
    "partial": (partial(chore, "partial"), "partial"),
    "partial with the app": (partial(chore_of, "partial"), ("partial", "app")),
    "static method in its class": (staticmethod(by_default), "default"),
    "function with a default": (by_default, "default"),
}


@pytest.mark.parametrize(
    "define",
    [lambda app: app.task, lambda app: app.task(), lambda app: app.timer(0.01)],
    ids=["task", "task()", "timer"],
)
@pytest.mark.parametrize(("body", "word"), CHORES.values(), ids=CHORES.keys())
async def test_bodies_of_tasks_and_timers(app: App, body: Any, word: Any, define: Callable[[App], Any]) -> None:
    """Each runs; it gets the app where it has a parameter that nothing else is given for."""
    assert define(app)(body) is body
    async with app, asyncio.timeout(30):
        while not done:  # noqa: ASYNC110 - whatever it is
            await asyncio.sleep(0.01)
    assert done[0] == word


def test_names_of_chores(app: App) -> None:
    """Messages name the function, or the class of an object."""
    app.task(partial(chore_of, "x"))
    app.timer(1.0)(Chore())
    app.crontab("* * * * *")(Worker().chore)
    assert [one.name for one in app.chores] == ["task chore_of", "timer Chore", "crontab Worker.chore"]


async def test_sinks(app: App) -> None:
    """A sink may be each of these."""

    class Sink:
        def __call__(self, value: Any) -> None:
            done.append(("object", value))

        async def method(self, value: Any) -> None:
            done.append(("method", value))

    def note(word: str, value: Any) -> None:
        done.append((word, value))

    @app.agent(sink=[Sink(), Sink().method, partial(note, "partial")])
    async def echo(stream: Any) -> Any:
        async for value in stream:
            yield value

    async with app:
        assert await echo.ask(1) == 1
    assert done == [("object", 1), ("method", 1), ("partial", 1)]


@pytest.mark.parametrize("define", [lambda app: app.task, lambda app: app.agent, lambda app: app.timer(1.0)])
def test_what_is_no_function_yet(app: App, define: Callable[[App], Any]) -> None:
    """A class method has no class inside of its class: the message says where to define it."""
    with pytest.raises(ConfigurationError, match=r"its class is not made yet.*app\.task\(Class\.method\)"):
        define(app)(vars(Worker)["of_class"])


@pytest.mark.parametrize("body", [1, "text", None, int])
def test_what_is_no_function(app: App, body: Any) -> None:
    """It is answered with a sentence."""
    with pytest.raises(ConfigurationError, match="async def"):
        app.timer(1.0)(body)
    with pytest.raises(ConfigurationError, match="async def"):
        app.agent()(body)
