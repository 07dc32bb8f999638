"""Values that are gone some time after they were assigned: ``app.Table(..., ttl=3600)``.

Time is that of windows: the latest instant of an event that has changed the partition, and a row in it. A value is as old as that time
has gone on since it was assigned. So an event that comes late does not make a value older than it is, and a replay of last year's events
keeps what it would have kept then.

In the store a value lies by its key and by its time, as :mod:`.keyed` says. What it has begins with the time of its assignment, in the
changelog as well::

    0xff ‖ time in 8 bytes ‖ value

A value without that beginning is of a time when the table had no ``ttl``; it stays until it is assigned again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from stream_core.primitives import TP, RawRecord
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects
from stream_core.values.encoding import Decode
from stream_core.values.schemas import Schema
from stream_tables.keys import Keys
from stream_tables.partition import Found
from stream_tables.values import ABSENT, Absent
from stream_tables.windows.keyed import KEYED, KeyedLayout, KeyedPartition, as_data, by_key, split
from stream_tables.windows.kinds import Seconds, milliseconds
from stream_tables.windows.rows import NEVER, LogKeys, big_endian, number

__all__ = ["Age", "AgingKeys", "AgingPartition", "AgingSchema"]

AGED = b"\xff"
"""What a value that has a time begins with; JSON never does."""

HEAD = 9
"""Bytes before the value."""

FOREVER = 2**62
"""The time, in milliseconds, of values that have none."""

ALONE = big_endian(0)
"""Where windows of a key have their start: a key has one value."""


class Age(KeyedLayout):
    """How values with a time lie, and when they are gone.

    Args:
        ttl: seconds or a timedelta for which a value can be read.

    Attributes:
        ttl: in seconds.

    Raises:
        ConfigurationError: it is not a length of time, or less than a millisecond.
    """

    def __init__(self, ttl: Seconds) -> None:
        self.keeps = milliseconds(ttl, "ttl")
        self.ttl = self.keeps / 1000
        super().__init__(0, 0, self.keeps, self.keeps)

    @property
    def name(self) -> str:
        """The kind alone: what is stored is right for any length."""
        return "ttl"

    def until(self, data: bytes) -> int:
        """Give the time at which a value was assigned, in milliseconds."""
        return number(data[1:HEAD]) if data[:1] == AGED and len(data) >= HEAD else FOREVER

    def expired(self, data: bytes, time: int) -> bool:
        """Tell whether a value is gone when it is ``time``."""
        return self.is_gone(self.until(data), time)

    def instant(self, row: bytes, data: bytes) -> bytes:
        """See :meth:`.keyed.KeyedLayout.instant`."""
        return big_endian(self.until(data))

    def payload(self, data: bytes) -> bytes:
        """See :meth:`.rows.Layout.payload`."""
        return data[HEAD:] if data[:1] == AGED and len(data) >= HEAD else data

    def value_of(self, part: KeyedPartition, effects: Effects | None, row: bytes, data: bytes) -> Any:
        """See :meth:`.keyed.KeyedLayout.value_of`."""
        value = part.values.read(row, self.payload(data))
        part.lend(effects, row, value)
        return value

    def to_log(self, keys: LogKeys, row: bytes) -> bytes | None:
        """See :meth:`.rows.Layout.to_log`: the key alone."""
        return split(row)[0] if row[:1] == KEYED else None

    def named(self, start: int) -> Sequence[float]:
        """Give no labels: a key has one value."""
        return ()

    def to_row(self, keys: LogKeys, key: bytes) -> bytes:
        """See :meth:`.rows.Layout.to_row`."""
        return by_key(key) + ALONE


class AgingPartition(KeyedPartition):
    """One partition of a table whose values have a time, as a table without windows sees it."""

    __slots__ = ()

    window: Age

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        decode = self._decode_key
        self.values.key_of = lambda row: decode(split(row)[0])

    def now(self, effects: Effects | None) -> int:
        """Give the time that an event sees: that of the partition, or its own where that is later."""
        time = self.time(effects)
        if isinstance(effects, Cursor) and effects.record is not None:
            at = effects.record.timestamp
            if at > time and not self.is_future(at):
                return at
        return time

    def get(self, effects: Effects | None, key: bytes) -> Any | Absent:
        """Read a value as the open event sees it, or ABSENT where there is none, or none any more."""
        data = self.data(effects, key)
        if data is None or self.window.expired(data, self.now(effects)):
            return ABSENT
        return self.window.value_of(self, effects, key, data)

    def unchanged(self, effects: Effects | None, key: bytes) -> Any | Absent:
        """Read a value that is stored: it may have expired."""
        return self.get(effects, key)

    def holds(self, effects: Effects | None, key: bytes) -> bool:
        """Tell whether the open event sees a value, of whatever type."""
        data = self.data(effects, key)
        return data is not None and not self.window.expired(data, self.now(effects))

    def committed_value(self, key: bytes) -> Any | Absent:
        """Read a value as of the last checkpoint, or ABSENT."""
        data = self._read(key)
        if data is None or self.window.expired(data, self.stored_time):
            return ABSENT
        return self.values.read(key, self.window.payload(data))

    def range(
        self, effects: Effects | None, begin: bytes = KEYED, end: bytes | None = None
    ) -> Iterator[tuple[bytes, Found]]:
        """Iterate over the values that are not gone at the moment of the call, in the order of the lengths of keys, and of keys."""
        time, expired = self.now(effects), self.window.expired
        found = super().range(effects, begin, end)
        return ((row, data) for row, data in found if not expired(as_data(data), time))

    def set(self, effects: Effects, key: bytes, value: Any) -> None:
        """Assign a value as part of the open event, at the time that it sees."""
        at = self.now(effects)
        if at == NEVER:  # nothing has said a time yet that can be true
            at = round(self.clock.wall() * 1000)
        data = AGED + big_endian(at) + self.seal(key, value)
        self.put_data(effects, key, data)
        self.move(effects, at)
        self.lend(effects, key, value)


Age.part_type = AgingPartition


class AgingKeys(Keys[Any]):
    """The keys of a table whose values have a time, and their rows."""

    __slots__ = ()

    def encode(self, key: object) -> bytes:
        """Give the row of a key. Raises TableError when it is not a key of this table."""
        return by_key(super().encode(key)) + ALONE

    def decode(self, changelog: TP, data: bytes) -> Any:
        """Make a key from its row; ``None`` where it cannot be read."""
        return super().decode(changelog, split(data)[0])


@dataclass(frozen=True)
class AgingSchema(Schema):
    """How the changelog of such a table is read.

    Attributes:
        age: says what the value is in what a record has.
    """

    age: Age | None = None

    @classmethod
    def of(cls, schema: Schema, age: Age) -> AgingSchema:
        """Make that of a table from the schema of the table."""
        return cls(**{field.name: getattr(schema, field.name) for field in fields(schema)}, age=age)

    def loads_value(self, message: RawRecord, loads: Decode) -> Any:
        """Read the value, without its time."""
        data = message.value or b""
        return loads(data if self.age is None else self.age.payload(data))
