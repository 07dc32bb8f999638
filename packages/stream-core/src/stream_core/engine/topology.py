"""Who reads what: the subscriptions and actors of one engine, also those that appear when agents' bodies run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from stream_core.agents.actor import Actor
from stream_core.agents.agent import Agent
from stream_core.agents.supervisors import Supervisor
from stream_core.engine.context import EngineContext
from stream_core.engine.judging import Judge
from stream_core.engine.pipes import Pipe, Source, pump, same_bytes, topic_between
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.primitives import TP
from stream_core.sending.several import TopicPattern
from stream_core.sending.topic import AnyTopic
from stream_core.streams.channel import Channel
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import current_effects
from stream_core.streams.repartition import Key
from stream_core.streams.sessions import Inbox, Subscription
from stream_core.streams.stream import LooseStream, Stream

__all__ = ["Topology"]


class Topology:
    """The subscriptions and actors of one engine; the :class:`~stream_core.streams.stream.Host` of their streams.

    Args:
        context: what the parts of the engine share.
        on_progress: called when there may be room for more records.
        on_change: called after a subscription was added or removed.

    Attributes:
        subscriptions: all of them, in the order they came.
        actors: of all agents and pipes.
    """

    def __init__(
        self, context: EngineContext, *, on_progress: Callable[[], None], on_change: Callable[[], None]
    ) -> None:
        self._context = context
        self._judge = Judge(context)
        self._max_restarts = context.settings.max_restarts
        self._watch = context.watch
        self._topics = context.topics
        self._outbox = context.outbox
        self._run = context.run
        self._interval = context.interval
        self._background = context.background
        self._on_progress = on_progress
        self._on_change = on_change
        self._owners: dict[Subscription, Agent] = {}
        self._pipes: dict[str, Pipe] = {}
        self._sources: dict[Subscription, Source] = {}
        self._channels: dict[Subscription, Channel[Any, Any]] = {}
        self._patterns: dict[Subscription, TopicPattern[Any, Any]] = {}
        self._isolated: dict[tuple[TP, Subscription], Actor] = {}
        self.subscriptions: list[Subscription] = []
        self.actors: list[Actor] = []

    def start(self) -> None:
        """Let all actors run."""
        for actor in list(self.actors):
            self._start(actor)

    def _start(self, actor: Actor) -> None:
        with self._run.entered():  # a stream outside of agents may ask for it, in a task from elsewhere
            self._background.watch(actor.start())

    @property
    def cursors(self) -> list[Cursor]:
        """The cursors of everybody who reads."""
        return list({cursor: None for subscription in self.subscriptions for cursor in subscription.cursors})

    @property
    def topics(self) -> Mapping[str, AnyTopic]:
        """All topics by name, with those of pipes and dead letters."""
        return self._topics

    @property
    def pipes(self) -> list[tuple[str, str, str]]:
        """Give of each pipe who reads in front of it, the topic between, and who reads behind it, by the names of agents and streams."""
        found = []
        for pipe in list(self._pipes.values()):
            names = [self._owners[one].name if one in self._owners else one.name for one in (pipe.source, pipe.behind)]
            found += [(names[0], topic, names[1]) for topic in pipe.behind.topics]
        return found

    @property
    def sources(self) -> set[str]:
        """The topics that somebody reads."""
        return {topic for subscription in self.subscriptions for topic in subscription.topics}

    @property
    def between(self) -> set[str]:
        """Those of them that the pipes fill."""
        return {topic for pipe in self._pipes.values() for topic in pipe.behind.topics}

    @property
    def inputs(self) -> set[str]:
        """The sources that have events for somebody: all but the topic of the leader."""
        return {topic for one in self.subscriptions if one.cursors or one.isolated for topic in one.topics}

    def lead(self, topic: AnyTopic) -> None:
        """Read a topic for its assignment only: whoever has its partition is the leader."""
        subscription = self._subscribe(topic.name, topic)
        subscription.inbox.asked.set()

    def add(self, agent: Agent) -> None:
        """Subscribe an agent, and make its actors; they are not started."""
        subscription = self._subscribe(agent.name, agent.topic, agent.concurrency)
        of_channel = subscription in self._channels
        self._judge.provide(agent.on_failure, subscription, of_channel=of_channel)
        for topic in () if of_channel else list(self._topics.values()):
            if topic.on_produce_error is not None:
                self._judge.provide(topic.on_produce_error, subscription, of_channel=False)
        self._owners[subscription] = agent
        supervisor = Supervisor(agent.strategy, self._max_restarts)
        if agent.isolated_partitions:
            subscription.isolate = partial(self._isolate, agent, subscription, supervisor)
            subscription.inbox.asked.set()  # its bodies run when it has partitions: nothing is to be waited for before
            return
        for number in range(agent.concurrency):
            self._act(agent, subscription, number, supervisor)

    def _isolate(self, agent: Agent, subscription: Subscription, supervisor: Supervisor, tp: TP) -> Inbox:
        """Start the actor of one partition; returns what waits for it."""
        inbox = Inbox()
        actor = self._isolated[tp, subscription] = self._act(agent, subscription, tp, supervisor, inbox)
        self._start(actor)
        return inbox

    def gave_up(self) -> None:
        """Stop the actors that were each for one partition: this worker has none any more, and may never get theirs again."""
        for (tp, subscription), actor in self._isolated.items():
            del subscription.lanes[tp]
            self.actors.remove(actor)
            actor.leave(self._background)
        self._isolated = {}

    @property
    def has_patterns(self) -> bool:
        """Whether somebody reads topics by a pattern."""
        return bool(self._patterns)

    def match(self, names: Iterable[str]) -> None:
        """Let patterns find their topics among ``names``, less those of dead letters."""
        for pattern in self._patterns.values():
            pattern.find(name for name in names if name not in self._judge.letters)
        self._take_topics()

    def _take_topics(self) -> None:
        """Let those who read by a pattern read what it has found, less the topics that their own events go through."""
        for subscription, pattern in self._patterns.items():
            for topic in pattern.parts:  # also those that another engine of this process has found
                self._context.know(topic)
            own = self._filled_from(subscription)
            subscription.topics = tuple(topic.name for topic in pattern.parts if topic.name not in own)

    def _filled_from(self, subscription: Subscription) -> set[str]:
        """Give the topics that the events of a subscription go through."""
        fronts, topics = {subscription}, set[str]()
        for pipe in self._pipes.values():  # in the order in which they were made: what is in front comes first
            if pipe.source in fronts:
                fronts.add(pipe.behind)
                topics.update(pipe.behind.topics)
        return topics

    def stream(self, channel: Source, name: str | None = None) -> Stream[Any]:
        """Make a stream over a topic or channel, outside of agents; it ends when its iteration is closed.

        Args:
            channel: what to read.
            name: what names its progress in committed offsets; give one when several streams read one topic.

        Raises:
            ConfigurationError: there is a stream or agent of that name.
        """
        name, cursor = name or f"stream-{channel.name}", current_effects()
        subscription = next((known for known in self.subscriptions if known.name == name), None)
        again = subscription is not None and self._sources[subscription] is channel and cursor in subscription.cursors
        if subscription is None or not again:  # else the body of an agent runs again, and goes on with its stream
            subscription = self._subscribe(name, channel)
        return self._loose(subscription, self._unsubscribe)

    def pipe(self, stream: Stream[Any], target: Any, *, key: Key | None = None) -> Stream[Any]:
        """Send every event of ``stream`` to the topic ``target``, and give the stream that reads it; see :class:`Host`.

        A body that runs again gets the pipe that is there.
        """
        source, cursor = stream.subscription, stream.iteration.cursor
        topic = topic_between(self._context, source.name, self._sources[source], target, key)
        name = f"{source.name}/{topic.name}"
        pipe = self._pipes.get(name)
        if pipe is None:
            behind = self._subscribe(name, topic)
            behind.emit = self._outbox.held.emit
            try:
                actor = self._pipe_actor(f"{source.name}>{topic.name}", stream, topic, key)
            except BaseException:  # else the next run of the body would find a pipe that nobody fills
                self._unsubscribe(behind)
                raise
            pipe = self._pipes[name] = Pipe(source, behind, actor)
            self._take_topics()
            if source in self._owners:
                self._owners[behind] = self._owners[source]
            self._start(actor)
        behind = pipe.behind
        if cursor not in behind.cursors:
            behind.cursors.append(cursor)
        if isinstance(stream, LooseStream):
            return self._loose(behind, lambda _: self._close_pipe(name, stream))
        return Stream(behind, cursor, self)

    def source(self, stream: Stream[Any]) -> Source:
        """Give the topic, topics or channel that a stream reads; see :class:`Host`."""
        return self._sources[stream.subscription]

    def _loose(self, subscription: Subscription, close: Callable[[Subscription], None]) -> Stream[Any]:
        return LooseStream(
            subscription, self, close=close, emit=self._outbox.held.emit, on_conflict=self._interval.spoil
        )

    def _close_pipe(self, name: str, stream: Stream[Any]) -> None:
        """Close a pipe outside of agents whose stream behind was left: stop its actor, and read in front of it no more."""
        pipe = self._pipes.pop(name)
        self.actors.remove(pipe.actor)
        pipe.actor.stop()
        self._unsubscribe(pipe.behind)
        stream.close()

    # -- parts

    def _subscribe(self, name: str, channel: Source, concurrency: int = 1) -> Subscription:
        """Make the reader of a channel or of topics, known by a name of its own.

        Raises:
            ConfigurationError: the name is taken.
        """
        if any(subscription.name == name for subscription in self.subscriptions):
            raise ConfigurationError(f"there is a reader named {name} already: give one of the two another name=")
        if isinstance(channel, Channel):
            subscription = Subscription(name, (), concurrency)
            channel.subscribe(subscription)
            self._channels[subscription] = channel
        else:
            for topic in channel.parts:
                self._context.know(topic)
            subscription = Subscription(name, tuple(topic.name for topic in channel.parts), concurrency)
            subscription.manual = not channel.acks
            subscription.on_progress = self._on_progress
            self._judge.provide(channel.on_decode_error, subscription, of_channel=False)
            if isinstance(channel, TopicPattern):
                channel.schema.check()
                self._patterns[subscription] = channel
            subscription.watch = self._watch
        subscription.reject = partial(self._judge.reject, subscription)
        self._sources[subscription] = channel
        self.subscriptions.append(subscription)
        self._on_change()
        return subscription

    def _unsubscribe(self, subscription: Subscription) -> None:
        if subscription in self.subscriptions:
            self.subscriptions.remove(subscription)
            self._patterns.pop(subscription, None)
            self._sources.pop(subscription)
            self._owners.pop(subscription, None)
            if (channel := self._channels.pop(subscription, None)) is not None:
                channel.unsubscribe(subscription)
            subscription.inbox.drop(subscription)
            self._on_change()
            self._on_progress()  # whoever waits for readers that run out of records must not wait for this one

    def end_streams(self) -> None:
        """Let those who read streams outside of agents get an error: they may be in tasks that this engine cannot cancel."""
        for subscription in self.subscriptions:
            if subscription.reader is not None:
                subscription.inbox.end(
                    f"stream {subscription.name} has ended: app {self._run.name} was stopped; read it anew when the app is started"
                )

    def leave_channels(self) -> None:
        """Unsubscribe from all channels: channels outlive this engine, and their senders must not wait for it."""
        for subscription, channel in self._channels.items():
            channel.unsubscribe(subscription)

    def provide(self, policy: FailurePolicy) -> None:
        """Let the topic of dead letters be declared of a policy that holds for all who read topics, whatever their own says."""
        for reader in self.subscriptions:
            if reader not in self._channels:
                self._judge.provide(policy, reader, of_channel=False)

    def _act(
        self,
        agent: Agent,
        subscription: Subscription,
        number: int | TP,
        supervisor: Supervisor,
        inbox: Inbox | None = None,
    ) -> Actor:
        actor = Actor(
            agent,
            subscription,
            number,
            self._outbox,
            supervisor=supervisor,
            policy=self._judge.choose,
            ending=lambda: self._background.stopping,
            on_conflict=self._interval.spoil,
            host=self,
            inbox=inbox,
        )
        self.actors.append(actor)
        return actor

    def _pipe_actor(self, name: str, stream: Stream[Any], topic: Source, key: Key | None) -> Actor:
        """Make the actor that fills a pipe; it is not started."""
        source, processors = stream.subscription, stream.iteration.processors
        owner = self._owners.get(source)
        policy = FailurePolicy.CRASH if owner is None else owner.on_failure
        same = all(same_bytes(self._sources[one], topic) for one in processors)
        body = pump(topic, processors, key, whole=key is None and not any(processors.values()) and same)
        agent = Agent(body, name=name, topic=self._sources[source], on_failure=policy)
        agent.part_of = owner
        actor = self._act(agent, source, 0, Supervisor(agent.strategy, self._max_restarts))
        for other in processors:
            if actor.cursor not in other.cursors:
                other.cursors.append(actor.cursor)
        return actor
