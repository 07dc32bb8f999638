"""Agents: the body over a stream that users define, as a handle that they hold."""

from __future__ import annotations

import asyncio
import dis
import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextvars import ContextVar
from functools import partial
from typing import Any, TypedDict, Unpack

from stream_core.agents.asking import Ask, Questions
from stream_core.agents.questions import Question
from stream_core.agents.replies import Replies, ReplyPromise
from stream_core.agents.supervisors import Strategy
from stream_core.agents.wrapped import unwrap, wrap
from stream_core.calls import run_in
from stream_core.errors import ConfigurationError, NoReplyError
from stream_core.policies import FailurePolicy
from stream_core.primitives import HeadersArg, RecordMetadata
from stream_core.runs import PerRun, Run
from stream_core.sending.sinks import Sink, check_sink
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.streams.targets import SendOptions
from stream_core.values.encoding import verbatim
from stream_core.values.record import Record

__all__ = ["Agent", "AgentBody", "OnError", "current_agent", "set_current_agent"]

AgentBody = Callable[[Stream[Any]], Awaitable[None] | AsyncIterator[Any]]
"""The function under ``@app.agent``: ``async def body(stream)`` with a loop over the stream in it."""

ASK_TIMEOUT = 60.0
"""Seconds that :meth:`Agent.ask` waits for an answer, and :meth:`Agent.map` for the next one."""


OnError = Callable[["Agent", BaseException], Any]
"""Told of each failure of an agent, sync or async."""


class RecordOptions(TypedDict, total=False):
    """Options of a record that is sent to an agent.

    Attributes:
        partition: the partition to send to.
        timestamp: seconds since the epoch; ``None`` for now.
        headers: names and bytes, as a mapping or a list of pairs.
    """

    partition: int | None
    timestamp: float | None
    headers: HeadersArg | None


