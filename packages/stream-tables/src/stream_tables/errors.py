"""Errors that only tables raise; part of the tree in :mod:`stream_core.errors`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_core.errors import StreamError

if TYPE_CHECKING:
    from stream_core.primitives import RawRecord
    from stream_core.streams.effects import Session

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

    A body may catch this for each event, so it is made without a call, and what it says is put together for those who read it.

    Attributes:
        missed: name of the table, the partitions in which the key was looked for, how many the table has, and session and record of the
            event; ``None`` when nothing is known.
    """

    missed: tuple[str, tuple[int, ...], int, Session | None, RawRecord | None] | None = None

    def __str__(self) -> str:
        """Say where the key was looked for, and how it gets there."""
        if self.missed is None:
            return super().__str__()
        (key,), (table, partitions, count, session, record) = self.args, self.missed
        if session is None or record is None:
            if not count:
                return f"table {table} has no {key!r}: the app is not started, so that nothing of the table is here"
            held = ", ".join(map(str, partitions)) or "none"
            return f"table {table} has no {key!r} in the partitions that this worker holds ({held} of {count})"
        try:
            its_key = session.schema.read_key(record)
        except Exception:
            its_key = record.key
        text = (
            f"table {table} has no {key!r} in partition {session.partition} of {count}, where its event is (topic {session.tp.topic}, "
            f"offset {record.offset}, key {its_key!r})"
        )
        if count == 1 or its_key == key:
            return text
        return f"{text}: if another partition has it, group the stream by that key first, with stream.group_by(...)"
