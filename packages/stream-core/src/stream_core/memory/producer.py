"""The producer of the in-process broker: one builder per partition, one acknowledgement per batch, transactions."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

from stream_core.errors import CommitError, EncodeError, FencedError, ProduceError, TransportError, UnknownTopicError
from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.log import Entry
from stream_core.memory.transactions import Identity
from stream_core.partitioner import partition_for
from stream_core.records import TP, GroupMetadata, Headers, Offset, RecordMetadata

__all__ = ["MAX_BACKLOG", "MAX_REQUEST_SIZE", "MemoryProducer"]

MAX_REQUEST_SIZE = 1 << 20
"""The largest record, in bytes."""

MAX_BACKLOG = 32 << 20
"""The bytes above which :meth:`MemoryProducer.room` waits."""

_RECORD_OVERHEAD = 32  # bytes of a record beside key, value and headers, about

_State = Literal["new", "ready", "in transaction", "ending", "stopped"]


class _Batch:
    """Records of one partition that are sent and acknowledged together."""

    __slots__ = ("base", "done", "entries", "error", "size", "tp")

    def __init__(self, tp: TP) -> None:
        self.tp = tp
        self.entries: list[Entry] = []
        self.size = 0
        self.base = -1
        self.done = False
        self.error: TransportError | None = None


class _Acknowledgement:
    """What ``send`` returns: a batch and the place of the record in it."""

    __slots__ = ("_batch", "_index", "_producer")

    def __init__(self, producer: MemoryProducer, batch: _Batch, index: int) -> None:
        self._producer = producer
        self._batch = batch
        self._index = index

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    async def _wait(self) -> RecordMetadata:
        """Wait for the batch; the record is in the log when this returns."""
        batch = self._batch
        await self._producer.acknowledged([batch])
        if batch.error is not None:
            raise ProduceError(f"a record was not acknowledged by {batch.tp}: {batch.error}") from batch.error
        return RecordMetadata(*batch.tp, batch.base + self._index, batch.entries[self._index].timestamp)


class MemoryProducer:
    """The in-process side of :class:`~stream_core.ports.Producer`.

    What is sent in one turn of the event loop goes to the log at the end of that turn, in order per partition.

    Args:
        cluster: where to send to.
        transactional_id: makes it a transactional producer.
        fence: asked before each request; true refuses it.
    """

    def __init__(
        self, cluster: MemoryCluster, *, transactional_id: str | None = None, fence: Callable[[], bool] | None = None
    ) -> None:
        self._cluster = cluster
        self._transactional_id = transactional_id
        self._fence = fence
        self._identity: Identity | None = None
        self._state: _State = "new"
        self._failure: TransportError | None = None
        self._counts: dict[str, int] = {}
        self._turns: Counter[str] = Counter()
        self._building: dict[TP, _Batch] = {}
        self._unacknowledged: dict[_Batch, None] = {}  # in the order they were begun
        self._touched = False
        self.backlog = 0

    async def start(self) -> None:
        """Connect; with a transactional id abort the open transaction of a predecessor and fence it."""
        async with self._cluster.request("connect"):
            pass
        if self._transactional_id is not None:
            async with self._request("init_producer_id"):
                self._identity = self._cluster.transactions.begin_epoch(self._transactional_id)
        self._state = "ready"

    async def stop(self) -> None:
        """Close at once: what was not acknowledged is given up, an open transaction waits for a successor or its timeout."""
        self._state = "stopped"
        self._drop(ProduceError("the producer was stopped before the record was acknowledged"))

    async def partitions(self, topic: str) -> int:
        """The number of partitions of ``topic``. Raises UnknownTopicError."""
        async with self._cluster.request("metadata"):
            self._counts[topic] = self._cluster.topic(topic).partitions
        return self._counts[topic]

    def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        *,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> _Acknowledgement:
        """Append one record to its partition's builder; see :meth:`stream_core.ports.Producer.send`."""
        self._check_sending()
        tp = self._route(topic, partition, key)
        size = _RECORD_OVERHEAD + len(key or b"") + len(value or b"")
        if headers:
            size += sum(len(name) + len(content or b"") for name, content in headers)
        if size > MAX_REQUEST_SIZE:
            raise EncodeError(
                f"a record of {size} bytes for topic {topic} is larger than a request of {MAX_REQUEST_SIZE}"
            )
        if not self._building:
            asyncio.get_running_loop().call_soon(self._deliver)
        batch = self._building.get(tp)
        if batch is None:
            batch = self._building[tp] = _Batch(tp)
            self._unacknowledged[batch] = None
        if timestamp is None:
            timestamp = int(self._cluster.clock() * 1000)
        batch.entries.append(Entry(timestamp, key, value, headers))
        batch.size += size
        self.backlog += size
        return _Acknowledgement(self, batch, len(batch.entries) - 1)

    async def room(self) -> None:
        """Wait until the backlog is below :data:`MAX_BACKLOG`. Raises DeadlineError."""
        timeout, what = self._cluster.request_timeout, "acknowledge records, so that there is room for more"
        await self._cluster.wakeup.until(lambda: self.backlog < MAX_BACKLOG, timeout, what)

    async def flush(self) -> None:
        """Wait until every record accepted before this call is acknowledged.

        Raises:
            ProduceError: one since ``start`` was not.
            DeadlineError: the acknowledgements did not come in time.
        """
        await self.acknowledged(list(self._unacknowledged))
        if self._failure is not None:
            raise ProduceError(f"a record was not acknowledged: {self._failure}") from self._failure

    async def begin(self) -> None:
        """Begin a transaction."""
        self._require("ready", "begin")
        if self._failure is not None:
            raise self._failure
        self._state = "in transaction"

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """Commit the offsets and the transaction; see :meth:`stream_core.ports.Producer.commit`."""
        self._require("in transaction", "commit")
        if offsets and group is None:
            raise CommitError("offsets can only be committed with the metadata of their group: pass it to commit")
        self._state = "ending"
        await self.acknowledged(list(self._unacknowledged))
        if self._failure is not None:
            raise self._failure
        if offsets and group is not None:
            async with self._request("txn_offset_commit"):
                coordinator = self._cluster.group(group.group)
                self._cluster.transactions.add_offsets(self._known_identity, offsets, coordinator, group)
                self._touched = True
        await self._end(commit=True)

    async def abort(self) -> None:
        """Abort the transaction; does nothing when none is open, or when a successor has aborted it.

        Raises TransportError when that is undecided.
        """
        self._drop(ProduceError("the transaction was aborted before the record was sent"))
        if self._state not in {"in transaction", "ending"}:
            return
        self._state = "ending"
        self._ask_fence()
        try:
            await self._end(commit=False)
        except FencedError as error:  # whoever fenced this producer has aborted its transaction
            self._failure = error
            self._state = "ready"

    def check(self) -> None:
        """Do nothing: there is no background task that could die."""

    async def acknowledged(self, batches: list[_Batch]) -> None:
        """Wait until these batches are acknowledged or refused. Raises DeadlineError."""
        timeout, what = self._cluster.request_timeout, "acknowledge the records sent"
        await self._cluster.wakeup.until(lambda: all(batch.done for batch in batches), timeout, what)

    @property
    def _known_identity(self) -> Identity:
        """The identity that ``start`` got."""
        if self._identity is None:
            raise TransportError("this producer has no transactional id: make it with one to use transactions")
        return self._identity

    def _require(self, state: _State, what: str) -> None:
        """Raise TransportError unless the producer is transactional and in ``state``."""
        transactional_id = self._known_identity.transactional_id
        if self._state != state:
            raise TransportError(f"cannot {what}: the producer {transactional_id} is {self._state}, not {state}")

    def _check_sending(self) -> None:
        """Raise ProduceError when nothing can be sent now."""
        if self._failure is not None:
            raise ProduceError(f"the producer is broken, make a new one: {self._failure}") from self._failure
        expected = "ready" if self._transactional_id is None else "in transaction"
        if self._state != expected:
            raise ProduceError(f"cannot send: the producer is {self._state}, not {expected}")

    def _route(self, topic: str, partition: int | None, key: bytes | None) -> TP:
        """The partition of a record: as told, by its key, or in turns."""
        count = self._counts.get(topic)
        if count is None:
            raise UnknownTopicError(f"the partitions of topic {topic} are not known: await partitions({topic!r}) first")
        if partition is None:
            if key is not None:
                partition = partition_for(key, count)
            else:
                partition = self._turns[topic] % count
                self._turns[topic] += 1
        elif not 0 <= partition < count:
            raise ProduceError(f"topic {topic} has {count} partitions, there is no partition {partition}")
        return TP(topic, partition)

    def _deliver(self) -> None:
        """Send all builders, each as one request."""
        batches, self._building = self._building, {}
        for batch in batches.values():
            try:
                if self._failure is not None:
                    raise self._failure
                self._ask_fence()
                with self._cluster.faults.at("produce"):
                    batch.base = self._cluster.append(batch.tp, batch.entries, self._identity)
                    self._touched = True
            except TransportError as error:
                self._failure = self._failure or error
                self._finish(batch, error)
            else:
                self._cluster.faults.acknowledge(batch.tp, partial(self._finish, batch, None))

    def _finish(self, batch: _Batch, error: TransportError | None) -> None:
        """A batch was acknowledged, or will never be."""
        if batch.done:
            return
        batch.done, batch.error = True, error
        del self._unacknowledged[batch]
        self.backlog -= batch.size
        self._cluster.wakeup.notify()

    def _drop(self, error: TransportError) -> None:
        """Give up everything that is not acknowledged."""
        self._building.clear()
        for batch in list(self._unacknowledged):
            self._finish(batch, error)

    async def _end(self, *, commit: bool) -> None:
        """Decide the transaction; one that the broker has never heard of needs no request."""
        if self._touched:
            async with self._request("end_txn"):
                self._cluster.transactions.end(self._known_identity, commit=commit)
        self._touched = False
        self._state = "ready"

    @asynccontextmanager
    async def _request(self, operation: str) -> AsyncIterator[None]:
        """A request of a transactional producer."""
        self._ask_fence()
        async with self._cluster.request(operation):
            yield

    def _ask_fence(self) -> None:
        """Raise FencedError when the fence refuses requests."""
        if self._fence is not None and self._fence():
            raise FencedError("the lease of the group is over: nothing more may be sent under it")
