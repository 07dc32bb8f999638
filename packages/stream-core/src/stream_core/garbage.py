"""How often the garbage collector of a worker's process looks: the records that wait are new objects, and none of them is garbage."""

from __future__ import annotations

import gc

__all__ = ["COLLECTOR", "MOST", "NEW", "OLDER", "Collector"]

NEW = 20_000
"""New objects, beside the records that wait, after which the collector looks at what is new."""

MOST = 150_000
"""New objects after which it looks in any case. What it has walked once counts no more, so that garbage may take the place of records."""

OLDER = 5, 2
"""How often it does until it looks at those that were left, too, and how often it does that until it looks at all."""

OBJECTS = 2
"""Objects of a record that the collector knows: itself, and the list of its headers."""


class Collector:
    """The garbage collector of the process, which knows how many records wait.

    It counts the objects that were made and not freed since it looked last. A fetch makes tens of thousands of records at a time. So
    at Python's 700 it walks them over and over, which takes a third of the time of a consumer, and at 20,000 each once, which takes a
    sixth. So their number goes on top, up to what four partitions with a fetch of small records each have.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, int] = {}
        self._said: tuple[int, ...] | None = None

    @property
    def managed(self) -> bool:
        """Whether this process is that of a worker, so that it is worth counting how many records wait."""
        return self._said is not None

    def look_less_often(self) -> None:
        """Let it look after 20,000 new objects that are no records, and leave out what is loaded: that lives as long as the process."""
        gc.freeze()
        self._say()

    def wait(self, owner: object, records: int) -> None:
        """Say how many records wait in an engine; nothing follows unless the process is that of a worker.

        Args:
            owner: who has them.
            records: their number.
        """
        if records:
            self._waiting[owner] = records
        else:
            self._waiting.pop(owner, None)
        if gc.get_threshold() == self._said:  # else the program has said something of its own, or is no worker
            self._say()

    def _say(self) -> None:
        gc.set_threshold(min(NEW + OBJECTS * sum(self._waiting.copy().values()), MOST), *OLDER)
        self._said = gc.get_threshold()  # Python 3.14 has no third one


COLLECTOR = Collector()
"""That of this process: there is only one."""
