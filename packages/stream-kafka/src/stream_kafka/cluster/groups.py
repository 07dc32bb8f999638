"""Look at consumer groups from outside, and change the offsets of one that nobody is in: the Groups port on Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

import aiokafka.errors as kafka
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.commit import OffsetCommitRequest

from stream_core.errors import FencedError, UnknownTopicError
from stream_core.primitives import TP, Offset
from stream_kafka.cluster.asking import Asking
from stream_kafka.deadlines import attempt
from stream_kafka.protocol import OffsetFetch

__all__ = ["KafkaGroups"]

_NO_OFFSET = -1
_UNSTABLE_SLACK = 15.0
_UNKNOWN = (kafka.GroupIdNotFound,)
_MEMBERS = (kafka.UnknownMemberIdError, kafka.IllegalGenerationError, kafka.RebalanceInProgressError)
"""What a broker answers to a commit of nobody where somebody is."""


class KafkaGroups(Asking):
    """The :class:`~stream_core.ports.Groups` of a Kafka cluster.

    Args:
        settings: the cluster.
    """

    who = "the client that looks at groups"

    async def members(self, group: str) -> Collection[str]:
        """Return the ids of the members of ``group``; none for a group that does not exist."""
        client = self._started()

        async def ask() -> list[str]:
            response = await client.ask_coordinator(group, DescribeGroupsRequest([group]))
            found = []
            for code, _group, _state, _type, _protocol, members, *_ in response.groups:
                error = kafka.for_code(code)
                if error is not kafka.NoError and error not in _UNKNOWN:
                    raise error(group)
                found += [member for member, *_ in members]
            return found

        return await attempt(self._settings.request_timeout, ask, f"looking for the members of group {group}")

    async def offsets(self, group: str) -> dict[TP, Offset]:
        """Return all committed offsets of ``group``; wait while a transaction that commits one of them is open.

        Raises:
            DeadlineError: that transaction was not decided long after its timeout, or the coordinator is away.
        """
        client = self._started()

        async def ask() -> dict[TP, Offset]:
            response = await client.ask_coordinator(group, OffsetFetch(group, None))
            error = kafka.for_code(response.error_code)
            if error is not kafka.NoError and error not in _UNKNOWN:
                raise error(group)
            found = {}
            for topic, partitions, _ in response.topics or ():
                for partition, offset, _epoch, metadata, code, _ in partitions:
                    error = kafka.for_code(code)
                    if error is not kafka.NoError:
                        raise error(f"partition {topic}-{partition}")
                    if offset != _NO_OFFSET:
                        found[TP(topic, partition)] = Offset(offset, metadata or "")
            return found

        patience = self._settings.transaction_timeout + _UNSTABLE_SLACK
        return await attempt(patience, ask, f"reading the committed offsets of group {group}")

    async def change(self, group: str, offsets: Mapping[TP, Offset]) -> None:
        """Commit offsets for a group without members.

        Raises:
            FencedError: it has members; only an attempt before, whose answer was lost, can have committed anything.
            CommitError: the metadata text of an offset is too long; those of other partitions were committed.
            UnknownTopicError: a partition does not exist; the offsets of others were committed.
            DeadlineError: there was no answer in time.
        """
        if not offsets:
            return
        client = self._started()
        topics: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for (topic, partition), (offset, metadata) in sorted(offsets.items()):
            topics[topic].append((partition, offset, metadata))
        keep = OffsetCommitRequest.DEFAULT_RETENTION_TIME
        request = OffsetCommitRequest(group, OffsetCommitRequest.DEFAULT_GENERATION_ID, "", keep, list(topics.items()))

        async def ask() -> None:
            response = await client.ask_coordinator(group, request)
            for topic, partitions in response.topics:
                for partition, code in partitions:
                    error = kafka.for_code(code)
                    if error in _MEMBERS:
                        raise FencedError(f"group {group} has members, which commit its offsets: stop them first")
                    if error is kafka.UnknownTopicOrPartitionError:
                        raise UnknownTopicError(
                            f"topic {topic} has no partition {partition}: there is nothing to begin at"
                        )
                    if error is not kafka.NoError:
                        raise error(f"partition {topic}-{partition}")

        await attempt(self._settings.request_timeout, ask, f"changing the offsets of group {group}")
