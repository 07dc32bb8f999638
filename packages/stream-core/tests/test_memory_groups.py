"""Membership in the in-process broker: what only its faults can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.errors import CommitError, FencedError, TransportError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.consumer import MemoryConsumer
from stream_core.memory.log import Entry
from stream_core.ports import RebalanceListener
from stream_core.records import TP, Offset, TopicSpec
from stream_core.testing.contracts import BrokerHarness
from stream_core.testing.contracts.observe import Assigned, GroupMember, Revoked

pytestmark = pytest.mark.looptime
TP0, TP1 = TP("topic", 0), TP("topic", 1)


@pytest.fixture
async def harness() -> AsyncIterator[BrokerHarness]:
    """A harness on a cluster of its own, with a topic of two partitions."""
    name = uuid4().hex
    transport = MemoryTransport(name)
    transport.cluster.create(TopicSpec("topic", 2))
    async with BrokerHarness(transport) as harness:
        yield harness
    MemoryCluster.discard(name)


@pytest.fixture
def cluster(harness: BrokerHarness) -> MemoryCluster:
    """The cluster of the harness."""
    assert isinstance(harness.transport, MemoryTransport)
    return harness.transport.cluster


async def test_an_expired_member_is_told_it_is_lost(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A member whose session ended hears ``lost`` and comes back under a new id and generation."""
    member = await harness.alone("group", "topic")
    old = member.group

    cluster.expire("group", old.member)
    assert member.consumer.lease() == 0
    await harness.drive([member], lambda: len(member.events) == 3, "the member is back")

    assert member.events[1] == Revoked(frozenset({TP0, TP1}), lost=True)
    assert member.group.member != old.member
    assert member.group.generation > old.generation
    assert member.consumer.lease() == cluster.session_timeout


