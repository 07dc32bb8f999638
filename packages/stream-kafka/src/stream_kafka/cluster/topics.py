"""Topics as the broker has them: partitions, leaders, ids and configuration."""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import aiokafka.errors as kafka
from aiokafka.protocol.admin import DescribeConfigsRequest
from aiokafka.protocol.metadata import MetadataRequest

from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import attempt
from stream_kafka.errors import translate
from stream_kafka.protocol import DescribeTopics

__all__ = ["Layout", "cluster_id", "configurations", "layouts", "names"]

_TOPIC = 2
_NO_LEADER = -1
_THERE = (kafka.NoError, kafka.LeaderNotAvailableError)


@dataclass(frozen=True, slots=True)
class Layout:
    """The partitions of a topic.

    Attributes:
        partitions: how many there are.
        ready: whether every one has a leader.
        id: changes when the topic is deleted and created again; empty on brokers that do not tell.
    """

    partitions: int
    ready: bool
    id: str


async def layouts(client: Client, topics: Collection[str]) -> dict[str, Layout]:
    """Return the layout of those topics that exist; creates none.

    Raises:
        TransportError: a topic may not be described.
    """
    doing = f"describing topics {', '.join(sorted(topics))}"
    response = await _ask(client, DescribeTopics(topics), doing)
    found: dict[str, Layout] = {}
    for code, name, *rest in response.topics:
        error = kafka.for_code(code)
        if error in (kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError):
            continue
        if error not in _THERE:
            raise translate(error(f"topic {name}"), doing)
        # Version 5 has no id in front of the flag for internal topics.
        has_id = isinstance(rest[0], bytes)
        partitions = rest[2] if has_id else rest[1]
        ready = all(leader != _NO_LEADER for _, _, leader, *_ in partitions)
        topic_id = base64.urlsafe_b64encode(rest[0]).decode().rstrip("=") if has_id else ""
        found[name] = Layout(len(partitions), bool(partitions) and ready, topic_id)
    return found


async def names(client: Client) -> set[str]:
    """Return the names of all topics but those that the brokers keep for themselves."""
    response = await _ask(client, MetadataRequest(None, allow_auto_topic_creation=False), "listing topics")
    return {name for code, name, internal, *_ in response.topics if not internal and kafka.for_code(code) in _THERE}


async def cluster_id(client: Client) -> str:
    """Return the id of the cluster; empty on brokers that do not tell."""
    response = await _ask(client, MetadataRequest([], allow_auto_topic_creation=False), "asking for the cluster's id")
    return getattr(response, "cluster_id", None) or ""


async def configurations(client: Client, topics: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the whole configuration of each topic, defaults included; topics that may not be described are left out."""
    request = DescribeConfigsRequest([(_TOPIC, topic, None) for topic in topics])
    response = await _ask(client, request, f"reading the configuration of topics {', '.join(sorted(topics))}")
    found: dict[str, dict[str, str]] = {}
    for code, _message, _kind, name, entries in response.resources:
        if kafka.for_code(code) is kafka.NoError:
            found[name] = {entry[0]: entry[1] for entry in entries if entry[1] is not None}
    return found


async def _ask(client: Client, request: Any, doing: str) -> Any:
    return await attempt(client.settings.request_timeout, lambda: client.send(client.any_node(), request), doing)
