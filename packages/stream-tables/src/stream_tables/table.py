"""A table: a dictionary that lives as long as its changelog, changed by events and sharded like their topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from inspect import isawaitable
from threading import get_ident
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from stream_core.absent import NotHere
from stream_core.errors import ConfigurationError, StoreError, WorkerError
from stream_core.primitives import TP, RawRecord
from stream_core.runs import PerRun, Run
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects, Session, active_effects, current_effects
from stream_core.streams.events import Event
from stream_core.values.schemas import Schema
from stream_tables.changelog import Replay
from stream_tables.errors import PartitionsMismatchError, TableError, TableKeyError
from stream_tables.keys import Keys
from stream_tables.partition import Applying, Found, TablePartition
from stream_tables.stores import CHUNK
from stream_tables.values import ABSENT, HIGHEST, LOWEST, PLAIN, SHORT, Absent, kept_types

__all__ = ["Table"]

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R", bound=Callable[[], Any])


_WINDOWS = "tables have no windows yet: put the beginning of the window into the key, table[key, start]"
_JOINS = "tables cannot be joined, in Faust neither: read both in one agent"


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
        store: URL of its store; ``None`` for that of the app.
        changelog_config: configuration of the changelog beside what a changelog needs, in Kafka's names.
        replicas: replication factor of the changelog; ``None`` for that of the app.
        recovery_buffer_size: changelog records that a recovery writes to the store at a time.
        standby_buffer_size: the same while a standby follows the changelog; ``None`` for the same number.
        on_changelog_event: called with the event of each changelog record that is applied, while partitions are recovered and followed,
            before it is written to the store; sync or async. One that raises ends the worker. A subclass may have a method of that name.
        on_recover: called when a rebalance is over and all partitions of this worker are recovered; sync or async.

    Attributes:
        key_index_size: keys whose partition is remembered, for reads outside of events.
        recover_callbacks: what is called then.

    Raises:
        ConfigurationError: the name is none, or a size is not at least 1.
    """

    on_changelog_event: Callable[[Event[Any]], Any] | None = None

    def __init__(
        self,
        name: str,
        *,
        schema: Schema,
        changelog: str,
        default: Callable[[], V] | None = None,
        partitions: int | None = None,
        help: str = "",  # noqa: A002 - the name is the guides'
        store: str | None = None,
        changelog_config: Mapping[str, str] | None = None,
        replicas: int | None = None,
        recovery_buffer_size: int = CHUNK,
        standby_buffer_size: int | None = None,
        on_changelog_event: Callable[[Event[Any]], Any] | None = None,
        on_recover: Callable[[], Any] | None = None,
    ) -> None:
        if not name or len(name) > 200 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
            raise ConfigurationError(
                f"{name!r} is no table name: use at most 200 letters, digits, dots, underscores, dashes"
            )
        sizes = {
            "partitions": partitions,
            "recovery_buffer_size": recovery_buffer_size,
            "standby_buffer_size": standby_buffer_size,
        }
        for option, size in sizes.items():
            if size is not None and size < 1:
                raise ConfigurationError(
                    f"table {name}: {option}={size} is not at least 1; leave it out for the default"
                )
        self.name = name
        self.schema = schema
        self.default = default
        self.partitions = partitions
        self.changelog = changelog
        self.help = help
        self.key_index_size = 10_000
        self.store = store
        self.changelog_config = dict(changelog_config or {})
        self.replicas = replicas
        if on_changelog_event is not None:
            self.on_changelog_event = on_changelog_event
        self.recover_callbacks: list[Callable[[], Any]] = [] if on_recover is None else [on_recover]
        self.applying = Applying(
            recovery_buffer_size, standby_buffer_size, None if self.on_changelog_event is None else self._tell
        )
        self._held = PerRun[dict[int, TablePartition[V]]]()
        self._routes: dict[bytes, int] = {}
        self._keys: Keys[K] = Keys(name, schema)
        self._known, self._encode = self._keys.known, self._keys.encode
        self._kept = kept = kept_types(schema)
        self._plain = next(iter(kept)) if len(kept) == 1 else self
        self._session: Session | None = None
        self._here: TablePartition[V] | None = None

    if not TYPE_CHECKING:  # names of Faust
        hopping = NotHere(_WINDOWS)
        tumbling = NotHere(_WINDOWS)
        using_window = NotHere(_WINDOWS)
        inner_join = NotHere(_JOINS)
        left_join = NotHere(_JOINS)
        outer_join = NotHere(_JOINS)
        as_ansitable = NotHere("print sorted(table.items()), or look at a table with the command line of the app")
        clear = NotHere("delete each key in an agent: for key in list(table): del table[key]")
        copy = NotHere("dict(table) is a copy of what this worker holds")

    def on_recover(self, callback: R) -> R:
        """Call a function when a rebalance is over and all partitions of this worker are recovered; a decorator.

        Args:
            callback: a function of nothing, sync or async. What it raises ends the worker.
        """
        self.recover_callbacks.append(callback)
        return callback

    async def recovered(self) -> None:
        """Call what waits for the recovery. Raises WorkerError when it raises.

        :meta private:
        """
        for callback in self.recover_callbacks:
            await self._called(callback, f"on_recover of table {self.name}")

    async def _tell(self, changelog: TP, record: RawRecord) -> None:
        """Call ``on_changelog_event`` with the event of a changelog record. Raises WorkerError when it raises."""
        where = f"on_changelog_event of table {self.name}, at {changelog} offset {record.offset}"
        tell = self.on_changelog_event
        try:
            value = None if record.value is None else self.schema.decode_value(record.value)
        except Exception as error:
            logger.error("%s, is not told of a value that is not of the type of the table: %s", where, error)
            return
        if tell is not None:
            await self._called(partial(tell, Event(self.schema, changelog, record, value)), where)

    async def _called(self, callback: Callable[[], Any], what: str) -> None:
        try:
            if isawaitable(result := callback()):
                await result
        except Exception as error:
            raise WorkerError(f"{what} failed: {type(error).__name__}: {error}") from error

    # -- partitions, for the manager of tables

    def join(self, run: Run) -> None:
        """Hold partitions in the worker of ``run`` until that ends; it has none yet.

        :meta private:
        """
        self._held.bind(run, {})
        self._forget()

    def leave(self, run: Run) -> None:
        """Hold nothing in the worker of ``run`` any more.

        :meta private:
        """
        self._held.unbind(run)
        self._forget()

    def attach(self, run: Run, partition: int, part: TablePartition[V]) -> None:
        """Take in a partition that the worker of ``run`` has recovered.

        :meta private:
        """
        if (held := self._held.of(run)) is not None:
            self._held.bind(run, {**held, partition: part})  # a new one: other threads may iterate over the one before
        self._forget()

    def detach(self, run: Run, partition: int) -> None:
        """Let go of a partition that the worker of ``run`` gives up.

        :meta private:
        """
        if (held := self._held.of(run)) is not None:
            self._held.bind(run, {number: part for number, part in held.items() if number != partition})
        self._forget()

    def _forget(self) -> None:
        self._routes.clear()
        self._session = self._here = None

    @property
    def parts(self) -> dict[int, TablePartition[V]]:
        """The partitions that the worker of this task holds; those of the only one that runs, outside of workers.

        Raises:
            ConfigurationError: several workers hold some, and this task belongs to none of them.

        :meta private:
        """
        held = self._held.only
        if held is None:
            held = self._held.find(f"table {self.name} cannot be used") if self._held else {}
        return held

    def changelog_tp(self, partition: int) -> TP:
        """Give the changelog partition of a table partition.

        :meta private:
        """
        return TP(self.changelog, partition)

    def replay(self, only: Collection[bytes] | None = None) -> Replay:
        """Give what reads one partition of the changelog and says what the table holds, where no worker runs.

        Args:
            only: the keys to look for, as they are encoded; ``None`` for all.
        """
        return Replay(self.schema, only)

    # -- reading

    def __getitem__(self, key: K) -> V:
        cursor = current_effects()
        if cursor is None or cursor.atom is None:
            value = self._get(key)
        else:  # the path of an event: look-ups, and as few calls as can be
            part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
            try:
                data = self._known.get(key) or self._encode(key)  # type: ignore[call-overload]
            except TypeError:  # it has no hash, as a record
                data = self._encode(key)
            overlay = part.overlay  # type: ignore[union-attr]
            value = overlay.active.get(data) if cursor is overlay.writer else None  # type: ignore[assignment]
            if type(value) is not self._plain and type(value) not in PLAIN:
                value = part.get(cursor, data)  # type: ignore[union-attr]
        if value is not ABSENT:
            return value
        if self.default is None:
            raise self._missing(key)
        return self._lend(key, self.default())

    def _lend(self, key: K, value: V) -> V:
        """Give a default, a new value, which counts when it is assigned."""
        if type(value) not in PLAIN and (cursor := active_effects()) is not None:
            part = self._part(cursor)
            if part.in_place is not None:
                part.in_place.lend(cursor, self._encode(key), value)
        return value

    def _missing(self, key: object) -> TableKeyError:
        """Make the KeyError of this key; what it says is put together when somebody reads it."""
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
        """Give the value of ``key``, or ``default`` (never the table's own default).

        Args:
            key: the key.
            default: what to return when it is missing.
            committed: read it as of the last checkpoint, without what is under way.
        """
        value = self._get(key, committed=committed)
        return default if value is ABSENT else value

    def __contains__(self, key: object) -> bool:
        data = self._encode(key)
        cursor = active_effects()
        if cursor is None:
            return any(self._look(part, partial(part.holds, None, data), False) for part in self.parts.values())
        return self._part(cursor).holds(cursor, data)

    def _get(self, key: object, *, committed: bool = False) -> V | Absent:
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

    def _probe(self, data: bytes, *, committed: bool) -> V | Absent:
        """Look in all partitions held here: topic keys and table keys differ in bytes, so hashing would be wrong."""
        parts, known = self.parts, self._routes.get(data)
        for partition in (known, *parts) if known in parts else parts:
            part = parts[partition]
            read = partial(part.committed_value, data) if committed else partial(part.get, None, data)
            value: V | Absent = self._look(part, read, ABSENT)
            if value is not ABSENT:
                if len(self._routes) >= self.key_index_size:
                    self._routes.clear()
                self._routes[data] = partition
                return value
        return ABSENT

    def _look(self, part: TablePartition[V], read: Callable[[], D], nothing: D) -> D:
        """Read a partition from outside of events; one that was given up meanwhile is not held here any more, and has nothing."""
        try:
            return read()
        except StoreError:
            if self.parts.get(part.changelog.partition) is part:
                raise
            return nothing

    def _part(self, cursor: Effects) -> TablePartition[V]:
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
        if get_ident() == part.overlay.thread:  # one look at both is whole there only
            self._session, self._here = session, part
        return part

    # -- iteration

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._entries())

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def keys(self) -> Iterator[K]:
        """Iterate over all keys held here; in an event over those of its partition, as they are at the time of the call."""
        return iter(self)

    def values(self) -> Iterator[V]:
        """Iterate over all values held here; in an event over those of its partition, as they are at the time of the call."""
        return (value() for _, value in self._entries())

    def items(self) -> Iterator[tuple[K, V]]:
        """Iterate over all keys and values held here; in an event over those of its partition, as they are at the time of the call.

        What is changed while somebody iterates is not in it.
        """
        return ((key, value()) for key, value in self._entries())

    def _entries(self) -> Iterator[tuple[K, Callable[[], V]]]:
        """Give the keys, each with what decodes its value; taken at once, so that the event that is open now is the one that sees it."""
        cursor = active_effects()
        parts = list(self.parts.values()) if cursor is None else [self._part(cursor)]
        none: Iterator[tuple[bytes, Found]] = iter(())
        taken = [(part, self._look(part, partial(part.range, cursor), none)) for part in parts]
        return (
            (key, partial(part.value_of, cursor, data, entry))
            for part, entries in taken
            for data, entry in entries
            if (key := self._keys.decode(part.changelog, data)) is not None
        )

    # -- writing

    def __setitem__(self, key: K, value: V) -> None:
        cursor = current_effects()
        if cursor is None or cursor.atom is None:
            cursor = self._writer()
        part = self._here if cursor.session is self._session and not cursor.others else self._part(cursor)
        try:
            data = self._known.get(key) or self._encode(key)  # type: ignore[call-overload]
        except TypeError:  # it has no hash, as a record
            data = self._encode(key)
        kind, overlay = type(value), part.overlay  # type: ignore[union-attr]
        if (
            cursor is overlay.writer
            and cursor.session is overlay.session
            and get_ident() == overlay.thread
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
            active[data] = value  # type: ignore[assignment]  # of a kept type, see above
            if type(previous) is not kind:
                overlay.count(data, previous, value)  # type: ignore[arg-type]
        else:
            part.set(cursor, data, value)  # type: ignore[union-attr]

    def __delitem__(self, key: K) -> None:
        """Delete a key; one that is no key of this table, as a version before it wrote it, by its bytes."""
        cursor = self._writer()
        part, given = self._part(cursor), cast("Any", key)
        try:
            data = self._encode(key)
        except TableError:
            if type(given) is not bytes or self._keys.fits(given) or not part.holds(cursor, given):
                raise
            data = given
        if not part.holds(cursor, data):
            raise self._missing(key)
        part.delete(cursor, data)

    def pop(self, key: K, *default: D) -> V | D:
        """Remove ``key`` and return its value; without it ``default``, or KeyError."""
        value = self._get(key)
        if value is not ABSENT:
            del self[key]
            return value
        if default:
            return default[0]
        raise self._missing(key)

    def setdefault(self, key: K, default: V) -> V:
        """Give the value of ``key``, after storing ``default`` when it was missing."""
        value = self._get(key)
        if value is not ABSENT:
            return value
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
