"""What several :class:`~stream_core.ports.Consumer` objects do that share a group."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from stream_core.errors import FencedError
from stream_core.primitives import TP, GroupMetadata, Host, Offset, Owners, TopicSpec
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import Assigned, GroupMember, Revoked, raises

__all__ = ["CHECKS"]


def _share(members: list[GroupMember], topic: str, partitions: int) -> bool:
    """Tell whether the members own each partition once, in one generation, and nobody is idle."""
    owned = [tp for member in members for tp in member.partitions]
    generations = {member.group.generation for member in members if member.assignment}
    everything = sorted(owned) == [TP(topic, partition) for partition in range(partitions)]
    return everything and len(generations) == 1 and all(member.partitions for member in members)


async def members_share_the_partitions(harness: BrokerHarness) -> None:
    """Two members own each partition exactly once; everything was revoked before it was given out anew."""
    topic, group = await harness.topic(partitions=4), harness.name("group")
    first = await harness.alone(group, topic)
    before = first.partitions

    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, lambda: _share(members, topic, 4), "two members share four partitions")

    assert [len(member.partitions) for member in members] == [2, 2]
    assert Revoked(before, lost=False) in first.events[1:]
    assert first.group.member != second.group.member
    for member in members:
        pairs = zip(member.events, member.events[1:], strict=False)
        twice = any(isinstance(one, Assigned) and isinstance(then, Assigned) for one, then in pairs)
        assert not twice, f"two assignments without a revocation between them: {member.events}"


async def a_leaver_hands_over(harness: BrokerHarness) -> None:
    """When a member stops, the other one gets everything, and finds the offsets that were committed."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    first, second = await harness.member(group, topic), await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")
    (left,) = second.partitions
    await second.consumer.commit({left: Offset(11)}, second.group)

    await harness.stop(second.consumer)
    await harness.drive([first], lambda: len(first.partitions) == 2, "the member that stays owns everything")

    assert await first.consumer.committed([left]) == {left: Offset(11)}


async def nothing_is_assigned_before_all_is_revoked(harness: BrokerHarness) -> None:
    """While one member's ``revoked`` works, nobody is assigned its partitions, and its polls return nothing."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    working, finished = asyncio.Event(), asyncio.Event()
    early: list[bool] = []

    async def work(revoked: Revoked) -> None:
        if not revoked.partitions:
            return
        working.set()
        await asyncio.sleep(harness.quiet)
        early.append(second.assignment is not None)
        finished.set()

    first = await harness.member(group, topic, on_revoked=work)
    await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
    first.read(dict.fromkeys(first.partitions, 0))
    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, working.is_set, "the first member is revoked")
    await send(await harness.producer(topic), TP(topic, 0), "unseen")
    await harness.drive(members, finished.is_set, "the work of revocation ends")
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")

    assert early[0] is False, f"the second member was assigned while the first was at work: {second.events}"
    assert first.received.count() == 0, f"a batch came during a rebalance: {first.received}"


async def a_new_generation_begins_silent(harness: BrokerHarness) -> None:
    """After ``assigned`` nothing of an older generation comes: partitions stay silent until they are resumed."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    tps = [TP(topic, 0), TP(topic, 1)]
    producer = await harness.producer(topic)
    first = await harness.alone(group, topic)
    first.read(dict.fromkeys(tps, 0))
    for tp in tps:
        await send(producer, tp, *map(str, range(100)))
    await harness.drive([first], lambda: first.received.count() > 0, "the first records")

    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")
    for tp in tps:
        await send(producer, tp, "new")
    silent = [await harness.silence(member.consumer) for member in members]
    for member in members:
        member.read(dict.fromkeys(member.partitions, 100))
        received = await harness.receive(member.consumer, lambda got: got.count() >= 1)
        assert [received.values(tp) for tp in member.partitions] == [[b"new"]]

    assert [received.count() for received in silent] == [0, 0], f"records came before anyone resumed: {silent}"


