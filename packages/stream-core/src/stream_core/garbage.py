"""How often the garbage collector of a worker's process looks: the records that wait are new objects, and none of them is garbage."""

from __future__ import annotations

import gc

__all__ = ["COLLECTOR", "NEW", "OLDER", "Collector"]

NEW = 20_000
"""New objects, beside the records that wait, after which the collector looks at what is new."""

OLDER = 50, 2
"""How often it does until it looks at those that were left, too, and how often it does that until it looks at all."""

OBJECTS = 2
"""Objects of a record that the collector knows: itself, and the list of its headers."""


class Collector:
    """The garbage collector of the process, which knows how many records wait.

    It counts the objects that were made and not freed since it looked last. A fetch makes tens of thousands of records at a time. So
    at Python's 700 it walks them over and over, which takes a third of the time of a consumer, and at 20,000 each once, which takes a
    sixth. Their number goes on top, and what garbage may take beside them stays as small.
    """

    def __init__(self) -> None:
        self._waiting: dict[object, int] = {}
        self._said: int | None = None

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
        if (
            self._said is not None and gc.get_threshold()[0] == self._said
        ):  # else the program has said something of its own
            self._say()

    def _say(self) -> None:
        self._said = NEW + OBJECTS * sum(self._waiting.copy().values())
        gc.set_threshold(self._said, *OLDER)


COLLECTOR = Collector()
"""That of this process: there is only one."""
