"""Topics and channels as an app defines them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, ClassVar, TypedDict, TypeVar, Unpack, overload

from stream_app.definitions.checked import checked
from stream_app.definitions.descriptions import check_again, refusing
from stream_app.definitions.registry import Registry
from stream_core.errors import ConfigurationError
from stream_core.policies import FailurePolicy
from stream_core.sending.several import TopicGroup, TopicPattern
from stream_core.sending.topic import Topic
from stream_core.streams.channel import Channel
from stream_core.values.codecs import CodecArg
from stream_core.values.schemas import Schema

__all__ = ["REFUSED", "ChannelOptions", "TopicDefinitions", "TopicOptions", "TypedTopicOptions"]

K = TypeVar("K")
V = TypeVar("V")


class TopicOptions(TypedDict, total=False):
    """What a topic description may say beside its types.

    Attributes:
        key_serializer: codec of the keys, by name.
        value_serializer: codec of the values, by name.
        partitions: partitions to create it with when it does not exist.
        replicas: replication factor to create it with.
        retention: how long the broker keeps records, in seconds or as a timedelta.
        compacting: keep only the latest record of each key.
        deleting: delete what is older than ``retention``, which is what brokers do unless the topic is compacting.
        config: more topic configuration, in Kafka's names.
        internal: whether it belongs to the app alone; the app creates any topic that does not exist, so this only tells readers.
        maxsize: records of one partition that may wait for an agent; the setting ``stream_buffer_maxsize`` when left out.
        on_decode_error: the failure policy for records that cannot be decoded.
        on_produce_error: the failure policy for events whose sends to this topic cannot be encoded, or are refused; that of
            the agent when left out.
        acks: ``False`` leaves it to the agents to acknowledge each event.
    """

    key_serializer: CodecArg
    value_serializer: CodecArg
    partitions: int | None
    replicas: int | None
    retention: float | timedelta | None
    compacting: bool | None
    deleting: bool | None
    config: Mapping[str, str] | None
    internal: bool
    maxsize: int | None
    on_decode_error: str | FailurePolicy
    on_produce_error: str | FailurePolicy | None
    acks: bool


class TypedTopicOptions(TopicOptions, total=False):
    """What an agent says of a topic of its own.

    Attributes:
        key_type: type of the keys.
        value_type: type of the values.
        schema: types and serializers as one object, in place of those.
    """

    key_type: Any
    value_type: Any
    schema: Schema | None


_INSIDE = "it belongs to the inside of Faust: leave it out"

REFUSED: dict[str, str] = {
    "allow_empty": "a record without a key or value has None there, in every topic; where others write empty bytes, decode them in a codec "
    "of your own (key_serializer, value_serializer)",
    "has_prefix": "names are taken as they are: write the whole name of the topic",
    "active_partitions": "the group assigns partitions to workers: send to a topic of its own what one worker is to have",
    "loop": "nothing is bound to an event loop before the app starts: leave it out",
    "queue": _INSIDE,
    "root": _INSIDE,
    "is_iterator": _INSIDE,
}
"""Options of Faust's topics and channels that have no effect here, and why."""


class ChannelOptions(TypedDict, total=False):
    """What a channel may say beside its types.

    A channel hands objects over as they are. Types and serializers count where its events go through a topic: ``stream.through(topic)`` and
    ``stream.group_by(...)``, for a topic that says nothing of its own.

    Attributes:
        key_serializer: codec of the keys, by name.
        value_serializer: codec of the values, by name.
        schema: types and serializers as one object, in place of those.
        maxsize: events that may wait for the slowest reader before ``send`` waits; the setting ``stream_buffer_maxsize`` when left out.
    """

    key_serializer: CodecArg
    value_serializer: CodecArg
    schema: Schema | None
    maxsize: int | None


