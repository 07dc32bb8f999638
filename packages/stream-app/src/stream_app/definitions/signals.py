"""Signals of an app: moments to which functions are connected, for one app or for all of them."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from inspect import Parameter
from typing import Any, Generic, TypeVar, overload
from weakref import WeakMethod, ref

from stream_core.errors import ConfigurationError, WorkerError

__all__ = ["BoundAsyncSignal", "BoundSyncSignal", "Signal", "SyncSignal"]

logger = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])

QUIET = 60.0
"""Seconds between two reports of a handler that fails each time: one is called for each record that is sent."""


class Handler:
    """A function that is connected to a signal.

    Args:
        function: what is called.
        told: names of what the signal tells, in their order.
        sender: whose signals it hears: an app, the id of one, a class of apps, or all of them (``None``).
        weak: hear of them as long as somebody else holds the function, or the object of a method.
    """

    def __init__(self, function: Callable[..., Any], told: tuple[str, ...], sender: Any, *, weak: bool) -> None:
        self.name = getattr(function, "__qualname__", None) or repr(function)
        self.sender = sender
        self._get = _weak(function) if weak else lambda: function
        self._positional = [name for _, name in _taken(function, told) if name]
        asked = {*inspect.signature(function).parameters, *(() if "sender" in self._positional else ("sender",))}
        self._unasked = {"sender", "signal"} - asked
        self._reported = -QUIET
        self._silent = 0

    @property
    def function(self) -> Callable[..., Any] | None:
        """The function; ``None`` when it is no more."""
        return self._get()

    def hears(self, app: Any) -> bool:
        """Tell whether it is for the signals of ``app``."""
        sender = self.sender
        if isinstance(sender, type):
            return isinstance(app, sender)
        return sender is None or sender is app or (isinstance(sender, str) and sender in (app.id, app.conf.name))

    def call(self, app: Any, told: dict[str, Any]) -> Any:
        """Call the function: what its parameters are named after by name, the rest by position, as in the guides."""
        function = self._get()
        if function is None:
            return None
        named = {"sender": app, **told}
        arguments = [named.pop(name) for name in self._positional]
        for name in self._unasked:
            named.pop(name, None)
        return function(*arguments, **named)

    def report(self, error: BaseException, signal: str, app: Any) -> Exception:
        """Log that it failed, once a minute at most; returns the error, or one of ours where what it waited for was cancelled."""
        if not isinstance(error, Exception):
            cancelled, error = error, WorkerError(f"what {self.name} waited for was cancelled")
            error.__cause__ = cancelled
        now = time.monotonic()
        if now - self._reported < QUIET:
            self._silent += 1
            return error
        more = f" ({self._silent} times more since the last report)" if self._silent else ""
        self._reported, self._silent = now, 0
        logger.error(
            "%s, connected to the signal %s of app %s, failed%s: %r",
            self.name,
            signal,
            app.id,
            more,
            error,
            exc_info=error,
        )
        return error


def _weak(function: Any) -> Callable[[], Callable[..., Any] | None]:
    return WeakMethod(function) if inspect.ismethod(function) else ref(function)


def _checked(function: Any, signal: str, told: tuple[str, ...], *, sync: bool) -> None:
    """Raise ConfigurationError when a function cannot be connected to a signal."""
    name = getattr(function, "__qualname__", None) or repr(function)
    if not callable(function):
        raise ConfigurationError(f"{name} cannot be connected to {signal}: it is not a function")
    call = getattr(function, "__call__", None)  # noqa: B004 - of an object that is called
    if sync and (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)):
        raise ConfigurationError(
            f"{name} cannot be connected to {signal}: that is a synchronous signal; write `def` instead of `async def`"
        )
    parameters = inspect.signature(function).parameters.values()
    if not any(one.kind is Parameter.VAR_KEYWORD for one in parameters):
        raise ConfigurationError(
            f"{name} cannot be connected to {signal}: it must accept **kwargs, for what will be told later; "
            f"write def {name.rpartition('.')[2]}({', '.join(('app', *told, '**kwargs'))})"
        )
    unknown = [
        one.name
        for one in parameters
        if one.kind is Parameter.KEYWORD_ONLY
        and one.default is one.empty
        and one.name not in ("sender", "signal", *told)
    ]
    if unknown or _missing(function, told):
        raise ConfigurationError(
            f"{name} cannot be connected to {signal}: nothing is told for {', '.join(unknown + _missing(function, told))}; "
            f"there are app{''.join(f', {one}' for one in told)}"
        )


def _taken(function: Callable[..., Any], told: tuple[str, ...]) -> Iterator[tuple[Parameter, str]]:
    """Give the positional parameters, and what each takes: the app (``sender``), something told, or nothing (``""``)."""
    kinds = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    names = [one.name for one in parameters]
    rest = [name for name in told if name not in names]
    for at, one in enumerate(one for one in parameters if one.kind in kinds):
        if one.name in (*told, "sender", "signal"):
            yield one, one.name
        elif at == 0:
            yield one, "sender"
        else:
            yield one, rest.pop(0) if rest else ""


def _missing(function: Callable[..., Any], told: tuple[str, ...]) -> list[str]:
    return [one.name for one, name in _taken(function, told) if name == "" and one.default is one.empty]


class BoundSignal:
    """A signal of one app, or of a class of apps.

    Args:
        signal: the attribute of the class.
        app: who sends it; ``None`` for that of a class.
        owner: the class of apps.
    """

    def __init__(self, signal: BaseSignal[Any], app: Any, owner: type) -> None:
        self.name = signal.name
        self._signal = signal
        self._app = app
        self._owner = owner
        self._handlers: tuple[Handler, ...] = ()

    @overload
    def connect(self, handler: F, *, weak: bool = False, sender: Any = None) -> F: ...
    @overload
    def connect(self, handler: None = None, *, weak: bool = False, sender: Any = None) -> Callable[[F], F]: ...
    def connect(self, handler: Any = None, *, weak: bool = False, sender: Any = None) -> Any:
        """Call a function at that moment; also a decorator, with and without parentheses.

        Args:
            handler: is called with the app, what is told, and more by name later: ``def handler(app, **kwargs)``. Parameters that are
                named after something told get that, whatever their order; the app is also told as ``sender``.
            weak: stop calling it when nobody else holds the function, or the object of a method.
            sender: at the signal of a class, call it for this app only: the app, or its id.

        Raises:
            ConfigurationError: it does not accept ``**kwargs``, has a parameter that nothing is told for, or is async where
                the signal is not.
        """
        if handler is None:
            return lambda function: self.connect(function, weak=weak, sender=sender)
        signal = self._signal
        _checked(handler, repr(self), signal.told, sync=signal.sync)
        if self._app is not None:
            sender = self._app
        new = Handler(handler, signal.told, sender or self._owner, weak=weak)
        self._drop(handler, new.sender)
        self._keep((*self._connected(), new))
        return handler

    __call__ = connect

    def disconnect(self, handler: Callable[..., Any], *, weak: bool = False, sender: Any = None) -> None:
        """Call that function no longer; nothing happens when it is not connected.

        Args:
            handler: the function.
            weak: as it was connected; it makes no difference.
            sender: as it was connected.
        """
        self._drop(handler, self._app if self._app is not None else sender or self._owner)

    def _drop(self, handler: Callable[..., Any], sender: Any) -> None:
        self._keep(one for one in self._connected() if one.function != handler or one.sender != sender)

    def _connected(self) -> tuple[Handler, ...]:
        """Return those of this app, or of the classes."""
        return self._handlers if self._app is not None else self._signal.everywhere

    def _keep(self, handlers: Iterable[Handler]) -> None:
        """Replace them: a list that is being called in another thread stays what it was."""
        alive = tuple(one for one in handlers if one.function is not None)
        if self._app is not None:
            self._handlers = alive
        else:
            self._signal.everywhere = alive

    def __bool__(self) -> bool:
        """Tell whether anything is connected."""
        return any(True for _ in self._hearing(self._app))

    def _hearing(self, app: Any) -> Iterator[Handler]:
        for one in self._signal.everywhere:
            if one.function is not None and (app is None or one.hears(app)):
                yield one
        for one in self._handlers:
            if one.function is not None:
                yield one

    def _told(self, arguments: tuple[Any, ...], told: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Give the sender, and what is told by name; the signal of a class is given the sender first."""
        app = self._app
        if app is None:
            if not arguments:
                raise ConfigurationError(f"{self!r} needs the app that sends it: send(app)")
            app, *arguments = arguments  # type: ignore[assignment]
        return app, {**dict(zip(self._signal.told, arguments, strict=False)), **told, "signal": self}

    def __repr__(self) -> str:
        return f"{self._owner.__name__}.{self.name}"


