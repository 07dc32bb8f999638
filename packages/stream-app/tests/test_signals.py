"""Signals: who is called, with what, in which order, and what happens to handlers that cannot be called."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

import stream_app as faust
from stream_app.definitions.signals import Signal, SyncSignal
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP

from .apps import make, until


class Sends(faust.App):
    """An app with signals of its own."""

    on_plain = SyncSignal("first", "second")
    on_any = Signal("first", "second")


def sends(name: str = "shop") -> Sends:
    """Such an app."""
    return Sends(name, broker=make().conf.broker, web_enabled=False)


@pytest.fixture(autouse=True)
def _apart() -> Any:
    """Take what is connected to the signals of classes away behind each test."""
    yield
    for cls in (Sends, faust.App):
        for signal in vars(cls).values():
            if isinstance(signal, Signal | SyncSignal):
                signal.everywhere = ()


async def test_with_and_without_connect() -> None:
    """At an app and at its class, as a decorator with and without parentheses, in the order of the connections."""
    one, two, heard = sends("one"), sends("two"), list[str]()

    @Sends.on_plain.connect
    def everywhere(app: Sends, **kwargs: Any) -> None:
        heard.append(f"class {app.id}")

    @one.on_plain
    def bare(app: Sends, **kwargs: Any) -> None:
        heard.append(f"bare {app.id}")

    @one.on_plain.connect()
    def called(app: Sends, **kwargs: Any) -> None:
        heard.append(f"called {app.id}")

    @one.on_any
    async def asynchronous(app: Sends, **kwargs: Any) -> None:
        heard.append(f"async {app.id}")

    one.on_plain.send(1, 2)
    two.on_plain.send(1, 2)
    await one.on_any.send(1, 2)
    Sends.on_plain.send(one, 1, 2)
    assert heard == [
        *["class one", "bare one", "called one", "class two", "async one"],
        *["class one"],  # that of the class reaches those of the class
    ]
    one.on_plain.disconnect(bare)
    one.on_plain.disconnect(bare)
    Sends.on_plain.disconnect(everywhere)
    heard.clear()
    one.on_plain.send(1, 2)
    assert heard == ["called one"]


def test_a_handler_is_connected_once() -> None:
    """A module that is imported twice is not called twice."""
    app, heard = sends(), list[int]()

    def note(app: Sends, **kwargs: Any) -> None:
        heard.append(1)

    app.on_plain.connect(note)
    app.on_plain.connect(note)
    app.on_plain.send(1, 2)
    assert heard == [1]
    assert bool(app.on_plain)
    assert not sends().on_plain


def test_signals_of_one_sender() -> None:
    """At the class, for one app or for an id; and for the apps of a subclass."""
    one, two, heard = sends("one"), sends("two"), list[str]()

    class Special(Sends):
        pass

    special = Special("special", broker=one.conf.broker, web_enabled=False)

    def note(which: str, app: Sends, **kwargs: Any) -> None:
        heard.append(f"{which} {app.id}")

    Sends.on_plain.connect(partial(note, "object"), sender=one)
    Sends.on_plain.connect(sender="two")(partial(note, "id"))
    Special.on_plain.connect(partial(note, "class"))
    for app in (one, two, special):
        app.on_plain.send(1, 2)
    assert heard == ["object one", "id two", "class special"]


def test_an_id_is_compared_by_its_letters() -> None:
    """A function that is connected twice for one id is called once, and disconnected by that id."""
    one, heard = sends("one"), list[str]()

    def note(app: Sends, **kwargs: Any) -> None:
        heard.append(app.id)

    for _ in range(2):
        Sends.on_plain.connect(note, sender="".join(["o", "ne"]))  # another object each time
    one.on_plain.send(1, 2)
    assert heard == ["one"]
    Sends.on_plain.disconnect(note, sender="".join(["o", "ne"]))
    assert not one.on_plain


def test_what_is_told() -> None:
    """By position or by name, whatever the handler calls it; the sender by name, too."""
    app, heard = sends(), list[Any]()

    def by_position(app: Sends, a: int, b: int, **kwargs: Any) -> None:
        heard.append((app.id, a, b, kwargs))

    def by_name(app: Sends, second: int, **kwargs: Any) -> None:
        heard.append((app.id, second, kwargs))

    def sender_by_name(second: int, sender: Sends, **kwargs: Any) -> None:
        heard.append((sender.id, second, kwargs))

    def keywords(*, sender: Sends, first: int, **kwargs: Any) -> None:
        heard.append((sender.id, first, kwargs))

    def only_keywords(**kwargs: Any) -> None:
        heard.append(kwargs)

    def signal_too(app: Sends, signal: Any, more: int, default: int = 7, another: int = 8, **kwargs: Any) -> None:
        heard.append((repr(signal), more, default, another, kwargs))

    for handler in (by_position, by_name, sender_by_name, keywords, only_keywords, signal_too):
        app.on_plain.connect(handler)
    app.on_plain.send(1, second=2)
    assert heard == [
        ("shop", 1, 2, {}),
        ("shop", 2, {"first": 1}),
        ("shop", 2, {"first": 1}),
        ("shop", 1, {"second": 2}),
        {"sender": app, "first": 1, "second": 2},
        ("Sends.on_plain", 1, 2, 8, {}),
    ]
    with pytest.raises(ConfigurationError, match="needs the app that sends it"):
        Sends.on_plain.send()


class Holder:
    """Has a method that is connected."""

    def __init__(self, heard: list[int]) -> None:
        self.heard = heard

    def note(self, app: faust.App, **kwargs: Any) -> None:
        """Note the call."""
        self.heard.append(1)


@pytest.mark.parametrize("weak", [True, False])
def test_weak_references(weak: bool) -> None:
    """A weak connection ends with the object of the method, or the function; others keep it alive."""
    app, heard = sends(), list[int]()
    holder = Holder(heard)
    app.on_plain.connect(holder.note, weak=weak)

    def note(app: Sends, **kwargs: Any) -> None:
        heard.append(2)

    app.on_plain.connect(weak=weak)(note)
    app.on_plain.send(1, 2)
    assert heard == [1, 2]
    del holder, note
    gc.collect()
    heard.clear()
    app.on_plain.send(1, 2)
    assert heard == ([] if weak else [1, 2])
    assert bool(app.on_plain) is not weak
    other = Holder(heard)
    app.on_plain.connect(other.note, weak=True)
    app.on_plain.disconnect(other.note, weak=True)
    heard.clear()
    app.on_plain.send(1, 2)
    assert heard == ([] if weak else [1, 2])


def without_kwargs(app: faust.App, conf: Any) -> None: ...


def with_more(app: faust.App, conf: Any, other: Any, **kwargs: Any) -> None: ...


def with_keyword(app: faust.App, *, other: Any, **kwargs: Any) -> None: ...


async def asynchronous(app: faust.App, conf: Any, **kwargs: Any) -> None: ...


class Asynchronous:
    """Is called, and async."""

    async def __call__(self, app: faust.App, **kwargs: Any) -> None:
        """Do nothing."""


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (without_kwargs, r"without_kwargs cannot be connected to App.on_configured: it must accept \*\*kwargs.*"
         r"write def without_kwargs\(app, conf, \*\*kwargs\)"),
        (with_more, "with_more cannot be connected to App.on_configured: nothing is told for other; there are app, conf"),
        (with_keyword, "nothing is told for other"),
        (asynchronous, "that is a synchronous signal; write `def` instead of `async def`"),
        (Asynchronous(), "that is a synchronous signal"),
        (7, "7 cannot be connected to App.on_configured: it is not a function"),
    ],
)  # fmt: skip
def test_handlers_that_are_refused(handler: Any, reason: str) -> None:
    """When they are connected, in a sentence, and not when the signal is sent."""
    with pytest.raises(ConfigurationError, match=reason):
        make().on_configured.connect(handler)
    with pytest.raises(ConfigurationError, match=reason):
        faust.App.on_configured.connect(handler)


async def test_a_handler_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported with its name, the others are called, and who sends goes on; once a minute where it fails each time."""
    app, heard = sends(), list[str]()

    def broken(app: Sends, **kwargs: Any) -> None:
        raise ValueError("no")

    def note(app: Sends, **kwargs: Any) -> None:
        heard.append("note")

    for signal in (app.on_plain, app.on_any):
        signal.connect(broken)
        signal.connect(note)
    app.on_plain.send(1, 2)
    app.on_plain.send(1, 2)
    await app.on_any.send(1, 2)
    assert heard == ["note"] * 3
    lines = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [line.getMessage() for line in lines] == [
        f"{broken.__qualname__}, connected to the signal {name} of app shop, failed: ValueError('no')"
        for name in ("on_plain", "on_any")
    ]
    assert lines[0].exc_info is not None


