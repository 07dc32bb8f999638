"""One connection pool to a cluster: aiokafka's client, with what Stream needs of it changed."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import aiokafka.errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.conn import CloseReason
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.produce import ProduceRequest

from stream_core.errors import (
    AuthenticationError,
    BrokerUnavailableError,
    DeadlineError,
    StreamError,
    TransportError,
    UnknownTopicError,
)
from stream_kafka.connecting.connection import Connection
from stream_kafka.connecting.login import security_options
from stream_kafka.connecting.reasons import why
from stream_kafka.deadlines import abandon, quietly, why_ended, within
from stream_kafka.settings import KafkaSettings

__all__ = ["Client", "Pace"]

log = logging.getLogger(__name__)

_UNKNOWN_TOPIC_PATIENCE = 1.0
_CLOSE_BUDGET = 2.0


class Pace:
    """How soon the same question may be asked again: at once the first time, then after pauses that grow.

    Args:
        first: seconds of the first pause.
        longest: seconds of the longest.
        clock: seconds that only grow.
    """

    def __init__(self, first: float, longest: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._longest = max(first, longest)
        self._clock = clock
        self._question: object = None
        self._asked = float("-inf")
        self._gap = 0.0

    def pause(self, question: object) -> float:
        """Return the seconds to wait before asking ``question``, which counts as asked at the end of them."""
        now = self._clock()
        if question != self._question or now - self._asked > 2 * self._longest:
            self._gap, wait = 0.0, 0.0
        else:
            self._gap = min(max(2 * self._gap, self._first), self._longest)
            wait = max(0.0, self._asked + self._gap - now)
        self._question, self._asked = question, now + wait
        return wait


class Client(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's client: it never creates a topic by asking for it, says why it cannot connect, and closes in bounded time.

    Args:
        settings: addresses, credentials and timeouts.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        security = security_options(settings.credentials, settings.request_timeout)
        super().__init__(
            bootstrap_servers=list(settings.servers),
            client_id=settings.client_id,
            metadata_max_age_ms=int(settings.metadata_max_age * 1000),
            request_timeout_ms=int(settings.request_timeout * 1000),
            retry_backoff_ms=int(settings.retry_backoff * 1000),
        )
        self.settings = settings
        self.connections_lost = 0
        """How many connections broke or timed out; a delayed answer may still be on its way through such a connection."""
        self._connection: dict[str, Any] = {
            "client_id": settings.client_id,
            "request_timeout_ms": int(settings.request_timeout * 1000),
            "max_idle_ms": int(settings.connections_max_idle * 1000),
            "connect_timeout": settings.connect_timeout,
            **security,
        }
        self.guard: Callable[[], kafka.KafkaError | None] | None = None
        """Asked right before each produce request, with the connection made: refuses it by returning an error."""
        self._pace = Pace(settings.retry_backoff)
        self._attempts: dict[tuple[Any, Any], asyncio.Task[Any]] = {}
        self._unreachable: dict[Any, TransportError] = {}
        self._refused: tuple[float, float] | None = None
        """When connections were first and last refused, without one that succeeded between."""
        self._closed = False

    async def connect(self) -> None:
        """Learn the layout of the cluster, from the first address that answers.

        Raises:
            BrokerUnavailableError: no address answers; the message says for each address why.
            AuthenticationError: no address answers, and one of them refuses the credentials, or has a certificate that is refused.
        """
        failures: list[TransportError] = []
        hosts = self.hosts
        for host, port, _ in hosts:
            address = f"{host}:{port}"
            try:
                await within(
                    self.settings.request_timeout / len(hosts),
                    self._learn_from(host, port, self.cluster, MetadataRequest([])),
                    f"connecting to {address}",
                )
            except StreamError as error:
                cause = TimeoutError() if isinstance(error, DeadlineError) else error.__cause__ or error
                failures.append(why(cause, address, self.settings.credentials))
            else:
                self._sync_task = asyncio.create_task(self._md_synchronizer())
                return
        reasons = "; ".join(map(str, failures))
        if any(isinstance(failure, AuthenticationError) for failure in failures):
            raise AuthenticationError(reasons) from failures[0]
        raise BrokerUnavailableError(
            f"no Kafka broker could be reached ({reasons}); check the broker URL, or start one with `stream broker`"
        ) from failures[0]

    async def _learn_from(self, host: str, port: int, cluster_metadata: Any, request: MetadataRequest) -> None:
        """Ask one address for metadata, over a connection that is used once."""
        connection = Connection(host, port, **self._connection)
        try:
            await connection.connect()
            cluster_metadata.update_metadata(await connection.send(request))
        finally:
            connection.close()

    async def _get_conn(self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        """Give the connection to a broker, made when there is none; ``None`` when it cannot be made."""
        # Replaces aiokafka's, which keeps to itself why there is no connection, and makes one connection after the other: a broker
        # that swallows packets would hold up the heartbeats to all others for longer than the session.
        if self._closed:
            return None
        key = (node_id, group)
        known = self._conns.get(key)
        if known is not None and known.connected():
            return known
        self._conns.pop(key, None)
        attempt = self._attempts.get(key)
        if attempt is None:
            attempt = self._attempts[key] = asyncio.create_task(self._make_connection(node_id, group))
            attempt.add_done_callback(lambda _: self._attempts.pop(key, None))
        # All who want this connection wait for one attempt. Who gives up waiting does not end it for the others.
        await asyncio.wait((attempt,))
        return None if attempt.cancelled() else attempt.result()

    async def _make_connection(self, node_id: Any, group: Any) -> Any:
        """Connect to a broker, and keep the connection; ``None`` when it cannot be made."""
        broker = self.cluster.broker_metadata(node_id)
        if broker is None:
            return self._not_connected(node_id, BrokerUnavailableError("the cluster does not have it (any more)"))
        made = Connection(broker.host, broker.port, on_close=self._on_connection_closed, **self._connection)
        try:
            await made.connect()
        except (OSError, kafka.KafkaError) as error:
            address = f"{broker.host}:{broker.port}"
            return self._not_connected(node_id, why(error, address, self.settings.credentials))
        self._conns[node_id, group] = made
        self._unreachable.pop(node_id, None)
        self._refused = None
        return made

    def _not_connected(self, node_id: Any, reason: TransportError) -> None:
        """Remember why there is no connection to a node, for whoever wants one; asks for metadata, since the node may have moved."""
        self._unreachable[node_id] = reason
        log.error("Unable to connect to node %s: %s", node_id, reason)
        now = time.monotonic()
        # Refusals that lie far apart, with nobody asking between them, are not one that lasts.
        since, last = self._refused or (now, now)
        first = since if now - last <= self.settings.request_timeout else now
        self._refused = (first, now) if isinstance(reason, AuthenticationError) else None
        self.force_metadata_update()

    def shut(self) -> None:
        """Let no request leave from now on; those that wait for a connection get none."""
        self._closed = True
        for attempt in list(self._attempts.values()):
            abandon(attempt)

    async def disconnect(self) -> None:
        """Close all connections, in bounded time, and at once when this is cancelled; raises nothing else."""
        self.shut()
        transports = [
            connection._writer.transport for connection in self._conns.values() if connection._writer is not None
        ]
        updating = self._sync_task
        try:
            await quietly(_CLOSE_BUDGET, self.close(), "closing connections")
        finally:  # also when whoever closes is out of patience
            if updating is not None:
                abandon(updating)
            for transport in transports:
                # What is still in its buffer would leave later, when a successor of this client is at work.
                transport.abort()
            # Whoever waits for metadata of a closed client would wait for ever.
            waiting = self._md_update_fut
            if waiting is not None and not waiting.done():
                waiting.set_result(False)

    def check(self) -> None:
        """Raise TransportError when the task that keeps the metadata fresh has died: everything else hangs then.

        AuthenticationError when every connection tried for a whole request timeout was refused: passwords change, and certificates.
        """
        if self._refused is not None and self._refused[1] - self._refused[0] > self.settings.request_timeout:
            raise AuthenticationError(
                f"brokers refuse this client since {self.settings.request_timeout:g} s: "
                f"{'; '.join(map(str, self._unreachable.values()))}"
            )
        task = self._sync_task
        if task is not None and task.done():
            raise TransportError(
                f"the metadata task of the Kafka client has died: {why_ended(task)}; restart the worker"
            )

    async def _metadata_update(self, cluster_metadata: Any, topics: Collection[str] | None) -> bool:
        """Learn about topics from any broker; returns whether one has answered."""
        # Replaces aiokafka's, whose request lets the broker create every topic that it names: one that was deleted while it
        # was consumed came back by itself, with the broker's default number of partitions. It also asks again at once, as long as
        # a partition has no leader.
        await asyncio.sleep(self._pace.pause(frozenset(topics or ())))
        request = MetadataRequest(None if topics is None else list(topics), allow_auto_topic_creation=False)
        if await self._learn(cluster_metadata, request) or await self._found_elsewhere(cluster_metadata, request):
            return True
        cluster_metadata.failed_update(None)
        await asyncio.sleep(self._retry_backoff)
        return False

    async def _learn(self, cluster_metadata: Any, request: MetadataRequest) -> bool:
        """Ask the known brokers one after the other, in random order, until one answers; returns whether one has."""
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        for node in nodes:
            try:
                metadata = await self.send(node, request)
                if metadata.brokers:
                    cluster_metadata.update_metadata(metadata)
                    return True
            except (kafka.KafkaError, TimeoutError):
                continue
            except Exception as error:
                log.error("The answer of node %s to a request for metadata makes no sense: %r", node, error)
        return False

    async def _found_elsewhere(self, cluster_metadata: Any, request: MetadataRequest) -> bool:
        """Ask the addresses of the settings, when no broker that is known answers: all of them may have moved."""
        # The same question: an answer that spoke of no topic would look as if all of them were gone.
        known = {(broker.host, broker.port) for broker in self.cluster.brokers()}
        for host, port, _ in self.hosts:
            if (host, port) not in known and not self._closed:
                with suppress(StreamError):
                    doing = f"connecting to {host}:{port}"
                    learning = self._learn_from(host, port, cluster_metadata, request)
                    await within(self.settings.request_timeout, learning, doing)
                    return True
        return False

    async def send(self, node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """Send a request to a broker and return its answer; raises aiokafka's errors."""
        # Replaces aiokafka's, which looks for the connection a second time: to write, and to close it when the answer is late.
        connection = await self._get_conn(node_id, group=group)
        if connection is None:
            raise kafka.NodeNotReadyError(f"no connection to node {node_id}: {self._unreachable.get(node_id)}")
        # There is no suspension between this question and the bytes leaving.
        if self.guard is not None and isinstance(request, ProduceRequest) and (refusal := self.guard()) is not None:
            raise refusal
        try:
            answer = await connection.send(request)
        except TimeoutError as error:
            connection.close(reason=CloseReason.CONNECTION_TIMEOUT)
            raise kafka.RequestTimedOutError from error
        except (NotImplementedError, kafka.IncompatibleBrokerVersion) as error:  # not in this version, or not at all
            raise kafka.IncompatibleBrokerVersion(
                f"node {node_id} does not know {type(request).__name__} as this client speaks it; it needs Kafka 2.5 or newer"
            ) from error
        except RuntimeError as error:
            # uvloop says so when the transport was closed in this turn of the loop, where asyncio says nothing, and aiokafka looks
            # for OSError alone: the task that sends would die of it.
            connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise kafka.KafkaConnectionError(f"the connection to node {node_id} was closed: {error}") from error
        held = getattr(answer, "throttle_time_ms", 0)
        if held > 0:
            log.warning(
                "Node %s holds this client back by a quota: its answer to %s waited for %d ms",
                node_id, type(request).__name__, held,
            )  # fmt: skip
        return answer

    def _on_connection_closed(self, conn: Any, reason: Any) -> None:
        """Count the connections that broke while a request may have been on its way."""
        # All others may have had a request on its way; a reason that is new to us, too.
        if reason not in (None, CloseReason.SHUTDOWN, CloseReason.IDLE_DROP):
            self.connections_lost += 1
        super()._on_connection_closed(conn, reason)

    async def partition_count(self, topic: str) -> int:
        """Return the number of partitions of a topic.

        Raises:
            UnknownTopicError: the cluster does not have it, asked for a second.
            DeadlineError: no broker answers.
            TransportError: the client was closed meanwhile.
        """
        known = self.cluster.partitions_for_topic(topic)
        if known is not None:
            return len(known)
        return await within(self.settings.request_timeout, self._find(topic), f"asking for topic {topic}")

    async def _find(self, topic: str) -> int:
        """Ask for a topic until it is there, or was unknown for a second."""
        patient_until = time.monotonic() + _UNKNOWN_TOPIC_PATIENCE
        answers = 0
        self._topics.add(topic)
        while True:
            if not self._closed:
                answers += await self.force_metadata_update()
            if self._closed:  # nothing would ever be learnt
                raise TransportError(f"asking for topic {topic}: the client was closed")
            found = self.cluster.partitions_for_topic(topic)
            if found is not None:
                return len(found)
            if topic in self.cluster.unauthorized_topics:
                raise TransportError(f"no permission to describe topic {topic}; grant Describe on it")
            # The answer to a request that was on its way already may not speak of this topic.
            if answers > 1 and time.monotonic() > patient_until:
                self._topics.discard(topic)
                raise UnknownTopicError(f"topic {topic} does not exist; create it, or declare it with its partitions")
            await asyncio.sleep(self._retry_backoff)
            self._topics.add(topic)

    def any_node(self) -> int:
        """Return the id of a broker of the cluster, any of them."""
        node: int | None = self.get_random_node()
        if node is None:
            raise BrokerUnavailableError("the cluster has named no broker yet")
        return node

    async def ask_coordinator(self, group: str, request: Any) -> Any:
        """Send a request to the coordinator of a group, looked up for it, and return the answer."""
        node = await self.coordinator_lookup(CoordinationType.GROUP, group)
        return await self.send(node, request, group=ConnectionGroup.COORDINATION)
