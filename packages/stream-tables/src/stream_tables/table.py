"""A table: a dictionary that lives as long as its changelog, changed by events and sharded like their topic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, overload

from stream_core.cursor import Cursor, Session, active_cursor, current_cursor
from stream_core.errors import ConfigurationError
from stream_core.records import TP
from stream_core.schemas import Schema
from stream_tables.errors import PartitionsMismatchError, TableError
from stream_tables.overlay import ABSENT, FIXED
from stream_tables.partition import TablePartition

__all__ = ["Table"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

PLAIN = FIXED - {type(None)}
"""Types of which a value in the overlay is what was assigned; ``None`` also means that the overlay says nothing."""

KEYS = 20_000
"""Text keys whose encoded form is remembered."""

ROUTES = 10_000
"""Keys whose partition is remembered for reads outside events."""


class Table(Generic[K, V]):
    """A durable dictionary, sharded: each worker holds the partitions of its source topics.

    With an event open, reads and writes use the partition of that event. Outside of events a table can be read (what this worker
    owns), not changed. Values that can change in place must be assigned to count: ``table[k] = v`` after ``v.append(...)``.

    Args:
        name: unique in the app; letters, digits, ``.``, ``_`` and ``-``.
        schema: how keys and values are encoded, in the changelog and in the store alike.
        default: makes the value of a missing key; it is stored only when assigned. ``None``: a missing key is a KeyError.
        partitions: partitions of the changelog; ``None`` takes the count of the source topics.
        changelog: name of the changelog topic.
        help: one sentence on what it holds.
    """

    def __init__(
        self,
        name: str,
        *,
        schema: Schema,
        changelog: str,
        default: Callable[[], V] | None = None,
        partitions: int | None = None,
        help: str = "",  # noqa: A002 - the name is the guides'
    ) -> None:
        if not name or len(name) > 200 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
            raise ConfigurationError(
                f"{name!r} is no table name: use at most 200 letters, digits, dots, underscores, dashes"
            )
        self.name = name
        self.schema = schema
        self.default = default
        self.partitions = partitions
        self.changelog = changelog
        self.help = help
        self._parts: dict[int, TablePartition] = {}
        self._routes: dict[bytes, int] = {}
        self._encoded: dict[str, bytes] = {}
        self._plain = schema.value_type if schema.value_type in FIXED else self
        self._session: Session | None = None
        self._here: TablePartition | None = None

    # -- partitions, for the manager of tables

    def attach(self, partition: int, part: TablePartition) -> None:
        """This worker has recovered ``partition``."""
        self._parts[partition] = part
        self._forget()

    def detach(self, partition: int) -> TablePartition | None:
        """This worker gives ``partition`` up."""
        self._forget()
        return self._parts.pop(partition, None)

    def _forget(self) -> None:
        self._routes.clear()
        self._session = self._here = None

    @property
    def parts(self) -> Mapping[int, TablePartition]:
        """The partitions that this worker holds."""
        return self._parts

    def changelog_tp(self, partition: int) -> TP:
        """The changelog partition of a table partition."""
        return TP(self.changelog, partition)

    # -- reading

    def __getitem__(self, key: K) -> V:
        cursor = current_cursor()
        if cursor is None or cursor.record is None:
            value = self._get(key)
        else:  # the path of an event: look-ups, and as few calls as can be
            part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
            data = self._encoded.get(key) or self._encode(key)  # type: ignore[call-overload]
            overlay = part.overlay  # type: ignore[union-attr]
            value = overlay.active.get(data) if cursor is overlay.writer else None
            if type(value) not in PLAIN:
                value = part.get(cursor, data)  # type: ignore[union-attr]
        if value is not ABSENT:
            return value  # type: ignore[no-any-return]
        if self.default is None:
            raise KeyError(key)
        return self.default()

    @overload
    def get(self, key: K, default: None = None, *, committed: bool = False) -> V | None: ...
    @overload
    def get(self, key: K, default: D, *, committed: bool = False) -> V | D: ...
    def get(self, key: K, default: D | None = None, *, committed: bool = False) -> V | D | None:
        """The value of ``key``, or ``default`` (never the table's own default).

        Args:
            key: the key.
            default: what to return when it is missing.
            committed: as of the last checkpoint, without what is under way.
        """
        value = self._get(key, committed=committed)
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        return self._get(key) is not ABSENT

    def _get(self, key: Any, *, committed: bool = False) -> Any:
        data = self._encode(key)
        cursor = active_cursor()
        if cursor is None:
            return self._probe(data, committed=committed)
        part = self._part(cursor)
        return part.committed_value(data) if committed else part.get(cursor, data)

    def _probe(self, data: bytes, *, committed: bool) -> Any:
        """Look in all partitions held here: topic keys and table keys differ in bytes, so hashing would be wrong."""
        known = self._routes.get(data)
        for partition in self._parts if known is None else (known, *self._parts):
            part = self._parts[partition]
            value = part.committed_value(data) if committed else part.get(None, data)
            if value is not ABSENT:
                if len(self._routes) >= ROUTES:
                    self._routes.clear()
                self._routes[data] = partition
                return value
        return ABSENT

    def _part(self, cursor: Cursor) -> TablePartition:
        session = cursor.session
        part = None if session is None else self._parts.get(session.partition)
        if any(other is not session for other, _ in cursor.others):
            raise TableError(
                f"table {self.name}: the list of {cursor.name} has events of several partitions, and a table has a state for each; "
                "use take(..., by_partition=True)"
            )
        if session is not None and session.partition < 0:
            raise TableError(
                f"table {self.name}: the event comes from {session.tp.topic}, which exists in memory only and has no partitions: "
                "use tables in agents that read topics"
            )
        if part is None or session is None:
            where = "" if session is None else f" (event of {session.tp})"
            raise TableError(
                f"table {self.name}: this worker does not hold the partition of the event{where}; "
                "declare the table before the app starts, with partitions= of its source topic"
            )
        if part.partitions != session.partitions:
            raise PartitionsMismatchError(
                f"table {self.name} has {part.partitions} partitions, and topic {session.tp.topic} has {session.partitions}: "
                "repartition the stream, or declare the table with partitions= of its source"
            )
        self._session, self._here = session, part
        return part

    def _encode(self, key: Any) -> bytes:
        data: bytes | None = self.schema.encode_key(key)
        if data is None:
            raise TableError(f"table {self.name}: None is no key")
        if type(key) is str:
            if len(self._encoded) >= KEYS:
                self._encoded.clear()
            self._encoded[key] = data
        return data

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self.items())

    def __len__(self) -> int:
        return sum(1 for _ in self.items())

    def keys(self) -> Iterator[K]:
        """All keys held here; in an event those of its partition."""
        return iter(self)

    def values(self) -> Iterator[V]:
        """All values held here; in an event those of its partition."""
        return (value for _, value in self.items())

    def items(self) -> Iterator[tuple[K, V]]:
        """All keys and values held here; in an event those of its partition."""
        cursor = active_cursor()
        parts = list(self._parts.values()) if cursor is None else [self._part(cursor)]
        return ((self.schema.decode_key(key), value) for part in parts for key, value in part.items())

    # -- writing

    def __setitem__(self, key: K, value: V) -> None:
        cursor = current_cursor()
        if cursor is None or cursor.record is None:
            cursor = self._writer()
        part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
        if type(value) is not self._plain:
            value = part.sealed(value)  # type: ignore[union-attr]
        part.overlay.set(cursor, self._encoded.get(key) or self._encode(key), value)  # type: ignore[union-attr,call-overload]

    def __delitem__(self, key: K) -> None:
        cursor = self._writer()
        part, data = self._part(cursor), self._encode(key)
        if part.get(cursor, data) is ABSENT:
            raise KeyError(key)
        part.delete(cursor, data)

    def pop(self, key: K, *default: D) -> V | D:
        """Remove ``key`` and return its value; without it ``default``, or KeyError."""
        value = self._get(key)
        if value is not ABSENT:
            del self[key]
            return value  # type: ignore[no-any-return]
        if default:
            return default[0]
        raise KeyError(key)

    def setdefault(self, key: K, default: V) -> V:
        """The value of ``key``, after storing ``default`` when it was missing."""
        value = self._get(key)
        if value is not ABSENT:
            return value  # type: ignore[no-any-return]
        self[key] = default
        return default

    def update(self, items: Mapping[K, V] | Iterable[tuple[K, V]] = (), **more: V) -> None:
        """Assign many keys."""
        pairs = items.items() if isinstance(items, Mapping) else items
        for key, value in (*pairs, *more.items()):
            self[key] = value

    def _writer(self) -> Cursor:
        cursor = current_cursor()
        if cursor is None or cursor.record is None:
            raise TableError(
                f"table {self.name} cannot be changed outside of an event: change it in the loop over a stream, "
                "in the task of the agent itself"
            )
        return cursor

    def __repr__(self) -> str:
        return f"<Table {self.name}: {len(self._parts)} partitions here>"