async def test_a_handler_of_the_configuration_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """All are called, it is named, and the app does not start half configured; the next start tries again."""
    app, heard, fails = make(), list[str](), [True]

    @app.on_configured
    def broken(app: faust.App, conf: faust.Settings, **kwargs: Any) -> None:
        if fails:
            raise KeyError("SHOP_BROKER")

    @app.on_configured
    def note(app: faust.App, conf: faust.Settings, **kwargs: Any) -> None:
        heard.append("note")

    with pytest.raises(KeyError, match="SHOP_BROKER"):
        await app.start()
    assert heard == ["note"]
    assert "broken, connected to the signal on_configured of app shop, failed" in caplog.text
    fails.clear()
    async with app:
        assert heard == ["note", "note"]


async def test_a_handler_that_waits_for_something_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """Fails as any other one, with a sentence; who is cancelled while a handler runs is cancelled."""
    app, heard = sends(), list[str]()
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    async def waits(app: Sends, **kwargs: Any) -> None:
        await gone

    async def hangs(app: Sends, **kwargs: Any) -> None:
        heard.append("hangs")
        await asyncio.Event().wait()

    app.on_plain.connect(lambda app, **kwargs: gone.result())
    app.on_any.connect(waits)
    app.on_plain.send(1, 2)
    await app.on_any.send(1, 2)
    assert f"{waits.__qualname__} waited for was cancelled" in caplog.text
    assert "<lambda> waited for was cancelled" in caplog.text
    app.on_any.connect(hangs)
    sending = asyncio.create_task(app.on_any.send(1, 2))
    await until(lambda: bool(heard))
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


