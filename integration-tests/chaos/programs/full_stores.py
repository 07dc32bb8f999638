"""Stores whose disk is full while there is a file ``full`` in the directory of the row, for machines on which nothing can be mounted."""

from __future__ import annotations

import os
from pathlib import Path

from stream_core.errors import StoreError
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores

FULL = Path(os.environ["CHAOS_DIRECTORY"]) / "full"


class FullStore:
    """A store that cannot be written while its disk is full."""

    def __init__(self, store):
        self._store = store

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, changes, facts=None):
        """Write, unless the disk is full."""
        if FULL.exists():
            raise StoreError("no space left on device (provoked)")
        self._store.write(changes, facts)


class FullStores(RocksDBStores):
    """Makes such stores."""

    def __init__(self, directory):
        super().__init__(directory, RocksDBOptions())

    def open(self, table, partition):
        """Open a store."""
        return FullStore(super().open(table, partition))
