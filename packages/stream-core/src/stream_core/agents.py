"""Agents: the body over a stream that users define, as a handle that they hold."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from stream_core.channels import Channel
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.streams import Stream
from stream_core.topics import Topic

__all__ = ["Agent", "AgentBody"]

AgentBody = Callable[[Stream[Any]], Awaitable[None] | AsyncIterator[Any]]
"""The function under ``@app.agent``: ``async def body(stream)`` with a loop over the stream in it."""


class Agent:
    """A stream processor: the definition, and the handle that users hold.

    Args:
        body: what runs over the stream.
        name: ``module.function``; unique in the app.
        topic: what it reads, a topic or a channel.
        concurrency: how many actors share the stream on each worker; more than one finish events out of order.
        on_failure: what happens when the body raises, ``"crash"`` or ``"skip"``.

    Raises:
        ConfigurationError: the body cannot be an agent, or an argument is out of range.
    """

    def __init__(
        self,
        body: AgentBody,
        *,
        name: str,
        topic: Topic[Any, Any] | Channel[Any, Any],
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
    ) -> None:
        if not (inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body)):
            raise ConfigurationError(f"agent {name}: write it as `async def`, with `async for ... in stream` in it")
        if concurrency < 1:
            raise ConfigurationError(f"agent {name}: concurrency={concurrency} is not at least 1")
        self.body = body
        self.name = name
        self.topic = topic
        self.concurrency = concurrency
        self.on_failure = FailurePolicy.of(on_failure, f"agent {name}")
        self.help = inspect.getdoc(body) or ""

    def __call__(self, stream: Stream[Any]) -> Awaitable[None] | AsyncIterator[Any]:
        """Run the body over a stream of your own."""
        return self.body(stream)

    def __repr__(self) -> str:
        return f"<Agent {self.name} on {self.topic}>"
