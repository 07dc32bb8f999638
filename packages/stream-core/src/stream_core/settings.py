"""What an engine needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EngineSettings"]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine needs to know; times in seconds.

    Attributes:
        group: consumer group.
        transactional_id: makes the guarantee exactly-once; ``None`` is at-least-once.
        commit_interval: between two checkpoints.
        commit_every: finished events that make a checkpoint come earlier; ``None`` for none.
        commit_bytes: changes in memory that do.
        buffer_maxsize: records of one partition that may wait for an agent.
        buffer_max_bytes: bytes of keys and values of all partitions that may wait for agents; each partition may have 1 MiB.
        session_timeout: of the consumer group.
        deadline: for one checkpoint, and for any other wait on the broker.
        drain_timeout: for open events at revocation and stop.
        wait_empty: whether open events have that time; else only what is finished is committed.
        recovery_delay: after an assignment, before partitions are recovered.
        stop_timeout: for a stop, all in all.
        transaction_timeout: after which the broker aborts a transaction, which the transport tells it.
        processing_timeout: for one event, before it is reported as stuck.
        discovery_interval: between two looks for new topics that match a pattern.
        offset_reset: where a partition without committed offset begins, ``earliest`` or ``latest``.
        max_restarts: how often one event may fail before the worker gives up.
        default_partitions: partitions of a topic to create when nothing else says so.
        replication: replication factor of topics to create.
        allow_declare: whether topics may be created at all.
        reply_to: topic for answers to questions; ``None`` for one of this engine's own, which is deleted at the end.
        reply_prefix: begin of the name of that topic.
        reply_expires: for which unread answers are kept.
        reply_create: make that topic at the start, not at the first question.
        reply_allowed: what the names of topics begin with that answers may go to, beside topics of the app and those of ``reply_prefix``.
        fail_fast: give up at start when no broker answers, instead of waiting for one.
        predecessor: member id of a dead worker whose place this one takes.
    """

    group: str
    transactional_id: str | None = None
    commit_interval: float = 2.8
    commit_every: int | None = None
    commit_bytes: int = 64 * 1024 * 1024
    buffer_maxsize: int = 4096
    buffer_max_bytes: int = 128 * 1024 * 1024
    session_timeout: float = 30.0
    deadline: float = 40.0
    drain_timeout: float = 10.0
    wait_empty: bool = True
    recovery_delay: float = 0.0
    stop_timeout: float = 25.0
    transaction_timeout: float = 60.0
    processing_timeout: float = 300.0
    discovery_interval: float = 30.0
    offset_reset: str = "earliest"
    max_restarts: int = 5
    default_partitions: int | None = None
    replication: int = 1
    allow_declare: bool = True
    reply_to: str | None = None
    reply_prefix: str = "f-reply-"
    reply_expires: float = 86_400.0
    reply_create: bool = False
    reply_allowed: Sequence[str] = ()
    fail_fast: bool = False
    predecessor: str | None = None

    @property
    def exactly_once(self) -> bool:
        """Whether effects and offsets are committed in one transaction."""
        return self.transactional_id is not None
