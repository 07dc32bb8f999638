"""A membership ends in time, is fenced by its generation, and its lease tells how long it holds."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from stream_core.errors import FencedError, TransportError
from stream_core.ports import Consumer, RebalanceListener
from stream_core.primitives import TP, Offset
from stream_core.testing.contracts import BrokerHarness
from stream_core.testing.contracts.observe import Revoked
from stream_kafka import KafkaSettings, KafkaTransport

CHILD = """
import asyncio, sys
from stream_core.ports import Consumer, RebalanceListener
from stream_kafka import KafkaSettings, KafkaTransport

async def main(server, group, topic):
    settings = KafkaSettings(servers=(server,), session_timeout=300.0)
    consumer = KafkaTransport(settings).consumer(group, read_committed=True)
    await consumer.start()
    async def revoked(partitions, lost): ...
    consumer.subscribe([topic], RebalanceListener(lambda partitions, group: print(group.member, flush=True), revoked))
    while True:
        await consumer.poll(1.0)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_dead_member_can_be_taken_out(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """After ``kill -9`` a successor that removes the member has the partitions at once, not after the session timeout.

    The session of the dead member is far longer than the harness waits for anything.
    """
    topic, group = await harness.topic(partitions=2), harness.name("group")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, settings.servers[0], group, topic, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        member = (await child.stdout.readline()).decode().strip()
    child.send_signal(signal.SIGKILL)
    await child.wait()
    admin = await harness.admin()

    await admin.remove_member(group, member)

    successor = await harness.alone(group, topic)

    assert len(successor.partitions) == 2


async def test_offsets_are_committed_until_the_join_completes(harness: BrokerHarness) -> None:
    """While another member waits to join, the old generation is current still, and the offset it commits is found."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    tp = TP(topic, 0)
    committed: list[TP] = []

    async def commit_last(revoked: Revoked) -> None:
        if tp in revoked.partitions and first.assignment is not None:
            await first.consumer.commit({tp: Offset(5)}, first.group)
            committed.append(tp)

    first = await harness.member(group, topic, on_revoked=commit_last)
    await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(members, lambda: all(len(member.partitions) == 1 for member in members), "two members share")

    assert committed == [tp]
    assert await second.consumer.committed([tp]) == {tp: Offset(5)}


async def test_a_commit_without_generation_is_refused(harness: BrokerHarness) -> None:
    """It is not even sent: a broker commits for it, since it takes the member for an old client (KIP-447)."""
    topic = await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    nobody = replace(member.group, generation=-1, member="")
    producer = await harness.producer(transactional_id=harness.name("transaction"))
    await producer.begin()

    for commit in (member.consumer.commit({tp: Offset(9)}, nobody), producer.commit({tp: Offset(9)}, nobody)):
        with pytest.raises(FencedError, match="not a member"):
            await commit

    assert await member.consumer.committed([tp]) == {tp: None}


async def test_the_lease_follows_the_heartbeats(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """It is renewed whenever the broker answers, up to the session timeout, and is over when the member is taken out."""
    topic, group = await harness.topic(), harness.name("group")
    leases: list[float] = []
    renewed = 0
    last = 0.0

    async def note(revoked: Revoked) -> None:
        leases.append(member.consumer.lease())

    def renewed_three_times() -> bool:
        nonlocal renewed, last
        before, last = last, member.consumer.lease()
        assert last <= settings.session_timeout
        renewed += last > before  # between two heartbeats it only falls
        return renewed > 3

    member = await harness.member(group, topic, on_revoked=note)
    await harness.drive([member], lambda: bool(member.partitions), "the member owns everything")
    await harness.drive([member], renewed_three_times, "three heartbeats renew the lease")

    await (await harness.admin()).remove_member(group, member.group.member)
    await harness.drive([member], lambda: bool(leases), "the member learns that it was taken out")

    assert leases[0] <= 0


async def test_a_revocation_that_takes_too_long_is_cancelled(harness: BrokerHarness) -> None:
    """The group goes on without it, and so does the member."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(revoked: Revoked) -> None:
        if begun.is_set() or not revoked.partitions:
            return
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    first = await harness.member(group, topic, on_revoked=hang)
    await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
    second = await harness.member(group, topic)
    members = [first, second]
    await harness.drive(
        members, lambda: cancelled.is_set() and [len(member.partitions) for member in members] == [1, 1], "both share"
    )

    first.consumer.check()


async def test_a_member_that_is_joining_can_stop_at_once(settings: KafkaSettings) -> None:
    """It does not wait until the others have joined, which is not before the revocation of the first gives up."""
    never, rebalancing, given_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def hang(revoked: Revoked) -> None:
        # The group asks for partitions back when the join of the second member has reached it.
        rebalancing.set()
        try:
            await never.wait()
        finally:
            given_up.set()

    patient = msgspec.structs.replace(settings, rebalance_timeout=40.0, request_timeout=60.0)
    async with BrokerHarness(KafkaTransport(patient)) as harness:
        topic, group = await harness.topic(partitions=2), harness.name("group")
        first = await harness.member(group, topic, on_revoked=hang)
        await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
        second = await harness.member(group, topic)
        await harness.drive([first, second], rebalancing.is_set, "the second member waits to join")

        await harness.stop(second.consumer)

        assert not given_up.is_set()


async def _poll_for_ever(consumer: Consumer) -> None:
    while True:
        await consumer.poll(0.1)


async def test_failures_of_the_listener_are_not_lost(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """What ``assigned`` or ``revoked`` raises comes out of ``check`` and ``poll``, and that ``revoked`` cannot be cancelled."""
    quick = msgspec.structs.replace(settings, rebalance_timeout=1.5)
    topic, other = await harness.topic(), await harness.topic()
    consumer = KafkaTransport(quick).consumer(harness.name("group"), read_committed=False)
    await consumer.start()

    def assigned(partitions: object, group: object) -> None:
        raise ValueError("no room")

    async def revoked(partitions: object, lost: bool) -> None:
        never = asyncio.Event()
        with suppress(asyncio.CancelledError):
            await never.wait()
        await never.wait()

    consumer.subscribe([topic], RebalanceListener(assigned, revoked))
    try:
        async with asyncio.timeout(20):
            with pytest.raises(TransportError, match="no room"):
                await _poll_for_ever(consumer)
            consumer.subscribe([topic, other], RebalanceListener(assigned, revoked))
            with pytest.raises(TransportError, match="did not end when it was cancelled"):
                await _poll_for_ever(consumer)
    finally:
        await consumer.stop()