@pytest.mark.parametrize("name", ["on_before_configured", "on_configured", "on_after_configured"])
async def test_a_start_that_waits_for_something_cancelled(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is not configured ends with a sentence, and no traceback of asyncio's."""
    app = make()
    gone = asyncio.get_running_loop().create_future()
    gone.cancel()

    def wait(app: faust.App, **kwargs: Any) -> None:
        gone.result()

    getattr(app, name).connect(wait)
    assert await faust.Worker(app, override_logging=False).start() == 1
    (line,) = [record for record in caplog.records if record.levelname == "CRITICAL"]
    assert line.getMessage() == f"the worker ends: what {wait.__qualname__} waited for was cancelled"
    assert line.exc_info is None


@pytest.mark.parametrize("ends", ["stop", "closed loop"])
def test_a_rebalance_that_the_end_of_the_app_comes_before(ends: str) -> None:
    """It is over then: the app that is stopped is in none, and the time until the next start is not taken for its length."""
    app = make()
    blocked, told = [False], list[str]()

    @app.agent(app.topic("numbers", value_type=int))
    async def count(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_assigned
    async def assigned(app: faust.App, assigned: set[TP], **kwargs: Any) -> None:
        told.append("assigned")
        if blocked[0]:
            await asyncio.Event().wait()

    @app.on_rebalance_complete
    async def complete(app: faust.App, **kwargs: Any) -> None:
        told.append("complete")

    async def run(*, blocks: bool) -> None:
        told.clear()
        blocked[0] = False
        await app.start()
        await until(lambda: told == ["assigned", "complete"])
        assert app.monitor.rebalance_end_latency == deque()
        blocked[0] = blocks
        app.engine.clients.consumer.rejoin()
        await until(lambda: told.count("assigned") == 2)
        if blocks:
            assert app.rebalancing
        else:
            await until(lambda: told.count("complete") == 2)
            assert len(app.monitor.rebalance_end_latency) == 1
        if ends == "stop" or not blocks:
            await app.stop()

    asyncio.run(run(blocks=True))
    if ends == "closed loop":
        with pytest.raises(ConfigurationError):
            asyncio.run(app.stop())
    assert not app.rebalancing
    asyncio.run(run(blocks=False))


async def test_the_signals_of_an_app_in_order() -> None:
    """Configuration, worker, partitions, rebalance, shutdown; with the hooks of a rebalance around them."""
    told: list[str] = []

    class Hooked(faust.App):
        def on_rebalance_start(self) -> None:
            told.append("hook start")

        async def on_rebalance_return(self) -> None:
            told.append("hook return")

        def on_rebalance_end(self) -> None:
            told.append("hook end")
            raise ValueError("is logged")

    app = Hooked("shop", broker=make().conf.broker, web_enabled=False)

    @app.agent(app.topic("numbers", value_type=int, partitions=2))
    async def count(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.on_before_configured
    def before(app: faust.App, **kwargs: Any) -> None:
        told.append("before configured")

    @app.on_configured
    def configured(app: faust.App, conf: faust.Settings, **kwargs: Any) -> None:
        told.append("configured")

    @app.on_after_configured
    def after(app: faust.App, **kwargs: Any) -> None:
        told.append("after configured")

    @app.on_worker_init
    def init(app: faust.App, **kwargs: Any) -> None:
        told.append("worker init")

    @app.on_worker_shutdown
    def shutdown(app: faust.App, **kwargs: Any) -> None:
        told.append("worker shutdown")

    @app.on_partitions_assigned
    async def assigned(app: faust.App, assigned: set[TP], **kwargs: Any) -> None:
        assert isinstance(assigned, set)
        told.append(f"assigned {sorted({tp.topic for tp in assigned})}")

    @app.on_rebalance_complete
    async def complete(app: faust.App, **kwargs: Any) -> None:
        told.append("complete")

    @app.on_partitions_revoked
    async def revoked(app: faust.App, revoked: set[TP], **kwargs: Any) -> None:
        told.append(f"revoked {sorted({tp.topic for tp in revoked})}")

    @app.on_before_shutdown
    async def before_shutdown(app: faust.App, **kwargs: Any) -> None:
        assert app.engine.ready  # nothing has stopped yet
        told.append("before shutdown")

    worker = faust.Worker(app, loglevel="CRITICAL")
    running = asyncio.create_task(worker.start())
    await until(lambda: "complete" in told)
    assert not app.rebalancing
    other = make(broker=app.conf.broker)
    other.agent("numbers", name=count.name)(count.body)
    async with other:
        await until(lambda: told.count("complete") == 2)
        assert app.rebalancing_count == 1
    await until(lambda: told.count("complete") == 3)
    await worker.stop()
    assert await running == 0
    first = ["assigned ['numbers']", "hook return", "hook end", "complete"]
    assert told[:4] == ["worker init", "before configured", "configured", "after configured"]
    assert told[4:8] == first
    assert told[8:14] == ["hook start", "revoked ['numbers']", *first]
    assert told[20] == "before shutdown"
    assert told[-1] == "worker shutdown"


@pytest.mark.looptime
@pytest.mark.parametrize("stubborn", [False, True])
async def test_a_handler_of_the_shutdown_that_hangs(stubborn: bool, caplog: pytest.LogCaptureFixture) -> None:
    """The app stops without it after five seconds, also where it swallows its cancellation."""
    app, go = make(), asyncio.Event()

    @app.on_before_shutdown
    async def hang(app: faust.App, **kwargs: Any) -> None:
        with suppress(asyncio.CancelledError):
            await go.wait()
        if stubborn:
            await go.wait()

    await app.start()
    await app.stop()
    go.set()
    assert "the signal on_before_shutdown of app shop has not returned within 5 s; going on without it" in caplog.text
    assert app.outcome == "committed, left the group"


async def test_a_handler_of_sends_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """The record leaves all the same, and the event goes on."""
    app, seen = make(), list[int]()

    @app.on_produce_message
    def broken(sender: faust.App, key: bytes | None = None, headers: Any = None, **kwargs: Any) -> None:
        raise ValueError("no")

    @app.agent("numbers", value_type=int)
    async def note(stream: faust.Stream[int]) -> None:
        async for number in stream:
            seen.append(number)

    async with app:
        await app.send("numbers", value=1)
        await until(lambda: seen == [1])
    assert "broken, connected to the signal on_produce_message of app shop, failed: ValueError('no')" in caplog.text
