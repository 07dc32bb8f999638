"""Records out of aiokafka's fetcher, a batch of a partition at a time.

aiokafka fetches, buffers what a fetch brought per partition, and then makes a ``ConsumerRecord`` of each record. Here its
buffers are emptied whole and the compiled records are handed on as they are, which is several times faster. All partitions
that have something are drained on every poll: aiokafka skips a broker while a partition of it has records buffered, so
what is left there stops the others for a long poll.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Collection, Iterator
from typing import Any

import aiokafka.errors as kafka
from aiokafka.consumer.fetcher import Fetcher, FetchError, PartitionRecords
from aiokafka.structs import TopicPartition

from stream_core.errors import OffsetOutOfRangeError, StreamError, TransportError
from stream_core.records import TP, Batch
from stream_kafka.client import Client
from stream_kafka.deadlines import why_ended
from stream_kafka.errors import translate
from stream_kafka.offsets import READ_COMMITTED
from stream_kafka.settings import KafkaSettings

__all__ = ["BatchFetcher", "drain"]


class BatchFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher with a poll that returns batches, and errors that cost no other partition its records.

    Args:
        client: the connections.
        subscription: which partitions are read, and from where.
        settings: sizes and waits of a fetch.
        read_committed: leave out the records of open and aborted transactions.
    """

    def __init__(self, client: Client, subscription: Any, settings: KafkaSettings, *, read_committed: bool) -> None:
        super().__init__(
            client,
            subscription,
            fetch_max_wait_ms=int(settings.fetch_max_wait * 1000),
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            check_crcs=settings.check_crcs,
            retry_backoff_ms=int(settings.retry_backoff * 1000),
            auto_offset_reset="none",
            isolation_level="read_committed" if read_committed else "read_uncommitted",
        )

    async def poll(self, timeout: float) -> list[Batch]:
        """Take what has arrived, one batch a partition; wait up to ``timeout`` seconds for the first.

        Raises:
            OffsetOutOfRangeError: a position is not in the log, and nothing else has arrived.
            TransportError: a partition cannot be read, and nothing else has arrived.
        """
        deadline = time.monotonic() + timeout
        failure: StreamError | None = None
        while True:
            batches, error = self.take()
            if batches:
                return batches
            if failure is not None:
                raise failure
            if error is not None:
                # Whoever polls again after an error must not starve the tasks that fetch the other partitions.
                failure = error
                await asyncio.sleep(0)
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            waiter = self._create_fetch_waiter()
            await asyncio.wait((waiter,), timeout=left)
            if not waiter.done():
                waiter.cancel()
            elif (reason := waiter.exception()) is not None:
                raise translate(reason, "reading")

    def take(self) -> tuple[list[Batch], StreamError | None]:
        """Empty the buffers: the batches, and an error of one partition if there is one; never waits."""
        batches: list[Batch] = []
        failure: StreamError | None = None
        if self._subscriptions.reassignment_in_progress:
            return batches, None
        for tp, result in list(self._records.items()):
            if isinstance(result, FetchError):
                failure = self._failure_of(tp, result) or failure
                continue
            del self._records[tp]
            try:
                batch = self._batch_of(tp, result)
            except Exception as error:
                # Its position has not moved: the next fetch brings the same bytes again.
                failure = translate(error, f"reading topic {tp.topic}, partition {tp.partition}")
            else:
                if batch is not None:
                    batches.append(batch)
        self._notify(self._wait_consume_future)
        return batches, failure

    def _batch_of(self, tp: TopicPartition, result: Any) -> Batch | None:
        source = result._partition_records
        # False when the partition was paused, sought or given up since: then these records are not wanted.
        if source is None or not result.check_assignment(tp):
            return None
        start = source.next_fetch_offset
        records = drain(source)
        state = result._assignment.state_value(tp)
        state.consumed_to(source.next_fetch_offset)
        if not records and source.next_fetch_offset == start:
            return None
        end = state.lso if self._isolation_level == READ_COMMITTED else state.highwater
        return Batch(TP(*tp), records, source.next_fetch_offset, -1 if end is None else end)

    def _failure_of(self, tp: TopicPartition, result: Any) -> StreamError | None:
        subscription = self._subscriptions.subscription
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(tp) if assignment is not None else None
        if state is None or state.paused:
            del self._records[tp]
            return None
        error = result._error
        if not isinstance(error, kafka.OffsetOutOfRangeError):
            del self._records[tp]
            return translate(error, f"reading topic {tp.topic}, partition {tp.partition}")
        offset = next(iter(error.args[0].values()))
        if state.position != offset:
            del self._records[tp]
            return None
        # It stays here, so that every poll says it until the partition is sought.
        return OffsetOutOfRangeError(TP(*tp), offset)

    def check(self) -> None:
        """Raise TransportError when the task that fetches has died: nothing arrives any more, silently."""
        if self.error_future.done():
            raise TransportError(
                f"the fetch task of the Kafka client has died: {why_ended(self.error_future)}; restart the worker"
            )

    def pause(self, tps: Collection[TopicPartition]) -> None:
        """Stop fetching partitions, and drop what is buffered of them: it is fetched again when they are resumed."""
        for tp in tps:
            self._subscriptions.pause(tp)
            self._records.pop(tp, None)
        self._notify(self._wait_consume_future)


def drain(source: PartitionRecords) -> list[Any]:
    """Take the records out of what one fetch brought for one partition, and move its position behind them.

    Aborted and control records move the position only. A broken batch ends the list; it raises when it is the first.

    Raises:
        aiokafka.errors.KafkaError: the first batch is broken: wrong checksum, or unreadable.
    """
    taken: list[Any] = []
    start = source.next_fetch_offset
    collecting = gc.isenabled()
    # Tens of thousands of records are made at once and none is garbage: the collector would walk them over and over, which
    # doubles the time that this takes.
    gc.disable()
    try:
        for batch in _wanted(source):
            records = list(batch)
            # A batch is stored whole: a fetch from its middle brings the records before that, too.
            if records and records[0].offset < source.next_fetch_offset:
                records = [record for record in records if record.offset >= source.next_fetch_offset]
            source.next_fetch_offset = max(batch.next_offset, source.next_fetch_offset)
            if taken:
                taken += records
            else:
                taken = records
    except Exception:
        if source.next_fetch_offset == start:
            raise
    finally:
        # A generator that was never started refers back to the source, and the two would keep the megabyte of this fetch until
        # the next full collection.
        source._records_iterator = None
        if collecting:
            gc.enable()
    return taken


def _wanted(source: PartitionRecords) -> Iterator[Any]:
    read_committed = source._isolation_level == READ_COMMITTED
    while source._records.has_next():
        batch = source._records.next_batch()
        if source._check_crcs and not batch.validate_crc():
            raise kafka.CorruptRecordException(f"wrong checksum in the batch at offset {source.next_fetch_offset}")
        aborted = False
        if read_committed and batch.producer_id is not None:
            source._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and source._contains_abort_marker(batch):
                source._aborted_producers.discard(batch.producer_id)
            aborted = batch.is_transactional and batch.producer_id in source._aborted_producers
        if aborted or batch.is_control_batch:
            source.next_fetch_offset = max(batch.next_offset, source.next_fetch_offset)
        else:
            yield batch
