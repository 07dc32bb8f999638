"""What moves between the layers: raw records in batches, offsets, the identity of a group member."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

__all__ = [
    "SAMPLE",
    "TP",
    "Batch",
    "GroupMetadata",
    "Headers",
    "HeadersArg",
    "Host",
    "Offset",
    "Outgoing",
    "Owners",
    "RawRecord",
    "RecordMetadata",
    "StoredRecord",
    "TopicInfo",
    "TopicSpec",
    "header_pairs",
    "listed",
]

SAMPLE = 64
"""Records of a batch that are measured to know how many bytes it has."""

Headers = Sequence[tuple[str, bytes]]
"""Record headers as they are on the wire: names may repeat, values are bytes (or ``None`` on foreign records)."""

Outgoing = tuple[str, int | None, bytes | None, bytes | None, int | None, Headers]
"""A record that is to be sent: topic, partition or ``None``, key, value, milliseconds since the epoch or ``None`` for now, headers."""

HeadersArg = Mapping[str, bytes] | Headers
"""Headers as users give them: a mapping, or pairs, where names may repeat."""


def header_pairs(headers: HeadersArg | None) -> Headers:
    """Return headers as pairs of name and content; none for ``None``."""
    return () if headers is None else list(headers.items()) if isinstance(headers, Mapping) else headers


class TP(NamedTuple):
    """A topic and one of its partitions."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


def listed(tps: Iterable[TP]) -> str:
    """Return partitions in words that stay short: ``deposits 0-5, echo 0, 2``."""
    topics: dict[str, list[list[int]]] = {}
    for topic, partition in sorted(tps):
        ranges = topics.setdefault(topic, [])
        if ranges and ranges[-1][1] == partition - 1:
            ranges[-1][1] = partition
        else:
            ranges.append([partition, partition])
    return ", ".join(
        f"{topic} " + ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges)
        for topic, ranges in topics.items()
    )


class RawRecord(Protocol):
    """One record as the transport delivers it. Real clients hand over their own compiled objects: never built per event."""

    @property
    def offset(self) -> int:
        """Offset in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""

    @property
    def key(self) -> bytes | None:
        """Key bytes."""

    @property
    def value(self) -> bytes | None:
        """Value bytes; ``None`` is a tombstone."""

    @property
    def headers(self) -> Headers:
        """Header names and values."""


class StoredRecord(NamedTuple):
    """A :class:`RawRecord` that is plain data: what the in-process broker stores, and what tests build."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition in offset order.

    Attributes:
        tp: the partition.
        records: the records, possibly none (control or aborted records only move ``next_offset``).
        next_offset: the fetch position behind this batch, past control and aborted records.
        end_offset: the end of the partition that the fetch saw (the last stable offset under ``read_committed``),
            or -1 when unknown: lag is ``end_offset - next_offset``.
        garbled: why, by offset, for those of the records whose bytes are no whole record: they hold what could be read, and no event
            may be made of them.
    """

    tp: TP
    records: Sequence[RawRecord]
    next_offset: int
    end_offset: int = -1
    garbled: Mapping[int, str] = field(default_factory=dict)

    @property
    def size(self) -> float:
        """About how many bytes the keys and values have: exact when there are few, which large ones are, else from a sample."""
        sample = self.records[:: max(len(self.records) // SAMPLE, 1)]
        total = sum(len(record.key or b"") + len(record.value or b"") for record in sample)
        return total * len(self.records) / max(len(sample), 1)


class Offset(NamedTuple):
    """A committed position: the next offset to read, and the text committed with it (at most 4096 bytes)."""

    offset: int
    metadata: str = ""


@dataclass(frozen=True, slots=True)
class GroupMetadata:
    """The identity under which offsets are committed, as a snapshot taken at assignment (KIP-447).

    A generation below zero means "not a member": such metadata must never be sent, brokers accept it from anyone.
    """

    group: str
    generation: int
    member: str
    instance: str | None = None


class Host(NamedTuple):
    """The worker that owns a partition, as the other members of its group know it.

    Attributes:
        instance: id of the worker that survives restarts; empty when unknown.
        url: where it answers requests of other workers; empty when it publishes none.
    """

    instance: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Owners:
    """Who owns the partitions of a group, as one member knows it.

    Attributes:
        hosts: the owner of each partition, of the topics that any member subscribes to; empty before the first assignment.
        generation: the generation in which that was so; -1 before the first.
        settled: whether this member knows of no later generation. While it is false, ``hosts`` is what was true last: partitions are on
            the move, or this member has lost its place in the group.
        members: all members of the group, those that own nothing included; empty when the leader of the group does not tell.
    """

    hosts: Mapping[TP, Host] = field(default_factory=dict)
    generation: int = -1
    settled: bool = False
    members: tuple[Host, ...] = ()


class RecordMetadata(NamedTuple):
    """Where the broker put a record that was sent. ``timestamp`` is in milliseconds, -1 when unknown."""

    topic: str
    partition: int
    offset: int
    timestamp: int = -1

    @property
    def topic_partition(self) -> TP:
        """The partition as one value."""
        return TP(self.topic, self.partition)


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to declare.

    Attributes:
        name: topic name.
        partitions: number of partitions.
        replication: replication factor.
        config: topic configuration in Kafka's names, such as ``{"cleanup.policy": "compact"}``.
    """

    name: str
    partitions: int
    replication: int = 1
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic as the broker has it.

    Attributes:
        name: topic name.
        partitions: number of partitions.
        config: its configuration, in Kafka's names.
        id: changes when the topic is deleted and created again; empty when the broker does not tell.
    """

    name: str
    partitions: int
    config: Mapping[str, str] = field(default_factory=dict)
    id: str = ""
