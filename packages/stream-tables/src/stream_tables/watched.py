"""What sensors hear of tables: where one overrides a callback for each access, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_core.sensors import Sensors
    from stream_core.streams.effects import Effects
    from stream_tables.partition import TablePartition

__all__ = ["watched"]


def watched(part: TablePartition[Any], table: Any, decode: Callable[[bytes], Any], sensors: Sensors) -> Any:
    """Put a partition of a table behind what tells sensors of each access to it."""
    return cast("Any", _Watched(part, table, decode, sensors))


class _Overlay:
    """An overlay that nobody writes: a table takes no short cut past the partition then."""

    writer = object()

    def __init__(self, part: TablePartition[Any]) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part.overlay, name)


class _Watched:
    def __init__(self, part: TablePartition[Any], table: Any, decode: Callable[[bytes], Any], sensors: Sensors) -> None:
        self._part = part
        self._table = table
        self._decode = decode
        self._sensors = sensors
        self.overlay = _Overlay(part)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """The class of the partition: kinds of windows ask for the one that they work with."""
        return type(self._part)

    def get(self, effects: Effects | None, key: bytes) -> Any:
        self._sensors.tell("on_table_get", self._table, self._decode(key))
        return self._part.get(effects, key)

    def committed_value(self, key: bytes) -> Any:
        self._sensors.tell("on_table_get", self._table, self._decode(key))
        return self._part.committed_value(key)

    def set(self, effects: Effects, key: bytes, value: Any) -> None:
        self._part.set(effects, key, value)
        self._sensors.tell("on_table_set", self._table, self._decode(key), value)

    def put(self, effects: Effects, row: bytes, value: Any) -> None:
        """Set the value of a window; its key is that of the row, with the range of the window."""
        self._part.put(effects, row, value)  # type: ignore[attr-defined]
        self._sensors.tell("on_table_set", self._table, self._decode(row), value)

    def delete(self, effects: Effects, key: bytes) -> None:
        self._part.delete(effects, key)
        self._sensors.tell("on_table_del", self._table, self._decode(key))
