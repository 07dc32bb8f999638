"""What a transactional :class:`~stream_core.ports.Producer` does, and what readers and groups see of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

from stream_core.errors import FencedError, ProduceError, StreamError, TransactionExpiredError, TransportError
from stream_core.ports import Producer
from stream_core.primitives import TP, Offset
from stream_core.testing.contracts.harness import BrokerHarness, many, send
from stream_core.testing.contracts.observe import raises

__all__ = ["CHECKS"]


async def _transactional(harness: BrokerHarness, *topics: str, transactional_id: str | None = None) -> Producer:
    """Start a transactional producer, under an id of its own unless told."""
    return await harness.producer(*topics, transactional_id=transactional_id or harness.name("transaction"))


async def sends_only_in_a_transaction(harness: BrokerHarness) -> None:
    """A send before ``begin`` or after ``commit`` is refused."""
    topic = await harness.topic()
    producer = await _transactional(harness, topic)

    async with asyncio.timeout(harness.deadline):
        await raises(StreamError, lambda: producer.send(topic, 0, None, b"outside"), "send before begin")
        await raises(StreamError, lambda: many(producer, TP(topic, 0)), "send_many before begin")
    again = await _transactional(harness, topic)
    await again.begin()
    await again.commit({}, None)

    async with asyncio.timeout(harness.deadline):
        await raises(StreamError, lambda: again.send(topic, 0, None, b"after"), "send after commit")


async def commit_shows_all_partitions(harness: BrokerHarness) -> None:
    """Nothing of an open transaction is seen under read_committed; after the commit all partitions show all of it."""
    topic = await harness.topic(partitions=2)
    tps = [TP(topic, 0), TP(topic, 1)]
    reader = await harness.reader(dict.fromkeys(tps, 0), read_committed=True)
    producer = await _transactional(harness, topic)
    await producer.begin()
    for tp in tps:
        await send(producer, tp, "a", "b")

    before = await harness.silence(reader)
    await producer.commit({}, None)
    after = await harness.receive(reader, lambda got: got.count() >= 4)

    assert before.count() == 0, f"an open transaction was seen: {before}"
    assert [after.values(tp) for tp in tps] == [[b"a", b"b"]] * 2


async def abort_leaves_nothing_visible(harness: BrokerHarness) -> None:
    """Aborted records are skipped, and the same producer can go on with the next transaction."""
    tp = TP(await harness.topic(), 0)
    producer = await _transactional(harness, tp.topic)
    await producer.begin()
    await send(producer, tp, "aborted")
    await producer.abort()
    await producer.begin()
    await send(producer, tp, "committed")
    await producer.commit({}, None)

    reader = await harness.reader({tp: 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.count() >= 1)

    assert received.values(tp) == [b"committed"]


async def the_position_passes_control_records(harness: BrokerHarness) -> None:
    """Behind control and aborted records ``next_offset`` reaches the end of the partition, in both isolation levels."""
    tp = TP(await harness.topic(), 0)
    producer = await _transactional(harness, tp.topic)
    for outcome in ("commit", "abort"):
        await producer.begin()
        await send(producer, tp, outcome)
        await (producer.commit({}, None) if outcome == "commit" else producer.abort())
    end = (await (await harness.reader({})).end_offsets([tp]))[tp]
    assert end == 4, f"two records and two control records end at 4, not {end}"

    for read_committed, values in ((True, [b"commit"]), (False, [b"commit", b"abort"])):
        reader = await harness.reader({tp: 0}, read_committed=read_committed)
        received = await harness.receive(reader, lambda got: got.next_offset.get(tp) == end)
        assert received.values(tp) == values, f"read_committed={read_committed}: {received}"
        assert received.end_offset[tp] in {end, -1}


async def a_position_moves_without_records(harness: BrokerHarness) -> None:
    """A partition that holds an aborted transaction and nothing else is passed with batches that have no records."""
    tp = TP(await harness.topic(), 0)
    producer = await _transactional(harness, tp.topic)
    await producer.begin()
    await send(producer, tp, "aborted", "aborted")
    await producer.abort()

    reader = await harness.reader({tp: 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.next_offset.get(tp) == 3)

    assert received.count() == 0


async def ends_while_a_transaction_is_open(harness: BrokerHarness) -> None:
    """The end is behind open transactions, the committed end is where the first of them begins."""
    tp = TP(await harness.topic(), 0)
    await send(await harness.producer(tp.topic), tp, "plain")
    producer = await _transactional(harness, tp.topic)
    await producer.begin()
    await send(producer, tp, "open", "open")
    await send(await harness.producer(tp.topic), tp, "behind")
    for read_committed in (True, False):
        reader = await harness.reader({tp: 0}, read_committed=read_committed)

        assert await reader.end_offsets([tp]) == {tp: 4}
        assert await reader.end_offsets([tp], committed=True) == {tp: 1}
        visible = [b"plain"] if read_committed else [b"plain", b"open", b"open", b"behind"]
        received = await harness.receive(reader, lambda got: got.count() >= len(visible))  # noqa: B023 - called in here
        assert received.values(tp) == visible, f"read_committed={read_committed}: {received}"

    await producer.commit({}, None)
    assert await reader.end_offsets([tp], committed=True) == {tp: 5}


async def transactions_side_by_side(harness: BrokerHarness) -> None:
    """Of two interleaved transactions on one partition the committed one is seen, once the other is decided too."""
    tp = TP(await harness.topic(), 0)
    aborting, committing = await _transactional(harness, tp.topic), await _transactional(harness, tp.topic)
    await aborting.begin()
    await committing.begin()
    for value in ("1", "2"):
        await send(aborting, tp, "aborted" + value)
        await send(committing, tp, "committed" + value)
    await committing.commit({}, None)
    reader = await harness.reader({tp: 0}, read_committed=True)

    early = await harness.silence(reader)
    await aborting.abort()
    late = await harness.receive(reader, lambda got: got.count() >= 2)

    assert early.count() == 0, f"records past the last stable offset were seen: {early}"
    assert late.values(tp) == [b"committed1", b"committed2"]


async def a_second_producer_fences_the_first(harness: BrokerHarness) -> None:
    """``start`` under the same transactional id aborts what is open and fences the one before."""
    tp, transactional_id = TP(await harness.topic(), 0), harness.name("transaction")
    first = await _transactional(harness, tp.topic, transactional_id=transactional_id)
    await first.begin()
    await send(first, tp, "of the first")

    second = await _transactional(harness, tp.topic, transactional_id=transactional_id)
    reader = await harness.reader({tp: 0}, read_committed=True)
    await harness.receive(reader, lambda got: got.next_offset.get(tp) == 2)
    async with asyncio.timeout(harness.deadline * 2):
        await raises(FencedError, lambda: first.commit({}, None), "commit of a fenced producer")
    await second.begin()
    await send(second, tp, "of the second")
    await second.commit({}, None)
    received = await harness.receive(reader, lambda got: got.count() >= 1)
    await harness.stop(first)

    assert received.values(tp) == [b"of the second"]


async def a_fenced_producer_can_be_put_away(harness: BrokerHarness) -> None:
    """What a fenced producer sends is refused; aborting and stopping it ends, whether it says so or not."""
    tp, transactional_id = TP(await harness.topic(), 0), harness.name("transaction")
    first = await _transactional(harness, tp.topic, transactional_id=transactional_id)
    await first.begin()
    await _transactional(harness, tp.topic, transactional_id=transactional_id)

    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransportError, lambda: first.send(*tp, None, b"zombie"), "send of a fenced producer")
        with suppress(TransportError):
            await first.abort()
    await harness.stop(first)

    reader = await harness.reader({tp: 0}, read_committed=True)
    assert (await harness.silence(reader)).count() == 0, "a record of a fenced producer was seen"


async def offsets_become_committed_with_the_transaction(harness: BrokerHarness) -> None:
    """Offsets of an aborted transaction are not committed; those of a committed one are, at once, with their metadata."""
    topic = await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    producer = await _transactional(harness, topic)

    await producer.begin()
    await send(producer, tp, "aborted")
    await producer.abort()
    aborted = await member.consumer.committed([tp])
    for number in range(1, 11):
        await producer.begin()
        await producer.commit({tp: Offset(number, f"text {number}")}, member.group)
        found = await member.consumer.committed([tp])
        assert found == {tp: Offset(number, f"text {number}")}, f"offset {number} was committed, then found: {found}"

    assert aborted == {tp: None}


async def offsets_and_records_are_one(harness: BrokerHarness) -> None:
    """A refused offset keeps the records of its transaction invisible, and the other way round nothing is committed."""
    topic, target = await harness.topic(), await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    stale = replace(member.group, generation=member.group.generation - 1)
    stranger = replace(member.group, member=harness.name("member"))
    nobody = replace(member.group, generation=-1, member="")

    for group in (stale, stranger, nobody):
        producer = await _transactional(harness, target)
        await producer.begin()
        await send(producer, TP(target, 0), "of a zombie")
        commit = partial(producer.commit, {tp: Offset(7)}, group)
        async with asyncio.timeout(harness.deadline * 2):
            await raises(FencedError, commit, f"commit of offsets as {group}")
            await producer.abort()
        await harness.stop(producer)

    end = await (await harness.reader({})).end_offsets([TP(target, 0)])
    reader = await harness.reader({TP(target, 0): 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.next_offset.get(TP(target, 0)) == end[TP(target, 0)])
    assert received.count() == 0, f"records of a refused commit were seen: {received}"
    assert await member.consumer.committed([tp]) == {tp: None}


async def a_refused_record_cannot_be_committed(harness: BrokerHarness) -> None:
    """A transaction with a record that was not acknowledged does not commit; a new producer of the same id goes on."""
    tp = TP(await harness.topic(config={"max.message.bytes": "2000"}), 0)
    transactional_id = harness.name("transaction")
    broken = await _transactional(harness, tp.topic, transactional_id=transactional_id)
    await broken.begin()
    await send(broken, tp, "fits")
    broken.send(*tp, None, bytes(range(256)) * 20)

    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransportError, lambda: broken.commit({}, None), "commit with a record that was refused")
        with suppress(TransportError):
            await broken.abort()
    await harness.stop(broken)
    fresh = await _transactional(harness, tp.topic, transactional_id=transactional_id)
    await fresh.begin()
    await send(fresh, tp, "fresh")
    await fresh.commit({}, None)

    reader = await harness.reader({tp: 0}, read_committed=True)
    received = await harness.receive(reader, lambda got: got.count() >= 1)
    assert received.values(tp) == [b"fresh"]


async def an_open_transaction_times_out(harness: BrokerHarness) -> None:
    """One that stays open past the transaction timeout is aborted, readers go on, and its producer can say that it was that."""
    tp = TP(await harness.topic(), 0)
    reader = await harness.reader({tp: 0}, read_committed=True)
    sleeper = await _transactional(harness, tp.topic)
    await sleeper.begin()
    await send(sleeper, tp, "of the sleeper")
    await send(await harness.producer(tp.topic), tp, "behind")

    received = await harness.receive(reader, lambda got: got.count() >= 1)
    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransactionExpiredError, lambda: sleeper.commit({}, None), "commit after the timeout")
    await harness.stop(sleeper)

    assert received.values(tp) == [b"behind"]


async def an_expired_transaction_is_said_however_it_is_found(harness: BrokerHarness) -> None:
    """Whether the next thing is a record, offsets or an abort: it is no rival's fence, and the abort has nothing to do."""
    topic = await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    reader = await harness.reader({tp: 0}, read_committed=True)
    names = [harness.name("transaction") for _ in range(3)]
    sending, committing, aborting = [
        await _transactional(harness, topic, transactional_id=transactional_id) for transactional_id in names
    ]
    for producer in (sending, committing, aborting):
        await producer.begin()
        await send(producer, tp, "of a sleeper")

    ended = 6
    await harness.receive(reader, lambda got: got.next_offset.get(tp, 0) >= ended)
    async with asyncio.timeout(harness.deadline * 2):
        await raises(TransactionExpiredError, partial(send, sending, tp, "late"), "a record after the timeout")
        offsets = partial(committing.commit, {tp: Offset(1)}, member.group)
        await raises(TransactionExpiredError, offsets, "offsets after the timeout")
        await aborting.abort()
        await raises(ProduceError, aborting.begin, "another transaction of an expired producer")
    for producer in (sending, committing, aborting):
        await harness.stop(producer)

    assert await member.consumer.committed([tp]) == {tp: None}
    assert (await harness.silence(reader)).count() == 0, "a record of an expired transaction was seen"


