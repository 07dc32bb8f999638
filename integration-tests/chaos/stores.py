"""Reads the stores of a data directory after its workers have ended."""

from __future__ import annotations

from pathlib import Path

from stream_tables.options import RocksDBOptions
from stream_tables.partition import Facts
from stream_tables.rocksdb import RocksDBStores

__all__ = ["read_tables"]


def read_tables(data: Path, table: str) -> dict[int, dict[bytes, bytes]]:
    """The keys and values that the owner of each partition of a table has on its disk.

    A worker that could not get the lock of a store replays it into a directory of its instance, so that there may be several
    copies: the owner's is the one furthest on in the changelog.
    """
    newest: dict[int, tuple[int, dict[bytes, bytes]]] = {}
    for path in sorted(data.glob(f"v1/**/{table}-*.db")):
        partition = int(path.stem.rpartition("-")[2])
        stores = RocksDBStores(path.parent, RocksDBOptions())
        try:
            store = stores.open(table, partition)
            position = int(store.fact(Facts.POSITION) or -1)
            if position >= newest.get(partition, (-1, {}))[0]:
                newest[partition] = position, dict(store.range())
        finally:
            stores.close()
    return {partition: values for partition, (_, values) in newest.items()}
