"""The service that an app and a worker are: mode's, with what it leaves open closed.

All that mode promises holds: hooks, dependencies, tasks, contexts, the tree of beacons, supervisors. What differs is listed at
:class:`Service`, and in decision 36.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from datetime import tzinfo
from functools import wraps
from types import TracebackType
from typing import Any, ClassVar, Self

from mode import services
from mode.utils.locks import Event
from mode.utils.times import Seconds, want_seconds

from stream_app.running.restarts import Restarts, Start, enter_start, starts_around
from stream_core.agents import chores
from stream_core.errors import ConfigurationError, WorkerError

__all__ = ["Service", "abandon", "call_hook", "make_ready"]

logger = logging.getLogger(__name__)

GIVE_UP = 5.0
"""Seconds for a start, or for tasks, to end that were cancelled."""

_ending: ContextVar[tuple[Service, ...]] = ContextVar("services that are being stopped here", default=())


class Service(services.Service):
    """A service of mode that finishes what it has begun, and tells why it could not.

    Beside what mode says:

    - ``stop`` lets the tasks of the service finish for ``drain_timeout`` seconds before they are cancelled, makes each of its steps
      whatever the others raise, and returns when all is done, also for whoever calls it a second time. A hook of the stop
      that calls it, also one of a service below, goes on at once.
    - A crash is raised by ``stop``, by ``wait()``, and at the end of ``async with``, unless a service above has crashed for it.
    - A start that fails, is cancelled, or is overtaken by ``stop`` leaves nothing behind, also where a hook of it has restarted the
      service; ``on_stop`` is called where ``on_start`` was.
    - A stopped service can be started again, in another event loop too. None is looked for before the start. What was added by
      ``add_runtime_dependency`` while it ran does not start again with it, unless ``on_first_start`` has added it.
    - ``wait`` and its like raise TimeoutError when their time is over, and ``wait_for_stopped`` returns False.
    - ``sleep`` ends when the service crashes. A task that is cancelled while the service runs is logged.
    - ``crontab`` knows when clocks are changed.
    """

    abstract: ClassVar[bool] = True

    drain_timeout: float = 1.0
    """Seconds for tasks to finish by themselves when the service stops."""

    def __init__(self, *, beacon: Any = None, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._over = Event()  # stopped or crashed
        self._done = Event()  # stopped, and nothing of it runs
        self._dependencies_known = False
        self._first_start_over = False
        self._entered = False  # on_start has returned: on_stop will be called
        self._above: Any = None
        self._of_this_run: list[Any] = []  # dependencies that were added since the start
        self._starting: Start | None = None
        self._asked_in: tuple[Start, ...] = ()  # the starts whose hooks have asked for that one
        self._restarts = Restarts()
        self._callers: set[asyncio.Task[Any]] = set()  # who awaits a stop that runs in another task
        super().__init__(beacon=beacon, loop=loop)

    # -- start

    @property
    def running(self) -> bool:
        """Whether it was started, and is not wholly stopped."""
        return self._started.is_set() and not self._done.is_set()

    async def start(self) -> None:
        """Start the service and what it depends on.

        Raises:
            ConfigurationError: it runs already.
            BaseException: what a hook or a dependency raises, when all that was started has stopped.
        """
        if self.running:
            raise ConfigurationError(f"{self!r} runs already: stop it first")
        if self._done.is_set() or self._crashed.is_set():  # or something above has crashed meanwhile
            self.service_reset()
        self._bind(asyncio.get_running_loop())
        self._started.set()
        self._above = self._running_above()
        restart, self._asked_in = self._restarts.last, starts_around()
        self._starting = starting = asyncio.create_task(self._begin(), name=f"start of {self.label}")
        try:
            await starting
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._stopped.is_set() or (task is not None and task.cancelling()):
                await self._end_behind_failure(starting)
                raise
        except BaseException:
            await self._end_behind_failure(starting)
            raise
        if self._starting is starting and self.running and not self._stopped.is_set():
            return
        if self._stopped.is_set():
            await self._wait_for_end()
        await self._restarts.over(but=restart)
        if self._starting is starting or not self.running or not self._starting.done():
            self._overtaken()

    def _running_above(self) -> Any:
        """Return the service that depends on this one and runs, if there is one: it is told of a crash."""
        parent = self.beacon.parent
        above: Any = parent.data if parent is not None else None
        return above if above is not None and above.started and not above.should_stop else None

    def _bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Belong to the event loop of this start: the one before may be closed."""
        _bind(self, loop)
        for event in (self._over, self._done):
            event._loop = loop
        self._restarts.bind(loop)

    async def _begin(self) -> None:
        if self._starting is not None:
            enter_start(self._starting)
        if not self._dependencies_known:
            for service in self.on_init_dependencies():
                self.add_dependency(service)
            self._dependencies_known = True
        if not self._first_start_over:
            await call_hook(self.on_first_start)
            self._first_start_over = True
            self._of_this_run.clear()  # no later start calls that hook to add them again
        if not self._goes_on():
            return
        self._log_mundane("Starting...")
        await call_hook(self.on_start)
        if not self._is_this_start():
            return
        self._entered = True
        if not self._goes_on():
            return
        await self._open()
        if self._is_this_start() and not self.should_stop:
            await call_hook(self.on_started)

    def _is_this_start(self) -> bool:
        """Tell whether the start in this task is that of what runs: a hook of it may have called ``restart``, which starts all."""
        return self._starting in (None, asyncio.current_task())  # None: a worker, whose start is no task of its own

    def _goes_on(self) -> bool:
        """Tell whether the start goes on: not when it was stopped meanwhile, or took place anew; a crash is raised."""
        if not self._is_this_start():
            return False
        if self._crash_reason is not None:
            raise self._crash_reason
        return not self._stopped.is_set()

    async def _open(self) -> None:
        """Start the tasks, and what the service depends on."""
        self._start_tasks()
        await self._start_children()

    async def _end_behind_failure(self, starting: Start) -> None:
        """Stop what a start has begun that failed, or was cancelled; an error meanwhile does not take the place of that."""
        self._restarts.give_up_with(starting)
        if self._starting is not starting and starting not in self._asked_in:
            return  # it was stopped, and what runs is of a start behind that, which no hook of this one has asked for
        try:
            await self._end()
        except Exception:
            logger.exception("%r failed to stop after its start", self)

    def _get_tasks(self) -> Iterable[services.ServiceTask]:
        """Return the tasks of the class in their order; mode keeps them by the name of the class, which another one may have, too."""
        names = dict.fromkeys(name for base in reversed(type(self).__mro__) for name in vars(base))
        found = (getattr(type(self), name, None) for name in names)
        return [one for one in found if isinstance(one, services.ServiceTask)]

    def _start_tasks(self) -> None:
        for task in self._get_tasks():
            self.add_future(task.fun(self))

    async def _start_children(self) -> None:
        for child in self._children:
            if child is not None:
                make_ready(child)
                await child.maybe_start()
            if not self._goes_on():
                break

    def _overtaken(self) -> None:
        """Say that ``stop`` came before the start was over; mode says nothing."""

    async def maybe_start(self) -> bool:
        """Start, unless it runs; returns whether that was done."""
        if self.running:
            return False
        await self.start()
        return True

    def add_dependency(self, service: Any) -> Any:
        """Start and stop another service of mode with this one.

        Raises:
            ConfigurationError: it is none.
        """
        if not hasattr(service, "beacon"):
            raise ConfigurationError(
                f"{self.label}: {service!r} is not a service of mode, so that nothing can depend on it: derive its class from mode.Service"
            )
        return super().add_dependency(service)

    async def add_runtime_dependency(self, service: Any) -> Any:
        """Start another service of mode, and stop it with this one; before the start it does what :meth:`add_dependency` does.

        It is forgotten at the next start, where the hook that has added it is called again.

        Raises:
            ConfigurationError: it is none.
            BaseException: what its hooks raise.
        """
        self.add_dependency(service)
        if self.running:
            self._of_this_run.append(service)
            make_ready(service)
            await service.maybe_start()
        return service

    # -- stop

    async def stop(self) -> None:
        """Stop the service and what it depends on; returns when that is done.

        Raises:
            BaseException: why the service crashed, unless a service above has crashed for it; or what a hook raised.
        """
        self._let_stop()
        if self.running:
            await self._end()
            self._raise_crash()

    def _let_stop(self) -> None:
        """Let no restart that is under way start the service again, unless it is a part of the stop that asks."""
        if not self._is_ending_here():
            self._restarts.wanted = False

    def _raise_crash(self) -> None:
        reason = self._crash_reason
        if reason is None or self.supervisor is not None:
            return
        if self._above is None or self._above.crash_reason is not reason:
            raise reason

    async def _end(self) -> None:
        """Stop, or wait for the stop that runs."""
        if not self.running:
            return
        if self._stopped.is_set():
            await self._wait_for_end()
            return
        self._stopped_set()
        try:
            with self._ending():
                async with AsyncExitStack() as steps:  # from the last to the first
                    self._push_steps(steps)
        finally:
            self._shutdown.set()
            self._done.set()

    async def _wait_for_end(self) -> None:
        """Wait for the stop that runs, unless it is a part of that stop that asks: it would wait for itself."""
        if not self._is_ending_here():
            await self._done.wait()

    def _is_ending_here(self) -> bool:
        """Tell whether this code is a part of the stop of the service, such as a hook of it."""
        return self in _ending.get()

    @contextmanager
    def _ending(self) -> Iterator[None]:
        """Know what is called in here, and the tasks that it makes, as parts of the stop."""
        token = _ending.set((*_ending.get(), self))
        try:
            yield
        finally:
            _ending.reset(token)

    def _stopping_tasks(self) -> set[asyncio.Task[Any] | None]:
        """Give the tasks that have called the stops of which this is a part: they end after the stop, so none of it waits for them."""
        return {asyncio.current_task(), *(task for service in _ending.get() for task in service._callers)}

    def _push_steps(self, steps: AsyncExitStack) -> None:
        """Say what a stop does, from the last step to the first: each is made whatever the ones before it raise."""
        steps.push_async_callback(self._left, self.on_shutdown)
        steps.push_async_callback(self._stop_exit_stacks)
        steps.push_async_callback(self._stop_futures)
        if self.wait_for_shutdown:
            steps.push_async_callback(self._wait_for_shutdown)
        steps.push_async_callback(self._stop_children)
        steps.push_async_callback(self._leave)
        steps.push_async_callback(self._give_up_start)

    async def _give_up_start(self) -> None:
        starting = self._starting
        if starting is None or starting.done() or starting in self._stopping_tasks():
            return
        starting.cancel()  # else it would go on with what is closed
        await asyncio.wait([starting], timeout=GIVE_UP)

    async def _leave(self) -> None:
        self._log_mundane("Stopping...")
        await self._left(self.on_stop)

    async def _left(self, hook: Callable[[], Awaitable[None]]) -> None:
        """Call a hook of the stop, where ``on_start`` was called."""
        if self._entered:
            await call_hook(hook)

    async def _wait_for_shutdown(self) -> None:
        async with asyncio.timeout(self.shutdown_timeout):
            await self._shutdown.wait()

    async def _stop_futures(self) -> None:
        """Let the tasks finish, then cancel them; the one that stops the service goes on."""
        waiting = self._futures - self._stopping_tasks()
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=self.drain_timeout)
        for future in waiting:
            future.cancel()
        if waiting:
            _, waiting = await asyncio.wait(waiting, timeout=GIVE_UP)
        for future in waiting:
            logger.error("%r: the task %s does not end when it is cancelled; going on without it", self, future)
        self._futures.clear()

    def _stopped_set(self) -> None:
        self._stopped.set()
        self._over.set()

    async def restart(self) -> None:
        """Stop, and start again in the same way.

        Whoever waits for a start that this overtakes waits for the new one. Of several restarts at once the last one starts the service,
        and the others wait for it. A :meth:`stop` meanwhile has the last word.
        """
        self._restarts.ask()
        await self._restart()

    async def _restart(self) -> None:
        restarts = self._restarts
        with restarts.under_way() as this:
            await self._end()
            if await restarts.is_done_by_another(this, lambda: self.running):
                return
            self.service_reset()
            await self.on_restart()
            if restarts.wanted and not await restarts.is_done_by_another(this, lambda: self.running):
                await self._start_again()

    async def _start_again(self) -> None:
        await self.start()

    def service_reset(self) -> None:
        """Be ready to start again. One that runs is left alone."""
        if self.running:
            return
        self._over.clear()
        self._done.clear()
        self._entered = False
        for service in self._of_this_run:
            if service in self._children:  # else somebody has removed it
                self._children.remove(service)
                service.beacon.detach(self.beacon)
        self._of_this_run.clear()
        super().service_reset()

    async def __aenter__(self) -> Self:
        """Start, for ``async with service:``."""
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Stop; raises why the service crashed, unless the block itself raises."""
        try:
            await self.stop()
        except Exception:
            if exc_val is None:
                raise

    # -- crash

    async def crash(self, reason: BaseException) -> None:
        """Say that the service cannot go on, to those above it, or to its supervisor."""
        if self._crashed.is_set():
            logger.warning("after that %r crashed once more: %r", self, reason)
            return
        self._log_crash(reason)
        if self.supervisor is not None:
            self._crash(reason)
            self.supervisor.wakeup()
            return
        for node in self.beacon.walk():
            node.data._crash(reason)

    def _log_crash(self, reason: BaseException) -> None:
        logger.error("%r crashed: %s: %s", self, type(reason).__name__, reason, exc_info=reason)

    def _crash(self, reason: BaseException) -> None:
        if not self._crashed.is_set():
            super()._crash(reason)
            self._over.set()

    async def _execute_task(self, task: Awaitable[Any]) -> None:
        try:
            await task
        except asyncio.CancelledError:
            if not self.should_stop:
                logger.warning("%r: the task %s was cancelled, and does not run any more", self, _name_of(task))
            raise
        except GeneratorExit:  # its event loop was closed while it ran, and now it is thrown away
            raise
        except BaseException as error:
            await self.crash(error)

    # -- waiting

    async def sleep(self, n: Seconds) -> None:
        """Sleep for ``n`` seconds, or until the service is stopped or crashes."""
        with suppress(TimeoutError):
            await self._wait_stopped(timeout=n)

    async def _wait_stopped(self, timeout: Seconds | None = None) -> None:
        async with asyncio.timeout(None if timeout is None else want_seconds(timeout)):
            await self._over.wait()

    async def wait_until_stopped(self) -> None:
        """Wait until the service is told to stop, or crashes."""
        await self._wait_stopped()

    async def wait(self, *coros: services.WaitArgT, timeout: Seconds | None = None) -> services.WaitResult:
        """Wait for one coroutine or event, or until the service is stopped or crashes.

        Args:
            coros: what to wait for; without it the end of the service, and a crash is raised.
            timeout: seconds.

        Raises:
            TimeoutError: the time is over.
        """
        if coros:
            results = await self.wait_first(*coros, timeout=timeout)
            return services.WaitResult(None if results.stopped else results.results[0], results.stopped)
        await self._wait_stopped(timeout=timeout)
        if self._crash_reason is not None:
            raise self._crash_reason
        return services.WaitResult(None, True)

    async def wait_for_stopped(self, *coros: services.WaitArgT, timeout: Seconds | None = None) -> bool:
        """Wait likewise; returns whether the service was stopped or has crashed."""
        try:
            if coros:
                return (await self.wait(*coros, timeout=timeout)).stopped
            await self._wait_stopped(timeout=timeout)
        except TimeoutError:
            return False
        return True

    async def wait_first(self, *coros: services.WaitArgT, timeout: Seconds | None = None) -> services.WaitResults:
        """Wait for the first of several, or until the service is stopped or crashes. Raises TimeoutError."""
        async with asyncio.timeout(None if timeout is None else want_seconds(timeout)):
            return await super().wait_first(*coros)

    async def wait_many(
        self, coros: Iterable[services.WaitArgT], *, timeout: Seconds | None = None
    ) -> services.WaitResult:
        """Wait for all, or until the service is stopped or crashes. Raises TimeoutError."""
        futures = [asyncio.ensure_future(one.wait() if isinstance(one, Event) else one) for one in coros]
        try:
            return await self.wait(asyncio.wait(futures), timeout=timeout)
        finally:
            for future in futures:
                future.cancel()

    # -- calendars

    @classmethod
    def crontab(
        cls, cron_format: str, *, timezone: tzinfo | None = None
    ) -> Callable[[Callable[..., Any]], services.ServiceTask]:
        """Define a task that runs at the moments of a cron expression, by the calendars of ``app.crontab``.

        Args:
            cron_format: minute, hour, day of month, month, day of week.
            timezone: of the expression; UTC when left out.

        Raises:
            ConfigurationError: the expression cannot be read, or the function is not async.
        """

        def decorate(fun: Callable[..., Any]) -> services.ServiceTask:
            ticks = chores.crontab(fun, cron_format, zone=timezone).ticks
            assert ticks is not None

            @wraps(fun)
            async def run(self: Service) -> None:
                moments: AsyncIterator[None] = ticks()
                while not (await self.wait(anext(moments))).stopped:
                    await fun(self)

            return cls.task(run)

        return decorate


def abandon(service: Any) -> None:
    """Let a service of mode be started again whose event loop is closed, and what depends on it likewise.

    It was not stopped, and cannot be: its tasks are gone, and none of its hooks is called. One in another loop is left alone.

    Args:
        service: the service.
    """
    for child in service._children:
        if child is not None:
            abandon(child)
    if service._loop is None or not service._loop.is_closed():
        return
    service._futures.clear()
    if not isinstance(service, Service):
        service.service_reset()
    elif service.running:
        # Others in their place: who waits for the old ones cannot be told in a loop that is closed.
        service._started, service._stopped, service._shutdown, service._crashed = (Event() for _ in range(4))
        service._over, service._done = Event(), Event()
        for event in service._started, service._stopped, service._done:
            event.set()


def make_ready(service: Any) -> None:
    """Let a service of mode start, also where it has stopped, or has run in another event loop that is closed now.

    Mode leaves the first to ``restart()``, and keeps the loop of the first start. A service that runs is left alone, and so are those of
    ours, which do it by themselves, and whatever is no service of mode.

    Args:
        service: whatever is about to start in the event loop that runs here.

    Raises:
        ConfigurationError: it is a ``ServiceThread`` that has stopped: mode has closed the event loop of its thread for good.
    """
    if isinstance(service, Service) or not isinstance(service, services.Service):
        return
    own_loop: asyncio.AbstractEventLoop | None = getattr(service, "thread_loop", None)
    if own_loop is not None:
        if own_loop.is_closed():
            raise ConfigurationError(
                f"{service!r} has stopped, and a ServiceThread starts only once: give its class to app.service(), so that each start "
                "makes one"
            )
        return
    if service.started:
        if not service.should_stop and not service.loop.is_closed():
            return
        service.service_reset()
    _bind(service, asyncio.get_running_loop())
    for child in service._children:
        make_ready(child)


def _bind(service: services.Service, loop: asyncio.AbstractEventLoop) -> None:
    service._loop = loop
    for event in (service._started, service._stopped, service._shutdown, service._crashed):
        event._loop = loop


async def call_hook(hook: Callable[[], Any]) -> None:
    """Call a hook of a user.

    Raises:
        ConfigurationError: it is not async.
        WorkerError: what it awaited was cancelled, and not the task that calls it: that would say nothing, or be taken for a stop.
    """
    result = hook()
    name = getattr(hook, "__qualname__", repr(hook))
    if not inspect.isawaitable(result):
        raise ConfigurationError(f"the hook {name} is not async: write `async def {hook.__name__}(self)`")
    try:
        await result
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise WorkerError(f"what the hook {name} awaited was cancelled") from error


def _name_of(task: Any) -> str:
    return getattr(task, "__qualname__", None) or repr(task)
