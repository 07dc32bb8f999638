"""The requests written here have the bytes that brokers expect."""

from __future__ import annotations

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from stream_core.primitives import TP, GroupMetadata, Offset
from stream_kafka.protocol import DescribeLogDirs, DescribeTopics, OffsetFetch, TxnOffsetCommit, partitions_by_topic

TPS = st.builds(TP, st.text("ab", min_size=1, max_size=2), st.integers(0, 5))


def test_transactional_offsets_carry_the_group_member() -> None:
    """Version 3 of TxnOffsetCommit, byte for byte."""
    group = GroupMetadata("grp", 7, "mem", None)
    request = TxnOffsetCommit(("tx", 1000, 2), group, {TP("t", 1): Offset(5, "md")}).prepare({28: (0, 5)})

    assert (request.API_KEY, request.API_VERSION) == (28, 3)
    assert request.encode() == (
        b"\x03tx\x04grp"
        b"\x00\x00\x00\x00\x00\x00\x03\xe8\x00\x02"  # producer id and epoch
        b"\x00\x00\x00\x07\x04mem\x00"  # generation, member, no instance
        b"\x02\x02t"  # one topic
        b"\x02\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x05\xff\xff\xff\xff\x03md\x00"
        b"\x00\x00"
    )


def test_offsets_are_fetched_stable() -> None:
    """Version 7 of OffsetFetch asks for stable offsets, byte for byte."""
    request = OffsetFetch("grp", [TP("t", 2), TP("t", 0)]).prepare({9: (1, 10)})

    assert (request.API_KEY, request.API_VERSION) == (9, 7)
    assert request.encode() == b"\x04grp\x02\x02t\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00"


def test_describing_never_creates() -> None:
    """The request for topics forbids their creation, in the version with ids and in the one before."""
    new, old = DescribeTopics(["t"]).prepare({3: (0, 13)}), DescribeTopics(["t"]).prepare({3: (0, 9)})

    assert (new.API_VERSION, old.API_VERSION) == (12, 5)
    assert new.encode() == b"\x02" + bytes(16) + b"\x02t\x00" + b"\x00\x00\x00"
    assert old.encode() == b"\x00\x00\x00\x01\x00\x01t\x00"


def test_topic_ids_are_read() -> None:
    """An answer in version 12 is decoded, id and all."""
    answer = (
        b"\x00\x00\x00\x00\x02\x00\x00\x00\x01\x02h\x00\x00\x23\x84\x00\x00\x03id\x00\x00\x00\x01"
        b"\x02\x00\x00\x02t" + bytes(range(16)) + b"\x00"
        b"\x02\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x02\x00\x00\x00\x01\x02\x00\x00\x00\x01\x01\x00"
        b"\x80\x00\x00\x00\x00\x00"
    )
    struct = DescribeTopics(["t"]).prepare({3: (0, 13)})

    response = struct.RESPONSE_TYPE.decode(BytesIO(answer))

    ((code, name, topic_id, internal, partitions, _, _),) = response.topics
    assert (code, name, topic_id, internal) == (0, "t", bytes(range(16)), False)
    assert [partition[:3] for partition in partitions] == [(0, 0, 1)]


def test_sizes_are_asked_for_and_read() -> None:
    """Version 1 of DescribeLogDirs, byte for byte, and an answer with a directory that has failed and one that has a partition."""
    struct = DescribeLogDirs([TP("t", 1), TP("t", 0)]).prepare({35: (1, 4)})
    answer = (
        b"\x00\x00\x00\x00\x00\x00\x00\x02"
        b"\x00\x38\x00\x02/a\x00\x00\x00\x00"
        b"\x00\x00\x00\x02/b\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x01"
        b"\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    )

    assert (struct.API_KEY, struct.API_VERSION) == (35, 1)
    assert struct.encode() == b"\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01"
    assert struct.RESPONSE_TYPE.decode(BytesIO(answer)).results == [
        (56, "/a", []),
        (0, "/b", [("t", [(1, 256, 0, False)])]),
    ]


@given(st.sets(TPS))
def test_partitions_by_topic_loses_none(tps: set[TP]) -> None:
    """Grouping keeps each partition once, sorted."""
    grouped = partitions_by_topic(tps)

    assert [TP(topic, partition) for topic, partitions in grouped.items() for partition in partitions] == sorted(tps)
