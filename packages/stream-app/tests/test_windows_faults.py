"""Windows that close while things go wrong: a checkpoint that fails, a rebalance in a unit, offsets set by hand, a topic made again."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import stream_app as faust
from stream_app.running.wiring import Wiring
from stream_core import failpoints
from stream_core.memory.log import Entry
from stream_core.primitives import TP, Offset, TopicSpec
from stream_core.runs import Run
from stream_core.streams.metadata import CommitMetadata

from .apps import GUARANTEES, cluster, make, records_of, until

STEPS = ["cut", "changelog", "acked", "committed"]
WORDS = "abcdef"


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    """No failpoint outlives its test."""
    yield
    failpoints.arm("")


class Shop:
    """An app that counts words in windows, tells of those that close, and adds them up. No idleness of a test is as long as a window.

    Args:
        guarantee: of processing.
        partitions: of the source.
        options: of the app.
    """

    def __init__(self, guarantee: str, *, partitions: int = 2, **options: Any) -> None:
        self.app = make(processing_guarantee=guarantee, topic_partitions=partitions, **options)
        self.partitions = partitions
        words = self.app.topic("words", value_type=str, partitions=partitions)
        self.out = self.app.topic("out", partitions=partitions)
        self.totals = self.app.Table("totals", key_type=str, value_type=int, default=int)
        table = self.app.Table("counts", key_type=str, value_type=int, default=int, on_window_close=self.closed)
        self.counts = table.tumbling(1000.0, expires=6000.0, grace=0.0)
        self.fed: Counter[tuple[str, float]] = Counter()
        self.runs: list[Run] = []
        self.begun = 0
        self.go = asyncio.Event()
        self.go.set()

        @self.app.agent(words, name="count")
        async def count(stream: faust.Stream[str]) -> None:
            async for word in stream:
                self.counts[word] += 1

    async def closed(self, key: tuple[str, tuple[float, float]], value: int) -> None:
        """Send what a window had, and add it up."""
        word, (start, _) = key
        self.begun += 1
        await self.out.send(key=word, value=[start, value])
        await self.go.wait()
        self.totals[word] += value

    def feed(self, at: float, *, topic: str = "words") -> None:
        """Produce each word once in each partition, at an instant in seconds."""
        for partition in range(self.partitions):
            for word in WORDS:
                name = f"{word}{partition}"
                cluster(self.app).append(
                    TP(topic, partition), [Entry(round(at * 1000), None, json.dumps(name).encode())]
                )
                self.fed[name, at // 1000 * 1000] += 1

    def told(self) -> Counter[tuple[str, float, int]]:
        """How often each window was told of, with what was in it."""
        sent: Counter[tuple[str, float, int]] = Counter()
        committed = self.app.conf.processing_guarantee == "exactly_once"
        for partition in range(self.partitions):
            for record in records_of(self.app, "out", partition, committed=committed):
                sent[((record.key or b"").decode(), *json.loads(record.value or b""))] += 1
        return sent

    def expected(self, until: float) -> set[tuple[str, float, int]]:
        """What is to be told of windows that end up to an instant."""
        return {(word, start, count) for (word, start), count in self.fed.items() if start + 1000 <= until}

    def is_right(self, until: float) -> bool:
        """Whether all these windows were told of, and nothing else, under exactly-once once; and are added up once."""
        told, expected = self.told(), self.expected(until)
        once = self.app.conf.processing_guarantee != "exactly_once" or set(told.values()) <= {1}
        sums: Counter[str] = Counter()
        for word, _, count in expected:
            sums[word] += count
        return told.keys() == expected and once and self.added_up() == sums

    def added_up(self) -> Counter[str]:
        """What all workers have in the table of sums."""
        if not self.runs:
            return Counter(dict(self.totals.items()))
        found: Counter[str] = Counter()
        for run in self.runs:
            with run.entered():
                found += Counter(dict(self.totals.items()))
        return found

    def committed(self) -> dict[TP, Offset | None]:
        """The committed offsets."""
        return cluster(self.app).group("shop").offsets.fetch([TP("words", one) for one in range(self.partitions)])


@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("restart", [False, True])
async def test_a_checkpoint_that_fails_at_a_step_closes_windows_once(guarantee: str, step: str, restart: bool) -> None:
    """The worker that goes on, or the next one on an empty disk, closes what is not committed, and nothing else."""
    shop = Shop(guarantee, broker_commit_interval=7.0)
    await shop.app.start()
    shop.feed(100)
    shop.feed(1100)
    await until(lambda: shop.begun == 12)
    await until(lambda: shop.totals.get("f1") and shop.totals.get("f0"))
    failpoints.arm(f"checkpoint.{step}:raise")
    if restart:
        with suppress(Exception):
            await shop.app.stop()
        failpoints.arm("")
        options = {"broker": shop.app.conf.broker, "store": "memory://"}
        fed, shop = shop.fed, Shop(guarantee, broker_commit_interval=7.0, **options)
        shop.fed = fed
        await shop.app.start()
    else:
        assert not await shop.app.engine.checkpoint()
        await until(lambda: shop.app.engine.ready)
    shop.feed(2100)
    await until(lambda: {(f"{word}{number}", 1000.0) for word in WORDS for number in range(2)} <= _windows(shop))
    await shop.app.engine.checkpoint()
    assert shop.is_right(2000)
    await shop.app.stop()


def _windows(shop: Shop) -> set[tuple[str, float]]:
    """The windows that were told of, committed or not."""
    found = set()
    for partition in range(shop.partitions):
        for record in records_of(shop.app, "out", partition, committed=False):
            found.add(((record.key or b"").decode(), json.loads(record.value or b"")[0]))
    return found


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_rebalance_waits_for_windows_that_are_being_told_of(guarantee: str) -> None:
    """A second worker of the app in this process takes over half of the partitions; no window is told of by both."""
    shop = Shop(guarantee, partitions=4)
    one, two = (Wiring(shop.app, fail_fast=True) for _ in range(2))
    await one.start()
    shop.runs = [one.engine.run]
    shop.feed(100)
    shop.go.clear()
    shop.feed(1100)
    await until(lambda: shop.begun >= 4)  # one unit is open in each partition
    joining = asyncio.create_task(two.start())
    await until(lambda: all(not session.open for session in one.engine.ownership.sessions.values()))
    shop.go.set()
    await joining
    shop.runs.append(two.engine.run)
    shop.feed(2100)
    await until(lambda: shop.told().keys() >= shop.expected(2000))
    shop.feed(3100)
    await until(lambda: shop.is_right(3000))
    assert set(shop.told().values()) == {1}
    await two.stop()
    shop.runs = [one.engine.run]
    shop.feed(4100)
    await until(lambda: shop.is_right(4000))
    await one.stop()


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_offsets_that_are_set_forward_begin_the_count_anew(guarantee: str) -> None:
    """Above all that it was, as often as it is done: no window that is closed is told of again, though the count was lost."""
    shop = Shop(guarantee)
    await shop.app.start()
    shop.feed(100)
    shop.feed(1100)
    await until(lambda: shop.is_right(1000))
    await shop.app.stop()
    counts = [_count(shop)]
    for number in range(2, 5):
        shop.feed(1000 * number + 100)
        shop.fed.subtract({(word, start): 1 for word, start in shop.fed if start == 1000 * number})  # it is not read
        ends = {tp: Offset(cluster(shop.app).log(tp).end) for tp in shop.committed()}
        cluster(shop.app).group("shop").offsets.commit(ends)
        fed, shop = +shop.fed, Shop(guarantee, broker=shop.app.conf.broker, store="memory://")
        shop.fed = fed
        await shop.app.start()
        assert _count(shop) > counts[-1]
        shop.feed(1000 * number + 200)
        await until(lambda shop=shop, number=number: shop.is_right(1000 * number))
        await shop.app.stop()
        counts.append(_count(shop))


async def test_offsets_that_are_set_back_open_no_window_again() -> None:
    """The events come too late for their windows, and count once more in those that are open."""
    shop = Shop("exactly_once")
    await shop.app.start()
    shop.feed(100)
    shop.feed(1100)
    await until(lambda: shop.is_right(1000))
    await shop.app.stop()
    cluster(shop.app).group("shop").offsets.commit({tp: Offset(0) for tp in shop.committed()})
    fed, shop = shop.fed, Shop("exactly_once", broker=shop.app.conf.broker, store="memory://")
    await shop.app.start()
    shop.feed(2100)
    shop.fed += fed + Counter({window: count for window, count in fed.items() if window[1] == 1000})
    await until(lambda: shop.is_right(2000))
    await shop.app.stop()


def _count(shop: Shop) -> int:
    """The lowest committed count of units."""
    found = [
        CommitMetadata.decode(offset.metadata).units if offset is not None else None
        for offset in shop.committed().values()
    ]
    return min(0 if count is None else count for count in found)


@pytest.mark.parametrize("guarantee", GUARANTEES)
async def test_a_source_that_is_made_again_goes_on_with_its_windows(guarantee: str) -> None:
    """Its interval is dropped; windows that are closed stay closed, and others are counted in the new topic."""
    shop = Shop(guarantee)
    await shop.app.start()
    shop.feed(100)
    shop.feed(1100)
    await until(lambda: shop.is_right(1000))
    await until(lambda: all(offset is not None and offset.offset == 12 for offset in shop.committed().values()))
    names = cluster(shop.app)
    names.delete("words")
    names.create(TopicSpec("words", 2))
    shop.feed(1500)
    await until(lambda: any(shop.counts[f"a{number}"][1000.0, 1999.9] == 2 for number in range(2)))
    shop.feed(2100)
    await until(lambda: shop.is_right(2000))
    await shop.app.stop()
