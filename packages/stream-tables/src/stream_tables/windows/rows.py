"""How windows lie in a store and in a changelog: rows, their order, and the keys that the changelog has for them.

Inside all times are whole milliseconds since the epoch. Two row keys are reserved, shorter than any other and before all of them: the time
of a partition, and how far its windows are closed. They lie in the layers of the overlay like any row, so that they are taken back with
the event that moved them, cut with it, and stored and recovered with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, MutableMapping
from typing import Any, ClassVar, Final

import msgspec

from stream_core.ports import KeyRange, Store
from stream_core.values.schemas import Schema

__all__ = [
    "BEHIND",
    "CLOSED",
    "EARLIEST",
    "FURTHEST",
    "LATEST",
    "NEVER",
    "ROWS",
    "TIME",
    "Layout",
    "LogKeys",
    "big_endian",
    "number",
]

TIME: Final = b"\0"
"""The row that has the time of a partition."""

CLOSED: Final = b"\0\0"
"""The row that says before which row all windows of a partition are closed."""

ROWS: Final = bytes(8)
"""No row of a window is less than this, and all reserved ones are."""

BEHIND: Final = b"\xff"
"""All rows that are in the order of time are less than this."""

NEVER: Final = -(2**62)
"""The time of a partition that no event has changed yet, in milliseconds."""

_SIGN = 1 << 63

LATEST: Final = 1e12
"""Seconds of the latest label, some thirty thousand years: what anybody may write into a changelog still fits into eight bytes."""

EARLIEST: Final = -900_000_000_000_000
"""Milliseconds of the earliest instant: the labels of the longest window before it are still read from a changelog. It is in no window."""

FURTHEST: Final = -EARLIEST
"""Milliseconds of the last instant, which no clock will show: what is said of a later one is said of it."""


class Layout(ABC):
    """How the windows of one kind lie in a store and a changelog.

    Attributes:
        keeps: milliseconds for which a window can be read after its end; ``None`` for ever.
        part_type: what a partition of a table is that has them.
    """

    keeps: int | None
    part_type: ClassVar[type[Any]]

    @property
    @abstractmethod
    def name(self) -> str:
        """Kind and sizes as text: a store or record that was written for another one is not read."""

    @property
    @abstractmethod
    def span(self) -> int:
        """The most milliseconds between the first event of a window and its end."""

    # -- closing and expiry, in the order of rows from :data:`ROWS` on, which is that of the ends of windows

    @abstractmethod
    def bound(self, time: int) -> bytes:
        """Give the row before which all windows are closed when the partition is at ``time``.

        It should change only where a window may close: what lies before it is looked through each time that it does.
        """

    @abstractmethod
    def due(self, row: bytes, *, told: bool) -> int:
        """Give the time of the partition at which something is to be done about a row.

        Args:
            row: the row.
            told: whether somebody is told that its window closes; else it is when the window expires.
        """

    @abstractmethod
    def expire(
        self, store: Store, changes: MutableMapping[bytes, bytes | None], time: int, closed: bytes | None, begin: bytes
    ) -> Collection[KeyRange]:
        """Let windows go whose end plus ``expires`` is not after ``time``.

        Args:
            store: what is stored.
            changes: what is stored next, by row; rows that are gone are taken out, and deletions may be added.
            time: the committed time of the partition.
            closed: the row before which all windows are closed; ``None`` when nobody is told that they close.
            begin: the row before which nothing is left: a scan that begins before it crosses all that was deleted.

        Returns:
            ranges of rows to delete.
        """

    # -- the changelog

    @abstractmethod
    def to_log(self, keys: LogKeys, row: bytes) -> bytes | None:
        """Give the key of a row in the changelog; ``None`` when the row follows from others."""

    @abstractmethod
    def to_row(self, keys: LogKeys, key: bytes) -> bytes | None:
        """Give the row of a key in the changelog; ``None`` when it is not a window of this kind."""

    def payload(self, data: bytes) -> bytes:
        """Give the value in what a record of the changelog has, encoded."""
        return data

    def last(self, data: bytes) -> float | None:
        """Give the second label of a window, in seconds, where what a record of the changelog has says it; ``None`` where its key does."""
        return None

    def derived(self, store: Store, changes: Mapping[bytes, bytes | None]) -> Mapping[bytes, bytes | None]:
        """Give the rows that follow from others, when changes are stored."""
        return {}


class LogKeys:
    """Keys of windows in a changelog: in JSON, as Faust writes them, ``["key",[start,end]]``.

    A key whose bytes are no JSON stands after a byte that JSON does not have, the number of labels, and each of them in milliseconds.
    """

    def __init__(self, schema: Schema) -> None:
        self._json = schema.key_codec == "json"
        self._decode = msgspec.json.Decoder(tuple[msgspec.Raw, list[float]]).decode

    def write(self, key: bytes, *labels: float) -> bytes:
        """Make the changelog key of a window from its key and its labels in seconds."""
        if self._json:
            return b"[%b,[%b]]" % (key, ",".join(map(repr, labels)).encode())
        return b"\xff%c%b%b" % (len(labels), b"".join(big_endian(round(one * 1000)) for one in labels), key)

    def read(self, data: bytes) -> tuple[bytes, list[float]] | None:
        """Give key and labels of a changelog key, which may have one label; ``None`` when it is none of a window."""
        if not self._json:
            end = 2 + 8 * data[1] if data[:1] == b"\xff" and len(data) > 2 else len(data) + 1
            if end > len(data):
                return None
            key, labels = data[end:], [number(data[at : at + 8]) / 1000 for at in range(2, end, 8)]
        else:
            try:
                key, labels = self._decode(data)
            except (ValueError, RecursionError):
                return None
        return (bytes(key), labels) if labels and max(map(abs, labels)) < LATEST else None


def big_endian(number: int) -> bytes:
    """Give eight bytes that are in the order of numbers, negative ones included."""
    return (number + _SIGN).to_bytes(8)


def number(data: bytes) -> int:
    """Read what :func:`big_endian` has written."""
    return int.from_bytes(data) - _SIGN
