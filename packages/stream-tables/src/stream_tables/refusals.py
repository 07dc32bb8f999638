"""Changelog records that the broker refused for good: an event that makes the same change again fails, and not the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stream_core.engine.participants import Change, Interval, Reading
from stream_core.errors import RecordRefusedError
from stream_tables.values import Entry, Values

__all__ = ["Refusals"]


class Refusal(NamedTuple):
    """A changelog record that the broker refused.

    Attributes:
        value: its value; ``None`` for a deletion.
        until: the offsets after the events that may have made it, by reading; those that are committed are taken out.
        why: what the broker said. The error itself would keep all that its frames have, such as the changes of the dropped interval.
    """

    value: bytes | None
    until: dict[Reading, int]
    why: str


class Refusals:
    """What was refused of one table partition, until the events that made it are committed without it.

    Args:
        table: name of the table.
        values: what is stored for an entry of the overlay, and how a key is shown.
    """

    def __init__(self, table: str, values: Values[Any]) -> None:
        self._table = table
        self._values = values
        self._by_key: dict[bytes, list[Refusal]] = {}
        self._met = False  # since the last refusal an event has failed by one

    def __bool__(self) -> bool:
        return bool(self._by_key)

    def add(self, change: Change, intervals: Mapping[Reading, Interval], error: RecordRefusedError) -> bool:
        """Remember that a record was refused, with the intervals of the events that made it.

        Returns whether remembering helps: nothing else is remembered, or an event has failed by that since the last refusal. A key or
        a value that is another one at each run of an event, such as a time, is never met again.
        """
        helps = self._met or not self._by_key
        self._met = False
        until = {reading: interval.end for reading, interval in intervals.items()}
        self._by_key.setdefault(change.key, []).append(Refusal(change.value, until, str(error)))
        return helps

    def guard(self, key: bytes, entry: Entry) -> None:
        """Raise RecordRefusedError for a change whose record was refused."""
        for refusal in self._by_key.get(key, ()):
            if refusal.value == self._values.stored(entry):
                self._met = True
                raise RecordRefusedError(f"table {self._table}, key {self._values.shown(key)}: {refusal.why}")

    def forget(self, intervals: Mapping[Reading, Interval]) -> None:
        """Forget what was refused in events that are committed by now: it was not made again."""
        for key, refusals in list(self._by_key.items()):
            for refusal in refusals:
                for reading, end in list(refusal.until.items()):
                    interval = intervals.get(reading)
                    if interval is not None and interval.end >= end:
                        del refusal.until[reading]
            self._by_key[key] = left = [refusal for refusal in refusals if refusal.until]
            if not left:
                del self._by_key[key]
