"""Sliding windows: what happened around an instant, to the millisecond.

The window of an instant reaches from ``before`` it to ``after`` it, both ends included. There is one for every instant, so none of them is
kept: what an event does is kept under its instant, and a window is put together when it is read. ::

    before 10      ──10────15──────21──      at 21: what happened from 11 to 21, that is at 15 and 21
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from stream_core.errors import ConfigurationError
from stream_core.ports import Store
from stream_core.primitives import RawRecord
from stream_core.streams.effects import Effects
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError
from stream_tables.values import ABSENT, Absent
from stream_tables.windows.keyed import KeyedPartition, KeyedWindow, by_key, split
from stream_tables.windows.kinds import ASSIGN, OPERATIONS, Change, Closing, Seconds, WindowRange, label, milliseconds
from stream_tables.windows.rows import LogKeys, big_endian

if TYPE_CHECKING:
    from stream_tables.windows.partition import WindowedPartition

__all__ = ["SlidingWindow"]

DELETE = "delete"

CODES = dict(zip([*OPERATIONS, DELETE], b"=+-*/d%pl>&^|x".replace(b">", b"r"), strict=True))
"""The byte that stands for an operation in a row; what is written must be read, so none may change."""

NAMES = {code: name for name, code in CODES.items()}

MARK = b"\0"
"""What is kept of an instant begins so. Anything else is a value, as Faust writes them."""


class SlidingWindow(KeyedWindow):
    """Windows around each instant.

    Args:
        before: seconds or a timedelta that a window reaches back from its instant.
        after: that it reaches ahead.
        expires: how long a window can be read after its end; ``None`` for ever.
        grace: how far behind the latest event one may be that still counts; as long as a window can be read when left out. A window
            closes that long after its end.

    Attributes:
        before: in seconds.
        after: in seconds.

    Raises:
        ConfigurationError: a length is none, or both are 0.
    """

    def __init__(
        self, before: Seconds, after: Seconds = 0, expires: Seconds | None = None, *, grace: Seconds | None = None
    ) -> None:
        self._before, self._after = milliseconds(before, "before", least=0), milliseconds(after, "after", least=0)
        super().__init__(self._after, self._before, expires, grace)
        self.before, self.after = self._before / 1000, self._after / 1000
        if not self._before + self._after:
            raise ConfigurationError("a sliding window with before=0 and after=0 holds nothing: give one of them")

    @property
    def name(self) -> str:
        """Kind and sizes as text."""
        return f"sliding {self._before} {self._after}"

    # -- arithmetic, as in Faust

    def labels(self, at: int) -> WindowRange:
        """Give the labels of the window of an instant in milliseconds."""
        return WindowRange(label(at - self._before), label(at + self._after))

    def ranges(self, timestamp: float) -> list[WindowRange]:
        """Give the window of an instant, in seconds since the epoch, as a list of one."""
        return [self.current(timestamp)]

    def current(self, timestamp: float) -> WindowRange:
        """Give the window of an instant; seconds since the epoch."""
        return self.labels(round(timestamp * 1000))

    earliest = current

    def delta(self, timestamp: float, d: Seconds) -> WindowRange:
        """Give the window of the instant that is ``d`` before another one; seconds since the epoch."""
        return self.labels(round(timestamp * 1000) - milliseconds(d, "delta", least=0))

    def stale(self, timestamp: float, latest_timestamp: float) -> bool:
        """Tell whether the window of an instant cannot be read any more at a later one; seconds since the epoch."""
        return self.is_gone(round(timestamp * 1000), round(latest_timestamp * 1000))

    # -- events

    def change(
        self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int, change: Change
    ) -> bool:
        """See :meth:`.kinds.Window.change`: keep what is done to every window that the instant lies in.

        An event counts in all of them or in none, so that a window which is closed never changes: the first one that it lies in closes when
        time is the grace after it.

        Raises:
            TableError: it is done by a function, which cannot be kept; or by an operator, and the table has no default.
        """
        assert isinstance(part, KeyedPartition)
        if not isinstance(change.operation, str):
            raise TableError(
                f"table {part.table}: apply() takes operators only, such as operator.add, where windows slide: what is done is kept, and "
                "done when the window is read"
            )
        if not self._takes(at, time):
            return False
        if change.operation != ASSIGN and not part.has_default:
            raise TableError(
                f"table {part.table}: operators need a table with default= where windows slide: the value that one goes on from may "
                "have left the window when it is read"
            )
        self._keep(part, effects, key, at, change.operation, change.operand)
        return True

    def _takes(self, at: int, time: int) -> bool:
        return self.waits is None or at + self.waits >= time

    def _keep(self, part: KeyedPartition, effects: Effects, key: bytes, at: int, operation: str, operand: Any) -> None:
        row = by_key(key) + big_endian(at)
        kept = [] if operation in (ASSIGN, DELETE) else _read(part.data(effects, row))
        if operation == "+" and kept and kept[-1][0] == "+" and type(operand) is int:
            last = part.values.decode(kept[-1][1])
            if type(last) is int:  # many events of one instant: adding them up now changes nothing
                kept.pop()
                operand += last
        data = b"" if operation == DELETE else part.seal(row, operand)
        part.put_data(effects, row, _write([*kept, (operation, data)]))
        if operation == ASSIGN:
            part.lend(effects, row, operand)

    def delete(self, part: WindowedPartition[Any], effects: Effects, key: bytes, at: int, time: int) -> bool | None:
        """See :meth:`.kinds.Window.delete`: what happened up to the instant does not count from there on."""
        assert isinstance(part, KeyedPartition)
        if not self._takes(at, time):
            return None
        if self._fold(part, effects, key, at) is ABSENT:
            return False
        self._keep(part, effects, key, at, DELETE, None)
        return True

    # -- reading

    def _fold(self, part: KeyedPartition, effects: Effects | None, key: bytes, at: int) -> Any | Absent:
        """Do what was kept for the window of an instant, in the order of time."""
        value: Any = ABSENT
        fresh = partial(part.fresh, key)
        for row, _, data in part.of(effects, key, at - self._before, at + self._after):
            value = _do(value, row, data, part.values.read, fresh)
        return value

    def shown(
        self, keys: LogKeys, schema: Schema, default: Callable[[], Any] | None, records: Iterable[RawRecord]
    ) -> Iterator[tuple[Any, Any]]:
        """Give the windows of the instants of all events, by what a changelog has of them, where no worker runs.

        Args:
            keys: reads their keys.
            schema: of the changelog.
            default: makes the value that an operation begins with where there is none.
            records: of all events, in any order.

        Raises:
            ValidationError: a value cannot be read.
        """
        found: dict[bytes, list[tuple[int, RawRecord]]] = {}
        for record in records:
            if (row := self.to_row(keys, record.key or b"")) is not None:
                key, at = split(row)
                found.setdefault(key, []).append((at, record))
        for of_key in found.values():
            of_key.sort(key=itemgetter(0))
            for at, record in of_key:
                value: Any = ABSENT
                for other, one in of_key:
                    if at - self._before <= other <= at + self._after:
                        value = _do(value, b"", one.value, lambda _, data: schema.decode_value(data), default or int)
                if value is not ABSENT:
                    yield schema.read_key(record), value

    def value(self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, at: int) -> Any | Absent:
        """See :meth:`.kinds.Window.value`."""
        assert isinstance(part, KeyedPartition)
        if self.is_gone(at, part.time(effects)):
            return ABSENT
        value = self._fold(part, effects, key, at)
        if value is not ABSENT:
            part.lend(effects, by_key(key) + big_endian(at), value)
        return value

    def within(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes, start: float, end: float
    ) -> Any | Absent:
        """See :meth:`.kinds.Window.within`."""
        at = round(start * 1000) + self._before
        return self.value(part, effects, key, at) if round(end * 1000) == at + self._after else ABSENT

    def of_key(
        self, part: WindowedPartition[Any], effects: Effects | None, key: bytes
    ) -> Iterator[tuple[WindowRange, Any]]:
        """See :meth:`.kinds.Window.of_key`: the windows of the instants of its events."""
        assert isinstance(part, KeyedPartition)
        values = [(at, self.value(part, effects, key, at)) for _, at, _ in list(part.of(effects, key))]
        return iter([(self.labels(at), value) for at, value in values if value is not ABSENT])

    def at(self, part: WindowedPartition[Any], effects: Effects | None, at: int) -> Iterator[tuple[bytes, Any]]:
        """See :meth:`.kinds.Window.at`; all events are looked through."""
        assert isinstance(part, KeyedPartition)
        for key in dict.fromkeys(key for _, key, _, _ in part.all(effects)):
            if (value := self.value(part, effects, key, at)) is not ABSENT:
                yield key, value

    def everything(
        self, part: WindowedPartition[Any], effects: Effects | None
    ) -> Iterator[tuple[bytes, WindowRange, Any]]:
        """See :meth:`.kinds.Window.everything`: the windows of the instants of all events."""
        assert isinstance(part, KeyedPartition)
        for key in dict.fromkeys(key for _, key, _, _ in part.all(effects)):
            for span, value in self.of_key(part, effects, key):
                yield key, span, value

    def closing(self, part: WindowedPartition[Any], effects: Effects, row: bytes) -> Closing | None:
        """See :meth:`.kinds.Window.closing`."""
        assert isinstance(part, KeyedPartition)
        key, start = row[8:-8], row[-8:]
        named = by_key(key) + start
        if part.data(effects, named) is None:
            return None
        at = split(named)[1]
        value = self._fold(part, effects, key, at)
        return None if value is ABSENT else Closing(key, self.labels(at), value)

    # -- rows

    def instant(self, row: bytes, data: bytes) -> bytes:
        """See :meth:`.keyed.KeyedWindow.instant`."""
        return row[-8:]

    def payload(self, data: bytes) -> bytes:
        """See :meth:`.rows.Layout.payload`: the last operand, which a deletion has none of."""
        operation, operand = _read(data)[-1]
        return b"null" if operation == DELETE else operand

    def value_of(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> Any:
        """See :meth:`.keyed.KeyedWindow.value_of`."""
        return self._fold(part, effects, *split(row))

    def has_value(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> bool:
        """See :meth:`.keyed.KeyedWindow.has_value`: has one unless the last that was done in its time deleted it; no value is decoded."""
        key, at = split(row)
        if self._after:
            *_, (_, _, data) = part.of(effects, key, at, at + self._after)
        if kept := _read(data):
            return kept[-1][0] != DELETE
        return self._fold(part, effects, key, at) is not ABSENT

    def named(self, start: int) -> Sequence[float]:
        """Give the labels of its window, as Faust does."""
        return self.labels(start)

    def to_row(self, keys: LogKeys, key: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_row`; a window of another size has another end, and a session none."""
        if (found := keys.read(key)) is None:
            return None
        name, labels = found
        at = round(labels[0] * 1000) + self._before
        if len(labels) != 2 or round(labels[1] * 1000) != at + self._after:
            return None
        return by_key(name) + big_endian(at)

    def replaced(self, store: Store, row: bytes, data: bytes | None) -> bytes | None:
        """Give what a row has had where it goes: else its row by time is the same."""
        return MARK if data is None else None


def _write(kept: Sequence[tuple[str, bytes]]) -> bytes:
    """Give what a row has: operations with their operands, each after its length."""
    return MARK + b"".join(b"%c%b%b" % (CODES[name], len(data).to_bytes(4), data) for name, data in kept)


def _read(data: bytes | None) -> list[tuple[str, bytes]]:
    """Give the operations of a row with their operands, in the order in which events came."""
    if not data:
        return []
    if data[:1] != MARK:
        return [(ASSIGN, data)]
    kept, at = [], 1
    while at < len(data):
        end = at + 5 + int.from_bytes(data[at + 1 : at + 5])
        kept.append((NAMES[data[at]], data[at + 5 : end]))
        at = end
    return kept


def _do(
    value: Any, row: bytes, data: bytes | None, read: Callable[[bytes, bytes], Any], fresh: Callable[[], Any]
) -> Any | Absent:
    """Do what a row has to the value of a window."""
    for operation, operand in _read(data):
        if operation == DELETE:
            value = ABSENT
        else:
            argument = read(row, operand)
            value = OPERATIONS[operation](fresh() if value is ABSENT and operation != ASSIGN else value, argument)
    return value
