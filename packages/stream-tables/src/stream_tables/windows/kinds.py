"""What a kind of window has to say: which windows an instant lies in, and what an event does to them.

Inside all times are whole milliseconds since the epoch; floats are in labels only.
"""

from __future__ import annotations

import operator
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final, NamedTuple

from stream_core.errors import ConfigurationError
from stream_core.streams.effects import Effects
from stream_tables.values import Absent
from stream_tables.windows.partition import WindowedPartition
from stream_tables.windows.rows import Layout, LogKeys

__all__ = [
    "ASSIGN",
    "NAMES",
    "OPERATIONS",
    "Change",
    "Closing",
    "Seconds",
    "Window",
    "WindowRange",
    "label",
    "milliseconds",
]

Seconds = float | timedelta
"""A length of time: seconds, or a timedelta."""

_LONGEST = 1000 * 366 * 86_400 * 1000
"""Milliseconds of the longest window, a thousand years: no sum of times comes near to what eight bytes hold."""

ASSIGN: Final = "="

OPERATIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ASSIGN: lambda before, operand: operand,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "^": operator.xor,
    "|": operator.or_,
}
"""What an event can do to the value of a window, by the name under which a kind may keep it."""


NAMES: Final[Mapping[Any, str]] = {function: name for name, function in OPERATIONS.items()}
"""The other way around."""


class WindowRange(NamedTuple):
    """Begin and end of a window as labels, in seconds since the epoch.

    The end of a tumbling or hopping window is the last tenth of a second in it, as in Faust, and the last millisecond of one that is
    shorter than that: nothing is compared with it.
    """

    start: float
    end: float


class Change(NamedTuple):
    """What an event does to the value of a window.

    Attributes:
        operation: a name in :data:`OPERATIONS`, or a function of a user's.
        operand: the value on the right-hand side.
    """

    operation: str | Callable[[Any, Any], Any]
    operand: Any

    @property
    def function(self) -> Callable[[Any, Any], Any]:
        """The function of the value before and the operand."""
        return OPERATIONS[self.operation] if isinstance(self.operation, str) else self.operation


class Closing(NamedTuple):
    """A window that closes.

    Attributes:
        key: its key, encoded.
        range: its labels.
        value: its last value.
    """

    key: bytes
    range: WindowRange
    value: Any


class Window(Layout):
    """A kind of window.

    Args:
        expires: seconds for which a window can be read after its end; ``None`` for ever.
        grace: seconds for which events still change it after its end; as long as it can be read when left out.

    Attributes:
        expires: seconds, or ``None``.
        keeps: milliseconds of ``expires``.
        waits: milliseconds of the grace; ``None`` when windows never close.

    Raises:
        ConfigurationError: a length of time is none, or the grace is longer than a window can be read.
    """

    tumbling = False

    part_type = WindowedPartition

    def __init__(self, expires: Seconds | None, grace: Seconds | None) -> None:
        self.keeps = None if expires is None else milliseconds(expires, "expires", least=0)
        self.waits = self.keeps if grace is None else milliseconds(grace, "grace", least=0)
        self.expires = None if self.keeps is None else self.keeps / 1000
        self.grace = None if self.waits is None else self.waits / 1000
        if self.keeps is not None and self.waits is not None and self.waits > self.keeps:
            raise ConfigurationError(
                f"a window cannot take events for grace={self.grace:g} s after its end and be gone after expires={self.expires:g} s: "
                "let it expire later"
            )

    # -- what an event does, on encoded keys, within its effects

    @abstractmethod
    def change(
        self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int, change: Change
    ) -> bool:
        """Change every window of ``key`` that ``at`` lies in and that is open, and no other.

        Args:
            part: the table partition, whose ``put``, ``get``, ``delete`` and ``range`` are to be used.
            effects: of the event.
            key: the key.
            at: the instant of the event.
            time: the time of the partition, this event included.
            change: what is done to each value; a value that is not there begins with :meth:`WindowedPartition.fresh`.

        Returns:
            whether there was an open one: if not, the event is late.
        """

    def add(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, operand: Any) -> bool:
        """Add a number to the window of an event in the shortest way; do nothing, and return false, where that does not do.

        Args:
            part: the table partition.
            effects: of the event.
            key: the key.
            at: the instant of the event.
            operand: what is added.
        """
        return False

    @abstractmethod
    def delete(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int) -> bool | None:
        """Delete every open window of ``key`` that ``at`` lies in; ``None`` when none is open, else whether one was there."""

    # -- the windows of a changelog and of a table as a whole

    def row_of(self, keys: LogKeys, key: bytes, start: float, end: float) -> bytes | None:
        """Give the row of the window of a key with these labels; ``None`` where no window has them."""
        return self.to_row(keys, keys.write(key, start, end))

    @abstractmethod
    def row_at(self, key: bytes, at: int) -> bytes:
        """Give the row that has the value after an assignment at an instant, where there is none yet."""

    # -- reading; effects are ``None`` outside of events

    @abstractmethod
    def value(self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, at: int) -> Any | Absent:
        """Give the value of the latest window of ``key`` that ``at`` lies in, or ABSENT."""

    @abstractmethod
    def within(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, start: float, end: float
    ) -> Any | Absent:
        """Give the value of the window of ``key`` with these labels, or ABSENT."""

    @abstractmethod
    def of_key(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes
    ) -> Iterator[tuple[WindowRange, Any]]:
        """Give all windows of ``key`` that can be read, the oldest first."""

    @abstractmethod
    def at(self, part: WindowedPartition[Any], effects: Effects | None, at: int) -> Iterator[tuple[bytes, Any]]:
        """Give the keys that have a value in the latest window that ``at`` lies in, with that value, in the order of keys."""

    @abstractmethod
    def everything(
        self, part: WindowedPartition[Any], effects: Effects | None
    ) -> Iterator[tuple[bytes, WindowRange, Any]]:
        """Give all windows that can be read."""

    @abstractmethod
    def closing(self, part: WindowedPartition[Any], effects: Effects, row: bytes) -> Closing | None:
        """Give the window of a row; ``None`` where there is none any more."""

    def __repr__(self) -> str:
        lengths = {"expires": self.expires, "grace": self.grace}
        more = "".join(f", {name}={length:g}" for name, length in lengths.items() if length is not None)
        return f"<{self.name} ms{more}>"


def label(at: int) -> float:
    """Give an instant in seconds."""
    return at / 1000


def milliseconds(length: Seconds, what: str, *, least: int = 1) -> int:
    """Give a length of time in whole milliseconds.

    Args:
        length: seconds, or a timedelta.
        what: its name, for the message.
        least: the fewest milliseconds that make sense.

    Raises:
        ConfigurationError: it is shorter, not a whole number of milliseconds, or no length at all.
    """
    if isinstance(length, timedelta):
        exact = length / timedelta(milliseconds=1)
    elif isinstance(length, (int, float)) and not isinstance(length, bool):
        exact = length * 1000
    else:
        raise ConfigurationError(f"{what}={length!r} is not a length of time: give seconds, or a timedelta")
    if not exact < _LONGEST:
        raise ConfigurationError(f"{what}={length!r} is too long for a window: leave expires out for windows that stay")
    whole = round(exact)
    if abs(whole - exact) > 1e-6 * max(1.0, abs(exact)) or whole < least:
        raise ConfigurationError(
            f"{what}={length!r}: windows are measured in whole milliseconds, and this one must have at least {least}"
        )
    return whole
