"""The stores of one table on this machine, for whoever looks at them while no worker has them open."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from stream_app.running.drivers import choose_for, load_stores
from stream_core.clocks import SYSTEM
from stream_core.errors import StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import Store
from stream_core.primitives import TP
from stream_tables.changelog import Replay
from stream_tables.partition import Facts
from stream_tables.recovery import why_not
from stream_tables.table import Table

__all__ = ["StoredPartition", "StoredTable"]

logger = logging.getLogger(__name__)


class StoredPartition(NamedTuple):
    """A store of one table partition.

    Attributes:
        partition: its number.
        path: its directory.
        bytes: what all its files have.
        state: ``closed``, ``in use`` when a worker has it open, or ``damaged``.
        position: the changelog offset up to which it has everything; ``None`` when that is not known, or in use.
        keys: about how many keys it has; ``None`` likewise.
    """

    partition: int
    path: Path
    bytes: int
    state: str
    position: int | None
    keys: int | None


class StoredTable:
    """The stores of a table in some directories.

    Args:
        table: the table.
        store: the setting ``store`` of its app.
        directories: where they may be: of all clusters, and of workers that have copies of their own.
    """

    def __init__(self, table: Table[Any, Any], store: str, directories: Sequence[Path]) -> None:
        self._table = table
        self._chosen = choose_for(store, table)
        self._directories = directories

    def partitions(self) -> list[StoredPartition]:
        """Look at each store, by partition. One that no worker has open is opened for a moment."""
        return sorted(self._look(path, partition) for path, partition in self._paths())

    def begin(self, tp: TP, topic_id: str, first: int, end: int, only: Collection[bytes] | None) -> tuple[int, Replay]:
        """Read what the store of a partition has, when no worker has it open.

        Args:
            tp: the changelog partition.
            topic_id: of the changelog; empty when unknown.
            first: the first offset that it holds.
            end: the offset after its last record.
            only: the keys to look for; ``None`` for all.

        Returns:
            the offset from which on the changelog is to be read, and what reads it: from its beginning where there is no such store.
        """
        found: tuple[int, Replay] = first, self._table.replay(only)
        if self._table.layout is not None:  # its store has rows, and not the keys of the changelog
            return found
        for path, partition in self._paths():
            if partition != tp.partition:
                continue
            try:
                with self._opened(path, partition) as store:
                    position = _position(store)
                    if (
                        position is None
                        or position < found[0]
                        or why_not(store, topic_id, first, end, SYSTEM.wall(), self._table.tombstones)
                    ):
                        continue
                    replay = self._table.replay(only)
                    replay.begin(store, int(store.fact(Facts.EPOCH) or 0))
                    found = position, replay
            except StoreError as error:
                logger.debug("%s is not read: %s", path, error)
        return found

    def _paths(self) -> Iterator[tuple[Path, int]]:
        """Find the stores of the table; of RocksDB, since what other drivers keep where is theirs alone."""
        if self._chosen.scheme != "rocksdb":
            return
        for directory in self._directories:
            for path in directory.glob("*.db"):
                found = re.fullmatch(re.escape(self._table.name) + r"-(\d+)\.db", path.name)
                if found is not None and path.is_dir() and not path.is_symlink():
                    yield path, int(found[1])

    @contextmanager
    def _opened(self, path: Path, partition: int) -> Iterator[Store]:
        stores = load_stores(self._chosen)(path.parent)
        try:
            yield stores.open(self._table.name, partition)
        finally:
            stores.close()

    def _look(self, path: Path, partition: int) -> StoredPartition:
        state, position, keys = "closed", None, None
        try:
            with self._opened(path, partition) as store:
                position, keys = _position(store), store.size().keys
        except StoreLockedError:
            state = "in use"
        except StoreCorruptError:
            state = "damaged"
        return StoredPartition(partition, path, _bytes(path), state, position, keys)


def _position(store: Store) -> int | None:
    fact = store.fact(Facts.POSITION)
    return None if fact is None else int(fact)


def _bytes(path: Path) -> int:
    """Add up the files of a store, which come and go while a worker has it open."""
    total = 0
    for file in path.iterdir():
        try:
            total += file.lstat().st_size
        except FileNotFoundError:
            continue
    return total
