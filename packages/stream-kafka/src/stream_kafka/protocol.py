"""Requests that the client library lacks: fenced transactional offsets and stable offsets (KIP-447), topic ids (KIP-516), sizes (KIP-113).

Layouts are those of the message definitions in Apache Kafka: ``TxnOffsetCommitRequest`` version 3, ``OffsetFetchRequest``
version 7 and ``MetadataRequest`` version 12, all in the flexible format of KIP-482; and ``DescribeLogDirsRequest`` version 1, which is
older than that format and known to all brokers from 2.0 to 4.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from io import BytesIO
from typing import Any

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.types import (
    Array,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    String,
    TaggedFields,
)

from stream_core.primitives import TP, GroupMetadata, Offset

__all__ = ["DescribeLogDirs", "DescribeTopics", "OffsetFetch", "TxnOffsetCommit", "partitions_by_topic"]

_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_NO_TAGS: dict[int, bytes] = {}
_UNKNOWN_LEADER_EPOCH = -1


def _schema(*fields: tuple[str, Any]) -> Schema:
    """Return a structure of the flexible format (KIP-482), which ends with tagged fields."""
    return Schema(*fields, _TAGS)


def _array(*fields: tuple[str, Any]) -> CompactArray:
    """Return an array of such structures."""
    return CompactArray(*fields, _TAGS)


class _TxnOffsetCommitResponse(Response):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    SCHEMA = _schema(
        ("throttle_time_ms", Int32),
        ("errors", _array(("topic", _TEXT), ("partitions", _array(("partition", Int32), ("error_code", Int16))))),
    )


class _TxnOffsetCommitStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 28
    API_VERSION = 3
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _TxnOffsetCommitResponse
    _OFFSET = (("partition", Int32), ("offset", Int64), ("leader_epoch", Int32), ("metadata", _TEXT))
    SCHEMA = _schema(
        ("transactional_id", _TEXT),
        ("group_id", _TEXT),
        ("producer_id", Int64),
        ("producer_epoch", Int16),
        ("generation_id", Int32),
        ("member_id", _TEXT),
        ("group_instance_id", _TEXT),
        ("topics", _array(("topic", _TEXT), ("partitions", _array(*_OFFSET)))),
    )


class TxnOffsetCommit(Request[_TxnOffsetCommitStruct]):  # type: ignore[misc]
    """Offsets inside a transaction, fenced by the generation and member of a group.

    Args:
        producer: transactional id, producer id and producer epoch.
        group: the group metadata; its generation must not be negative, the broker would take it for an old client.
        offsets: what to commit.
    """

    API_KEY = 28

    def __init__(self, producer: tuple[str, int, int], group: GroupMetadata, offsets: Mapping[TP, Offset]) -> None:
        self._producer = producer
        self._group = group
        self._offsets = offsets

    def build(self, struct: Any) -> Any:
        """Make the structure that is sent."""
        topics: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for (topic, partition), (offset, metadata) in sorted(self._offsets.items()):
            topics[topic].append((partition, offset, _UNKNOWN_LEADER_EPOCH, metadata, _NO_TAGS))
        transactional_id, producer_id, producer_epoch = self._producer
        group = self._group
        by_topic = [(topic, partitions, _NO_TAGS) for topic, partitions in topics.items()]
        identity = (group.generation, group.member, group.instance)
        return struct(transactional_id, group.group, producer_id, producer_epoch, *identity, by_topic, _NO_TAGS)


class _OffsetFetchResponse(Response):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    _OFFSET = (*_TxnOffsetCommitStruct._OFFSET, ("error_code", Int16))
    SCHEMA = _schema(
        ("throttle_time_ms", Int32),
        ("topics", _array(("topic", _TEXT), ("partitions", _array(*_OFFSET)))),
        ("error_code", Int16),
    )


class _OffsetFetchStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 9
    API_VERSION = 7
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _OffsetFetchResponse
    SCHEMA = _schema(
        ("group_id", _TEXT),
        ("topics", _array(("topic", _TEXT), ("partitions", CompactArray(Int32)))),
        ("require_stable", Boolean),
    )


class OffsetFetch(Request[_OffsetFetchStruct]):  # type: ignore[misc]
    """The committed offsets of a group, refused while a transaction that commits one of them is undecided.

    Args:
        group: name of the group.
        tps: the partitions; ``None`` for all that it has an offset of.
    """

    API_KEY = 9

    def __init__(self, group: str, tps: Collection[TP] | None) -> None:
        self._group = group
        self._tps = tps

    def build(self, struct: Any) -> Any:
        """Make the structure that is sent."""
        topics = None
        if self._tps is not None:
            topics = [(topic, partitions, _NO_TAGS) for topic, partitions in partitions_by_topic(self._tps).items()]
        return struct(self._group, topics, True, _NO_TAGS)


class _Uuid:
    """Sixteen bytes; ``aiokafka.protocol.types`` has no such type."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(16)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


