"""The driver of a test: whole apps in a plain function, on a broker and a clock of the test's own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, Unpack, overload

from stream_app.app import App
from stream_app.driver.brokers import AnyBroker, DrivenBroker, KafkaBroker, MemoryBroker
from stream_app.driver.loop import SPIN, DrivenClock, DrivenLoop
from stream_app.driver.records import DeadLetter, Output, letter_of, output_of
from stream_app.driver.workers import DrivenWorker
from stream_app.settings import Settings
from stream_app.settings.options import SettingOptions
from stream_core.agents.agent import Agent
from stream_core.agents.chores import seconds_of
from stream_core.clocks import SYSTEM, Clock
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, EncodeError, WorkerError
from stream_core.partitioner import partition_for
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP, HeadersArg, RecordMetadata, header_pairs
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.states import EngineState
from stream_core.streams.channel import Channel
from stream_core.streams.effects import Effects
from stream_core.values.schemas import Schema
from stream_tables.table import Table
from stream_tables.windows.table import WindowedTable

__all__ = ["TestDriver"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Target = Topic[Any, Any] | Channel[Any, Any] | Agent | str

PATIENCE = 30.0
"""Seconds of real time to wait for threads, sockets and brokers."""

ROUNDS = 1000
"""Checkpoints in a row that may each bring something new, before that is taken for a loop without end."""


def _refuse(reason: str) -> NoReturn:
    raise ConfigurationError(reason)


class TestDriver:
    """Runs apps for a test, without a broker and in a plain function; a context manager.

    Each driver has a new, empty broker in this process, and a clock that stands still until the test moves it. Every call returns when all
    that follows from it is done, commits included, also in other agents and other apps. The definitions of an app are used as they are, so
    that an app of a module may be driven by one test after the other.

    An error that ends a worker is raised by the call in which it happens, as the error of the body, with a note that names the agent and
    the event. The failure policies hold, but that by default ``crash`` ends the worker at the first failure.

    What waits for a time, such as a body that sleeps or the pause before an event is tried again, does not wait: the clock moves on to that
    moment while an event is open. Timers, calendars, lists of ``take(within=...)`` and windows wait for :meth:`advance`.

    Args:
        apps: what to run, all on one broker; none of them may run elsewhere.
        now: the time to begin with, in seconds since the epoch or as a datetime with a time zone; the time of this machine when left out.
        commit: commit at the end of each call. Otherwise the app does it by itself, when its commit interval is over, or :meth:`commit`:
            then a crash leaves something to do again.
        timeout: seconds on the clock of the driver that work may take, before a call gives up and says who is not done; of
            real time, 20 at most, where tasks go on without ever waiting for anything.
        kafka: the URL of a real Kafka, such as ``kafka://localhost:9092``, in place of the one in this process. It must have none of the
            topics of the apps, and they are deleted at the end. The clock cannot be moved then, and nothing can be made to fail.
        unsupported: called with a sentence where that is tried; it raises. ConfigurationError when left out.
        settings: of the apps, by name; they win over everything else. The broker, the store (``memory://``), the web server (off) and
            ``agent_max_restarts`` (0) are those of the driver unless they are given here.

    Example::

        def test_orders_are_counted():
            with faust.TestDriver(app) as driver:
                driver.produce(orders, Order("o1", amount=3), key="alice")
                assert driver.table(totals) == {"alice": 3}
    """

    __test__ = False  # for pytest

    def __init__(
        self,
        *apps: App,
        now: float | datetime | None = None,
        commit: bool = True,
        timeout: float = 300.0,
        kafka: str | None = None,
        unsupported: Callable[[str], NoReturn] = _refuse,
        **settings: Unpack[SettingOptions],
    ) -> None:
        if not apps:
            raise ConfigurationError("a TestDriver needs an app: TestDriver(app)")
        for one in apps:
            if not isinstance(one, App):
                raise ConfigurationError(f"a TestDriver runs apps, and {one!r} is none: give the App itself")
        if len(set(map(id, apps))) < len(apps):
            raise ConfigurationError(
                "an app is given twice: give it once, and start a second worker of it with add_worker()"
            )
        if "broker" in settings:
            raise ConfigurationError(
                "a TestDriver makes its broker by itself: leave broker= out, or give kafka= to use a real one"
            )
        self.apps = apps
        self._begin = now.timestamp() if isinstance(now, datetime) else now
        self._commit = commit
        self._timeout = timeout
        self._url = kafka
        self._unsupported = unsupported
        self._settings = settings
        self._driving: _Driving | None = None

    # -- life

    def __enter__(self) -> Self:
        self._outside_of_loops()
        if self._driving is not None:
            raise ConfigurationError("this TestDriver is open: close it first, or make another one")
        for app in self.apps:
            if app.running or app.engines:
                raise ConfigurationError(f"app {app.id} runs already: a TestDriver starts it by itself")
        self._driving = driving = _Driving(self)
        try:
            driving.open()
        except BaseException:
            self._driving = None
            driving.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        driving, self._driving = self._open, None
        try:
            driving.end(tell=error is None)
        finally:
            driving.close()

    # -- input

    def produce(
        self,
        target: Target,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | datetime | None = None,
        headers: HeadersArg | None = None,
        wait: bool = True,
    ) -> RecordMetadata:
        """Write a record, and let everything happen that follows from it.

        Args:
            target: a topic, an agent, a channel, or the name of a topic.
            value: the value.
            key: the key; it chooses the partition unless that is given.
            partition: the partition.
            timestamp: seconds since the epoch, or a datetime; the time of the driver when left out.
            headers: names and bytes.
            wait: otherwise return at once, so that several records come one right after the other; what follows happens in later calls.

        Returns:
            where the record is. It is there also while no worker runs.

        Raises:
            Exception: what ended a worker meanwhile, such as the error of a body whose failure policy is ``crash``.
            TimeoutError: somebody has not finished; the message names the agent, the event and the line that it waits in.
            EncodeError: key or value do not fit the topic.
            UnknownTopicError: there is no such topic.
        """
        driving = self._open
        if not isinstance(target, Topic | Channel | Agent | str):
            raise ConfigurationError(f"{target!r} is no topic, agent or channel, nor the name of a topic")
        at = timestamp.timestamp() if isinstance(timestamp, datetime) else timestamp
        if isinstance(target, Agent):
            target = target.topic
        if isinstance(target, Channel):
            channel = target

            async def hand_over() -> RecordMetadata:
                return await (await channel.send(value, key=key, timestamp=at, headers=headers))

            where: RecordMetadata = driving.run(hand_over, wait=wait)
            return where
        topic = driving.topic(target)
        if len(topic.parts) != 1:
            raise ConfigurationError(f"{topic.name} are several topics: produce to one of them, by its name")
        try:
            if any(topic.wire.registered):
                driving.run(lambda: topic.ready_to_write(topic.wire, key, value), wait=wait)
            raw_key, raw_value, pairs = topic.wire.encode(key, value, list(header_pairs(headers)))
        except EncodeError as error:
            raise EncodeError(f"topic {topic.name}: {error}", topic.name) from error
        millis = None if at is None else round(at * 1000)
        return driving.drive(
            driving.broker.append(topic.name, partition, raw_key, raw_value, millis, pairs), settle=wait
        )

    def fill(
        self,
        table: Table[K, V],
        items: Mapping[K, V],
        *,
        like: AnyTopic | None = None,
        partition: int | None = None,
    ) -> None:
        """Give a table contents, as if events had set them.

        Args:
            table: the table.
            items: values by key; keys that are there already get the new value.
            like: the topic whose events will look for these keys, which decides on the partition of each. It may be left out where all
                topics that are read agree.
            partition: the partition of all of them, instead.

        Raises:
            ConfigurationError: the topics do not agree, no worker has the partition, or the table has windows: let events fill those.
        """
        _check_table(table)
        self._open.drive(self._open.fill(table, items, like, partition))

    def create_topic(self, name: str, partitions: int = 1) -> None:
        """Create a topic that no app declares, such as one that a pattern is to find."""
        self._open.made.add(name)
        self._open.drive(self._open.broker.create(name, partitions))

    # -- output

    @overload
    def outputs(self, topic: Topic[K, V]) -> list[Output[K, V]]: ...
    @overload
    def outputs(self, topic: str) -> list[Output[Any, Any]]: ...
    def outputs(self, topic: Topic[Any, Any] | str) -> list[Output[Any, Any]]:
        """Read all records of a topic, in the order of their times; records of one time in that of partitions and offsets.

        Under exactly-once these are the committed ones.

        Args:
            topic: a topic of an app, or its name; of other topics keys and values are read as JSON.

        Raises:
            ValidationError: one of them cannot be decoded by the types of the topic.
        """
        return self._open.outputs(topic)

    @overload
    def new_outputs(self, topic: Topic[K, V]) -> list[Output[K, V]]: ...
    @overload
    def new_outputs(self, topic: str) -> list[Output[Any, Any]]: ...
    def new_outputs(self, topic: Topic[Any, Any] | str) -> list[Output[Any, Any]]:
        """Read the records of a topic that came since the last call for it; as :meth:`outputs`."""
        return self._open.new_outputs(topic)

    def table(self, table: Table[K, V]) -> dict[K, V]:
        """Copy what a table holds, in all workers.

        Of a table with windows read in :meth:`run` instead, which has the time of the driver.

        Raises:
            ConfigurationError: it is no table, or one with windows.
        """
        _check_table(table)
        found: dict[K, V] = {}
        for engine in self._open.engines():
            with engine.run.entered():
                found.update(table.items())
        return found

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The events that have failed for good, in order, of all apps."""
        return self._open.dead_letters()

    # -- time

    @property
    def now(self) -> float:
        """The time of the driver, in seconds since the epoch."""
        return self._open.clock.wall()

    def advance(self, seconds: float | timedelta) -> None:
        """Let time pass, with all that it brings: timers tick, calendars strike, lists are handed over, windows end, in their order.

        Args:
            seconds: how much; zero or more.

        Raises:
            Exception: what ended a worker meanwhile.
            ValueError: a negative number.
        """
        driving = self._open
        if driving.real:
            self._unsupported("the clock of a real Kafka cannot be moved: this test needs the broker in this process")
        if (span := seconds_of(seconds)) < 0:
            raise ValueError(f"time cannot be moved by {span:g} seconds: give zero or more")
        driving.complete(driving.advance(span))

    # -- work

    @overload
    def run(self, work: Awaitable[T]) -> T: ...
    @overload
    def run(self, work: Callable[[], Awaitable[T]]) -> T: ...
    @overload
    def run(self, work: Callable[[], T]) -> T: ...
    def run(self, work: Any) -> Any:
        """Run code as a part of the first app, and let everything happen that follows from it.

        Args:
            work: a coroutine, such as ``agent.ask(1)``, or a function without arguments, sync or async.

        Returns:
            what it returns.
        """
        return self._open.run(work)

    def ask(self, agent: Agent, value: Any = None, *, key: Any = None) -> Any:
        """Ask an agent, and return its answer; see :meth:`Agent.ask <stream_core.agents.agent.Agent.ask>`."""
        return self.run(lambda: agent.ask(value, key=key))

    def settle(self) -> None:
        """Let everything happen that can happen without more time."""
        self._open.complete(self._open.settle())

    def commit(self) -> None:
        """Commit what is finished, which each call does by itself unless ``commit=False`` was said."""
        self._open.complete(self._open.settle(commit=True))

    # -- workers and brokers

    @property
    def workers(self) -> tuple[DrivenWorker, ...]:
        """The workers: one of each app, and those that were added; also those that do not run now."""
        return tuple(self._open.workers)

    def add_worker(self, app: App | None = None) -> DrivenWorker:
        """Start one more worker of an app, which takes over some of the partitions.

        It has no services, pages and hooks: those are in the first worker.

        Args:
            app: of which app; of the first one when left out.

        Raises:
            ConfigurationError: the driver does not run that app.
        """
        driving = self._open
        if (
            app is not None and app not in self.apps
        ):  # its settings are not exchanged: it would work with its real broker
            raise ConfigurationError(
                f"app {app.id} is none of this TestDriver: give it to TestDriver(...), beside the others"
            )
        worker = DrivenWorker(app or self.apps[0], driving.drive, further=True)
        driving.workers.append(worker)
        driving.start(worker)
        driving.complete(driving.settle())
        return worker

    def rebalance(self) -> None:
        """Let the workers of each app give up their partitions and get them anew."""
        self._open.drive(self._open.rebalance())

    def crash(self) -> None:
        """End all workers as ``kill -9`` does; see :meth:`DrivenWorker.crash`. The broker keeps what it has."""
        for worker in self.workers:
            worker.crash()

    def restart(self) -> None:
        """Start all workers that do not run, also those that have failed; tables are recovered before this returns."""
        driving = self._open
        for worker in driving.workers:
            engine = worker.engine
            if engine is not None and engine.failure.done():
                driving.drive(worker.end(), settle=False)
            if not worker.running:
                driving.start(worker)
        self.settle()

    @property
    def broker(self) -> DrivenBroker:
        """The broker, to make it fail."""
        broker = self._open.broker
        if not isinstance(broker, MemoryBroker):
            self._unsupported("a real Kafka cannot be made to fail: this test needs the broker in this process")
        return DrivenBroker(broker)

    # -- parts

    @property
    def _open(self) -> _Driving:
        self._outside_of_loops()
        if self._driving is None:
            raise ConfigurationError("the driver is not open: with TestDriver(app) as driver: ...")
        return self._driving

    def _outside_of_loops(self) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        raise ConfigurationError(
            "a TestDriver drives an event loop of its own, and cannot do so inside of one that runs: write the test as a plain function, "
            "`def test_...`, and give coroutines to driver.run()"
        )


class _Driving:
    """A driver while it is open: its loop, its broker and its workers."""

    def __init__(self, driver: TestDriver) -> None:
        self._apps, self._settings = driver.apps, driver._settings
        self._commit, self._patience = driver._commit, driver._timeout
        self.real = driver._url is not None
        self.loop = DrivenLoop(real=self.real, spin=min(SPIN, driver._timeout))
        begin = time.time() if driver._begin is None else driver._begin
        self.clock: Clock = SYSTEM if self.real else DrivenClock(self.loop, begin)
        self._thread = threading.get_ident()
        self.workers: list[DrivenWorker] = []
        self.made: set[str] = set()
        self._before: list[tuple[App, Settings, Clock]] = []
        self._seen: dict[TP, int] = {}
        self._told: set[Engine] = set()
        self.broker: AnyBroker
        if driver._url is not None:
            self.broker = KafkaBroker(driver._url)
        else:
            self.broker = MemoryBroker(self.clock.wall, self._settings.get("producer_partitioner"))

    def open(self) -> None:
        """Take the apps over, and start a worker of each."""
        for app in self._apps:
            app.finalize()
            self._before.append((app, app.conf, app.clock))
            app.conf, app.clock = self._conf(app.conf), self.clock
        names = {name for app in self._apps for name in (*app.topics, *(t.changelog for t in app.tables.values()))}
        self.drive(self.broker.start(names, self._apps[0].conf), settle=False)
        for app in self._apps:
            worker = DrivenWorker(app, self.drive, further=False)
            self.workers.append(worker)
            self.start(worker)
        self.complete(self.settle())

    def start(self, worker: DrivenWorker) -> None:
        """Start a worker. Raises what keeps it from that, as the error of the user's code."""
        try:
            self.drive(worker.begin(), settle=False)
        except WorkerError as error:
            raise _explained(error) from None

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
        return conf.changed(**{**ours, **self._settings})

    def end(self, *, tell: bool) -> None:
        """Stop all workers.

        Args:
            tell: raise why one of them has failed, if no call has raised it.
        """
        engines, errors = list(self.engines()), list[BaseException]()
        self._note_topics()
        for worker in reversed(self.workers):
            try:
                self.drive(worker.end(), settle=False)
            except Exception as error:
                errors.append(error)
        failed = [one.failure.result() for one in engines if one.failure.done() and one not in self._told]
        errors = [*map(_explained, failed), *errors]
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

    # -- driving

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
            engine = next(self.engines(), None)
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
        until, real_until = self.loop.time() + self._patience, time.monotonic() + PATIENCE
        try:
            await asyncio.sleep(0)
            if task.done():  # before anybody else goes on
                return task.result()
            while True:
                left = await self.loop.idle(look=threading.active_count() > 1 and not task.done())
                if task.done():
                    return task.result()
                if of_test:
                    self._raise_failures()
                self._pass(left, until, real_until, lambda: f"{_shown(task)} has not ended")
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])

    async def settle(self, *, commit: bool | None = None) -> None:
        """Let everything happen that can happen; raises what has ended a worker."""
        for _ in range(ROUNDS):
            await self._work_is_done()
            self._note_topics()
            if not (self._commit if commit is None else commit):
                return
            committed = [await self._do(asyncio.create_task(engine.checkpoint())) for engine in self.engines()]
            if not any(committed) and self._working() is None:
                await self._work_is_done()
                return
        raise TimeoutError(f"there is no end of it: after {ROUNDS} commits each of them has brought new events")

    async def _work_is_done(self) -> None:
        until, real_until, look = self.loop.time() + self._patience, time.monotonic() + PATIENCE, False
        while True:
            try:
                left = await self.loop.idle(look=look and threading.active_count() > 1)
            except TimeoutError as error:
                raise TimeoutError(f"{error}: {self._why()}") from None
            self._raise_failures()
            if self._working() is None and not await self._behind():
                return
            look = True  # a thread may be at work on it
            self._pass(left, until, real_until, self._why)

    async def advance(self, seconds: float) -> None:
        """Let time pass."""
        await self.settle()
        loop = self.loop
        end, real_until = loop.time() + seconds, time.monotonic() + PATIENCE
        while True:
            following = await loop.idle()
            self._raise_failures()
            if (left := end - loop.time()) <= 0:
                break
            if not loop.in_threads or time.monotonic() > real_until:
                loop.jump(left if following is None else min(following, left))
        await self.settle()

    def _pass(self, left: float | None, until: float, real_until: float, why: Callable[[], str]) -> None:
        """Let time pass to the next moment at which something happens. Raises TimeoutError when there is none, or it is too late."""
        loop = self.loop
        if loop.from_outside:
            if time.monotonic() > real_until:
                raise TimeoutError(f"{why()} within {PATIENCE:g} s")
        elif left is None or loop.time() >= until:
            raise TimeoutError(f"{why()} within {self._patience:g} s of the driver's time")
        else:
            loop.jump(left)

    async def rebalance(self) -> None:
        """Let all members of the groups join anew."""
        for engine in self.engines():
            engine.clients.consumer.rejoin()

    # -- how far everything is

    def engines(self) -> Iterator[Engine]:
        """The engines of all workers that run."""
        return (engine for worker in self.workers if (engine := worker.engine) is not None)

    def _raise_failures(self) -> None:
        for engine in self.engines():
            if engine.failure.done():
                self._told.add(engine)
                raise _explained(engine.failure.result())

    def _working(self) -> Callable[[], str] | None:
        """Give what says who is not done, in a sentence without its end; ``None`` when all are."""
        for engine in self.engines():
            if engine.state is not EngineState.RUNNING:
                return partial(_not_ready, engine)
            if any(actor.busy for actor in engine.topology.actors) or any(
                subscription.waiting or any(cursor.record is not None for cursor in subscription.cursors)
                for subscription in engine.topology.subscriptions
            ):
                return partial(_not_finished, engine)
            if engine.ownership.open_units():
                return lambda: "a window that closes is not finished"
        return self._homeless()

    def _homeless(self) -> Callable[[], str] | None:
        """Give what says that nobody has some of the partitions: the workers do not know yet that another one has gone."""
        for app in self._apps:
            engines = [one for worker in self.workers if worker.app is app and (one := worker.engine) is not None]
            owned = {tp for engine in engines for tp in engine.ownership.sessions}
            for engine in engines:
                counts = engine.ownership.counts
                for topic in engine.topology.sources:
                    if any(TP(topic, partition) not in owned for partition in range(counts.get(topic, 0))):
                        return lambda topic=topic: f"partitions of {topic} have no worker"  # type: ignore[misc]
        return None

    def _why(self) -> str:
        working = self._working()
        return "not all records were read" if working is None else working()

    async def _behind(self) -> bool:
        for engine in self.engines():
            unreadable = engine.clients.consumer.unreadable
            sessions = {tp: one for tp, one in engine.ownership.sessions.items() if tp not in unreadable}
            ends = await self.broker.ends(sessions, committed=self._exactly_once)
            if any(one.fetch_position < ends[tp] for tp, one in sessions.items() if tp in ends):
                return True
        return False

    @property
    def _exactly_once(self) -> bool:
        return any(app.conf.exactly_once for app in self._apps)

    def _note_topics(self) -> None:
        for engine in self.engines():
            self.made.update(engine.topology.topics, engine.topology.sources, [engine.replies.topic])
        self.made.update(table.changelog for app in self._apps for table in app.tables.values())

    # -- topics

    def topics(self) -> dict[str, AnyTopic]:
        """All topics by name, those of pipes and dead letters included."""
        found = {name: topic for engine in self.engines() for name, topic in engine.topology.topics.items()}
        return found | {name: topic for app in self._apps for name, topic in app.topics.items()}

    def topic(self, topic: AnyTopic | str) -> AnyTopic:
        """A topic, or the topic of a name."""
        if isinstance(topic, Channel):
            raise ConfigurationError(
                f"channel {topic.name} keeps nothing that could be read: read what agents do with it"
            )
        if isinstance(topic, Topic):
            return topic
        if not isinstance(topic, str):
            raise ConfigurationError(f"{topic!r} is no topic: give one, or its name")
        found = self.topics().get(topic)
        return Topic(topic, schema=Schema(None, None)) if found is None else found

    def outputs(self, topic: AnyTopic | str) -> list[Output[Any, Any]]:
        """Read a topic."""
        found = self.topic(topic)
        records = [one for part in found.parts for one in self._read(part.name)]
        return [output_of(found, tp, record) for tp, record in records]

    def new_outputs(self, topic: AnyTopic | str) -> list[Output[Any, Any]]:
        """Read of a topic what is new."""
        new = [one for one in self.outputs(topic) if one.offset >= self._seen.get(TP(one.topic, one.partition), 0)]
        self._seen |= {TP(one.topic, one.partition): one.offset + 1 for one in sorted(new, key=lambda one: one.offset)}
        return new

    def _read(self, topic: str) -> Any:
        return self.drive(self.broker.read(topic, committed=self._exactly_once), settle=False)

    def dead_letters(self) -> list[DeadLetter]:
        """Read all topics of dead letters."""
        topics = self.topics()
        names: dict[str, None] = {}
        for app in self._apps:
            policies = [agent.on_failure for agent in app.agents.values()]
            for topic in app.topics.values():
                policies += [one for one in (topic.on_decode_error, topic.on_produce_error) if one is not None]
            names |= {_letters_of(app, one): None for one in policies if one.action == "dead_letter"}
        return [letter_of(record, topics) for name in names for _, record in self._read(name)]

    # -- tables

    async def fill(
        self, table: Table[Any, Any], items: Mapping[Any, Any], like: AnyTopic | None, partition: int | None
    ) -> None:
        """Set values of a table, each in a unit of work of its own."""
        for key, value in items.items():
            engine, session = self._place(table, key, like, partition)
            with engine.run.entered():
                effects = Effects("the test driver", "the test driver", engine.outbox.held.emit)
                with effects.unit(session, f"{table.name}[{key!r}]", lambda reason, error: None):
                    table[key] = value

    def _place(self, table: Table[Any, Any], key: Any, like: AnyTopic | None, partition: int | None) -> Any:
        """Find the engine and the session whose events find ``key`` in the table."""
        for engine in self.engines():
            with engine.run.entered():
                parts = table.parts
            count = next((part.partitions for part in parts.values()), 0)
            number = partition
            if number is None:
                sources = [like] if like is not None else [engine.topology.topics[s] for s in engine.topology.inputs]
                chosen = {p for topic in sources if (p := self._partition(topic, key, count, engine)) is not None}
                if len(chosen) > 1:
                    raise ConfigurationError(
                        f"table {table.name}: topics have the key {key!r} in different partitions: say like= which topic's events look "
                        "for it, or partition="
                    )
                number = next(iter(chosen), None)
            for session in engine.ownership.sessions.values():
                if session.partition == number and session.partitions == count and number in parts and session.open:
                    return engine, session
        raise ConfigurationError(
            f"table {table.name}: no worker has the partition of {key!r}: say like= which topic's events look for it, or partition="
        )

    def _partition(self, topic: AnyTopic, key: Any, count: int, engine: Engine) -> int | None:
        """The partition that events of a topic with this key are in; ``None`` where it can have no such key, or another count."""
        if count and engine.ownership.counts.get(topic.name, count) == count:
            try:
                raw = topic.schema.encode_key(key)
            except EncodeError:
                return None
            choose = self._apps[0].conf.producer_partitioner
            if raw is not None:
                return partition_for(raw, count) if choose is None else choose(raw, range(count), range(count))
        return None


