"""Stores on RocksDB by python-rocksdb, as the package faust-streaming-rocksdb ships it: the same files and promises as by rocksdict.

What this library lacks is made up for here. It has no deletion of ranges: each key of a range is deleted, in the same batch. It has no
write buffers that stores share: each has its own, of the size that the option says. And it works on a database that is closed, or
an iterator of one, until the process dies of it: so each call holds the lock of its store, and nothing is handed out that
outlives :meth:`PythonRocksDBStore.close`. Each close leaves some of RocksDB's own memory behind.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Any, Final
from weakref import WeakSet, WeakValueDictionary

import rocksdb

from stream_core.errors import StoreError, StoreLockedError
from stream_core.ports import KeyRange, StoreSize
from stream_tables.files import (
    ARENA_BYTES,
    BATCH,
    BATCHES,
    BUFFERS,
    COUNTED,
    FACTS,
    VALUES,
    Files,
    check_batches,
    failure,
    numbers,
)
from stream_tables.options import RocksDBOptions

__all__ = ["PythonRocksDBStore", "PythonRocksDBStores"]

COMPRESSION: Final = {
    "none": rocksdb.CompressionType.no_compression,
    "snappy": rocksdb.CompressionType.snappy_compression,
    "lz4": rocksdb.CompressionType.lz4_compression,
    "lz4hc": rocksdb.CompressionType.lz4hc_compression,
    "zstd": rocksdb.CompressionType.zstd_compression,
}
SIZES = b"rocksdb.estimate-num-keys", b"rocksdb.total-sst-files-size", b"rocksdb.cur-size-active-mem-table"


class _Cache:
    """The cache that stores share."""

    def __init__(self, size: int) -> None:
        self.cache = rocksdb.LRUCache(size)


_caches: WeakValueDictionary[int, _Cache] = WeakValueDictionary()
_open: set[str] = set()
"""The stores that are open in this process: RocksDB's lock of a file says nothing to the process that has it."""
_shared = Lock()
"""Held while the two above are used."""


class PythonRocksDBStores(Files["PythonRocksDBStore"]):
    """Opens the stores of a worker; see :class:`.files.Files`.

    Raises:
        StoreError: the directory cannot be created.
    """

    def __init__(self, directory: Path, options: RocksDBOptions) -> None:
        super().__init__(directory, lambda path: PythonRocksDBStore(path, options, self._cache), _destroy)
        with _shared:
            self._cache = _caches.get(options.cache) or _caches.setdefault(options.cache, _Cache(options.cache))


