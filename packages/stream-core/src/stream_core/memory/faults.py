"""Failures of the in-process broker on demand: what a test needs to see the other side of an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from stream_core.errors import ConfigurationError, TransportError
from stream_core.primitives import TP

__all__ = ["OPERATIONS", "Faults"]

OPERATIONS = frozenset(
    {
        "connect",
        "create_topics",
        "delete_topics",
        "describe_log_dirs",
        "end_txn",
        "fetch",
        "heartbeat",
        "init_producer_id",
        "join_group",
        "leave_group",
        "list_offsets",
        "metadata",
        "offset_commit",
        "offset_fetch",
        "produce",
        "txn_offset_commit",
    }
)
"""The requests that can be made to fail, under the names of Kafka's protocol; ``connect`` is the start of any client."""


class _Fault(NamedTuple):
    error: TransportError
    applied: bool


class Faults:
    """The failures that a cluster has been told to show.

    Attributes:
        muted: member ids whose heartbeats get lost, in both directions: such a member is taken out of its group when its
            session is over, and hears of that by the first commit that is refused. That is what a process looks like
            that was stopped and continued, or cut off.
        damaged: partitions that cannot be read, each with the reason.
        garbled: why, by partition and offset, for records that are handed out as ones whose bytes are no whole record.
        sizes_hidden: whether nobody is told the sizes of partitions, as those who may not describe a cluster.
    """

    def __init__(self) -> None:
        self.muted: set[str] = set()
        self.damaged: dict[TP, str] = {}
        self.garbled: dict[TP, dict[int, str]] = {}
        self.sizes_hidden = False
        self._next: dict[str, list[_Fault]] = {}
        self._held: dict[TP, list[Callable[[], None]]] = {}

    def fail_next(self, operation: str, error: TransportError, *, applied: bool = False) -> None:
        """Make the next request of a kind fail; called n times, the next n.

        Args:
            operation: one of :data:`OPERATIONS`.
            error: what the client is to raise.
            applied: the broker does what was asked and only the answer is lost: the outcome is undecided for the client.

        Raises:
            ConfigurationError: there is no such operation.
        """
        if operation not in OPERATIONS:
            raise ConfigurationError(f"no operation {operation!r} can fail; known are {', '.join(sorted(OPERATIONS))}")
        self._next.setdefault(operation, []).append(_Fault(error, applied))

    @contextmanager
    def at(self, operation: str) -> Iterator[None]:
        """Wrap what the broker does for a request: raises before it or after it when the request is to fail."""
        faults = self._next.get(operation)
        fault = faults.pop(0) if faults else None
        if fault is not None and not fault.applied:
            raise fault.error
        yield
        if fault is not None:
            raise fault.error

    def pause_acks(self, tp: TP) -> None:
        """Keep back the acknowledgements of a partition: records sent to it are appended, but nobody is told."""
        self._held.setdefault(tp, [])

    def resume_acks(self, tp: TP) -> None:
        """Acknowledge what was kept back, and everything from now on."""
        for acknowledge in self._held.pop(tp, []):
            acknowledge()

    def acknowledge(self, tp: TP, acknowledge: Callable[[], None]) -> None:
        """Call ``acknowledge``: now, or when the acknowledgements of the partition are resumed."""
        if tp in self._held:
            self._held[tp].append(acknowledge)
        else:
            acknowledge()
