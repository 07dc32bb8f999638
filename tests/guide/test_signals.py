"""The signals of an app."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from stream_app import App
from stream_core.errors import ConfigurationError

from .programs import take, until

Make = Callable[..., App]

SYNCHRONOUS = ("on_before_configured", "on_configured", "on_after_configured", "on_worker_init", "on_produce_message")
ALL = (*SYNCHRONOUS, "on_partitions_assigned", "on_partitions_revoked")


@contextmanager
def connected(signal: Any, handler: Any) -> Iterator[None]:
    """Connect a handler for some time: signals of the class are those of all tests."""
    signal.connect(handler)
    try:
        yield
    finally:
        signal.disconnect(handler)


def reading(app: App) -> App:
    """Give an app an agent, so that it is assigned partitions."""

    @app.agent(app.topic(f"{app.id}-names"))
    async def process(stream: Any) -> None:
        async for _ in stream:
            pass

    return app


@pytest.mark.parametrize("name", ALL)
def test_a_handler_is_connected_by_decorator(make: Make, faust: Any, name: str) -> None:
    """Each signal takes handlers with ``.connect`` and without, and gives them back; there is one of the app and one of the class."""
    app = make()

    def handler(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("it is never sent here")

    assert getattr(app, name).connect(handler) is handler
    assert getattr(app, name)(handler) is handler
    with connected(getattr(faust.App, name), handler):
        pass


async def test_partitions_that_are_assigned(make: Make) -> None:
    """``on_partitions_assigned`` is asynchronous: it gets the app and the set of partitions, after the rebalance."""
    app = reading(make("assigned"))
    told: asyncio.Queue[Any] = asyncio.Queue()

    @app.on_partitions_assigned.connect
    async def on_partitions_assigned(app: Any, assigned: Any, **kwargs: Any) -> None:
        await told.put((app, assigned))

    async with app:
        assert await take(told) == [(app, {("assigned-names", 0)})]


async def test_partitions_that_are_revoked(make: Make) -> None:
    """``on_partitions_revoked`` is asynchronous: it gets the app and the set of partitions that a rebalance takes from this worker."""
    apps = [make("revoked", datadir=name, topic_partitions=2) for name in ("one", "two")]
    told: asyncio.Queue[Any] = asyncio.Queue()

    async def on_partitions_revoked(app: Any, revoked: Any, **kwargs: Any) -> None:
        await told.put((app, revoked))

    for app in apps:
        reading(app)
        app.on_partitions_revoked.connect(on_partitions_revoked)
    async with apps[0]:
        await until(lambda: apps[0].engine.ready)
        async with apps[1]:
            assert await take(told) == [(apps[0], {("revoked-names", 0), ("revoked-names", 1)})]


async def test_a_signal_of_the_class_is_sent_by_all_apps(make: Make, faust: Any) -> None:
    """A handler of an app hears that app alone, and a handler of the class hears all."""
    apps = [reading(make("first")), reading(make("second"))]
    own: list[str] = []
    every: asyncio.Queue[Any] = asyncio.Queue()

    @apps[0].on_partitions_assigned.connect
    async def of_one(app: Any, assigned: Any, **kwargs: Any) -> None:
        own.append(app.id)

    async def of_all(app: Any, assigned: Any, **kwargs: Any) -> None:
        await every.put(app.id)

    with connected(faust.App.on_partitions_assigned, of_all):
        async with apps[0], apps[1]:
            assert sorted(await take(every, 2)) == ["first", "second"]
    assert own == ["first"]


async def test_headers_are_attached_before_a_message_is_produced(make: Make) -> None:
    """``on_produce_message`` is synchronous; it gets bytes, and a list of headers that it may extend."""
    app = make()
    topic = app.topic("traced")
    told: list[Any] = []
    done: asyncio.Queue[Any] = asyncio.Queue()

    @app.on_produce_message.connect
    def attach(
        sender: Any,
        key: bytes | None = None,
        value: bytes | None = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Any = None,
        **kwargs: Any,
    ) -> None:
        told.append((sender, key, value, partition, timestamp))
        headers.extend((name, text.encode()) for name, text in {"trace": "1"}.items())

    @app.agent(topic)
    async def process(stream: Any) -> None:
        async for event in stream.events():
            await done.put(event.headers)

    async with app:
        await topic.send(key="k", value={"a": 1}, timestamp=5.0)
        assert await take(done) == [{"trace": b"1"}]
    assert told == [(app, b"k", b'{"a":1}', None, 5.0)]


async def test_the_order_of_configuration(make: Make) -> None:
    """Before, in the middle with the settings, after: each once, and all before the app starts."""
    app = make()
    order: list[Any] = []

    @app.on_before_configured
    def before_configuration(app: Any, **kwargs: Any) -> None:
        order.append(("before", app))

    @app.on_configured.connect
    def configure(app: Any, conf: Any, **kwargs: Any) -> None:
        order.append(("configured", conf is app.conf))

    @app.on_after_configured
    def after_configuration(app: Any, **kwargs: Any) -> None:
        order.append(("after", app))

    async with app:
        assert order == [("before", app), ("configured", True), ("after", app)]


async def test_settings_are_assigned_in_a_signal(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler of ``on_configured`` assigns settings, from the environment for example; ``None`` leaves the default."""
    app = make()
    monkeypatch.setenv("STORE_URL", "rocksdb://")
    broker = app.conf.broker

    @app.on_configured.connect
    def configure(app: Any, conf: Any, **kwargs: Any) -> None:
        conf.store = os.environ.get("STORE_URL")
        conf.value_serializer = os.environ.get("NO_SUCH_VARIABLE")

    async with app:
        assert (app.conf.store, app.conf.value_serializer, app.conf.broker) == ("rocksdb://", "json", broker)


