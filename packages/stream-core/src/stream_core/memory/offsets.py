"""The committed offsets of one group, and those that open transactions want to commit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from stream_core.errors import CommitError
from stream_core.primitives import TP, Offset

__all__ = ["GroupOffsets"]

_METADATA_MAX = 4096  # the default of Kafka's offset.metadata.max.bytes, which counts UTF-16 units


class GroupOffsets:
    """Committed offsets, and pending ones by producer id: those make a stable fetch wait (KIP-447)."""

    def __init__(self) -> None:
        self._committed: dict[TP, Offset] = {}
        self._pending: dict[int, dict[TP, Offset]] = {}

    def commit(self, offsets: Mapping[TP, Offset]) -> None:
        """Commit offsets at once. Raises CommitError when a metadata text is too long; other partitions are committed."""
        accepted, refusal = _checked(offsets)
        self._committed.update(accepted)
        if refusal is not None:
            raise refusal

    def add_pending(self, producer_id: int, offsets: Mapping[TP, Offset]) -> None:
        """Note offsets that become committed with a transaction. Raises CommitError when a metadata text is too long."""
        _, refusal = _checked(offsets)
        if refusal is not None:  # the transaction cannot be committed any more: nothing of it need be kept
            raise refusal
        self._pending.setdefault(producer_id, {}).update(offsets)

    def end_transaction(self, producer_id: int, *, commit: bool) -> None:
        """Decide the pending offsets of a producer."""
        pending = self._pending.pop(producer_id)
        if commit:
            self._committed.update(pending)

    def stable(self, tps: Collection[TP]) -> bool:
        """Tell whether no open transaction wants to commit an offset of these partitions."""
        return not any(tp in pending for pending in self._pending.values() for tp in tps)

    def decided(self) -> bool:
        """Tell whether no open transaction wants to commit anything."""
        return not any(self._pending.values())

    def all(self) -> dict[TP, Offset]:
        """Return all committed offsets."""
        return dict(self._committed)

    def fetch(self, tps: Collection[TP]) -> dict[TP, Offset | None]:
        """Return the committed offsets; ``None`` for partitions without one."""
        return {tp: self._committed.get(tp) for tp in tps}

    def forget(self, topic: str) -> None:
        """Drop the offsets of a topic that was deleted, as Kafka does."""
        for offsets in (self._committed, *self._pending.values()):
            for tp in [tp for tp in offsets if tp.topic == topic]:
                del offsets[tp]


def _checked(offsets: Mapping[TP, Offset]) -> tuple[Mapping[TP, Offset], CommitError | None]:
    """Return the offsets that the broker takes, and the error for the others."""
    sizes = {tp: len(offset.metadata.encode("utf-16-le")) // 2 for tp, offset in offsets.items()}
    refused = [tp for tp, size in sizes.items() if size > _METADATA_MAX]
    if not refused:
        return offsets, None
    tp = refused[0]
    what = f"the commit metadata of topic {tp.topic}, partition {tp.partition} has {sizes[tp]} characters"
    accepted = {tp: offset for tp, offset in offsets.items() if tp not in refused}
    return accepted, CommitError(f"{what}; brokers take {_METADATA_MAX}")
