"""Tables with ttl= in an app: what is gone, through restarts, changelogs and where nothing comes, under both guarantees."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import stream_app as faust
from stream_app.running.wiring import Wiring
from stream_core.errors import ConfigurationError
from stream_core.testing.clock import ManualClock

from .apps import cluster, make, until


class Visits:
    """An app that keeps who came for ten seconds, and says whom it knew.

    Args:
        options: of the app.
    """

    def __init__(self, **options: Any) -> None:
        self.app = make(topic_partitions=1, **options)
        self.topic = self.app.topic("visits", key_type=str, value_type=str)
        self.here = self.app.Table("here", key_type=str, value_type=str, ttl=timedelta(seconds=10))
        self.seen: list[tuple[str, str | None]] = []

        @self.app.agent(self.topic, name="note")
        async def note(stream: faust.Stream[str]) -> None:
            async for name, what in stream.items():
                self.seen.append((name, self.here.get(name)))
                self.here[name] = what

    async def come(self, *visits: tuple[str, str, float]) -> None:
        """Let some come, and wait until they are noted."""
        count = len(self.seen) + len(visits)
        for name, what, at in visits:
            await self.topic.send(key=name, value=what, timestamp=at)
        await until(lambda: len(self.seen) == count)


@pytest.mark.parametrize("store", ["memory://", "rocksdb://"])
@pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])
async def test_a_restart_goes_on_with_the_age_of_values(guarantee: str, store: str, tmp_path: Path) -> None:
    """With the store and from the changelog alone; what was gone does not come back."""
    options = {"processing_guarantee": guarantee, "store": store, "datadir": tmp_path}
    first = Visits(**options)
    async with first.app:
        await first.come(("ann", "tea", 100.0), ("bob", "pie", 105.0), ("ann", "milk", 109.0), ("cat", "fish", 116.0))
        assert first.seen == [("ann", None), ("bob", None), ("ann", "tea"), ("cat", None)]
        assert first.here.copy() == {"ann": "milk", "cat": "fish"}
        await first.app.engine.checkpoint()
    again = Visits(**options, broker=first.app.conf.broker)
    async with again.app:
        assert again.here.copy() == {"ann": "milk", "cat": "fish"}
        await again.come(("bob", "egg", 117.0), ("ann", "cake", 119.0), ("dan", "beer", 127.5))
        assert again.seen == [("bob", None), ("ann", "milk"), ("dan", None)]
        assert again.here.copy() == {"ann": "cake", "dan": "beer"}
    config = cluster(again.app).topic("shop-here-changelog").config
    assert (config["cleanup.policy"], config["retention.ms"]) == ("compact,delete", str(10_000 + 86_400_000))


async def test_a_table_gets_a_ttl_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What was there stays until it is assigned again; another length holds for all that has a time."""
    broker = make().conf.broker
    for at, ttl, there in (
        (100.0, None, {"k100": 1}),
        (105.0, 10, {"k100": 1, "k105": 1}),
        (112.0, 10, {"k100": 1, "k105": 1, "k112": 1}),
        (114.0, 5, {"k100": 1, "k112": 1, "k114": 1}),
        (115.0, 100, {"k100": 1, "k112": 1, "k114": 1, "k115": 1}),
    ):
        app = make(broker=broker, topic_partitions=1, store="rocksdb://", datadir=tmp_path)
        topic = app.topic("keys", key_type=str, value_type=int)
        table = app.Table("table", key_type=str, value_type=int, ttl=ttl)
        done = asyncio.Event()

        async def keep(stream: Any, table: Any = table, done: asyncio.Event = done) -> None:
            async for key, value in stream.items():
                table[key] = value
                done.set()

        app.agent(topic, name="keep")(keep)
        async with app:
            await topic.send(key=f"k{at:.0f}", value=1, timestamp=at)
            await asyncio.wait_for(done.wait(), 20)
            assert table.copy() == there
            await app.engine.checkpoint()
    assert caplog.text.count("wiped and replayed: the table was defined in another way") == 1


async def test_time_goes_on_where_nothing_comes() -> None:
    """At the pace of the clock, from the last event: values age there too, and their rows go from the store."""
    clock = ManualClock(1000.0)
    visits = Visits()
    worker = Wiring(visits.app, fail_fast=True, clock=clock)
    await worker.start()
    for name in "ann", "bob":
        await visits.topic.send(key=name, value="tea", timestamp=1.0)
    await clock.pass_by(2)
    assert visits.here.copy() == {"ann": "tea", "bob": "tea"}
    await clock.pass_by(20)
    assert visits.here.copy() == {}
    (part,) = visits.here.parts.values()
    await until(lambda: len(list(part.store.range())) <= 1)  # the time is left
    await worker.stop()


async def test_what_contradicts_a_ttl() -> None:
    """Each is answered where it is written."""
    app = make()
    with pytest.raises(ConfigurationError, match=r"ttl=.soon. cannot be used: write seconds or a timedelta"):
        app.Table("a", ttl="soon")  # type: ignore[call-overload]
    with pytest.raises(ConfigurationError, match="has ttl=60, and cannot have windows as well"):
        app.Table("b", ttl=60).hopping(10, 5)
    app.Table("c", ttl=60, on_window_close=print)
    with pytest.raises(ConfigurationError, match="table c has on_window_close, and no windows"):
        await app.start()
    await asyncio.wait_for(app.stop(), 20)