async def an_older_generation_cannot_commit(harness: BrokerHarness) -> None:
    """After a rebalance the group metadata of the generation before is refused, and nothing is changed by it."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    tp = TP(topic, 0)
    first = await harness.alone(group, topic)
    old = first.group
    await first.consumer.commit({tp: Offset(1)}, old)
    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")

    async with asyncio.timeout(harness.deadline * 2):
        await raises(FencedError, lambda: first.consumer.commit({tp: Offset(2)}, old), f"commit as {old}")
        producer = await harness.producer(topic, transactional_id=harness.name("transaction"))
        await producer.begin()
        await raises(FencedError, lambda: producer.commit({tp: Offset(3)}, old), f"commit in a transaction as {old}")
        await producer.abort()

    assert first.group.generation > old.generation
    assert await first.consumer.committed([tp]) == {tp: Offset(1)}


async def any_member_can_ask_for_a_generation(harness: BrokerHarness) -> None:
    """Whichever member asks to rejoin, all are revoked and assigned in a newer generation, and the older one cannot commit."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    members = [await harness.member(group, topic), await harness.member(group, topic)]
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")

    for member in members:
        before = {each: (each.group, each.partitions) for each in members}
        member.consumer.rejoin()

        def renewed(older: dict[GroupMember, tuple[GroupMetadata, frozenset[TP]]] = before) -> bool:
            newer = all(each.group.generation > older[each][0].generation for each in members if each.assignment)
            return newer and _share(members, topic, 2)

        await harness.drive(members, renewed, "two members share two partitions in another generation")
        for each, (metadata, partitions) in before.items():
            assert Revoked(partitions, lost=False) in each.events
            (tp,) = partitions
            late = partial(each.consumer.commit, {tp: Offset(7)}, metadata)
            async with asyncio.timeout(harness.deadline * 2):
                await raises(FencedError, late, f"commit as {metadata}")

    tps = [TP(topic, 0), TP(topic, 1)]
    assert await members[0].consumer.committed(tps) == dict.fromkeys(tps)


async def asking_before_it_subscribes_does_nothing(harness: BrokerHarness) -> None:
    """A consumer that has joined nothing joins nothing by asking for a new generation."""
    topic, group = await harness.topic(), harness.name("group")
    idle = harness.transport.consumer(group, read_committed=False)
    await idle.start()
    try:
        idle.rejoin()
        member = await harness.alone(group, topic)

        idle.check()
        assert member.partitions == {TP(topic, 0)}
    finally:
        await harness.stop(idle)


async def a_removed_member_comes_back_as_another(harness: BrokerHarness) -> None:
    """A live member that is taken out learns that it is lost, cannot commit any more, and joins again under a new id."""
    topic, group = await harness.topic(), harness.name("group")
    member = await harness.alone(group, topic)
    old = member.group
    admin = await harness.admin()

    await admin.remove_member(group, old.member)
    async with asyncio.timeout(harness.deadline * 2):
        await raises(FencedError, lambda: member.consumer.commit({TP(topic, 0): Offset(1)}, old), f"commit as {old}")
    await harness.drive(
        [member], lambda: bool(member.partitions) and member.group.member != old.member, "the member is back"
    )

    assert Revoked(frozenset({TP(topic, 0)}), lost=True) in member.events
    await member.consumer.commit({TP(topic, 0): Offset(2)}, member.group)


async def a_removed_member_is_not_waited_for(harness: BrokerHarness) -> None:
    """When a member is taken out, the others get its partitions without waiting for its session."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    over = asyncio.Event()

    async def hang(revoked: Revoked) -> None:
        if revoked.partitions:
            await over.wait()

    dead, alive = await harness.member(group, topic, on_revoked=hang), await harness.member(group, topic)
    members = [dead, alive]
    await harness.drive(members, lambda: dead.assignment is not None, "the member that will hang is assigned")
    admin = await harness.admin()
    await admin.remove_member(group, dead.group.member)

    await harness.drive([alive], lambda: len(alive.partitions) == 2, "the member that lives owns everything")
    over.set()


async def a_member_without_partitions_is_told_so(harness: BrokerHarness) -> None:
    """With more members than partitions one is left over: it is assigned nothing, in the generation of the others."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    members = [await harness.member(group, topic) for _ in range(3)]

    def settled() -> bool:
        generations = {member.group.generation for member in members if member.assignment}
        return len(generations) == 1 and sorted(len(member.partitions) for member in members) == [0, 1, 1]

    await harness.drive(members, settled, "two members share two partitions and one is idle")

    (idle,) = [member for member in members if not member.partitions]
    assert idle.events[-1] == Assigned(frozenset(), idle.group)


