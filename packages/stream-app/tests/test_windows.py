"""Tables with windows in an app: counts, what closes, late events, restarts and rebalances, under both guarantees."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

import stream_app as faust
from stream_app.running.wiring import Wiring
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.memory.log import Entry
from stream_core.primitives import TP, TopicSpec
from stream_core.testing.clock import ManualClock

from .apps import GUARANTEES, cluster, make, records_of, until

SOURCE = TP("words", 0)


class Counting:
    """An app that counts words in windows of ten seconds, and sends each count when its window is closed.

    Args:
        guarantee: of processing.
        partitions: of the source.
        late: what happens to late events.
        options: of the app.
    """

    def __init__(
        self, guarantee: str = "exactly_once", *, partitions: int = 1, late: Any = None, **options: Any
    ) -> None:
        self.app = make(processing_guarantee=guarantee, topic_partitions=partitions, **options)
        words = self.app.topic("words", value_type=str, partitions=partitions)
        self.out = self.app.topic("out", partitions=1)
        self.totals = self.app.Table("totals", key_type=str, value_type=int, default=int)
        table = self.app.Table("counts", key_type=str, value_type=int, default=int, on_window_close=self.closed)
        self.counts = table.tumbling(10.0, expires=60.0, grace=5.0, late=late)
        self.told: list[tuple[Any, int]] = []
        self.fails = False

        @self.app.agent(words, name="count")
        async def count(stream: faust.Stream[str]) -> None:
            async for word in stream:
                self.counts[word] += 1

    async def closed(self, key: tuple[str, tuple[float, float]], value: int) -> None:
        """Send what a window had, and add it up."""
        word, (start, _) = key
        self.told.append((key, value))
        self.totals[word] += value
        await self.out.send(key=word, value=[start, value])
        if self.fails:
            raise ZeroDivisionError("not yet")

    def feed(self, *words: tuple[str, float], partition: int = 0) -> None:
        """Produce words at instants."""
        entries = [Entry(round(at * 1000), None, json.dumps(word).encode()) for word, at in words]
        cluster(self.app).append(TP("words", partition), entries)

    def sent(self) -> list[tuple[str, float, int]]:
        """What was sent, as readers see it under exactly-once."""
        records = records_of(self.app, "out")
        return [((record.key or b"").decode(), *json.loads(record.value or b"")) for record in records]


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_window_closes_behind_its_grace(guarantee: str) -> None:
    """Each key of it is told of once, with its last value; what the function sends and changes counts."""
    counting = Counting(guarantee)
    await counting.app.start()
    counting.feed(("a", 1), ("b", 2), ("a", 12), ("a", 9), ("a", 14.9))
    await until(lambda: counting.counts["a"][10.0, 19.9] == 2)
    assert counting.told == []
    counting.feed(("c", 15))
    await until(lambda: len(counting.sent()) == 2)
    assert counting.sent() == [("a", 0.0, 2), ("b", 0.0, 1)]
    assert counting.told == [(("a", (0.0, 9.9)), 2), (("b", (0.0, 9.9)), 1)]
    assert dict(counting.totals.items()) == {"a": 2, "b": 1}
    counting.feed(("a", 3), ("c", 15))
    await until(lambda: counting.counts["c"][10.0, 19.9] == 2)
    assert counting.counts["a"][0.0, 9.9] == 2
    assert counting.counts.late.count == 1
    await counting.app.stop()


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_restart_goes_on_where_the_other_one_was(guarantee: str) -> None:
    """What is closed stays closed, also from the changelog alone; what is open closes there."""
    first = Counting(guarantee)
    await first.app.start()
    first.feed(("a", 1), ("a", 15), ("b", 16))
    await until(lambda: len(first.sent()) == 1)
    await first.app.engine.checkpoint()
    await first.app.stop()

    again = Counting(guarantee, broker=first.app.conf.broker)
    await again.app.start()
    again.feed(("a", 2), ("a", 26))
    await until(lambda: len(again.sent()) == 3)
    assert again.sent() == [("a", 0.0, 1), ("a", 10.0, 1), ("b", 10.0, 1)]
    assert again.told == [(("a", (10.0, 19.9)), 1), (("b", (10.0, 19.9)), 1)]
    assert again.counts.late.count == 1
    assert dict(again.totals.items()) == {"a": 2, "b": 1}
    await again.app.stop()


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_function_that_fails_ends_the_worker_and_is_called_again_by_the_next(guarantee: str) -> None:
    """Nothing that it did counts, under exactly-once what it sent neither; the next worker tells of the window again."""
    first = Counting(guarantee)
    first.fails = True
    await first.app.start()
    first.feed(("a", 1), ("a", 16))
    told = r"on_window_close of table counts failed for 'a' in \(0.0, 9.9\): ZeroDivisionError: not yet"
    with pytest.raises(WorkerError, match=told):
        await first.app.wait()
    with suppress(WorkerError):
        await first.app.stop()

    again = Counting(guarantee, broker=first.app.conf.broker)
    await again.app.start()
    await until(lambda: ("a", 0.0, 1) in again.sent())
    assert again.told == [(("a", (0.0, 9.9)), 1)]
    assert dict(again.totals.items()) == {"a": 1}
    assert guarantee == "at_least_once" or again.sent() == [("a", 0.0, 1)]
    await again.app.stop()


async def test_time_goes_on_where_nothing_comes() -> None:
    """A partition whose inputs are idle goes on at the pace of the clock, from its last event; then its windows close."""
    clock = ManualClock(1000.0)
    counting = Counting(broker_commit_interval=0.5)
    worker = Wiring(counting.app, fail_fast=True, clock=clock)
    await worker.start()
    counting.feed(("a", 1))
    await clock.pass_by(12)
    assert counting.counts["a"][0.0, 9.9] == 1
    assert counting.told == []
    await clock.pass_by(6)
    assert counting.told == [(("a", (0.0, 9.9)), 1)]
    counting.feed(("a", 2), ("b", 11))
    await clock.pass_by(6)
    assert (counting.counts["a"][0.0, 9.9], counting.counts["b"][10.0, 19.9]) == (1, 1)
    await clock.pass_by(70)
    assert list(counting.counts["a"].items()) == []
    assert counting.told == [(("a", (0.0, 9.9)), 1), (("b", (10.0, 19.9)), 1)]
    await worker.stop()


async def test_late_events_go_to_the_dead_letters() -> None:
    """Where the table says so, whatever the policy of the agent is; events go on behind them."""
    counting = Counting(late="dead_letter")
    await counting.app.start()
    counting.feed(("a", 1), ("a", 30), ("late", 2), ("a", 31))
    await until(lambda: counting.counts["a"][30.0, 39.9] == 2)
    await until(lambda: records_of(counting.app, "shop-dead-letter"))
    (letter,) = records_of(counting.app, "shop-dead-letter")
    assert letter.value == b'"late"'
    assert b"comes when all its windows are closed" in dict(letter.headers)["stream-dead-letter-error-message"]
    await counting.app.stop()


async def test_late_events_are_handed_to_a_function() -> None:
    """It gets what is known of each."""
    late: list[Any] = []
    counting = Counting(late=late.append)
    await counting.app.start()
    counting.feed(("a", 30), ("late", 2), ("a", 31))
    await until(lambda: counting.counts["a"][30.0, 39.9] == 2)
    assert [(one.key, one.timestamp, one.time, one.is_future) for one in late] == [("late", 2.0, 30.0, False)]
    await counting.app.stop()


async def test_a_timestamp_that_cannot_be_true_closes_nothing() -> None:
    """An event more than a day ahead of the clock is treated as a late one."""
    late: list[Any] = []
    counting = Counting(late=late.append)
    cluster(counting.app).create(TopicSpec("words", 1, config={"message.timestamp.after.max.ms": str(2**63 - 1)}))
    await counting.app.start()
    counting.feed(("a", 1), ("a", 9e9), ("a", 2))
    await until(lambda: counting.counts["a"][0.0, 9.9] == 2)
    assert [one.is_future for one in late] == [True]
    assert counting.told == []
    await counting.app.stop()


async def turns(random: Random, most: int) -> None:
    """Let others run for a while."""
    for _ in range(random.randrange(most)):
        await asyncio.sleep(0)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_windows_through_rebalances_and_drops(guarantee: str) -> None:
    """Workers come and go and intervals are dropped meanwhile: each window is told of with all its events; once, if that is asked for."""
    random, expected, at = Random(5), Counter[tuple[str, float]](), [0.0, 0.0, 0.0]
    workers = [Counting(guarantee, partitions=3)]
    await workers[0].app.start()
    first, broker = workers[0], workers[0].app.conf.broker
    for step in range(40):
        for _ in range(random.randrange(30)):
            partition = random.randrange(3)
            at[partition] += random.random()
            word, instant = f"{random.choice('abc')}{partition}", max(0.0, at[partition] - random.random() * 4)
            first.feed((word, instant), partition=partition)
            expected[word, round(instant * 1000) // 10_000 * 10.0] += 1
        await turns(random, 300)
        if step % 8 == 3:
            workers.append(Counting(guarantee, partitions=3, broker=broker))
            await workers[-1].app.start()
        elif step % 8 == 7:
            await workers.pop(0).app.stop()
        elif random.random() < 0.3:
            workers[0].app.engine.topology._interval.spoil("for a test", None)
    for partition in range(3):
        first.feed(("end", max(at) + 100), partition=partition)
    await until(lambda: len({one[:2] for one in first.sent()}) == len(expected))
    sent = first.sent()
    assert {(word, start): count for word, start, count in sent} == expected
    assert guarantee == "at_least_once" or len(sent) == len(expected)
    for worker in workers:
        await worker.app.stop()


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_two_agents_share_windows(guarantee: str) -> None:
    """Events of both fail in the middle and come again, and see each other's changes: each window has what both have done to it."""
    random, expected, failures = Random(7), Counter[tuple[str, float]](), Counter[str]()
    app = make(processing_guarantee=guarantee, topic_partitions=1, agent_max_restarts=100)
    words = app.topic("words", value_type=str, partitions=1)
    told: dict[tuple[str, float], int] = {}

    def closed(key: tuple[str, tuple[float, float]], value: int) -> None:
        told[key[0], key[1][0]] = value

    table = app.Table("counts", key_type=str, value_type=int, default=int, on_window_close=closed)
    counts = table.hopping(20.0, 10.0, expires=5000.0)

    def define(name: str, amount: int) -> None:
        @app.agent(words, name=name)
        async def count(stream: faust.Stream[str]) -> None:
            async for word in stream:
                counts[word] += amount
                await turns(random, 4)
                if random.random() < 0.03:
                    failures[name] += 1
                    raise ValueError("for a test")
                counts[word] += amount

    define("one", 1)
    define("two", 1000)
    await app.start()
    at = 0.0
    for _ in range(200):
        at += random.random()
        word, instant = random.choice("abc"), max(0.0, at - random.random() * 4)
        cluster(app).append(SOURCE, [Entry(round(instant * 1000), None, json.dumps(word).encode())])
        start = round(instant * 1000) // 10_000 * 10.0
        expected.update([(word, start), (word, start - 10.0)])
        await turns(random, 5)
        if random.random() < 0.02:
            app.engine.topology._interval.spoil("for a test", None)
    await until(lambda: sum(one.committed or 0 for one in app.engine.snapshot().partitions) == 200)
    cluster(app).append(SOURCE, [Entry(round(at * 1000) + 6_000_000, None, b'"end"')])
    await until(lambda: len(told) == len(expected))
    assert told == {window: 2 * count + 2000 * count for window, count in expected.items()}
    assert counts.late.count == 0
    assert failures.keys() == {"one", "two"}
    await app.stop()


