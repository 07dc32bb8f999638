"""What a :class:`~stream_core.ports.Consumer` does that is alone in its group."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from stream_core.errors import CommitError, FencedError, OffsetOutOfRangeError
from stream_core.primitives import TP, Offset
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import Received, Revoked, raises

__all__ = ["CHECKS"]


async def is_assigned_all_partitions(harness: BrokerHarness) -> None:
    """A member that is alone gets every partition of its topics, in one call, with the identity to commit under."""
    topic, other, group = await harness.topic(partitions=3), await harness.topic(), harness.name("group")

    member = await harness.alone(group, topic, other)

    assert member.partitions == {TP(topic, 0), TP(topic, 1), TP(topic, 2), TP(other, 0)}
    assert member.group.group == group
    assert member.group.generation >= 0
    assert member.group.member, "the group metadata names no member"


async def starts_paused_without_position(harness: BrokerHarness) -> None:
    """Nothing is delivered after an assignment until partitions are sought and resumed, both, then from there."""
    tp = TP(await harness.topic(), 0)
    await send(await harness.producer(tp.topic), tp, "a", "b", "c")
    member = await harness.alone(harness.name("group"), tp.topic)

    before = await harness.silence(member.consumer)
    member.consumer.seek(tp, 1)
    paused = await harness.silence(member.consumer)
    member.consumer.resume([tp])
    after = await harness.receive(member.consumer, lambda got: got.count() >= 2)

    assert before.count() == paused.count() == 0, f"records came before anyone resumed: {before}, {paused}"
    assert after.values(tp) == [b"b", b"c"]
    assert after.next_offset[tp] == 3


async def pause_and_resume(harness: BrokerHarness) -> None:
    """A paused partition delivers nothing while another does, and goes on where it was: no gap, nothing twice."""
    topic = await harness.topic(partitions=2)
    paused, running = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    member = await harness.alone(harness.name("group"), topic)
    member.read({paused: 0, running: 0})
    await send(producer, paused, "1", "2")
    received = await harness.receive(member.consumer, lambda got: got.count() == 2)

    member.consumer.pause([paused])
    await send(producer, paused, "3", "4")
    await send(producer, running, "a")
    others = await harness.receive(member.consumer, lambda got: got.count() >= 1)
    silent = await harness.silence(member.consumer)
    member.consumer.resume([paused])
    resumed = await harness.receive(member.consumer, lambda got: got.count() >= 2)

    assert received.values(paused) == [b"1", b"2"]
    assert (others.values(running), others.values(paused)) == ([b"a"], [])
    assert silent.count() == 0, f"a paused partition was delivered: {silent}"
    assert resumed.values(paused) == [b"3", b"4"]


async def seek_back_and_while_paused(harness: BrokerHarness) -> None:
    """A seek takes effect at once, and one made while paused when the partition is resumed."""
    tp = TP(await harness.topic(), 0)
    await send(await harness.producer(tp.topic), tp, "a", "b", "c")
    member = await harness.alone(harness.name("group"), tp.topic)
    member.read({tp: 0})
    await harness.receive(member.consumer, lambda got: got.count() == 3)

    member.consumer.seek(tp, 2)
    back = await harness.receive(member.consumer, lambda got: got.count() >= 1)
    member.consumer.pause([tp])
    member.consumer.seek(tp, 1)
    silent = await harness.silence(member.consumer)
    member.consumer.resume([tp])
    resumed = await harness.receive(member.consumer, lambda got: got.count() >= 2)

    assert back.values(tp) == [b"c"]
    assert silent.count() == 0, f"a paused partition was delivered: {silent}"
    assert resumed.values(tp) == [b"b", b"c"]


async def ignores_partitions_not_owned(harness: BrokerHarness) -> None:
    """Seeking, pausing and resuming a partition that is not owned does nothing."""
    tp, other = TP(await harness.topic(), 0), TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic, other.topic)
    await send(producer, tp, "mine")
    await send(producer, other, "not mine")
    member = await harness.alone(harness.name("group"), tp.topic)

    for call in (member.consumer.pause, member.consumer.resume):
        call([other])
    member.read({other: 0, tp: 0})
    received = await harness.receive(member.consumer, lambda got: got.count() >= 1)

    assert (received.values(tp), received.values(other)) == ([b"mine"], [])


async def poll_waits_for_the_first_record(harness: BrokerHarness) -> None:
    """A poll returns soon after something arrives, and without anything at its timeout."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic)
    member = await harness.alone(harness.name("group"), tp.topic)
    member.read({tp: 0})
    async with asyncio.timeout(harness.deadline):
        assert (await harness.silence(member.consumer)).count() == 0

        poll = asyncio.create_task(member.consumer.poll(harness.deadline * 10))
        await asyncio.sleep(0)
        await send(producer, tp, "a")
        received = Received()
        received.add(await poll)
    if not received.count():
        received = await harness.receive(member.consumer, lambda got: got.count() == 1)

    assert received.values(tp) == [b"a"]


