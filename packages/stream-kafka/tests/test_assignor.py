"""The assignor adapter: user data through aiokafka's own structs, and rebalances of a simulated group."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec
import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.metadata import MetadataResponse_v1
from hypothesis import given
from hypothesis import strategies as st

from stream_core.primitives import TP, Host
from stream_kafka.consuming.assignor import StreamAssignor

TOPICS = ["orders", "orders-by-account"]


def cluster(**partitions: int) -> ClusterMetadata:
    """What a client knows of a cluster with these topics; underscores in names stand for dashes."""
    known = ClusterMetadata()
    topics = [
        (0, name.replace("_", "-"), False, [(0, partition, 0, [0], [0]) for partition in range(count)])
        for name, count in partitions.items()
    ]
    known.update_metadata(MetadataResponse_v1([(0, "localhost", 9092, None)], 0, topics))
    return known


def rebalance(
    members: Mapping[str, StreamAssignor],
    known: ClusterMetadata,
    generation: int,
    topics: Sequence[str] = TOPICS,
    foreign: Mapping[str, bytes | None] | None = None,
) -> dict[str, ConsumerProtocolMemberAssignment]:
    """One generation of a group as the broker and the clients run it: everything goes through bytes.

    Args:
        members: the assignors of the members; the first member is the leader.
        known: the metadata of the leader.
        generation: the number of the generation.
        topics: what all members subscribe to.
        foreign: further members with the user data that they join with.
    """
    joining = {member: assignor.metadata(set(topics)) for member, assignor in members.items()}
    for member, user_data in (foreign or {}).items():
        joining[member] = ConsumerProtocolMemberMetadata(0, list(topics), user_data)
    received = {member: ConsumerProtocolMemberMetadata.decode(sent.encode()) for member, sent in joining.items()}
    leader = next(iter(members.values()))
    synced = {member: sent.encode() for member, sent in leader.assign(known, received).items()}
    decoded = {member: ConsumerProtocolMemberAssignment.decode(sent) for member, sent in synced.items()}
    for member, assignor in members.items():
        assignor.on_assignment(decoded[member])
        assignor.generation = generation
    return decoded


def partitions_of(member: StreamAssignor, topic: str = "orders") -> set[int]:
    """The partitions of ``topic`` that a member owns."""
    return {tp.partition for tp in member.owned if tp.topic == topic}


def group(size: int) -> dict[str, StreamAssignor]:
    """Members whose URLs can be told apart."""
    return {f"m{n}": StreamAssignor(Host(f"worker-{n}", f"http://10.0.0.{n}:6066")) for n in range(size)}


def test_it_is_an_assignor() -> None:
    """An instance has every method and attribute of aiokafka's abstract assignor."""
    assert AbstractPartitionAssignor.__abstractmethods__ <= set(dir(StreamAssignor()))


def test_three_members_share_and_know_each_other() -> None:
    """Three members get equal, co-partitioned shares, and each knows the owner of every partition."""
    members = group(3)
    rebalance(members, cluster(orders=6, orders_by_account=6), generation=1)
    assert [len(partitions_of(member)) for member in members.values()] == [2, 2, 2]
    for member in members.values():
        assert partitions_of(member) == partitions_of(member, "orders-by-account")
        assert member.partitions == {"orders": 6, "orders-by-account": 6}
    owners = {tp: member.host for member in members.values() for tp in member.owned}
    assert len(owners) == 12
    assert all(member.hosts == owners for member in members.values())


def test_a_leaving_member_moves_only_its_own() -> None:
    """The two that stay keep their partitions and share those of the third, whoever leads."""
    members = group(3)
    known = cluster(orders=6, orders_by_account=6)
    rebalance(members, known, generation=1)
    before = {name: member.owned for name, member in members.items()}
    staying = {"m2": members["m2"], "m0": members["m0"]}
    rebalance(staying, known, generation=2)
    for name, member in staying.items():
        assert before[name] < member.owned
        assert len(partitions_of(member)) == 3


