"""The sizes of partitions: what several brokers tell, and what they do not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.protocol.admin import ApiVersionRequest_v0

from stream_core.errors import TransportError
from stream_core.primitives import TP
from stream_kafka.cluster.admin import KafkaAdmin
from stream_kafka.settings import KafkaSettings

from .frames import LOG_DIRS, Cluster

PARTITIONS = [TP("t", number) for number in range(3)]
FAILED, FORBIDDEN = 56, 31


@asynccontextmanager
async def _asking(cluster: Cluster) -> AsyncIterator[KafkaAdmin]:
    admin = KafkaAdmin(
        KafkaSettings(servers=(cluster.address,), request_timeout=10.0, rebalance_timeout=5.0, retry_backoff=0.01)
    )
    await admin.start()
    try:
        yield admin
    finally:
        await admin.stop()


def _answer(*directories: tuple[Any, ...]) -> Any:
    return lambda _: (0, list(directories))


async def test_each_leader_is_asked_for_its_own() -> None:
    """A copy that is being moved to another disk is no size, nor is what other brokers have of a partition; one disk has failed."""
    async with Cluster(2) as cluster, _asking(cluster) as admin:
        cluster.leaders["t"] = [1, 2, 1]
        one, two = cluster.nodes[1], cluster.nodes[2]
        one.answers[LOG_DIRS] = _answer(
            (0, "/a", [("t", [(0, 100, 0, False), (2, 5, 9, True)])]),
            (FAILED, "/b", []),
            (0, "/c", [("t", [(2, 300, 0, False)])]),
        )
        two.answers[LOG_DIRS] = _answer((0, "/a", [("t", [(1, 200, 0, False)])]))

        assert await admin.sizes(PARTITIONS) == dict(zip(PARTITIONS, (100, 200, 300), strict=True))
        assert [request.topics for request in one.of(LOG_DIRS)] == [[("t", [0, 2])]]
        assert [request.topics for request in two.of(LOG_DIRS)] == [[("t", [1])]]


@pytest.mark.parametrize("directories", [[], [(FORBIDDEN, "/a", [])], [(FAILED, "/a", [])]])
async def test_what_a_broker_does_not_tell_is_left_out(directories: list[tuple[Any, ...]]) -> None:
    """A user who may not describe the cluster is answered with no directory, or an error; that of the other brokers counts."""
    async with Cluster(2) as cluster, _asking(cluster) as admin:
        cluster.leaders["t"] = [1, 2]
        cluster.nodes[1].answers[LOG_DIRS] = _answer(*directories)
        cluster.nodes[2].answers[LOG_DIRS] = _answer((0, "/a", [("t", [(1, 200, 0, False)])]))

        assert await admin.sizes(PARTITIONS[:2]) == {PARTITIONS[1]: 200}


@pytest.mark.parametrize("versions", [[], [(LOG_DIRS.API_KEY, 7, 9)]])
async def test_a_broker_without_this_request_tells_nothing(versions: list[tuple[int, int, int]]) -> None:
    """Some speak the protocol and have no such request, or none of a version that is known here."""
    async with Cluster() as cluster:
        cluster.leaders["t"] = [1]
        node = cluster.nodes[1]
        told = node.answers[ApiVersionRequest_v0]
        node.answers[ApiVersionRequest_v0] = lambda request: (
            0,
            [*(each for each in told(request)[1] if each[0] != LOG_DIRS.API_KEY), *versions],
        )
        async with _asking(cluster) as admin:
            assert await admin.sizes(PARTITIONS[:1]) == {}


async def test_another_error_is_said() -> None:
    """What is neither a permission nor a disk is no answer."""
    async with Cluster() as cluster, _asking(cluster) as admin:
        cluster.leaders["t"] = [1]
        cluster.nodes[1].answers[LOG_DIRS] = _answer((-1, "/a", []))
        with pytest.raises(TransportError, match=r"asking for the sizes of 1 partitions: .*directory /a of node 1"):
            await admin.sizes(PARTITIONS[:1])
