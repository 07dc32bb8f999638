"""The driver of a test: whole apps in a plain function, on a broker and a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar, Unpack, overload

from stream_app.app import App
from stream_app.driver.brokers import DrivenBroker, MemoryBroker
from stream_app.driver.driving import Driving
from stream_app.driver.filling import check_table, fill
from stream_app.driver.records import DeadLetter, Output
from stream_app.driver.workers import DrivenWorker
from stream_app.settings.options import SettingOptions
from stream_core.agents.agent import Agent
from stream_core.agents.chores import seconds_of
from stream_core.errors import ConfigurationError, EncodeError
from stream_core.primitives import HeadersArg, RecordMetadata, header_pairs
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_tables.table import Table

__all__ = ["TestDriver"]

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")

Target = Topic[Any, Any] | Channel[Any, Any] | Agent | str


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
            then a crash leaves something to do again. On a real Kafka, where time goes on between two calls, that interval is 27 seconds,
            or 0.45 of a ``broker_transaction_timeout`` that is given here, whatever the app says, unless ``broker_commit_interval`` is
            given here. The app's ``broker_commit_every`` and ``broker_commit_bytes`` hold, and make it commit earlier.
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
        begin = now.timestamp() if isinstance(now, datetime) else now
        self._make = partial(Driving, apps, settings, begin=begin, commit=commit, timeout=timeout, kafka=kafka)
        self._unsupported = unsupported
        self._driving: Driving | None = None

    # -- life

    def __enter__(self) -> Self:
        self._outside_of_loops()
        if self._driving is not None:
            raise ConfigurationError("this TestDriver is open: close it first, or make another one")
        for app in self.apps:
            if app.running or app.engines:
                raise ConfigurationError(f"app {app.id} runs already: a TestDriver starts it by itself")
        self._driving = driving = self._make()
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
            raise ConfigurationError(f"{target!r} is not a topic, agent or channel, nor the name of a topic")
        at = timestamp.timestamp() if isinstance(timestamp, datetime) else timestamp
        if isinstance(target, Agent):
            target = target.topic
        if isinstance(target, Channel):
            channel = target

            async def hand_over() -> RecordMetadata:
                return await (await channel.send(value, key=key, timestamp=at, headers=headers))

            where: RecordMetadata = driving.run(hand_over, wait=wait)
            return where
        topic = driving.records.topic(target)
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
        check_table(table)
        driving = self._open
        engines, partitioner = list(driving.unfinished.engines()), self.apps[0].conf.producer_partitioner
        driving.drive(fill(table, items, engines, like=like, partition=partition, partitioner=partitioner))

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
        return self._open.records.all(topic)

    @overload
    def new_outputs(self, topic: Topic[K, V]) -> list[Output[K, V]]: ...
    @overload
    def new_outputs(self, topic: str) -> list[Output[Any, Any]]: ...
    def new_outputs(self, topic: Topic[Any, Any] | str) -> list[Output[Any, Any]]:
        """Read the records of a topic that came since the last call for it; as :meth:`outputs`."""
        return self._open.records.new(topic)

    def table(self, table: Table[K, V]) -> dict[K, V]:
        """Copy what a table holds, in all workers.

        Of a table with windows read in :meth:`run` instead, which has the time of the driver.

        Raises:
            ConfigurationError: it is not a table, or one with windows.
        """
        check_table(table)
        found: dict[K, V] = {}
        for engine in self._open.unfinished.engines():
            with engine.run.entered():
                found.update(table.items())
        return found

    @property
    def dead_letters(self) -> list[DeadLetter]:
        """The events that have failed for good, in order, of all apps."""
        return self._open.records.dead_letters()

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
        # Its settings are not exchanged: it would work with its real broker.
        if app is not None and app not in self.apps:
            raise ConfigurationError(
                f"app {app.id} is none of this TestDriver: give it to TestDriver(...), beside the others"
            )
        worker = driving.add(app or self.apps[0], further=True)
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
    def _open(self) -> Driving:
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
