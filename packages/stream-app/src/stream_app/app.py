"""The App: what a program defines, its settings, and its life. :mod:`stream_app.running.wiring` builds what runs."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterable, Awaitable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from weakref import WeakSet

from stream_app.definitions.agents import AgentDefinitions
from stream_app.definitions.chores import ChoreDefinitions
from stream_app.definitions.discovery import discover, share_main
from stream_app.definitions.signals import Signal
from stream_app.definitions.tables import TableDefinitions
from stream_app.running.dependencies import Beacon
from stream_app.running.loops import run_in
from stream_app.running.wiring import Wiring
from stream_app.settings import Settings
from stream_app.settings.objects import read_object
from stream_app.worker import Worker
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, MissingPackageError
from stream_core.primitives import TP, Headers, RecordMetadata
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.streams.iterables import stream_of
from stream_core.streams.stream import Stream

__all__ = ["App"]

logger = logging.getLogger(__name__)

_apps: WeakSet[App] = WeakSet()
"""All apps of this process."""


class App(AgentDefinitions, TableDefinitions, ChoreDefinitions):
    """An application: agents over topics, with tables.

    Several apps may run in one process. Definitions and sends are safe from any thread.

    Args:
        id: name of the app: the consumer group, and the prefix of its changelogs.
        options: settings by name (see the configuration reference); environment variables win over them.

    Raises:
        UnknownSettingError: there is no such setting; the message names the nearest.
        ConfigurationError: a value does not fit.

    Example::

        app = App("bank", broker="kafka://localhost:9092", store="rocksdb://")
    """

    on_before_configured = Signal()
    """Sent before the settings are final: ``handler(app, **kwargs)``."""

    on_configured = Signal()
    """Sent with the settings as ``conf``, which may still be assigned: ``handler(app, conf, **kwargs)``."""

    on_after_configured = Signal()
    """Sent when the settings are final: ``handler(app, **kwargs)``."""

    on_worker_init = Signal()
    """Sent by the worker program before it starts the app: ``handler(app, **kwargs)``."""

    on_produce_message = Signal()
    """Sent before a record leaves, with ``key``, ``value``, ``partition``, ``timestamp`` and ``headers``, a list that may be changed.

    Connect to it before the app starts.
    """

    on_partitions_assigned = Signal()
    """Sent after each rebalance: ``handler(app, assigned)``, sync or async."""

    on_partitions_revoked = Signal()
    """Sent before partitions are given up: ``handler(app, revoked)``, sync or async."""

    def __init__(self, id: str, **options: Any) -> None:  # noqa: A002 - the name is the guides'
        super().__init__(Settings(id, **options))
        self._wiring: Wiring | None = None
        self._failure: BaseException | None = None
        self.outcome = ""
        """What had become of the work of the app when it was stopped, in words."""
        self._final = False
        self._made_in = _caller(self)
        self.beacon = Beacon()
        _apps.add(self)

    # -- configuration

    def config_from_object(self, source: Any, *, silent: bool = False) -> None:
        """Take settings from a module, class, object or mapping; environment variables win over them.

        Args:
            source: ``"module"``, ``"module:Class"``, an object whose attributes have the names of settings, or a mapping. Of an object,
                attributes of other names are left alone; of a mapping, unknown names are errors.
            silent: do nothing when there is no such module.

        Raises:
            ConfigurationError: it cannot be loaded, or the app has started.
            UnknownSettingError: a mapping names a setting that does not exist.
        """
        self.conf.load(read_object(source, silent=silent))

    def finalize(self) -> None:
        """Make the settings final and import what ``autodiscover`` names; the worker and :meth:`start` do it.

        When that fails it is done again by the next call: an app is never run without a part of what belongs to it.
        """
        if self._final:
            return
        self._final = True  # before the imports, which may come here again
        try:
            self.on_before_configured.send()
            self.on_configured.send(conf=self.conf)
            self.on_after_configured.send()
            if self.conf.autodiscover:
                share_main(self)
            discover(self.conf.origin, self.conf.autodiscover)
        except BaseException:
            self._final = False
            raise

    def doubts(self) -> Iterator[str]:
        """What looks as if it was not meant, in sentences for the log of a worker."""
        for other in [app for app in _apps if app is not self and app.id == self.id and app.idle]:
            yield (
                f"there are two apps named {self.id}: one made in {self._made_in} runs, and one made in {other._made_in} does not, with "
                f"{other.defined} agents, tasks, timers and services: import the module of the app under one name only"
            )
        if not self.defined:
            yield (
                f"the app {self.id} has no agents, tasks, timers and services, so that this worker does nothing: import the modules that "
                'define them, or name them, as in App(..., autodiscover=["proj.agents"])'
            )

    @property
    def defined(self) -> int:
        """How many agents, tasks, timers and services there are."""
        return len(self.agents) + len(self.chores) + len(self.services)

    @property
    def idle(self) -> bool:
        """Whether something is defined, and was never started."""
        return not self._final and self.defined > 0

    # -- life

    async def start(self, *, fail_fast: bool = False) -> None:
        """Start, and return when the app is operational: its partitions are assigned and its tables recovered.

        Args:
            fail_fast: give up when no broker answers, instead of waiting for one.

        Raises:
            ConfigurationError: a setting or definition is wrong, or the app runs already.
            BrokerUnavailableError: no broker answers, and ``fail_fast`` is set.
            WorkerError: the app cannot go on, or :meth:`stop` was called before it was operational.
        """
        await self._start(fail_fast=fail_fast)

    async def start_client(self, *, fail_fast: bool = False) -> None:
        """Start without agents, tables and tasks, for a program that sends to agents of others and asks them."""
        await self._start(fail_fast=fail_fast, client_only=True)

    async def _start(self, *, fail_fast: bool, client_only: bool = False) -> None:
        self.finalize()
        with self._defining:
            if self._wiring is not None:
                raise ConfigurationError(f"app {self.id} runs already")
            self._wiring = wiring = Wiring(self, fail_fast=fail_fast, client_only=client_only)
        self._failure = None
        wiring.on_partitions = self._announce
        wiring.on_produce = self._producing if self.on_produce_message else None
        try:
            await wiring.start()
        except BaseException:
            await self._stop(wiring)
            raise
        if wiring.engine is not None:
            wiring.engine.background.spawn(self._tell_parent(wiring.engine), "tell the parent service")

    async def _announce(self, what: str, tps: frozenset[TP]) -> None:
        signal = self.on_partitions_assigned if what == "assigned" else self.on_partitions_revoked
        await signal.send_async(set(tps))

    def _producing(
        self,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: list[tuple[str, bytes]],
    ) -> None:
        told = {"key": key, "value": value, "partition": partition, "timestamp": timestamp, "headers": headers}
        self.on_produce_message.send(**told)

    async def stop(self) -> None:
        """Finish open events, commit, and leave; within the deadlines of the settings. It may be called from any thread.

        Raises:
            Exception: why the app could not go on, such as an agent that failed for good: after everything has stopped. A service of mode
                that depends on the app has crashed for that reason already, and nothing is raised.
        """
        wiring = self._wiring
        if wiring is None:
            return
        try:
            await run_in(wiring.loop, lambda: self._stop(wiring), f"app {self.id}")
        except ConfigurationError:
            self._wiring = None  # nothing of it runs
            raise
        if self._failure is not None and self.beacon.parent is None:
            raise self._failure

    async def _stop(self, wiring: Wiring) -> None:
        """Stop; an error meanwhile is logged where there is a failure that explains it."""
        try:
            await wiring.stop()
        except Exception:
            if wiring.failure is None:
                raise
            logger.exception("app %s failed to stop", self.id)
        finally:
            self._failure, self.outcome = wiring.failure, wiring.outcome
            if self._wiring is wiring:
                self._wiring = None

    async def wait(self) -> None:
        """Wait until the app is stopped.

        Raises:
            Exception: why the app cannot go on, at once when that is known.
            ConfigurationError: the app is not started.
        """
        wiring = self._wiring
        if wiring is None:
            raise ConfigurationError(f"app {self.id} is not started: await app.start() first")
        await run_in(wiring.loop, wiring.wait, f"app {self.id}")

    async def __aenter__(self) -> Self:
        """Start, for ``async with app:``."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; raises why the app could not go on, unless the block itself raises."""
        try:
            await self.stop()
        except Exception:
            if error is None:
                raise

    @property
    def failure(self) -> BaseException | None:
        """Why the app cannot go on, or could not when it ran last."""
        return self._failure if self._wiring is None else self._wiring.failure

    # -- as a dependency of a service of mode

    async def maybe_start(self) -> bool:
        """Start, unless it is started; returns whether that was done."""
        if self._wiring is not None:
            return False
        await self.start()
        return True

    def service_reset(self) -> None:
        """Be ready to start again; a stopped app is."""

    def _crash(self, reason: BaseException) -> None:
        """The service that depends on this app has crashed: nothing goes on here either."""
        if self._wiring is not None and self._wiring.engine is not None and self._wiring.failure is None:
            self._wiring.engine.fail(reason)

    async def _tell_parent(self, engine: Engine) -> None:
        failure = await asyncio.shield(engine.failure)
        await self.beacon.crash(failure)

    @property
    def engine(self) -> Engine:
        """The engine of the running app.

        Raises:
            ConfigurationError: the app is not started.
        """
        if self._wiring is None or self._wiring.engine is None:
            raise ConfigurationError(f"app {self.id} is not started: run a worker, or await app.start() first")
        return self._wiring.engine

    def is_leader(self) -> bool:
        """Whether this worker is the leader now.

        Raises:
            ConfigurationError: the app is not started, or nothing is defined ``on_leader``, so that there is none.
        """
        return self.engine.leadership.is_leader()

    # -- sending and reading

    async def send(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: Mapping[str, bytes] | Headers | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Send to a topic, a channel, or a topic by its name; see :meth:`Topic.send <stream_core.sending.topic.Topic.send>`."""
        target = self._named(channel)
        return await target.send(value, key=key, partition=partition, timestamp=timestamp, headers=headers)

    def stream(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str | Iterable[Any] | AsyncIterable[Any],
        *,
        name: str | None = None,
    ) -> Stream[Any]:
        """Read a topic or channel outside of agents: in a task, or beside the stream of an agent.

        Progress in a topic is committed. Reading one that no agent reads costs a rebalance when it begins.

        Args:
            channel: what to read; a topic may be given by its name. Any other iterable, plain or asynchronous, is a stream that ends
                with it, and needs no started app.
            name: names its progress in committed offsets; give one when several streams read one topic.

        Raises:
            ConfigurationError: the app is not started, or there is a stream of that name.
        """
        if isinstance(channel, Topic | Channel | str):
            return self.engine.topology.stream(self._named(channel), name)
        return stream_of(channel, name or "iterable")

    # -- programs

    def worker(self, *services: Any, **options: Any) -> Worker:
        """A worker for this app, and for more apps and services; the arguments are those of :class:`Worker`."""
        return Worker(self, *services, **options)

    def main(self) -> None:
        """Run the command line of this app: ``python app.py worker``, and all other commands of ``stream``.

        Raises:
            MissingPackageError: there is no command line; the message names the package.
        """
        try:
            from stream_cli.main import run  # noqa: PLC0415 - the command line is loaded only by programs that are one
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in ("stream_cli", "click", "rich"):
                raise
            raise MissingPackageError(f"app.main() needs the command line ({error}); pip install stream-cli") from error
        run(self, sys.argv[1:])

    def _require_stopped(self, what: str) -> None:
        if self._wiring is not None:
            raise ConfigurationError(
                f"{what} is defined while app {self.id} runs, and would have no effect: define it before"
            )

    def _defined(self, topic: Topic[Any, Any]) -> None:
        if self._wiring is not None and self._wiring.engine is not None:
            self._wiring.engine.add(topic)

    def __repr__(self) -> str:
        return f"<App {self.id}: {len(self.agents)} agents, {len(self.tables)} tables>"


def _caller(app: App) -> str:
    """Where an app is made: module and line, outside of the constructors of its class and of subclasses."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__')}, line {frame.f_lineno}"
