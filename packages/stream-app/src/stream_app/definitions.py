"""What a program defines: topics, channels, agents, tables, tasks and timers, in the words of the guides. It is only remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta, tzinfo
from typing import Any, TypedDict, TypeVar, Unpack, overload

from stream_app.agents import Agent
from stream_app.settings import Settings
from stream_core import chores
from stream_core.agents import AgentBody, OnError
from stream_core.annotations import qualified_name
from stream_core.channels import Channel
from stream_core.chores import Chore
from stream_core.codecs import CodecArg
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.schemas import Schema
from stream_core.sinks import Sink
from stream_core.topics import Topic
from stream_tables import table as tables

__all__ = ["Definitions", "TopicOptions"]

K = TypeVar("K")
V = TypeVar("V")
F = TypeVar("F", bound=Callable[[], Any])


class TopicOptions(TypedDict, total=False):
    """What a topic description may say beside its types.

    Attributes:
        partitions: partitions to create it with when it does not exist.
        replicas: replication factor to create it with.
        retention: how long the broker keeps records, in seconds or as a timedelta.
        compacting: keep only the latest record of each key.
        config: more topic configuration, in Kafka's names.
        on_decode_error: the failure policy for records that cannot be decoded.
        on_produce_error: the failure policy for events whose sends to this topic cannot be encoded, or are refused; that of
            the agent when left out.
        acks: ``False`` leaves it to the agents to acknowledge each event.
    """

    partitions: int | None
    replicas: int | None
    retention: float | timedelta | None
    compacting: bool
    config: Mapping[str, str] | None
    on_decode_error: str | FailurePolicy
    on_produce_error: str | FailurePolicy | None
    acks: bool


class Definitions:
    """The definitions of an app. They may be made in any thread, until the app starts.

    Args:
        conf: the settings.
    """

    def __init__(self, conf: Settings) -> None:
        self.conf = conf
        self._topics: dict[str, Topic[Any, Any]] = {}
        self._agents: dict[str, Agent] = {}
        self._tables: dict[str, tables.Table[Any, Any]] = {}
        self._chores: list[Chore] = []
        self._defining = threading.RLock()

    @property
    def id(self) -> str:
        """The consumer group: the name, and ``-v2`` from version 2 on."""
        return self.conf.id

    @overload
    def topic(
        self,
        name: str,
        *,
        key_type: type[K],
        value_type: type[V],
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[K, V]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        value_type: type[V],
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[Any, V]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        key_type: type[K],
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[K, Any]: ...
    @overload
    def topic(
        self,
        name: str,
        *,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[Any, Any]: ...
    def topic(
        self,
        name: str,
        *,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: CodecArg = None,
        value_serializer: CodecArg = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[Any, Any]:
        """Describe a topic. Describing it again gives the same topic.

        Args:
            name: name of the topic.
            key_type: type of the keys; bytes when left out.
            value_type: type of the values; JSON if it parses, else bytes, when left out.
            key_serializer: codec of the keys, by name.
            value_serializer: codec of the values, by name.
            options: see :class:`TopicOptions`.
        """
        schema = Schema(
            key_type,
            value_type,
            key_serializer,
            value_serializer,
            key_default=self.conf.key_serializer,
            value_default=self.conf.value_serializer,
        )
        with self._defining:
            known = self._topics.get(name)
            if known is not None:
                if known.schema != schema:
                    raise ConfigurationError(
                        f"topic {name} is described twice, with different types; describe it once, and share it"
                    )
                return known
            topic: Topic[Any, Any] = Topic(name, schema=schema, **options)
            self._topics[name] = topic
            self._defined(topic)
        return topic

    def channel(
        self,
        name: str = "channel",
        *,
        key_type: type[K] | Any = None,
        value_type: type[V] | Any = None,
        maxsize: int | None = None,
    ) -> Channel[K, V]:
        """Make an in-memory channel: for agents that work for others of this process, and for tests.

        Args:
            name: for messages.
            key_type: type of the keys, for readers and type checkers.
            value_type: type of the values, likewise.
            maxsize: events that may wait for the slowest reader before ``send`` waits; the setting
                ``stream_buffer_maxsize`` when left out.
        """
        size = self.conf.stream_buffer_maxsize if maxsize is None else maxsize
        return Channel(name, maxsize=size, key_type=key_type, value_type=value_type)

    def agent(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str | None = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = "one_for_one",
        **topic: Any,
    ) -> Callable[[AgentBody], Agent]:
        """Define a stream processor.

        Args:
            channel: the topic or channel to read, or the name of a topic; without it a topic of the agent's own,
                ``{app id}-{agent name}``.
            name: name of the agent; ``module.function`` when left out.
            concurrency: actors on each worker; with more than one, events finish out of order and tables cannot be changed.
            on_failure: what happens to an event whose processing raises: ``"crash"`` (again, then exit), ``"skip"``,
                ``"dead_letter"``, or a :class:`~stream_core.policies.FailurePolicy`.
            on_error: called with the agent and the exception after each failure; sync or async.
            sink: where the values go that the body yields: agents, topics, channels, functions of the value.
            supervisor_strategy: which actors start again after a failure: ``"one_for_one"``, ``"one_for_all"``, or ``"crash"``.
            topic: arguments of :meth:`topic`, for a topic of the agent's own.

        Raises:
            ConfigurationError: there is an agent of that name, or topic arguments come with a channel.
        """

        def define(body: AgentBody) -> Agent:
            function: Any = getattr(body, "func", body)  # of a partial
            known = name or qualified_name(function.__module__, function.__qualname__)
            source = self._source(channel, known, topic)
            agent = Agent(
                body,
                app=self,
                name=known,
                topic=source,
                concurrency=concurrency,
                on_failure=on_failure,
                on_error=on_error,
                sink=sink,
                supervisor_strategy=supervisor_strategy,
            )
            with self._defining:
                self._require_stopped(f"agent {known}")
                if known in self._agents:
                    raise ConfigurationError(f"there are two agents named {known}; give one of them name=")
                self._agents[known] = agent
            return agent

        return define

    def _source(self, channel: Any, agent: str, options: dict[str, Any]) -> Topic[Any, Any] | Channel[Any, Any]:
        if isinstance(channel, (Topic, Channel)):
            if options:
                raise ConfigurationError(
                    f"agent {agent}: {', '.join(sorted(options))} describe a topic of its own, and it reads {channel}: "
                    "say it where that is described"
                )
            return channel
        known = None if options or channel is None else self._topics.get(channel)
        return known or self.topic(channel or f"{self.id}-{agent}", **options)

    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: type[K],
        value_type: type[V],
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",
    ) -> tables.Table[K, V]: ...
    @overload
    def Table(
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",
    ) -> tables.Table[Any, V]: ...
    def Table(  # noqa: N802 - names and arguments are the guides'
        self,
        name: str,
        *,
        default: Callable[[], Any] | None = None,
        key_type: Any = None,
        value_type: Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",  # noqa: A002 - the name is the guides'
    ) -> tables.Table[Any, Any]:
        """Define a table.

        Args:
            name: unique in the app; the changelog is ``{app id}-{name}-changelog``.
            default: makes the value of a missing key, such as ``int``.
            key_type: type of the keys.
            value_type: type of the values.
            key_serializer: codec of the keys, by name; JSON when left out.
            value_serializer: codec of the values, by name; JSON when left out.
            partitions: partitions of the table; those of its source topics when left out.
            help: one sentence on what it holds.
        """
        schema = Schema.for_table(
            key_type=key_type, value_type=value_type, key_serializer=key_serializer, value_serializer=value_serializer
        )
        changelog = f"{self.id}-{name}-changelog"
        table: tables.Table[Any, Any] = tables.Table(
            name, schema=schema, changelog=changelog, default=default, partitions=partitions, help=help
        )
        with self._defining:
            self._require_stopped(f"table {name}")
            if name in self._tables:
                raise ConfigurationError(
                    f"there are two tables named {name!r}: they would share a changelog; rename one"
                )
            self._tables[name] = table
        return table

    # -- beside the agents

    @overload
    def task(self, body: F) -> F: ...
    @overload
    def task(self, body: None = None, *, on_leader: bool = False) -> Callable[[F], F]: ...
    def task(self, body: Any = None, *, on_leader: bool = False) -> Any:
        """Define a task, ``@app.task`` or ``@app.task()``: it starts once the app is operational.

        Args:
            body: an async function without arguments. What it raises ends the worker.
            on_leader: run it on one worker only: the leader. It is cancelled when another worker becomes it.
        """

        def define(function: Any) -> Any:
            self._add(chores.task(function, on_leader=on_leader))
            return function

        return define if body is None else define(body)

    def timer(self, interval: float | timedelta, *, on_leader: bool = False) -> Callable[[F], F]:
        """Define a timer: it runs at a steady interval, first one interval after the app is operational.

        Args:
            interval: seconds, or a timedelta.
            on_leader: tick on one worker only: the leader.
        """

        def define(function: Any) -> Any:
            self._add(chores.timer(function, interval, on_leader=on_leader))
            return function

        return define

    def crontab(self, spec: str, *, timezone: tzinfo | None = None, on_leader: bool = False) -> Callable[[F], F]:
        """Define a timer by a cron expression.

        Args:
            spec: minute, hour, day of month, month, day of week, such as ``"30 18 * * mon-fri"``.
            timezone: of the expression; the setting ``timezone`` when left out.
            on_leader: run on one worker only: the leader.
        """

        def define(function: Any) -> Any:
            self._add(chores.crontab(function, spec, zone=timezone or self.conf.timezone, on_leader=on_leader))
            return function

        return define

    def _add(self, chore: Chore) -> None:
        with self._defining:
            self._require_stopped(chore.name)
            self._chores.append(chore)

    # -- what there is

    @property
    def topics(self) -> Mapping[str, Topic[Any, Any]]:
        """The topics by name."""
        return self._topics

    @property
    def agents(self) -> Mapping[str, Agent]:
        """The agents by name."""
        return self._agents

    @property
    def tables(self) -> Mapping[str, tables.Table[Any, Any]]:
        """The tables by name."""
        return self._tables

    @property
    def chores(self) -> tuple[Chore, ...]:
        """The tasks and timers."""
        return tuple(self._chores)

    def _require_stopped(self, what: str) -> None:
        """Raise ConfigurationError when the app runs: what is defined then would have no effect."""

    def _defined(self, topic: Topic[Any, Any]) -> None:
        """A topic was described."""
