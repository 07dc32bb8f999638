"""What a :class:`~stream_core.ports.Groups` does."""

from __future__ import annotations

from stream_core.errors import CommitError, FencedError, UnknownTopicError
from stream_core.ports import Groups
from stream_core.primitives import TP, Offset
from stream_core.testing.contracts.harness import BrokerHarness, send
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


async def tells_members_and_offsets(harness: BrokerHarness) -> None:
    """Who is in a group is told, and all offsets that it has committed, with their texts."""
    groups, topic, group = await harness.groups(), await harness.topic(2), harness.name("group")
    member = await harness.alone(group, topic)
    await member.consumer.commit({TP(topic, 1): Offset(7, "text")}, member.group)

    assert list(await groups.members(group)) == [member.group.member]
    assert await groups.offsets(group) == {TP(topic, 1): Offset(7, "text")}

    await harness.stop(member.consumer)
    assert list(await groups.members(group)) == []
    assert await groups.offsets(group) == {TP(topic, 1): Offset(7, "text")}


async def an_unknown_group_has_nothing(harness: BrokerHarness) -> None:
    """A group that does not exist has neither members nor offsets, and is not made by asking."""
    groups, group = await harness.groups(), harness.name("group")

    assert list(await groups.members(group)) == []
    assert await groups.offsets(group) == {}


async def changes_offsets_of_a_group_without_members(harness: BrokerHarness) -> None:
    """Offsets that are changed are what the next member finds, in a group that is new, too; other partitions keep theirs."""
    groups, topic, group = await harness.groups(), await harness.topic(2), harness.name("group")
    first, second = TP(topic, 0), TP(topic, 1)
    await groups.change(group, {first: Offset(3), second: Offset(4, "text")})
    await groups.change(group, {first: Offset(1)})
    await groups.change(group, {})

    member = await harness.alone(group, topic)
    assert await member.consumer.committed([first, second]) == {first: Offset(1), second: Offset(4, "text")}


async def refuses_a_group_with_members(harness: BrokerHarness) -> None:
    """While somebody is in a group its offsets stay as they are."""
    groups, topic, group = await harness.groups(), await harness.topic(), harness.name("group")
    tp = TP(topic, 0)
    await groups.change(group, {tp: Offset(1)})
    await harness.alone(group, topic)

    await raises(FencedError, lambda: groups.change(group, {tp: Offset(0)}), "a change of offsets under members")
    assert await groups.offsets(group) == {tp: Offset(1)}


async def refuses_offsets_that_cannot_be(harness: BrokerHarness) -> None:
    """A partition that does not exist, and a text that is too long; the offsets beside them are committed."""
    groups, topic, group = await harness.groups(), await harness.topic(2), harness.name("group")
    first, second = TP(topic, 0), TP(topic, 1)
    missing = {TP(harness.name("missing"), 0): Offset(1), first: Offset(2)}
    long = {first: Offset(1, "x" * 5000), second: Offset(3)}

    await raises(UnknownTopicError, lambda: groups.change(group, missing), "an offset of no topic")
    await raises(CommitError, lambda: groups.change(group, long), "an offset with a long text")
    assert await groups.offsets(group) == {first: Offset(2), second: Offset(3)}


async def tells_offsets_of_transactions(harness: BrokerHarness) -> None:
    """Offsets that a transaction has committed are told like all others."""
    groups, topic, group = await harness.groups(), await harness.topic(), harness.name("group")
    member = await harness.alone(group, topic)
    producer = await harness.producer(topic, transactional_id=harness.name("tx"))
    await producer.begin()
    await send(producer, TP(topic, 0), "a")
    await producer.commit({TP(topic, 0): Offset(5)}, member.group)

    assert await groups.offsets(group) == {TP(topic, 0): Offset(5)}


async def stops_twice(harness: BrokerHarness) -> None:
    """A client that is stopped can be stopped again."""
    groups: Groups = await harness.groups()
    await groups.stop()
    await groups.stop()


CHECKS = (
    tells_members_and_offsets,
    an_unknown_group_has_nothing,
    changes_offsets_of_a_group_without_members,
    refuses_a_group_with_members,
    refuses_offsets_that_cannot_be,
    tells_offsets_of_transactions,
    stops_twice,
)
"""The checks of this suite."""