_NO_ID = bytes(16)


class _MetadataResponse(Response):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    _PARTITION = (
        ("error_code", Int16),
        ("partition", Int32),
        ("leader", Int32),
        ("leader_epoch", Int32),
        ("replicas", CompactArray(Int32)),
        ("isr", CompactArray(Int32)),
        ("offline_replicas", CompactArray(Int32)),
    )
    _TOPIC = (
        ("error_code", Int16),
        ("topic", _TEXT),
        ("topic_id", _Uuid),
        ("is_internal", Boolean),
        ("partitions", _array(*_PARTITION)),
        ("authorized_operations", Int32),
    )
    SCHEMA = _schema(
        ("throttle_time_ms", Int32),
        ("brokers", _array(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT))),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        ("topics", _array(*_TOPIC)),
    )


class _MetadataStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 3
    API_VERSION = 12
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = _schema(
        ("topics", _array(("topic_id", _Uuid), ("topic", _TEXT))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class DescribeTopics(Request[MetadataRequest_v5 | _MetadataStruct]):  # type: ignore[misc]
    """The partitions and leaders of some topics, with topic ids where the broker has them; creates none."""

    API_KEY = 3

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, struct: Any) -> Any:
        """Make the structure that is sent."""
        if struct is MetadataRequest_v5:
            return struct(list(self._topics), False)
        return struct([(_NO_ID, topic, _NO_TAGS) for topic in self._topics], False, False, _NO_TAGS)


class _LogDirsResponse(Response):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 1
    _PARTITION = (("partition", Int32), ("size", Int64), ("offset_lag", Int64), ("is_future", Boolean))
    _TOPIC = (("topic", String("utf-8")), ("partitions", Array(*_PARTITION)))
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("results", Array(("error_code", Int16), ("directory", String("utf-8")), ("topics", Array(*_TOPIC)))),
    )


class _LogDirsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 35
    API_VERSION = 1
    RESPONSE_TYPE = _LogDirsResponse
    SCHEMA = Schema(("topics", Array(("topic", String("utf-8")), ("partitions", Array(Int32)))))


class DescribeLogDirs(Request[_LogDirsStruct]):  # type: ignore[misc]
    """The directories of one broker, and the bytes that some partitions have in them.

    Whoever may not describe the cluster is told of no directory.

    Args:
        tps: the partitions.
    """

    API_KEY = 35

    def __init__(self, tps: Collection[TP]) -> None:
        self._tps = tps

    def build(self, struct: Any) -> Any:
        """Make the structure that is sent."""
        return struct(list(partitions_by_topic(self._tps).items()))


def partitions_by_topic(tps: Iterable[TP]) -> dict[str, list[int]]:
    """Group partitions by topic, as requests list them; both sorted."""
    topics: defaultdict[str, list[int]] = defaultdict(list)
    for topic, partition in sorted(tps):
        topics[topic].append(partition)
    return topics
