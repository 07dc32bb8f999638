"""Runs: which engine a handle works with, where one process has several.

Users hold definitions (topics, tables, agents, channels, the app), and use them as if there were one engine. Two workers of one app in
one process, as in a test of a rebalance, share these definitions. So each engine has a :class:`Run`, which lasts from its start to its
end; what a definition has in one engine, such as the outbox of a topic, is bound to that run in a :class:`PerRun`.

Whatever an engine starts carries its run in a context variable: bodies of agents, tasks, timers, views, and the tasks that these make.
A thread or task from elsewhere carries none, and finds the only engine that runs. That is also the fast path: with one engine nobody
asks the context variable (:attr:`PerRun.only`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from threading import Lock
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from stream_core.clocks import SYSTEM, Clock
from stream_core.errors import ConfigurationError

__all__ = ["NOT_STARTED", "PerRun", "Run", "current_clock", "current_run", "starting_when_needed"]

T = TypeVar("T")

NOT_STARTED = "the app is not started: start a worker, or await app.start(), or, in a program that only sends and asks, app.start_client()"


_naming: WeakSet[Run] = WeakSet()
"""The runs in which names say something."""

_naming_lock = Lock()


class Run:
    """The time from the start of one engine to its end; what is bound to it then is unbound at the end.

    It is made in the event loop of the engine. Once that loop is closed nothing runs any more, also where nobody has ended the run.

    Args:
        name: of what runs, for messages.
        clock: of the engine, and of all that runs in it.
        topic: gives a topic by its name, for who sends an event to a name; ``None`` where names say nothing.

    Attributes:
        name: the same.
        clock: the same.
        topic: the same.
        ended: whether the engine has ended.
    """

    def __init__(self, name: str = "", clock: Clock = SYSTEM, topic: Callable[[str], Any] | None = None) -> None:
        self.name = name
        self.clock = clock
        self.topic = topic
        self.ended = False
        self._loop = asyncio._get_running_loop()
        if topic is not None:
            with _naming_lock:
                _naming.add(self)
        self._bound: dict[PerRun[Any], None] = {}

    @property
    def abandoned(self) -> bool:
        """Whether its event loop is closed, and nobody has ended it before."""
        return not self.ended and self._loop is not None and self._loop.is_closed()

    def context(self) -> Context:
        """Make a copy of the current context in which handles find this engine; for a task that belongs to it."""
        context = copy_context()
        context.run(_current.set, self)
        return context

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let handles find this engine in a block of code, and in the tasks that it makes."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def end(self) -> None:
        """Unbind everything: handles do not find this engine any more."""
        self.ended = True
        with _naming_lock:
            _naming.discard(self)
        for handle in list(self._bound):
            handle.unbind(self)


class PerRun(Generic[T]):
    """What one definition has in each engine that runs. Engines may begin and end in several threads, and any thread may ask.

    Attributes:
        only: that of the only engine, or what all engines share; ``None`` while there is none, and while there are several. It is right
            for every caller, so that the path of an event needs to look at nothing else.
    """

    __slots__ = ("_lock", "_parts", "only")

    def __init__(self) -> None:
        self._lock = Lock()
        self._parts: dict[Run, T] = {}
        self.only: T | None = None

    def bind(self, run: Run, part: T) -> None:
        """Bind ``part`` to a run, until the run ends. A run that has ended binds nothing: its leftovers must not look like an engine."""
        self._end_abandoned()
        with self._lock:
            if not run.ended:
                self._parts[run] = part
                run._bound[self] = None
                self._settle()

    def unbind(self, run: Run) -> None:
        """Remove what is bound to a run."""
        with self._lock:
            self._parts.pop(run, None)
            run._bound.pop(self, None)
            self._settle()

    def _end_abandoned(self) -> None:
        """End the runs whose event loop is closed: else they would be taken for engines beside those that work."""
        for run in list(self._parts):
            if run.abandoned:
                run.end()

    def _settle(self) -> None:
        parts = {id(part): part for part in self._parts.values()}
        self.only = next(iter(parts.values())) if len(parts) == 1 else None

    def __bool__(self) -> bool:
        """Tell whether any engine runs the definition."""
        return bool(self._parts)

    def of(self, run: Run | None) -> T | None:
        """Return what is bound to ``run``."""
        return None if run is None else self._parts.get(run)

    def items(self) -> list[tuple[Run, T]]:
        """Return each run with what is bound to it."""
        return list(self._parts.items())

    def all(self) -> list[T]:
        """Return what is bound, of all runs."""
        return list(self._parts.values())

    def find(self, what: str) -> T:
        """Find what is bound to the run of this task, else to the only run.

        Args:
            what: what cannot be done without, for the message: ``cannot send to topic a``.

        Raises:
            ConfigurationError: no engine runs, or several do and this task or thread belongs to none of them.
        """
        part = self._parts.get(run) if (run := _current.get()) is not None else None
        part = self.only if part is None else part
        if part is not None:
            return part
        self._end_abandoned()
        if self.only is not None:
            return self.only
        if not self._parts:
            raise ConfigurationError(f"{what}: {NOT_STARTED}")
        runs = list(self._parts)
        names = ", ".join(sorted(run.name or "one without a name" for run in runs))
        hint = "; or send by the app.send() of one of them" if len({run.name for run in runs}) > 1 else ""
        raise ConfigurationError(
            f"{what}: {len(runs)} engines of this process have it ({names}), and this task or thread belongs to none of them: do it "
            f"in an agent, a task or a timer, or in a task that one of these has made{hint}"
        )

    async def reach(self, what: str) -> T:
        """Give what :meth:`find` gives; where nothing runs yet, start it first if this task may (:func:`starting_when_needed`).

        Raises:
            ConfigurationError: as :meth:`find`.
            StreamError: it could not be started.
        """
        if not self._parts and (start := _starting.get()) is not None:
            await start()
        return self.find(what)


_current: ContextVar[Run | None] = ContextVar("stream_run", default=None)

_starting: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar("stream_starting", default=None)


@contextmanager
def starting_when_needed(start: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Let the first send or question in a block of code start what it needs, such as the client of an app.

    A command of a program that only prints something needs no broker, and one that sends does not have to say so beforehand.

    Args:
        start: starts it; called again where it did not help.
    """
    token = _starting.set(start)
    try:
        yield
    finally:
        _starting.reset(token)


def current_run() -> Run | None:
    """Return the run that this task belongs to, if it belongs to one."""
    return _current.get()


def topic_named(name: str) -> Any:
    """Return the topic of a name in the run that this task belongs to, else in the only one in which names say something; or ``None``."""
    run = _current.get()
    if run is None:
        with _naming_lock:
            runs = [one for one in _naming if not one.abandoned]
        run = runs[0] if len(runs) == 1 else None
    return None if run is None or run.topic is None else run.topic(name)


def current_clock() -> Clock:
    """Return the clock of the run that this task belongs to; outside of runs the clock of the system."""
    run = _current.get()
    return SYSTEM if run is None else run.clock
