"""What a test reads: records of topics, and dead letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stream_app.app import App
from stream_core.errors import ConfigurationError, ValidationError
from stream_core.primitives import TP, RawRecord
from stream_core.sending.dead_letters import PREFIX
from stream_core.sending.topic import AnyTopic, Topic
from stream_core.streams.channel import Channel
from stream_core.values.schemas import Schema

__all__ = ["DeadLetter", "Output", "Records"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Output(Generic[K, V]):
    """A record of a topic.

    Attributes:
        key: the key, decoded by the types of the topic.
        value: the value, likewise; ``None`` for a tombstone.
        headers: bytes by name.
        timestamp: seconds since the epoch.
        topic: its topic.
        partition: its partition.
        offset: its offset.
    """

    key: K
    value: V
    headers: dict[str, bytes | None]
    timestamp: float
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True)
class DeadLetter:
    """An event that failed for good, and went to the dead letters.

    Attributes:
        key: the key, decoded by the types of the topic that it comes from; the bytes where they cannot be decoded.
        value: the value, likewise.
        headers: the headers that the record had.
        topic: where it comes from.
        partition: its partition there.
        offset: its offset there.
        agent: who could not work on it.
        error_type: the class of the error, with its module unless it is one of Python.
        error_message: what the error says.
    """

    key: Any
    value: Any
    headers: dict[str, bytes | None]
    topic: str
    partition: int
    offset: int
    agent: str
    error_type: str
    error_message: str


class Records:
    """What is in topics, decoded by their types.

    Args:
        apps: those of the driver.
        topics: gives the topics that only a worker knows, by name, such as those of pipes.
        read: reads all records of a topic.
    """

    def __init__(
        self,
        apps: Sequence[App],
        topics: Callable[[], dict[str, AnyTopic]],
        read: Callable[[str], Sequence[tuple[TP, RawRecord]]],
    ) -> None:
        self._apps = apps
        self._of_workers = topics
        self._read = read
        self._seen: dict[TP, int] = {}

    def _topics(self) -> dict[str, AnyTopic]:
        return self._of_workers() | {name: topic for app in self._apps for name, topic in app.topics.items()}

    def topic(self, topic: AnyTopic | str) -> AnyTopic:
        """Find the topic of a name. Raises ConfigurationError for what is neither a topic nor a name."""
        if isinstance(topic, Channel):
            raise ConfigurationError(
                f"channel {topic.name} keeps nothing that could be read: read what agents do with it"
            )
        if isinstance(topic, Topic):
            return topic
        if not isinstance(topic, str):
            raise ConfigurationError(f"{topic!r} is not a topic: give one, or its name")
        return self._topics().get(topic) or Topic(topic, schema=Schema(None, None))

    def all(self, topic: AnyTopic | str) -> list[Output[Any, Any]]:
        """Read all records of a topic."""
        found = self.topic(topic)
        return [_output(found, tp, record) for part in found.parts for tp, record in self._read(part.name)]

    def new(self, topic: AnyTopic | str) -> list[Output[Any, Any]]:
        """Read the records of a topic that came since the last call for it."""
        new = [one for one in self.all(topic) if one.offset >= self._seen.get(TP(one.topic, one.partition), 0)]
        self._seen |= {TP(one.topic, one.partition): one.offset + 1 for one in sorted(new, key=lambda one: one.offset)}
        return new

    def dead_letters(self) -> list[DeadLetter]:
        """Read all topics of dead letters."""
        topics = self._topics()
        names: dict[str, None] = {}
        for app in self._apps:
            policies = [agent.on_failure for agent in app.agents.values()]
            for topic in app.topics.values():
                policies += [one for one in (topic.on_decode_error, topic.on_produce_error) if one is not None]
            letters = [one.topic for one in policies if one.action == "dead_letter"]
            names |= {name or f"{app.id}-dead-letter": None for name in letters}
        return [_letter(record, topics) for name in names for _, record in self._read(name)]


def _output(topic: AnyTopic, tp: TP, record: RawRecord) -> Output[Any, Any]:
    """Decode a record by the types of its topic. Raises ValidationError when it cannot be decoded."""
    schema = topic.wire
    try:
        key, value = schema.read_key(record), None if record.value is None else schema.read_value(record)
    except Exception as error:
        raise ValidationError(
            f"{tp} offset {record.offset} cannot be decoded by the types of the topic: {error}"
        ) from error
    return Output(
        key=key,
        value=value,
        headers=dict(record.headers),
        timestamp=record.timestamp / 1000,
        topic=tp.topic,
        partition=tp.partition,
        offset=record.offset,
    )


def _letter(record: RawRecord, topics: dict[str, AnyTopic]) -> DeadLetter:
    """Read a dead letter, as :func:`stream_core.sending.dead_letters.letter_headers` has written it.

    Args:
        record: the letter.
        topics: the topics by name, whose types decode keys and values.
    """
    told = {name[len(PREFIX) :]: (data or b"").decode() for name, data in record.headers if name.startswith(PREFIX)}
    source = topics.get(told.get("topic", ""))
    key: Any = record.key
    value: Any = record.value
    if source is not None:
        try:
            key, value = source.wire.read_key(record), source.wire.read_value(record)
        except Exception:  # that may be why it is here
            key, value = record.key, record.value
    return DeadLetter(
        key=key,
        value=value,
        headers={name: data for name, data in record.headers if not name.startswith(PREFIX)},
        topic=told.get("topic", ""),
        partition=int(told.get("partition", "-1")),
        offset=int(told.get("offset", "-1")),
        agent=told.get("agent", ""),
        error_type=told.get("error-type", ""),
        error_message=told.get("error-message", ""),
    )
