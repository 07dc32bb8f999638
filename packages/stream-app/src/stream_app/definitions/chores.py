"""What an app runs beside its agents: tasks, timers, calendars, services."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta, tzinfo
from functools import partial
from typing import Any, TypeVar, overload

from stream_app.definitions.checked import checked
from stream_app.definitions.watching import Watching
from stream_app.running.services import check_service
from stream_app.settings import Settings
from stream_core.agents import chores
from stream_core.agents.chores import Chore
from stream_core.functions import function_of, name_of

__all__ = ["ChoreDefinitions"]

F = TypeVar("F", bound=Callable[..., Any])
S = TypeVar("S")


class ChoreDefinitions(Watching):
    """Defines tasks, timers, calendars and services."""

    @overload
    def task(self, body: F) -> F: ...
    @overload
    def task(self, body: None = None, *, on_leader: bool = False, traced: bool = True) -> Callable[[F], F]: ...
    @checked
    def task(self, body: Any = None, *, on_leader: bool = False, traced: bool = True) -> Any:
        """Define a task, ``@app.task`` or ``@app.task()``: it starts once the app is operational.

        Args:
            body: an async function, of nothing or of the app. What it raises ends the worker.
            on_leader: run it on one worker only: the leader. It is cancelled when another worker becomes it.
            traced: make it a span, where the app has a :attr:`~stream_app.App.tracer`.
        """

        def define(function: Any) -> Any:
            self._add(chores.task(self._with_app(function, traced), on_leader=on_leader))
            return function

        return define if body is None else define(body)

    @checked
    def timer(
        self,
        interval: float | timedelta,
        on_leader: bool = False,
        traced: bool = True,
        name: str | None = None,
        max_drift_correction: float | None = None,
    ) -> Callable[[F], F]:
        """Define a timer: it runs at a steady interval, first one interval after the app is operational.

        Args:
            interval: seconds, or a timedelta.
            on_leader: tick on one worker only: the leader.
            traced: make each tick a span, where the app has a :attr:`~stream_app.App.tracer`.
            name: for messages, in place of that of the function.
            max_drift_correction: how many seconds sooner than ``interval`` after the tick before one tick may come to make up for one
                that was late; as many as needed when left out, so that the timer keeps to its beat. Faust's default is 0.1.
        """

        def define(function: Any) -> Any:
            body = self._with_app(function, traced)
            self._add(
                chores.timer(body, interval, on_leader=on_leader, name=name, max_drift_correction=max_drift_correction)
            )
            return function

        return define

    @checked
    def crontab(
        self,
        spec: str,
        *,
        timezone: tzinfo | str | None = None,
        on_leader: bool = False,
        traced: bool = True,
    ) -> Callable[[F], F]:
        """Define a timer by a cron expression.

        Args:
            spec: minute, hour, day of month, month, day of week, such as ``"30 18 * * mon-fri"``.
            timezone: of the expression, such as ``"Europe/Berlin"``; the setting ``timezone`` when left out.
            on_leader: run on one worker only: the leader.
            traced: make each run a span, where the app has a :attr:`~stream_app.App.tracer`.

        Raises:
            ConfigurationError: the expression cannot be read, there is no such time zone, or the function is not async.
        """

        def define(function: Any) -> Any:
            where = (
                self.conf.settle("timezone", f"crontab {name_of(function)}")
                if timezone is None
                else Settings.timezone.convert(timezone, "crontab(): timezone")
            )
            self._add(chores.crontab(self._with_app(function, traced), spec, zone=where, on_leader=on_leader))
            return function

        return define

    def service(self, service: S) -> S:
        """Start a service with the app, when it is operational, and stop it with the app; also a decorator of its class.

        Args:
            service: an object with ``async start()`` and ``async stop()`` such as a ``mode.Service``, or a class that makes one
                without arguments. One that crashes ends the worker.

        Raises:
            ConfigurationError: it is not a service, or the app runs.
        """
        check_service(service)
        with self._defining:
            self._require_stopped(f"the service {service!r}")
            self._services.append(service)
        return service

    def _add(self, chore: Chore) -> None:
        with self._defining:
            self._require_stopped(chore.name)
            self._chores.append(chore)

    def _with_app(self, body: Any, traced: bool) -> Any:
        """Call a body that takes the app with it, any other as it is. A traced one is a span where the app has a tracer."""
        function = function_of(body)
        if not inspect.iscoroutinefunction(function):
            return body  # which is refused
        called = body.__func__ if isinstance(body, staticmethod) else body
        if _takes_one(function):
            called = partial(called, self)
        if not traced:
            return called

        name = name_of(body)

        async def run() -> None:
            with self.trace(name):
                await called()

        run.__name__ = run.__qualname__ = name  # messages name the function of the program
        return run


def _takes_one(function: Any) -> bool:
    """Tell whether a function has a parameter, by position, that nothing is given for yet."""
    parameters = inspect.signature(function).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return any(one.kind in positional and one.default is one.empty for one in parameters)
