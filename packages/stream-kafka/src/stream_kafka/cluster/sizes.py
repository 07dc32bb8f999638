"""The bytes that partitions take on the disks of their leaders."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import aiokafka.errors as kafka

from stream_core.primitives import TP
from stream_kafka.cluster.ends import ask_leaders
from stream_kafka.connecting.client import Client
from stream_kafka.protocol import DescribeLogDirs

__all__ = ["sizes"]

_UNTOLD = (kafka.ClusterAuthorizationFailedError, kafka.KafkaStorageError)
"""Whoever may not describe the cluster is told nothing, and nobody is told of a disk that has failed."""

_NOT_KNOWN = (kafka.IncompatibleBrokerVersion, kafka.UnsupportedVersionError)
"""What speaks the protocol of Kafka and keeps no logs on disks of its own may not have this request."""


async def sizes(client: Client, tps: Collection[TP]) -> dict[TP, int]:
    """Return the bytes of each partition in the log of its leader; those of which it does not tell are left out.

    Raises:
        UnknownTopicError: a topic does not exist.
        DeadlineError: a leader did not answer in time.
    """
    return await ask_leaders(
        client, tps, partial(_ask_leader, client), f"asking for the sizes of {len(tps)} partitions"
    )


async def _ask_leader(client: Client, node: int, led: Collection[TP]) -> dict[TP, int]:
    """Ask one broker for the sizes of the partitions that it leads."""
    try:
        response = await client.send(node, DescribeLogDirs(led))
    except _NOT_KNOWN:
        return {}
    found: dict[TP, int] = {}
    for code, directory, topics in response.results:
        error = kafka.for_code(code)
        if error is not kafka.NoError and error not in _UNTOLD:
            raise error(f"directory {directory} of node {node}")
        for topic, partitions in topics:
            # One that is being moved to another disk of its broker is there twice; the second copy is no whole one yet.
            found |= {TP(topic, partition): size for partition, size, _lag, moving in partitions if not moving}
    return found
