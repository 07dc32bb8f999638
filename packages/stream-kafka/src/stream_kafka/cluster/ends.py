"""The ends of partitions, and their offsets by time, asked of their leaders."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection

import aiokafka.errors as kafka
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from stream_core.primitives import TP
from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import attempt
from stream_kafka.protocol import partitions_by_topic

__all__ = ["READ_COMMITTED", "READ_UNCOMMITTED", "ask_leaders", "earliest", "latest", "since"]

READ_UNCOMMITTED = 0
READ_COMMITTED = 1

_LATEST = -1
_EARLIEST = -2
_CONSUMER = -1
_NONE = -1


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


async def since(client: Client, tps: Collection[TP], timestamp: int) -> dict[TP, int | None]:
    """Return the offset of the first record of a time or later; ``None`` where all are older.

    Args:
        client: of the cluster.
        tps: the partitions.
        timestamp: milliseconds since the epoch; what is negative has a meaning of its own in the protocol, so it counts as 0.

    Raises:
        UnknownTopicError: a topic does not exist.
        DeadlineError: a leader did not answer in time.
    """
    found = await _list(client, tps, max(0, timestamp), READ_UNCOMMITTED)
    return {tp: None if offset == _NONE else offset for tp, offset in found.items()}


async def _list(client: Client, tps: Collection[TP], time: int, isolation: int) -> dict[TP, int]:
    what = {_EARLIEST: "the first offset", _LATEST: "the end offset"}.get(time, "an offset by time")
    named = ", ".join(map(str, sorted(tps)[:3])) + (", ..." if len(tps) > 3 else "")

    def ask(node: int, led: Collection[TP]) -> Awaitable[dict[TP, int]]:
        return _ask_leader(client, node, led, time, isolation)

    return await ask_leaders(client, tps, ask, f"asking for {what} of {named}")


async def ask_leaders(
    client: Client, tps: Collection[TP], ask: Callable[[int, Collection[TP]], Awaitable[dict[TP, int]]], doing: str
) -> dict[TP, int]:
    """Ask the leaders of partitions for a number of each, all at once, and again while leaders move.

    Args:
        client: of the cluster.
        tps: the partitions.
        ask: asks one broker, by its id, for the partitions that it leads.
        doing: for messages.

    Raises:
        UnknownTopicError: a topic does not exist.
        DeadlineError: a leader did not answer in time.
    """
    for topic in {tp.topic for tp in tps}:
        await client.partition_count(topic)

    async def ask_all() -> dict[TP, int]:
        answers = await asyncio.gather(*(ask(node, led) for node, led in _by_leader(client, tps).items()))
        return {tp: number for answer in answers for tp, number in answer.items()}

    def moved(error: BaseException) -> None:
        client.force_metadata_update()

    return await attempt(client.settings.request_timeout, ask_all, doing, failed=moved)


def _by_leader(client: Client, tps: Collection[TP]) -> dict[int, list[TP]]:
    """Group partitions by the broker that leads them; raises what can be tried again when one has no leader."""
    nodes: defaultdict[int, list[TP]] = defaultdict(list)
    for tp in tps:
        leader = client.cluster.leader_for_partition(TopicPartition(*tp))
        if leader is None:
            raise kafka.UnknownTopicOrPartitionError(f"partition {tp} does not exist")
        if leader == -1:
            raise kafka.LeaderNotAvailableError(f"partition {tp} has no leader")
        nodes[leader].append(tp)
    return nodes


async def _ask_leader(client: Client, node: int, led: Collection[TP], time: int, isolation: int) -> dict[TP, int]:
    """Ask one broker for offsets of the partitions that it leads."""
    wanted = [
        (topic, [(partition, time) for partition in partitions])
        for topic, partitions in partitions_by_topic(led).items()
    ]
    response = await client.send(node, OffsetRequest(_CONSUMER, isolation, wanted))
    found: dict[TP, int] = {}
    for topic, partitions in response.topics:
        for partition, code, _timestamp, offset in partitions:
            error = kafka.for_code(code)
            if error is not kafka.NoError:
                raise error(f"partition {topic}-{partition}")
            found[TP(topic, partition)] = offset
    return found
