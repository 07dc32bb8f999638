"""Sensors and monitors of an app."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from typing import Any
from uuid import uuid4

import pytest

import stream_app as faust
from stream_app.sensors.exporter import Measure, PushMonitor
from stream_app.sensors.monitor import Monitor
from stream_core.errors import ConfigurationError


def make_app(**options: Any) -> faust.App:
    """An app on a broker of its own."""
    return faust.App(
        "shop",
        broker=f"memory://{uuid4().hex}",
        store="memory://",
        web_enabled=False,
        broker_commit_interval=0.05,
        topic_partitions=1,
        **options,
    )


class Heard(faust.Sensor):
    """Remembers all that it hears."""

    abstract = False

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[Any, ...]] = []
        self.committed = asyncio.Event()

    def count(self, name: str) -> int:
        return Counter(one[0] for one in self.heard)[name]

    @property
    def accesses(self) -> list[Any]:
        """What was heard of tables."""
        return [one for one in self.heard if one[0] in ("get", "set", "del")]

    def on_message_in(self, tp: Any, offset: int, message: Any) -> None:
        self.heard.append(("message in", tp.topic, offset))

    def on_message_out(self, tp: Any, offset: int, message: Any) -> None:
        self.heard.append(("message out", tp.topic, offset))

    def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> Any:
        self.heard.append(("event in", stream.name, event.value))
        return offset

    def on_stream_event_out(self, tp: Any, offset: int, stream: Any, event: Any, state: Any = None) -> None:
        assert state == offset
        self.heard.append(("event out", stream.name, event.value))

    def on_table_get(self, table: Any, key: Any) -> None:
        self.heard.append(("get", table.name, key))

    def on_table_set(self, table: Any, key: Any, value: Any) -> None:
        self.heard.append(("set", table.name, key, value))

    def on_table_del(self, table: Any, key: Any) -> None:
        self.heard.append(("del", table.name, key))

    def on_send_initiated(self, producer: Any, topic: str, message: Any, keysize: int, valsize: int) -> Any:
        self.heard.append(("send", topic, keysize, valsize))
        return topic

    def on_send_completed(self, producer: Any, state: Any, metadata: Any) -> None:
        self.heard.append(("sent", state, metadata.offset))

    def on_send_error(self, producer: Any, exc: BaseException, state: Any) -> None:
        self.heard.append(("not sent", state))

    def on_commit_initiated(self, consumer: Any) -> Any:
        return "begun"

    def on_commit_completed(self, consumer: Any, state: Any) -> None:
        self.heard.append(("commit", state))

    def on_tp_commit(self, tp_offsets: Any) -> None:
        self.heard += [("committed", tp.topic, offset) for tp, offset in tp_offsets.items()]
        self.committed.set()

    def on_assignment_start(self, assignor: Any) -> Any:
        return "assigned"

    def on_assignment_completed(self, assignor: Any, state: Any) -> None:
        self.heard.append(("open", state))


async def until(holds: Any) -> None:
    """Let the app work until something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - what holds is a number, and sets no event
            await asyncio.sleep(0)


@pytest.mark.parametrize("windows", [(60.0,), (60.0, 30.0)], ids=["tumbling", "hopping"])
def test_a_sensor_hears_of_each_access_to_a_window(windows: tuple[float, ...]) -> None:
    """With the range of the window beside the key: where windows overlap, once for each of them."""
    app = make_app()
    app.sensors.add(sensor := Heard())
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    table = app.Table("totals", default=int, key_type=str, value_type=int)
    totals: Any = table.tumbling(*windows) if len(windows) == 1 else table.hopping(*windows)

    @app.agent(orders)
    async def add(stream: Any) -> None:
        async for value in stream:
            if value == 3:
                del totals["tea"]
            elif value == 2:
                totals["tea"] = value
            else:
                totals["tea"] += value

    with faust.TestDriver(app, now=600.0) as driver:
        for value in (1, 2, 3):
            driver.produce(orders, value, key="tea")
    heard = [(what, key[0], key[1].start, *rest) for what, _, key, *rest in sensor.accesses]
    starts = [600.0] if len(windows) == 1 else [570.0, 600.0]
    assert [one for one in heard if one[0] != "get"] == [
        *(("set", "tea", start, 1) for start in starts),
        *(("set", "tea", start, 2) for start in starts),
        *(("del", "tea", start) for start in starts),
    ]
    assert {one[2] for one in heard if one[0] == "get"} == set(starts)


