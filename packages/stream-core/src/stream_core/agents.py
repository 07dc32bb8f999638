"""Agents: the body over a stream that users define, as a handle that they hold."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping
from typing import Any

from stream_core.asking import answers_as_they_come, answers_in_order
from stream_core.channels import Channel
from stream_core.errors import ConfigurationError, NoReplyError
from stream_core.policies import FailurePolicy
from stream_core.records import Headers, RecordMetadata
from stream_core.replies import Replies, ReplyPromise, question_headers
from stream_core.sinks import Sink, check_sink
from stream_core.streams import Stream
from stream_core.supervisors import Strategy
from stream_core.topics import Topic

__all__ = ["Agent", "AgentBody", "OnError"]

AgentBody = Callable[[Stream[Any]], Awaitable[None] | AsyncIterator[Any]]
"""The function under ``@app.agent``: ``async def body(stream)`` with a loop over the stream in it."""

ASK_TIMEOUT = 60.0
"""Seconds that :meth:`Agent.ask` waits for an answer."""

HeadersArg = Mapping[str, bytes] | Headers

OnError = Callable[["Agent", BaseException], Any]
"""Told of each failure of an agent, sync or async."""


class Agent:
    """A stream processor: the definition, and the handle that users hold.

    Args:
        body: what runs over the stream.
        name: ``module.function``; unique in the app.
        topic: what it reads, a topic or a channel.
        concurrency: how many actors share the stream on each worker; more than one finish events out of order.
        on_failure: the failure policy for events during which the body, a processor or a sink raises.
        on_error: called with the agent and the exception after each failure, outside of the event; sync or async.
        sink: where the values go that the body yields: agents, topics, channels, functions of the value.
        supervisor_strategy: which actors run their body again after a failure: ``"one_for_one"``, ``"one_for_all"``, or ``"crash"`` to end
            the worker; or mode's classes of these names.

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
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = Strategy.ONE_FOR_ONE,
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
        self.on_error = on_error
        self.strategy = Strategy.of(supervisor_strategy, f"agent {name}")
        if self.strategy is Strategy.CRASH and self.on_failure != FailurePolicy.CRASH:
            raise ConfigurationError(
                f"agent {name}: supervisor_strategy={supervisor_strategy!r} ends the worker at the first failure, and on_failure says what "
                "happens instead; leave one of them out"
            )
        self.sinks: list[Sink] = []
        for one in sink:
            self.add_sink(one)
        self.help = inspect.getdoc(body) or ""
        self._replies: Replies | None = None

    def add_sink(self, sink: Sink) -> None:
        """Send what the body yields to one more agent, topic, channel or function of the value, sync or async.

        Raises:
            ConfigurationError: it is no sink, or the body yields nothing.
        """
        if not inspect.isasyncgenfunction(self.body):
            raise ConfigurationError(f"agent {self.name} has a sink and yields nothing: `yield` what goes to the sink")
        check_sink(sink, f"agent {self.name}")
        if sink not in self.sinks:
            self.sinks.append(sink)

    @property
    def channel(self) -> Topic[Any, Any] | Channel[Any, Any]:
        """What it reads."""
        return self.topic

    def bind(self, replies: Replies | None) -> None:
        """Ask through the engine that has these replies; the engine calls it at start, and with ``None`` at stop."""
        self._replies = replies

    # -- sending it something

    async def cast(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
    ) -> None:
        """Send a value to the agent, and do not wait for an answer; the arguments are those of :meth:`send`."""
        await self.send(key=key, value=value, partition=partition, timestamp=timestamp, headers=headers)

    async def send(
        self,
        *,
        key: Any = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Send to the topic or channel of the agent.

        Args:
            key: the key; it chooses the partition unless ``partition`` is given.
            value: the value.
            partition: the partition to send to.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes, as a mapping or a list of pairs.
            reply_to: where what the agent yields for it goes to: a topic, an agent, or the name of a topic.
            correlation_id: id that the answer repeats; ``key`` as text when left out.

        Returns:
            what can be awaited for the metadata of the record.
        """
        if reply_to is not None:
            target = reply_to if isinstance(reply_to, str) else str(getattr(reply_to, "channel", reply_to))
            headers = question_headers(headers, target, str(key) if correlation_id is None else correlation_id)
        return await self.topic.send(
            value, key=key, partition=partition, timestamp=timestamp, headers=headers, aside=reply_to is not None
        )

    async def ask(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        timeout: float = ASK_TIMEOUT,
    ) -> Any:
        """Send a value to the agent and wait for the first value that it yields for it.

        Questions are at least once: after a crash the agent may work on one twice; the first answer counts.

        Args:
            value: the value.
            key: as in :meth:`send`, and so the other arguments.
            partition: the partition to send to.
            timestamp: seconds since the epoch.
            headers: names and bytes.
            reply_to: a topic for the answer that others read too, instead of the worker's own.
            correlation_id: id of the question; a new one when left out.
            timeout: seconds to wait for the answer.

        Raises:
            NoReplyError: it has not answered in time.
            RequestFailedError: the event failed, and the failure policy of the agent gave it up.
            ConfigurationError: the agent yields nothing, or the app is not started.
        """
        promise = await self.ask_nowait(
            *(value,),
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
        )
        try:
            async with asyncio.timeout(timeout):
                return await promise
        except TimeoutError:
            self._get_replies().abandon(promise)
            raise NoReplyError(
                f"agent {self.name} has not answered within {timeout:g} s: look whether a worker runs it and whether it yields "
                "a value for each event, or give ask() another timeout="
            ) from None

    async def ask_nowait(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
    ) -> ReplyPromise:
        """Send a value to the agent, and return a promise of its answer; the arguments are those of :meth:`ask`."""
        replies = self._get_replies()
        own = None if reply_to is None else str(getattr(reply_to, "channel", reply_to))
        promise = await replies.promise(own, correlation_id)
        try:
            await self.send(
                key=key,
                value=value,
                partition=partition,
                timestamp=timestamp,
                headers=headers,
                reply_to=promise.reply_to,
                correlation_id=promise.correlation_id,
            )
        except BaseException:
            replies.abandon(promise)
            raise
        return promise

    def map(
        self, values: AsyncIterable[Any] | Iterable[Any], key: Any = None, reply_to: Any = None
    ) -> AsyncIterator[Any]:
        """Ask about each value, and iterate over the answers as they come.

        Args:
            values: the values, from a plain or an asynchronous iterable.
            key: key of all of them.
            reply_to: as in :meth:`ask`.
        """
        return answers_as_they_come(values, lambda value: self.ask_nowait(value, key=key, reply_to=reply_to))

    def kvmap(
        self, items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]], reply_to: Any = None
    ) -> AsyncIterator[Any]:
        """As :meth:`map`, for pairs of key and value."""
        return answers_as_they_come(items, lambda item: self.ask_nowait(item[1], key=item[0], reply_to=reply_to))

    async def join(
        self, values: AsyncIterable[Any] | Iterable[Any], key: Any = None, reply_to: Any = None
    ) -> list[Any]:
        """Ask about each value, and return all answers, in the order of the values; the arguments are those of :meth:`map`."""
        return await answers_in_order(values, lambda value: self.ask_nowait(value, key=key, reply_to=reply_to))

    async def kvjoin(
        self, items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]], reply_to: Any = None
    ) -> list[Any]:
        """As :meth:`join`, for pairs of key and value."""
        return await answers_in_order(items, lambda item: self.ask_nowait(item[1], key=item[0], reply_to=reply_to))

    def _get_replies(self) -> Replies:
        if not inspect.isasyncgenfunction(self.body):
            raise ConfigurationError(
                f"agent {self.name} answers nobody: let it `yield` a value for each event, or send to it with cast()"
            )
        if self._replies is None:
            raise ConfigurationError(
                f"cannot ask agent {self.name}: the app is not started; run a worker, or await app.start() first"
            )
        return self._replies

    def __call__(self, stream: Stream[Any]) -> Awaitable[None] | AsyncIterator[Any]:
        """Run the body over a stream of your own."""
        return self.body(stream)

    def __repr__(self) -> str:
        return f"<Agent {self.name} on {self.topic}>"
