"""The App: what a program defines, in the words of the guides. It only appends definitions; :mod:`stream_app.wiring` builds."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypedDict, TypeVar, Unpack, overload

from stream_app.settings import Settings
from stream_app.wiring import Wiring
from stream_app.worker import Worker
from stream_core.agents import Agent, AgentBody, OnError
from stream_core.annotations import qualified_name
from stream_core.codecs import CodecArg
from stream_core.engine import Engine
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.schemas import Schema
from stream_core.sinks import Sink
from stream_core.topics import Topic
from stream_tables import table as tables

__all__ = ["App", "TopicOptions"]

K = TypeVar("K")
V = TypeVar("V")


class TopicOptions(TypedDict, total=False):
    """What a topic description may say beside its types.

    Attributes:
        partitions: partitions to create it with when it does not exist.
        replicas: replication factor to create it with.
        retention: how long the broker keeps records, in seconds or as a timedelta.
        compacting: keep only the latest record of each key.
        config: more topic configuration, in Kafka's names.
        on_decode_error: the failure policy for records whose key or value cannot be decoded: ``"crash"``, ``"retry"``, ``"skip"``,
            ``"dead_letter"``, or a :class:`FailurePolicy`.
        on_produce_error: the same for events that sent a record here which does not fit; that of their agent when left out.
    """

    partitions: int | None
    replicas: int | None
    retention: float | timedelta | None
    compacting: bool
    config: Mapping[str, str] | None
    on_decode_error: str | FailurePolicy
    on_produce_error: str | FailurePolicy | None


class App:
    """An application: agents over topics, with tables.

    Args:
        id: name of the app: the consumer group, and the prefix of its changelogs.
        options: settings by name (see the configuration reference); environment variables win over them.

    Raises:
        UnknownSettingError: there is no such setting; the message names the nearest.
        ConfigurationError: a value does not fit.

    Example::

        app = App("bank", broker="kafka://localhost:9092", store="rocksdb://")
    """

    def __init__(self, id: str, **options: Any) -> None:  # noqa: A002 - the name is the guides'
        self.conf = Settings(id, **options)
        self._topics: dict[str, Topic[Any, Any]] = {}
        self._agents: dict[str, Agent] = {}
        self._tables: dict[str, tables.Table[Any, Any]] = {}
        self._wiring: Wiring | None = None

    @property
    def id(self) -> str:
        """The consumer group: the name, and ``-v2`` from version 2 on."""
        return self.conf.id

    # -- definitions

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
        known = self._topics.get(name)
        if known is not None:
            if known.schema != schema:
                raise ConfigurationError(
                    f"topic {name} is described twice, with different types; describe it once, and share it"
                )
            return known
        topic: Topic[Any, Any] = Topic(name, schema=schema, **options)
        self._topics[name] = topic
        return topic

    def agent(
        self,
        channel: Topic[Any, Any] | str | None = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        on_failure: str | FailurePolicy = "crash",
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = "one_for_one",
    ) -> Callable[[AgentBody], Agent]:
        """Define a stream processor.

        Args:
            channel: the topic to read, or its name; without it a topic of the agent's own, ``{app id}-{agent name}``.
            name: name of the agent; ``module.function`` when left out.
            concurrency: actors on each worker; with more than one, events finish out of order and tables cannot be changed.
            on_failure: the failure policy for events during which the body, a processor or a sink raises: ``"crash"`` (again, then exit),
                ``"retry"``, ``"skip"``, ``"dead_letter"``, or a :class:`FailurePolicy`.
            on_error: called with the agent and the exception after each failure; sync or async.
            sink: where the values go that the body yields: agents, topics, functions of the value.
            supervisor_strategy: which actors run their body again after a failure: ``"one_for_one"``, ``"one_for_all"``, or ``"crash"`` to
                end the worker; or mode's classes of these names.

        Raises:
            ConfigurationError: there is an agent of that name.
        """

        def define(body: AgentBody) -> Agent:
            known = name or qualified_name(body.__module__, body.__qualname__)
            if known in self._agents:
                raise ConfigurationError(f"there are two agents named {known}; give one of them name=")
            source = channel if isinstance(channel, Topic) else self.topic(channel or f"{self.id}-{known}")
            agent = Agent(
                body,
                name=known,
                topic=source,
                concurrency=concurrency,
                on_failure=on_failure,
                on_error=on_error,
                sink=sink,
                supervisor_strategy=supervisor_strategy,
            )
            self._agents[known] = agent
            return agent

        return define

    def Table(  # noqa: N802 - names and arguments are the guides'
        self,
        name: str,
        *,
        default: Callable[[], V] | None = None,
        key_type: type[K] | Any = None,
        value_type: type[V] | Any = None,
        key_serializer: Any = None,
        value_serializer: Any = None,
        partitions: int | None = None,
        help: str = "",  # noqa: A002 - the name is the guides'
    ) -> tables.Table[K, V]:
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
        if name in self._tables:
            raise ConfigurationError(f"there are two tables named {name!r}: they would share a changelog; rename one")
        schema = Schema.for_table(
            key_type=key_type, value_type=value_type, key_serializer=key_serializer, value_serializer=value_serializer
        )
        changelog = f"{self.id}-{name}-changelog"
        table: tables.Table[K, V] = tables.Table(
            name, schema=schema, changelog=changelog, default=default, partitions=partitions, help=help
        )
        self._tables[name] = table
        return table

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

    # -- life

    async def start(self, *, fail_fast: bool = False) -> None:
        """Start, and return when the app is operational: its partitions are assigned and its tables recovered.

        Args:
            fail_fast: give up when no broker answers, instead of waiting for one.
        """
        if self._wiring is not None:
            raise ConfigurationError(f"app {self.id} runs already")
        self._wiring = wiring = Wiring(
            self.conf, self._topics.values(), list(self._agents.values()), self._tables.values(), fail_fast=fail_fast
        )
        try:
            await wiring.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish open events, commit, and leave; within the deadlines of the settings."""
        wiring, self._wiring = self._wiring, None
        if wiring is not None:
            await wiring.stop()

    @property
    def engine(self) -> Engine:
        """The engine of the running app.

        Raises:
            ConfigurationError: the app is not started.
        """
        if self._wiring is None or self._wiring.engine is None:
            raise ConfigurationError(f"app {self.id} is not started: run a worker, or await app.start() first")
        return self._wiring.engine

    def worker(self, **options: Any) -> Worker:
        """A worker for this app; the options are those of :class:`Worker`."""
        return Worker(self, **options)

    def main(self) -> None:
        """Run the command line of this app: ``python app.py worker``, and all other commands of ``stream``."""
        from stream_cli.main import run  # noqa: PLC0415 - the command line is loaded only by programs that are one

        run(self, sys.argv[1:])

    def __repr__(self) -> str:
        return f"<App {self.id}: {len(self._agents)} agents, {len(self._tables)} tables>"
