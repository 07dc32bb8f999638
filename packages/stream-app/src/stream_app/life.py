"""The life of an app: it starts, hears of rebalances, stops, crashes. :mod:`stream_app.running.wiring` builds what runs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from mode.services import WaitArgT, WaitResult
from mode.utils.times import Seconds, want_seconds

from stream_app.definitions.configuration import Configuration
from stream_app.definitions.pages import PageDefinitions
from stream_app.definitions.signals import Signal, SyncSignal
from stream_app.definitions.watching import Watching
from stream_app.running.service import Service, abandon
from stream_app.running.services import PATIENCE, crash_of, within_patience
from stream_app.running.web_server import load_web
from stream_app.running.wiring import Wiring
from stream_app.settings.parameters import masked
from stream_core.calls import is_here, run_in
from stream_core.clocks import SYSTEM, Clock
from stream_core.engine.engine import Engine
from stream_core.errors import BrokerUnavailableError, ConfigurationError, WorkerError
from stream_core.primitives import TP
from stream_core.sending.topic import Topic
from stream_core.sensors import Begun

__all__ = ["Life"]

if TYPE_CHECKING:
    from stream_core.sending.topic import AnyTopic
    from stream_web import Web
    from stream_web.clients import ClientSession

logger = logging.getLogger(__name__)


class Life(PageDefinitions, Configuration, Watching, Service):
    """An app as a service: what it is between its start and its stop.

    Args:
        beacon: of mode: where it hangs in the tree of services.
        loop: the event loop; that of the start when left out.
    """

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

    mundane_level = "debug"  # of mode's messages; the worker says when an app is ready, and when it has stopped

    def __init__(self, *, beacon: Any = None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._wiring: Wiring | None = None
        self._apart_tasks = set[asyncio.Task[None]]()
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
        Service.__init__(self, beacon=beacon, loop=loop)

    if TYPE_CHECKING:

        def topic_named(self, name: str) -> AnyTopic:
            """Give a topic by its name; what describes topics is another part of an app."""

    # -- start

    def worker_init(self) -> None:
        """Send ``on_worker_init``; a worker does it before it starts the app."""
        self.in_worker = True
        self.on_worker_init.send()

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
        if self._stopped.is_set() and is_here(self.loop):
            await self._wait_for_end()  # of a stop that nobody awaits any more
        if self.running:
            raise ConfigurationError(f"app {self.id} runs already")
        self._fail_fast, self._start_timeout, self.client_only = fail_fast, timeout, client_only
        await super().start()

    async def restart(self) -> None:
        """Stop, and start again in the same way: as a client where it is one.

        While the app runs, it may be called from any thread, by a hook of its start, and by what the app runs: a task or an agent is
        cancelled by the stop, and the app starts again all the same, unless somebody else calls :meth:`stop` meanwhile; a start that fails
        then is a crash. A task of the class that calls it is not cancelled, and is begun once more with the app: it is to return.
        ``on_start`` of a plain service of mode below the app is no place for it: that start would go on beside the next one.
        """
        self._restarts.ask()
        if self.running:
            what = f"restart of app {self.id}"
            await run_in(self.loop, lambda: self._apart(self._restart, what, self._crash_above), f"app {self.id}")
        else:
            await self._restart()

    async def _start_again(self) -> None:
        try:
            await self._start(fail_fast=self._fail_fast, timeout=self._start_timeout, client_only=self.client_only)
        except WorkerError:
            if self._restarts.wanted:  # else the start was overtaken by a stop, which has the last word
                raise

    async def _open(self) -> None:
        """Start what the app depends on, then the engine with all that is defined, then tasks of the class."""
        await self._start_children()
        if not self._goes_on():
            return
        if not self._web_told and not self.client_only and type(self).on_webserver_init is not Life.on_webserver_init:
            with self.web.all_or_none():  # when it raises, the next start calls it again
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
        try:
            await self._start_in_time(wiring)
        except WorkerError:
            if self._goes_on():
                raise
            return  # stopped, as by a restart: what follows from that is said where the start is awaited
        if wiring.engine is not None:
            wiring.engine.background.spawn(self._tell_parents(wiring.engine), "tell the services above")
        if not self.client_only:
            self._start_tasks()
            for hook in (self.on_started_init_extra_tasks, self.on_started_init_extra_services):
                if self._is_this_start() and not self.should_stop:
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
        """Override to add services when the app is operational, by ``await self.add_runtime_dependency(...)``; after the hook above."""

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

        A stop that has begun goes on to its end, also where what awaits it is cancelled.

        In this order: ``on_stop``, services, open events and the last commit, what the app depends on, tasks of the class, ``on_shutdown``.

        Raises:
            Exception: why the app could not go on, such as an agent that failed for good: after everything has stopped. A service of mode
                that depends on the app has crashed for that reason already, and nothing is raised.
        """
        self._let_stop()
        if self.running:
            try:
                await run_in(self.loop, self._end, f"app {self.id}")
            except ConfigurationError:
                if self.loop.is_closed():  # one that stands still may go on, and stop it then
                    await self._abandon()
                raise
            self._raise_crash()

    async def _abandon(self) -> None:
        """Close what outlives the event loop, which is closed, so that the app can be started again. Nothing of it runs any more."""
        wiring, self._wiring, self._http_client = self._wiring, None, None
        self._forget_rebalance()
        services = [one for one in self.sensors if isinstance(one, Service)]
        if wiring is not None:
            services += wiring.services
            try:
                await wiring.abandon()
            except Exception:
                logger.exception("app %s: what outlived its event loop could not be closed", self.id)
        for one in (*services, self):
            abandon(one)

    async def _end(self) -> None:
        await self._apart(super()._end, f"stop of app {self.id}")

    async def _apart(
        self,
        body: Callable[[], Coroutine[Any, Any, None]],
        what: str,
        on_failure: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        """Await something in a task of its own: who awaits it may be cancelled, also by what it does, and it goes on.

        Args:
            body: does it.
            what: names it in the log, which has its failure where nobody awaits it any more.
            on_failure: told of that failure then.
        """
        task, own = asyncio.create_task(body(), name=what), asyncio.current_task()
        assert own is not None
        self._apart_tasks.add(task)  # the event loop alone would not keep it
        task.add_done_callback(self._apart_tasks.discard)
        self._callers.add(own)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(_log_unheard, on_failure))
            raise
        finally:
            self._callers.discard(own)

    async def _give_up_start(self) -> None:
        wiring = self._wiring
        if wiring is None or wiring.started:
            # Else its stop gives the start up, also where one of its services stops the app.
            await super()._give_up_start()

    async def _stop_children(self) -> None:
        try:
            await self._stop_wiring()
        finally:
            await super()._stop_children()

    def _push_steps(self, steps: contextlib.AsyncExitStack) -> None:
        if (wiring := self._wiring) is not None:
            steps.callback(
                self._end_streams, wiring
            )  # the last step: tasks of the app that read some were cancelled before
        steps.push_async_callback(self._close_http_client)  # tasks of the class and on_shutdown may use it
        super()._push_steps(steps)

    def _end_streams(self, wiring: Wiring) -> None:
        """Let tasks of the program that read streams hear of the end; a service above that stops, too, cancels its own."""
        above = self.beacon.parent
        while above is not None:
            if above.data is not None and above.data.should_stop:
                return
            above = above.parent
        if wiring.engine is not None:
            wiring.engine.topology.end_streams()

    async def _close_http_client(self) -> None:
        while (client := self._http_client) is not None:  # once more where somebody asks for one meanwhile
            self._http_client = None
            await self._within_patience(client.close, "closing the http_client")

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
            self._forget_rebalance()

    def _forget_rebalance(self) -> None:
        """Take a rebalance that the end of the app came before for over: sensors hear of no end, as it had none."""
        self.rebalancing, self._rebalance = False, None

    async def _leave(self) -> None:
        try:
            if self._entered:
                await self._within_patience(self.on_before_shutdown.send, "the signal on_before_shutdown")
        finally:
            await super()._leave()

    async def _left(self, hook: Callable[[], Awaitable[None]]) -> None:
        await self._within_patience(lambda: super(Life, self)._left(hook), hook.__name__)

    async def _within_patience(self, body: Callable[[], Awaitable[None]], what: str) -> None:
        """Await what a user has written for the stop: the last commit must not wait for it for ever."""
        if not await within_patience(body()):
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

    def _crash_above(self, reason: BaseException) -> None:
        """Tell the services above, such as the worker, that the app does not run: nobody else has heard why."""
        for node in self.beacon.walk():
            node.data._crash(reason)

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

    # -- while it runs

    @property
    def in_transaction(self) -> bool:
        """Whether a worker runs it, and what its events do is committed in transactions."""
        return self.in_worker and self.conf.exactly_once

    @property
    def http_client(self) -> ClientSession:
        """A client for HTTP that agents, tasks and pages share; made at the first use, closed behind ``on_shutdown``.

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
        """Tell whether this worker is the leader now.

        Raises:
            ConfigurationError: the app is not started, or nothing is defined ``on_leader``, so that there is none.
        """
        return self.engine.leadership.is_leader()

    def _require_stopped(self, what: str) -> None:
        if self._wiring is not None or self.engines:
            raise ConfigurationError(
                f"{what} is defined while app {self.id} runs, and would have no effect: define it before"
            )

    def _defined(self, topic: Topic[Any, Any]) -> None:
        for engine in self.engines.all():
            engine.add(topic)


def _log_unheard(on_failure: Callable[[BaseException], None], task: asyncio.Task[None]) -> None:
    """Log why a stop or restart has failed that nobody awaits any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error("%s failed: %s: %s", task.get_name(), type(error).__name__, error, exc_info=error)
        on_failure(error)