class TopicDefinitions(Registry):
    """Defines topics and channels."""

    topic_class: ClassVar[type[Topic[Any, Any]]] = Topic
    """The class of topics, if it is one of yours. In a subclass of the app ``Topic = MyTopic`` means it."""

    channel_class: ClassVar[type[Channel[Any, Any]]] = Channel
    """The class of channels likewise."""

    @overload
    def topic(
        self, *names: str, key_type: type[K], value_type: type[V], **options: Unpack[TopicOptions]
    ) -> Topic[K, V]: ...
    @overload
    def topic(self, *names: str, value_type: type[V], **options: Unpack[TopicOptions]) -> Topic[Any, V]: ...
    @overload
    def topic(self, *names: str, key_type: type[K], **options: Unpack[TopicOptions]) -> Topic[K, Any]: ...
    @overload
    def topic(
        self,
        *names: str,
        key_type: Any = None,
        value_type: Any = None,
        schema: Schema | None = None,
        pattern: str | re.Pattern[str] | None = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[Any, Any]: ...
    @refusing(REFUSED)
    @checked
    def topic(
        self,
        *names: str,
        key_type: Any = None,
        value_type: Any = None,
        schema: Schema | None = None,
        pattern: str | re.Pattern[str] | None = None,
        **options: Unpack[TopicOptions],
    ) -> Topic[Any, Any]:
        """Describe a topic. Describing it again gives the same topic, and must not contradict what was said before.

        Args:
            names: name of the topic; several names are topics that are read as one, and cannot be sent to.
            key_type: type of the keys; bytes when left out.
            value_type: type of the values; JSON if it parses, else bytes, when left out.
            schema: types and serializers as one object, in place of those.
            pattern: in place of names, a regular expression for the whole of a name: all topics that match are read as one, those
                that appear later too (see the setting ``topic_discovery_interval``). A topic that is described by its name keeps
                that description.
            options: see :class:`TopicOptions`.

        Raises:
            ConfigurationError: no name is given, a name is not a topic name, there is no such option, or the topic is described already
                and something that is said here differs.
        """
        if (pattern is None) == (not names):
            raise ConfigurationError("app.topic() needs the name of the topic, or pattern=: one of them")
        names = tuple(dict.fromkeys(names))
        rest: dict[str, Any] = {**options}
        serializers = rest.pop("key_serializer", None), rest.pop("value_serializer", None)
        compiled = self._schema(f"topic {', '.join(names) or pattern}", schema, key_type, value_type, *serializers)
        if pattern is not None:
            found = TopicPattern[Any, Any](pattern, schema=compiled, **rest)
            found.registry = self.schemas  # and no `describe`: a topic that is derived from it would have no name
            return found
        types = {"key_type": key_type, "value_type": value_type}
        with self._defining:
            for known in filter(None, map(self._topics.get, names)):
                check_again(known, None if schema is None else compiled, {**types, **options})
            cls: type[Topic[Any, Any]] = self.conf.settle("Topic", f"topic {names[0]}") or self.topic_class
            topics = [self._topics.get(name) or cls(name, schema=compiled, **rest) for name in names]
            whole = topics[0] if len(topics) == 1 else TopicGroup(topics)
            for described in (*topics, whole):
                described.describe = self.topic
                described.registry = self.schemas
            for topic in topics:
                topic.by_name = False
            for topic in topics:  # last: a call that is refused leaves nothing behind
                if self._topics.setdefault(topic.name, topic) is topic:
                    self._defined(topic)
        return whole

    @overload
    def channel(
        self, name: str = "channel", *, key_type: type[K], value_type: type[V], **options: Unpack[ChannelOptions]
    ) -> Channel[K, V]: ...
    @overload
    def channel(
        self, name: str = "channel", *, value_type: type[V], **options: Unpack[ChannelOptions]
    ) -> Channel[Any, V]: ...
    @overload
    def channel(
        self, name: str = "channel", *, key_type: Any = None, value_type: Any = None, **options: Unpack[ChannelOptions]
    ) -> Channel[Any, Any]: ...
    @refusing(REFUSED)
    @checked
    def channel(
        self,
        name: str = "channel",
        *,
        key_type: Any = None,
        value_type: Any = None,
        **options: Unpack[ChannelOptions],
    ) -> Channel[Any, Any]:
        """Make an in-memory channel: for agents that work for others of this process, and for tests.

        Args:
            name: for messages.
            key_type: type of the keys, for readers and type checkers.
            value_type: type of the values, likewise.
            options: see :class:`ChannelOptions`.
        """
        what, size, schema = f"channel {name}", options.get("maxsize"), options.get("schema")
        if size is None:
            size = self.conf.settle("stream_buffer_maxsize", what)
        serializers = options.get("key_serializer"), options.get("value_serializer")
        wire = self._schema(what, schema, key_type, value_type, *serializers)
        cls: type[Channel[Any, Any]] = self.conf.settle("Channel", what) or self.channel_class
        channel = cls(name, maxsize=size, key_type=wire.key_type, value_type=wire.value_type, wire_schema=wire)
        with self._defining:
            self._channels.add(channel)
        return channel

    # -- parts

    def _schema(
        self,
        what: str,
        given: Schema | None,
        key_type: Any,
        value_type: Any,
        key_serializer: CodecArg,
        value_serializer: CodecArg,
    ) -> Schema:
        said = {
            "key_serializer": key_serializer if given is None else given.key_serializer,
            "value_serializer": value_serializer if given is None else given.value_serializer,
        }
        for setting, own in said.items():
            if own is None:
                self.conf.settle(setting, what)
        key, value = self.conf.key_serializer, self.conf.value_serializer
        if given is None:
            return Schema(
                key_type=key_type,
                value_type=value_type,
                key_serializer=key_serializer,
                value_serializer=value_serializer,
                key_default=key,
                value_default=value,
            )
        if any(one is not None for one in (key_type, value_type, key_serializer, value_serializer)):
            raise ConfigurationError(
                "a topic has either schema=, or types and serializers of its own: leave one of them out"
            )
        same = (given.key_default, given.value_default) == (key, value)
        return given if same else replace(given, key_default=key, value_default=value)

    def _named(self, channel: Topic[Any, Any] | Channel[Any, Any] | str) -> Topic[Any, Any] | Channel[Any, Any]:
        """Give a topic by its name, described now if it was not; topics and channels as they are."""
        return self.topic_named(channel) if isinstance(channel, str) else channel

    def topic_named(self, name: str) -> Topic[Any, Any]:
        """Give a topic by its name, described now if it was not.

        :meta private:
        """
        if (known := self._topics.get(name)) is not None:
            return known
        topic = self.topic(name)
        topic.by_name = True
        return topic