class BoundSyncSignal(BoundSignal):
    """A synchronous signal of one app, or of a class of apps."""

    def send(self, *arguments: Any, **told: Any) -> None:
        """Call all functions, one after the other; what one raises is logged with its name, and does not keep the others from being called.

        Args:
            arguments: what is told, in its order; at the signal of a class, the app first.
            told: the same by name.

        Raises:
            Exception: the first one that was raised, where the signal decides whether the app starts: one that is half configured does not.
        """
        app, named = self._told(arguments, told)
        errors: list[Exception] = []
        for one in self._hearing(app):
            try:
                one.call(app, named)
            except (
                Exception,
                asyncio.CancelledError,
            ) as error:  # nothing waits here: it is not a cancellation of who sends
                errors.append(one.report(error, self.name, app))
        if errors and self._signal.decides:
            raise errors[0]


class BoundAsyncSignal(BoundSignal):
    """An asynchronous signal of one app, or of a class of apps."""

    async def send(self, *arguments: Any, **told: Any) -> None:
        """Call all functions, sync or async, one after the other; what one raises is logged with its name, and stops nothing else.

        Args:
            arguments: what is told, in its order; at the signal of a class, the app first.
            told: the same by name.
        """
        app, named = self._told(arguments, told)
        for one in self._hearing(app):
            try:
                if inspect.isawaitable(result := one.call(app, named)):
                    await result
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise
                one.report(error, self.name, app)
            except Exception as error:
                one.report(error, self.name, app)


