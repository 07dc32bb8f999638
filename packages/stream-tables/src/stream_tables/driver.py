"""The driver behind ``rocksdb://``: what an app calls, with the directory of its tables."""

from __future__ import annotations

from pathlib import Path

from stream_tables.rocksdb import RocksDBStores
from stream_tables.settings import TablesSettings

__all__ = ["open_stores"]


def open_stores(directory: Path) -> RocksDBStores:
    """Open the stores below ``directory``; raises StoreError when it cannot be written."""
    return RocksDBStores(directory, TablesSettings())
