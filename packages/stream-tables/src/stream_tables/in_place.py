"""Values that an event changes in place and does not assign: the change would be lost, so the event fails.

What a table gives is a copy, and what it keeps of a value are its bytes. So ``table[key].append(1)`` changes nothing, silently. Where
this is looked for, each value that can change in place is remembered with its bytes when an event reads or assigns it, and encoded
again when the event finishes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stream_core.errors import EncodeError
from stream_core.streams.effects import Effects
from stream_tables.errors import NotAssignedError
from stream_tables.values import is_fixed

__all__ = ["MOST", "InPlace"]

MOST = 1000
"""Values of one table that are remembered for an event; an iteration over a large table is not looked at beyond that."""


class Lent(NamedTuple):
    """A value that an event has of a table.

    Attributes:
        key: the key, encoded.
        value: the value.
        data: its bytes at that time.
        changes: how many changes the event had made by then.
    """

    key: bytes
    value: object
    data: bytes
    changes: int


class InPlace:
    """The values of one table partition that open events have.

    Args:
        table: name of the table.
        overlay: its changes, as they stand in the undo log of an event.
        encode: encodes a value.
        kept: the bytes that the table has of a key; ``None`` for nothing.
        show: makes a key readable.

    Attributes:
        show: the same.
    """

    def __init__(
        self,
        table: str,
        overlay: object,
        *,
        encode: Callable[[object], bytes],
        kept: Callable[[bytes], bytes | None],
        show: Callable[[bytes], str],
    ) -> None:
        self._table = table
        self._overlay = overlay
        self._encode = encode
        self._kept = kept
        self.show = show
        self._lent: dict[Effects, list[Lent]] = {}

    def lend(self, effects: Effects | None, key: bytes, value: object) -> None:
        """Remember a value that the open event has read or assigned, and may change."""
        if effects is None or effects.atom is None or is_fixed(value):
            return
        lent = self._lent.get(effects)
        if lent is None:
            lent = self._lent[effects] = []
            effects.checks.append(self)
            effects.attention = True
        if len(lent) < MOST:
            lent.append(Lent(key, value, self._encode(value), len(effects.undo)))

    def check(self, effects: Effects) -> None:
        """Raise NotAssignedError when the open event has changed a value in place and the table does not have the change.

        It may have it under another key, or have got another value for the key meanwhile: then the changed one was a means to an end.
        """
        lent = self._lent.get(effects, [])
        for one in lent:
            try:
                now = self._encode(one.value)
            except EncodeError:
                now = None
            if now == one.data or self._assigned_since(effects, one):
                continue
            if not any(other.value is one.value and self._kept(other.key) == now for other in lent):
                key = self.show(one.key)
                raise NotAssignedError(
                    f"table {self._table}: the value of {key} was changed but not assigned, so that the change would be lost: "
                    f"write {self._table}[{key}] = value after the change"
                )

    def _assigned_since(self, effects: Effects, lent: Lent) -> bool:
        changes = effects.undo[lent.changes :]
        return any(overlay is self._overlay and key == lent.key for overlay, key, _ in changes)

    def forget(self, effects: Effects) -> None:
        """Forget the values of an event that is over."""
        self._lent.pop(effects, None)
