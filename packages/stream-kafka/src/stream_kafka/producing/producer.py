"""Send records in order per partition, one acknowledgement per batch: the Producer port on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, NoReturn

from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator
from aiokafka.producer.producer import AIOKafkaProducer
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition

from stream_core.counters import TopicTraffic
from stream_core.errors import (
    DeadlineError,
    EncodeError,
    MissingPackageError,
    ProduceError,
    StreamError,
    TransportError,
)
from stream_core.primitives import TP, GroupMetadata, Headers, Offset
from stream_kafka.cluster.topics import configurations
from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import why_ended, within
from stream_kafka.errors import produce_error
from stream_kafka.producing.lanes import Delivery, Lane, OpenBatch, TopicLanes
from stream_kafka.producing.sender import FencedSender, TransactionState
from stream_kafka.settings import KafkaSettings, Partitioner

__all__ = ["KafkaProducer"]

_LOOKS = 8
"""How often, in a request timeout, a wait for acknowledgements looks whether there have been some."""

_NO_HEADERS: list[tuple[str, bytes]] = []


class KafkaProducer:
    """The :class:`~stream_core.ports.Producer` of a Kafka cluster: idempotent, acknowledged by all replicas.

    Args:
        settings: the cluster, and the sizes of batches.
        fence: asked before each request; refuses it by returning true.
        sent: counts each batch that is acknowledged, or is certain not to be.

    Attributes:
        crowded: whether the backlog is at the byte bound of the settings. It is no property, because it is asked for with each record.
    """

    _transactional_id: str | None = None

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> None:
        self._sent = TopicTraffic() if sent is None else sent
        self._settings = settings
        self._fence = fence
        self._partitioner = settings.partitioner
        self._compression = _compression(settings.compression)
        self._client: Client | None = None
        self._sender: Any = None
        self._accumulator: Any = None
        self._transactions: Any = None
        self._lanes: dict[str, TopicLanes] = {}
        # The lanes that take records now: empty when none may be sent, so that sending needs no other check.
        self._taking: dict[str, TopicLanes] = self._lanes
        self._outstanding: set[asyncio.Future[Any]] = set()
        self._backlog = 0
        self.crowded = False
        self._failure: StreamError | None = None

    async def start(self) -> None:
        """Connect and get a producer id; with a transactional id this ends the open transaction of a predecessor and fences it.

        Raises:
            BrokerUnavailableError: no broker could be reached.
            DeadlineError: no producer id came in time; a predecessor's transaction may still be ending.
        """
        settings = self._settings
        client = Client(settings)
        await client.connect()
        self._client = client
        client.cluster.add_listener(self._follow)
        self._transactions = TransactionState(self._transactional_id, settings.transaction_timeout, self._client_failed)
        self._accumulator = MessageAccumulator(
            client.cluster,
            settings.max_batch_size,
            self._compression,
            settings.request_timeout,
            txn_manager=self._transactions,
        )
        self._sender = self._make_sender(client)
        who = f" for transactional id {self._transactional_id}" if self._transactional_id else ""
        try:
            await within(settings.request_timeout, self._sender.start(), f"asking for a producer id{who}")
        except BaseException:
            await self.stop()
            raise

    def _make_sender(self, client: Client) -> FencedSender:
        return FencedSender(client, self._transactions, self._accumulator, self._fence)

    @property
    def max_record_size(self) -> int:
        """Bytes of the largest record that :meth:`send` takes."""
        return self._settings.max_request_size

    async def stop(self) -> None:
        """Close, at once and within a deadline; what is not acknowledged may be lost. It never raises."""
        client, self._client = self._client, None
        if client is None:
            return
        # First of all nothing leaves any more, not even what waits for a connection: a successor may be at work already.
        client.shut()
        stopped = ProduceError("the producer was stopped before the record was acknowledged")
        self._break(stopped)
        self._sender.end()
        try:
            await client.disconnect()
        finally:
            self._sender.fail_waiting(stopped)

    async def partitions(self, topic: str) -> int:
        """Return the number of partitions of ``topic``; must have been awaited once before ``send`` to it.

        Raises:
            UnknownTopicError: the topic does not exist.
        """
        client = self._started()
        count = await client.partition_count(topic)
        if topic not in self._lanes:
            builder = await self._builder_for(topic)

            def lane(lanes: TopicLanes, partition: int) -> Lane:
                return Lane(
                    TopicPartition(topic, partition),
                    lanes,
                    self._accumulator,
                    builder,
                    self._settings.linger,
                    self._outstanding,
                    self._acknowledged,
                    self._explain,
                )

            lanes = self._lanes.setdefault(topic, TopicLanes(lane))  # somebody may have asked meanwhile
            lanes.resize(count)
        return count

    def count(self, topic: str) -> int:
        """Return the number of partitions of ``topic`` by the metadata, which are renewed every ``metadata_max_age``; 0 if not known."""
        return len(self._lanes.get(topic, ()))

    def _follow(self, cluster: Any) -> None:
        """Send to the partitions that topics have by new metadata; one that is gone keeps those that it had."""
        for topic, lanes in self._lanes.items():
            if found := cluster.partitions_for_topic(topic):
                lanes.resize(len(found))

    async def _builder_for(self, topic: str) -> Callable[[], BatchBuilder]:
        # The broker refuses whole batches by the limit of their topic, and one refused batch costs the producer.
        config = (await configurations(self._started(), (topic,))).get(topic, {})
        size = min(self._settings.max_batch_size, int(config.get("max.message.bytes", self._settings.max_batch_size)))
        transactional = int(self._transactional_id is not None)
        return lambda: BatchBuilder(size, self._compression, is_transactional=transactional)

    def send(
        self,
        topic: str,
        partition: int | None,
        key: bytes | None,
        value: bytes | None,
        timestamp: int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Append one record to its partition's builder; never waits. See :meth:`stream_core.ports.Producer.send`.

        Raises:
            EncodeError: the record is larger than ``max_request_size``, or the topic has no such partition (that is known); nothing
                was changed.
            ProduceError: the producer is broken, or no transaction is open.
        """
        try:
            lanes = self._taking[topic]
            if partition is not None:
                lane = lanes[partition]
            elif self._partitioner is not None:
                partition = _choose(self._partitioner, topic, key, len(lanes))
                lane = lanes[partition]
            else:
                lane = lanes.of_key[key] if key is not None else lanes[lanes.sticky]
        except KeyError:
            self._refuse(topic, partition)
        batch = lane.batch
        listed = list(headers) if headers else _NO_HEADERS
        record = batch.append(batch.count, timestamp, key, value, listed)
        if record is None:
            batch = self._next_batch(lane, key, value, listed)
            record = batch.append(0, timestamp, key, value, listed)
        batch.count += 1
        self._backlog += record.size
        if self._backlog >= self._settings.backlog:
            self.crowded = True
        return Delivery(batch, record)

    def send_many(
        self, topic: str, partition: int, records: Sequence[tuple[bytes | None, bytes | None]], headers: Headers = ()
    ) -> tuple[Delivery | None, int]:
        """Append records to the builder of one partition, in half the time; see :meth:`stream_core.ports.Producer.send_many`.

        Raises:
            ProduceError: the producer is broken, or no transaction is open.
        """
        lanes = self._taking.get(topic)
        if lanes is None:
            self._refuse(topic, partition)
        if partition not in lanes:
            return None, 0
        lane = lanes[partition]
        listed, record, taken = list(headers) if headers else _NO_HEADERS, None, 0
        batch, backlog, bound = lane.batch, self._backlog, self._settings.backlog
        append, count = batch.append, batch.count
        try:
            for key, value in records:
                appended = append(count, None, key, value, listed)
                if appended is None:
                    batch.count = count  # opening the next one seals this one
                    if self._size(key, value, listed) > self._settings.max_request_size:
                        break
                    batch = lane.open()
                    append, count = batch.append, 0
                    appended = append(0, None, key, value, listed)
                record = appended
                count += 1
                taken += 1
                backlog += record.size
                if backlog >= bound:
                    break
        finally:
            batch.count, self._backlog, self.crowded = count, backlog, backlog >= bound
        return (Delivery(batch, record) if taken else None), taken

    @staticmethod
    def _size(key: bytes | None, value: bytes | None, headers: list[Any]) -> int:
        """Tell how many bytes a record has at most."""
        return int(DefaultRecordBatchBuilder.estimate_size_in_bytes(key, value, headers))

    def _next_batch(self, lane: Lane, key: bytes | None, value: bytes | None, headers: list[Any]) -> OpenBatch:
        size = self._size(key, value, headers)
        limit = self._settings.max_request_size
        if size > limit:
            raise EncodeError(
                f"topic {lane.tp.topic}, partition {lane.tp.partition}: a record of {size} bytes is larger than max_request_size={limit}; "
                "raise that setting and max.message.bytes of the topic, or send less in one record",
                lane.tp.topic,
            )
        return lane.open()

    def _refuse(self, topic: str, partition: int | None) -> NoReturn:
        if self._failure is not None:
            raise self._failure
        if self._client is None:
            raise ProduceError(f"topic {topic}: the producer is not started; await start() first")
        if self._taking is not self._lanes:
            raise ProduceError(f"topic {topic}: no transaction is open; await begin() first")
        if topic in self._lanes:
            raise EncodeError(
                f"topic {topic} has {len(self._lanes[topic])} partitions, and no partition {partition}", topic
            )
        raise ProduceError(f"topic {topic}: its partitions are not known; await partitions({topic!r}) first")

    @property
    def backlog(self) -> int:
        """Bytes accepted and not acknowledged yet."""
        return self._backlog

    @property
    def transaction_age(self) -> float:
        """Seconds for which the broker may have had the transaction open; 0.0 while nothing of it was sent, and without one."""
        return self._transactions.age if self._transactions is not None else 0.0

    async def room(self) -> None:
        """Wait until the backlog is below the byte bound of the settings.

        Raises:
            ProduceError: a record was not acknowledged.
            DeadlineError: nothing was acknowledged for a whole request timeout.
        """
        while self.crowded:
            if self._failure is not None:
                raise self._failure
            self._seal_all()
            await self._acknowledgements(asyncio.FIRST_COMPLETED)

    async def flush(self) -> None:
        """Wait until every record accepted before this call is acknowledged.

        Raises:
            ProduceError: a record since ``start`` was not.
            FencedError: it was refused because somebody took over.
            DeadlineError: the brokers did not acknowledge in time.
        """
        self._seal_all()
        if self._outstanding and self._failure is None:
            await self._acknowledgements(asyncio.ALL_COMPLETED)
        if self._failure is not None:
            raise self._failure

    async def begin(self) -> None:
        """Refuse: there is no transaction without a transactional id."""
        self._no_transactions()

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata | None) -> None:
        """Refuse: there is no transaction without a transactional id."""
        self._no_transactions()

    async def abort(self) -> None:
        """Refuse: there is no transaction without a transactional id."""
        self._no_transactions()

    def check(self) -> None:
        """Raise TransportError when a background task of the client has died; called every second by the supervisor."""
        self._started().check()
        task = self._sender.sender_task
        if task.done():
            raise TransportError(f"the send task of the Kafka client has died: {why_ended(task)}; replace the producer")

    def _started(self) -> Client:
        if self._client is None:
            raise ProduceError("the producer is not started, or stopped; await start() of a new one first")
        return self._client

    def _no_transactions(self) -> NoReturn:
        raise TransportError(
            "this producer has no transactional id; make it with transport.producer(transactional_id=...)"
        )

    def _seal_all(self) -> None:
        """Close all open batches, so that they leave without waiting for more records."""
        for lanes in self._lanes.values():
            for lane in lanes.values():
                lane.seal()

    async def _acknowledgements(self, until: str) -> None:
        """Wait for the batches that are out: for all, or for the first one.

        Args:
            until: one of asyncio's words for it.

        Raises:
            DeadlineError: none was acknowledged for a whole request timeout.
        """
        # The deadline is for silence: a slow link, or a quota, may take long for what has been sent. Other batches do not count as a
        # sign of life, so that a partition without a leader is found while others work.
        timeout = self._settings.request_timeout
        waiting, silence = set(self._outstanding), 0.0
        while waiting:
            done, left = await asyncio.wait(waiting, timeout=timeout / _LOOKS, return_when=until)
            if done and until is asyncio.FIRST_COMPLETED:
                return
            silence = 0.0 if len(left) < len(waiting) else silence + timeout / _LOOKS
            if silence >= timeout:
                raise DeadlineError(
                    f"{self._backlog} bytes wait, and none was acknowledged for {timeout:g} s; is the broker reachable?"
                )
            waiting = left

    def _acknowledged(self, batch: OpenBatch, error: BaseException | None) -> None:
        self._release(batch.size)
        took = monotonic() - batch.begun
        self._sent.answered(batch.lane.tp.topic, batch.count, batch.size, took, failed=error is not None)
        if error is not None:
            self._break(batch.lane.undelivered(error))

    def _break(self, failure: StreamError) -> None:
        """Take nothing more: after one failed batch the broker refuses all that follows it in its partition."""
        if self._failure is None:
            self._failure = failure
        self._taking = {}
        if self._sender is not None:
            # The broker takes any sequence number where it knows none yet: after the first batch of a partition it would take the
            # next ones, out of order with the replay.
            self._sender.refused = self._failure
        broken = ProduceError(f"the producer is broken: {self._failure}")
        broken.__cause__ = self._failure
        for lanes in self._lanes.values():
            for lane in lanes.values():
                self._release(lane.drop(broken))

    def _release(self, size: int) -> None:
        """Take ``size`` bytes off the backlog."""
        self._backlog -= size
        self.crowded = self._backlog >= self._settings.backlog

    def _client_failed(self, error: BaseException) -> None:
        who = f"transactional id {self._transactional_id}" if self._transactional_id else "the idempotent producer"
        self._break(self._explain(error, who))

    def _explain(self, error: BaseException, doing: str) -> StreamError:
        """Make an error of the client one of ours; ``doing`` begins its message."""
        return produce_error(error, doing)


def _choose(partitioner: Partitioner, topic: str, key: bytes | None, count: int) -> int:
    try:
        return partitioner(key, range(count), range(count))
    except Exception as error:
        raise EncodeError(f"topic {topic}: the partitioner raised {type(error).__name__}: {error}", topic) from error


def _compression(name: str | None) -> int:
    if name is None:
        return 0
    available, attribute = AIOKafkaProducer._COMPRESSORS[name]
    if not available():
        raise MissingPackageError(
            f"compression={name!r} needs a codec that is not installed; pip install 'stream-kafka[compression]'"
        )
    return int(attribute)