def test_a_joining_member_takes_its_share() -> None:
    """A third member gets two of six partitions, and nothing moves between the first two."""
    members = group(3)
    known = cluster(orders=6, orders_by_account=6)
    rebalance({"m0": members["m0"], "m1": members["m1"]}, known, generation=1)
    before = {name: members[name].owned for name in ("m0", "m1")}
    rebalance(members, known, generation=2)
    assert all(members[name].owned < before[name] for name in before)
    assert len(partitions_of(members["m2"])) == 2


def test_a_member_that_was_away_does_not_win() -> None:
    """Of two claims to a partition the one of the younger generation counts."""
    members = group(2)
    known = cluster(orders=2, orders_by_account=2)
    rebalance({"m0": members["m0"]}, known, generation=1)
    rebalance({"m1": members["m1"]}, known, generation=2)
    members["m1"].on_assignment(ConsumerProtocolMemberAssignment(0, [(topic, [0]) for topic in TOPICS], b""))
    rebalance(members, known, generation=3)
    assert partitions_of(members["m1"]) == {0}
    assert partitions_of(members["m0"]) == {1}


def test_a_new_process_can_claim_what_its_predecessor_owned() -> None:
    """A worker that sets ``owned`` and ``generation`` before it joins keeps these partitions, under a new member id."""
    members = group(2)
    known = cluster(orders=4, orders_by_account=4)
    rebalance(members, known, generation=5)
    reborn = StreamAssignor(members["m1"].host)
    reborn.owned, reborn.generation = members["m1"].owned, 5
    rebalance({"new": reborn, "m0": members["m0"]}, known, generation=6)
    assert reborn.owned == members["m1"].owned


def test_more_members_than_partitions() -> None:
    """A member without a partition is told so, and still learns who the owners are."""
    members = group(3)
    synced = rebalance(members, cluster(orders=2, orders_by_account=2), generation=1)
    idle = [name for name, member in members.items() if not member.owned]
    assert len(idle) == 1
    assert synced[idle[0]].assignment == []
    assert len(members[idle[0]].hosts) == 4


def test_owners_without_url_are_known_by_their_instance() -> None:
    """A worker need not publish a URL."""
    assignor = StreamAssignor(Host("worker-1"))
    rebalance({"m": assignor}, cluster(orders=1), generation=1, topics=["orders"])
    assert assignor.hosts == {TP("orders", 0): Host("worker-1", "")}


def test_a_topic_that_the_leader_does_not_know(caplog: pytest.LogCaptureFixture) -> None:
    """A subscribed topic without metadata is left out, with a warning that names it."""
    assignor = StreamAssignor()
    rebalance({"m": assignor}, cluster(orders=2), generation=1)
    assert assignor.owned == {TP("orders", 0), TP("orders", 1)}
    assert "orders-by-account" in caplog.text


def test_a_member_gets_no_topic_that_it_did_not_subscribe_to() -> None:
    """aiokafka's coordination ends on such an assignment, so claims to it do not count."""
    one, two = StreamAssignor(Host("one")), StreamAssignor(Host("two"))
    one.owned, one.generation = frozenset({TP("payments", 0)}), 4
    joining = {"one": one.metadata(["orders"]), "two": two.metadata(["orders", "payments"])}
    synced = one.assign(cluster(orders=4, payments=1), joining)
    assert {topic for topic, _ in synced["one"].assignment} == {"orders"}
    assert ("payments", [0]) in synced["two"].assignment


@pytest.mark.parametrize(
    "user_data",
    [None, b"", b"\x02whatever", b"\x01", b"\x01\xc1", b"\x01\x91\x81\xa1\xff\x90", b"\x01\x94\x80\x00"],
    ids=["null", "empty", "other version", "nothing behind", "not MessagePack", "not UTF-8", "cut off"],
)
def test_unreadable_members_own_nothing(user_data: bytes | None, caplog: pytest.LogCaptureFixture) -> None:
    """A member whose user data is missing or foreign takes part like a new one; only what cannot be read is logged."""
    members = group(1)
    known = cluster(orders=4, orders_by_account=4)
    rebalance(members, known, generation=1)
    synced = rebalance(members, known, generation=2, foreign={"stranger": user_data})
    assert len(synced["stranger"].partitions()) == 4
    assert [record.levelno for record in caplog.records] == ([logging.WARNING] if user_data else [])


