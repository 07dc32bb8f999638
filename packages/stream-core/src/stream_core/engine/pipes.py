"""Pipes: what ``through`` and ``group_by`` make of a stream.

An actor of its own reads the stream in front and sends to the topic between, and the stream behind is a subscription to that topic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from inspect import isawaitable
from typing import Any, NamedTuple

from stream_core.agents.actor import Actor
from stream_core.agents.agent import AgentBody
from stream_core.engine.context import EngineContext
from stream_core.errors import EncodeError
from stream_core.sending.several import TopicPattern
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_core.streams.iteration import Processor
from stream_core.streams.repartition import Key
from stream_core.streams.sessions import Subscription
from stream_core.streams.stream import Stream

__all__ = ["Pipe", "Source", "pump", "same_bytes", "topic_between"]

Source = AnyTopic | Channel[Any, Any]
"""What a stream reads."""


class Pipe(NamedTuple):
    """What ``through`` and ``group_by`` make.

    Attributes:
        source: reads what goes into it.
        behind: reads the topic between.
        actor: fills that topic.
    """

    source: Subscription
    behind: Subscription
    actor: Actor


def topic_between(context: EngineContext, reader: str, source: Source, target: Any, key: Key | None) -> Source:
    """Return the topic that a pipe fills; one that is named, and that no definition knows, is made.

    Args:
        context: what the parts of the engine share.
        reader: the agent or stream in front.
        source: what it reads.
        target: a topic or channel, the name of a topic, or ``None``: the app and ``key`` make the name.
        key: the new keys, if they change.
    """
    if isinstance(target, (Topic, Channel)):
        return target
    schema = (
        source.wire_schema if isinstance(source, Channel) else source.schema
    )  # events of a channel have no bytes yet
    name: str = target or ""
    if key is not None and not target:  # two apps, or two versions of one, may have the same agents and sources
        name = f"{context.settings.group}-{key.topic(reader, _name_of(source), schema.value_type)}"
    if name in context.topics:
        return context.topics[name]
    partitions = None if key is None else key.partitions
    made = Topic[Any, Any](name, schema=schema if key is None else key.schema(schema), partitions=partitions)
    known = source if isinstance(source, Topic) else next(iter(context.topics.values()), made)
    made.registry, made.describe = known.registry, known.describe
    made.bind(context.run, context.outbox)
    return made


def _name_of(source: Source) -> str:
    """Give the part that ``source`` has in the names of topics: of several topics the first name, of a pattern its letters."""
    if isinstance(source, TopicPattern):
        return re.sub(r"[^A-Za-z0-9_-]+", "-", source.name).strip("-") or "pattern"
    return source.name if isinstance(source, Channel) else source.parts[0].name


def same_bytes(source: Source, topic: Source) -> bool:
    """Tell whether the bytes of ``source`` mean the same in ``topic``."""
    return (
        isinstance(source, Topic)
        and isinstance(topic, Topic)
        and {part.schema for part in source.parts} == {topic.schema}
    )


def pump(
    topic: Source, processors: Mapping[Subscription, Sequence[Processor]], key: Key | None, *, whole: bool
) -> AgentBody:
    """Make the body of a pipe; with ``whole`` it sends the same bytes on.

    It also finishes events that are finished by hand, because the body behind the pipe never gets them.
    """

    async def pump(stream: Stream[Any]) -> None:
        stream.iteration.processors = {subscription: list(steps) for subscription, steps in processors.items()}
        async for event in stream.events():
            message = event.message
            if whole:
                await event.forward(topic, timestamp=message.timestamp)
                event.ack()
                continue
            new = event.key if key is None else key.compute(event.value)
            if isawaitable(new):
                new = await new
            headers = list(message.headers)
            try:
                await topic.send(event.value, key=new, timestamp=message.timestamp, headers=headers)
            except EncodeError as error:
                if key is not None:
                    key.refuse(new, error)
                raise
            event.ack()

    return pump