async def a_topic_that_appears_is_assigned(harness: BrokerHarness) -> None:
    """Subscribing to a topic that does not exist creates nothing; once somebody creates it, its partitions are assigned."""
    admin, topic, later = await harness.admin(), await harness.topic(), harness.name("later")
    member = await harness.alone(harness.name("group"), topic, later)
    assert member.partitions == {TP(topic, 0)}
    assert await admin.describe([later]) == {}, "subscribing created the topic"

    await admin.create([TopicSpec(later, 2)])
    everything = {TP(topic, 0), TP(later, 0), TP(later, 1)}
    await harness.drive([member], lambda: member.partitions == everything, "the new topic is assigned")

    assert Revoked(frozenset({TP(topic, 0)}), lost=False) in member.events
    await admin.delete([later])


async def every_member_knows_the_owners(harness: BrokerHarness) -> None:
    """Each member says of all partitions who owns them, also of topics that it does not read: by instance and URL."""
    shared, own, group = await harness.topic(partitions=2), await harness.topic(), harness.name("group")
    first = await harness.member(group, shared, own, host=Host("one", "http://one.example:6066"))
    second = await harness.member(group, shared, host=Host("two"))
    members = [first, second]
    await harness.drive(
        members,
        lambda: (
            all(member.partitions and member.consumer.owners().settled for member in members)
            and len(first.partitions | second.partitions) == 3
        ),
        "two members share three partitions",
    )

    expected = {tp: member.host for member in members for tp in member.partitions}
    for member in members:
        owners = member.consumer.owners()
        assert owners.hosts == expected
        assert owners.generation == member.group.generation
    assert expected[TP(own, 0)] == first.host


async def a_member_without_partitions_is_known(harness: BrokerHarness) -> None:
    """Where there are more members than partitions each of them knows all the others."""
    topic, group = await harness.topic(), harness.name("group")
    hosts = [Host("one", "http://one.example:6066"), Host("two", "http://two.example:6066")]
    members = [await harness.member(group, topic, host=host) for host in hosts]
    await harness.drive(
        members,
        lambda: all(
            len(member.consumer.owners().members) == 2 and member.consumer.owners().settled for member in members
        ),
        "two members know of each other",
    )
    assert sum(len(member.partitions) for member in members) == 1
    for member in members:
        assert sorted(member.consumer.owners().members) == hosts


async def owners_are_the_last_known_while_partitions_move(harness: BrokerHarness) -> None:
    """Before the first assignment nobody is known; in a rebalance and after the stop the answer is that of before, and says so."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    seen: list[Owners] = []

    async def look(revoked: Revoked) -> None:
        if revoked.partitions:
            seen.append(first.consumer.owners())

    first = await harness.member(group, topic, on_revoked=look, host=Host("one"))
    assert first.consumer.owners() == Owners()
    await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
    before = first.consumer.owners()
    second = await harness.member(group, topic, host=Host("two"))
    members = [first, second]
    await harness.drive(members, lambda: _share(members, topic, 2), "two members share two partitions")
    after = second.consumer.owners()
    await harness.stop(second.consumer)

    assert before.settled
    assert before.hosts == {TP(topic, 0): Host("one"), TP(topic, 1): Host("one")}
    assert seen[0] == replace(before, settled=False)
    assert after.settled
    assert set(after.hosts.values()) == {Host("one"), Host("two")}
    assert second.consumer.owners() == replace(after, settled=False)


CHECKS = (
    members_share_the_partitions,
    a_member_without_partitions_is_known,
    a_leaver_hands_over,
    nothing_is_assigned_before_all_is_revoked,
    a_new_generation_begins_silent,
    an_older_generation_cannot_commit,
    any_member_can_ask_for_a_generation,
    asking_before_it_subscribes_does_nothing,
    a_removed_member_comes_back_as_another,
    a_removed_member_is_not_waited_for,
    a_member_without_partitions_is_told_so,
    a_topic_that_appears_is_assigned,
    every_member_knows_the_owners,
    owners_are_the_last_known_while_partitions_move,
)
"""The checks of this suite."""
