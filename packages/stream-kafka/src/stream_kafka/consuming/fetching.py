"""Take records out of aiokafka's fetcher, a batch of a partition at a time.

aiokafka fetches, buffers what a fetch brought per partition, and then makes a ``ConsumerRecord`` of each record. Here its
buffers are emptied whole and the compiled records are handed on as they are, which is several times faster. All partitions
that have something are drained on every poll: aiokafka skips a broker while a partition of it has records buffered, so
what is left there stops the others for a long poll.

A partition that cannot be read rests, longer and longer, while the others of its broker are fetched: its batch is damaged, or
the broker answers with an error. Which ones these are is in :attr:`BatchFetcher.unreadable`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

import aiokafka.errors as kafka
from aiokafka.consumer.fetcher import Fetcher, FetchError, FetchResult, PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from stream_core.errors import ConfigurationError, OffsetOutOfRangeError, StreamError, TransportError
from stream_core.primitives import TP, Batch, RawRecord, StoredRecord
from stream_kafka.cluster.ends import READ_COMMITTED
from stream_kafka.connecting.client import Client
from stream_kafka.consuming.garbled import Extracted, batch_at, read_around
from stream_kafka.consuming.unpacking import TooLargeError, cost_of, unpacked
from stream_kafka.deadlines import why_ended
from stream_kafka.errors import translate
from stream_kafka.settings import KafkaSettings

__all__ = ["BatchFetcher", "Fetched", "drain"]

log = logging.getLogger(__name__)

_HELD_SHORT = 0.02
"""Seconds for which a broker holds a fetch while partitions are paused: one that is resumed meanwhile is fetched behind it."""

_SAY_EVERY = 10.0
_LONGEST_REST = 5.0
_MOVED = (
    kafka.NotLeaderForPartitionError,
    kafka.UnknownTopicOrPartitionError,
    kafka.LeaderNotAvailableError,
    kafka.ReplicaNotAvailableError,
    kafka.KafkaStorageError,
)
"""Answers after which the leader may be another one."""


@dataclass(slots=True)
class _Trouble:
    """Why a partition cannot be read.

    Attributes:
        error: the last reason, with the partition and what to do.
        since: when it was first found.
        rest: seconds for which the partition is not fetched now.
        until: when it is fetched again.
        certain: whether waiting for a new leader is of no use: its bytes are damaged.
        said: when it was last logged.
    """

    error: TransportError
    since: float
    rest: float
    until: float
    certain: bool
    said: float = float("-inf")


class _Part:
    """An assignment of aiokafka without some of its partitions."""

    def __init__(self, assignment: Any, without: Collection[TopicPartition]) -> None:
        self.tps = [tp for tp in assignment.tps if tp not in without]
        self.state_value = assignment.state_value


class Fetched(PartitionRecords):  # type: ignore[misc]
    """What one fetch brought for one partition; aiokafka's, which also keeps the bytes.

    Args:
        tp: the partition.
        data: batches as the broker has them; the last one may be cut off.
        aborted: producer ids and first offsets of aborted transactions.
        offset: the position.
        check_crcs: whether checksums are compared.
        isolation_level: whether records of aborted transactions are left out.
        max_unpacked: bytes of memory that the records of a compressed batch may take.

    Attributes:
        at: where in ``data`` the last batch ends that was looked for.
        room: bytes of memory that further compressed batches may take.
    """

    def __init__(
        self,
        tp: TopicPartition,
        data: bytes,
        aborted: Any,
        offset: int,
        *,
        check_crcs: bool,
        isolation_level: int,
        max_unpacked: int,
    ) -> None:
        super().__init__(tp, MemoryRecords(data), aborted, offset, None, None, check_crcs, isolation_level)
        self.data = data
        self.max_unpacked = self.room = max_unpacked
        self.at = 0


class BatchFetcher(Fetcher):  # type: ignore[misc]
    """Fetch partitions, and give what came by batches; an error of one partition costs no other its records.

    Args:
        client: the connections.
        subscription: which partitions are read, and from where.
        settings: sizes and waits of a fetch.
        read_committed: leave out the records of open and aborted transactions.

    Attributes:
        ends: a partition that is here is paused when it was read up to this offset.
    """

    def __init__(self, client: Client, subscription: Any, settings: KafkaSettings, *, read_committed: bool) -> None:
        self.ends: Mapping[TopicPartition, int] = {}
        self._held = int(settings.fetch_max_wait * 1000)
        self._held_short = min(self._held, int(_HELD_SHORT * 1000))
        self._patience = settings.request_timeout
        self._max_unpacked = settings.max_unpacked_bytes
        self._troubles: dict[TopicPartition, _Trouble] = {}
        super().__init__(
            client,
            subscription,
            fetch_max_wait_ms=self._held,
            fetch_max_bytes=settings.fetch_max_bytes,
            max_partition_fetch_bytes=settings.max_partition_fetch_bytes,
            check_crcs=settings.check_crcs,
            retry_backoff_ms=int(settings.retry_backoff * 1000),
            auto_offset_reset="none",
            isolation_level="read_committed" if read_committed else "read_uncommitted",
        )

    @property
    def unreadable(self) -> dict[TP, TransportError]:
        """The partitions that stand still: their bytes are damaged, or the broker has refused them for a whole request timeout."""
        if not self._troubles:
            return {}
        now = time.monotonic()
        return {
            TP(*tp): trouble.error
            for tp, trouble in self._troubles.items()
            if self._subscriptions.is_assigned(tp) and (trouble.certain or now - trouble.since > self._patience)
        }

    async def poll(self, timeout: float) -> list[Batch]:
        """Take what has arrived, one batch a partition; wait up to ``timeout`` seconds for the first.

        Raises:
            OffsetOutOfRangeError: a position is not in the log, and nothing else has arrived.
            TransportError: a partition may not be read, and nothing else has arrived.
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
                failure = self._damaged(tp, error) or failure
            else:
                if batch is not None:
                    batches.append(batch)
        self._notify(self._wait_consume_future)
        return batches, failure

    def _batch_of(self, tp: TopicPartition, result: Any) -> Batch | None:
        """Take the records of one partition out of what was fetched; ``None`` when there are none, or nobody wants them any more."""
        source = result._partition_records
        # False when the partition was paused, sought or given up since: then these records are not wanted.
        if source is None or not result.check_assignment(tp):
            return None
        start = source.next_fetch_offset
        records, garbled = drain(source)
        if self._troubles:
            self._readable(tp)
        state = result._assignment.state_value(tp)
        state.consumed_to(source.next_fetch_offset)
        if source.next_fetch_offset >= self.ends.get(tp, inf):
            self._subscriptions.pause(tp)
        if not records and source.next_fetch_offset == start:
            return None
        end = state.lso if self._isolation_level == READ_COMMITTED else state.highwater
        return Batch(TP(*tp), records, source.next_fetch_offset, -1 if end is None else end, garbled)

    def _failure_of(self, tp: TopicPartition, result: Any) -> StreamError | None:
        """Make the error of a partition that a broker refuses to read; ``None`` when nobody reads it any more."""
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

    # -- partitions that cannot be read

    def _damaged(self, tp: TopicPartition, error: Exception) -> StreamError | None:
        """Let a partition rest whose next batch cannot be read; return the error of a program that lacks a codec."""
        doing = f"reading topic {tp.topic}, partition {tp.partition}"
        ours = translate(error, doing)
        if isinstance(ours, ConfigurationError):
            return ours
        # Its position has not moved: the next fetch brings the same bytes again, unless another replica has become the leader.
        self._rest(
            tp,
            f"{error or type(error).__name__}; seek behind it, or let a replica that is whole lead",
            error,
            certain=True,
        )
        return None

    def _rest(self, tp: TopicPartition, reason: str, error: BaseException, *, certain: bool) -> None:
        """Let a partition that cannot be read rest, for longer each time; the others go on.

        Args:
            tp: the partition.
            reason: why it cannot be read, for the log.
            error: the cause.
            certain: it will not mend itself soon, so it is said at once; else after a while of patience.
        """
        now = time.monotonic()
        state = (
            self._subscriptions.subscription.assignment.state_value(tp) if self._subscriptions.is_assigned(tp) else None
        )
        where = f" from offset {state.position} on" if state is not None and state.has_valid_position else ""
        made = TransportError(f"topic {tp.topic}, partition {tp.partition} cannot be read{where}: {reason}")
        made.__cause__ = error
        trouble = self._troubles.get(tp)
        if trouble is None:
            trouble = self._troubles[tp] = _Trouble(made, now, 0.0, now, certain)
        trouble.error, trouble.certain = made, certain
        trouble.rest = min(max(trouble.rest * 2, self._retry_backoff), _LONGEST_REST)
        trouble.until = now + trouble.rest
        patient = certain or now - trouble.since > self._patience
        if patient and now - trouble.said >= _SAY_EVERY:
            trouble.said = now
            log.error("%s; it is tried again, and the other partitions go on", made)

    def _readable(self, tp: TopicPartition) -> None:
        """Forget that a partition could not be read, and say so when the trouble was said."""
        trouble = self._troubles.pop(tp, None)
        if trouble is not None and trouble.said >= 0:
            log.warning("topic %s, partition %d can be read again", tp.topic, tp.partition)

    def seek_to(self, tp: TopicPartition, offset: int) -> None:
        """Read a partition from ``offset`` next; forget what was wrong elsewhere in it."""
        self._troubles.pop(tp, None)
        super().seek_to(tp, offset)
        if tp in self.ends:
            self._subscriptions.resume(tp)  # it may have been read to its end

    def _get_actions_per_node(self, assignment: Any) -> Any:
        # aiokafka has one fetch at a time on its way to a broker, and what is resumed meanwhile waits until that is answered.
        some_paused = any(assignment.state_value(tp).paused for tp in assignment.tps)
        self._fetch_max_wait_ms = self._held_short if some_paused else self._held
        now = time.monotonic()
        resting = {tp: trouble.until - now for tp, trouble in self._troubles.items() if trouble.until > now}
        if not resting:
            return super()._get_actions_per_node(assignment)
        fetches, resets, timeout, stale, resumed = super()._get_actions_per_node(_Part(assignment, resting))
        return fetches, resets, min(timeout, *resting.values()), stale, resumed

    async def _proc_fetch_request(self, assignment: Any, node_id: int, request: Any) -> bool:
        """Fetch from one broker; returns whether there is something to poll."""
        # Replaces aiokafka's, which dies of an answer that is no sense, fetches again at once what a broker refuses, and says of
        # most errors nothing but a line of log.
        try:
            response = await self._client.send(node_id, request)
            arrived = assignment.active and self._sort(assignment, request, response)
        except asyncio.CancelledError:
            return False
        except kafka.KafkaError as error:
            log.error("Failed fetch messages from %s: %s", node_id, error)
        except Exception as error:
            log.error("The answer of node %s to a fetch makes no sense: %r", node_id, error)
        else:
            return arrived
        await asyncio.sleep(self._retry_backoff)
        return False

    def _sort(self, assignment: Any, request: Any, response: Any) -> bool:
        """Put the partitions of an answer where they belong; return whether there is something to poll."""
        asked = {
            TopicPartition(topic, partition): offset
            for topic, partitions in request.topics
            for partition, offset, _ in partitions
        }
        arrived = False
        for topic, partitions in response.topics:
            for partition, code, highwater, *rest in partitions:
                tp = TopicPartition(topic, partition)
                state = assignment.state_value(tp)
                if not state.has_valid_position or state.position != asked[tp]:
                    continue
                error = kafka.for_code(code)
                if error is kafka.NoError:
                    arrived |= self._arrived(tp, assignment, highwater, rest)
                elif error is kafka.OffsetOutOfRangeError:
                    self._set_error(tp, error({tp: asked[tp]}))
                    arrived = True
                elif error is kafka.TopicAuthorizationFailedError:
                    self._set_error(tp, error(topic))
                    arrived = True
                else:
                    if error in _MOVED:
                        self._client.force_metadata_update()
                    self._rest(tp, f"the broker answers {error()}", error(), certain=False)
        return arrived

    def _arrived(self, tp: TopicPartition, assignment: Any, highwater: int, rest: list[Any]) -> bool:
        """Keep what came of one partition until it is polled; returns whether there is something to poll."""
        state = assignment.state_value(tp)
        # Version 4 has the last stable offset, the aborted transactions and the batches; 5 puts the start of the log behind the first,
        # 11 the replica to prefer in front of the last.
        lso, aborted, data = rest[0], rest[2 if len(rest) > 4 else -2], rest[-1]
        state.highwater, state.lso = highwater, lso
        if not data:
            self._readable(tp)
            return False
        try:
            source = Fetched(
                tp,
                data,
                aborted,
                state.position,
                check_crcs=self._check_crcs,
                isolation_level=self._isolation_level,
                max_unpacked=self._max_unpacked,
            )
            if not source._records.has_next():
                raise kafka.CorruptRecordException(f"{len(data)} bytes at offset {state.position} hold no whole batch")
        except Exception as error:
            return self._damaged(tp, error) is not None
        self._records[tp] = FetchResult(
            tp, partition_records=source, assignment=assignment, backoff=self._prefetch_backoff
        )
        return True

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


