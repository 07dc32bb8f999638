"""What a program defines: agents and tables, beside topics, tasks and timers, in the words of the guides. It is only remembered."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from stream_app.agents import Agent
from stream_app.chore_definitions import ChoreDefinitions
from stream_app.descriptions import check_names
from stream_app.topic_definitions import TOPIC_OPTIONS, TopicDefinitions
from stream_core.agents.agent import AgentBody, OnError
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.sending.sinks import Sink
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.values.annotations import qualified_name
from stream_core.values.schemas import Schema
from stream_tables import table as tables

__all__ = ["Definitions"]

K = TypeVar("K")
V = TypeVar("V")


class Definitions(TopicDefinitions, ChoreDefinitions):
    """The definitions of an app."""

    @overload
    def agent(self, channel: AgentBody) -> Agent: ...
    @overload
    def agent(
        self,
        channel: Topic[Any, Any] | Channel[Any, Any] | str | None = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = None,
        use_reply_headers: bool = True,
        isolated_partitions: bool = False,
        **topic: Any,
    ) -> Callable[[AgentBody], Agent]: ...
    def agent(
        self,
        channel: Any = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = None,
        use_reply_headers: bool = True,
        isolated_partitions: bool = False,
        **topic: Any,
    ) -> Any:
        """Define a stream processor; a decorator, ``@app.agent`` or ``@app.agent(...)``.

        Args:
            channel: the topic or channel to read, or the name of a topic; without it a topic of the agent's own,
                ``{app id}-{agent name}``.
            name: name of the agent; ``module.function`` when left out.
            concurrency: actors on each worker; with more than one, events finish out of order and tables cannot be changed.
            on_failure: what happens to an event whose processing raises: ``"crash"`` (again, then exit), ``"skip"``,
                ``"dead_letter"``, or a :class:`~stream_core.policies.FailurePolicy`.
            on_error: called with the agent and the exception after each failure; sync or async.
            sink: where the values go that the body yields: agents, topics, channels, functions of the value.
            supervisor_strategy: which actors start again after a failure: ``"one_for_one"``, ``"one_for_all"``, or ``"crash"``;
                the setting ``agent_supervisor`` when left out.
            use_reply_headers: whether questions carry the address of the answer in headers; ``False`` wraps their values, as Faust does.
            isolated_partitions: refused with a sentence.
            topic: arguments of :meth:`topic`, for a topic of the agent's own.

        Raises:
            ConfigurationError: there is an agent of that name, the body cannot be an agent, there is no such option, or topic arguments
                come with a channel.
        """

        def define(body: AgentBody) -> Agent:
            known = name or _name_of(body)
            check_names(f"agent {known}", topic, AGENT_OPTIONS)
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
                supervisor_strategy=supervisor_strategy or self.conf.agent_supervisor,
                use_reply_headers=use_reply_headers,
                isolated_partitions=isolated_partitions,
            )
            with self._defining:
                self._require_stopped(f"agent {known}")
                if known in self._agents:
                    raise ConfigurationError(f"there are two agents named {known}; give one of them name=")
                self._agents[known] = agent
            return agent

        if inspect.iscoroutinefunction(channel) or inspect.isasyncgenfunction(channel):
            body, channel = channel, None
            return define(body)
        return define

    def _source(self, channel: Any, agent: str, options: dict[str, Any]) -> Topic[Any, Any] | Channel[Any, Any]:
        if isinstance(channel, (Topic, Channel)):
            if options:
                raise ConfigurationError(
                    f"agent {agent}: {', '.join(sorted(options))} describe a topic of its own, and it reads {channel}: "
                    "say it where that is described"
                )
            return channel
        return (
            self.topic(channel or f"{self.id}-{agent}", **options) if options or not channel else self._named(channel)
        )

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
        **unknown: Any,
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
            unknown: refused, with the option that may be meant.

        Raises:
            ConfigurationError: there is a table of that name, or no such option.
        """
        check_names(f"table {name}", unknown, TABLE_OPTIONS)
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


TABLE_OPTIONS = {*inspect.signature(Definitions.Table).parameters} - {"self", "name", "unknown"}
"""The names of what :meth:`Definitions.Table` takes."""

AGENT_OPTIONS = {*inspect.signature(Definitions.agent).parameters, *TOPIC_OPTIONS} - {"self", "topic"}
"""The names of what :meth:`Definitions.agent` takes."""


def _name_of(body: Any) -> str:
    """The name of an agent that is given none: ``module.function``."""
    function = getattr(body, "func", body)  # of a partial
    if not hasattr(function, "__qualname__"):
        raise ConfigurationError(
            f"{body!r} has no name, and is no function: make an agent of an async function or method, such as obj.method, or obj.__call__"
        )
    return qualified_name(function.__module__, function.__qualname__.rpartition("<locals>.")[2])
