"""Agents of an app: how a program defines them, and what they add to the agents of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Unpack, overload

from stream_app.definitions.checked import checked
from stream_app.definitions.descriptions import refusing
from stream_app.definitions.topics import REFUSED, TopicDefinitions, TypedTopicOptions
from stream_app.running.defined import Defined
from stream_app.testing import AgentTest
from stream_core.agents import agent as agents
from stream_core.agents.agent import AgentBody, OnError
from stream_core.errors import ConfigurationError
from stream_core.functions import function_of, name_of
from stream_core.policies import FailurePolicy
from stream_core.sending.sinks import Sink
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_core.streams.stream import Stream
from stream_core.values.annotations import qualified_name

__all__ = ["Agent", "AgentDefinitions"]


class Agent(agents.Agent):
    """An agent that knows its app.

    Args:
        body: what runs over the stream.
        app: where it is defined.
        options: those of :class:`~stream_core.agents.agent.Agent`.
    """

    def __init__(self, body: AgentBody, *, app: Defined, **options: Any) -> None:
        super().__init__(body, **options)
        self._app = app

    def stream(self, channel: AnyTopic | Channel[Any, Any] | None = None, *, name: str | None = None) -> Stream[Any]:
        """Read what the agent reads, in a stream of your own: as ``app.stream(agent.channel)``, with a progress of its own.

        Args:
            channel: what to read in place of that.
            name: names its progress in committed offsets; ``stream-`` and the name of the agent when left out.

        Raises:
            ConfigurationError: as ``app.stream()``.
        """
        engine = self._app.engines.find(f"cannot read what agent {self.name} reads")
        return engine.stream(self.channel if channel is None else channel, name or f"stream-{self.name}")

    def test_context(self) -> AgentTest:
        """Run the agent alone, on an in-process broker and with empty tables, for a unit test.

        Example::

            async with greet.test_context() as agent:
                event = await agent.put("you")
                assert agent.results[event.message.offset] == "hello you"
        """
        return AgentTest(self, self._app)


class AgentDefinitions(TopicDefinitions):
    """Defines agents."""

    agent_class: ClassVar[type[Agent]] = Agent
    """The class of agents, if it is one of yours. In a subclass of the app ``Agent = MyAgent`` means it."""

    @overload
    def agent(self, channel: AgentBody) -> Agent: ...
    @overload
    def agent(
        self,
        channel: AnyTopic | Channel[Any, Any] | str | None = None,
        *,
        name: str | None = None,
        concurrency: int = 1,
        on_failure: str | FailurePolicy = FailurePolicy.CRASH,
        on_error: OnError | None = None,
        sink: Iterable[Sink] = (),
        supervisor_strategy: Any = None,
        use_reply_headers: bool = True,
        isolated_partitions: bool = False,
        help: str = "",
        **topic: Unpack[TypedTopicOptions],
    ) -> Callable[[AgentBody], Agent]: ...
    @refusing(REFUSED)
    @checked
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
        help: str = "",  # noqa: A002 - the name is the guides'
        **topic: Unpack[TypedTopicOptions],
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
            isolated_partitions: an actor for each assigned partition, so that one whose event fails or waits holds up none but itself;
                ``concurrency`` stays 1.
            help: what it does, in one sentence; the docstring of the body when left out.
            topic: arguments of :meth:`topic`, for a topic of the agent's own.

        Raises:
            ConfigurationError: there is an agent of that name, the body cannot be an agent, there is no such option, or topic arguments
                come with a channel, or that is none.
        """

        def define(body: AgentBody) -> Agent:
            known, body = name or _name_of(body), function_of(body)
            source = self._source(channel, known, topic)
            cls: type[Agent] = self.conf.settle("Agent", f"agent {known}") or self.agent_class
            agent = cls(
                body,
                app=self,
                name=known,
                topic=source,
                concurrency=concurrency,
                on_failure=on_failure,
                on_error=on_error,
                sink=sink,
                supervisor_strategy=supervisor_strategy or self.conf.settle("agent_supervisor", f"agent {known}"),
                use_reply_headers=use_reply_headers,
                isolated_partitions=isolated_partitions,
            )
            agent.help = help or agent.help
            with self._defining:
                self._require_stopped(f"agent {known}")
                if known in self._agents:
                    raise ConfigurationError(f"there are two agents named {known}; give one of them name=")
                self._agents[known] = agent
            return agent

        if not isinstance(channel, (Topic, Channel, str)) and (callable(channel) or isinstance(channel, classmethod)):
            body, channel = channel, None  # @app.agent without parentheses
            return define(body)
        return define

    actor = agent  # its name in old programs

    def _source(self, channel: Any, agent: str, options: TypedTopicOptions) -> AnyTopic | Channel[Any, Any]:
        if isinstance(channel, (Topic, Channel)):
            if options:
                raise ConfigurationError(
                    f"agent {agent}: {', '.join(sorted(options))} describe a topic of its own, and it reads {channel}: "
                    "say it where that is described"
                )
            return channel
        if not channel:
            return self.topic(f"{self._id_for(f'agent {agent}')}-{agent}", **options)
        if not isinstance(channel, str):
            raise ConfigurationError(
                f"agent {agent} cannot read {channel!r}: give it a topic, a channel, or the name of a topic"
            )
        return self.topic(channel, **options) if options else self._named(channel)


def _name_of(body: Any) -> str:
    """Name an agent that is given no name: ``module.function``."""
    function = getattr(function_of(body), "func", body)  # of a partial
    module = getattr(function, "__module__", None) or type(body).__module__
    return qualified_name(module, name_of(body).rpartition("<locals>.")[2])
