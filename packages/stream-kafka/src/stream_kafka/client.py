"""One connection pool to a cluster: aiokafka's client, with what Stream needs of it changed."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import aiokafka.errors as kafka
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.conn import CloseReason, collect_hosts
from aiokafka.protocol.metadata import MetadataRequest

from stream_core.errors import BrokerUnavailableError, TransportError, UnknownTopicError
from stream_kafka.deadlines import quietly, why_ended, within
from stream_kafka.settings import KafkaSettings

__all__ = ["Client"]

_UNKNOWN_TOPIC_PATIENCE = 1.0
_CLOSE_BUDGET = 2.0
_PROBE_BUDGET = 1.0


class Client(AIOKafkaClient):  # type: ignore[misc]
    """aiokafka's client: it never creates a topic by asking for it, says why it cannot connect, and closes in bounded time.

    Args:
        settings: addresses, credentials and timeouts.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        super().__init__(
            bootstrap_servers=list(settings.servers),
            client_id=settings.client_id,
            metadata_max_age_ms=int(settings.metadata_max_age * 1000),
            request_timeout_ms=int(settings.request_timeout * 1000),
            retry_backoff_ms=int(settings.retry_backoff * 1000),
            security_protocol=settings.security_protocol,
            ssl_context=settings.ssl_context,
            sasl_mechanism=settings.sasl_mechanism,
            sasl_plain_username=settings.username,
            sasl_plain_password=settings.password,
        )
        self.settings = settings
        self.connections_lost = 0
        """How many connections broke or timed out; a delayed answer may still be on its way through such a connection."""

    async def connect(self) -> None:
        """Learn the layout of the cluster.

        Raises:
            BrokerUnavailableError: no address answers; the message says for each address why.
        """
        try:
            await within(self.settings.request_timeout, self.bootstrap(), "connecting to Kafka")
        except TransportError as error:
            await self.disconnect()
            reasons = await asyncio.gather(
                *(_reason(host, port) for host, port, _ in collect_hosts(self._bootstrap_servers))
            )
            raise BrokerUnavailableError(
                f"no Kafka broker could be reached ({'; '.join(reasons)}); check the broker URL, or start one with `stream broker`"
            ) from error

    async def disconnect(self) -> None:
        """Close all connections, in bounded time; never raises."""
        await quietly(_CLOSE_BUDGET, self.close(), "closing connections")
        # Whoever waits for metadata of a closed client would wait for ever.
        waiting = self._md_update_fut
        if waiting is not None and not waiting.done():
            waiting.set_result(False)

    def check(self) -> None:
        """Raise TransportError when the task that keeps the metadata fresh has died: everything else hangs then."""
        task = self._sync_task
        if task is not None and task.done():
            raise TransportError(
                f"the metadata task of the Kafka client has died: {why_ended(task)}; restart the worker"
            )

    async def _metadata_update(self, cluster_metadata: Any, topics: Collection[str] | None) -> bool:
        # Replaces aiokafka's, whose request lets the broker create every topic that it names: one that was deleted while it
        # was consumed came back by itself, with the broker's default number of partitions.
        request = MetadataRequest(None if topics is None else list(topics), allow_auto_topic_creation=False)
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        for node in nodes:
            with suppress(kafka.KafkaError, asyncio.TimeoutError):
                metadata = await self.send(node, request)
                if metadata.brokers:
                    cluster_metadata.update_metadata(metadata)
                    return True
        cluster_metadata.failed_update(None)
        await asyncio.sleep(self._retry_backoff)
        return False

    async def send(self, node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """Send a request to a broker and return its answer; raises aiokafka's errors."""
        try:
            return await super().send(node_id, request, group=group)
        except kafka.KafkaError:
            raise
        except RuntimeError as error:
            # uvloop says so when the transport was closed in this turn of the loop, where asyncio says nothing, and aiokafka looks
            # for OSError alone: the task that sends would die of it.
            if (connection := self._conns.get((node_id, group))) is not None:
                connection.close(reason=CloseReason.CONNECTION_BROKEN)
            raise kafka.KafkaConnectionError(f"the connection to node {node_id} was closed: {error}") from error

    def _on_connection_closed(self, conn: Any, reason: Any) -> None:
        if reason in (CloseReason.CONNECTION_BROKEN, CloseReason.CONNECTION_TIMEOUT):
            self.connections_lost += 1
        super()._on_connection_closed(conn, reason)

    async def partition_count(self, topic: str) -> int:
        """Give the number of partitions of a topic.

        Raises:
            UnknownTopicError: the cluster does not have it, asked for a second.
            DeadlineError: no broker answers.
        """
        known = self.cluster.partitions_for_topic(topic)
        if known is not None:
            return len(known)
        return await within(self.settings.request_timeout, self._find(topic), f"asking for topic {topic}")

    async def _find(self, topic: str) -> int:
        patient_until = time.monotonic() + _UNKNOWN_TOPIC_PATIENCE
        answers = 0
        self._topics.add(topic)
        while True:
            answers += await self.force_metadata_update()
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
        """Give a broker of the cluster, any of them."""
        node: int | None = self.get_random_node()
        if node is None:
            raise BrokerUnavailableError("the cluster has named no broker yet")
        return node

    async def ask_coordinator(self, group: str, request: Any) -> Any:
        """Send a request to the coordinator of a group, looked up for it, and give the answer."""
        node = await self.coordinator_lookup(CoordinationType.GROUP, group)
        return await self.send(node, request, group=ConnectionGroup.COORDINATION)


async def _reason(host: str, port: int) -> str:
    # aiokafka logs why an address failed and raises something that does not say it.
    try:
        async with asyncio.timeout(_PROBE_BUDGET):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return f"{host}:{port} does not answer"
    except OSError as error:
        return f"{host}:{port} {os.strerror(error.errno) if error.errno and error.errno > 0 else error}"
    writer.close()
    return f"{host}:{port} accepts connections but does not answer this client: credentials, TLS, a broker that hangs, or no Kafka at all"
