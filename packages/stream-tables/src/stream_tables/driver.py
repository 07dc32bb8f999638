"""The driver behind ``rocksdb://``: what an app calls, with the directory of its tables and what was said of them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from shlex import quote
from typing import Any

from stream_core.errors import MissingPackageError
from stream_core.ports import Stores
from stream_tables.options import PYTHON_ROCKSDB, ROCKSDICT, RocksDBOptions

__all__ = ["open_stores"]

CLASSES = {
    ROCKSDICT: ("stream_tables.rocksdb", "RocksDBStores", "stream-tables"),
    PYTHON_ROCKSDB: ("stream_tables.python_rocksdb", "PythonRocksDBStores", "stream-tables[python-rocksdb]"),
}
"""Of each driver: the module, the class, and what to install; a library is loaded where it is used."""


def open_stores(directory: Path, **options: Any) -> Stores:
    """Open the stores below ``directory``.

    Args:
        directory: where the databases are; it is created.
        options: see :class:`~stream_tables.options.RocksDBOptions`.

    Raises:
        ConfigurationError: there is no such option, or its value is none.
        MissingPackageError: the library that ``driver`` names is not installed.
        StoreError: the directory cannot be written.
    """
    read = RocksDBOptions.of(options)
    module, name, package = CLASSES[read.driver]
    try:
        made: Stores = getattr(import_module(module), name)(directory, read)
    except ImportError as error:
        raise MissingPackageError(
            f"the driver {read.driver} of rocksdb:// cannot be loaded ({error}); pip install {quote(package)}"
        ) from error
    return made
