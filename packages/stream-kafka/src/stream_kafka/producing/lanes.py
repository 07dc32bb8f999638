"""Send the records of one partition in order: one open builder, the batches behind it, one future for each batch.

A record is appended to aiokafka's compiled batch builder and costs no task, future or queue of its own. A builder that is
full, or whose turn it is, is sealed: put behind the earlier ones of its partition, from where aiokafka sends them one at a
time. So records leave in the order of their ``append``, whatever the number of tasks that send.

That order holds through failures, too. One batch of a partition is in flight, and one that is tried again goes to the front of the queue.
One that fails for good ends the producer: the broker refuses what follows by its sequence number; where it knows none yet, at the
first batch of a producer, this side sends nothing more. A successor sends all of the interval again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from functools import partial
from time import monotonic
from typing import Any

import msgspec
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.structs import TopicPartition

from stream_core.errors import StreamError
from stream_core.partitioner import partition_for
from stream_core.primitives import RecordMetadata
from stream_kafka.errors import produce_error

__all__ = ["Delivery", "Lane", "OpenBatch", "TopicLanes"]


class OpenBatch:
    """One compiled builder from its first record to its acknowledgement.

    Attributes:
        begun: when it was made, as :func:`time.monotonic` tells it.
        append: the append of the compiled builder; gives ``None`` when the batch is full.
        count: records in it.
        size: bytes of these records, known when it is sealed.
        future: aiokafka's future of the batch, from when it is sealed.
    """

    __slots__ = ("append", "begun", "builder", "count", "empty_size", "future", "lane", "size")

    def __init__(self, lane: Lane, builder: BatchBuilder | None) -> None:
        self.lane = lane
        self.begun = monotonic()
        self.builder = builder
        self.append: Callable[..., Any] = builder._builder.append if builder is not None else _full
        self.empty_size = builder.size() if builder is not None else 0
        self.count = 0
        self.size = 0
        self.future: asyncio.Future[Any] | None = None

    def settled(self) -> asyncio.Future[Any]:
        """Return the future of the batch; an open one is sealed first, so that nobody waits for linger."""
        if self.future is None:
            self.lane.seal()
        assert self.future is not None
        return self.future

    def release(self) -> None:
        """Free the bytes: somebody may keep a delivery for long."""
        self.builder, self.append = None, _full

    def fail(self, error: StreamError) -> None:
        """End a batch that was never sealed."""
        self.future = asyncio.get_running_loop().create_future()
        self.future.set_exception(error)
        self.future.exception()


def _full(*_: object) -> None:
    """Refuse a record, as a full builder does: the append of a lane that has no builder."""


class Delivery(msgspec.Struct, gc=False, eq=False):
    """What ``send`` returns: can be awaited for the place of the record, or dropped.

    A struct is made in C: one of these is made for every record, and nearly all are dropped.
    """

    batch: OpenBatch
    record: Any

    def acknowledged(self) -> bool | None:
        """Say whether the record is acknowledged; ``None`` while that is not decided."""
        future = self.batch.future
        if future is None or not future.done():
            return None
        return not future.cancelled() and future.exception() is None

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        future = self.batch.settled()
        try:
            # A waiter that is cancelled must not cancel the batch of all the others.
            first = yield from (future if future.done() else asyncio.shield(future)).__await__()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise self.batch.lane.undelivered(error) from error
        offset = first.offset + self.record.offset if first.offset >= 0 else -1
        timestamp = self.record.timestamp if first.timestamp == -1 else first.timestamp
        return RecordMetadata(first.topic, first.partition, offset, timestamp)


KEYS = 65_536
"""Keys whose lane is remembered, of one topic."""


class TopicLanes(dict[int, "Lane"]):
    """The lanes of a topic by partition.

    Args:
        make: makes the lane of a partition.

    Attributes:
        sticky: the partition that records without a key go to for the time being.
        of_key: the lane of each key.
    """

    __slots__ = ("_make", "of_key", "sticky")

    def __init__(self, make: Callable[[TopicLanes, int], Lane]) -> None:
        super().__init__()
        self._make = make
        self.sticky = 0
        self.of_key = _LaneOfKey(self)

    def resize(self, count: int) -> None:
        """Have as many lanes as the topic has partitions now: it was given more, or was made again with fewer."""
        for partition in range(len(self), count):
            self[partition] = self._make(self, partition)
        for partition in range(count, len(self)):
            # A broker that lags may know fewer for a moment. So what the lane holds is sent, and not failed.
            self.pop(partition).seal()
        self.sticky %= count
        self.of_key.clear()


class _LaneOfKey(dict[bytes, "Lane"]):
    """The lane of each key, as the Java client chooses it. It is remembered, because the hash costs about a microsecond.

    Args:
        lanes: those of the topic.
    """

    __slots__ = ("_lanes",)

    def __init__(self, lanes: TopicLanes) -> None:
        super().__init__()
        self._lanes = lanes

    def __missing__(self, key: bytes) -> Lane:
        if len(self) >= KEYS:
            self.clear()
        lane = self[key] = self._lanes[partition_for(key, len(self._lanes))]
        return lane


class Lane:
    """The way of one partition.

    Args:
        tp: the partition.
        topic: the lanes of its topic.
        accumulator: aiokafka's queue of batches.
        builder: makes an empty builder.
        linger: seconds that a batch waits for more when nothing is in flight.
        outstanding: the futures of all batches that are sealed and not acknowledged, kept up to date here.
        acknowledged: called with each batch when it is decided, and with its error.
        explain: makes an error of the client one of ours, given the begin of its message.
    """

    __slots__ = (
        "_accumulator",
        "_acknowledged",
        "_builder",
        "_explain",
        "_linger",
        "_outstanding",
        "_topic",
        "batch",
        "in_flight",
        "tp",
    )

    def __init__(
        self,
        tp: TopicPartition,
        topic: TopicLanes,
        accumulator: MessageAccumulator,
        builder: Callable[[], BatchBuilder],
        linger: float,
        outstanding: set[asyncio.Future[Any]],
        acknowledged: Callable[[OpenBatch, BaseException | None], None],
        explain: Callable[[BaseException, str], StreamError] = produce_error,
    ) -> None:
        self.tp = tp
        self._topic = topic
        self._accumulator = accumulator
        self._builder = builder
        self._linger = linger
        self._outstanding = outstanding
        self._acknowledged = acknowledged
        self._explain = explain
        self.in_flight = 0
        self.batch = OpenBatch(self, None)

    def open(self) -> OpenBatch:
        """Seal what is open and begin a new batch.

        While a batch is in flight the new one fills until it is full or that one is acknowledged. Otherwise it leaves at the end
        of this turn of the event loop (or after the linger), with all that has come by then.
        """
        self.seal()
        batch = self.batch = OpenBatch(self, self._builder())
        if not self.in_flight:
            loop = asyncio.get_running_loop()
            if self._linger:
                loop.call_later(self._linger, self._due, batch)
            else:
                loop.call_soon(self._due, batch)
        return batch

    def seal(self) -> None:
        """Put the open batch, if it has records, behind the earlier ones."""
        batch = self.batch
        builder = batch.builder
        if builder is None:
            return
        # One without records goes as well: its first record was refused, and the next one has to begin a batch, which is due.
        self.batch = OpenBatch(self, None)
        if not batch.count:
            return
        batch.size = builder.size() - batch.empty_size
        builder._relative_offset = batch.count
        builder.close()
        message = self._accumulator._append_batch(builder, self.tp)
        batch.future = message.future
        self._outstanding.add(message.future)
        self.in_flight += 1
        message.future.add_done_callback(partial(self._done, batch, message))
        if self._topic.sticky == self.tp.partition:
            # Records without a key change the partition with each batch, not with each record: so batches are large.
            self._topic.sticky = (self.tp.partition + 1) % len(self._topic)

    def _done(self, batch: OpenBatch, message: MessageBatch, future: asyncio.Future[Any]) -> None:
        self.in_flight -= 1
        batch.release()
        self._outstanding.discard(future)
        # When the client fails a batch that was never sent, it leaves a second future behind with the same error.
        if message._drain_waiter.done():
            message._drain_waiter.exception()
        self._acknowledged(batch, future.exception())
        if not self.in_flight:
            self.seal()

    def undelivered(self, error: BaseException) -> StreamError:
        """Make the error of a record of this partition that was not acknowledged: ProduceError or FencedError."""
        return self._explain(error, f"topic {self.tp.topic}, partition {self.tp.partition}: not acknowledged")

    def drop(self, error: StreamError) -> int:
        """Fail the open batch instead of sending it; return the bytes that this frees."""
        batch = self.batch
        if batch.builder is None:
            return 0
        self.batch = OpenBatch(self, None)
        batch.fail(error)
        return int(batch.builder.size()) - batch.empty_size

    def _due(self, batch: OpenBatch) -> None:
        if self.batch is batch:
            self.seal()
