"""The producer of the in-process broker: where records go, and transactions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Literal

from stream_core.counters import TopicTraffic
from stream_core.errors import (
    CommitError,
    EncodeError,
    FencedError,
    ProduceError,
    TransactionExpiredError,
    TransportError,
    UnknownTopicError,
)
from stream_core.memory.cluster import MemoryCluster
from stream_core.memory.log import BATCH_OVERHEAD, Entry, record_size
from stream_core.memory.sending import Acknowledgement, Sender, kind_of
from stream_core.memory.settings import MemorySettings
from stream_core.memory.transactions import Identity
from stream_core.partitioner import partition_for
from stream_core.primitives import TP, GroupMetadata, Headers, Offset

__all__ = ["MAX_BACKLOG", "MAX_REQUEST_SIZE", "MemoryProducer"]

MAX_REQUEST_SIZE = 1 << 20
"""The largest record, in bytes."""

MAX_BACKLOG = 32 << 20
"""The bytes above which :meth:`MemoryProducer.room` waits."""

_State = Literal["new", "ready", "in transaction", "ending", "stopped"]
_SETTINGS = MemorySettings()


class MemoryProducer:
    """The in-process side of :class:`~stream_core.ports.Producer`.

    Args:
        cluster: where to send to.
        settings: timeouts.
        transactional_id: makes it a transactional producer.
        fence: asked before each request; true refuses it.
        sent: counts each batch that is acknowledged, or refused.
    """

    def __init__(
        self,
        cluster: MemoryCluster,
        settings: MemorySettings = _SETTINGS,
        *,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._transactional_id = transactional_id
        self._sender = Sender(cluster, settings.request_timeout, fence, sent)
        self._state: _State = "new"
        self._counts: dict[str, int] = {}
        self._turns: Counter[str] = Counter()

    @property
    def max_record_size(self) -> int:
        """Bytes of the largest record that :meth:`send` takes."""
        return MAX_REQUEST_SIZE

    async def start(self) -> None:
        """Connect; with a transactional id abort the open transaction of a predecessor and fence it."""
        await self._cluster.connect()
        if self._transactional_id is not None:
            async with self._sender.request("init_producer_id"):
                timeout = self._settings.transaction_timeout
                self._sender.identity = self._cluster.transactions.begin_epoch(self._transactional_id, timeout)
        self._state = "ready"

    async def stop(self) -> None:
        """Close at once: what was not acknowledged is given up, an open transaction waits for a successor or its timeout."""
        self._state = "stopped"
        self._sender.drop(ProduceError("the producer was stopped before the record was acknowledged"))

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions of ``topic``. Raises UnknownTopicError."""
        async with self._cluster.request("metadata"):
            self._counts[topic] = self._cluster.topic(topic).partitions
        return self._counts[topic]

    def count(self, topic: str) -> int:
        """Return the number of partitions of ``topic``, as it is now; that known last when the topic was deleted."""
        known = self._counts.get(topic, 0)
        if known:
            with suppress(UnknownTopicError):
                known = self._counts[topic] = self._cluster.topic(topic).partitions
        return known

    def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> Acknowledgement:
        """Append one record to its partition's builder; see :meth:`stream_core.ports.Producer.send`."""
        self._check_sending()
        tp = self._route(topic, partition, key)
        if timestamp is None:
            timestamp = int(self._cluster.clock() * 1000)
        entry = Entry(timestamp, key, value, headers)
        size = BATCH_OVERHEAD + record_size(entry)
        if size > MAX_REQUEST_SIZE:
            raise EncodeError(
                f"a record of {size} bytes for topic {topic} is larger than a request of {MAX_REQUEST_SIZE}", topic
            )
        return self._sender.put(tp, entry, size)

    def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]], headers: Headers = ()
    ) -> tuple[Acknowledgement | None, int]:
        """Append records until it is crowded, or one is refused; see :meth:`stream_core.ports.Producer.send_many`."""
        last, taken = None, 0
        with suppress(EncodeError):
            for key, value in records:
                last = self.send(topic, partition, key, value, None, headers)
                taken += 1
                if self.crowded:
                    break
        return last, taken

    @property
    def backlog(self) -> int:
        """Bytes accepted and not acknowledged yet."""
        return self._sender.backlog

    @property
    def crowded(self) -> bool:
        """Whether the backlog is at :data:`MAX_BACKLOG`."""
        return self.backlog >= MAX_BACKLOG

    @property
    def transaction_age(self) -> float:
        """Seconds for which the broker has had the transaction open; 0.0 without one."""
        return self._sender.age

    async def room(self) -> None:
        """Wait until the backlog is below :data:`MAX_BACKLOG`. Raises DeadlineError."""
        timeout, what = self._settings.request_timeout, "acknowledge records, so that there is room for more"
        await self._cluster.wakeup.until(lambda: self.backlog < MAX_BACKLOG, timeout, what)

    async def flush(self) -> None:
        """Wait until every record accepted before this call is acknowledged.

        Raises:
            ProduceError: one since ``start`` was not.
            DeadlineError: the acknowledgements did not come in time.
        """
        await self._sender.acknowledged()
        if (failure := self._sender.failure) is not None:
            raise kind_of(failure)(f"a record was not acknowledged: {failure}") from failure

    async def begin(self) -> None:
        """Begin a transaction."""
        self._require("ready", "begin")
        if self._sender.failure is not None:
            raise self._sender.failure
        self._state = "in transaction"

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """Commit the offsets and the transaction; see :meth:`stream_core.ports.Producer.commit`."""
        identity = self._require("in transaction", "commit")
        if offsets and group is None:
            raise CommitError("offsets can only be committed with the metadata of their group: pass it to commit")
        self._state = "ending"
        await self._sender.acknowledged()
        if self._sender.failure is not None:
            raise self._sender.failure
        if offsets and group is not None:
            async with self._sender.request("txn_offset_commit"):
                coordinator = self._cluster.group(group.group)
                self._cluster.transactions.add_offsets(identity, offsets, coordinator, group)
                self._sender.opened()
        await self._end(identity, commit=True)

    async def abort(self) -> None:
        """Abort the transaction; does nothing when none is open, or when a successor has aborted it.

        Raises TransportError when that is undecided.
        """
        self._sender.drop(ProduceError("the transaction was aborted before the record was sent"))
        if self._state not in {"in transaction", "ending"}:
            return
        self._state = "ending"
        self._sender.ask_fence()
        try:
            await self._end(self._identity, commit=False)
        except (
            FencedError,
            TransactionExpiredError,
        ) as error:  # whoever fenced this producer has aborted its transaction
            self._sender.failure = error
            self._sender.ended()
            self._state = "ready"

    def check(self) -> None:
        """Do nothing: there is no background task that could die."""

    @property
    def _identity(self) -> Identity:
        """The identity that ``start`` got. Raises TransportError without one."""
        if self._sender.identity is None:
            raise TransportError("this producer has no transactional id: make it with one to use transactions")
        return self._sender.identity

    def _require(self, state: _State, what: str) -> Identity:
        """Return the identity of a transactional producer in ``state``. Raises TransportError otherwise."""
        identity = self._identity
        if self._state != state:
            raise TransportError(
                f"cannot {what}: the producer {identity.transactional_id} is {self._state}, not {state}"
            )
        return identity

    def _check_sending(self) -> None:
        """Raise ProduceError when nothing can be sent now."""
        if (failure := self._sender.failure) is not None:
            raise kind_of(failure)(f"the producer is broken, make a new one: {failure}") from failure
        expected = "ready" if self._transactional_id is None else "in transaction"
        if self._state != expected:
            raise ProduceError(f"cannot send: the producer is {self._state}, not {expected}")

    def _route(self, topic: str, partition: int | None, key: bytes | None) -> TP:
        """Choose the partition of a record: as told, by its key, or in turns."""
        count = self.count(topic)
        if not count:
            raise UnknownTopicError(f"the partitions of topic {topic} are not known: await partitions({topic!r}) first")
        if partition is None and (partitioner := self._settings.partitioner) is not None:
            try:
                partition = partitioner(key, range(count), range(count))
            except Exception as error:
                message = f"topic {topic}: the partitioner raised {type(error).__name__}: {error}"
                raise EncodeError(message, topic) from error
        if partition is None:
            if key is not None:
                partition = partition_for(key, count)
            else:
                partition = self._turns[topic] % count
                self._turns[topic] += 1
        elif not 0 <= partition < count:
            raise EncodeError(f"topic {topic} has {count} partitions, and no partition {partition}", topic)
        return TP(topic, partition)

    async def _end(self, identity: Identity, *, commit: bool) -> None:
        """Decide the transaction; one that the broker has never heard of needs no request."""
        if self._sender.touched:
            async with self._sender.request("end_txn"):
                self._cluster.transactions.end(identity, commit=commit)
        self._sender.ended()
        self._state = "ready"
