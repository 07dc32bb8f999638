"""How records get into the log of the in-process broker: one builder per partition, one acknowledgement per batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from stream_core.counters import TopicTraffic
from stream_core.errors import FencedError, ProduceError, TransportError
from stream_core.memory.cluster import Appended, MemoryCluster
from stream_core.memory.log import Entry
from stream_core.memory.transactions import Identity
from stream_core.primitives import TP, RecordMetadata

__all__ = ["Acknowledgement", "Sender", "kind_of"]


def kind_of(failure: TransportError) -> type[ProduceError]:
    """Give the class of error that a record that was not acknowledged has, by what broke its producer."""
    return type(failure) if isinstance(failure, ProduceError) else ProduceError


class _Batch:
    """Records of one partition that are sent and acknowledged together."""

    __slots__ = ("appended", "begun", "done", "entries", "error", "size", "tp")

    def __init__(self, tp: TP) -> None:
        self.begun = asyncio.get_running_loop().time()
        self.tp = tp
        self.entries: list[Entry] = []
        self.size = 0
        self.appended = Appended(-1, -1)
        self.done = False
        self.error: TransportError | None = None


class Acknowledgement:
    """What ``send`` returns: a batch and the place of the record in it."""

    __slots__ = ("_batch", "_index", "_sender")

    def __init__(self, sender: Sender, batch: _Batch, index: int) -> None:
        self._sender = sender
        self._batch = batch
        self._index = index

    def __await__(self) -> Generator[Any, None, RecordMetadata]:
        return self._wait().__await__()

    def acknowledged(self) -> bool | None:
        """Tell whether the record is in the log; ``None`` while that is not decided."""
        batch = self._batch
        return batch.error is None if batch.done else None

    async def _wait(self) -> RecordMetadata:
        """Wait for the batch; the record is in the log when this returns."""
        batch = self._batch
        await self._sender.acknowledged([batch])
        if batch.error is not None:
            raise kind_of(batch.error)(f"a record was not acknowledged by {batch.tp}: {batch.error}") from batch.error
        offset, timestamp = batch.appended
        sent = batch.entries[self._index].timestamp
        return RecordMetadata(*batch.tp, offset + self._index, sent if timestamp < 0 else timestamp)


class Sender:
    """Sends what was put in one turn of the event loop at the end of that turn, in order per partition.

    Args:
        cluster: where to send to.
        timeout: seconds that acknowledgements are waited for.
        fence: asked before each request; true refuses it.
        sent: counts each batch that is acknowledged, or refused.

    Attributes:
        identity: of a transactional producer, once it has one.
        failure: what broke it: after the first failure nothing is sent any more.
        backlog: bytes that are not acknowledged.
    """

    def __init__(
        self,
        cluster: MemoryCluster,
        timeout: float,
        fence: Callable[[], bool] | None,
        sent: TopicTraffic | None = None,
    ) -> None:
        self._sent = TopicTraffic() if sent is None else sent
        self.identity: Identity | None = None
        self.failure: TransportError | None = None
        self.backlog = 0
        self._cluster = cluster
        self._timeout = timeout
        self._fence = fence
        self._opened: float | None = None
        self._building: dict[TP, _Batch] = {}
        self._unacknowledged: dict[_Batch, None] = {}  # in the order they were begun

    def put(self, tp: TP, entry: Entry, size: int) -> Acknowledgement:
        """Add one record of ``size`` bytes to the builder of its partition."""
        if not self._building:
            asyncio.get_running_loop().call_soon(self._deliver)
        batch = self._building.get(tp)
        if batch is None:
            batch = self._building[tp] = _Batch(tp)
            self._unacknowledged[batch] = None
        batch.entries.append(entry)
        batch.size += size
        self.backlog += size
        return Acknowledgement(self, batch, len(batch.entries) - 1)

    @property
    def touched(self) -> bool:
        """Whether the broker has seen something of the open transaction."""
        return self._opened is not None

    @property
    def age(self) -> float:
        """Seconds since the broker has seen the first of the open transaction; 0.0 before."""
        return asyncio.get_running_loop().time() - self._opened if self._opened is not None else 0.0

    def opened(self) -> None:
        """Note that the broker has seen something of the open transaction."""
        if self._opened is None and self.identity is not None:
            self._opened = asyncio.get_running_loop().time()

    def ended(self) -> None:
        """Note that the transaction is decided."""
        self._opened = None

    async def acknowledged(self, batches: list[_Batch] | None = None) -> None:
        """Wait until these batches, or all that were begun, are acknowledged or refused. Raises DeadlineError."""
        waiting = list(self._unacknowledged) if batches is None else batches
        what = "acknowledge the records sent"
        await self._cluster.wakeup.until(lambda: all(batch.done for batch in waiting), self._timeout, what)

    def drop(self, error: TransportError) -> None:
        """Give up everything that is not acknowledged."""
        self._building.clear()
        for batch in list(self._unacknowledged):
            self._finish(batch, error)

    @asynccontextmanager
    async def request(self, operation: str) -> AsyncIterator[None]:
        """Wrap a request that the fence guards. Raises FencedError."""
        self.ask_fence()
        async with self._cluster.request(operation):
            yield

    def ask_fence(self) -> None:
        """Raise FencedError when the fence refuses requests."""
        if self._fence is not None and self._fence():
            raise FencedError("the lease of the group is over: nothing more may be sent under it")

    def _deliver(self) -> None:
        """Send all builders, each as one request."""
        batches, self._building = self._building, {}
        for batch in batches.values():
            try:
                if self.failure is not None:
                    raise ProduceError(f"the producer is broken: {self.failure}") from self.failure
                self.ask_fence()
                with self._cluster.faults.at("produce"):
                    batch.appended = self._cluster.append(batch.tp, batch.entries, self.identity)
                    self.opened()
            except TransportError as error:
                self.failure = self.failure or error
                self._finish(batch, error)
            else:
                self._cluster.faults.acknowledge(batch.tp, partial(self._finish, batch, None))

    def _finish(self, batch: _Batch, error: TransportError | None) -> None:
        """Take note that a batch was acknowledged, or will never be."""
        if batch.done:
            return
        batch.done, batch.error = True, error
        del self._unacknowledged[batch]
        self.backlog -= batch.size
        took = asyncio.get_running_loop().time() - batch.begun
        self._sent.answered(batch.tp.topic, len(batch.entries), batch.size, took, failed=error is not None)
        self._cluster.wakeup.notify()