async def test_the_worker_tells_before_it_starts_the_app(make: Make, faust: Any) -> None:
    """``on_worker_init`` is sent by a worker, with the app, before the app is configured; an app alone does not send it."""
    app = make()
    order: list[str] = []

    @app.on_worker_init
    def on_worker_init(app: Any, **kwargs: Any) -> None:
        order.append(f"worker of {app.id}")

    @app.on_configured.connect
    def configure(app: Any, conf: Any, **kwargs: Any) -> None:
        order.append("configured")

    worker = faust.Worker(app, loglevel="CRITICAL")

    @app.task
    async def end() -> None:
        asyncio.get_running_loop().create_task(worker.stop())

    assert await worker.start() == 0
    assert order == ["worker of guide", "configured"]


def test_a_handler_accepts_what_will_be_told_later(make: Make) -> None:
    """A handler without ``**kwargs`` is refused when it is connected."""

    def narrow(app: Any, assigned: Any) -> None: ...

    with pytest.raises(ConfigurationError, match=r"must accept \*\*kwargs"):
        make().on_partitions_assigned.connect(narrow)


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_synchronous_signal_refuses_async_handlers(make: Make, name: str) -> None:
    """``async def`` is refused where nobody would await it."""

    async def later(app: Any, **kwargs: Any) -> None: ...

    with pytest.raises(ConfigurationError, match="write `def` instead of `async def`"):
        getattr(make(), name).connect(later)


async def test_arguments_are_given_by_position_and_by_name(make: Make) -> None:
    """What a signal tells comes by position, as in the guides, or by its name, and so does the sender."""
    app = reading(make("positions"))
    told: asyncio.Queue[Any] = asyncio.Queue()

    @app.on_partitions_assigned.connect
    async def by_position(one: Any, two: Any, **kwargs: Any) -> None:
        await told.put((one, two))

    @app.on_partitions_assigned.connect
    async def by_name(*, sender: Any, assigned: Any, **kwargs: Any) -> None:
        await told.put((sender, assigned))

    async with app:
        assert await take(told, 2) == [(app, {("positions-names", 0)})] * 2
