"""The ends of partitions, asked of their leaders."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import aiokafka.errors as kafka
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from stream_core.primitives import TP
from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import attempt

__all__ = ["READ_COMMITTED", "READ_UNCOMMITTED", "earliest", "latest"]

READ_UNCOMMITTED = 0
READ_COMMITTED = 1

_LATEST = -1
_EARLIEST = -2
_CONSUMER = -1


async def earliest(client: Client, tps: Collection[TP]) -> dict[TP, int]:
    """Return the first offset that each partition holds.

    Raises:
        UnknownTopicError: a topic does not exist.
        DeadlineError: a leader did not answer in time.
    """
    return await _list(client, tps, _EARLIEST, READ_UNCOMMITTED)


async def latest(client: Client, tps: Collection[TP], isolation: int) -> dict[TP, int]:
    """Return the offset behind the last record; with ``READ_COMMITTED`` the last stable offset.

    Raises:
        UnknownTopicError: a topic does not exist.
        DeadlineError: a leader did not answer in time.
    """
    return await _list(client, tps, _LATEST, isolation)


async def _list(client: Client, tps: Collection[TP], time: int, isolation: int) -> dict[TP, int]:
    for topic in {tp.topic for tp in tps}:
        await client.partition_count(topic)

    async def ask() -> dict[TP, int]:
        answers = await asyncio.gather(
            *(_ask_leader(client, node, wanted, isolation) for node, wanted in _by_leader(client, tps, time).items())
        )
        return {tp: offset for answer in answers for tp, offset in answer.items()}

    def moved(error: BaseException) -> None:
        client.force_metadata_update()

    what = "the first" if time == _EARLIEST else "the end"
    named = ", ".join(map(str, sorted(tps)[:3])) + (", ..." if len(tps) > 3 else "")
    return await attempt(client.settings.request_timeout, ask, f"asking for {what} offset of {named}", failed=moved)


def _by_leader(client: Client, tps: Collection[TP], time: int) -> dict[int, dict[str, list[tuple[int, int]]]]:
    """Group partitions by the broker that leads them; raises what can be tried again when one has no leader."""
    nodes: defaultdict[int, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for tp in tps:
        leader = client.cluster.leader_for_partition(TopicPartition(*tp))
        if leader is None:
            raise kafka.UnknownTopicOrPartitionError(f"partition {tp} does not exist")
        if leader == -1:
            raise kafka.LeaderNotAvailableError(f"partition {tp} has no leader")
        nodes[leader][tp.topic].append((tp.partition, time))
    return nodes


async def _ask_leader(client: Client, node: int, wanted: Any, isolation: int) -> dict[TP, int]:
    """Ask one broker for offsets of the partitions that it leads."""
    response = await client.send(node, OffsetRequest(_CONSUMER, isolation, list(wanted.items())))
    found: dict[TP, int] = {}
    for topic, partitions in response.topics:
        for partition, code, _timestamp, offset in partitions:
            error = kafka.for_code(code)
            if error is not kafka.NoError:
                raise error(f"partition {topic}-{partition}")
            found[TP(topic, partition)] = offset
    return found