B = TypeVar("B", bound=BoundSignal)


class BaseSignal(Generic[B]):
    """The attribute of the app class: a signal for each app, and one for each class.

    Args:
        told: names of what it tells beside the app, in the order of the guides.
        decides: raise what a function raises, after all were called.

    Attributes:
        name: of the attribute.
        everywhere: the functions that are connected at classes.
    """

    sync = False
    _bound: type[BoundSignal]

    def __init__(self, *told: str, decides: bool = False) -> None:
        self.told = told
        self.decides = decides
        self.name = ""
        self.everywhere: tuple[Handler, ...] = ()

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, app: Any, owner: type) -> B:
        """Give the signal of an app, or of the class."""
        if app is None:
            return self._bound(self, None, owner)  # type: ignore[return-value]
        own: B | None = vars(app).get(self.name)
        if own is None:
            own = vars(app)[self.name] = self._bound(self, app, owner)  # type: ignore[assignment]
        return own  # type: ignore[return-value]


class SyncSignal(BaseSignal[BoundSyncSignal]):
    """A signal that is sent to plain functions."""

    sync = True
    _bound = BoundSyncSignal


class Signal(BaseSignal[BoundAsyncSignal]):
    """A signal that is sent to functions, plain or async."""

    _bound = BoundAsyncSignal