async def test_a_zombie_learns_at_its_commit(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A member that was expired untold goes on, without a lease, until a commit is refused; then it joins anew."""
    zombie = await harness.alone("group", "topic")
    old = zombie.group
    cluster.expire("group", old.member, told=False)
    other = await harness.member("group", "topic")
    await harness.drive([zombie, other], lambda: other.partitions == {TP0, TP1}, "the other one owns everything")
    assert zombie.group == old
    assert zombie.consumer.lease() == 0

    with pytest.raises(FencedError, match=f"refuses member '{old.member}'"):
        await zombie.consumer.commit({TP0: Offset(1)}, old)
    members = [zombie, other]
    await harness.drive(members, lambda: all(len(member.partitions) == 1 for member in members), "they share")

    assert Revoked(frozenset({TP0, TP1}), lost=True) in zombie.events


async def test_who_gives_up_too_slowly_is_taken_out(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A rebalance waits for ``revoked`` up to the rebalance timeout, then goes on without that member."""
    slow_time = cluster.rebalance_timeout * 1.5

    async def slowly(revoked: Revoked) -> None:
        await asyncio.sleep(slow_time)

    slow = await harness.member("group", "topic", on_revoked=slowly)
    await harness.drive([slow], lambda: bool(slow.partitions), "the slow member is alone")
    first = slow.group
    loop = asyncio.get_running_loop()
    started = loop.time()
    fast = await harness.member("group", "topic")
    harness.deadline = slow_time * 4
    await harness.drive([fast, slow], lambda: fast.partitions == {TP0, TP1}, "the fast member owns everything")

    assert loop.time() - started == pytest.approx(cluster.rebalance_timeout, abs=1)
    members = [fast, slow]
    await harness.drive(members, lambda: all(len(member.partitions) == 1 for member in members), "they share")
    assert slow.group.member != first.member


async def test_a_topic_that_appears_costs_one_rebalance(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """Subscribing to a topic that does not exist yet is fine; it is assigned once it does, and with more partitions again."""
    member = await harness.member("group", "topic", "later")
    await harness.drive([member], lambda: member.partitions == {TP0, TP1}, "what exists is assigned")

    cluster.create(TopicSpec("later", 1))
    cluster.create(TopicSpec("unrelated", 1))
    await harness.drive([member], lambda: TP("later", 0) in member.partitions, "the new topic is assigned")
    cluster.add_partitions("later", 2)
    await harness.drive([member], lambda: TP("later", 1) in member.partitions, "the new partition is assigned")
    cluster.delete("later")
    await harness.drive([member], lambda: member.partitions == {TP0, TP1}, "the deleted topic is gone")

    assert member.group.generation == 4


async def test_no_partitions_is_an_assignment_too(harness: BrokerHarness) -> None:
    """A member for which nothing is left is told so."""
    members = [await harness.member("group", "topic") for _ in range(3)]
    await harness.drive(members, lambda: all(member.assignment for member in members), "all are assigned")
    newest = max(member.group.generation for member in members)
    await harness.drive(members, lambda: all(m.assignment and m.group.generation == newest for m in members), "as one")

    (idle,) = [member for member in members if not member.partitions]
    assert idle.events[-1] == Assigned(frozenset(), idle.group)


async def test_subscribing_again_to_the_same_costs_nothing(harness: BrokerHarness) -> None:
    """The same topics in another order are no change."""
    member = await harness.alone("group", "topic", "other")
    member.subscribe("other", "topic")

    await harness.silence(member.consumer)

    assert len(member.events) == 1


@pytest.mark.parametrize("call", ["assigned", "revoked"])
async def test_a_listener_that_raises_breaks_the_consumer(harness: BrokerHarness, call: str) -> None:
    """An error in the listener is not silent: ``poll`` and ``check`` raise it, and ``stop`` still works."""

    def assigned(*args: object) -> None:
        if call == "assigned":
            raise RuntimeError("bug in the listener")

    async def revoked(*args: object) -> None:
        raise RuntimeError("bug in the listener")

    consumer = harness.transport.consumer("group", read_committed=True)
    await consumer.start()
    consumer.subscribe(["topic"], RebalanceListener(assigned, revoked))
    if call == "revoked":
        await consumer.poll(1)
        consumer.subscribe(["other"], RebalanceListener(assigned, revoked))

    with pytest.raises(TransportError, match="bug in the listener"):
        await consumer.poll(100)
    with pytest.raises(TransportError, match="bug in the listener"):
        consumer.check()
    await consumer.stop()


async def test_a_consumer_that_was_stopped_says_so(harness: BrokerHarness) -> None:
    """Polling before ``start`` or after ``stop`` is an error, also for a poll that waits while it is stopped."""
    consumer = harness.transport.consumer("group", read_committed=True)
    with pytest.raises(TransportError, match="not running"):
        await consumer.poll(1)
    await consumer.start()
    poll = asyncio.create_task(consumer.poll(100))
    await asyncio.sleep(0.1)

    await consumer.stop()

    with pytest.raises(TransportError, match="not running"):
        await poll


async def test_stopping_while_it_joins_leaves_no_ghost(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A member that stops in the middle of a rebalance is not waited for by the others."""
    working, over = asyncio.Event(), asyncio.Event()

    async def work(revoked: Revoked) -> None:
        working.set()
        await over.wait()

    first = await harness.member("group", "topic", on_revoked=work)
    await harness.drive([first], lambda: bool(first.partitions), "the first member is alone")
    second = await harness.member("group", "topic")
    await harness.drive([first, second], working.is_set, "the second one waits for the first")

    await harness.stop(second.consumer)
    over.set()
    await harness.drive([first], lambda: len(first.events) == 3, "the first member is alone again")

    assert first.partitions == {TP0, TP1}
    assert list(cluster.group("group").members) == [first.group.member]


async def test_metadata_that_is_too_long_is_refused(harness: BrokerHarness) -> None:
    """A commit with more than 4096 bytes of text fails and names the partition; nothing is committed."""
    member = await harness.alone("group", "topic")

    with pytest.raises(CommitError, match="topic topic, partition 1 has 4098 bytes"):
        await member.consumer.commit({TP0: Offset(1), TP1: Offset(1, "ü" * 2049)}, member.group)

    assert await member.consumer.committed([TP0, TP1]) == {TP0: None, TP1: None}


@pytest.mark.parametrize("applied", [False, True])
async def test_a_commit_can_fail(harness: BrokerHarness, cluster: MemoryCluster, applied: bool) -> None:
    """A commit that fails has happened or not, as the test says."""
    member = await harness.alone("group", "topic")
    cluster.faults.fail_next("offset_commit", CommitError("coordinator moved"), applied=applied)

    with pytest.raises(CommitError, match="coordinator moved"):
        await member.consumer.commit({TP0: Offset(1)}, member.group)

    assert await member.consumer.committed([TP0]) == {TP0: Offset(1) if applied else None}


async def test_a_poll_can_fail(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """A poll that fails loses nothing: the next one delivers."""
    member = await harness.alone("group", "topic")
    member.read({TP0: 0})
    cluster.append(TP0, [Entry(0, None, b"a")])
    cluster.faults.fail_next("fetch", TransportError("connection reset"))

    with pytest.raises(TransportError, match="connection reset"):
        await member.consumer.poll(1)

    (batch,) = await member.consumer.poll(1)
    assert [record.value for record in batch.records] == [b"a"]


async def _churn(steps: list[tuple[str, int]]) -> None:
    """Let members come, go and die in some order, and look at what is left when it is quiet."""
    cluster = MemoryCluster("churn")
    cluster.create(TopicSpec("topic", 5))
    members: list[GroupMember] = []
    for step, which in steps:
        if step == "join":
            consumer = MemoryConsumer(cluster, "group", read_committed=True)
            await consumer.start()
            members.append(GroupMember(consumer))
            members[-1].subscribe("topic")
        elif members and step == "stop":
            await members.pop(which % len(members)).consumer.stop()
        elif members and step == "expire" and (assignment := members[which % len(members)].assignment):
            cluster.expire("group", assignment.group.member)
        for _ in range(which):
            await asyncio.sleep(0)

    everything = [TP("topic", partition) for partition in range(5)] if members else []
    group = cluster.group("group")

    def settled() -> bool:
        owned = sorted(tp for member in members for tp in member.partitions)
        current = all(member.assignment and group.knows(member.group.member) for member in members)
        return current and owned == everything

    await cluster.wakeup.until(settled, 10, "the group settles")
    generation = group.generation
    for _ in range(50):
        await asyncio.sleep(0)
    assert settled()
    assert (group.generation, len(group.members)) == (generation, len(members))
    for member in members:
        kinds = [type(event) for event in member.events]
        assert kinds == [(Assigned, Revoked)[n % 2] for n in range(len(kinds))]
        await member.consumer.stop()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["join", "join", "stop", "expire"]), st.integers(0, 12)), max_size=12))
def test_every_partition_has_one_owner_in_the_end(steps: list[tuple[str, int]]) -> None:
    """However members come, go and expire, when the group is quiet each partition has exactly one owner."""
    asyncio.run(_churn(steps))