class QuestionOptions(RecordOptions, total=False):
    """Options of a question: those of its record, and where the answer goes.

    Attributes:
        reply_to: a topic, an agent, or the name of a topic.
        correlation_id: id that the answer repeats.
    """

    reply_to: Any
    correlation_id: str | None


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
        use_reply_headers: whether questions to it carry the address of the answer in headers. ``False`` wraps their values instead, and
            takes such questions, as Faust does.
        isolated_partitions: an actor for each assigned partition, which begins with it and ends when it is given up: a partition whose
            event fails or waits holds up none but itself. ``concurrency`` stays 1.

    Attributes:
        part_of: the agent whose stream it sends through a topic, for the agent behind ``through`` and ``group_by``.

    Raises:
        ConfigurationError: the body cannot be an agent, or an argument is out of range.
    """

    def __init__(
        self,
        body: AgentBody,
        *,
        name: str,
        topic: AnyTopic | Channel[Any, Any],
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = Strategy.ONE_FOR_ONE,
        use_reply_headers: bool = True,
        isolated_partitions: bool = False,
    ) -> None:
        _check_body(body, name)
        if concurrency < 1:
            raise ConfigurationError(f"agent {name}: concurrency={concurrency} is not at least 1")
        if isolated_partitions and concurrency > 1:
            raise ConfigurationError(
                f"agent {name}: isolated_partitions has one actor for each partition, and concurrency={concurrency} lets actors share "
                "partitions; leave one of them out"
            )
        if isolated_partitions and isinstance(topic, Channel):
            raise ConfigurationError(
                f"agent {name} reads {topic}, which has no partitions: leave isolated_partitions out"
            )
        self.body: AgentBody = body
        self.name = name
        self.topic = topic
        self.concurrency = concurrency
        self.isolated_partitions = isolated_partitions
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
        self.help = inspect.getdoc(body.func if isinstance(body, partial) else body) or ""
        self.part_of: Agent | None = None
        self._wraps = not use_reply_headers and isinstance(topic, Topic)
        if self._wraps and isinstance(topic, Topic):
            for part in topic.parts:
                part.unwrap = unwrap
        self._replies = PerRun[Replies]()

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
    def channel(self) -> AnyTopic | Channel[Any, Any]:
        """What it reads."""
        return self.topic

    def bind(self, run: Run, replies: Replies) -> None:
        """Ask by these replies in the engine of ``run``, until that ends.

        :meta private:
        """
        self._replies.bind(run, replies)

    # -- sending it something

    async def cast(self, value: Any = None, *, key: Any = None, **options: Unpack[RecordOptions]) -> None:
        """Send a value to the agent, and do not wait for an answer.

        Args:
            value: the value.
            key: the key; it chooses the partition unless ``partition`` is given.
            options: ``partition``, ``timestamp`` and ``headers``, as in :meth:`send`.
        """
        await self.send(key=key, value=value, **options)

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
        **options: Unpack[SendOptions],
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
            options: ``schema``, ``key_serializer``, ``value_serializer``, ``callback`` and ``force``, as in
                :meth:`Topic.send <stream_core.sending.topic.Topic.send>`.

        Returns:
            what can be awaited for the metadata of the record.
        """
        if reply_to is not None:
            question = Question(_reply_topic(reply_to), str(key) if correlation_id is None else correlation_id)
            if self._wraps:
                assert isinstance(self.topic, Topic)  # as the constructor has seen
                codecs = options.get("key_serializer"), options.get("value_serializer")
                schema = self.topic.schema_for(options.get("schema"), *codecs)
                await self.topic.ready_to_write(schema, None, value)
                data = schema.encode_value(value)
                value = verbatim(wrap(data, question, typed=isinstance(value, Record)))
            else:
                headers = question.headers(headers)
        return await self.topic.send(
            value,
            key=key,
            partition=partition,
            timestamp=timestamp,
            headers=headers,
            aside=reply_to is not None,
            **options,
        )

    async def ask(
        self, value: Any = None, *, key: Any = None, timeout: float = ASK_TIMEOUT, **options: Unpack[QuestionOptions]
    ) -> Any:
        """Send a value to the agent and wait for the first value that it yields for it; from any thread or event loop.

        Questions are at least once: after a crash the agent may work on one twice; the first answer counts.

        Args:
            value: the value.
            key: the key; it chooses the partition unless ``partition`` is given.
            timeout: seconds to wait for the answer.
            options: ``partition``, ``timestamp`` and ``headers``, as in :meth:`send`; ``reply_to``, a topic for the answer that others
                read too, instead of the worker's own; ``correlation_id``, the id of the question, a new one when left out.

        Raises:
            NoReplyError: it has not answered in time.
            RecordRefusedError: the broker refuses the question.
            ProduceError: the app stopped before the question was acknowledged; it may have arrived.
            RequestFailedError: the event failed, and the failure policy of the agent gave it up.
            ConfigurationError: the agent yields nothing, or the app is not started.
        """
        promise = await self.ask_nowait(value, key=key, **options)
        try:
            async with asyncio.timeout(timeout):
                return await promise
        except TimeoutError:
            raise NoReplyError(
                f"agent {self.name} has not answered within {timeout:g} s: look whether a worker runs it and whether it yields "
                "a value for each event, or give ask() another timeout="
            ) from None
        finally:
            promise.cancel()

    async def ask_nowait(
        self, value: Any = None, *, key: Any = None, **options: Unpack[QuestionOptions]
    ) -> ReplyPromise:
        """Send a value to the agent, and return a promise of its answer; the arguments are those of :meth:`ask`."""
        replies = await self._get_replies()
        return await run_in(replies.loop, lambda: self._promise(replies, value, key, options), "the app")

    async def _promise(self, replies: Replies, value: Any, key: Any, options: QuestionOptions) -> ReplyPromise:
        """Ask, in the event loop of the engine."""
        reply_to = options.get("reply_to")
        to = None if reply_to is None else _reply_topic(reply_to)
        promise = await replies.promise(to, options.get("correlation_id"))
        options["reply_to"], options["correlation_id"] = promise.reply_to, promise.correlation_id
        try:
            sent = await self.send(key=key, value=value, **options)
        except BaseException:
            promise.cancel()
            raise
        promise.depends_on(sent)
        return promise

    def map(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
        *,
        timeout: float = ASK_TIMEOUT,
    ) -> AsyncIterator[Any]:
        """Ask about each value, and iterate over the answers as they come.

        Args:
            values: the values, from a plain or an asynchronous iterable; it may be endless.
            key: key of all of them.
            reply_to: as in :meth:`ask`.
            timeout: seconds that may pass without an answer to any of the questions that wait for one.

        Raises:
            NoReplyError: for so long there was no answer.
            RequestFailedError: an event failed, and the failure policy of the agent gave it up.
            ConfigurationError: as in :meth:`ask`.
        """
        ask = partial(self._ask_about, key=key, reply_to=reply_to)
        return self._questions(values, ask, timeout).as_they_come()

    def kvmap(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
        *,
        timeout: float = ASK_TIMEOUT,
    ) -> AsyncIterator[Any]:
        """Do as :meth:`map`, for pairs of key and value."""
        return self._questions(items, self._ask_about_pair(reply_to), timeout).as_they_come()

    async def join(
        self,
        values: AsyncIterable[Any] | Iterable[Any],
        key: Any = None,
        reply_to: Any = None,
        *,
        timeout: float = ASK_TIMEOUT,
    ) -> list[Any]:
        """Ask about each value, and return all answers, in the order of the values; the arguments are those of :meth:`map`."""
        ask = partial(self._ask_about, key=key, reply_to=reply_to)
        return await self._questions(values, ask, timeout).in_order()

    async def kvjoin(
        self,
        items: AsyncIterable[tuple[Any, Any]] | Iterable[tuple[Any, Any]],
        reply_to: Any = None,
        *,
        timeout: float = ASK_TIMEOUT,
    ) -> list[Any]:
        """Do as :meth:`join`, for pairs of key and value."""
        return await self._questions(items, self._ask_about_pair(reply_to), timeout).in_order()

    def _questions(self, values: Any, ask: Ask[Any], timeout: float) -> Questions[Any]:
        return Questions(values, ask, timeout, self.name)

    async def _ask_about(self, value: Any, *, key: Any, reply_to: Any) -> ReplyPromise:
        return await self.ask_nowait(value, key=key, reply_to=reply_to)

    def _ask_about_pair(self, reply_to: Any) -> Ask[tuple[Any, Any]]:
        return lambda pair: self.ask_nowait(pair[1], key=pair[0], reply_to=reply_to)

    async def _get_replies(self) -> Replies:
        if not inspect.isasyncgenfunction(self.body):
            raise ConfigurationError(
                f"agent {self.name} answers nobody: let it `yield` a value for each event, or send to it with cast()"
            )
        return self._replies.only or await self._replies.reach(f"cannot ask agent {self.name}")

    def __call__(self, stream: Stream[Any]) -> Awaitable[None] | AsyncIterator[Any]:
        """Run the body over a stream of your own."""
        return self.body(stream)

    def __repr__(self) -> str:
        return f"<Agent {self.name} on {self.topic}>"


