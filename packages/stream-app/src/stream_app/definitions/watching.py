"""Who watches an app: what counts, and what makes traces."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, TypeVar, cast

from stream_app.definitions.registry import Registry
from stream_app.sensors.monitor import Monitor

__all__ = ["Watching"]

T = TypeVar("T")


class Watching(Registry):
    """The monitor of an app, and the spans of its traces."""

    _monitor: Monitor | None = None

    tracer: Any = None
    """What makes the spans of :meth:`trace`: a tracer of OpenTelemetry; ``None`` where nothing is traced."""

    @property
    def monitor(self) -> Monitor:
        """What counts: see :class:`~stream_app.sensors.monitor.Monitor`. It is made when somebody asks for it.

        Assign one of your own before the app starts.

        Raises:
            ConfigurationError: it is assigned, and is not a monitor, or counts each event and the app runs.
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
