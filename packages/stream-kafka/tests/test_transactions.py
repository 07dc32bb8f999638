"""What a transactional producer says of its transaction, without a broker."""

from __future__ import annotations

import aiokafka.errors as kafka
import pytest
from aiokafka.structs import TopicPartition

from stream_core.errors import FencedError, ProduceError, TransactionExpiredError
from stream_kafka.errors import ProducerFencedCode
from stream_kafka.producing.sender import TransactionState
from stream_kafka.producing.transactions import KafkaTransactionalProducer
from stream_kafka.settings import KafkaSettings

TP = TopicPartition("t", 0)


class _Clock:
    """A clock that is set by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _transactions(clock: _Clock) -> TransactionState:
    made = TransactionState("id", 15.0, lambda error: None, clock)
    made.set_pid_and_epoch(7, 0)
    return made


async def test_the_age_begins_with_the_first_record() -> None:
    """Not with ``begin``, not again with the second partition, and it ends with the transaction."""
    clock = _Clock()
    transactions = _transactions(clock)
    transactions.begin_transaction()
    clock.now += 5
    assert transactions.age == 0.0

    transactions.maybe_add_partition_to_txn(TP)
    transactions.partition_added(TP)
    clock.now += 5
    transactions.maybe_add_partition_to_txn(TopicPartition("t", 1))
    transactions.partition_added(TopicPartition("t", 1))
    clock.now += 5
    assert transactions.age == 10.0
    assert not transactions.expired

    transactions.committing_transaction()
    transactions.complete_transaction()
    assert transactions.age == 0.0


async def test_the_age_begins_with_offsets_too() -> None:
    """A transaction of offsets alone is one that expires."""
    clock = _Clock()
    transactions = _transactions(clock)
    transactions.begin_transaction()
    offsets = transactions.add_offsets_to_txn({}, "group")
    clock.now += 16
    assert transactions.expired
    offsets.cancel()


@pytest.mark.parametrize(
    "error", [kafka.ProducerFenced(), kafka.InvalidProducerEpoch(), ProducerFencedCode()], ids=lambda error: str(error)
)
async def test_a_refused_epoch_is_no_rival_when_the_transaction_is_too_old(
    error: kafka.KafkaError,
) -> None:
    """Before its timeout the same answer means that somebody took over; either way the cause stays."""
    producer = KafkaTransactionalProducer(KafkaSettings(transaction_timeout=15.0), "id")
    clock = _Clock()
    transactions = producer._transactions = _transactions(clock)
    transactions.begin_transaction()
    transactions.maybe_add_partition_to_txn(TP)

    clock.now += 14
    assert type(producer._explain(error, "topic t")) is FencedError
    clock.now += 2
    expired = producer._explain(error, "topic t")

    assert isinstance(expired, TransactionExpiredError)
    assert expired.__cause__ is error
    assert "topic t: " in str(expired)
    assert "open for 16.0 s" in str(expired)
    assert "broker_transaction_timeout=15" in str(expired)
    assert type(producer._explain(kafka.UnknownProducerId(), "topic t")) is ProduceError
    lease = FencedError("the lease of the group is over")
    assert producer._explain(lease, "topic t") is lease


async def test_sequence_numbers_go_on_at_zero() -> None:
    """As brokers count; aiokafka goes on at the smallest number, and a broker takes the record for a bad one."""
    transactions = TransactionState(None, 15.0, lambda error: None)
    seen = []
    transactions.increment_sequence_number(TP, 2**31 - 3)
    for count in (2, 2, 5):
        transactions.increment_sequence_number(TP, count)
        seen.append(transactions.sequence_number(TP))
    assert seen == [2**31 - 1, 1, 6]
