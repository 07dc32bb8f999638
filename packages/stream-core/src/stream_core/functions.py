"""What users write where a function goes: functions, methods, partials, objects that can be called."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

from stream_core.errors import ConfigurationError

__all__ = ["function_of", "name_of"]


def function_of(body: Any) -> Any:
    """Return what :mod:`inspect` takes for the function that it is: the ``__call__`` of an object, the function of a static method.

    Anything else is returned as it is.

    Args:
        body: what was written where a function goes.

    Raises:
        ConfigurationError: it is a class method whose class does not exist yet.
    """
    if isinstance(body, staticmethod):
        return function_of(body.__func__)
    if isinstance(body, classmethod):
        raise ConfigurationError(
            f"{body.__func__.__qualname__} is a class method, and its class is not made yet: define it behind the class, as in "
            "app.task(Class.method)"
        )
    if isinstance(body, partial):
        function = function_of(body.func)
        return body if function is body.func else partial(function, *body.args, **body.keywords)
    if inspect.isroutine(body) or isinstance(body, type) or not callable(body):
        return body
    return body.__call__  # a bound method, which has the code that inspect looks at


def name_of(body: Any) -> str:
    """Return how messages name it: the qualified name of a function, or of the class of an object that can be called."""
    while isinstance(body, partial):
        body = body.func
    body = getattr(body, "__func__", body) if isinstance(body, staticmethod) else body
    name: str = getattr(body, "__qualname__", None) or type(body).__qualname__
    return name