async def out_of_range_is_said_while_others_deliver(harness: BrokerHarness) -> None:
    """An offset that the log does not hold is named by each poll until sought; other partitions go on."""
    topic = await harness.topic(partitions=2)
    good, bad = TP(topic, 0), TP(topic, 1)
    producer = await harness.producer(topic)
    await send(producer, good, "a", "b")
    await send(producer, bad, "x")
    member = await harness.alone(harness.name("group"), topic)
    member.read({good: 0, bad: 999})
    received = Received()
    errors: list[OffsetOutOfRangeError] = []

    async with asyncio.timeout(harness.deadline):
        while received.count() < 2 or len(errors) < 2:
            try:
                received.add(await member.consumer.poll(0.2))
            except OffsetOutOfRangeError as error:
                errors.append(error)
        member.consumer.seek(bad, 0)
        after = await harness.receive(member.consumer, lambda got: got.count() >= 1)

    assert received.values(good) == [b"a", b"b"], f"records of the other partition got lost or doubled: {received}"
    assert all((error.tp, error.offset) == (bad, 999) for error in errors), f"the error names something else: {errors}"
    assert after.values(bad) == [b"x"]


async def commits_offsets_with_metadata(harness: BrokerHarness) -> None:
    """What is committed is found again, with up to 4096 bytes of text; what was never committed is ``None``."""
    topic = await harness.topic(partitions=3)
    zero, one, two = (TP(topic, partition) for partition in range(3))
    member = await harness.alone(harness.name("group"), topic)
    text = "ü" * 2048

    await member.consumer.commit({zero: Offset(5), one: Offset(7, text)}, member.group)
    await member.consumer.commit({zero: Offset(6, "newer")}, member.group)

    assert await member.consumer.committed([zero, one, two]) == {
        zero: Offset(6, "newer"),
        one: Offset(7, text),
        two: None,
    }


async def refuses_metadata_that_is_too_long(harness: BrokerHarness) -> None:
    """A commit with more than 4096 characters of text fails and names the topic; its offset is not committed."""
    topic = await harness.topic(partitions=2)
    long, other = TP(topic, 0), TP(topic, 1)
    member = await harness.alone(harness.name("group"), topic)
    commit = partial(member.consumer.commit, {long: Offset(1, "x" * 4097), other: Offset(1)}, member.group)

    async with asyncio.timeout(harness.deadline * 2):
        error = await raises(CommitError, commit, "commit of 4097 characters of text")

    assert topic in str(error), f"the error does not name the topic {topic}: {error}"
    assert await member.consumer.committed([long, other]) == {long: None, other: Offset(1)}


async def commits_outlive_the_member(harness: BrokerHarness) -> None:
    """A later member of the group finds what an earlier one committed; another group does not."""
    topic, group = await harness.topic(), harness.name("group")
    tp = TP(topic, 0)
    first = await harness.alone(group, topic)
    await first.consumer.commit({tp: Offset(3, "text")}, first.group)
    await harness.stop(first.consumer)

    second = await harness.alone(group, topic)
    stranger = await harness.alone(harness.name("group"), topic)

    assert await second.consumer.committed([tp]) == {tp: Offset(3, "text")}
    assert await stranger.consumer.committed([tp]) == {tp: None}


async def commits_are_fenced(harness: BrokerHarness) -> None:
    """A commit under another generation or member, or under none, is refused and changes nothing."""
    topic = await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    await member.consumer.commit({tp: Offset(1)}, member.group)
    group = member.group

    for wrong in (
        replace(group, generation=group.generation - 1),
        replace(group, member=harness.name("member")),
        replace(group, generation=-1, member=""),
    ):
        commit = partial(member.consumer.commit, {tp: Offset(9)}, wrong)
        async with asyncio.timeout(harness.deadline * 2):
            await raises(FencedError, commit, f"commit as {wrong}")

    assert await member.consumer.committed([tp]) == {tp: Offset(1)}