def _check_table(table: Any) -> None:
    if isinstance(table, WindowedTable):
        raise ConfigurationError(
            f"table {table.name} has windows: let events fill them, and read them at a time, as in "
            f'driver.run(lambda: {table.name}["key"].now())'
        )
    if not isinstance(table, Table):
        raise ConfigurationError(f"{table!r} is no table: give what app.Table() has returned")


def _letters_of(app: App, policy: FailurePolicy) -> str:
    return policy.topic or f"{app.id}-dead-letter"


def _explained(failure: BaseException) -> BaseException:
    """Give the error of the user's code behind the failure of a worker, with a note that says where it was."""
    cause = failure.__cause__
    if cause is None:
        return failure
    note = str(failure)
    if note not in getattr(cause, "__notes__", ()):
        cause.add_note(note)
    return cause


def _not_ready(engine: Engine) -> str:
    status = engine.status()
    return f"the worker is not ready ({status.reason or status.state})"


def _not_finished(engine: Engine) -> str:
    for actor in engine.topology.actors:
        cursor = actor.cursor
        if cursor.record is not None and cursor.session is not None:
            place = f"{cursor.session.tp} offset {cursor.record.offset}"
            return f"agent {cursor.name} has not finished the event at {place} (it waits in: {actor.where()})"
        if actor.busy:
            return f"agent {cursor.name} has failed, and its event has not come again"
    for subscription in engine.topology.subscriptions:
        if subscription.waiting:
            return f"{subscription.name} has not asked for the {subscription.waiting} records that wait for it"
    names = [one.name for one in engine.topology.subscriptions if any(c.record is not None for c in one.cursors)]
    return f"the stream {', '.join(names)} has not finished its event"


def _shown(task: asyncio.Task[Any]) -> str:
    body = task.get_coro()
    return getattr(body, "__qualname__", "the work").replace("_Driving.run.<locals>.", "the work given to the driver, ")
