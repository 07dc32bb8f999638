"""Signals of an app: moments to which functions are connected, for one app or for all of them."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, TypeVar, overload

__all__ = ["BoundSignal", "Signal"]

F = TypeVar("F", bound=Callable[..., Any])


class BoundSignal:
    """A signal of one app, or of the class: of all apps.

    Args:
        app: who sends it.
        everywhere: the signal of the class, whose functions are called too.
    """

    def __init__(self, app: Any, everywhere: BoundSignal | None = None) -> None:
        self._app = app
        self._everywhere = everywhere
        self._handlers: list[Callable[..., Any]] = []

    def connect(self, handler: F) -> F:
        """Call a function at that moment; also a decorator. It should take ``**kwargs``, for what will be told later."""
        self._handlers.append(handler)
        return handler

    __call__ = connect

    def __bool__(self) -> bool:
        """Whether anything is connected."""
        return bool(self._all())

    def disconnect(self, handler: Callable[..., Any]) -> None:
        """Call that function no longer."""
        self._handlers.remove(handler)

    def send(self, **told: Any) -> None:
        """Call all functions, one after the other; what one raises is raised."""
        for handler in self._all():
            handler(self._app, **told)

    async def send_async(self, *told: Any) -> None:
        """Call all functions, sync or async, one after the other."""
        for handler in self._all():
            if isawaitable(result := handler(self._app, *told)):
                await result

    def _all(self) -> list[Callable[..., Any]]:
        return [*(self._everywhere._all() if self._everywhere is not None else ()), *self._handlers]


class Signal:
    """The attribute of the app class: a signal for each app, and one for all."""

    def __init__(self) -> None:
        self._name = ""
        self._everywhere = BoundSignal(None)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, app: None, owner: type) -> BoundSignal: ...
    @overload
    def __get__(self, app: object, owner: type) -> BoundSignal: ...
    def __get__(self, app: object | None, owner: type) -> BoundSignal:
        """The signal of an app, or of the class."""
        if app is None:
            return self._everywhere
        own: BoundSignal | None = vars(app).get(self._name)
        if own is None:
            own = vars(app)[self._name] = BoundSignal(app, self._everywhere)
        return own
