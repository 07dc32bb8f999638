"""The stores ``memory://``: values of tables that live as long as the object that opened them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from threading import Lock

from stream_core.errors import StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import KeyRange, StoreSize

__all__ = ["MemoryStore", "MemoryStores"]


@dataclass(slots=True)
class _Data:
    """What would be files: it outlives the store that is open on it."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    order: list[bytes] | None = None  # the keys in order; None when it is to be made again
    size: int = 0  # bytes of keys and values
    facts: dict[str, bytes] = field(default_factory=dict)
    wipes: int = 0
    store: MemoryStore | None = None
    damaged: set[bytes] = field(default_factory=set)
    refused: StoreError | None = None
    on_close: Callable[[], None] | None = None
    lock: Lock = field(default_factory=Lock)  # any thread may iterate, and remembers the order of the keys

    def within(self, begin: bytes, end: bytes | None) -> list[bytes]:
        """Give the keys of a range in order."""
        order = self.order = sorted(self.values) if self.order is None else self.order
        return order[bisect_left(order, begin) : None if end is None else bisect_left(order, end)]

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set the value of a key; ``None`` deletes it."""
        if (key in self.values) is (value is None):
            self.order = None
        old = self.values.pop(key, None) if value is None else self.values.get(key)
        if old is not None:
            self.size -= len(key) + len(old)
        if value is not None:
            self.values[key] = value
            self.size += len(key) + len(value)


class MemoryStore:
    """The in-process side of :class:`~stream_core.ports.Store`; made by :meth:`MemoryStores.open`.

    Args:
        name: table and partition, for messages.
        data: what it is opened on.
    """

    def __init__(self, name: str, data: _Data) -> None:
        self._name = name
        self._data: _Data | None = data
        data.store = self

    def get(self, key: bytes) -> bytes | None:
        """Read the value of ``key``; ``None`` when there is none."""
        data = self._opened
        self._look(data, key)
        return data.values.get(key)

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys of a range and their values, in the order of bytes, as they were when the call was made."""
        data = self._opened
        with data.lock:
            return self._each(data, data.wipes, [(key, data.values[key]) for key in data.within(begin, end)])

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        facts: Mapping[str, bytes] | None = None,
        *,
        deleted: Collection[KeyRange] = (),
    ) -> None:
        """Delete ranges, then apply changes (``None`` deletes) and facts."""
        data = self._opened
        if data.refused is not None:
            raise data.refused
        with data.lock:
            for begin, end in deleted:
                for key in data.within(begin, end):
                    data.put(key, None)
            for key, value in changes.items():
                data.put(key, value)
            data.facts.update(facts or {})

    def fact(self, name: str) -> bytes | None:
        """Read a named fact."""
        return self._opened.facts.get(name)

    def size(self) -> StoreSize:
        """Tell how large it is."""
        data = self._opened
        return StoreSize(len(data.values), data.size)

    def wipe(self) -> None:
        """Remove all values and facts."""
        data = self._opened
        with data.lock:
            data.values.clear()
            data.size = 0
            data.order = None
            data.facts.clear()
            data.wipes += 1
            data.damaged.clear()
            data.refused = None

    def close(self) -> None:
        """Give up the store; the values stay for the next one that opens it."""
        if self._data is not None:
            if self._data.on_close is not None:
                self._data.on_close()
            self._data.store = None
            self._data = None

    def _look(self, data: _Data, key: bytes) -> None:
        if key in data.damaged:
            raise StoreCorruptError(
                f"the store of {self._name} is damaged at key {key!r}: wipe it and replay the changelog"
            )

    def _each(self, data: _Data, wipes: int, items: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in items:
            if self._data is None or data.wipes != wipes:
                raise StoreError(f"the store of {self._name} was closed or wiped during an iteration: begin it again")
            if data.damaged:
                self._look(data, key)
            yield key, value

    @property
    def _opened(self) -> _Data:
        """The data. Raises StoreError after close."""
        if self._data is None:
            raise StoreError(f"the store of {self._name} is closed: open it again")
        return self._data


class MemoryStores:
    """The in-process side of :class:`~stream_core.ports.Stores`: each object is a disk of its own."""

    def __init__(self) -> None:
        self._data: dict[tuple[str, int], _Data] = {}

    def open(self, table: str, partition: int) -> MemoryStore:
        """Open a table partition. Raises StoreLockedError when it is open."""
        name = f"table {table}, partition {partition}"
        data = self._data.setdefault((table, partition), _Data())
        if data.store is not None:
            raise StoreLockedError(f"the store of {name} is open already: close it first")
        data.refused = None
        return MemoryStore(name, data)

    def destroy(self, table: str, partition: int) -> None:
        """Forget the values of a table partition. Raises StoreLockedError when it is open."""
        data = self._data.get((table, partition))
        if data is not None and data.store is not None:
            raise StoreLockedError(f"the store of table {table}, partition {partition} is open: close it first")
        self._data.pop((table, partition), None)

    def close(self) -> None:
        """Close every store that is open; what they hold stays for the next ``open``."""
        for data in self._data.values():
            if data.store is not None:
                data.store.close()

    # -- what goes wrong with a disk

    def damage(self, table: str, partition: int, *keys: bytes) -> None:
        """Let reads of these keys raise StoreCorruptError until the store is wiped or destroyed. Other keys can be read."""
        self._data[table, partition].damaged.update(keys)

    def refuse_writes(self, table: str, partition: int, error: StoreError | None) -> None:
        """Let writes raise ``error`` until the store is closed and opened, as RocksDB does; ``None`` ends that at once."""
        self._data[table, partition].refused = error

    def when_closing(self, table: str, partition: int, call: Callable[[], None]) -> None:
        """Call something whenever the store of a partition is about to be closed; it may raise, or keep the thread waiting."""
        self._data[table, partition].on_close = call
