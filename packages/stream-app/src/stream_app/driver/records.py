"""What a test reads: records of topics, and dead letters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stream_core.errors import ValidationError
from stream_core.primitives import TP, RawRecord
from stream_core.sending.dead_letters import PREFIX
from stream_core.sending.topic import AnyTopic

__all__ = ["DeadLetter", "Output", "letter_of", "output_of"]

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


def output_of(topic: AnyTopic, tp: TP, record: RawRecord) -> Output[Any, Any]:
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


def letter_of(record: RawRecord, topics: dict[str, AnyTopic]) -> DeadLetter:
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
