"""A member of a consumer group: the Consumer port on Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence

import aiokafka.errors as kafka

from stream_core.errors import FencedError, TransportError
from stream_core.ports import NOBODY, RebalanceListener
from stream_core.primitives import TP, Batch, GroupMetadata, Host, Offset, Owners
from stream_kafka.consuming.assignor import StreamAssignor
from stream_kafka.consuming.coordinator import Coordinator
from stream_kafka.consuming.fetching_client import FetchingClient
from stream_kafka.consuming.rebalance import Rebalances
from stream_kafka.deadlines import attempt
from stream_kafka.settings import KafkaSettings

__all__ = ["KafkaConsumer"]

log = logging.getLogger(__name__)

_LEAVE_BUDGET = 5.0
_UNSTABLE_SLACK = 15.0
_SAY_EVERY = 10.0
_UNANSWERED = (kafka.KafkaConnectionError, kafka.RequestTimedOutError)
"""What becomes of a request that was sent, and may have been handled, or still be."""


class KafkaConsumer(FetchingClient):
    """The :class:`~stream_core.ports.Consumer` of a Kafka cluster.

    Args:
        settings: the cluster, the timeouts of the group and the sizes of a fetch.
        group: group name.
        read_committed: leave out the records of open and aborted transactions.
        assignor: what the leader of the group assigns partitions with; no other consumer may have the same one.
    """

    _coordinator: Coordinator

    def __init__(self, settings: KafkaSettings, group: str, *, read_committed: bool, assignor: StreamAssignor) -> None:
        super().__init__(settings, f"the consumer of group {group}", read_committed=read_committed)
        self._group = group
        self._assignor = assignor
        self._rebalances: Rebalances | None = None

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""
        await super().start()
        self._coordinator = Coordinator(
            self._started(), self._subscription, self._settings, self._group, self._assignor
        )

    async def _close(self) -> None:
        """Leave the group, which calls no ``revoked``, and fetch no more."""
        if self._rebalances is not None:
            self._rebalances.close()
        try:
            await self._coordinator.leave(_LEAVE_BUDGET)
        finally:  # also when whoever stops it is out of patience: a member that nobody knows would keep its partitions
            await super()._close()

    def subscribe(self, topics: Collection[str], listener: RebalanceListener, host: Host = NOBODY) -> None:
        """Join the group for these topics, or change the subscription (which costs a rebalance)."""
        client = self._started()
        self._assignor.host = host
        budget = min(12.0, 0.4 * self._settings.rebalance_timeout)
        if self._rebalances is None:
            self._rebalances = Rebalances(listener, self._coordinator, self._fetcher, self._assignor, budget)
        else:
            self._rebalances.listener = listener
        self._subscription.subscribe(set(topics), listener=self._rebalances)
        client.set_topics(set(topics))

    def owners(self) -> Owners:
        """Tell who owns each partition of the group, as the leader said it in the last assignment."""
        assigned = self._rebalances is not None and self._rebalances.assigned
        assignor, settled = self._assignor, assigned and self.lease() > 0
        return Owners(assignor.hosts, assignor.generation, settled=settled, members=assignor.members)

    async def poll(self, timeout: float) -> Sequence[Batch]:
        """Return everything that has arrived for partitions that are not paused, at most one batch a partition.

        Args:
            timeout: seconds to wait for the first batch, also while a rebalance runs.

        Raises:
            OffsetOutOfRangeError: a position is not in the log, and nothing else has arrived.
            TransportError: the client is broken.
        """
        self.check()
        return await self._fetcher.poll(timeout)

    @property
    def unreadable(self) -> Mapping[TP, TransportError]:
        """The partitions that stand still because they cannot be read, each with the reason; they are tried again and again."""
        return self._fetcher.unreadable if self._client is not None else {}

    def pause(self, tps: Collection[TP]) -> None:
        """Deliver nothing of these partitions until resumed; what is buffered of them is fetched again."""
        self._fetcher.pause(self._owned(tps))

    def resume(self, tps: Collection[TP]) -> None:
        """Deliver these partitions again from where they were paused or sought. Partitions not owned are ignored."""
        for partition in self._owned(tps):
            self._subscription.resume(partition)

    def rejoin(self) -> None:
        """Ask for a new generation of the group: ``revoked`` and ``assigned`` follow, as at any rebalance."""
        self._started()
        # What a member says when it joins names the generation that it had. So a member that comes again is never the same to the
        # broker, which would answer with the old generation otherwise.
        self._coordinator.request_rejoin()

    async def committed(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """Return the committed offsets of the group, decided ones only: wait while a transaction that commits one is open (KIP-447).

        Raises:
            DeadlineError: that transaction was not decided long after its timeout, or the coordinator is away.
        """
        self._started()
        if not tps:
            return {}
        patience = self._settings.transaction_timeout + _UNSTABLE_SLACK
        started = said = time.monotonic()

        def waiting(error: BaseException) -> None:
            nonlocal said
            now = time.monotonic()
            if now - said >= _SAY_EVERY:
                said = now
                log.warning(
                    "group %s: waiting for committed offsets for %.0f s of at most %.0f s: %s",
                    self._group, now - started, patience, error,
                )  # fmt: skip

        return await attempt(
            patience,
            lambda: self._coordinator.stable_offsets(tps),
            f"reading the committed offsets of group {self._group}",
            failed=waiting,
        )

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Commit, fenced by ``group``.

        A request that was not answered is sent again, and the first one may still arrive, late, behind newer commits, and turn the offsets
        back. So after such a request a new generation of the group is asked for: what arrives later is refused by its generation.

        Raises:
            FencedError: that generation or member is not current any more; what it did must be dropped.
            CommitError: the metadata text of an offset is too long.
            DeadlineError: the coordinator did not answer in time; whether the offsets are committed is unknown.
        """
        self._started()
        if group.generation < 0:
            raise FencedError(
                f"group {group.group}: not a member (generation {group.generation}), so nothing can be committed"
            )
        unanswered = False

        def failed(error: BaseException) -> None:
            nonlocal unanswered
            unanswered = unanswered or isinstance(error, _UNANSWERED)

        if offsets:
            await attempt(
                self._settings.request_timeout,
                lambda: self._coordinator.commit(offsets, group),
                f"committing offsets of group {group.group} in generation {group.generation}",
                failed=failed,
            )
        if unanswered:
            self._coordinator.request_rejoin()

    def lease(self) -> float:
        """Return the seconds for which the partitions are still this member's; at zero or less nothing more may be sent."""
        return self._coordinator.lease() if self._client is not None else 0.0

    def check(self) -> None:
        """Raise TransportError when a background task of the client has died; called every second by the supervisor."""
        super().check()
        self._coordinator.check()
        if self._rebalances is not None:
            self._rebalances.check()
