"""The leader among the workers of an app: whoever the group gives partition 0 of a topic of its own."""

from __future__ import annotations

from collections.abc import Callable

from stream_core.engine.ownership import Ownership
from stream_core.engine.topology import Topology
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP
from stream_core.sending.topic import AnyTopic

__all__ = ["Leadership"]


class Leadership:
    """Whether this worker is the leader.

    Args:
        topology: reads the topic, for its assignment only.
        ownership: what is assigned.
        lease_over: whether the group may have given that to somebody else already, as while this process was stopped.
    """

    def __init__(self, topology: Topology, ownership: Ownership, lease_over: Callable[[], bool]) -> None:
        self._topology = topology
        self._ownership = ownership
        self._lease_over = lease_over
        self._seat: TP | None = None

    def elect(self, topic: AnyTopic) -> None:
        """Let the group have a leader; call it before the start."""
        self._seat = TP(topic.name, 0)
        self._topology.lead(topic)

    def is_leader(self) -> bool:
        """Tell whether this worker is the leader now; raises ConfigurationError when none is elected."""
        if self._seat is None:
            raise ConfigurationError(
                "no leader is elected: define a task or timer with on_leader=True, or set topic_disable_leader=False"
            )
        session = self._ownership.sessions.get(self._seat)
        return session is not None and session.open and not self._lease_over()
