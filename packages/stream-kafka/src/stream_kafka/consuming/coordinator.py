"""Be a member of a consumer group: aiokafka's coordinator, with a lease, fenced commits and decided offsets.

The lease: a group gives the partitions of a member to another when its coordinator has heard nothing of it for the session timeout,
and tells the member later, when it asks. A member that was stopped, slept or was cut off in between must find out by itself. The session
begins anew when the coordinator handles a heartbeat (or a SyncGroup), which is after that was sent. So the member counts from the moment
of sending, as soon as the answer says that it was handled, and its lease is over no later than its session. It counts on a clock that
goes on while the process is stopped. With the lease over nothing more is sent (:mod:`stream_kafka.producing.sender`).

Fenced commits: an OffsetCommit names the generation and the member as they were when the partitions were assigned. So whoever was
replaced meanwhile is refused. Reading them at the time of the commit would make a member that has just lost its membership
commit as generation -1, which brokers take for a client without a group, and accept.

Decided offsets (KIP-447): a predecessor may have left a transaction that commits offsets, and that is neither committed nor aborted yet.
Until it is, its records and the offsets before them are both undone and done. An OffsetFetch with ``require_stable`` is refused
meanwhile, and :class:`~stream_kafka.consuming.consumer.KafkaConsumer` asks again until the transaction must have ended by its timeout.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import aiokafka.errors as kafka
from aiokafka.client import ConnectionGroup
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.coordinator.protocol import (
    ConsumerProtocol,
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest, LeaveGroupRequest, SyncGroupRequest

from stream_core.errors import TransportError
from stream_core.primitives import TP, GroupMetadata, Offset
from stream_kafka.connecting.client import Client
from stream_kafka.deadlines import abandon, boottime, quietly, why_ended
from stream_kafka.errors import UnstableOffsetCommit, translate
from stream_kafka.protocol import OffsetFetch
from stream_kafka.settings import KafkaSettings

__all__ = ["Coordinator"]

log = logging.getLogger(__name__)

_NO_OFFSET = -1
_NOTHING_WANTED = ConsumerProtocolMemberMetadata(0, [], b"").encode()
_NOTHING_ASSIGNED = ConsumerProtocolMemberAssignment(0, [], b"").encode()
_MOVED = (kafka.GroupCoordinatorNotAvailableError, kafka.NotCoordinatorForGroupError, kafka.RequestTimedOutError)
_ALIVE = {HeartbeatRequest: (kafka.NoError, kafka.RebalanceInProgressError), SyncGroupRequest: (kafka.NoError,)}


class Coordinator(GroupCoordinator):  # type: ignore[misc]
    """Join a group, send heartbeats, commit and read offsets; know how long the membership is good for.

    Args:
        client: the connections.
        subscription: which topics are subscribed, and the listener that is told of assignments.
        settings: timeouts of the group.
        group: group name.
        assignor: the only assignor. With a second one the client would join twice.
    """

    def __init__(self, client: Client, subscription: Any, settings: KafkaSettings, group: str, assignor: Any) -> None:
        self._confirmed: float | None = None
        super().__init__(
            client,
            subscription,
            group_id=group,
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.heartbeat_interval * 1000),
            rebalance_timeout_ms=int(settings.rebalance_timeout * 1000),
            retry_backoff_ms=int(settings.retry_backoff * 1000),
            enable_auto_commit=False,
            assignors=(assignor,),
            # Whether the program makes progress is for its own watchdog to say: the client measures the time since the last
            # poll, which says nothing about that.
            max_poll_interval_ms=float("inf"),
        )

    async def _send_req(self, request: Any) -> Any:
        sent = boottime()
        response = await super()._send_req(request)
        if kafka.for_code(getattr(response, "error_code", 0)) in _ALIVE.get(type(request), ()):
            self._confirmed = sent
        return response

    async def _do_heartbeat(self) -> bool:
        # aiokafka takes an answer that it does not know for the end of everything.
        try:
            return bool(await super()._do_heartbeat())
        except kafka.GroupAuthorizationFailedError:
            raise
        except kafka.KafkaError as error:
            log.error("Heartbeat of group %s failed: %s. Will retry.", self.group_id, error)
            return False

    async def _perform_assignment(self, response: Any) -> Any:
        # What the members said is theirs to get wrong, and this leader's to survive: the next one would meet it as well.
        response.members = [self._readable(member) for member in response.members]
        return await super()._perform_assignment(response)

    def _readable(self, member: tuple[Any, ...]) -> tuple[Any, ...]:
        *identity, metadata = member
        try:
            "".join(ConsumerProtocol.METADATA.decode(metadata).subscription)  # all of them are text
        except Exception as error:
            log.error(
                "group %s: member %s gets no partitions, since what it said when it joined cannot be read: %r; is it of this app?",
                self.group_id, identity[0], error,
            )  # fmt: skip
            return (*identity, _NOTHING_WANTED)
        return member

    async def _on_join_complete(self, generation: int, member_id: str, protocol: str, assignment: bytes) -> None:
        try:
            assigned = {tp.topic for tp in ConsumerProtocol.ASSIGNMENT.decode(assignment).partitions()}
            if strange := assigned - set(self._subscription.topics):
                raise ValueError(f"nobody here subscribed to {', '.join(sorted(strange))}")
        except Exception as error:
            log.error(
                "group %s: this worker is assigned nothing in generation %d, since what the leader said cannot be read: %r",
                self.group_id, generation, error,
            )  # fmt: skip
            assignment = _NOTHING_ASSIGNED
        await super()._on_join_complete(generation, member_id, protocol, assignment)

    @property
    def joined(self) -> bool:
        """Whether there is a generation that this member belongs to, as far as it knows."""
        return bool(self.generation >= 0)

    def lease(self) -> float:
        """Return the seconds until the group may have given the partitions of this member to another; at most 0 when it is no member."""
        if self._confirmed is None or not self.joined:
            return 0.0
        return float(self._session_timeout_ms / 1000 - (boottime() - self._confirmed))

    def metadata(self) -> GroupMetadata:
        """Return the identity of this member in the current generation."""
        return GroupMetadata(self.group_id, self.generation, self.member_id, self._group_instance_id)

    async def commit(self, offsets: Mapping[TP, Offset], group: GroupMetadata) -> None:
        """Send one OffsetCommit under ``group``, whatever the current generation is.

        Raises:
            aiokafka.errors.KafkaError: the error of the first partition that was refused.
        """
        topics: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
        for (topic, partition), (offset, metadata) in sorted(offsets.items()):
            topics[topic].append((partition, offset, metadata))
        keep = OffsetCommitRequest.DEFAULT_RETENTION_TIME
        request = OffsetCommitRequest(group.group, group.generation, group.member, keep, list(topics.items()))
        response = await self._ask(request)
        for topic, partitions in response.topics:
            for partition, code in partitions:
                self._refused(kafka.for_code(code), TP(topic, partition), group)

    async def stable_offsets(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """Send one OffsetFetch that asks for decided offsets only (KIP-447).

        Raises:
            UnstableOffsetCommit: a transaction that commits one of them is open.
            aiokafka.errors.KafkaError: another error of the broker.
        """
        response = await self._ask(OffsetFetch(self.group_id, tps))
        self._refused(kafka.for_code(response.error_code), None, None)
        found: dict[TP, Offset | None] = dict.fromkeys(tps)
        for topic, partitions, _ in response.topics:
            for partition, offset, _epoch, metadata, code, _ in partitions:
                error = kafka.for_code(code)
                if error is UnstableOffsetCommit:
                    raise error(f"partition {topic}-{partition}")
                if error is not kafka.UnknownTopicOrPartitionError:
                    self._refused(error, TP(topic, partition), None)
                if offset != _NO_OFFSET:
                    found[TP(topic, partition)] = Offset(offset, metadata or "")
        return found

    async def _ask(self, request: Any) -> Any:
        await self.ensure_coordinator_known()
        node = self.coordinator_id
        if node is None:
            raise kafka.GroupCoordinatorNotAvailableError(self.group_id)
        try:
            return await self._client.send(node, request, group=ConnectionGroup.COORDINATION)
        except kafka.KafkaError:
            self.coordinator_dead()
            raise

    def _refused(self, error: Any, tp: TP | None, group: GroupMetadata | None) -> None:
        if error is kafka.NoError:
            return
        if error in _MOVED:
            self.coordinator_dead()
        stale = error in (kafka.IllegalGenerationError, kafka.UnknownMemberIdError)
        if stale and group is not None and (group.generation, group.member) == (self.generation, self.member_id):
            # It is the membership of today that the broker does not know: join again now, not at the next heartbeat.
            self.reset_generation()
        raise error(f"partition {tp}" if tp is not None else self.group_id)

    async def leave(self, budget: float) -> None:
        """Leave the group and end all tasks, in ``budget`` seconds; never raises."""
        # While this member joins, the coordinator connection answers nothing until all others have joined, and the group would
        # wait for a member that is gone. So the leaving goes through the connection of the fetches, and ends the join.
        joining = self._heartbeat_task is None and self.member_id and self.coordinator_id is not None
        closing = asyncio.ensure_future(quietly(budget, self.close(), f"leaving group {self.group_id}"))
        try:
            if joining:
                request = LeaveGroupRequest(self.group_id, self.member_id)
                await quietly(budget, self._client.send(self.coordinator_id, request), f"leaving group {self.group_id}")
            await closing
        finally:
            for task in (closing, self._coordination_task, self._heartbeat_task, self._commit_refresh_task):
                if task is not None:
                    abandon(task)

    def check(self) -> None:
        """Raise TransportError when a task of the membership has died, or the broker refuses it for good."""
        task: asyncio.Task[None] = self._coordination_task
        if task.done() and not self._closing.done():
            raise TransportError(
                f"the coordination task of group {self.group_id} has died: {why_ended(task)}; restart the worker"
            )
        if self._pending_exception is not None:
            raise translate(self._pending_exception, f"membership of group {self.group_id}")