@pytest.mark.parametrize("kind", ["session", "sliding"])
def test_a_sensor_of_accesses_leaves_other_windows_as_they_are(kind: str) -> None:
    """Sessions and sliding windows are changed, read and deleted as without one."""
    app = make_app()
    app.sensors.add(Heard())
    orders = app.topic("orders", key_type=str, value_type=int, partitions=1)
    table = app.Table("totals", default=int, key_type=str, value_type=int)
    totals: Any = table.session(60.0) if kind == "session" else table.sliding(60.0, 0.0, expires=600.0)
    seen: list[int] = []

    @app.agent(orders)
    async def add(stream: Any) -> None:
        async for value in stream:
            if value == 3:
                del totals["tea"]
            else:
                totals["tea"] += value
            seen.append(totals["tea"].current())

    with faust.TestDriver(app, now=600.0) as driver:
        for value in (1, 2, 3, 4):
            driver.produce(orders, value, key="tea")
    assert seen == [1, 3, 0, 4]


@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("read", ["values", "take"])
async def test_a_sensor_hears_of_each_event(guarantee: str, read: str) -> None:
    """With its record, its table, what it sends, and the commit."""
    app = make_app(processing_guarantee=guarantee)
    app.sensors.add(sensor := Heard())
    orders, bills = app.topic("orders", key_type=str, value_type=int), app.topic("bills", value_type=int)
    totals = app.Table("totals", default=int)

    async def work(value: int) -> None:
        totals["tea"] += value
        if value == 3:
            del totals["tea"]
        await bills.send(value=value)

    @app.agent(orders)
    async def add(stream: Any) -> None:
        if read == "values":
            async for value in stream:
                await work(value)
        else:
            async for values in stream.take(2, within=0.01):
                for value in values:
                    await work(value)

    async with app:
        for value in (1, 2, 3):
            await orders.send(key="tea", value=value)
        await until(lambda: ("committed", "orders", 3) in sensor.heard and sensor.count("sent") == 6)
    heard = sensor.heard
    assert [one for one in heard if one[0] == "message in"] == [("message in", "orders", at) for at in range(3)]
    assert [one for one in heard if one[0] == "message out"] == [("message out", "orders", at) for at in range(3)]
    name = add.name
    assert [one for one in heard if one[0] == "event in"] == [("event in", name, value) for value in (1, 2, 3)]
    assert [one for one in heard if one[0] == "event out"] == [("event out", name, value) for value in (1, 2, 3)]
    assert heard.index(("event in", name, 1)) < heard.index(("event out", name, 1))
    assert [one for one in heard if one[0] == "set"] == [("set", "totals", "tea", total) for total in (1, 3, 6)]
    assert sensor.count("get") == 3
    assert ("del", "totals", "tea") in heard
    assert [one for one in heard if one[:2] == ("sent", "orders")] == [("sent", "orders", at) for at in range(3)]
    bills_sent = [one[2] for one in heard if one[:2] == ("sent", "bills")]
    assert bills_sent == sorted(set(bills_sent))  # a commit in between takes an offset, too
    assert len(bills_sent) == 3
    assert ("commit", "begun") in heard
    assert heard[0] == ("open", "assigned")


async def test_an_event_that_fails_is_out_as_often_as_it_is_in() -> None:
    """And its record is out once."""
    app = make_app()
    app.sensors.add(sensor := Heard())
    orders = app.topic("orders", value_type=int)
    tries, monitor = 0, app.monitor

    @app.agent(orders, on_failure=faust.FailurePolicy.retry(2, delay=0, longest=0, then="skip"))
    async def add(stream: Any) -> None:
        nonlocal tries
        async for value in stream:
            tries += 1
            raise ValueError(value)

    async with app:
        await orders.send(value=7)
        await until(lambda: ("committed", "orders", 1) in sensor.heard)
    assert tries == 3
    assert sensor.count("event in") == sensor.count("event out") >= 3
    assert sensor.count("message out") == 1
    assert monitor.snapshot is not None
    (failure,) = monitor.snapshot.failures
    assert (failure.topic, failure.partition, failure.offset, failure.reader) == ("orders", 0, 0, add.name)
    assert (failure.error, failure.times, failure.action) == ("ValueError: 7", 3, "skip")


