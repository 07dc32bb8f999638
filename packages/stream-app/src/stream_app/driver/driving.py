"""A driver while it is open: it runs the loop until nothing is left to do, and lets time pass."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from stream_app.app import App
from stream_app.driver.brokers import AnyBroker, KafkaBroker, MemoryBroker
from stream_app.driver.loop import PATIENCE, SPIN, Deadline, DrivenClock, DrivenLoop
from stream_app.driver.records import Records
from stream_app.driver.unfinished import Unfinished, explained
from stream_app.driver.workers import DrivenWorker
from stream_app.settings import Settings
from stream_app.settings.options import SettingOptions
from stream_core.clocks import SYSTEM, Clock
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.sending.topic import AnyTopic

__all__ = ["Driving"]

T = TypeVar("T")

UNCOMMITTED = 60.0
"""Seconds for which a real broker keeps a transaction open of a test that commits by itself."""

ROUNDS = 1000
"""Checkpoints in a row that may each bring something new, before that is taken for a loop without end."""


class Driving:
    """The loop, the broker and the workers of a driver; the arguments are those of :class:`~stream_app.TestDriver`.

    Attributes:
        broker: where the apps send and read.
        clock: of the apps.
        made: the topics that go when the driver is closed.
        real: the broker is a real Kafka, and so time is that of this machine.
        records: what is in topics.
        unfinished: what the workers have still to do.
        workers: the workers.
    """

    def __init__(
        self,
        apps: Sequence[App],
        settings: SettingOptions,
        *,
        begin: float | None,
        commit: bool,
        timeout: float,
        kafka: str | None,
    ) -> None:
        self._apps, self._settings = apps, settings
        self._commit, self._timeout = commit, timeout
        self.real = kafka is not None
        self.loop = DrivenLoop(real=self.real, spin=min(SPIN, timeout))
        self.clock: Clock = SYSTEM if self.real else DrivenClock(self.loop, time.time() if begin is None else begin)
        self.broker: AnyBroker
        if kafka is not None:
            self.broker = KafkaBroker(kafka)
        else:
            self.broker = MemoryBroker(self.clock.wall, settings.get("producer_partitioner"))
        self.workers: list[DrivenWorker] = []
        self.unfinished = Unfinished(apps, self.workers, self.broker)
        self.records = Records(apps, self._topics, lambda name: self.drive(self.broker.read(name), settle=False))
        self.made: set[str] = set()
        self._thread = threading.get_ident()
        self._before: list[tuple[App, Settings, Clock]] = []

    # -- from open to closed

    def open(self) -> None:
        """Take the apps over, and start a worker of each."""
        for app in self._apps:
            app.finalize()
            self._before.append((app, app.conf, app.clock))
            app.conf, app.clock = self._conf(app.conf), self.clock
        names = {name for app in self._apps for name in (*app.topics, *(t.changelog for t in app.tables.values()))}
        committed = any(app.conf.exactly_once for app in self._apps)
        self.drive(self.broker.start(names, self._apps[0].conf, committed=committed), settle=False)
        for app in self._apps:
            self.add(app)
        self.complete(self.settle())

    def add(self, app: App, *, further: bool = False) -> DrivenWorker:
        """Start one more worker of an app; ``further`` where there is one already."""
        worker = DrivenWorker(app, self.drive, further=further)
        self.workers.append(worker)
        self.start(worker)
        return worker

    def start(self, worker: DrivenWorker) -> None:
        """Start a worker. Raises what keeps it from that, as the error of the user's code."""
        try:
            self.drive(worker.begin(), settle=False)
        except WorkerError as error:
            raise explained(error) from None

    def _conf(self, conf: Settings) -> Settings:
        ours: dict[str, Any] = {
            "broker": self.broker.url,
            "store": "memory://",
            "web_enabled": False,
            "agent_max_restarts": 0,
            "topic_replication_factor": 1,
            "topic_allow_declare": True,
        }
        if isinstance(self.broker, KafkaBroker):
            ours["datadir"] = self.broker.datadir
            if not self._commit:
                # Time goes on between two calls there: the app would commit in the midst of a slow one.
                ours["broker_transaction_timeout"] = UNCOMMITTED
        conf = conf.changed(**{**ours, **self._settings})
        if self.real and not self._commit and "broker_commit_interval" not in self._settings:
            conf = conf.changed(broker_commit_interval=conf.broker_transaction_timeout * 0.45)
        return conf

    def end(self, *, tell: bool) -> None:
        """Stop all workers.

        Args:
            tell: raise why one of them has failed, if no call has raised it.
        """
        engines, errors = list(self.unfinished.engines()), list[BaseException]()
        self._note_topics()
        for worker in reversed(self.workers):
            try:
                self.drive(worker.end(), settle=False)
            except Exception as error:
                errors.append(error)
        errors = [*self.unfinished.not_told(engines), *errors]
        if errors and tell:
            raise errors[0]

    def close(self) -> None:
        """Give the apps back, and close the loop."""
        loop = self.loop
        try:
            for worker in reversed(self.workers):  # those of a start that failed
                if worker.running:
                    with suppress(Exception):  # another error is on its way, and what is left is cancelled below
                        self.drive(worker.end(), settle=False)
            self.drive(self.broker.stop(self.made), settle=False)
        finally:
            for app, conf, clock in self._before:
                app.conf, app.clock = conf, clock
            if left := asyncio.all_tasks(loop):
                for task in left:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(left))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
            for app in self._apps:
                for channel in app.channels:
                    channel.forget()

    def _topics(self) -> dict[str, AnyTopic]:
        """Give the topics of pipes and dead letters by name, beside those of the apps."""
        return {name: topic for one in self.unfinished.engines() for name, topic in one.topology.topics.items()}

    def _note_topics(self) -> None:
        for engine in self.unfinished.engines():
            self.made.update(engine.topology.topics, engine.topology.sources, [engine.replies.topic])
        self.made.update(table.changelog for app in self._apps for table in app.tables.values())

    # -- what a call of the test does

    def check(self, work: object = None) -> None:
        """Raise ConfigurationError where the loop cannot be run: in another thread, or inside of a call. ``work`` is not begun then."""
        if self.loop.is_running() or threading.get_ident() != self._thread:
            if inspect.iscoroutine(work):
                work.close()  # or Python warns of it, in whatever test runs then
            raise ConfigurationError("a TestDriver belongs to the thread that has opened it: use it there only")

    def drive(self, work: Coroutine[Any, Any, T], *, settle: bool = True) -> T:
        """Run a coroutine in the loop, whatever time it needs, and then let all happen that follows."""
        self.check(work)
        return self.complete(self._driven(work, settle=settle))

    async def _driven(self, work: Coroutine[Any, Any, T], *, settle: bool) -> T:
        result = await self._do(asyncio.create_task(work))
        if settle:
            await self.settle()
        return result

    def run(self, work: Any, *, wait: bool = True) -> Any:
        """Run code of the test in the first worker that runs."""
        self.check(work)

        async def body() -> Any:
            found = work() if callable(work) else work
            return await found if inspect.isawaitable(found) else found

        async def entered() -> Any:
            engine = next(self.unfinished.engines(), None)
            context = None if engine is None else engine.run.context()
            result = await self._do(asyncio.create_task(body(), context=context), of_test=True)
            if wait:
                await self.settle()
            return result

        return self.complete(entered())

    def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the loop until ``work`` is done."""
        self.check(work)
        return self.loop.run_until_complete(work)

    async def _do(self, task: asyncio.Task[T], *, of_test: bool = False) -> T:
        """Wait for a task, whatever time it needs."""
        deadline = Deadline(self.loop, self._timeout)
        try:
            await asyncio.sleep(0)
            if task.done():  # before anybody else goes on
                return task.result()
            while True:
                left = await self.loop.idle(look=threading.active_count() > 1 and not task.done())
                if task.done():
                    return task.result()
                if of_test:
                    self.unfinished.raise_failure()
                deadline.go_on(left, lambda: f"{_shown(task)} has not ended")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    # -- until nothing is left to do

    async def settle(self, *, commit: bool | None = None) -> None:
        """Let everything happen that can happen; raises what has ended a worker."""
        for _ in range(ROUNDS):
            await self._work_is_done()
            self._note_topics()
            if not (self._commit if commit is None else commit):
                return
            engines = self.unfinished.engines()
            committed = [await self._do(asyncio.create_task(engine.checkpoint())) for engine in engines]
            if not any(committed) and self.unfinished.who() is None:
                await self._work_is_done()
                return
        raise TimeoutError(f"there is no end of it: after {ROUNDS} commits each of them has brought new events")

    async def _work_is_done(self) -> None:
        unfinished, deadline, look = self.unfinished, Deadline(self.loop, self._timeout), False
        while True:
            try:
                left = await self.loop.idle(look=look and threading.active_count() > 1)
            except TimeoutError as error:
                raise TimeoutError(f"{error}: {unfinished.why()}") from None
            unfinished.raise_failure()
            if unfinished.who() is None and not await unfinished.behind():
                return
            look = True  # a thread may be at work on it
            deadline.go_on(left, unfinished.why)

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.settle()
        loop = self.loop
        end, real_end = loop.time() + seconds, time.monotonic() + PATIENCE
        while True:
            following = await loop.idle()
            self.unfinished.raise_failure()
            if (left := end - loop.time()) <= 0:
                break
            if not loop.in_threads or time.monotonic() > real_end:
                loop.jump(left if following is None else min(following, left))
        await self.settle()

    async def rebalance(self) -> None:
        """Let all members of the groups join anew."""
        for engine in self.unfinished.engines():
            engine.clients.consumer.rejoin()


def _shown(task: asyncio.Task[Any]) -> str:
    body = task.get_coro()
    return getattr(body, "__qualname__", "the work").replace("Driving.run.<locals>.", "the work given to the driver, ")
