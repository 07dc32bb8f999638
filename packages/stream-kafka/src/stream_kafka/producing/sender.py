"""Send batches to the brokers: aiokafka's sender with a fence, and its transaction manager with a memory.

The fence: a worker whose lease of the group is over may have a successor, and nothing of it may reach a broker any more: neither what
waits in a queue, nor what waits for a connection. So the question is asked as late as can be, in ``Client.send``: with the connection made,
right before the bytes leave, and without a suspension between. An idempotent producer without transactions has no other fence: the broker
knows nothing of the group.

The memory: aiokafka forgets what a failed transaction consists of, takes it for empty and does not abort it at the broker. Readers
would wait for the transaction timeout. Here it is remembered, and aborted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiokafka.errors as kafka
from aiokafka.producer.message_accumulator import MessageAccumulator
from aiokafka.producer.sender import Sender
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.structs import TopicPartition
from aiokafka.util import INTEGER_MAX_VALUE, create_future

from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import abandon, boottime
from stream_kafka.errors import LeaseOver, is_retriable

__all__ = ["FencedSender", "TransactionState"]

_ALL_REPLICAS = -1
_SEQUENCES = 2**31


class TransactionState(TransactionManager):  # type: ignore[misc]
    """aiokafka's transaction manager, whose failed transaction can be aborted at the broker, too.

    Args:
        transactional_id: the id, or ``None`` for a producer that is idempotent only.
        timeout: seconds after which the broker aborts the transaction.
        failed: told of every error after which nothing more can be sent.
        clock: seconds, on a clock that runs on while the process is stopped, as that of the broker does.
    """

    _txn_consumer_group: str | None
    _transaction_waiter: Any

    def __init__(
        self,
        transactional_id: str | None,
        timeout: float,
        failed: Callable[[BaseException], None],
        clock: Callable[[], float] = boottime,
    ) -> None:
        super().__init__(transactional_id, int(timeout * 1000) if transactional_id else INTEGER_MAX_VALUE)
        self._failed = failed
        self._timeout = timeout
        self._clock = clock
        self._opened: float | None = None

    @property
    def age(self) -> float:
        """Seconds since the first record or offset of the transaction was to be sent; 0.0 before."""
        return self._clock() - self._opened if self._opened is not None else 0.0

    @property
    def expired(self) -> bool:
        """Whether the transaction is so old that the broker aborts it."""
        return self.age > self._timeout

    def begin_transaction(self) -> None:
        """Begin a transaction, of which the broker knows nothing yet."""
        super().begin_transaction()
        self._opened = None

    def maybe_add_partition_to_txn(self, tp: TopicPartition) -> None:
        """Note that records of a partition are to be sent in the transaction."""
        super().maybe_add_partition_to_txn(tp)
        self._open()

    def add_offsets_to_txn(self, offsets: Any, group_id: str) -> Any:
        """Note that offsets are to be sent in the transaction; returns the future of their acknowledgement."""
        self._open()
        return super().add_offsets_to_txn(offsets, group_id)

    def complete_transaction(self) -> None:
        """Note that the transaction is committed or aborted."""
        super().complete_transaction()
        self._opened = None

    def increment_sequence_number(self, tp: TopicPartition, increment: int) -> None:
        """Count records of a partition: behind the largest number comes 0, as brokers count, and not the smallest."""
        self._sequence_numbers[tp] = (self._sequence_numbers[tp] + increment) % _SEQUENCES

    def _open(self) -> None:
        if self._opened is None and self.transactional_id is not None:
            self._opened = self._clock()

    def error_transaction(self, exc: BaseException) -> None:
        """Note that the transaction can only be aborted."""
        partitions, group = set(self._txn_partitions), self._txn_consumer_group
        if self._transaction_waiter.done():
            self._transaction_waiter = create_future()
        super().error_transaction(exc)
        self._txn_partitions.update(partitions)
        self._txn_consumer_group = group
        self._transaction_waiter.exception()
        self._failed(exc)

    def fatal_error(self, exc: BaseException) -> None:
        """Note that this producer can do nothing more."""
        if self._transaction_waiter is None:
            # aiokafka takes for granted that a transaction was begun.
            self._transaction_waiter = create_future()
        super().fatal_error(exc)
        self._transaction_waiter.exception()
        self._failed(exc)


class FencedSender(Sender):  # type: ignore[misc]
    """aiokafka's sender, which asks before each produce request whether it may still send, and which can be ended.

    Args:
        client: the connections.
        transactions: state of the producer id and the transaction.
        accumulator: the batches to send.
        fence: asked right before each request; refuses it by returning true.
    """

    def __init__(
        self,
        client: Client,
        transactions: TransactionState,
        accumulator: MessageAccumulator,
        fence: Callable[[], bool] | None,
    ) -> None:
        super().__init__(
            client,
            acks=_ALL_REPLICAS,
            txn_manager=transactions,
            message_accumulator=accumulator,
            retry_backoff_ms=int(client.settings.retry_backoff * 1000),
            request_timeout_ms=int(client.settings.request_timeout * 1000),
        )
        self._fence = fence
        self._requests: set[asyncio.Task[Any]] = set()
        self.refused: BaseException | None = None
        """Why no batch is sent any more."""
        client.guard = self._refusal

    def fail_waiting(self, error: BaseException) -> None:
        """Fail all batches that are not acknowledged, and take no more."""
        accumulator = self._message_accumulator
        # aiokafka stumbles over batches that wait for another attempt: it removes them from this set when they fail, and did so
        # before, when it put them back.
        accumulator._pending_batches.update(batch for queue in accumulator._batches.values() for batch in queue)
        accumulator.fail_all(error)

    def _fail_all(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail_waiting(error)
        super()._fail_all(task)

    async def _find_coordinator(self, coordinator_type: Any, coordinator_key: str) -> int:
        while True:
            try:
                node: int = await super()._find_coordinator(coordinator_type, coordinator_key)
                return node
            except kafka.KafkaError as error:
                # aiokafka takes a connection that breaks in this request for the end of the producer.
                if error.__cause__ is None or not is_retriable(error.__cause__):
                    raise
            await self.client.force_metadata_update()
            await asyncio.sleep(self._retry_backoff)

    def _refusal(self) -> kafka.KafkaError | None:
        if self.refused is not None:
            made = kafka.ProducerClosed(str(self.refused))
            made.__cause__ = self.refused
            return made
        return (
            LeaseOver("not sent, the lease of the group is over") if self._fence is not None and self._fence() else None
        )

    async def _send_produce_req(self, node_id: int, batches: dict[Any, Any]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await super()._send_produce_req(node_id, batches)
        finally:
            self._requests.discard(task)

    def _maybe_do_transactional_request(self) -> asyncio.Task[Any] | None:
        task: asyncio.Task[Any] | None = super()._maybe_do_transactional_request()
        if task is not None:
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
        return task

    def end(self) -> None:
        """End all tasks now: aiokafka waits for each to end by itself, and loses sight of those that do not."""
        for task in (*self._requests, self.sender_task):
            if task is not None:
                abandon(task)