async def test_what_a_sensor_raises_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once for each callback, and counted."""

    class Broken(faust.Sensor):
        abstract = False

        def on_stream_event_in(self, tp: Any, offset: int, stream: Any, event: Any) -> Any:
            raise RuntimeError("no")

        async def on_start(self) -> None:
            raise RuntimeError("not even a start")

    app = make_app()
    app.sensors.add(Broken())
    orders = app.topic("orders", value_type=int)
    done = 0

    @app.agent(orders)
    async def add(stream: Any) -> None:
        nonlocal done
        async for _ in stream:
            done += 1

    with caplog.at_level(logging.ERROR):
        async with app:
            for value in range(3):
                await orders.send(value=value)
            await until(lambda: done == 3)
            errors = app.engine.snapshot().sensor_errors
    assert errors == {"Broken": 4}
    told = [one.getMessage() for one in caplog.records if "sensor" in one.getMessage()]
    assert len(told) == 2
    assert "the sensor Broken has failed in on_stream_event_in" in told[1]


async def test_the_monitor_counts_without_a_call_for_each_event() -> None:
    """Its numbers are those of the worker, while it runs and behind its stop."""
    app = make_app()
    orders = app.topic("orders", key_type=str, value_type=int)
    totals = app.Table("totals", default=int)

    @app.agent(orders, name="add")
    async def add(stream: Any) -> None:
        async for value in stream:
            totals["tea"] += value

    monitor = app.monitor
    assert monitor.asdict()["events_total"] == 0
    async with app:
        assert app.engine.topology.subscriptions[0].watch is None
        await orders.send(key="tea", value=3)
        await until(lambda: monitor.tp_committed_offsets and max(monitor.tp_committed_offsets.values()) == 1)
        assert monitor.events_by_task == {"add": 1}
    found = monitor.asdict()
    assert found["messages_received_total"] == found["events_total"] == 1
    assert found["messages_received_by_topic"] == {"orders": 1}
    assert found["messages_sent_by_topic"]["orders"] == 1
    assert found["events_by_stream"] == {"add": 1}
    assert found["assignments_completed"] == 1
    assert found["tables"] == {"totals": {"keys_retrieved": 0, "keys_updated": 1, "keys_deleted": 0}}
    assert found["commit_latency"]
    assert found["send_latency"]
    assert found["events_runtime_avg"] > 0
    monitor.count("cups", 2)
    assert monitor.asdict()["metric_counts"] == {"cups": 2}


async def test_a_monitor_of_ones_own() -> None:
    """By argument, by setting and by assignment; the one before hears nothing more."""

    class Mine(Monitor):
        pass

    app = make_app(monitor=(given := Mine(count_table_reads=True)))
    assert app.monitor is given
    totals = app.Table("totals", default=int)
    orders = app.topic("orders", value_type=int)

    @app.agent(orders)
    async def add(stream: Any) -> None:
        async for value in stream:
            totals["tea"] += value
            totals["tea"] += value

    async with app:
        await orders.send(value=1)
        await until(lambda: given.events_total == 1)
        assert given.tables["totals"].keys_retrieved == 2
    app.monitor = other = Mine()
    assert given not in app.sensors
    assert other in app.sensors
    assert isinstance(make_app(Monitor=Mine).monitor, Mine)


async def test_a_sensor_of_each_event_is_added_before_the_start() -> None:
    """Others at any time; what is not a sensor never."""
    app = make_app()
    async with app:
        with pytest.raises(ConfigurationError, match="add it before the app starts"):
            app.sensors.add(Heard())
        app.sensors.add(app.monitor)
        assert list(app.sensors) == [app.monitor]
        app.sensors.remove(app.monitor)
        assert not len(app.sensors)
    with pytest.raises(ConfigurationError, match=r"derive its class from faust\.Sensor"):
        app.sensors.add(object())


def test_a_worker_adds_sensors() -> None:
    """To its first app."""
    app = make_app()
    faust.Worker(app, sensors=[sensor := Heard()])
    assert sensor in app.sensors


class Pushed(PushMonitor):
    """Keeps what it pushes, or does worse."""

    abstract = False

    def __init__(self, how: str) -> None:
        super().__init__(interval=3600, grace=0.05 if how == "hang" else 4)
        self.how = how
        self.found: list[list[Measure]] = []
        self.pushing = threading.Event()
        self.go_on = threading.Event()

    def push(self, found: list[Measure]) -> None:
        self.pushing.set()
        if self.how == "hang":
            self.go_on.wait(60)
        if self.how == "raise":
            raise OSError("nobody listens")
        self.found.append(found)


@pytest.mark.parametrize("how", ["push", "raise", "hang"])
async def test_an_exporter_touches_nothing(how: str) -> None:
    """What it raises is counted, and a push that hangs is left alone when the app stops."""
    app = make_app(monitor=(monitor := Pushed(how)))
    orders = app.topic("orders", value_type=int)

    @app.agent(orders, name="add")
    async def add(stream: Any) -> None:
        async for _ in stream:
            pass

    async with app:
        await orders.send(value=3)
        await until(lambda: monitor.events_total == 1)
    assert monitor.pushing.is_set()
    monitor.go_on.set()
    if how == "push":
        (found,) = monitor.found
        assert Measure("count", "stream.add.events", "stream_events", (("stream", "add"),), 1) in found
        assert Measure("count", "messages_received", "messages_received", (), 1) in found
    if how == "raise":
        assert app.sensors.errors["Pushed"] == 1