async def knows_for_how_long_it_is_open(harness: BrokerHarness) -> None:
    """The age counts from the first record or offset, not from ``begin``, and is zero again when the transaction is over."""
    topic = await harness.topic()
    tp = TP(topic, 0)
    member = await harness.alone(harness.name("group"), topic)
    producer, plain = await _transactional(harness, topic), await harness.producer(topic)

    ages = [producer.transaction_age]
    for end in (partial(producer.commit, {tp: Offset(1)}, member.group), producer.abort):
        await producer.begin()
        await asyncio.sleep(harness.quiet)
        ages.append(producer.transaction_age)
        await send(producer, tp, "a")
        await asyncio.sleep(harness.quiet)
        await send(producer, tp, "b")
        assert producer.transaction_age >= harness.quiet
        await end()
        ages.append(producer.transaction_age)
    await send(plain, tp, "c")

    assert ages == [0.0] * 5
    assert plain.transaction_age == 0.0


async def empty_transactions_end(harness: BrokerHarness) -> None:
    """A transaction in which nothing was sent commits and aborts."""
    producer = await _transactional(harness)
    async with asyncio.timeout(harness.deadline):
        for _ in range(3):
            await producer.begin()
            await producer.commit({}, None)
            await producer.begin()
            await producer.abort()


CHECKS = (
    sends_only_in_a_transaction,
    commit_shows_all_partitions,
    abort_leaves_nothing_visible,
    the_position_passes_control_records,
    a_position_moves_without_records,
    ends_while_a_transaction_is_open,
    transactions_side_by_side,
    a_second_producer_fences_the_first,
    a_fenced_producer_can_be_put_away,
    offsets_become_committed_with_the_transaction,
    offsets_and_records_are_one,
    a_refused_record_cannot_be_committed,
    an_open_transaction_times_out,
    an_expired_transaction_is_said_however_it_is_found,
    knows_for_how_long_it_is_open,
    empty_transactions_end,
)
"""The checks of this suite; the transaction timeout of the transport must be shorter than the harness's deadline."""
