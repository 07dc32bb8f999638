"""A membership ends in time, is fenced by its generation, and its lease tells how long it holds."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace

import msgspec
import pytest

from stream_core.errors import FencedError, TransportError
from stream_core.ports import Consumer, RebalanceListener
from stream_core.records import TP, Offset
from stream_core.testing.contracts import BrokerHarness
from stream_core.testing.contracts.observe import Revoked
from stream_kafka import KafkaSettings, KafkaTransport

CHILD = """
import asyncio, sys
from stream_core.ports import Consumer, RebalanceListener
from stream_kafka import KafkaSettings, KafkaTransport

async def main(server, group, topic):
    settings = KafkaSettings(servers=(server,), session_timeout=30.0)
    consumer = KafkaTransport(settings).consumer(group, read_committed=True)
    await consumer.start()
    async def revoked(partitions, lost): ...
    consumer.subscribe([topic], RebalanceListener(lambda partitions, group: print(group.member, flush=True), revoked))
    while True:
        await consumer.poll(1.0)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_dead_member_can_be_taken_out(harness: BrokerHarness, settings: KafkaSettings) -> None:
    """After ``kill -9`` a successor that removes the member has the partitions at once, not after the session timeout."""
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

    began = time.monotonic()
    await admin.remove_member(group, member)
    await harness.alone(group, topic)

    assert time.monotonic() - began < 10, "the successor waited for the session of the dead member"


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
    """It stays near the session timeout while the broker answers, and is over when the member is taken out."""
    topic, group = await harness.topic(), harness.name("group")
    leases: list[float] = []

    async def note(revoked: Revoked) -> None:
        leases.append(member.consumer.lease())

    member = await harness.member(group, topic, on_revoked=note)
    await harness.drive([member], lambda: bool(member.partitions), "the member owns everything")
    end = time.monotonic() + 3 * settings.heartbeat_interval
    while time.monotonic() < end:
        await member.poll(0.1)
        assert (
            settings.session_timeout - 2 * settings.heartbeat_interval
            < member.consumer.lease()
            <= settings.session_timeout
        )

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


async def test_a_member_that_is_joining_can_stop_at_once(harness: BrokerHarness) -> None:
    """It does not wait until the others have joined, and the others do not wait for its session."""
    topic, group = await harness.topic(partitions=2), harness.name("group")
    never, rebalancing = asyncio.Event(), asyncio.Event()

    async def hang(revoked: Revoked) -> None:
        # The group asks for partitions back when the join of the second member has reached it.
        rebalancing.set()
        await never.wait()

    first = await harness.member(group, topic, on_revoked=hang)
    await harness.drive([first], lambda: len(first.partitions) == 2, "the first member owns everything")
    second = await harness.member(group, topic)
    await harness.drive([first, second], rebalancing.is_set, "the second member waits to join")

    began = time.monotonic()
    await second.consumer.stop()

    assert time.monotonic() - began < 2


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
