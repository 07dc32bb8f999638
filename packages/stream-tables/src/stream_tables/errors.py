"""Errors that only tables raise; part of the tree in :mod:`stream_core.errors`."""

from __future__ import annotations

from stream_core.errors import StreamError

__all__ = ["PartitionsMismatchError", "TableError"]


class TableError(StreamError, TypeError):
    """A table was changed where it cannot be: outside an event, or by an agent that may not. A TypeError, as in Faust."""


class PartitionsMismatchError(TableError):
    """The table and the topic of the event have different partition counts, so that keys would meet foreign state."""
