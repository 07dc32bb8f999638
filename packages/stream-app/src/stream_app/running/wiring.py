"""The composition root: definitions and settings in, a running engine out."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING
from uuid import uuid4

from stream_app.running.defined import Defined
from stream_app.running.drivers import choose_for, load_driver, load_stores
from stream_app.running.instances import Instance
from stream_app.running.services import Services
from stream_app.running.web_server import is_web_wanted, make_web_server, published_url
from stream_app.settings import Settings
from stream_app.settings.stores import Chosen, choose_store
from stream_core.clocks import SYSTEM, Clock
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, WorkerError
from stream_core.memory import MemoryTransport
from stream_core.ports import Transport
from stream_core.primitives import TP, Host
from stream_core.runs import Run
from stream_core.sending.outbox import OnProduce
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.sensors import TABLE
from stream_core.settings import EngineSettings
from stream_core.values.schemas import Schema
from stream_tables.places import PlacedStores, place_of
from stream_tables.tables import Tables

if TYPE_CHECKING:
    from stream_web import WebServer
    from stream_web.waiting import WaitingServer

__all__ = ["Wiring", "make_transport"]

STOP_STARTING = 5.0
"""Seconds for a start to end that a stop has come before."""


class Wiring:
    """One running app.

    Args:
        app: its definitions and settings, read once.
        fail_fast: give up when no broker answers at start.
        client_only: run no agents, tables and tasks: only send, and ask.
        serve: start the web server whether the program asks for it or not, as workers do.
        clock: of the app.

    Attributes:
        engine: what runs, from the start on.
        run: what the handles of the app are bound to while this runs.
        loop: the event loop that it runs in.
        services: those that start and stop with it.
        stopped: set when it has stopped.
        on_produce: called before each send; see :attr:`~stream_core.sending.outbox.Outbox.on_produce`.
        on_partitions: awaited with ``"assigned"`` or ``"revoked"`` and the partitions, at each rebalance.
    """

    def __init__(
        self,
        app: Defined,
        *,
        fail_fast: bool,
        client_only: bool = False,
        serve: bool = False,
        clock: Clock = SYSTEM,
    ) -> None:
        self._app = app
        self._conf = app.conf
        self._tables = () if client_only else tuple(app.tables.values())
        self._chores = () if client_only else app.chores
        self.services = Services(() if client_only else app.services, getattr(app, "beacon", None))
        self._fail_fast = fail_fast
        self._client_only = client_only
        self._serve = serve
        self._instance: Instance | None = None
        self._joined: Tables | None = None
        self._name = uuid4().hex  # without an instance: nothing of it outlives this process
        self._web: WebServer | WaitingServer | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stopping = False
        self.run = Run(app.conf.id, clock, app.topic_named)
        self.loop = asyncio.get_running_loop()
        self.stopped = asyncio.Event()
        self.engine: Engine | None = None
        self.on_produce: OnProduce | None = None
        self.on_partitions: Callable[[str, frozenset[TP]], Awaitable[None]] | None = None

    async def start(self) -> None:
        """Take an instance of the data directory, build the engine, and start it; the web server first, to tell how that goes.

        Raises:
            WorkerError: it was stopped before it had started.
        """
        with self.run.entered():
            self._starting = asyncio.create_task(self._start(), name="start")
        try:
            await self._starting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._stopping or (task is not None and task.cancelling()):
                raise
        if self._stopping:
            raise WorkerError(f"app {self._conf.id} was stopped before it had started")

    async def _start(self) -> None:
        conf = self._conf
        conf.freeze()
        transport = make_transport(conf)
        chosen = self._chosen()
        durable = not self._client_only and (
            conf.broker_scheme != "memory" or any(one.scheme != "memory" for one in chosen.values())
        )
        self._instance = instance = Instance.acquire(self._root) if durable else None
        if instance is not None:
            self._name = instance.id
        self._joined = tables = self._join_tables(transport, chosen)
        for topic in self._app.topics.values():
            topic.wire.check()
        self.engine = engine = Engine(
            transport,
            self._settings(),
            topics=self._topics(),
            agents=list(self._app.agents.values()),
            participants=[tables] if self._tables else [],
            client_only=self._client_only,
            on_member=self._remember,
            run=self.run,
            sensors=self._app.sensors,
        )
        self._app.engines.bind(self.run, engine)
        for topic in self._topics():  # those that another thread has described meanwhile
            engine.add(topic)
        for table in self._tables:
            if table.windows is not None:
                engine.topology.provide(table.windows.late.policy)
        engine.background.name = conf.id
        engine.outbox.on_produce = self.on_produce
        if self.on_partitions is not None:
            engine.rebalances.handler = self.on_partitions
        if conf.topic_disable_leader is False or any(chore.on_leader for chore in self._chores):
            engine.leadership.elect(self._leader_topic())
        await self._start_web(engine)
        await engine.start()
        await self.services.start(engine.background)
        if self._stopping:
            return
        for chore in self._chores:
            engine.background.spawn(chore.run(engine.leadership.is_leader), chore.name, users=True)

    def _join_tables(self, transport: Transport, chosen: Mapping[str, Chosen]) -> Tables:
        """Let the tables take part, each with the driver of its stores, which is loaded before anything is waited for."""
        conf, instance, sensors = self._conf, self._instance, self._app.sensors
        placed: list[tuple[Chosen, PlacedStores, PlacedStores | None]] = []
        for one in chosen.values():
            if all(one != known for known, _, _ in placed):
                make = load_stores(one)
                placed.append((one, PlacedStores(make), None if instance is None else PlacedStores(make)))

        def of(table: str) -> tuple[PlacedStores, PlacedStores | None]:
            """Give the driver that all tables share of which the same is said."""
            return next((stores, spare) for one, stores, spare in placed if one == chosen[table])

        async def prepare() -> None:
            assert self.engine is not None
            cluster = await self.engine.clients.admin.cluster_id()
            for _, stores, spare in placed:
                stores.place(self._tabledir(cluster))
                if spare is not None and instance is not None:
                    spare.place(place_of(cluster, instance.path) / "tables")

        stores, spare = of("")
        tables = Tables(
            stores,
            lambda: transport.reader(read_committed=True),  # the guarantee may have been another one before
            spare=spare,
            prepare=prepare,
            lock_timeout=conf.store_lock_timeout,
            replication=conf.topic_replication_factor,
            check_mutations=conf.checks_mutations,
            run=self.run,
        )
        for table in self._tables:
            table.schema.check()
            table.sensors = sensors if sensors.hear(*TABLE) else None
            table.key_index_size = conf.table_key_index_size
            tables.add(table, *of(table.name))
        return tables

    async def _start_web(self, engine: Engine) -> None:
        """Start the web server, where one is wanted, and let others know where this worker is reached."""
        conf, instance = self._conf, self._instance
        neighbour = instance.neighbour if instance is not None else _nobody
        if not self._client_only and (self._serve or is_web_wanted(conf, self._app.pages)):
            self._web = make_web_server(conf, engine, self._app, self._name, neighbour)
        if self._web is not None:
            await self._web.start()
        if instance is not None:
            with suppress(OSError):  # it helps neighbours only; what needs the disk says so itself
                instance.url = "" if self._web is None else self._web.url
        engine.host = Host(self._name, published_url(conf, self._web))
        if self._web is not None:
            self._web.answer_for(self.run, engine.host.url, neighbour)

    def _leader_topic(self) -> AnyTopic:
        if self._conf.topic_disable_leader:
            raise ConfigurationError(
                "topic_disable_leader is set, and a task or timer is defined on_leader: remove one of them"
            )
        return Topic(f"{self._conf.id}-__assignor-__leader", schema=Schema(bytes, bytes), partitions=1)

    @property
    def connected(self) -> bool:
        """Whether a broker has answered."""
        return self.engine is not None and self.engine.clients.connected

    @property
    def started(self) -> bool:
        """Whether the start is over."""
        return self._starting is not None and self._starting.done()

    @property
    def failure(self) -> BaseException | None:
        """Why the engine cannot go on, or could not."""
        failure = None if self.engine is None else self.engine.failure
        return failure.result() if failure is not None and failure.done() else None

    @property
    def outcome(self) -> str:
        """What has become of the work, in words, once it has stopped."""
        if self.failure is not None:
            return "after a failure, what it had not committed is done again"
        if self.engine is not None and not self.engine.interval.complete:
            return "left the group, not all of its open events were committed in time, and those are done again"
        return "committed, left the group"

    async def stop(self) -> None:
        """Stop the engine and give the instance back; the web server last. Each is done whatever the others raise.

        A start that still runs is given up first: nothing of it must begin after the stop. Whoever calls this while it runs waits for
        its end.
        """
        if self._stopping:
            await self.stopped.wait()
            return
        self._stopping = True
        try:
            async with AsyncExitStack() as steps:  # from the last to the first
                steps.callback(self.run.end)  # here, too, for a start that did not get as far as the engine
                steps.enter_context(self.run.entered())  # services may send a last word
                if self._web is not None:
                    steps.push_async_callback(self._web.stop)
                steps.callback(self._release)
                if self.engine is not None:
                    steps.push_async_callback(self._stop_engine, self.engine)
                steps.push_async_callback(self.services.stop)
                steps.push_async_callback(self._give_up_start)
        finally:
            self.stopped.set()

    async def abandon(self) -> None:
        """Close what outlives the event loop in which it was started, once that is closed: stores, the port, and the instance."""
        self.run.end()
        try:
            if self._web is not None:
                self._web.abandon()
            if self._joined is not None:
                await self._joined.close()
        finally:
            self._release()

    async def _give_up_start(self) -> None:
        starting = self._starting
        if starting is None or starting.done():
            return
        if starting is not asyncio.current_task():  # it is, where a service stops the app in its own start
            starting.cancel()  # else it would go on with what is closed, and open more
            await asyncio.wait([starting], timeout=STOP_STARTING)

    async def _stop_engine(self, engine: Engine) -> None:
        await engine.stop()
        if self._instance is not None:
            self._instance.member = None  # it has left the group: nobody has to take it out

    def _release(self) -> None:
        if self._instance is not None:
            self._instance.release()

    def _remember(self, member: str) -> None:
        if self._instance is not None:
            self._instance.member = member

    def _chosen(self) -> dict[str, Chosen]:
        """Give what is said of the stores of each table, by its name; of those of the app by an empty one."""
        text = self._conf.store
        return {"": choose_store(text), **{table.name: choose_for(text, table) for table in self._tables}}

    def _topics(self) -> list[AnyTopic]:
        """Give the topics of the app; not those that a table keeps its changes in, which the tables declare, unless somebody reads them."""
        changelogs = {table.changelog for table in self._tables}
        read = {
            part.name
            for agent in self._app.agents.values()
            if isinstance(agent.topic, Topic)
            for part in agent.topic.parts
        }
        return [topic for topic in self._app.topics.values() if topic.name in read or topic.name not in changelogs]

    @property
    def _root(self) -> Path:
        """The directory of what this worker finds again: of a broker in this process nothing outlives the process."""
        if self._conf.broker_scheme == "memory":
            return _temporary_directory() / self._conf.id
        return self._conf.appdir

    def _tabledir(self, cluster: str) -> Path:
        """Give the directory of the tables: one cluster's state is never taken for that of another."""
        conf = self._conf
        if conf.broker_scheme == "memory":
            return self._root / cluster / "tables"
        if conf.tabledir.is_relative_to(conf.appdir):
            return place_of(cluster, conf.appdir) / conf.tabledir.relative_to(conf.appdir)
        return place_of(cluster, conf.tabledir)

    def _settings(self) -> EngineSettings:
        conf, instance, name = self._conf, self._instance, self._name
        return EngineSettings(
            group=conf.id,
            transactional_id=f"{conf.id}-{name}" if conf.exactly_once and not self._client_only else None,
            commit_interval=conf.broker_commit_interval,
            commit_every=conf.broker_commit_every,
            commit_bytes=conf.broker_commit_bytes,
            buffer_maxsize=conf.stream_buffer_maxsize,
            buffer_max_bytes=conf.stream_buffer_max_bytes,
            session_timeout=conf.broker_session_timeout,
            deadline=conf.broker_request_timeout,
            drain_timeout=min(10.0, conf.broker_rebalance_timeout / 3),
            wait_empty=conf.stream_wait_empty,
            recovery_delay=conf.stream_recovery_delay,
            transaction_timeout=conf.broker_transaction_timeout,
            processing_timeout=conf.stream_processing_timeout,
            discovery_interval=conf.topic_discovery_interval,
            reply_to=conf.reply_to,
            reply_prefix=conf.reply_to_prefix,
            reply_expires=conf.reply_expires,
            reply_create=conf.reply_create_topic,
            reply_allowed=conf.reply_to_allowed,
            offset_reset=conf.consumer_auto_offset_reset,
            max_restarts=conf.agent_max_restarts,
            default_partitions=conf.topic_partitions,
            replication=conf.topic_replication_factor,
            allow_declare=conf.topic_allow_declare,
            fail_fast=self._fail_fast,
            predecessor=instance.member if instance is not None else None,
        )


def make_transport(conf: Settings) -> Transport:
    """Make the driver of the broker that the settings name.

    Raises:
        ConfigurationError: there is no such driver, or its package is not installed.
    """
    make = load_driver("stream.transports", conf.broker_scheme, MemoryTransport)
    transport: Transport = make(conf.broker_url, **conf.transport_options)
    return transport


def _nobody(instance: str) -> str:
    """Tell no URL: a worker of a broker in this process has no neighbours."""
    return ""


@cache
def _temporary_directory() -> Path:
    """Make a directory that is removed when this process ends."""
    path, owner = Path(mkdtemp(prefix="stream-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # a fork has the same path
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return path
