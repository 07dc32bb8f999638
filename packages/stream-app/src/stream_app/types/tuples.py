"""Topics with partitions, messages, and what becomes of sends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TypeAlias

from stream_core.primitives import TP, RecordMetadata
from stream_core.streams.events import Message

__all__ = [
    "TP",
    "ConsumerMessage",
    "FutureMessage",
    "Message",
    "MessageSentCallback",
    "RecordMetadata",
    "tp_set_to_map",
]

ConsumerMessage: TypeAlias = Message
FutureMessage: TypeAlias = Awaitable[RecordMetadata]
"""What ``await topic.send(...)`` returns: it can be awaited for the metadata."""
MessageSentCallback: TypeAlias = Callable[[FutureMessage], Awaitable[None] | None]


def tp_set_to_map(tps: Iterable[TP]) -> MutableMapping[str, set[TP]]:
    """Group partitions by the names of their topics."""
    topics: dict[str, set[TP]] = {}
    for tp in tps:
        topics.setdefault(tp.topic, set()).add(tp)
    return topics