def drain(source: Fetched) -> Extracted:
    """Take the records out of what one fetch brought for one partition, and move its position behind them.

    Aborted and control records move the position only. A broken batch ends the list; it raises when it is the first. A batch with
    a record in it that cannot be read is read by a slower parser, which tells that record from the others.

    Raises:
        aiokafka.errors.KafkaError: the first batch is broken: wrong checksum, or unreadable.
    """
    taken: list[Any] = []
    garbled: dict[int, str] = {}
    start = source.next_fetch_offset
    collecting = gc.isenabled()
    # Tens of thousands of records are made at once and none is garbage: the collector would walk them over and over, which
    # doubles the time that this takes.
    gc.disable()
    try:
        for batch in _wanted(source):
            if getattr(batch, "compression_type", 0):  # a batch of an old format does not say
                records = _unpacked(source, batch, garbled)
            else:
                try:
                    records = list(batch)
                except Exception:
                    records = _around(source, _bytes_of(source, batch), garbled)
            # A batch is stored whole: a fetch from its middle brings the records before that, too.
            if records and records[0].offset < source.next_fetch_offset:
                records = [record for record in records if record.offset >= source.next_fetch_offset]
            source.next_fetch_offset = max(batch.next_offset, source.next_fetch_offset)
            if taken:
                taken += records
            else:
                taken = records
            if source.room <= 0:
                break  # what is left is fetched again, when the memory of this is free
    except Exception:
        if source.next_fetch_offset == start:
            raise
    finally:
        # A generator that was never started refers back to the source, and the two would keep the megabyte of this fetch until
        # the next full collection.
        source._records_iterator = None
        if collecting:
            gc.enable()
    return Extracted(taken, garbled)


