"""The committed offsets of one group, and those that open transactions want to commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_core.errors import CommitError
from stream_core.records import TP, Offset

__all__ = ["GroupOffsets"]

_METADATA_BYTES = 4096  # the default of Kafka's offset.metadata.max.bytes


class GroupOffsets:
    """Committed offsets, and pending ones by producer id: those make a stable fetch wait (KIP-447)."""

    def __init__(self) -> None:
        self._committed: dict[TP, Offset] = {}
        self._pending: dict[int, dict[TP, Offset]] = {}

    def commit(self, offsets: Mapping[TP, Offset]) -> None:
        """Commit offsets at once. Raises CommitError when a metadata text is too long."""
        _check(offsets)
        self._committed.update(offsets)

    def add_pending(self, producer_id: int, offsets: Mapping[TP, Offset]) -> None:
        """Note offsets that become committed with a transaction. Raises CommitError when a metadata text is too long."""
        _check(offsets)
        self._pending.setdefault(producer_id, {}).update(offsets)

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Decide the pending offsets of a producer."""
        pending = self._pending.pop(producer_id)
        if commit:
            self._committed.update(pending)

    def stable(self, tps: Collection[TP]) -> bool:
        """Whether no open transaction wants to commit an offset of these partitions."""
        return not any(tp in pending for pending in self._pending.values() for tp in tps)

    def fetch(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """The committed offsets; ``None`` for partitions without one."""
        return {tp: self._committed.get(tp) for tp in tps}

    def forget(self, topic: str) -> None:
        """Drop the offsets of a topic that was deleted, as Kafka does."""
        for offsets in (self._committed, *self._pending.values()):
            for tp in [tp for tp in offsets if tp.topic == topic]:
                del offsets[tp]


def _check(offsets: Mapping[TP, Offset]) -> None:
    """Raise CommitError when the broker would not take the metadata of one of these offsets."""
    for tp, offset in offsets.items():
        size = len(offset.metadata.encode())
        if size > _METADATA_BYTES:
            message = f"the commit metadata of topic {tp.topic}, partition {tp.partition} has {size} bytes"
            raise CommitError(f"{message}; brokers take {_METADATA_BYTES}")