def test_a_leader_of_another_kind() -> None:
    """The assignment of a leader that sends no user data is taken: a member knows its own partitions then."""
    members = group(2)
    known = cluster(orders=4, orders_by_account=4)
    rebalance(members, known, generation=1)
    joining = {name: member.metadata(TOPICS) for name, member in members.items()}
    assigned = RoundRobinPartitionAssignor.assign(known, joining)
    members["m0"].on_assignment(assigned["m0"])
    assert members["m0"].owned == {TP(*tp) for tp in assigned["m0"].partitions()}
    assert members["m0"].hosts == dict.fromkeys(members["m0"].owned, members["m0"].host)
    assert members["m0"].partitions == {}


def test_a_leader_that_contradicts_itself() -> None:
    """User data that places a partition on a host that is not listed is ignored whole."""
    assignor = StreamAssignor(Host("mine"))
    user_data = b"\x01" + msgspec.msgpack.encode([[["worker-1", ""]], [[["orders"], [1]]]])
    assignor.on_assignment(ConsumerProtocolMemberAssignment(0, [("orders", [0])], user_data))
    assert assignor.owned == {TP("orders", 0)}
    assert assignor.hosts == {TP("orders", 0): Host("mine")}


def test_appended_fields_are_ignored() -> None:
    """A later release may append fields within version 1: this one reads what it knows."""
    later = b"\x01" + msgspec.msgpack.encode([{"orders": [1]}, 3, "worker-9", "http://10.0.0.9:6066", {"lag": 7}])
    members = group(1)
    synced = rebalance(members, cluster(orders=2), generation=1, topics=["orders"], foreign={"later": later})
    assert synced["later"].assignment == [("orders", [1])]
    assert members["m0"].hosts[TP("orders", 1)] == Host("worker-9", "http://10.0.0.9:6066")


def test_the_bytes_of_version_1() -> None:
    """What members of one group exchange is fixed: workers of two releases read each other."""
    assignor = StreamAssignor(Host("w", "http://h"))
    assignor.owned, assignor.generation = frozenset({TP("b", 0), TP("a", 2), TP("a", 1)}), 3
    sent = assignor.metadata({"b", "a"})
    assert sent.encode() == (
        b"\x00\x00\x00\x00\x00\x02\x00\x01a\x00\x01b"  # version 0, topics a and b
        b"\x00\x00\x00\x18\x01\x94\x82\xa1a\x92\x01\x02\xa1b\x91\x00\x03\xa1w\xa8http://h"
    )
    synced = assignor.assign(cluster(a=3, b=1), {"m": sent})["m"]
    assert (
        synced.user_data == b"\x01\x92\x91\x92\xa1w\xa8http://h\x92\x92\x91\xa1a\x93\x00\x00\x00\x92\x91\xa1b\x91\x00"
    )


def test_routes_stay_small() -> None:
    """The broker keeps the user data once for each member, in one record of at most 1 MB for the whole group."""
    members = {
        f"m{n}": StreamAssignor(Host(f"worker-{n}", f"http://stream-worker-{n}.internal:6066")) for n in range(50)
    }
    counts = {f"topic_{n}": 200 for n in range(10)}
    topics = [name.replace("_", "-") for name in counts]
    rebalance(members, cluster(**counts), generation=1, topics=topics)
    again = [member.metadata(topics).encode() for member in members.values()]
    synced = rebalance(members, cluster(**counts), generation=2, topics=topics)
    assert sum(map(len, again)) + sum(len(sent.encode()) for sent in synced.values()) < 250_000


@given(st.binary())
def test_no_bytes_break_a_rebalance(garbage: bytes) -> None:
    """Whatever a group member sends as user data, and whatever a leader answers, nothing is raised."""
    members = group(1)
    foreign = {"stranger": garbage, "liar": b"\x01" + garbage}
    synced = rebalance(members, cluster(orders=3), generation=1, topics=["orders"], foreign=foreign)
    assert sum(len(sent.partitions()) for sent in synced.values()) == 3
    members["m0"].on_assignment(ConsumerProtocolMemberAssignment(0, [], b"\x01" + garbage))
