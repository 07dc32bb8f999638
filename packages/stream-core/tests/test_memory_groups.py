"""Membership in the in-process broker: what only its faults can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_core.errors import BrokerUnavailableError, CommitError, DeadlineError, FencedError, TransportError
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.consumer import MemoryConsumer
from stream_core.memory.log import Entry
from stream_core.memory.settings import MemorySettings
from stream_core.ports import RebalanceListener
from stream_core.primitives import TP, Offset, TopicSpec
from stream_core.testing.contracts import BrokerHarness
from stream_core.testing.contracts.observe import Assigned, GroupMember, Revoked

pytestmark = pytest.mark.looptime
TP0, TP1 = TP("topic", 0), TP("topic", 1)
SETTINGS = MemorySettings()


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
    assert member.consumer.lease() == pytest.approx(SETTINGS.session_timeout, abs=SETTINGS.heartbeat_interval)


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


async def test_a_silent_member_loses_its_session(harness: BrokerHarness, cluster: MemoryCluster) -> None:
    """Without heartbeats the lease runs down; at its end the others get the partitions, and a refused commit ends the zombie."""
    zombie = await harness.alone("group", "topic")
    old, loop = zombie.group, asyncio.get_running_loop()
    await harness.silence(zombie.consumer)
    answered = loop.time() - (SETTINGS.session_timeout - zombie.consumer.lease())
    cluster.faults.muted.add(old.member)
    await asyncio.sleep(SETTINGS.session_timeout / 2)
    assert zombie.consumer.lease() == pytest.approx(answered + SETTINGS.session_timeout - loop.time())

    other = await harness.member("group", "topic")
    harness.deadline = SETTINGS.session_timeout * 2
    await harness.drive([other], lambda: other.partitions == {TP0, TP1}, "the other one owns everything")

    # The zombie was asked to join again; it could not hear that either.
    assert zombie.group == old
    assert loop.time() - answered == pytest.approx(SETTINGS.session_timeout, abs=1)
    assert zombie.consumer.lease() <= 0
    with pytest.raises(FencedError):
        await zombie.consumer.commit({TP0: Offset(1)}, old)
    members = [zombie, other]
    await harness.drive(members, lambda: all(len(member.partitions) == 1 for member in members), "they share")
    assert Revoked(frozenset({TP0, TP1}), lost=True) in zombie.events


@pytest.mark.parametrize("lost", [8, 10])
async def test_a_member_may_lose_heartbeats(harness: BrokerHarness, cluster: MemoryCluster, lost: int) -> None:
    """As long as one in the session gets through it stays; when none does, the next one tells it that it is out."""
    member = await harness.alone("group", "topic")
    for _ in range(lost):
        cluster.faults.fail_next("heartbeat", DeadlineError("no answer"))

    await asyncio.sleep(SETTINGS.session_timeout + 2 * SETTINGS.heartbeat_interval)

    assert len(member.events) == (1 if lost == 8 else 3)
    assert member.consumer.lease() > SETTINGS.session_timeout - 2 * SETTINGS.heartbeat_interval


async def test_heartbeats_go_on_while_partitions_are_given_up(harness: BrokerHarness) -> None:
    """A ``revoked`` that works longer than the session lasts, but not than a rebalance may, costs no membership."""
    quick = MemoryTransport(harness.name("cluster"), session_timeout=5.0, heartbeat_interval=1.0)
    quick.cluster.create(TopicSpec("topic", 2))
    leases: list[float] = []

    async def work(revoked: Revoked) -> None:
        for _ in range(20):
            await asyncio.sleep(1)
            leases.append(first.consumer.lease())

    async with BrokerHarness(quick, deadline=60) as harness:
        first = await harness.member("group", "topic", on_revoked=work)
        await harness.drive([first], lambda: bool(first.partitions), "the first one is alone")
        member = first.group.member
        second = await harness.member("group", "topic")
        members = [first, second]
        await harness.drive(members, lambda: all(len(each.partitions) == 1 for each in members), "they share")

    MemoryCluster.discard(quick.cluster.name)
    assert first.group.member == member
    assert min(leases) >= 4


async def test_who_gives_up_too_slowly_is_taken_out(harness: BrokerHarness) -> None:
    """A rebalance waits for ``revoked`` up to the rebalance timeout, then goes on without that member."""
    slow_time = SETTINGS.rebalance_timeout * 1.5

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

    assert loop.time() - started == pytest.approx(SETTINGS.rebalance_timeout, abs=1)
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


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("error", [DeadlineError("no answer in time"), BrokerUnavailableError("no connection")])
async def test_a_fetch_without_an_answer_is_made_again(
    harness: BrokerHarness, cluster: MemoryCluster, error: TransportError, applied: bool
) -> None:
    """As the client of Kafka does it: nobody hears of it, and nothing is lost."""
    member = await harness.alone("group", "topic")
    member.read({TP0: 0})
    cluster.append(TP0, [Entry(0, None, b"a")])
    for _ in range(3):
        cluster.faults.fail_next("fetch", error, applied=applied)

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