def _reply_topic(reply_to: Any) -> str:
    """Give the name of the topic that a topic, an agent or a name stands for."""
    target = getattr(reply_to, "channel", reply_to)
    if isinstance(target, Channel):
        raise ConfigurationError(
            f"answers cannot go to {target!r}, which is in the memory of one process: give reply_to= a topic, or leave it out"
        )
    return str(target)


_current: ContextVar[Agent | None] = ContextVar("stream_agent", default=None)


def current_agent() -> Agent | None:
    """Return the agent whose body, processor or sink runs this code, or ``None`` outside of agents."""
    return _current.get()


def set_current_agent(agent: Agent) -> None:
    """Make ``agent`` the one of this task; its actors call it once."""
    _current.set(agent if agent.part_of is None else agent.part_of)


def _check_body(body: AgentBody, name: str) -> None:
    """Raise ConfigurationError for a body that cannot read a stream: no event would ever reach it."""
    if not (inspect.iscoroutinefunction(body) or inspect.isasyncgenfunction(body)):
        raise ConfigurationError(f"agent {name}: write it as `async def`, with `async for ... in stream` in it")
    signature = inspect.signature(body)
    try:
        (given,) = signature.bind("stream").arguments
    except TypeError as error:
        raise ConfigurationError(
            f"agent {name}: its body is called with the stream and nothing else, and takes {signature} ({error}): "
            "write `async def body(stream)`"
        ) from None
    if _plain_loop(body, given):
        raise ConfigurationError(f"agent {name}: a stream is read by `async for ... in {given}`, not by a plain `for`")


def _plain_loop(body: AgentBody, stream: str) -> bool:
    """Tell whether the code has a plain ``for`` over its argument ``stream``, or over ``stream.events()`` or ``stream.items()``."""
    function: Any = inspect.unwrap(body.func if isinstance(body, partial) else body)
    if not hasattr(function, "__code__"):  # it is compiled
        return False
    last = ""
    for step in dis.get_instructions(function):
        if step.argval == stream:
            if step.opname.startswith("STORE"):  # the name is something else from here on
                return False
            last = "stream"
        elif step.argval in ("events", "items") and last == "stream":
            last = "method"
        elif step.opname == "GET_ITER":
            if last in ("stream", "called"):
                return True
            last = ""
        elif step.opname == "CALL":
            last = "called" if last == "method" else ""
        elif step.opname not in ("PRECALL", "PUSH_NULL"):
            last = ""
    return False
