"""Declare and describe topics, and take a dead member out of a group: the Admin port on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import aiokafka.errors as kafka
from aiokafka.protocol.admin import CreateTopicsRequest, DeleteTopicsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from stream_core.errors import DeadlineError
from stream_core.primitives import TP, TopicInfo, TopicSpec
from stream_kafka.cluster.asking import Asking
from stream_kafka.cluster.sizes import sizes
from stream_kafka.cluster.topics import Layout, cluster_id, configurations, layouts, names
from stream_kafka.deadlines import attempt

__all__ = ["KafkaAdmin"]

_LOOK_AGAIN = 0.05


class KafkaAdmin(Asking):
    """The :class:`~stream_core.ports.Admin` of a Kafka cluster.

    Args:
        settings: the cluster.
    """

    who = "the admin client"

    async def describe(self, topics: Collection[str], *, config: bool = True) -> dict[str, TopicInfo]:
        """Describe those of ``topics`` that exist: partition count, id, and configuration if wanted. Creates none."""
        client = self._started()
        found = await layouts(client, topics) if topics else {}
        configs = await configurations(client, found) if found and config else {}
        return {
            name: TopicInfo(name, layout.partitions, configs.get(name, {}), layout.id) for name, layout in found.items()
        }

    async def cluster_id(self) -> str:
        """Return the id of the cluster, which no other cluster has; empty on brokers that do not tell."""
        return await cluster_id(self._started())

    async def topics(self) -> set[str]:
        """Return the names of all topics but those that the brokers keep for themselves."""
        return await names(self._started())

    async def sizes(self, tps: Collection[TP]) -> dict[TP, int]:
        """Return the bytes of each partition in the log of its leader; those of which the broker does not tell are left out.

        Raises:
            UnknownTopicError: a topic does not exist.
        """
        return await sizes(self._started(), tps)

    async def create(self, specs: Sequence[TopicSpec]) -> None:
        """Create topics; those that exist already are left as they are. Returns when all of them have leaders.

        Raises:
            TransportError: the broker refuses one, and says why.
            DeadlineError: they had no leaders in time.
        """
        if not specs:
            return
        client = self._started()
        timeout = int(self._settings.request_timeout * 1000)
        no_assignment: list[object] = []
        wanted = [
            (spec.name, spec.partitions, spec.replication, no_assignment, list(spec.config.items())) for spec in specs
        ]
        created = [spec.name for spec in specs]
        doing = f"creating topics {', '.join(created)}"

        async def ask() -> None:
            response = await client.send(client.any_node(), CreateTopicsRequest(wanted, timeout, False))
            for name, code, *message in response.topic_errors:
                error = kafka.for_code(code)
                if error not in (kafka.NoError, kafka.TopicAlreadyExistsError):
                    raise error(f"topic {name}: {(message and message[0]) or error.description}")

        await attempt(self._settings.request_timeout, ask, doing)
        await self._until(created, lambda found: all(name in found and found[name].ready for name in created), doing)

    async def delete(self, topics: Collection[str]) -> None:
        """Delete topics; those that do not exist are ignored. Returns when they are gone.

        Raises:
            TransportError: the broker refuses one, and says why.
        """
        if not topics:
            return
        client = self._started()
        timeout = int(self._settings.request_timeout * 1000)
        doing = f"deleting topics {', '.join(sorted(topics))}"

        async def ask() -> None:
            response = await client.send(client.any_node(), DeleteTopicsRequest(list(topics), timeout))
            for name, code in response.topic_error_codes:
                error = kafka.for_code(code)
                if error not in (kafka.NoError, kafka.UnknownTopicOrPartitionError, kafka.InvalidTopicError):
                    raise error(f"topic {name}")

        await attempt(self._settings.request_timeout, ask, doing)
        await self._until(topics, lambda found: not found, doing)

    async def remove_member(self, group: str, member: str) -> None:
        """Take a member that is known to be dead out of its group, so that nobody waits for its session.

        A member that the group does not know is ignored, and so is a group that does not exist.
        """
        client = self._started()
        doing = f"taking member {member} out of group {group}"
        request = LeaveGroupRequest(group, member)
        ignored = (kafka.NoError, kafka.UnknownMemberIdError, kafka.GroupIdNotFound)

        async def ask() -> None:
            response = await client.ask_coordinator(group, request)
            error = kafka.for_code(response.error_code)
            if error not in ignored:
                raise error(group)

        await attempt(self._settings.request_timeout, ask, doing)

    async def _until(self, topics: Collection[str], done: Callable[[Mapping[str, Layout]], bool], doing: str) -> None:
        client = self._started()
        end = asyncio.get_running_loop().time() + self._settings.request_timeout
        while not done(await layouts(client, topics)):
            if asyncio.get_running_loop().time() > end:
                raise DeadlineError(
                    f"{doing}: the brokers accepted it, but it was not done in {self._settings.request_timeout:g} s"
                )
            await asyncio.sleep(_LOOK_AGAIN)
