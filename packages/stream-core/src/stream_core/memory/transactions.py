"""The transaction coordinator of the in-process broker: producer ids, epochs, and what an open transaction touches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from stream_core.errors import FencedError, TransportError
from stream_core.memory.groups import Group
from stream_core.memory.log import Entry, PartitionLog
from stream_core.memory.wakeup import Wakeup
from stream_core.records import TP, GroupMetadata, Offset

__all__ = ["Identity", "Transactions"]


class Identity(NamedTuple):
    """Who a transactional producer is: its id in the log, and the epoch that a successor passes."""

    transactional_id: str
    producer_id: int
    epoch: int


@dataclass(slots=True)
class _State:
    """The broker's side of one transactional id; ``committed`` is the last decision, ``None`` while it is open."""

    identity: Identity
    logs: set[PartitionLog] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)
    committed: bool | None = None


class Transactions:
    """The transactional ids of one cluster.

    Args:
        wakeup: rung when a transaction is decided.
    """

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._states: dict[str, _State] = {}
        self._producer_ids = count(1)

    def begin_epoch(self, transactional_id: str) -> Identity:
        """Give out the next epoch of an id (InitProducerId): the open transaction of the one before is aborted."""
        state = self._states.get(transactional_id)
        if state is None:
            identity = Identity(transactional_id, next(self._producer_ids), 0)
            self._states[transactional_id] = _State(identity)
            return identity
        self._decide(state, commit=False)
        state.identity = state.identity._replace(epoch=state.identity.epoch + 1)
        return state.identity

    def append(self, identity: Identity, log: PartitionLog, entries: Sequence[Entry]) -> int:
        """Append records to the open transaction; returns the first offset. Raises FencedError."""
        state = self._state(identity)
        state.committed = None
        state.logs.add(log)
        return log.append(entries, identity.producer_id)

    def add_offsets(
        self, identity: Identity, offsets: Mapping[TP, Offset], group: Group, metadata: GroupMetadata
    ) -> None:
        """Let offsets of a group become committed with the open transaction. Raises FencedError and CommitError."""
        state = self._state(identity)
        group.check(metadata)
        group.offsets.add_pending(identity.producer_id, offsets)
        state.committed = None
        state.groups.add(group)

    def end(self, identity: Identity, *, commit: bool) -> None:
        """Decide the open transaction; deciding it again the same way does nothing.

        Raises:
            FencedError: a successor began its epoch, or the transaction timed out.
            TransportError: it has been decided the other way.
        """
        state = self._state(identity)
        if state.committed is not None and state.committed != commit:
            decision = "committed" if state.committed else "aborted"
            raise TransportError(f"the transaction of {identity.transactional_id} is {decision} already")
        self._decide(state, commit=commit)

    def expire(self, transactional_id: str) -> None:
        """Abort the open transaction as if its timeout had passed: its producer finds itself fenced."""
        self.begin_epoch(transactional_id)

    def _state(self, identity: Identity) -> _State:
        """The state of a producer that is not fenced."""
        state = self._states[identity.transactional_id]
        if state.identity != identity:
            raise FencedError(
                f"producer epoch {identity.epoch} of {identity.transactional_id} is fenced, the current one is "
                f"{state.identity.epoch}: a newer producer took over, or the transaction timed out"
            )
        return state

    def _decide(self, state: _State, *, commit: bool) -> None:
        """Write the control records and the offsets, all in one turn of the loop."""
        for log in state.logs:
            log.end_transaction(state.identity.producer_id, commit=commit)
        for group in state.groups:
            group.offsets.end_transaction(state.identity.producer_id, commit=commit)
        state.logs, state.groups, state.committed = set(), set(), commit
        self._wakeup.notify()