async def test_tables_that_contradict_themselves() -> None:
    """Windows that never close cannot be told of; a table has one kind of windows."""
    app = make()
    with pytest.raises(ConfigurationError, match="its windows never close: give them expires="):
        app.Table("a", on_window_close=print).tumbling(10)
    none = make()
    none.Table("none", on_window_close=print)
    with pytest.raises(ConfigurationError, match="table none has on_window_close, and no windows"):
        await none.start()
    table = app.Table("b")
    assert table.tumbling(10) is table.tumbling(10)
    with pytest.raises(ConfigurationError, match="table b has <hopping"):
        table.hopping(10, 5)
    with pytest.raises(ConfigurationError, match="late='later' is none of"):
        app.Table("c").tumbling(10, late="later")  # type: ignore[arg-type]


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("rest", [0, 2], ids=["at once", "after more starts"])
async def test_a_disk_goes_on_where_nothing_is_left_in_the_changelog(guarantee: str, rest: int, tmp_path: Path) -> None:
    """A worker that was away for longer than the changelog keeps windows has them on its disk, open ones and closed ones."""
    options: dict[str, Any] = {"store": "rocksdb://", "datadir": tmp_path}
    first = Counting(guarantee, **options)
    await first.app.start()
    first.feed(("a", 1), ("b", 16), ("b", 17))
    await until(lambda: len(first.sent()) == 1)
    await first.app.engine.checkpoint()
    await first.app.stop()
    options["broker"] = first.app.conf.broker
    for _ in range(rest):
        again = Counting(guarantee, **options)
        await again.app.start()
        await again.app.stop()

    broker, changelog = cluster(first.app), "shop-counts-changelog"
    now = broker.clock() + 3 * 86_400
    broker.clock = lambda: now
    broker.clean(changelog)
    log = broker.log(TP(changelog, 0))
    assert log.start == log.end > 0
    again = Counting(guarantee, **options)
    await again.app.start()
    again.feed(("a", 2), ("b", 18), ("b", 26))
    await until(lambda: len(again.sent()) == 2)
    assert again.sent() == [("a", 0.0, 1), ("b", 10.0, 3)]
    assert again.counts.late.count == 1
    await again.app.stop()