class PythonRocksDBStore:
    """The values of one table partition in a RocksDB database; made by :meth:`PythonRocksDBStores.open`.

    The methods raise StoreCorruptError when a block is damaged (:meth:`wipe`, and replay the changelog), and StoreError
    when the store is closed, the disk is full, or anything else fails.
    """

    def __init__(self, path: Path, options: RocksDBOptions, cache: _Cache) -> None:
        self._path = path
        self._options = options
        self._cache = cache
        self._lock = Lock()
        self._items: WeakSet[_Items] = WeakSet()
        self._db: Any = None
        self._facts: Any = None
        self._batches = 0
        self._open()

    def get(self, key: bytes) -> bytes | None:
        """Read the value of ``key``; ``None`` when there is none."""
        with self._lock:
            return self._get(key)

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys of a range and their values, in the order of bytes, as they were when the call was made.

        Closing or wiping the store ends the iteration with a StoreError at its next step.
        """
        with self._lock:
            items = _Items(self._cursor(begin), end, self._lock, self._path)
            self._items.add(items)
            return items

    def write(
        self,
        changes: Mapping[bytes, bytes | None],
        facts: Mapping[str, bytes] | None = None,
        *,
        deleted: Collection[KeyRange] = (),
    ) -> None:
        """Delete ranges, then apply changes (``None`` deletes) and facts: all as one atomic batch that survives ``kill -9``.

        A range takes as long as reading and deleting its keys.
        """
        with self._lock:
            self._require_open()
            batch = rocksdb.WriteBatch()
            put, delete, number, handle = batch.put, batch.delete, self._batches + 1, self._facts
            try:
                for begin, end in deleted:
                    for key in self._keys(begin, end):
                        delete(key)
                for key, value in changes.items():
                    if value is None:
                        delete(key)
                    else:
                        put(key, value)
                for name, fact in (facts or {}).items():
                    put((handle, name.encode()), fact)
                put((handle, BATCHES), b"%d" % number)
                put((handle, BATCH % (number % COUNTED)), b"%d" % number)
                self._db.write(batch, disable_wal=not self._options.wal)
            except StoreError:
                raise
            except Exception as error:
                raise failure(error, self._path) from error
            self._batches = number

    def fact(self, name: str) -> bytes | None:
        """Read a named fact, such as the changelog position."""
        with self._lock:
            return self._get((self._facts, name.encode()))

    def size(self) -> StoreSize:
        """Tell about how many keys it has, and how many bytes its values take in files and in memory; no file is read.

        RocksDB takes each change that is in memory for a key, and each deletion for one key less.
        """
        with self._lock:
            self._require_open()
            keys, files, memory = (int(self._db.get_property(name) or 0) for name in SIZES)
        return StoreSize(keys, files + memory)

    def wipe(self) -> None:
        """Remove all values and facts, also of a store that is damaged.

        The database is closed, removed and created again. Should another process open it in between, StoreLockedError is
        raised and the store stays closed.
        """
        self.close()
        _destroy(self._path)
        self._open()

    def close(self) -> None:
        """Give up the store and its lock; calling it again does nothing.

        Without a write-ahead log it writes what is in memory to a table file; what is in the log is read at the next opening.
        """
        with self._lock:
            db, self._db, self._facts = self._db, None, None
            if db is None:
                return
            for items in list(self._items):
                items.release()
            db.close()
        with _shared:
            _open.discard(_name(self._path))

    def _open(self) -> None:
        path, options = self._path, self._options
        with self._lock:
            with _shared:
                if _name(path) in _open:
                    raise StoreLockedError(f"store {path} is open in this process already: close it first")
                _open.add(_name(path))
            try:
                path.mkdir(mode=0o700, exist_ok=True)
                self._db = rocksdb.DB(
                    str(path),
                    _database(options, self._cache),
                    column_families={
                        VALUES.encode(): _family(options, self._cache),
                        FACTS.encode(): _family(options, self._cache),
                    },
                )
                self._facts = self._db.get_column_family(FACTS.encode())
            except Exception as error:
                self._db = None
                with _shared:
                    _open.discard(_name(path))
                raise failure(error, path) from error
        try:
            self._batches = self._counted()
        except BaseException:
            self.close()
            raise

    def _counted(self) -> int:
        """Give the number of the last batch, once all before it are found."""
        with self._lock:
            last = int(self._get((self._facts, BATCHES)) or 0)
            keys = [(self._facts, BATCH % (number % COUNTED)) for number in numbers(last)]
            try:
                found = self._db.multi_get(keys, as_dict=False)
            except Exception as error:
                raise failure(error, self._path) from error
        check_batches(self._path, last, found)
        return last

    def _get(self, key: Any) -> bytes | None:
        self._require_open()
        try:
            found: bytes | None = self._db.get(key)
        except Exception as error:
            raise failure(error, self._path) from error
        return found

    def _cursor(self, begin: bytes) -> Any:
        """Give what iterates from a key on; the lock is held."""
        self._require_open()
        try:
            cursor = self._db.iteritems()
            cursor.seek(begin)
        except Exception as error:
            raise failure(error, self._path) from error
        return cursor

    def _keys(self, begin: bytes, end: bytes | None) -> list[bytes]:
        """Give the keys of a range; the lock is held."""
        cursor, keys = self._cursor(begin), []
        try:
            for key, _ in cursor:
                if end is not None and key >= end:
                    break
                keys.append(key)
        finally:
            del cursor  # the traceback of an error would keep it alive
        return keys

    def _require_open(self) -> None:
        if self._db is None:
            raise StoreError(f"store {self._path} is closed")


class _Items(Iterator[tuple[bytes, bytes]]):
    """Iterates over a store until it is released."""

    def __init__(self, cursor: Any, end: bytes | None, lock: Lock, path: Path) -> None:
        self._cursor = cursor
        self._end = end
        self._lock = lock
        self._path = path

    def __next__(self) -> tuple[bytes, bytes]:
        with self._lock:
            if self._cursor is None:
                raise StoreError(f"store {self._path} was closed or wiped during an iteration")
            try:
                item: tuple[bytes, bytes] = next(self._cursor)
            except StopIteration:
                raise
            except Exception as error:
                raise failure(error, self._path) from error
        if self._end is not None and item[0] >= self._end:
            raise StopIteration
        return item

    def release(self) -> None:
        """Let go of the database; the lock is held."""
        self._cursor = None


def _database(given: RocksDBOptions, cache: _Cache) -> Any:
    options = _family(given, cache, rocksdb.Options)
    options.create_if_missing = True
    options.create_missing_column_families = True
    options.atomic_flush = True  # as in stream_tables.rocksdb
    options.db_write_buffer_size = given.write_buffer
    options.max_open_files = given.open_files
    options.keep_log_file_num = 2
    options.stats_dump_period_sec = 0
    return options


def _family(given: RocksDBOptions, cache: _Cache, make: Any = rocksdb.ColumnFamilyOptions) -> Any:
    """Make the options of a column family, which serve one database only."""
    options = make()
    options.table_factory = rocksdb.BlockBasedTableFactory(
        block_cache=cache.cache,
        cache_index_and_filter_blocks=True,
        filter_policy=rocksdb.BloomFilterPolicy(given.bloom) if given.bloom else None,
    )
    options.write_buffer_size = max(given.write_buffer // BUFFERS, ARENA_BYTES)
    options.max_write_buffer_number = BUFFERS
    options.arena_block_size = ARENA_BYTES
    options.compression = COMPRESSION[given.compression]
    return options


def _name(path: Path) -> str:
    return os.path.realpath(path)


def _destroy(path: Path) -> None:
    """Remove a store that nobody has open. The library cannot, so its lock is taken as RocksDB takes it."""
    with _shared:
        if _name(path) in _open:
            raise StoreLockedError(f"store {path} is open in this process already: close it first")
        try:
            lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"store {path} cannot be removed: {error}") from error
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        except BlockingIOError as error:
            raise StoreLockedError(
                f"store {path} is open in another process: wait for it to end, or give each its own data directory"
            ) from error
        except OSError as error:
            raise StoreError(f"store {path} cannot be removed: {error}") from error
        finally:
            os.close(lock)
