"""Assign partitions: the adapter between :mod:`stream_core.assignment` and the assignor interface of aiokafka.

aiokafka calls an assignor by duck typing: ``metadata`` on each member before it joins, ``assign`` on the leader, and
``on_assignment`` on each member afterwards. What the function needs beyond the subscriptions, and what the members
want to know of each other, travels in the user data of the consumer protocol: one version byte, then MessagePack.
Fields may be appended within a version (readers ignore what they do not know and have defaults for what is missing); any
other change takes a new version. A group has one protocol name for ever, since a second one would cost a second join.
User data that cannot be read is that of a member that owns nothing, so a rolling upgrade costs moves, not the group.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

from stream_core.assignment import Member, assign
from stream_core.ports import NOBODY
from stream_core.primitives import TP, Host
from stream_kafka.protocol import partitions_by_topic

__all__ = ["StreamAssignor"]

log = logging.getLogger(__name__)

PROTOCOL_VERSION = 0
"""Version of Kafka's own structs around the user data: subscription or assignment, then user data."""

USER_DATA_VERSION = b"\x01"
"""The first byte of the user data."""


class _JoinData(msgspec.Struct, array_like=True, frozen=True):
    """What a member says when it joins."""

    owned: dict[str, list[int]] = {}
    generation: int = -1
    instance: str = ""
    url: str = ""


class _Placement(msgspec.Struct, array_like=True, frozen=True):
    """Topics with the same owners: ``hosts[p]`` is the index of the host of partition ``p``."""

    topics: list[str]
    hosts: list[int]


class _SyncData(msgspec.Struct, array_like=True, frozen=True):
    """What the leader says to all members: kept small, because the broker stores it once for each of them."""

    hosts: list[Host] = []
    placements: list[_Placement] = []

    def __post_init__(self) -> None:
        if any(not 0 <= host < len(self.hosts) for placement in self.placements for host in placement.hosts):
            raise ValueError("a partition is placed on a host that is not listed")


_Data = TypeVar("_Data", _JoinData, _SyncData)


class StreamAssignor:
    """Assigns partitions co-partitioned, balanced and sticky; one object for each consumer.

    Args:
        host: what the other members are told of this one.

    Attributes:
        host: the same; the next join tells it.
        name: the protocol name in the group.
        owned: the partitions of the last assignment. A worker that kept its state may set it before it joins.
        generation: the generation of ``owned``. aiokafka does not tell it to assignors: the consumer sets it in its
            assigned callback, which runs right after :meth:`on_assignment`.
        hosts: the owner of every partition of the group, as of the last assignment; of a leader that does not say it only what this
            member owns itself.
        members: all members of the group, as of the last assignment; empty when the leader does not say it.
        partitions: the partition count that the leader saw for each topic of the group.
    """

    name = "stream"

    def __init__(self, host: Host = NOBODY) -> None:
        self.host = host
        self.owned: frozenset[TP] = frozenset()
        self.generation = -1
        self.hosts: dict[TP, Host] = {}
        self.members: tuple[Host, ...] = ()
        self.partitions: dict[str, int] = {}

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """Return what this member sends with its JoinGroup request: its subscription and what it owned last.

        :meta private:
        """
        data = _JoinData(partitions_by_topic(self.owned), self.generation, *self.host)
        return ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, sorted(topics), _encode(data))

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the partitions of the group; aiokafka calls this on the leader.

        Args:
            cluster: what the client of the leader knows of the cluster.
            members: what each member sent when it joined, by member id.

        Returns:
            what each member gets, and the same user data for all of them.

        :meta private:
        """
        joined = {member: _decode(_JoinData, metadata.user_data) for member, metadata in members.items()}
        topics = {topic for metadata in members.values() for topic in metadata.subscription}
        assigned = assign(
            {member: _member(metadata.subscription, joined[member]) for member, metadata in members.items()},
            _partition_counts(cluster, topics),
        )
        user_data = _encode(_sync_data(assigned, joined))
        return {
            member: ConsumerProtocolMemberAssignment(
                PROTOCOL_VERSION, list(partitions_by_topic(tps).items()), user_data
            )
            for member, tps in assigned.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        """Take note of what this member owns now, and of where everything else is.

        :meta private:
        """
        self.owned = frozenset(TP(tp.topic, tp.partition) for tp in assignment.partitions())
        data = _decode(_SyncData, assignment.user_data)
        self.members = tuple(sorted(data.hosts))
        self.partitions = {topic: len(placement.hosts) for placement in data.placements for topic in placement.topics}
        self.hosts = dict.fromkeys(self.owned, self.host) | {
            TP(topic, partition): data.hosts[host]
            for placement in data.placements
            for topic in placement.topics
            for partition, host in enumerate(placement.hosts)
        }


def _member(topics: Iterable[str], data: _JoinData) -> Member:
    """Make a member as the assignment function wants it."""
    owned = frozenset(TP(topic, partition) for topic, partitions in data.owned.items() for partition in partitions)
    return Member(frozenset(topics), owned, data.generation, data.instance)


def _partition_counts(cluster: ClusterMetadata, topics: Iterable[str]) -> dict[str, int]:
    """Return the partition counts of ``topics`` as far as the client knows them."""
    counts: dict[str, int] = {}
    for topic in sorted(topics):
        if partitions := cluster.partitions_for_topic(topic):
            counts[topic] = len(partitions)
        else:
            log.warning("Nobody is assigned topic %s for now: the broker says nothing about its partitions.", topic)
    return counts


def _sync_data(assigned: Mapping[str, frozenset[TP]], joined: Mapping[str, _JoinData]) -> _SyncData:
    """Say who owns what, with topics of equal owners written once."""
    owners: dict[str, dict[int, int]] = {}
    for index, tps in enumerate(assigned.values()):
        for topic, partition in tps:
            owners.setdefault(topic, {})[partition] = index
    topics_of: dict[tuple[int, ...], list[str]] = {}
    for topic, by_partition in sorted(owners.items()):
        topics_of.setdefault(tuple(by_partition[p] for p in range(len(by_partition))), []).append(topic)
    hosts = [Host(joined[member].instance, joined[member].url) for member in assigned]
    return _SyncData(hosts, [_Placement(topics, list(indexes)) for indexes, topics in topics_of.items()])


def _encode(data: _JoinData | _SyncData) -> bytes:
    """Encode user data, its version in front."""
    return USER_DATA_VERSION + msgspec.msgpack.encode(data)


def _decode(kind: type[_Data], user_data: bytes | None) -> _Data:
    """Decode user data of ``kind``; what cannot be read counts as empty."""
    if not user_data:
        return kind()
    if user_data[:1] != USER_DATA_VERSION:
        log.warning("Ignoring the assignor data of a group member: version %d, known is 1.", user_data[0])
        return kind()
    try:
        return msgspec.msgpack.decode(user_data[1:], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        log.warning("Ignoring the assignor data of a group member, it cannot be read: %s", error)
        return kind()
