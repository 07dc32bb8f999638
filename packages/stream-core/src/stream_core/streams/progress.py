"""Which offsets are finished when events finish in any order.

The rule is one sentence: the position is the smallest offset that was delivered and is not finished, else the offset
behind the last delivered one. Offsets that were never delivered (compacted away, control records, aborted
transactions) play no part, so there are no gaps to reason about. An actor that works in order does not need this class:
its position is the offset of the record under its cursor.
"""

from __future__ import annotations

import heapq

__all__ = ["Progress"]


class Progress:
    """Delivered, unfinished offsets of one partition and subscriber.

    Args:
        position: where delivery begins.
    """

    __slots__ = ("_next", "_offsets", "_open")

    def __init__(self, position: int) -> None:
        self._next = position
        self._offsets: list[int] = []
        self._open: set[int] = set()

    def deliver(self, offset: int) -> None:
        """Count an event that was handed over. Offsets are delivered in rising order.

        Raises:
            ValueError: ``offset`` was delivered before.
        """
        if offset < self._next:
            raise ValueError(f"offset {offset} was delivered before; the next one is {self._next} or higher")
        heapq.heappush(self._offsets, offset)
        self._open.add(offset)
        self._next = offset + 1

    def finish(self, offset: int) -> None:
        """Take an event for finished. Finishing what is not open does nothing."""
        self._open.discard(offset)
        while self._offsets and self._offsets[0] not in self._open:
            heapq.heappop(self._offsets)

    def advance(self, offset: int) -> None:
        """Let delivery go on at ``offset``: what lies below was delivered, or is no event."""
        self._next = max(self._next, offset)

    @property
    def position(self) -> int:
        """The offset to commit: every event below it is finished."""
        return self._offsets[0] if self._offsets else self._next

    @property
    def unfinished(self) -> int:
        """How many delivered events are not finished."""
        return len(self._open)
