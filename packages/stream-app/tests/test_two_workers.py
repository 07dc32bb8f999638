"""Two workers of one app object in one process and event loop: each handle works with the engine of the task that uses it."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

import pytest

import stream_app as faust
from stream_app.running.wiring import Wiring
from stream_core.errors import ConfigurationError
from stream_core.memory import MemoryCluster
from stream_core.primitives import TP
from stream_core.runs import Run, current_run
from stream_core.testing import ManualClock

from .apps import cluster, make, records_of, until

pytestmark = pytest.mark.looptime

PARTITIONS = 4
WORDS = "abcdefghijklmnop"


class Shop:
    """An app that counts words, with whatever else an app may have; and the workers that run it.

    Args:
        guarantee: of the processing.
        store: where tables are kept.
        datadir: for stores on a disk.

    Attributes:
        counted: of each run the words that its agent has seen.
        passed: of each run the words that came through the channel.
        ticks: how often the timer of each run has run.
    """

    def __init__(self, guarantee: str, store: str, datadir: Path) -> None:
        self.app = app = make(processing_guarantee=guarantee, broker_commit_interval=0.2, store=store, datadir=datadir)
        self.words = app.topic("words", key_type=str, value_type=str, partitions=PARTITIONS)
        self.out = app.topic("out", key_type=str, value_type=int, partitions=1)
        self.counts = counts = app.Table("counts", default=int, key_type=str, value_type=int)
        self.channel = channel = app.channel()
        self.counted: dict[Run | None, Counter[str]] = defaultdict(Counter)
        self.passed: dict[Run | None, Counter[str]] = defaultdict(Counter)
        self.ticks: Counter[Run | None] = Counter()
        self.workers: list[Wiring] = []
        self._tasks: dict[Run | None, WeakSet[asyncio.Task[Any]]] = defaultdict(WeakSet)
        asyncio.get_running_loop().set_task_factory(self._make_task)

        @app.agent(self.words, name="count")
        async def count(stream: faust.Stream[str]) -> AsyncIterator[int]:
            async for word in stream:
                counts[word] += 1
                await self.out.send(counts[word], key=word)
                await channel.put(word)
                self.counted[current_run()][word] += 1
                yield counts[word]

        @app.agent(channel, name="pass")
        async def pass_on(stream: faust.Stream[str]) -> None:
            async for word in stream:
                self.passed[current_run()][word] += 1

        @app.timer(1.0)
        async def tick() -> None:
            assert app.engine.run is current_run()
            self.ticks[current_run()] += 1

        self.count = count

    def _make_task(self, loop: asyncio.AbstractEventLoop, body: Coroutine[Any, Any, Any], **options: Any) -> Any:
        """Make a task, and remember to which worker it belongs: a crash ends those."""
        task = asyncio.Task(body, loop=loop, **options)
        context = options.get("context")
        self._tasks[current_run() if context is None else context.run(current_run)].add(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for worker in list(self.workers):
            await self.stop(worker)

    async def start(self) -> Wiring:
        """One more worker."""
        worker = Wiring(self.app, fail_fast=True)
        await worker.start()
        self.workers.append(worker)
        return worker

    async def stop(self, worker: Wiring) -> None:
        """Stop a worker as it should be."""
        self.workers.remove(worker)
        await worker.stop()

    async def crash(self, worker: Wiring) -> None:
        """Let a worker vanish: it commits nothing, leaves no group, and the broker hears nothing of it any more."""
        assert worker.engine is not None
        assert worker.engine.ownership.group is not None
        cluster(self.app).faults.muted.add(worker.engine.ownership.group.member)
        worker.run.end()
        tasks = set(self._tasks[worker.run])
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        self.workers.remove(worker)

    async def send(self, words: str) -> None:
        """Send words; with one worker by no task of it."""
        for word in words:
            await (await self.words.send(word, key=word))

    async def settled(self, shares: list[int]) -> None:
        """Wait until the workers have these numbers of partitions, and everything on the topic is committed."""
        log = cluster(self.app)
        offsets = log.group(self.app.id).offsets
        tps = [TP("words", number) for number in range(PARTITIONS)]
        async with asyncio.timeout(300):
            while True:
                committed = offsets.fetch(tps)
                ends = {tp: log.log(tp).end for tp in tps}
                done = all((offset := committed[tp]) is not None and offset.offset >= ends[tp] for tp in tps)
                if done and [len(self.owned(worker)) for worker in self.workers] == shares:
                    return
                await asyncio.sleep(0.05)

    def owned(self, worker: Wiring) -> set[int]:
        """The partitions that a worker works on."""
        assert worker.engine is not None
        return {session.tp.partition for session in worker.engine.ownership.running}

    def held(self, worker: Wiring) -> dict[str, int]:
        """What the table holds on a worker."""
        with worker.run.entered():
            assert set(self.counts.parts) == self.owned(worker)
            return dict(self.counts.items())

    def sent(self) -> Counter[tuple[str, int]]:
        """What is on the topic of results, committed."""
        records = records_of(self.app, "out")
        return Counter((record.key.decode(), int(record.value)) for record in records)


both = pytest.mark.parametrize(
    ("guarantee", "store"),
    [("at_least_once", "memory://"), ("exactly_once", "memory://"), ("at_least_once", "rocksdb://")],
)


@both
async def test_two_workers_share_the_definitions(guarantee: str, store: str, tmp_path: Path) -> None:
    """Partitions are split when the second joins, and each handle works in each worker with what that worker has."""
    async with Shop(guarantee, store, tmp_path) as shop:
        first = await shop.start()
        await shop.send(WORDS)
        await shop.settled([4])
        assert shop.held(first) == dict.fromkeys(WORDS, 1)

        second = await shop.start()
        await shop.settled([2, 2])
        with first.run.entered():
            await shop.send(WORDS)
        await shop.settled([2, 2])
        assert shop.owned(first).isdisjoint(shop.owned(second))
        here, there = shop.held(first), shop.held(second)
        assert here.keys().isdisjoint(there)
        assert here | there == dict.fromkeys(WORDS, 2)
        assert shop.counted[second.run] == dict.fromkeys(there, 1)
        assert shop.passed == shop.counted  # the channel of a worker has what its own agents have sent
        assert shop.sent() == dict.fromkeys([(word, count) for word in WORDS for count in (1, 2)], 1)

        for worker in (first, second):  # whoever asks gets its own answers, whichever worker works on the question
            with worker.run.entered():
                assert await shop.count.kvjoin([(word, word) for word in WORDS]) == [3 if worker is first else 4] * len(
                    WORDS
                )
                assert shop.app.engine is worker.engine
        before = Counter(shop.ticks)
        await asyncio.sleep(5)
        assert shop.ticks - before == {first.run: 5, second.run: 5}


@both
async def test_one_crashes_and_the_other_takes_over(guarantee: str, store: str, tmp_path: Path) -> None:
    """What a worker leaves behind is done again by the other, and counts once; it can be started again, and so can the app."""
    async with Shop(guarantee, store, tmp_path) as shop:
        await shop.start()
        second = await shop.start()
        first = shop.workers[0]
        with second.run.entered():
            await shop.send(WORDS)
        await shop.settled([2, 2])
        with second.run.entered():
            await shop.send(WORDS)
        while not sum(shop.counted[first.run].values()) > sum(shop.held(first).values()) // 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await shop.crash(first)

        await shop.send("xyz")  # there is one worker: it is found from everywhere
        await shop.settled([4])
        expected = dict.fromkeys(WORDS, 2) | dict.fromkeys("xyz", 1)
        assert shop.held(second) == expected
        assert (await shop.count.ask("x", key="x"), dict(shop.counts.items())) == (2, expected | {"x": 2})
        await asyncio.sleep(
            90
        )  # exactly once, the transaction that the crash left open hides what came behind it, until it times out
        results = shop.sent()
        assert set(results) >= {(word, 2) for word in WORDS}
        if shop.app.conf.exactly_once:
            assert set(results.values()) == {1}

        third = await shop.start()
        await shop.settled([2, 2])
        assert shop.held(second) | shop.held(third) == expected | {"x": 2}
        await shop.stop(second)
        await shop.settled([4])
        await shop.send("x")
        await shop.settled([4])
        assert shop.held(third)["x"] == 3
        await shop.stop(third)
        with pytest.raises(ConfigurationError, match="cannot send to topic words: the app is not started"):
            await shop.send("x")

        async with shop.app:
            await shop.send("x")
            assert await shop.count.ask("x", key="x") == 5
            assert dict(shop.counts.items()) == expected | {"x": 5}


async def test_a_task_from_elsewhere(tmp_path: Path) -> None:
    """With several workers it belongs to none, and is told so by whatever it uses; a thread likewise."""
    async with Shop("at_least_once", "memory://", tmp_path) as shop:
        await shop.start()
        await shop.start()
        uses = {
            "cannot send to topic words": lambda: shop.words.send("a", key="a"),
            "cannot ask agent count": lambda: shop.count.ask("a", key="a"),
            "channel .* cannot be used": lambda: shop.channel.send("a"),
        }
        for message, use in uses.items():
            with pytest.raises(ConfigurationError, match=f"{message}: 2 engines of this process have it .shop, shop.,"):
                await use()
        for message, read in {
            "table counts cannot be used": lambda: shop.counts["a"],
            "cannot send to topic words": lambda: shop.words.send_soon("a"),
            "cannot use app shop": shop.app.is_leader,
        }.items():
            with pytest.raises(ConfigurationError, match=f"{message}: 2 engines"):
                read()
            with pytest.raises(ConfigurationError, match=f"{message}: 2 engines"):
                await asyncio.get_running_loop().run_in_executor(None, read)


async def test_an_app_goes_by_its_clock() -> None:
    """Timers and calendars tick when the clock of the worker says so, and not before."""
    clock, app, ticks = ManualClock(30), make(), Counter[str]()

    @app.timer(10.0)
    async def beat() -> None:
        ticks["timer"] += 1

    @app.crontab("* * * * *")
    async def minute() -> None:
        ticks["minute"] += 1

    worker = Wiring(app, fail_fast=True, clock=clock)
    await worker.start()
    await clock.pass_by(29)
    assert ticks == {"timer": 2}
    await clock.pass_by(1)
    assert ticks == {"timer": 3, "minute": 1}
    await worker.stop()


async def test_two_apps_share_a_topic_and_a_channel() -> None:
    """A channel is one for all apps of a process; a topic that two have is sent to by an agent, or by app.send()."""
    one, two = make("one"), make("two")
    topic = one.topic("words", key_type=str, value_type=str, partitions=1)
    channel, passed, read = one.channel(), list[str](), list[tuple[str, str]]()

    @one.agent(topic, name="first")
    async def first(stream: faust.Stream[str]) -> None:
        async for word in stream:
            read.append(("one", word))
            await channel.put(word)

    @two.agent(topic, name="second")
    async def second(stream: faust.Stream[str]) -> None:
        async for word in stream:
            read.append(("two", word))

    @two.agent(channel, name="third")
    async def third(stream: faust.Stream[str]) -> None:
        async for word in stream:
            passed.append(word)

    async with one, two:
        await one.send(topic, key="a", value="a")
        await two.send(topic, key="b", value="b")
        with pytest.raises(
            ConfigurationError, match=r"cannot send to topic words: 2 .*; or send by the app.send\(\) of one"
        ):
            await topic.send("c")
        await channel.send("d")
        while len(read) < 2 or len(passed) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert (sorted(read), sorted(passed)) == ([("one", "a"), ("two", "b")], ["a", "d"])


async def test_two_versions_of_an_app_count_apart() -> None:
    """What one regroups is not read by the other, although agent, source and key have the same names."""

    def version(number: int) -> tuple[faust.App, Any, Any]:
        app = faust.App("bank", version=number, broker="memory://versions", web_enabled=False, topic_partitions=2)
        deposits = app.topic("deposits", value_type=str)
        totals = app.Table("totals", default=int)

        @app.agent(deposits, name="count")
        async def count(stream: Any) -> None:
            async for account in stream.group_by(lambda account: account, name="account"):
                totals[account] += 1

        return app, deposits, totals

    (old, deposits, before), (new, _, after) = version(1), version(2)
    try:
        async with old, new:
            for _ in range(5):
                await (await deposits.send(value="joe"))
            await until(lambda: dict(before.items()) == dict(after.items()) == {"joe": 5})
            assert {name for name in MemoryCluster.named("versions").topics() if name.endswith("-repartition")} == {
                "bank-count-deposits-account-repartition",
                "bank-v2-count-deposits-account-repartition",
            }
    finally:
        MemoryCluster.discard("versions")
