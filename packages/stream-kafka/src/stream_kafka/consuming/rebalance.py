"""Pass aiokafka's rebalance callbacks on to the listener of a consumer."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Collection

from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.structs import TopicPartition

from stream_core.errors import StreamError, TransportError
from stream_core.ports import RebalanceListener
from stream_core.primitives import TP
from stream_kafka.consuming.assignor import StreamAssignor
from stream_kafka.consuming.coordinator import Coordinator
from stream_kafka.consuming.fetching import BatchFetcher
from stream_kafka.deadlines import abandon

__all__ = ["Rebalances"]

log = logging.getLogger(__name__)


class Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Tell a listener of assignments and revocations, and keep what it raises, which aiokafka would only log.

    Args:
        listener: whom to tell.
        coordinator: whose generation is snapshotted.
        fetcher: whose positions are set aside at assignment.
        assignor: who is told the generation of its assignment.
        budget: seconds that a revocation may take; then it is cancelled, and has half of that to end.

    Attributes:
        assigned: whether the last that the listener was told is an assignment.
    """

    def __init__(
        self,
        listener: RebalanceListener,
        coordinator: Coordinator,
        fetcher: BatchFetcher,
        assignor: StreamAssignor,
        budget: float,
    ) -> None:
        self.listener = listener
        self._coordinator = coordinator
        self._fetcher = fetcher
        self._assignor = assignor
        self._budget = budget
        self._failures: deque[StreamError] = deque()
        self._closed = False
        self.assigned = False

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Snapshot the generation, set all positions aside, tell the listener. No heartbeat is sent while this runs."""
        if self._closed:
            return
        group = self._coordinator.metadata()
        self._assignor.generation = group.generation
        for partition in assigned:
            # Any position will do: without one the client would look up committed offsets by itself, and unstable ones.
            self._fetcher.seek_to(partition, 0)
        self._fetcher.pause(assigned)
        self.assigned = True
        try:
            self.listener.assigned(frozenset(TP(*partition) for partition in assigned), group)
        except Exception as error:
            self._record("the assignment of partitions failed", error)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Let the listener finish with its partitions, within the budget: the group is waiting for this member."""
        if self._closed or not self.assigned:
            return
        self.assigned = False
        tps = frozenset(TP(*partition) for partition in revoked)
        lost = not self._coordinator.joined
        work = asyncio.ensure_future(self.listener.revoked(tps, lost))
        try:
            await asyncio.wait((work,), timeout=self._budget)
            late = not work.done()
            if late:
                log.warning("giving up %d partitions takes longer than %g s; it is cancelled", len(tps), self._budget)
                work.cancel()
                await asyncio.wait((work,), timeout=self._budget / 2)
        finally:
            endless = not work.done()
            abandon(work)
        error: BaseException | None = None
        if endless:
            error = TimeoutError(f"it took longer than {self._budget:g} s, and did not end when it was cancelled")
        elif not work.cancelled():
            error = work.exception()
        elif not late:
            error = asyncio.CancelledError()
        if error is not None:
            self._record(f"giving up {len(tps)} partitions failed", error)

    def close(self) -> None:
        """Tell the listener nothing any more."""
        self._closed = True

    def check(self) -> None:
        """Raise what the listener raised, each failure once."""
        if self._failures:
            raise self._failures.popleft()

    def _record(self, what: str, error: BaseException) -> None:
        failure = TransportError(f"{what}: {error!r}")
        failure.__cause__ = error
        self._failures.append(failure)
