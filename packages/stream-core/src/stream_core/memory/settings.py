"""How long the clients of the in-process broker wait, and are waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["MemorySettings"]


@dataclass(frozen=True, slots=True)
class MemorySettings:
    """The timeouts of a client, as Kafka's clients have them: each tells them to the broker when it joins or begins.

    Attributes:
        request_timeout: seconds that a client waits for an answer.
        session_timeout: seconds without a heartbeat after which a group takes a member out.
        heartbeat_interval: seconds between the heartbeats of a member.
        rebalance_timeout: seconds that members get to give up their partitions and join again.
        transaction_timeout: seconds after which an open transaction is aborted and its producer fenced.
        partitioner: chooses the partition of records that name none, of key, all partitions and available ones; ``None``: by the key.
    """

    request_timeout: float = 40.0
    session_timeout: float = 30.0
    heartbeat_interval: float = 3.0
    rebalance_timeout: float = 30.0
    transaction_timeout: float = 60.0
    partitioner: Callable[[bytes | None, Sequence[int], Sequence[int]], int] | None = None
