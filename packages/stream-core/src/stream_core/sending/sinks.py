"""Sinks: where the values go that the body of an agent yields."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from inspect import isawaitable
from typing import Any

from stream_core.errors import ConfigurationError
from stream_core.streams.targets import Target

__all__ = ["Sink", "check_sink", "deliver"]


Sink = Target | Callable[[Any], Any]
"""An agent, a topic, a channel, or a function of the value, sync or async."""


def check_sink(sink: Any, where: str) -> None:
    """Refuse what cannot be a sink.

    Args:
        sink: what was given as one.
        where: names the agent in the error.

    Raises:
        ConfigurationError: it cannot be a sink.
    """
    if not inspect.iscoroutinefunction(getattr(sink, "send", None)) and not callable(sink):
        raise ConfigurationError(
            f"{where}: {sink!r} is no sink; give an agent, a topic (made with app.topic), a channel, or a function of the value"
        )


async def deliver(sinks: Iterable[Sink], value: Any) -> None:
    """Give a value to all sinks, one after the other. Topics and agents get it without a key; what a sink raises is raised."""
    for sink in sinks:
        send = getattr(sink, "send", None)
        if send is not None:
            await send(value=value)
        elif isawaitable(result := sink(value)):  # type: ignore[operator]  # what has no send is a function
            await result
