"""The states of what can fail half-way, each with the table of its legal transitions.

A flag beside a flag allows every combination of the two, also those that nobody thought of; a state allows what its table says.
Whoever moves to another state calls :meth:`Machine.to`, which raises when the table does not have that way: a checkpoint after a
failure, or partitions that are opened again while they are given up, cannot happen unnoticed.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from enum import Enum
from typing import Final, Generic, TypeVar

from stream_core.errors import IllegalStateError

__all__ = ["ENGINE", "INTERVAL", "SESSION", "EngineState", "IntervalState", "Machine", "SessionState"]

S = TypeVar("S", bound=Enum)


class Machine(Generic[S]):
    """Holds one state, and moves it along its table.

    Args:
        what: names the thing in messages.
        state: the state to begin in.
        legal: for each state those that may follow it.

    Attributes:
        state: the state now.
    """

    __slots__ = ("_legal", "_what", "state")

    def __init__(self, what: str, state: S, legal: Mapping[S, Set[S]]) -> None:
        self._what = what
        self._legal = legal
        self.state = state

    def to(self, state: S) -> None:
        """Move to ``state``. Raises IllegalStateError when the table does not allow that from here."""
        if state not in self._legal[self.state]:
            raise IllegalStateError(f"{self._what} is {self.state.value}, and cannot become {state.value}")
        self.state = state

    def may(self, state: S) -> bool:
        """Tell whether the table allows to move to ``state`` now."""
        return state in self._legal[self.state]


class EngineState(Enum):
    """What the engine of a worker does."""

    CREATED = "created"
    """Not started."""
    STARTING = "starting"
    """It connects, declares topics and runs the bodies of agents until they ask for events."""
    JOINING = "waiting for partitions"
    """It is, or becomes, a member of the group, and has no partitions."""
    RECOVERING = "recovering"
    """It has partitions, and their state is recovered; also after an interval was dropped."""
    RUNNING = "running"
    """All its partitions deliver events; without sources: it is started."""
    REVOKING = "giving partitions up"
    """Open events finish, and what is finished is committed, before the partitions go to others."""
    FAILED = "failed"
    """It cannot go on: an interval that met the failure is dropped, another one given up as at a revocation. It waits to be stopped."""
    STOPPING = "stopping"
    """Open events finish, what is finished is committed, and everything is closed."""
    STOPPED = "stopped"
    """Nothing of it is left."""


_E = EngineState

ENGINE: Final[Mapping[EngineState, Set[EngineState]]] = {
    _E.CREATED: {_E.STARTING, _E.STOPPING},
    _E.STARTING: {_E.JOINING, _E.RUNNING, _E.FAILED, _E.STOPPING},
    _E.JOINING: {_E.JOINING, _E.RECOVERING, _E.RUNNING, _E.FAILED, _E.STOPPING},
    _E.RECOVERING: {_E.RECOVERING, _E.RUNNING, _E.REVOKING, _E.JOINING, _E.FAILED, _E.STOPPING},
    _E.RUNNING: {_E.RUNNING, _E.RECOVERING, _E.REVOKING, _E.JOINING, _E.FAILED, _E.STOPPING},
    _E.REVOKING: {_E.JOINING, _E.FAILED, _E.STOPPING},
    _E.FAILED: {_E.STOPPING},
    _E.STOPPING: {_E.STOPPED},
    _E.STOPPED: set(),
}


class SessionState(Enum):
    """What an assigned partition does in one generation."""

    RESTORING = "restoring"
    """Its state is recovered; no event is delivered."""
    RUNNING = "running"
    """Events are delivered."""
    SUSPENDED = "suspended"
    """No event is delivered any more; those that are open may finish, and count."""
    CLOSED = "closed"
    """It is given up: the effects of events that are still open come to nothing."""


_S = SessionState

SESSION: Final[Mapping[SessionState, Set[SessionState]]] = {
    _S.RESTORING: {_S.RUNNING, _S.CLOSED},
    _S.RUNNING: {_S.SUSPENDED},
    _S.SUSPENDED: {_S.CLOSED},
    _S.CLOSED: set(),
}


class IntervalState(Enum):
    """What becomes of the effects since the last commit."""

    OPEN = "open"
    """Events add their effects."""
    COMMITTING = "being committed"
    """It is cut; its records are sent and its offsets committed. A failure now leaves the outcome open."""
    STORING = "being stored"
    """Its offsets are committed: it counts. Its changes go to the stores."""
    SPOILED = "to be dropped"
    """Something in it must not be committed."""
    DROPPED = "dropped"
    """Nothing of it counts. The next one begins with another producer, from the committed offsets."""


_I = IntervalState

INTERVAL: Final[Mapping[IntervalState, Set[IntervalState]]] = {
    _I.OPEN: {_I.COMMITTING, _I.SPOILED, _I.DROPPED},
    _I.COMMITTING: {_I.STORING, _I.SPOILED, _I.DROPPED},
    _I.STORING: {_I.OPEN, _I.SPOILED, _I.DROPPED},
    _I.SPOILED: {_I.DROPPED},
    _I.DROPPED: {_I.OPEN},
}
