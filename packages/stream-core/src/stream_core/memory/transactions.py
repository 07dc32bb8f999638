"""The transaction coordinator of the in-process broker: producer ids, epochs, and what an open transaction touches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from stream_core.errors import FencedError, TransactionExpiredError, TransportError
from stream_core.memory.groups import Group
from stream_core.memory.log import Entry, PartitionLog
from stream_core.memory.wakeup import Wakeup
from stream_core.primitives import TP, GroupMetadata, Offset

__all__ = ["Identity", "Transactions"]


class Identity(NamedTuple):
    """Who a transactional producer is: its id in the log, and the epoch that a successor passes."""

    transactional_id: str
    producer_id: int
    epoch: int


@dataclass(slots=True)
class _State:
    """The broker's side of one transactional id.

    Attributes:
        identity: of the producer that may use it.
        timeout: seconds that its transactions may stay open.
        logs: where the open transaction has records.
        groups: where it has offsets.
        committed: the last decision, ``None`` before the first one and while a transaction is open.
        expiry: ends the open transaction, when there is one.
        expired: who had the transaction that timed out last, until a successor begins.
    """

    identity: Identity
    timeout: float
    logs: set[PartitionLog] = field(default_factory=set)
    groups: set[Group] = field(default_factory=set)
    committed: bool | None = None
    expiry: asyncio.TimerHandle | None = None
    expired: Identity | None = None


class Transactions:
    """The transactional ids of one cluster.

    Args:
        wakeup: rung when a transaction is decided.
    """

    def __init__(self, wakeup: Wakeup) -> None:
        self._wakeup = wakeup
        self._states: dict[str, _State] = {}
        self._producer_ids = count(1)

    def begin_epoch(self, transactional_id: str, timeout: float) -> Identity:
        """Give out the next epoch of an id (InitProducerId): the open transaction of the one before is aborted.

        Args:
            transactional_id: the id.
            timeout: seconds that transactions of this epoch may stay open; then they expire.
        """
        state = self._states.get(transactional_id)
        if state is None:
            identity = Identity(transactional_id, next(self._producer_ids), 0)
            self._states[transactional_id] = _State(identity, timeout)
            return identity
        state.timeout = timeout
        self.expire(transactional_id)
        state.expired = None
        return state.identity

    def append(self, identity: Identity, log: PartitionLog, entries: Sequence[Entry]) -> int:
        """Append records to the open transaction; returns the first offset. Raises FencedError, TransactionExpiredError."""
        state = self._state(identity)
        self._open(state)
        state.logs.add(log)
        return log.append(entries, identity.producer_id)

    def add_offsets(
        self, identity: Identity, offsets: Mapping[TP, Offset], group: Group, metadata: GroupMetadata
    ) -> None:
        """Let offsets of a group become committed with the open transaction. Raises FencedError and CommitError."""
        state = self._state(identity)
        group.check(metadata)
        group.offsets.add_pending(identity.producer_id, offsets)
        self._open(state)
        state.groups.add(group)

    def end(self, identity: Identity, *, commit: bool) -> None:
        """Decide the open transaction; deciding it again the same way does nothing.

        Raises:
            FencedError: a successor began its epoch.
            TransactionExpiredError: the transaction timed out.
            TransportError: it has been decided the other way.
        """
        state = self._state(identity)
        if state.committed is not None and state.committed != commit:
            decision = "committed" if state.committed else "aborted"
            raise TransportError(f"the transaction of {identity.transactional_id} is {decision} already")
        self._decide(state, commit=commit)

    def expire(self, transactional_id: str) -> None:
        """Abort the open transaction, as when its timeout has passed: its producer can do nothing more."""
        state = self._states[transactional_id]
        self._decide(state, commit=False)
        state.expired = state.identity
        state.identity = state.identity._replace(epoch=state.identity.epoch + 1)

    def expire_all(self) -> None:
        """Abort every open transaction: the event loop of the producers is gone."""
        for transactional_id, state in self._states.items():
            if state.expiry is not None:
                self.expire(transactional_id)

    def _state(self, identity: Identity) -> _State:
        """Return the state of a producer that is not fenced."""
        state = self._states[identity.transactional_id]
        if state.expired == identity:
            raise TransactionExpiredError(
                f"the transaction of {identity.transactional_id} was open for longer than {state.timeout:g} s and is aborted"
            )
        if state.identity != identity:
            raise FencedError(
                f"producer epoch {identity.epoch} of {identity.transactional_id} is fenced, the current one is "
                f"{state.identity.epoch}: a newer producer took over"
            )
        return state

    def _open(self, state: _State) -> None:
        """Note that a transaction is open, from its first record or offset on."""
        state.committed = None
        if state.expiry is None:
            transactional_id = state.identity.transactional_id
            state.expiry = asyncio.get_running_loop().call_later(state.timeout, self.expire, transactional_id)

    def _decide(self, state: _State, *, commit: bool) -> None:
        """Write the control records and the offsets, all in one turn of the loop."""
        for log in state.logs:
            log.end_transaction(state.identity.producer_id, commit=commit)
        for group in state.groups:
            group.offsets.end_transaction(state.identity.producer_id, commit=commit)
        if state.expiry is not None:
            state.expiry.cancel()
        state.logs, state.groups, state.committed, state.expiry = set(), set(), commit, None
        self._wakeup.notify()
