"""Records and offsets in one transaction, fenced by the generation of the group (KIP-447)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiokafka.errors as kafka
from aiokafka.client import ConnectionGroup, CoordinationType
from aiokafka.producer.sender import TxnOffsetCommitHandler
from aiokafka.producer.transaction_manager import TransactionState as State
from aiokafka.structs import OffsetAndMetadata, TopicPartition

from stream_core.counters import TopicTraffic
from stream_core.errors import FencedError, ProduceError, StreamError, TransactionExpiredError, TransportError
from stream_core.failpoints import reach
from stream_core.primitives import TP, GroupMetadata, Offset
from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import within
from stream_kafka.errors import FencedInstanceId, ProducerFencedCode, TransactionAbortable, produce_error
from stream_kafka.producing.lanes import TopicLanes
from stream_kafka.producing.producer import KafkaProducer
from stream_kafka.producing.sender import FencedSender
from stream_kafka.protocol import TxnOffsetCommit
from stream_kafka.settings import KafkaSettings

__all__ = ["KafkaTransactionalProducer"]

_COORDINATOR_MOVED = (
    kafka.GroupCoordinatorNotAvailableError,
    kafka.NotCoordinatorForGroupError,
    kafka.RequestTimedOutError,
)
_TRY_AGAIN = (kafka.GroupLoadInProgressError, kafka.UnknownTopicOrPartitionError, kafka.ConcurrentTransactions)
_MEMBER_FENCED = (
    kafka.IllegalGenerationError,
    kafka.UnknownMemberIdError,
    FencedInstanceId,
    kafka.RebalanceInProgressError,
)
_PRODUCER_FENCED = (kafka.InvalidProducerEpoch, ProducerFencedCode)
_EPOCH_REFUSED = (*_PRODUCER_FENCED, kafka.ProducerFenced)
_ABORTABLE = (kafka.GroupAuthorizationFailedError, kafka.TopicAuthorizationFailedError, TransactionAbortable)


class _OffsetsHandler(TxnOffsetCommitHandler):  # type: ignore[misc]
    """Sends the offsets of a transaction with the identity of the group member."""

    group = ConnectionGroup.COORDINATION

    def create_request(self) -> TxnOffsetCommit:
        """Make the request that commits the offsets as a part of the transaction.

        Raises:
            FencedError: this worker is not a member of the group.
        """
        transactions, group = self._sender._txn_manager, self._sender.group_metadata
        # A broker takes a generation below zero for a client that is too old to say it, and commits for it.
        if group.generation < 0:
            raise FencedError(f"group {group.group}: not a member (generation {group.generation})")
        offsets = {TP(*tp): Offset(offset.offset, offset.metadata) for tp, offset in self._offsets.items()}
        producer = (transactions.transactional_id, transactions.producer_id, transactions.producer_epoch)
        return TxnOffsetCommit(producer, group, offsets)

    def handle_response(self, response: Any) -> float | None:
        """Look at the answer for each partition; return the seconds to wait before asking again, ``None`` when this was the last time.

        Raises:
            ProducerFenced: the transactional id has a newer producer.
        """
        for topic, partitions, _ in response.errors:
            for partition, code, _ in partitions:
                error = kafka.for_code(code)
                if error is kafka.NoError:
                    tp = TopicPartition(topic, partition)
                    self._sender._txn_manager.offset_committed(tp, self._offsets[tp].offset, self._group_id)
                elif error in _COORDINATOR_MOVED or error in _TRY_AGAIN:
                    if error in _COORDINATOR_MOVED:
                        self._sender._coordinator_dead(CoordinationType.GROUP)
                    return float(self._default_backoff)
                elif error in _PRODUCER_FENCED:
                    raise kafka.ProducerFenced
                elif error in _MEMBER_FENCED or error in _ABORTABLE:
                    self._sender._txn_manager.error_transaction(error(f"group {self._group_id}"))
                    return None
                else:
                    raise error(f"group {self._group_id}, partition {topic}-{partition}")
        return None


class _TransactionalSender(FencedSender):
    """The sender of a transactional producer.

    Attributes:
        group_metadata: the snapshot under which offsets are committed.
    """

    group_metadata: GroupMetadata

    async def _do_txn_offset_commit(self, offsets: Any, group_id: str) -> None:
        """Send the offsets to the coordinator of the group; one that refuses this program fails the transaction."""
        try:
            node = await self._find_coordinator(CoordinationType.GROUP, group_id)
        except kafka.GroupAuthorizationFailedError as error:
            self._txn_manager.error_transaction(error)
        else:
            await _OffsetsHandler(self, offsets, group_id).do(node)


class KafkaTransactionalProducer(KafkaProducer):
    """A producer whose sends are between ``begin`` and ``commit`` or ``abort``.

    Args:
        settings: the cluster, and the sizes of batches.
        transactional_id: the id under which at most one producer lives.
        fence: asked before each request; refuses it by returning true.
        sent: counts each batch that is acknowledged, or is certain not to be.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        transactional_id: str,
        *,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> None:
        super().__init__(settings, fence=fence, sent=sent)
        self._transactional_id = transactional_id
        self._taking: dict[str, TopicLanes] = {}
        self._ending = False
        self._connections_lost = 0

    def _make_sender(self, client: Client) -> FencedSender:
        """Make the task that sends batches, and the requests of transactions."""
        return _TransactionalSender(client, self._transactions, self._accumulator, self._fence)

    async def begin(self) -> None:
        """Begin a transaction.

        Raises:
            ProduceError: the producer is broken, or a connection broke during the last transaction.
            TransportError: a transaction is open already.
        """
        client = self._started()
        if self._failure is not None:
            raise self._failure
        if self._transactions.state is not State.READY:
            raise TransportError(f"transactional id {self._transactional_id}: a transaction is open already")
        self._connections_lost = client.connections_lost
        self._transactions.begin_transaction()
        self._ending = False
        self._taking = self._lanes

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """Commit the offsets, fenced by ``group``, and the transaction.

        Raises:
            FencedError: a newer member or producer took over, or the group has let this member go: nothing was committed.
            TransactionExpiredError: the broker aborted the transaction, which was open for longer than its timeout.
            ProduceError: a record was not acknowledged: nothing was committed.
            TransportError: anything else; whether it was committed is undecided.
        """
        self._started()
        if offsets and (group is None or group.generation < 0):
            raise FencedError(f"offsets cannot be committed under {group}: this worker is not a member of the group")
        self._taking_nothing()
        await self.flush()
        if self._transactions.state is not State.IN_TRANSACTION:
            raise self._ended()
        timeout, who = self._settings.request_timeout, self._who
        try:
            if offsets and group is not None:
                doing = f"{who}: committing offsets of group {group.group} in generation {group.generation}"
                await within(timeout, self._add_offsets(offsets, group), doing)
            reach("transaction.offsets")
            self._ending = True
            self._transactions.committing_transaction()
            await within(timeout, self._end(), f"{who}: committing the transaction")
        except BaseException as error:
            failure = self._explain(error, f"{who}: the commit failed")
            self._break(failure)
            if isinstance(failure, TransactionExpiredError):
                raise failure from error
            raise
        self._check_connections()

    async def abort(self) -> None:
        """Abort the transaction; within a deadline.

        Raises:
            TransportError: it is undecided whether the transaction was aborted or committed.
        """
        self._taking_nothing()
        for lanes in self._lanes.values():
            for lane in lanes.values():
                self._backlog -= lane.drop(
                    ProduceError(f"topic {lane.tp.topic}, partition {lane.tp.partition}: aborted")
                )
        if self._client is None or self._transactions.state is State.READY:
            return
        if self._ending:
            raise TransportError(
                f"transactional id {self._transactional_id}: the commit is undecided and cannot be aborted"
            )
        if self._transactions.is_fatal_error():
            # Whoever fenced this producer has ended its transaction; only another failure of the client leaves it open, and
            # then the next producer of this id, or the transaction timeout, ends it.
            return
        self._transactions.aborting_transaction()
        try:
            await within(self._settings.request_timeout, self._end(), f"{self._who}: aborting the transaction")
        except FencedError as error:
            # Whoever fenced this producer, a successor or the transaction timeout, has ended its transaction.
            self._break(self._explain(error, self._who))
            return
        except StreamError as error:
            self._break(self._explain(error, self._who))
            raise
        self._check_connections()

    async def _add_offsets(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Make offsets a part of the transaction, under the group metadata of the checkpoint."""
        self._sender.group_metadata = group
        wanted = {TopicPartition(*tp): OffsetAndMetadata(*offset) for tp, offset in offsets.items()}
        committed = self._transactions.add_offsets_to_txn(wanted, group.group)
        # When this waits no more, its deadline being over, nobody will look at a late failure.
        committed.add_done_callback(lambda late: late.cancelled() or late.exception())
        await asyncio.shield(committed)

    async def _end(self) -> None:
        """Wait until the coordinator has ended the transaction; to stop waiting takes nothing back."""
        await asyncio.shield(self._transactions.wait_for_transaction_end())

    @property
    def _who(self) -> str:
        return f"transactional id {self._transactional_id}"

    def _explain(self, error: BaseException, doing: str) -> StreamError:
        """Tell a producer whose transaction took too long from one that has a successor: the broker refuses both alike."""
        ours = produce_error(error, doing)
        cause = ours.__cause__ if error is ours else error
        # The broker raises the epoch when it aborts a transaction that has expired, and refuses its producer as it does one that
        # has a successor: only the age tells the two apart.
        if not isinstance(cause, _EPOCH_REFUSED) or not self._transactions.expired:
            return ours
        made = TransactionExpiredError(
            f"{doing}: the broker aborted the transaction of {self._who}, which was open for {self._transactions.age:.1f} s; "
            f"finish events sooner, or raise broker_transaction_timeout={self._settings.transaction_timeout:g}"
        )
        made.__cause__ = cause
        return made

    def _taking_nothing(self) -> None:
        """Take no records from now on: what is sent between two transactions belongs to none."""
        self._taking = {}

    def _ended(self) -> StreamError:
        """Make the error of a call that needs an open transaction where there is none."""
        if self._failure is not None:
            return self._failure
        return TransportError(f"transactional id {self._transactional_id}: no transaction is open; await begin() first")

    def _check_connections(self) -> None:
        """Break the producer when one of its connections broke during the transaction that has just ended."""
        # A delayed EndTxn on a broken connection could end the next transaction instead of this one: the requests that this
        # client speaks carry nothing that tells two transactions of one producer apart (KIP-890).
        if self._client is not None and self._client.connections_lost != self._connections_lost:
            self._break(
                ProduceError("a connection broke during the last transaction; replace the producer before the next one")
            )