async def test_what_was_lost_with_the_disk_and_is_not_in_the_changelog_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is left to begin with, as where the changelog was deleted."""
    first = Counting()
    async with first.app:
        first.feed(("a", 1))
        await until(lambda: first.counts["a"][0.0, 9.9] == 1)
        await first.app.engine.checkpoint()
    broker = cluster(first.app)
    now = broker.clock() + 3 * 86_400
    broker.clock = lambda: now
    broker.clean("shop-counts-changelog")
    assert "begins empty" not in caplog.text
    async with Counting(broker=first.app.conf.broker).app:
        assert "shop-counts-changelog-0 begins empty, though events of its sources are committed" in caplog.text


async def test_each_event_of_a_list_counts_in_its_own_window() -> None:
    """Where it is named; without that the instant of a list is that of its last record."""
    counting = Counting()
    alone = counting.app.Table("alone", key_type=str, value_type=int, default=int).tumbling(10.0, expires=60.0)
    words = counting.app.topic("more", key_type=str, value_type=str, partitions=1)

    @counting.app.agent(words)
    async def count(stream: faust.Stream[str]) -> None:
        async for events in stream.take_events(3, within=10.0):
            for event in events:
                alone[event.value][event] += 1
            alone["list"] += len(events)

    async with counting.app:
        for at in 1.0, 2.0, 15.0:
            await words.send("a", key="a", timestamp=at)
        await until(lambda: dict(alone["list"].items()) == {(10.0, 19.9): 3})
        assert dict(alone["a"].items()) == {(0.0, 9.9): 2, (10.0, 19.9): 1}
