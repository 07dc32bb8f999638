"""Errors that only tables raise; part of the tree in :mod:`stream_core.errors`."""

from __future__ import annotations

from typing import Any

from stream_core.errors import DecodeError, StreamError
from stream_core.events import Event

__all__ = ["NotAssignedError", "PartitionsMismatchError", "TableError", "TableKeyError"]


class TableError(StreamError, TypeError):
    """A table was used as it cannot be: changed outside of an event, or by an agent that may not, or with a key that is none of its type.

    A TypeError, as in Faust.
    """


class PartitionsMismatchError(TableError):
    """The table and the topic of the event have different partition counts, so that keys would meet foreign state."""


class NotAssignedError(TableError):
    """An event changed a value of a table in place and did not assign it, so that the change would be lost."""


class TableKeyError(StreamError, KeyError):
    """A table has no value of a key, and no default. A KeyError: ``args`` are the key, as those of a dictionary's are.

    Args:
        key: the key.
        table: name of the table.
        where: the partitions in which it was looked for, and how many the table has.
        event: the event that looked for it; ``None`` outside of events.
    """

    def __init__(
        self, key: Any, table: str = "", where: tuple[tuple[int, ...], int] = ((), 0), event: Event[Any] | None = None
    ) -> None:
        super().__init__(key)
        self.table = table
        self.where = where
        self.event = event

    def __str__(self) -> str:
        """Say where it was looked for: built only for those who read it, because bodies may catch this error for each event."""
        if not self.table:
            return super().__str__()
        (key,), (partitions, count) = self.args, self.where
        if self.event is None:
            held = ", ".join(map(str, partitions)) or "none"
            return f"table {self.table} has no {key!r} in the partitions that this worker holds ({held} of {count})"
        message = self.event.message
        try:
            its_key = self.event.key
        except DecodeError:
            its_key = message.key
        text = (
            f"table {self.table} has no {key!r} in partition {message.partition} of {count}, where its event is (topic {message.topic}, "
            f"offset {message.offset}, key {its_key!r})"
        )
        if count == 1 or its_key == key:
            return text
        return f"{text}: if another partition has it, group the stream by that key first, with stream.group_by(...)"
