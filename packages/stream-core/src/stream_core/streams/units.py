"""How many intervals of a partition had units of work that no record brought.

Offsets say which events are committed. A unit of work has no offset, so a partition counts the intervals in which one has finished, and
commits the count beside its offset. To whoever looks at a changelog it is one more reading of the partition, called :data:`UNITS`: a
record names the counts ``[start, end)`` of its interval, and while the committed count lies in there the record does not count.

The count begins with the milliseconds since the epoch at which somebody first needed it. Where it was lost, as when an operator sets
offsets, it begins anew above all that it ever was, since there are far fewer intervals than milliseconds; so what a changelog says of an
interval that is long past never looks uncommitted.
"""

from __future__ import annotations

from typing import Final

__all__ = ["UNITS", "UnitCount"]

UNITS: Final = "~units"
"""Stands for the name of a reader where a reading or a lead has one."""


class UnitCount:
    """The intervals of one partition in which a unit of work has finished that no record brought.

    Args:
        committed: the count as of the last checkpoint; ``None`` where nobody counts.

    Attributes:
        committed: the same.
        position: the count to commit, fixed by the last cut.
        worked: whether a unit has finished since.
    """

    __slots__ = ("committed", "position", "worked")

    def __init__(self, committed: int | None = None) -> None:
        self.committed = self.position = committed
        self.worked = False

    def cut(self) -> bool:
        """Fix the count to commit; returns whether it differs from the one that is committed."""
        if self.worked and self.committed is not None:
            self.position = self.committed + 1
        self.worked = False
        return self.position != self.committed

    def commit(self) -> None:
        """Take note that the count is committed."""
        self.committed = self.position