async def offsets_of_partitions(harness: BrokerHarness) -> None:
    """Start and end offsets are told for any partition, also before it is assigned."""
    topic = await harness.topic(partitions=2)
    full, empty = TP(topic, 0), TP(topic, 1)
    await send(await harness.producer(topic), full, "a", "b")
    member = await harness.member(harness.name("group"), topic)

    assert await member.consumer.start_offsets([full, empty]) == {full: 0, empty: 0}
    assert await member.consumer.end_offsets([full, empty]) == {full: 2, empty: 0}
    assert await member.consumer.end_offsets([full, empty], committed=True) == {full: 2, empty: 0}


async def hides_transactions_under_read_committed(harness: BrokerHarness) -> None:
    """Aborted records are skipped, and the position passes them and the control records."""
    tp = TP(await harness.topic(), 0)
    producer = await harness.producer(tp.topic, transactional_id=harness.name("transaction"))
    await producer.begin()
    await send(producer, tp, "committed")
    await producer.commit({}, None)
    await producer.begin()
    await send(producer, tp, "aborted")
    await producer.abort()
    member = await harness.alone(harness.name("group"), tp.topic, read_committed=True)
    member.read({tp: 0})

    received = await harness.receive(member.consumer, lambda got: got.next_offset.get(tp) == 4)

    assert received.values(tp) == [b"committed"]


async def changes_its_subscription(harness: BrokerHarness) -> None:
    """Another subscription costs a rebalance: everything is revoked, then the new whole is assigned, paused again."""
    old, new = TP(await harness.topic(), 0), TP(await harness.topic(), 0)
    producer = await harness.producer(old.topic, new.topic)
    await send(producer, old, "old")
    await send(producer, new, "new")
    member = await harness.alone(harness.name("group"), old.topic)
    member.read({old: 0})
    first = member.group

    member.subscribe(old.topic, new.topic)
    await harness.drive([member], lambda: member.partitions == {old, new}, "the new topic is assigned")
    silent = await harness.silence(member.consumer)
    member.read({new: 0})
    received = await harness.receive(member.consumer, lambda got: got.count() >= 1)

    assert Revoked(frozenset({old}), lost=False) in member.events
    assert member.group.generation > first.generation
    assert silent.count() == 0, f"a partition was delivered before it was resumed in the new generation: {silent}"
    assert (received.values(new), received.values(old)) == ([b"new"], [])


async def commits_while_it_is_revoked(harness: BrokerHarness) -> None:
    """Within ``revoked`` the old generation is current still: the last offsets can be committed."""
    topic, other = await harness.topic(), await harness.topic()
    tp = TP(topic, 0)
    failures: list[BaseException] = []

    async def commit(revoked: Revoked) -> None:
        if not revoked.partitions:
            return
        try:
            await member.consumer.commit({tp: Offset(42)}, member.group)
        except Exception as error:
            failures.append(error)

    member = await harness.member(harness.name("group"), topic, on_revoked=commit)
    await harness.drive([member], lambda: bool(member.partitions), "the first assignment")
    member.subscribe(topic, other)
    await harness.drive([member], lambda: len(member.partitions) == 2, "the second assignment")

    assert not failures, f"the commit within revoked failed: {failures}"
    assert await member.consumer.committed([tp]) == {tp: Offset(42)}


async def stops_without_revoking(harness: BrokerHarness) -> None:
    """``stop`` does not call ``revoked``, can be called twice, and before it ``check`` and the lease are in order."""
    topic = await harness.topic()
    member = await harness.alone(harness.name("group"), topic)
    member.consumer.check()
    assert member.consumer.lease() > 0

    told = list(member.events)

    await harness.stop(member.consumer)
    await harness.stop(member.consumer)

    assert member.events == told, f"stop called the listener: {member.events}"


CHECKS = (
    is_assigned_all_partitions,
    starts_paused_without_position,
    pause_and_resume,
    seek_back_and_while_paused,
    ignores_partitions_not_owned,
    poll_waits_for_the_first_record,
    out_of_range_is_said_while_others_deliver,
    commits_offsets_with_metadata,
    refuses_metadata_that_is_too_long,
    commits_outlive_the_member,
    commits_are_fenced,
    offsets_of_partitions,
    hides_transactions_under_read_committed,
    changes_its_subscription,
    commits_while_it_is_revoked,
    stops_without_revoking,
)
"""The checks of this suite."""
