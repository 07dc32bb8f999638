"""A table: a dictionary that lives as long as its changelog, changed by events and sharded like their topic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import partial
from operator import itemgetter
from threading import get_ident
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast, overload

from stream_core.absent import NotHere
from stream_core.errors import ConfigurationError
from stream_core.primitives import TP, RawRecord
from stream_core.runs import Run
from stream_core.streams.effects import active_effects, current_effects
from stream_core.streams.events import Event
from stream_core.values.schemas import Schema
from stream_tables.errors import TableError
from stream_tables.overlay import ENTRY
from stream_tables.partition import TOMBSTONES, Applying, Found, TablePartition
from stream_tables.stores import CHUNK
from stream_tables.values import ABSENT, HIGHEST, LOWEST, PLAIN, SHORT, Absent
from stream_tables.views import TableItems, TableKeys, TableValues, as_text
from stream_tables.watched import watched
from stream_tables.windows.definitions import WindowDefinitions
from stream_tables.windows.kinds import Seconds

__all__ = ["Table"]

logger = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R", bound=Callable[[], Any])
W = TypeVar("W", bound=Callable[..., Any])


_JOINS = "tables cannot be joined, in Faust neither: read both in one agent"


class Table(WindowDefinitions[K, V], MutableMapping[K, V]):
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
        store_options: options of the store, which count before those of the URL.
        changelog_config: configuration of the changelog beside what a changelog needs, in Kafka's names.
        replicas: replication factor of the changelog; ``None`` for that of the app.
        recovery_buffer_size: changelog records that a recovery writes to the store at a time.
        standby_buffer_size: the same while a standby follows the changelog; ``None`` for the same number. There are no standbys yet.
        on_changelog_event: called with the event of each changelog record that is applied, while partitions are recovered and followed,
            before it is written to the store; sync or async. One that raises ends the worker. A subclass may have a method of that name.
        on_recover: called when a rebalance is over and all partitions of this worker are recovered; sync or async.
        on_window_close: called for each window that closes, where the table has windows, with ``(key, (start, end))`` and its value;
            sync or async. A subclass may have a method of that name.
        ttl: seconds or a timedelta for which a value can be read after its assignment, by the time of events; ``None`` for ever.

    Attributes:
        key_index_size: keys whose partition is remembered, for reads outside of events.
        recover_callbacks: what is called then.
        layout: how values lie in its stores where they have windows or age; ``None`` where they lie by their keys alone.
        log_schema: how its changelog is read; differs from that of the table where it has a layout.

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
        store_options: Mapping[str, Any] | None = None,
        changelog_config: Mapping[str, str] | None = None,
        replicas: int | None = None,
        recovery_buffer_size: int = CHUNK,
        standby_buffer_size: int | None = None,
        on_changelog_event: Callable[[Event[Any]], Any] | None = None,
        on_recover: Callable[[], Any] | None = None,
        on_window_close: Callable[..., Any] | None = None,
        ttl: Seconds | None = None,
    ) -> None:
        if not name or len(name) > 200 or not all(c.isascii() and (c.isalnum() or c in "._-") for c in name):
            raise ConfigurationError(
                f"{name!r} is not a table name: use at most 200 letters, digits, dots, underscores, dashes"
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
        super().__init__(name, schema=schema, changelog=changelog, partitions=partitions, default=default, ttl=ttl)
        self.help = help
        self.key_index_size = 10_000
        self.store = store
        self.store_options = dict(store_options or {})
        self.changelog_config = dict(changelog_config or {})
        self.replicas = replicas
        if on_changelog_event is not None:
            self.on_changelog_event = on_changelog_event
        if on_window_close is not None:
            self.on_window_close = on_window_close
        if on_recover is not None:
            self.on_recover(on_recover)
        self.applying = Applying(
            recovery_buffer_size, standby_buffer_size, None if self.on_changelog_event is None else self._tell
        )

    if not TYPE_CHECKING:  # names of Faust
        inner_join = NotHere(_JOINS)
        left_join = NotHere(_JOINS)
        outer_join = NotHere(_JOINS)
        data = NotHere("the table is the dictionary: table[key], table.items()")
        partition_for_key = NotHere(
            "a key is in the partition of the event that changed it: @app.table_route finds its worker"
        )
        persisted_offset = NotHere("the command `tables` shows how far stores are, and the snapshot of a worker has it")
        raw_update = NotHere("what a table has is what its changelog has: update() it in an event")
        reset_state = NotHere(
            "the command `reset` deletes the stores of an app, which are recovered from their changelogs"
        )
        send_changelog = NotHere("assign the value in an event, table[key] = value: its checkpoint sends it")

    async def _tell(self, changelog: TP, record: RawRecord) -> None:
        """Call ``on_changelog_event`` with the event of a changelog record. Raises WorkerError when it raises."""
        where = f"on_changelog_event of table {self.name}, at {changelog} offset {record.offset}"
        tell = self.on_changelog_event
        try:
            value = None if record.value is None else self.log_schema.read_value(record)
        except Exception as error:
            logger.error("%s, is not told of a value that is not of the type of the table: %s", where, error)
            return
        if tell is not None:
            await self.called(partial(tell, Event(self.log_schema, changelog, record, value)), where)

    @property
    def tombstones(self) -> float:
        """Seconds for which the changelog keeps deletions: a store that has missed more than half of that has missed some, perhaps.

        :meta private:
        """
        try:
            return int(self.changelog_config["delete.retention.ms"]) / 1000
        except (KeyError, ValueError):  # nothing is said; or the broker will refuse it
            return TOMBSTONES

    # -- partitions

    def attach(self, run: Run, partition: int, part: TablePartition[V]) -> None:
        """Take in a partition; see :meth:`Held.attach`.

        :meta private:
        """
        if self.sensors is not None:
            decode = partial(self._keys.decode, self.changelog_tp(partition))
            part = watched(part, self, decode, self.sensors)
        super().attach(run, partition, part)

    # -- reading

    def __getitem__(self, key: K) -> V:
        effects = current_effects()
        value: Any
        if effects is None or effects.atom is None:
            value = self._get(key)
        else:  # the path of an event: look-ups, and as few calls as can be
            part = self._here if effects.session is self._session and not effects.others else self.part(effects)
            try:
                data = self._of_text(key) if type(key) is str else self._encode(key)
            except ValueError:
                data = self._encode(key)  # it says what is wrong
            overlay = part.overlay  # type: ignore[union-attr]
            if effects is not overlay.writer:
                value = part.get(effects, data)  # type: ignore[union-attr]
            elif (value := overlay.active.get(data)) is None and (value := overlay.frozen.get(data)) is None:
                value = part.unchanged(effects, data)  # type: ignore[union-attr]
            elif type(value) is not self._plain and type(value) not in PLAIN:
                value = part.get(effects, data)  # type: ignore[union-attr]
        if value is not ABSENT:
            return value  # type: ignore[no-any-return]
        if self.default is None:
            raise self.missing(key)
        value = self.default()
        return value if type(value) in PLAIN else self._lend(key, value)

    def _lend(self, key: K, value: V) -> V:
        """Give a default, a new value that may be changed in place, which counts when it is assigned."""
        if (effects := active_effects()) is not None:
            part = self.part(effects)
            if part.in_place is not None:
                part.in_place.lend(effects, self._encode(key), value)
        return value

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
        effects = active_effects()
        if effects is None:
            return any(self.look(part, partial(part.holds, None, data), False) for part in self.parts.values())
        return self.part(effects).holds(effects, data)

    def _get(self, key: object, *, committed: bool = False) -> V | Absent:
        data = self._encode(key)
        effects = active_effects()
        if effects is None:
            return self._probe(data, committed=committed)
        part = self.part(effects)
        if not committed:
            return part.get(effects, data)
        value = part.committed_value(data)
        if value is not ABSENT and part.in_place is not None:
            part.in_place.lend(effects, data, value)
        return value

    def _probe(self, data: bytes, *, committed: bool) -> V | Absent:
        """Look in all partitions held here: topic keys and table keys differ in bytes, so hashing would be wrong."""
        parts, known = self.parts, self._routes.get(data)
        for partition in (known, *parts) if known in parts else parts:
            part = parts[partition]
            read = partial(part.committed_value, data) if committed else partial(part.get, None, data)
            value: V | Absent = self.look(part, read, ABSENT)
            if value is not ABSENT:
                if len(self._routes) >= self.key_index_size:
                    self._routes.clear()
                self._routes[data] = partition
                return value
        return ABSENT

    # -- iteration

    def __iter__(self) -> Iterator[K]:
        return (key for key, _ in self._entries())

    def __len__(self) -> int:
        return sum(1 for _ in self._entries())

    def keys(self) -> TableKeys[K]:
        """Give a view of all keys held here; in an event of those of its partition."""
        return TableKeys(self)

    def values(self) -> TableValues[V]:
        """Give a view of all values held here; in an event of those of its partition."""
        return TableValues(self, self._entries)

    def items(self) -> TableItems[K, V]:
        """Give a view of all keys and values held here; in an event of those of its partition.

        A loop over it has what is there when it begins: what is changed while somebody iterates is not in it.
        """
        return TableItems(self, self._entries)

    def copy(self) -> dict[K, V]:
        """Give all keys and values held here as a dictionary; in an event those of its partition."""
        return dict(self.items())

    __eq__ = object.__eq__  # a table is equal to itself alone: comparing what two have would read both
    __hash__ = object.__hash__

    def as_ansitable(
        self,
        title: str = "{table.name}",
        key: str = "Key",
        value: str = "Value",
        sort: bool = False,
        sortkey: Callable[[tuple[K, V]], Any] = itemgetter(0),
    ) -> str:
        """Draw what is held here as text, to be printed; in an event what its partition has.

        Args:
            title: stands over it; ``{table.name}`` in it is the name of the table.
            key: name of the column of keys.
            value: name of the column of values.
            sort: whether rows are sorted.
            sortkey: gives of ``(key, value)`` what they are sorted by; the key when left out.
        """
        title = title.replace("{table.name}", self.name)
        return as_text(self.items(), title=title, heads=(key, value), sort=sort, sortkey=sortkey)

    def _entries(self) -> Iterator[tuple[K, Callable[[], V]]]:
        """Give the keys, each with what decodes its value; taken at once, so that the event that is open now is the one that sees it."""
        effects = active_effects()
        parts = list(self.parts.values()) if effects is None else [self.part(effects)]
        none: Iterator[tuple[bytes, Found]] = iter(())
        taken = [(part, self.look(part, partial(part.entries, effects), none)) for part in parts]
        return (
            (key, partial(part.value_of, effects, data, entry))
            for part, entries in taken
            for data, entry in entries
            if (key := self._keys.decode_found(part.changelog, data, entry)) is not None
        )

    # -- writing

    def __setitem__(self, key: K, value: V) -> None:
        effects = current_effects()
        if effects is None or effects.atom is None:
            effects = self.writer()
        part = self._here if effects.session is self._session and not effects.others else self.part(effects)
        try:
            data = self._of_text(key) if type(key) is str else self._encode(key)
        except ValueError:
            data = self._encode(key)  # it says what is wrong
        kind, overlay = type(value), part.overlay  # type: ignore[union-attr]
        if (
            effects is overlay.writer
            and effects.session is overlay.session
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
            effects.undo.append((overlay, data, previous))
            effects.attention = True
            active[data] = value  # type: ignore[assignment]  # of a kept type, see above
            if previous is ABSENT:
                overlay.size += len(data) + ENTRY
            elif type(previous) is not kind:
                overlay.count(data, previous, value)  # type: ignore[arg-type]
        else:
            part.set(effects, data, value)  # type: ignore[union-attr]

    def __delitem__(self, key: K) -> None:
        """Delete a key; one that is not a key of this table, as a version before it wrote it, by its bytes."""
        effects = self.writer()
        part, given = self.part(effects), cast("Any", key)
        try:
            data = self._encode(key)
        except TableError:
            if type(given) is not bytes or self._keys.fits(given) or not part.holds(effects, given):
                raise
            data = given
        if not part.holds(effects, data):
            raise self.missing(key)
        part.delete(effects, data)

    @overload
    def pop(self, key: K, /) -> V: ...
    @overload
    def pop(self, key: K, default: D, /) -> V | D: ...
    def pop(self, key: K, /, *default: D) -> V | D:
        """Remove ``key`` and return its value; without it ``default``, or KeyError."""
        value = self._get(key)
        if value is not ABSENT:
            del self[key]
            return value
        if default:
            return default[0]
        raise self.missing(key)

    def setdefault(self, key: K, default: V) -> V:
        """Give the value of ``key``, after storing ``default`` when it was missing."""
        value = self._get(key)
        if value is not ABSENT:
            return value
        self[key] = default
        return default

    def clear(self) -> None:
        """Delete all keys of the partition of the open event, those that cannot be read included."""
        effects = self.writer()
        part = self.part(effects)
        for data, _ in part.range(effects):
            if self.window is None or self._keys.decode(part.changelog, data) is not None:  # else a row about windows
                part.delete(effects, data)

    def __ior__(self, other: Mapping[K, V]) -> Self:
        """Assign many keys, as :meth:`update`."""
        self.update(other)
        return self

    def __repr__(self) -> str:
        return f"<Table {self.name}: {sum(len(held) for held in self._held.all())} partitions here>"
