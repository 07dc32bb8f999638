"""What other members of a group say wrong costs this one nothing, and the group nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.errors as kafka
import pytest
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.protocol.commit import OffsetCommitRequest_v3
from aiokafka.protocol.coordination import FindCoordinatorRequest_v1
from aiokafka.protocol.group import HeartbeatRequest, JoinGroupResponse_v5
from aiokafka.structs import TopicPartition

from stream_core.primitives import TP, GroupMetadata, Host, Offset
from stream_kafka.connecting.client import Client
from stream_kafka.consuming.assignor import StreamAssignor
from stream_kafka.consuming.consumer import KafkaConsumer
from stream_kafka.consuming.coordinator import Coordinator
from stream_kafka.settings import KafkaSettings

from .frames import MUTE, Cluster


@asynccontextmanager
async def _member() -> AsyncIterator[Coordinator]:
    """A member of a group that does not join by itself: its broker knows no group."""
    async with Cluster() as cluster:
        cluster.leaders["t"] = [1, 1]
        client = Client(KafkaSettings(servers=(cluster.address,)))
        await client.connect()
        subscription = SubscriptionState()
        coordinator = Coordinator(client, subscription, client.settings, "g", StreamAssignor())
        try:
            await client.set_topics(["t"])
            yield coordinator
        finally:
            await coordinator.leave(1.0)
            await client.disconnect()


GARBAGE = {
    "cut off": b"\x00",
    "empty": b"",
    "no topics": b"\x00\x00\xff\xff\xff\xff\x00\x00\x00\x00",
    "a topic without a name": b"\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff",
    "no text": ConsumerProtocolMemberMetadata(0, ["zz"], b"").encode().replace(b"zz", b"\xff\xfe"),
    "long": b"\x00\x00\x7f\xff\xff\xff",
}


@pytest.mark.parametrize("said", GARBAGE.values(), ids=GARBAGE)
async def test_a_member_that_cannot_be_understood_gets_nothing(said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The leader names it and assigns everything to the others."""
    async with _member() as leader:
        wants = StreamAssignor(Host("one")).metadata(["t"]).encode()
        response = JoinGroupResponse_v5(0, 0, 3, "stream", "a", "a", [("a", None, wants), ("b", None, said)])

        assignments = await leader._perform_assignment(response)

        assert assignments["a"].partitions() == [TopicPartition("t", 0), TopicPartition("t", 1)]
        assert assignments["b"].partitions() == []
        assert "group g: member b gets no partitions" in caplog.text
        assert "member a " not in caplog.text


STRANGE = {
    **GARBAGE,
    "not subscribed": ConsumerProtocolMemberAssignment(0, [("other", [0])], b"").encode(),
}


@pytest.mark.parametrize("said", STRANGE.values(), ids=STRANGE)
async def test_a_leader_that_cannot_be_understood_assigns_nothing(
    said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, and the member lives to see the next generation."""
    async with _member() as member:
        member._subscription.subscribe({"t"}, listener=None)
        await member._on_join_complete(4, "b", "stream", said)
        assert not member._subscription.assigned_partitions()
        assert "group g: this worker is assigned nothing in generation 4" in caplog.text

        await asyncio.sleep(0)  # the client starts a task for each generation, and stops it in the next
        given = ConsumerProtocolMemberAssignment(0, [("t", [1])], b"").encode()
        await member._on_join_complete(5, "b", "stream", given)
        assert set(member._subscription.assigned_partitions()) == {TopicPartition("t", 1)}


class _Answering(Coordinator):
    """A coordinator whose broker answers each heartbeat with a code."""

    code = 0

    async def _send_req(self, request: object) -> object:
        assert isinstance(request, HeartbeatRequest)
        return type("Answer", (), {"error_code": self.code})()


@pytest.mark.parametrize("code", [-1, 9999, 56])
async def test_a_heartbeat_is_sent_again_whatever_the_answer(code: int, caplog: pytest.LogCaptureFixture) -> None:
    """An error that the client does not know is no end of the membership."""
    async with _member() as member:
        member.__class__ = _Answering
        _Answering.code = code
        assert not await member._do_heartbeat()
        assert "Heartbeat of group g failed" in caplog.text
        member.check()


async def test_a_permission_that_is_missing_ends_the_heartbeats() -> None:
    """Sending it again would be of no use."""
    async with _member() as member:
        member.__class__ = _Answering
        _Answering.code = 30
        with pytest.raises(kafka.GroupAuthorizationFailedError):
            await member._do_heartbeat()


# -- commits


class _Nobody:
    """A listener that has nothing to do."""

    def assigned(self, partitions: frozenset[TP], group: GroupMetadata) -> None:
        """Take nothing."""

    async def revoked(self, partitions: frozenset[TP], lost: bool) -> None:
        """Give nothing up."""


@pytest.mark.parametrize("broken", [0, 1], ids=["answered", "sent twice"])
async def test_a_commit_that_was_sent_twice_asks_for_a_new_generation(broken: int) -> None:
    """The first one may come after the next commit, and would turn it back; one that was answered is no reason."""
    async with Cluster() as cluster:
        node, breaks = cluster.nodes[1], broken

        def answer(request: Any) -> Any:
            nonlocal breaks
            if breaks:
                breaks -= 1
                raise ConnectionError
            return 0, [(topic, [(partition, 0) for partition, *_ in each]) for topic, each in request.topics]

        node.answers[OffsetCommitRequest_v3] = answer
        consumer = KafkaConsumer(
            KafkaSettings(servers=(cluster.address,)), "g", read_committed=False, assignor=StreamAssignor()
        )
        await consumer.start()
        try:
            await consumer.commit({TP("t", 0): Offset(4)}, GroupMetadata("g", 3, "m"))
            assert len(node.of(OffsetCommitRequest_v3)) == 1 + broken
            assert consumer._coordinator._rejoin_needed_fut.done() is bool(broken)
        finally:
            await consumer.stop()


# -- stopping


async def test_a_consumer_whose_stop_is_cancelled_is_gone() -> None:
    """Whoever stops it may be out of patience; a member that nobody knows any more would keep its partitions."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        before = asyncio.all_tasks()
        consumer = KafkaConsumer(
            KafkaSettings(servers=(cluster.address,)), "g", read_committed=False, assignor=StreamAssignor()
        )
        await consumer.start()
        node.answers[FindCoordinatorRequest_v1] = lambda _: MUTE
        consumer.subscribe({"t"}, _Nobody())
        await node.until(lambda: bool(node.of(FindCoordinatorRequest_v1)))
        coordinator = consumer._coordinator
        leaving = asyncio.Event()

        async def endless() -> None:
            leaving.set()
            await asyncio.Event().wait()

        coordinator.close = endless
        stopping = asyncio.create_task(consumer.stop())
        await leaving.wait()
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        await node.until(lambda: node.connected == 0)
        if left := asyncio.all_tasks() - before - node._tasks:
            _, alive = await asyncio.wait(left, timeout=5)
            assert not alive
        assert coordinator._coordination_task.done()