def _bytes_of(source: Fetched, batch: Any) -> bytes:
    # Each search begins where the last one ended: batches come in order, and there may be thousands.
    found, source.at = batch_at(source.data, batch.base_offset, source.at)
    return found


def _around(source: Fetched, data: bytes, garbled: dict[int, str]) -> list[RawRecord]:
    read = read_around(data)
    wanted = source.next_fetch_offset
    garbled.update((offset, reason) for offset, reason in read.garbled.items() if offset >= wanted)
    return read.records


def _unpacked(source: Fetched, batch: Any, garbled: dict[int, str]) -> list[Any]:
    """Return the records of a compressed batch; of one that is too large a single record, which stands for all of them."""
    try:
        data = unpacked(_bytes_of(source, batch), source.max_unpacked)
    except TooLargeError:
        # Finding this out may have taken as long as unpacking the limit: a fetch that is full of such batches must not keep the loop.
        source.room = 0
        last = batch.next_offset - 1
        garbled[last] = (
            f"its batch (offsets {batch.base_offset} to {last}) takes more than {source.max_unpacked} bytes when it is unpacked; "
            "raise consumer_max_unpacked_size to read it"
        )
        return [StoredRecord(last, batch.max_timestamp, None, None)]
    source.room -= cost_of(data)
    try:
        return list(DefaultRecordBatch(data))
    except Exception:
        return _around(source, data, garbled)


def _wanted(source: PartitionRecords) -> Iterator[Any]:
    """Give the batches whose records count: no control batches, and no aborted ones where only committed records are read."""
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
