"""The App: what a program defines, its settings, and its life. :mod:`stream_app.running.wiring` builds what runs."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Unpack, cast
from weakref import WeakSet

from mode.services import WaitArgT, WaitResult
from mode.utils.times import Seconds, want_seconds

from stream_app import settings
from stream_app.absent_members import explain
from stream_app.definitions.agents import AgentDefinitions
from stream_app.definitions.chores import ChoreDefinitions
from stream_app.definitions.commands import CommandDefinitions
from stream_app.definitions.discovery import SCAN_IGNORE, Ignore, discover, share_main
from stream_app.definitions.pages import PageDefinitions
from stream_app.definitions.registry import Registry
from stream_app.definitions.signals import Signal, SyncSignal
from stream_app.definitions.tables import TableDefinitions
from stream_app.running.service import Service
from stream_app.running.services import PATIENCE, crash_of
from stream_app.running.web_server import load_web
from stream_app.running.wiring import Wiring
from stream_app.sensors.monitor import Monitor
from stream_app.settings.options import SettingOptions
from stream_app.settings.parameters import masked
from stream_core.calls import is_here, run_in
from stream_core.clocks import SYSTEM, Clock
from stream_core.engine.engine import Engine
from stream_core.errors import BrokerUnavailableError, ConfigurationError, MissingPackageError, WorkerError
from stream_core.primitives import TP, HeadersArg, RecordMetadata
from stream_core.runs import current_run
from stream_core.sending.topic import Topic
from stream_core.sensors import Begun
from stream_core.streams.channel import Channel
from stream_core.streams.iterables import stream_of
from stream_core.streams.stream import Stream
from stream_core.streams.targets import SendCallback
from stream_core.values.codecs import CodecArg
from stream_core.values.schemas import Schema

__all__ = ["App"]

if TYPE_CHECKING:
    from stream_app.worker import Worker
    from stream_web import Web
    from stream_web.clients import ClientSession

T = TypeVar("T")

logger = logging.getLogger(__name__)

_apps: WeakSet[App] = WeakSet()
"""All apps of this process."""


class App(AgentDefinitions, TableDefinitions, ChoreDefinitions, PageDefinitions, CommandDefinitions, Service):  # type: ignore[misc]  # app.task is for functions of the app
    """An application: agents over topics, with tables.

    Several apps may run in one process. Definitions and sends are safe from any thread.

    Args:
        id: name of the app: the consumer group, and the prefix of its changelogs.
        config_source: settings from elsewhere, as for :meth:`config_from_object`.
        monitor: what counts, in the place of the setting ``Monitor``.
        options: settings by name, which are on the page on settings; environment variables win over them.

    Raises:
        UnknownSettingError: there is no such setting; the message names the nearest.
        ConfigurationError: a value does not fit.

    Example::

        app = App("bank", broker="kafka://localhost:9092", store="rocksdb://")
    """

    on_before_configured = SyncSignal(decides=True)
    """Sent before the settings are final: ``handler(app, **kwargs)``."""

    on_configured = SyncSignal("conf", decides=True)
    """Sent with the settings as ``conf``, which may still be assigned: ``handler(app, conf, **kwargs)``."""

    on_after_configured = SyncSignal(decides=True)
    """Sent when the settings are final: ``handler(app, **kwargs)``."""

    on_worker_init = SyncSignal()
    """Sent by the worker before it starts the app: ``handler(app, **kwargs)``."""

    on_worker_shutdown = SyncSignal()
    """Sent by the worker when the app has stopped: ``handler(app, **kwargs)``."""

    on_produce_message = SyncSignal("key", "value", "partition", "timestamp", "headers")
    """Sent before a record leaves, with ``key``, ``value``, ``partition``, ``timestamp`` and ``headers``, a list that may be changed.

    Connect to it before the app starts.
    """

    on_partitions_assigned = Signal("assigned")
    """Sent after each rebalance: ``handler(app, assigned, **kwargs)``, sync or async."""

    on_partitions_revoked = Signal("revoked")
    """Sent before partitions are given up: ``handler(app, revoked, **kwargs)``, sync or async."""

    on_rebalance_complete = Signal()
    """Sent after a rebalance when tables are recovered and all partitions are worked on: ``handler(app, **kwargs)``, sync or async."""

    on_before_shutdown = Signal()
    """Sent before anything stops: ``handler(app, **kwargs)``, sync or async; within five seconds."""

    Settings: type[settings.Settings] = settings.Settings
    """The class of the settings; override it to add some.

    :meta private:
    """

    worker_class: ClassVar[type[Worker] | None] = None
    """The class of workers, where it is one of one's own. In a subclass ``Worker = MyWorker`` means it."""

    SCAN_IGNORE: str | Iterable[Ignore] = SCAN_IGNORE
    """What ``autodiscover`` leaves out: by default ``__main__`` and tests.

    Names of modules, which leave out what is below them too (``"proj.old"``, or ``".old"`` in each place where it looks), and functions
    that take a full name, as in ``re.compile("_old$").search``.
    """

    mundane_level = "debug"  # of mode's messages; the worker says when an app is ready, and when it has stopped

    def __init__(
        self,
        id: str,  # noqa: A002 - the name is the guides'
        *,
        beacon: Any = None,
        loop: asyncio.AbstractEventLoop | None = None,
        config_source: Any = None,
        monitor: Monitor | None = None,
        **options: Unpack[SettingOptions],
    ) -> None:
        Registry.__init__(self, self.Settings(id, **options))
        if config_source is not None:
            self.config_from_object(config_source)
        self._monitor: Monitor | None = None
        self.tracer: Any = None
        """What makes the spans of :meth:`trace`: a tracer of OpenTelemetry; ``None`` where nothing is traced."""
        if monitor is not None:
            self._set_monitor(monitor)
        self._wiring: Wiring | None = None
        self._fail_fast = False
        self._start_timeout: float | None = None
        self.clock: Clock = SYSTEM
        """Tells the time to all that the app starts; a test drives it.

        :meta private:
        """
        self._http_client: ClientSession | None = None
        self._web_told = False
        self.client_only = False
        """Whether it was started by :meth:`start_client`."""
        self.in_worker = False
        """Whether a worker runs it, or did so last."""
        self.rebalancing = False
        """Whether partitions were given up, or assigned, and are not all worked on yet."""
        self._rebalance: Begun | None = None
        self.rebalancing_count = 0
        """How many rebalances there were."""
        self.outcome = ""
        """What had become of the work of the app when it was stopped, in words."""
        self._configured = self._final = False
        self._made_in = _caller(self)
        Service.__init__(self, beacon=beacon, loop=loop)
        _apps.add(self)

    def __init_subclass__(cls) -> None:
        """Take a class that is written as ``Worker``, ``Topic``, ``Channel``, ``Table`` or ``Agent`` for what is made of these."""
        for name in ("Worker", "Topic", "Channel", "Table", "Agent"):
            if isinstance(given := vars(cls).get(name), type):
                setattr(cls, f"{name.lower()}_class", given)
                delattr(cls, name)
        super().__init_subclass__()

    # -- who watches

    @property
    def monitor(self) -> Monitor:
        """What counts: see :class:`~stream_app.sensors.monitor.Monitor`. It is made when somebody asks for it.

        Assign one of your own before the app starts.

        Raises:
            ConfigurationError: it is assigned, and is no monitor, or counts each event and the app runs.
        """
        if self._monitor is None:
            self._set_monitor((self.conf.Monitor or Monitor)())
        assert self._monitor is not None
        return self._monitor

    @monitor.setter
    def monitor(self, monitor: Monitor) -> None:
        self._set_monitor(monitor)

    def _set_monitor(self, monitor: Monitor) -> None:
        self.sensors.add(monitor)
        if self._monitor is not None and self._monitor is not monitor:
            self.sensors.remove(self._monitor)
        self._monitor = monitor

    def trace(self, name: str, trace_enabled: bool = True, **attributes: Any) -> AbstractContextManager[Any]:
        """Make a block a span of a trace, ``with app.trace("load"):``; without a :attr:`tracer` nothing happens.

        Args:
            name: of the span.
            trace_enabled: whether to do it.
            attributes: of the span.
        """
        if self.tracer is None or not trace_enabled:
            return nullcontext()
        span: AbstractContextManager[Any] = self.tracer.start_as_current_span(name, attributes=attributes)
        return span

    def traced(self, fun: T, name: str | None = None) -> T:
        """Make each call of a function a span of a trace, ``@app.traced``; the function may be async.

        Args:
            fun: the function.
            name: of the span; that of the function when left out.
        """
        called: Any = fun
        title = name or called.__qualname__
        if inspect.iscoroutinefunction(called):

            @wraps(called)
            async def run(*args: Any, **kwargs: Any) -> Any:
                with self.trace(title):
                    return await called(*args, **kwargs)
        else:

            @wraps(called)
            def run(*args: Any, **kwargs: Any) -> Any:
                with self.trace(title):
                    return called(*args, **kwargs)

        return cast("T", run)

    # -- configuration

    def config_from_object(self, source: Any, *, silent: bool = False, force: bool = False) -> None:
        """Take settings from a module, class, object or mapping; environment variables win over them.

        Args:
            source: ``"module"``, ``"module:Class"``, an object whose attributes have the names of settings, in small letters or in
                capitals, or a mapping. Of an object, attributes of other names are left alone; of a mapping, unknown names are errors.
            silent: do nothing when there is no such module.
            force: take them at once, which is always done: Faust may wait until a setting is read.

        Raises:
            ConfigurationError: it cannot be loaded, or the app has started.
            UnknownSettingError: a mapping names a setting that does not exist.
        """
        self.conf.load(source, silent=silent)

    def configure(self) -> None:
        """Send the signals in which settings may be assigned, once; the worker and :meth:`finalize` do it.

        When a handler fails it is done again by the next call.
        """
        if self._configured:
            return
        self._configured = True  # before the handlers, which may come here again
        try:
            self.on_before_configured.send()
            self.on_configured.send(conf=self.conf)
            self.on_after_configured.send()
        except BaseException:
            self._configured = False
            raise

    def finalize(self) -> None:
        """Make the settings final and import what ``autodiscover`` names; the worker and :meth:`start` do it.

        When that fails it is done again by the next call: an app is never run without a part of what belongs to it.
        """
        if self._final:
            return
        self._final = True  # before the imports, which may come here again
        try:
            self.configure()
            if self.conf.autodiscover:
                share_main(self)
            discover(self.conf.origin, self.conf.autodiscover, self.SCAN_IGNORE)
        except BaseException:
            self._final = False
            raise

    @property
    def finalized(self) -> bool:
        """Whether the settings are final."""
        return self._final

    def discover(self, *modules: str, ignore: Ignore | Iterable[Ignore] | None = None) -> list[str]:
        """Import modules in which parts of the app are defined, and those in the packages among them, beside what ``autodiscover`` names.

        Args:
            modules: names of modules and packages.
            ignore: what to leave out, in place of :attr:`SCAN_IGNORE`.

        Returns:
            the modules that were imported.

        Raises:
            ConfigurationError: there is no such module, or one raised when it was imported.
        """
        share_main(self)
        ignored = self.SCAN_IGNORE if ignore is None else ignore
        return [*discover(self.conf.origin, self.conf.autodiscover, ignored), *discover(None, modules, ignored)]

    def worker_init(self) -> None:
        """Send ``on_worker_init``; a worker does it before it starts the app."""
        self.in_worker = True
        self.on_worker_init.send()

    def doubts(self) -> Iterator[str]:
        """What looks as if it was not meant, in sentences for the log of a worker.

        :meta private:
        """
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
        """How many agents, tasks, timers and services there are.

        :meta private:
        """
        return len(self.agents) + len(self.chores) + len(self.services)

    @property
    def idle(self) -> bool:
        """Whether something is defined, and was never started.

        :meta private:
        """
        return not self._final and self.defined > 0

    # -- life

    async def start(self, *, fail_fast: bool = False, timeout: float | None = None) -> None:
        """Start, and return when the app is operational: its partitions are assigned and its tables recovered.

        In this order: ``on_first_start`` (once), ``on_start``, what the app depends on, agents and tables, services, tasks and timers,
        ``on_started``.

        Args:
            fail_fast: give up when no broker answers, instead of waiting for one.
            timeout: seconds to wait for one; for ever when left out. Once it has answered there is no bound: tables may take their time.

        Raises:
            ConfigurationError: a setting or definition is wrong, or the app runs already.
            BrokerUnavailableError: no broker answers in time, or at once where ``fail_fast`` is set.
            WorkerError: the app cannot go on, or :meth:`stop` was called before it was operational.
        """
        await self._start(fail_fast=fail_fast, timeout=timeout, client_only=False)

    async def start_client(self, *, fail_fast: bool = False, timeout: float | None = 30.0) -> None:
        """Start without agents, tables, tasks and services, for a program that sends to agents of others and asks them.

        Args:
            fail_fast: give up when no broker answers, instead of waiting for one.
            timeout: seconds for the whole of it; ``None`` waits for ever.

        Raises:
            ConfigurationError: a setting is wrong, or the app runs already.
            BrokerUnavailableError: no broker answers in time, or at once where ``fail_fast`` is set.
        """
        await self._start(fail_fast=fail_fast, timeout=timeout, client_only=True)

    async def maybe_start_client(self) -> None:
        """Start as :meth:`start_client` does, unless the app runs."""
        if not self.running:
            await self.start_client()

    maybe_start_producer = maybe_start_client  # its name for programs that only send

    async def _start(self, *, fail_fast: bool, timeout: float | None, client_only: bool) -> None:
        self.finalize()
        if self.running:
            raise ConfigurationError(f"app {self.id} runs already")
        self._fail_fast, self._start_timeout, self.client_only = fail_fast, timeout, client_only
        await super().start()

    async def restart(self) -> None:
        """Stop, and start again in the same way: as a client where it is one. While the app runs, it may be called from any thread."""
        if self.running:
            await run_in(self.loop, super().restart, f"app {self.id}")
        else:
            await super().restart()

    async def _start_again(self) -> None:
        await self._start(fail_fast=self._fail_fast, timeout=self._start_timeout, client_only=self.client_only)

    async def _open(self) -> None:
        """Start what the app depends on, then the engine with all that is defined, then tasks of the class."""
        await self._start_children()
        if not self._goes_on():
            return
        if not self._web_told and not self.client_only and type(self).on_webserver_init is not App.on_webserver_init:
            self.on_webserver_init(self.web)
            self._web_told = True  # pages last from one start to the next
        with self._defining:
            self._wiring = wiring = Wiring(
                self,
                fail_fast=self._fail_fast,
                client_only=self.client_only,
                serve=self.in_worker,
                clock=self.clock,
            )
        wiring.on_partitions = self._announce
        if self.conf.Monitor is not None and self._monitor is None:
            self._set_monitor(self.conf.Monitor())
        await self.sensors.start()
        wiring.on_produce = self._producing if self.on_produce_message else None
        await self._start_in_time(wiring)
        if wiring.engine is not None:
            wiring.engine.background.spawn(self._tell_parents(wiring.engine), "tell the services above")
        if not self.client_only:
            self._start_tasks()
            for hook in (self.on_started_init_extra_tasks, self.on_started_init_extra_services):
                if not self.should_stop:
                    await hook()

    async def _start_in_time(self, wiring: Wiring) -> None:
        """Start what runs; give up when no broker has answered in time."""
        loop, seconds = asyncio.get_running_loop(), self._start_timeout
        if seconds is None:
            await wiring.start()
            return
        try:
            async with asyncio.timeout(None) as budget:

                def look() -> None:
                    if self.client_only or not wiring.connected:
                        budget.reschedule(loop.time())

                timer = loop.call_later(seconds, look)
                try:
                    await wiring.start()
                finally:
                    timer.cancel()
        except TimeoutError:
            if not budget.expired():
                raise
            raise BrokerUnavailableError(
                f"app {self.id} was not started within {seconds:g} s: no broker answers at {masked(self.conf.broker)}; "
                "start one, or correct the setting broker"
            ) from None

    def _overtaken(self) -> None:
        raise WorkerError(f"app {self.id} was stopped before it had started")

    async def _announce(self, what: str, tps: frozenset[TP]) -> None:
        """Call the hooks of a rebalance, and send its signals."""
        match what:
            case "revoked":
                if not self.rebalancing:
                    self.rebalancing = True
                    self.rebalancing_count += 1
                    self._rebalance = self.sensors.begin("on_rebalance_start", self)
                    await self._heard(self.on_rebalance_start)
                await self.on_partitions_revoked.send(set(tps))
            case "assigned":
                if (begun := self._rebalance) is not None:
                    self.sensors.end("on_rebalance_return", begun, lambda state: (self, state))
                await self.on_partitions_assigned.send(set(tps))
                await self._heard(self.on_rebalance_return)
            case "complete":
                self.rebalancing = False
                if (begun := self._rebalance) is not None:
                    self._rebalance = None
                    self.sensors.end("on_rebalance_end", begun, lambda state: (self, state))
                await self._heard(self.on_rebalance_end)
                await self.on_rebalance_complete.send()

    async def _heard(self, hook: Callable[[], Any]) -> None:
        """Call a hook of a rebalance, plain or async; what it raises is logged."""
        try:
            if inspect.isawaitable(result := hook()):
                await result
        except Exception:
            logger.exception("%s of app %s failed", hook.__name__, self.id)

    # -- hooks of the start, beside those of mode

    async def on_started_init_extra_tasks(self) -> None:
        """Override to begin more when the app is operational, by ``self.add_future(...)`` for instance; before :meth:`on_started`."""

    async def on_started_init_extra_services(self) -> None:
        """Override to add services when the app is operational, by ``await self.add_runtime_dependency(...)``; behind the hook above."""

    def on_webserver_init(self, web: Web) -> None:
        """Override to define more pages, by ``web.page(path)`` or ``web.blueprints.add(...)``; called at the first start.

        Args:
            web: the pages.
        """

    # -- hooks of a rebalance

    def on_rebalance_start(self) -> Awaitable[None] | None:
        """Override to hear that partitions are given up. It may be async."""

    def on_rebalance_return(self) -> Awaitable[None] | None:
        """Override to hear that partitions are assigned, and their tables not recovered yet. It may be async."""

    def on_rebalance_end(self) -> Awaitable[None] | None:
        """Override to hear that the tables are recovered, and all partitions are worked on. It may be async."""

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

        In this order: ``on_stop``, services, open events and the last commit, what the app depends on, tasks of the class, ``on_shutdown``.

        Raises:
            Exception: why the app could not go on, such as an agent that failed for good: after everything has stopped. A service of mode
                that depends on the app has crashed for that reason already, and nothing is raised.
        """
        if self.running:
            try:
                await run_in(self.loop, self._end, f"app {self.id}")
            except ConfigurationError:
                if not self.loop.is_running():
                    self._wiring = None  # nothing of it runs
                    self._done.set()
                raise
            self._raise_crash()

    async def _give_up_start(self) -> None:
        wiring = self._wiring
        if wiring is None or wiring.started:
            # Else its stop gives the start up, also where one of its services stops the app.
            await super()._give_up_start()

    async def _stop_children(self) -> None:
        try:
            await self._stop_wiring()
        finally:
            client, self._http_client = self._http_client, None
            if client is not None:
                await self._within_patience(client.close, "closing the http_client")
            await super()._stop_children()

    async def _stop_wiring(self) -> None:
        """Stop what runs; an error meanwhile is logged where there is a failure that explains it."""
        wiring = self._wiring
        if wiring is None:
            return
        try:
            await wiring.stop()
        except Exception:
            if wiring.failure is None:
                raise
            logger.exception("app %s failed to stop", self.id)
        finally:
            self.outcome = wiring.outcome
            await self.sensors.stop(wiring.engine.snapshot() if wiring.engine is not None else None)
            if wiring.failure is not None and self._crash_reason is None:
                self._crash(wiring.failure)
            self._wiring = None

    async def _leave(self) -> None:
        try:
            if self._entered:
                await self._within_patience(self.on_before_shutdown.send, "the signal on_before_shutdown")
        finally:
            await super()._leave()

    async def _left(self, hook: Callable[[], Awaitable[None]]) -> None:
        await self._within_patience(lambda: super(App, self)._left(hook), hook.__name__)

    async def _within_patience(self, body: Callable[[], Awaitable[None]], what: str) -> None:
        """Await what a user has written for the stop: the last commit must not wait for it for ever."""
        try:
            async with asyncio.timeout(PATIENCE) as budget:
                await body()
        except TimeoutError:
            if not budget.expired():
                raise
            logger.error("%s of app %s has not returned within %g s; going on without it", what, self.id, PATIENCE)

    async def wait(self, *coros: WaitArgT, timeout: Seconds | None = None) -> WaitResult:
        """Wait until the app is stopped; or for one coroutine or event, as long as the app goes on.

        Args:
            coros: what to wait for, instead of the end of the app.
            timeout: seconds.

        Raises:
            Exception: why the app cannot go on, at once when that is known.
            ConfigurationError: the app is not started.
            TimeoutError: the time is over.
        """
        if coros:
            return await super().wait(*coros, timeout=timeout)
        if not self.running:
            raise ConfigurationError(f"app {self.id} is not started: await app.start() first")
        async with asyncio.timeout(None if timeout is None else want_seconds(timeout)):
            await run_in(self.loop, self._until_the_end, f"app {self.id}")
        return WaitResult(None, True)

    async def _until_the_end(self) -> None:
        starting = self._starting
        if starting is not None:
            await asyncio.wait([starting])
            if not starting.cancelled() and (error := starting.exception()) is not None:
                await self._done.wait()
                raise error
        crash, done = (asyncio.ensure_future(event.wait()) for event in (self._crashed, self._done))
        try:
            await asyncio.wait([crash, done], return_when=asyncio.FIRST_COMPLETED)
        finally:
            crash.cancel()
            done.cancel()
        if self._crash_reason is not None:
            raise self._crash_reason

    @property
    def failure(self) -> BaseException | None:
        """Why the app cannot go on, or could not when it ran last."""
        if self._wiring is not None and self._wiring.failure is not None:
            return self._wiring.failure
        return self._crash_reason

    async def _tell_parents(self, engine: Engine) -> None:
        failure = await asyncio.shield(engine.failure)
        if self._crash_reason is not failure:
            await self.crash(failure)

    def _log_crash(self, reason: BaseException) -> None:
        if self._wiring is None or self._wiring.engine is None:
            super()._log_crash(reason)  # else the engine logs it

    def _crash(self, reason: BaseException) -> None:
        """Go on with nothing: this app has crashed, a service below it that has told it, or the one above."""
        wiring = self._wiring
        if wiring is not None and wiring.engine is not None and wiring.failure is None:
            below = next((one for one in (*wiring.services, *self._children) if one.crash_reason is reason), None)
            if below is None:
                wiring.engine.fail(reason)
            else:
                reason = crash_of(below)
                wiring.engine.background.fail(reason, f"the service {below!r}")
        super()._crash(reason)

    @property
    def configured(self) -> bool:
        """Whether the signals of the configuration were sent."""
        return self._configured

    @property
    def in_transaction(self) -> bool:
        """Whether a worker runs it, and what its events do is committed in transactions."""
        return self.in_worker and self.conf.exactly_once

    @property
    def http_client(self) -> ClientSession:
        """A client for HTTP that agents, tasks and pages share; made at the first use, and closed when the app has stopped.

        Assign another one to use that; the app closes it, too.

        Raises:
            ConfigurationError: the app does not run, or runs in another event loop.
            MissingPackageError: the web server, which brings the client, is not installed.
        """
        if not self.running or not is_here(self.loop):
            raise ConfigurationError(
                f"app.http_client is for what runs in the event loop of app {self.id}, while the app runs: open an "
                "aiohttp.ClientSession elsewhere"
            )
        if self._http_client is None or self._http_client.closed:
            self._http_client = load_web().make_client()
        assert self._http_client is not None
        return self._http_client

    @http_client.setter
    def http_client(self, client: ClientSession) -> None:
        self._http_client = client

    @property
    def engine(self) -> Engine:
        """The engine of the running app.

        Raises:
            ConfigurationError: the app is not started, or several engines run it and this task belongs to none of them.
        """
        return self.engines.find(f"cannot use app {self.id}")

    @property
    def wiring(self) -> Wiring | None:
        """What runs the app; ``None`` while it is stopped.

        :meta private:
        """
        return self._wiring

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
        headers: HeadersArg | None = None,
        schema: Schema | None = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        callback: SendCallback | None = None,
        *,
        force: bool = False,
    ) -> Awaitable[RecordMetadata]:
        """Send to a topic, a channel, or a topic by its name; see :meth:`Topic.send <stream_core.sending.topic.Topic.send>`."""
        target = self._named(channel)
        alone = current_run() is None and bool(self.engines)  # else it is found without help
        with self.engine.run.entered() if alone else nullcontext():
            return await target.send(
                value,
                key=key,
                partition=partition,
                timestamp=timestamp,
                headers=headers,
                schema=schema,
                key_serializer=key_serializer,
                value_serializer=value_serializer,
                callback=callback,
                force=force,
            )

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
            ConfigurationError: the app is not started, runs in another event loop or thread, or there is a stream of that name.
        """
        if isinstance(channel, Topic | Channel | str):
            return self.engine.stream(self._named(channel), name)
        return stream_of(channel, name or "iterable")

    # -- programs

    def worker(self, *services: Any, **options: Any) -> Worker:
        """A worker for this app, and for more apps and services; the arguments are those of :class:`Worker`."""
        if (chosen := self.conf.Worker or self.worker_class) is not None:
            return chosen(self, *services, **options)
        from stream_app.worker import Worker  # noqa: PLC0415 - it takes a while, and programs that embed an app need none

        return Worker(self, *services, **options)

    Worker = worker

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
        if self._wiring is not None or self.engines:
            raise ConfigurationError(
                f"{what} is defined while app {self.id} runs, and would have no effect: define it before"
            )

    def _defined(self, topic: Topic[Any, Any]) -> None:
        for engine in self.engines.all():
            engine.add(topic)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Explain a name that is not here; one of a property that fails is the property's own error."""
            if hasattr(type(self), name):
                return object.__getattribute__(self, name)
            raise AttributeError(explain(self, name, dir(self)), name=name, obj=self)

    def __repr__(self) -> str:
        return f"<App {self.id}: {len(self.agents)} agents, {len(self.tables)} tables>"


def _caller(app: App) -> str:
    """Where an app is made: module and line, outside of the constructors of its class and of subclasses."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_locals.get("self") is app:
        frame = frame.f_back
    return f"{frame.f_globals.get('__name__')}, line {frame.f_lineno}"
