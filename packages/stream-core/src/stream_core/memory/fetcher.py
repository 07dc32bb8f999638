"""What reader and consumer have in common: positions in partitions, and batches from there."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from stream_core.errors import (
    BrokerUnavailableError,
    DeadlineError,
    OffsetOutOfRangeError,
    TransportError,
    UnknownTopicError,
)
from stream_core.memory.cluster import MemoryCluster
from stream_core.primitives import TP, Batch, RawRecord

__all__ = ["BATCH_RECORDS", "Fetcher"]

BATCH_RECORDS = 10_000
"""The most records of one partition that one poll hands over."""


class Fetcher:
    """Fetches from a set of partitions. The base of reader and consumer, which decide what is in the set.

    Args:
        cluster: where to fetch from.
        read_committed: hide open and aborted transactions.
    """

    def __init__(self, cluster: MemoryCluster, *, read_committed: bool) -> None:
        self._cluster = cluster
        self._read_committed = read_committed
        self._running = False
        self._positions: dict[TP, int] = {}
        self._paused: set[TP] = set()
        self._fetching = True
        self._refuse = False

    async def start(self) -> None:
        """Connect; see :meth:`MemoryCluster.connect`."""
        await self._cluster.connect()
        self._running = True

    async def stop(self) -> None:
        """Close; a poll that waits raises TransportError."""
        self._running = False
        self._cluster.wakeup.notify()

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived, at most one batch a partition; waits up to ``timeout`` seconds for the first.

        Raises:
            OffsetOutOfRangeError: a log does not hold the position of its partition; batches of others come first.
            TransportError: the client is not running, or it is broken.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        await asyncio.sleep(0)  # a poll that finds records must give the loop a turn as well
        while True:
            self.check()
            if not self._is_served():
                await asyncio.sleep(0)
                continue
            batches = self._fetch()
            if batches or not await self._cluster.wakeup.wait(deadline - loop.time()):
                return batches

    def _is_served(self) -> bool:
        """Tell whether the broker answers the next fetch; one that it does not answer is made again, as the client of Kafka does.

        A fetch changes nothing, so that it is the same whether the question or its answer is lost. Raises any other TransportError: with
        that the client is broken.
        """
        try:
            with self._cluster.faults.at("fetch"):
                return True
        except (DeadlineError, BrokerUnavailableError):
            return False

    def check(self) -> None:
        """Raise TransportError when this client cannot fetch any more."""
        if not self._running:
            raise TransportError("the client is not running: start it first, and do not use it after stop")

    def seek(self, tp: TP, offset: int) -> None:
        """Read ``tp`` from ``offset`` next; partitions that are not in the set are ignored."""
        if tp in self._positions:
            self._positions[tp] = offset
            self._cluster.wakeup.notify()

    async def start_offsets(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the earliest offset that each partition holds. Raises UnknownTopicError."""
        async with self._cluster.request("list_offsets"):
            return {tp: self._cluster.log(tp).start for tp in tps}

    async def end_offsets(self, tps: Collection[TP], *, committed: bool = False) -> dict[TP, int]:
        """Return the offset behind the last record, or with ``committed`` the last stable offset. Raises UnknownTopicError."""
        async with self._cluster.request("list_offsets"):
            logs = {tp: self._cluster.log(tp) for tp in tps}
            return {tp: log.stable if committed else log.end for tp, log in logs.items()}

    @property
    def unreadable(self) -> dict[TP, TransportError]:
        """The partitions that stand still because they cannot be read, each with the reason."""
        damaged = self._cluster.faults.damaged
        return {
            tp: TransportError(f"reading topic {tp.topic}, partition {tp.partition}: {damaged[tp]}")
            for tp in self._positions
            if tp in damaged
        }

    def _garbled(self, tp: TP, records: Sequence[RawRecord]) -> dict[int, str]:
        reasons = self._cluster.faults.garbled.get(tp)
        if not reasons:
            return {}
        return {record.offset: reasons[record.offset] for record in records if record.offset in reasons}

    def _fetch(self) -> list[Batch]:
        """Take a batch of each partition whose position can move, and move it."""
        batches: list[Batch] = []
        outside: OffsetOutOfRangeError | None = None
        faults = self._cluster.faults
        for tp, position in self._positions.items() if self._fetching else ():
            if position < 0 or tp in self._paused or tp in faults.damaged:
                continue
            try:
                log = self._cluster.log(tp)
            except UnknownTopicError:  # deleted: the group or the owner of the reader takes it away
                continue
            if not log.start <= position <= log.end:
                outside = outside or OffsetOutOfRangeError(tp, position)
                continue
            found = log.read(position, BATCH_RECORDS, committed=self._read_committed)
            if found.next_offset > position:
                batches.append(Batch(tp, *found, garbled=self._garbled(tp, found.records)))
        if outside is not None and (self._refuse or not batches):
            self._refuse = False
            raise outside
        self._refuse = outside is not None  # the next poll says so, even if these partitions never fall silent
        for batch in batches:
            self._positions[batch.tp] = batch.next_offset
        return batches
