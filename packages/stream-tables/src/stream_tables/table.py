"""A table: a dictionary that lives as long as its changelog, changed by events and sharded like their topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Generic, TypeVar, cast, overload
from uuid import UUID

from stream_core.errors import ConfigurationError, EncodeError
from stream_core.primitives import TP
from stream_core.runs import PerRun, Run
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects, Session, active_effects, current_effects
from stream_core.values.encoding import type_name
from stream_core.values.schemas import Schema
from stream_tables.errors import PartitionsMismatchError, TableError, TableKeyError
from stream_tables.overlay import ABSENT
from stream_tables.partition import TablePartition
from stream_tables.values import HIGHEST, LOWEST, PLAIN, SHORT, kept_types, short

__all__ = ["Table"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

logger = logging.getLogger(__name__)

KEYS = 20_000
"""Text keys whose encoded form is remembered."""

ROUTES = 10_000
"""Keys whose partition is remembered for reads outside events."""

FITTING = frozenset({str, int, bool, bytes, UUID})
"""Types of keys that come back from JSON as what they were, whatever their value."""

FOREIGN = 1000
"""Keys that cannot be read of which it is remembered that they were reported."""


class Table(Generic[K, V]):
    """A durable dictionary, sharded: each worker holds the partitions of its source topics.

    With an event open, reads and writes use the partition of that event. Outside of events a table can be read (what this worker
    owns), not changed. What is read is a copy: values that can change in place must be assigned to count, ``table[k] = v`` after
    ``v.append(...)``.

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
        self._held = PerRun[dict[int, TablePartition]]()
        self._routes: dict[bytes, int] = {}
        self._encoded: dict[str, bytes] = {}
        self._foreign: set[bytes] = set()
        keys = {str, bool} if schema.key_type in (None, Any) else {schema.key_type}
        self._fitting = FITTING & keys if schema.native_keys else frozenset[type]()
        self._kept = kept = kept_types(schema)
        self._plain = next(iter(kept)) if len(kept) == 1 else self
        self._session: Session | None = None
        self._here: TablePartition | None = None

    # -- partitions, for the manager of tables

    def join(self, run: Run) -> None:
        """Hold partitions in the worker of ``run`` until that ends; it has none yet."""
        self._held.bind(run, {})
        self._forget()

    def leave(self, run: Run) -> None:
        """Hold nothing in the worker of ``run`` any more."""
        self._held.unbind(run)
        self._forget()

    def attach(self, run: Run, partition: int, part: TablePartition) -> None:
        """The worker of ``run`` has recovered ``partition``."""
        if (held := self._held.of(run)) is not None:
            held[partition] = part
        self._forget()

    def detach(self, run: Run, partition: int) -> None:
        """The worker of ``run`` gives ``partition`` up."""
        held = self._held.of(run)
        if held is not None:
            held.pop(partition, None)
        self._forget()

    def _forget(self) -> None:
        self._routes.clear()
        self._session = self._here = None

    @property
    def parts(self) -> dict[int, TablePartition]:
        """The partitions that the worker of this task holds; those of the only one that runs, outside of workers.

        Raises:
            ConfigurationError: several workers hold some, and this task belongs to none of them.
        """
        held = self._held.only
        if held is None:
            held = self._held.find(f"table {self.name} cannot be used") if self._held else {}
        return held

    def changelog_tp(self, partition: int) -> TP:
        """The changelog partition of a table partition."""
        return TP(self.changelog, partition)

    # -- reading

    def __getitem__(self, key: K) -> V:
        cursor = current_effects()
        if cursor is None or cursor.atom is None:
            value = self._get(key)
        else:  # the path of an event: look-ups, and as few calls as can be
            part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
            try:
                data = self._encoded.get(key) or self._encode(key)  # type: ignore[call-overload]
            except TypeError:  # it has no hash, as a record
                data = self._encode(key)
            overlay = part.overlay  # type: ignore[union-attr]
            value = overlay.active.get(data) if cursor is overlay.writer else None
            if type(value) is not self._plain and type(value) not in PLAIN:
                value = part.get(cursor, data)  # type: ignore[union-attr]
        if value is not ABSENT:
            return value  # type: ignore[no-any-return]
        if self.default is None:
            raise self._missing(key)
        return self._lend(key, self.default())

    def _lend(self, key: K, value: V) -> V:
        """A default: a new value, which counts when it is assigned."""
        if type(value) not in PLAIN and (cursor := active_effects()) is not None:
            part = self._part(cursor)
            if part.in_place is not None:
                part.in_place.lend(cursor, self._encode(key), value)
        return value

    def _missing(self, key: Any) -> TableKeyError:
        """The KeyError of this key; what it says is put together when somebody reads it."""
        error, cursor = TableKeyError(key), active_effects()
        if cursor is None or (session := cursor.session) is None:
            count = next((part.partitions for part in self.parts.values()), self.partitions or 0)
            error.missed = self.name, tuple(self.parts), count, None, None
        else:
            record = cursor.record if isinstance(cursor, Cursor) else None
            error.missed = self.name, (), session.partitions, session, record
        return error

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
        data = self._encode(key)
        cursor = active_effects()
        if cursor is None:
            return any(part.holds(None, data) for part in self.parts.values())
        return self._part(cursor).holds(cursor, data)

    def _get(self, key: Any, *, committed: bool = False) -> Any:
        data = self._encode(key)
        cursor = active_effects()
        if cursor is None:
            return self._probe(data, committed=committed)
        part = self._part(cursor)
        if not committed:
            return part.get(cursor, data)
        value = part.committed_value(data)
        if value is not ABSENT and part.in_place is not None:
            part.in_place.lend(cursor, data, value)
        return value

    def _probe(self, data: bytes, *, committed: bool) -> Any:
        """Look in all partitions held here: topic keys and table keys differ in bytes, so hashing would be wrong."""
        parts, known = self.parts, self._routes.get(data)
        for partition in (known, *parts) if known in parts else parts:
            part = parts[partition]
            value = part.committed_value(data) if committed else part.get(None, data)
            if value is not ABSENT:
                if len(self._routes) >= ROUTES:
                    self._routes.clear()
                self._routes[data] = partition
                return value
        return ABSENT

    def _part(self, cursor: Effects) -> TablePartition:
        session = cursor.session
        held = self._held.only
        if held is None:  # there are several workers in this process, or none
            held = self.parts
        part = None if session is None else held.get(session.partition)
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
        """The bytes of a key, which are what it is compared by.

        Raises:
            TableError: it is no key of this table.
        """
        try:
            data: bytes | None = self.schema.encode_key(key)
        except EncodeError as error:
            raise self._unfit(key, str(error)) from error
        if data is None:
            raise TableError(f"table {self.name}: None is no key")
        if type(key) not in self._fitting:
            self._check_key(key, data)
        if type(key) is str:
            if len(self._encoded) >= KEYS:
                self._encoded.clear()
            self._encoded[key] = data
        return data

    def _check_key(self, key: Any, data: bytes) -> None:
        """Raise TableError for a key that would come back as another one: it would be found under that, or never again."""
        try:
            again = self.schema.decode_key(data)
            same = again == key and self.schema.encode_key(again) == data
        except Exception as error:
            raise self._unfit(key, str(error)) from error
        if not same:
            raise self._unfit(key, f"it would come back as {short(again)}, of type {type(again).__name__}")

    def _unfit(self, key: Any, why: str) -> TableError:
        kind, declared = type(key).__name__, self.schema.key_type
        what = "has no key_type" if declared in (None, Any) else f"has keys of type {type_name(declared)}"
        return TableError(
            f"table {self.name} {what}, and {short(key)} is of type {kind}: {why}; convert it, or declare the table with key_type={kind}"
        )

    # -- iteration

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._entries())

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def keys(self) -> Iterator[K]:
        """All keys held here; in an event those of its partition, as they are at the time of the call."""
        return iter(self)

    def values(self) -> Iterator[V]:
        """All values held here; in an event those of its partition, as they are at the time of the call."""
        return (value() for _, value in self._entries())

    def items(self) -> Iterator[tuple[K, V]]:
        """All keys and values held here; in an event those of its partition, as they are at the time of the call.

        What is changed while somebody iterates is not in it.
        """
        return ((key, value()) for key, value in self._entries())

    def _entries(self) -> Iterator[tuple[K, Callable[[], V]]]:
        """The keys, and for each what decodes its value; taken at once, so that the event that is open now is the one that sees it."""
        cursor = active_effects()
        parts = list(self.parts.values()) if cursor is None else [self._part(cursor)]
        taken = [(part, part.range(cursor)) for part in parts]
        return (
            (key, partial(part.value_of, cursor, data, entry))
            for part, entries in taken
            for data, entry in entries
            if (key := self._decode_key(part, data)) is not None
        )

    def _decode_key(self, part: TablePartition, data: bytes) -> Any:
        """The key, or ``None`` for one that is of another type; that is told once."""
        try:
            key = self.schema.decode_key(data)
        except Exception as error:
            key = None
            if data not in self._foreign and len(self._foreign) < FOREIGN:
                self._foreign.add(data)
                logger.error(
                    "table %s: %s has a key that is not of type %s, and is left out of iterations: %r (%s); it was written with another "
                    "key_type. An event of partition %d can delete it: del table[%r]",
                    *(self.name, part.changelog, type_name(self.schema.key_type), data, error),
                    *(part.changelog.partition, data),
                )
        return key

    # -- writing

    def __setitem__(self, key: K, value: V) -> None:
        cursor = current_effects()
        if cursor is None or cursor.atom is None:
            cursor = self._writer()
        part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
        try:
            data = self._encoded.get(key) or self._encode(key)  # type: ignore[call-overload]
        except TypeError:  # it has no hash, as a record
            data = self._encode(key)
        kind, overlay = type(value), part.overlay  # type: ignore[union-attr]
        if (
            cursor is overlay.writer
            and cursor.session is overlay.session
            and (kind is self._plain or kind in self._kept)
            and (  # what is_kept() says, and below what overlay.set() does, without the calls
                LOWEST <= value <= HIGHEST  # type: ignore[operator]
                if kind is int
                else value.isascii() and len(value) <= SHORT  # type: ignore[attr-defined,arg-type]
                if kind is str
                else kind is bool or value - value == 0.0  # type: ignore[operator]
            )
        ):
            active = overlay.active
            previous = active.get(data, ABSENT)
            cursor.undo.append((overlay, data, previous))
            cursor.attention = True
            active[data] = value
            if type(previous) is not kind:
                overlay.count(data, previous, value)
        else:
            part.set(cursor, data, value)  # type: ignore[union-attr]

    def __delitem__(self, key: K) -> None:
        """Delete a key; one that is no key of this table, as a version before it wrote it, by its bytes."""
        cursor = self._writer()
        part, given = self._part(cursor), cast("Any", key)
        try:
            data = self._encode(key)
        except TableError:
            if type(given) is not bytes or self._is_key(given) or not part.holds(cursor, given):
                raise
            data = given
        if not part.holds(cursor, data):
            raise self._missing(key)
        part.delete(cursor, data)

    def _is_key(self, data: bytes) -> bool:
        try:
            return self.schema.decode_key(data) is not None
        except Exception:
            return False

    def pop(self, key: K, *default: D) -> V | D:
        """Remove ``key`` and return its value; without it ``default``, or KeyError."""
        value = self._get(key)
        if value is not ABSENT:
            del self[key]
            return value  # type: ignore[no-any-return]
        if default:
            return default[0]
        raise self._missing(key)

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

    def _writer(self) -> Effects:
        cursor = current_effects()
        if cursor is None or cursor.atom is None:
            raise TableError(
                f"table {self.name} cannot be changed outside of an event: change it in the loop over a stream, "
                "in the task of the agent itself"
            )
        return cursor

    def __repr__(self) -> str:
        return f"<Table {self.name}: {sum(len(held) for held in self._held.all())} partitions here>"
