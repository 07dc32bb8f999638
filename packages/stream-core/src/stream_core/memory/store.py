"""The stores ``memory://``: values of tables that live as long as the object that opened them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stream_core.errors import StoreError, StoreLockedError

__all__ = ["MemoryStore", "MemoryStores"]


@dataclass(slots=True)
class _Data:
    """What would be files: it outlives the store that is open on it."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    facts: dict[str, bytes] = field(default_factory=dict)
    store: MemoryStore | None = None


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
        """The value of ``key``."""
        return self._opened.values.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys and values in key order, as they were when the call was made."""
        return iter(sorted(self._opened.values.items()))

    def write(self, changes: Mapping[bytes, bytes | None], facts: Mapping[str, bytes] | None = None) -> None:
        """Apply changes (``None`` deletes) and facts."""
        data = self._opened
        for key, value in changes.items():
            if value is None:
                data.values.pop(key, None)
            else:
                data.values[key] = value
        data.facts.update(facts or {})

    def fact(self, name: str) -> bytes | None:
        """A named fact."""
        return self._opened.facts.get(name)

    def wipe(self) -> None:
        """Remove all values and facts."""
        self._opened.values.clear()
        self._opened.facts.clear()

    def close(self) -> None:
        """Give up the store; the values stay for the next one that opens it."""
        if self._data is not None:
            self._data.store = None
            self._data = None

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
