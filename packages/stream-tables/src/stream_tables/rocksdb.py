"""Stores on RocksDB: one database per table partition, one memory bound per worker.

Values are in the default column family and facts in their own, so that no user key can ever meet a fact. Both are
written in one batch through the write-ahead log, and flushed together: what is on disk after ``kill -9`` is always a
point between two batches. The log is not synced on each write, so a power failure can lose the last batches, never
part of one; their position is lost with them, and the changelog has them.

rocksdict holds the interpreter lock in reads and writes: a thread does not help, small batches do. It gives up the lock
file only when every iterator and column family handle is gone, closed or not: :class:`RocksDBStore` keeps track of all
it hands out.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias
from weakref import WeakSet

from rocksdict import (
    BlockBasedOptions,
    Cache,
    ColumnFamily,
    DbClosedError,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
)

from stream_core.errors import ConfigurationError, StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import KeyRange
from stream_tables.settings import TablesSettings

__all__ = ["RocksDBStore", "RocksDBStores"]

logger = logging.getLogger(__name__)

VALUES, FACTS = "default", "facts"
NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
BLOOM_BITS = 10  # a key: 1 in 100 look-ups of a missing key reads a block in vain
BUFFERS = 4  # write buffers of a store: one is filled while the others go to disk
# RocksDB takes 1 MiB at once for each column family: idle stores alone would fill the shared bound, and every write to
# another one would then write a file (64 stores: 7 times slower).
ARENA_BYTES = 64 << 10
COUNTED = 1024
"""So many batches of a store leave their number behind, by which the next open sees whether one is missing. Those that are in logs only are
fewer: all logs have 64 MB together, and a batch that comes with many others has up to 100 kB."""
BATCHES, BATCH = b"\0batches", b"\0batch-%d"  # beside the facts, whose names are text
MISSING = "IO error: No such file or directory"
"""How an error of RocksDB begins when one of its files is gone, or another file names a wrong one."""

Families: TypeAlias = dict[str, Options]


class RocksDBStores:
    """Opens the stores of a worker under one directory, created with mode 0700: ``{directory}/{table}-{partition}.db``.

    Args:
        directory: where the databases are.
        settings: the memory bounds; they hold for all stores together.

    Raises:
        StoreError: the directory cannot be created.
    """

    def __init__(self, directory: Path, settings: TablesSettings) -> None:
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"store directory {directory} cannot be created: {error}; check it, or set another one"
            ) from error
        self._directory = directory
        self._families = _families(settings)
        self._stores: dict[Path, RocksDBStore] = {}

    def open(self, table: str, partition: int) -> RocksDBStore:
        """Open the store of a table partition, creating it when there is none.

        Raises:
            ConfigurationError: the table's name cannot be part of a file name.
            StoreLockedError: it is open, here or in another process.
            StoreCorruptError: it cannot be opened: destroy it and replay the changelog.
            StoreError: the disk is full, the directory is not ours, or the like.
        """
        path = self._path(table, partition)
        store = self._stores[path] = RocksDBStore(path, self._families)
        return store

    def destroy(self, table: str, partition: int) -> None:
        """Remove the files of a table partition; does nothing when there are none. Raises StoreLockedError when it is open."""
        _destroy(self._path(table, partition))

    def close(self) -> None:
        """Close every store that is open; calling it again does nothing."""
        for store in self._stores.values():
            store.close()

    def _path(self, table: str, partition: int) -> Path:
        if not NAME.fullmatch(table):
            raise ConfigurationError(
                f"table name {table!r}: use 1 to 200 letters, digits, dots, hyphens and underscores (ASCII)"
            )
        path = self._directory / f"{table}-{partition}.db"
        if path.is_symlink():
            raise StoreError(
                f"store {path} is a symbolic link, which is not followed: remove it, or link the data directory as a whole"
            )
        return path


class RocksDBStore:
    """The values of one table partition in a RocksDB database; made by :meth:`RocksDBStores.open`.

    The methods raise StoreCorruptError when a block is damaged (:meth:`wipe`, and replay the changelog), and StoreError
    when the store is closed, the disk is full, or anything else fails.
    """

    _values: Rdict
    _facts: Rdict
    _facts_handle: ColumnFamily | None
    _batches: int

    def __init__(self, path: Path, families: Families) -> None:
        self._path = path
        self._families = families
        self._items: WeakSet[_Items] = WeakSet()
        self._open()

    def get(self, key: bytes) -> bytes | None:
        """Read the value of ``key``; ``None`` when there is none."""
        try:
            return self._values.get(key)
        except Exception as error:
            raise _failure(error, self._path) from error

    def range(self, begin: bytes = b"", end: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the keys of a range and their values, in the order of bytes, as they were when the call was made.

        Closing or wiping the store ends the iteration with a StoreError at its next step. A deleted range costs those who iterate over
        it time until RocksDB has compacted it away: begin behind it where that is known.
        """
        options = ReadOptions()
        if end is not None:  # else RocksDB looks for a next key, over all that was deleted behind the range
            options.set_iterate_upper_bound(end)
        try:
            items = _Items(self._values.iter(options), begin, options, self._path)
        except Exception as error:
            raise _failure(error, self._path) from error
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

        The event loop stands still meanwhile, 1 to 2 ms for 1,000 changes: more than that belong in
        :func:`stream_tables.stores.write_chunked`, which also says what still holds then. A range takes as long as one change.
        """
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        number = self._batches + 1
        try:
            for begin, end in deleted:
                self._delete_range(batch, begin, end)
            for key, value in changes.items():
                if value is None:
                    delete(key)
                else:
                    put(key, value)
            for name, fact in (facts or {}).items():
                put(name.encode(), fact, self._facts_handle)
            put(BATCHES, b"%d" % number, self._facts_handle)
            put(BATCH % (number % COUNTED), b"%d" % number, self._facts_handle)
            self._values.write(batch)
        except Exception as error:
            raise _failure(error, self._path) from error
        self._batches = number

    def _delete_range(self, batch: WriteBatch, begin: bytes, end: bytes | None) -> None:
        """Delete a range in a batch. RocksDB refuses ranges that end before they begin, and has none without an end."""
        if end is None:
            cursor = self._values.iter()
            try:
                cursor.seek_to_last()
                if not cursor.valid():
                    cursor.status()
                    return
                end = cursor.key() + b"\0"
            finally:
                del cursor  # the traceback of an error would keep it alive, and with it the lock
        if begin < end:
            batch.delete_range(begin, end)

    def fact(self, name: str) -> bytes | None:
        """Read a named fact, such as the changelog position."""
        try:
            return self._facts.get(name.encode())
        except Exception as error:
            raise _failure(error, self._path) from error

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

        It writes what is in memory to a table file, which takes up to 0.2 s without the interpreter lock.
        """
        for items in list(self._items):
            items.release()
        self._facts_handle = None
        for family in (self._values, self._facts):  # closing flushes: never facts that are ahead of their values
            try:
                family.close()
            except DbClosedError:
                pass
            except Exception as error:
                logger.warning(
                    "%s; closed all the same, the next open reads it from the log", _failure(error, self._path)
                )

    def _open(self) -> None:
        try:
            self._path.mkdir(mode=0o700, exist_ok=True)
            self._values = Rdict(str(self._path), self._families[VALUES], column_families=self._families)
            self._facts = self._values.get_column_family(FACTS)
            self._facts_handle = self._values.get_column_family_handle(FACTS)
        except Exception as error:
            raise _failure(error, self._path) from error
        try:
            self._batches = self._counted()
        except BaseException:
            self.close()
            raise

    def _counted(self) -> int:
        """Give the number of the last batch, once all before it are found.

        RocksDB keeps up to four logs, and opens without a word when one of them is gone or empty: what the later ones have is there then,
        a changelog position among it, and what the lost one had is not. The same is so of a manifest that lacks its end. A store of a
        version that did not count begins at 0.
        """
        try:
            last = int(self._facts.get(BATCHES) or 0)
            numbers = range(max(1, last - COUNTED + 1), last + 1)
            found = self._facts.get([BATCH % (number % COUNTED) for number in numbers]) or ()
        except Exception as error:
            raise _failure(error, self._path) from error
        lost = [number for number, data in zip(numbers, found, strict=True) if data != b"%d" % number]
        if lost:
            raise StoreCorruptError(
                f"store {self._path} is damaged: wipe it and replay the changelog (of its {last} batches {len(lost)} are missing, "
                f"from {lost[0]} on: a file is gone or cut)"
            )
        return last


class _Items(Iterator[tuple[bytes, bytes]]):
    """Iterates over a store until it is released. rocksdict's own iterators end without an error at a damaged block."""

    def __init__(self, cursor: RdictIter, begin: bytes, options: ReadOptions, path: Path) -> None:
        cursor.seek(begin)
        self._options = options  # RocksDB reads the end of the range in there at each step, and rocksdict's iterator does not keep it
        self._cursor: RdictIter | None = cursor
        self._path = path

    def __next__(self) -> tuple[bytes, bytes]:
        cursor = self._cursor  # once: another thread may release it
        if cursor is None:
            raise StoreError(f"store {self._path} was closed or wiped during an iteration")
        try:
            if cursor.valid():
                item = cursor.key(), cursor.value()
                cursor.next()
                return item
            cursor.status()
        except Exception as error:
            raise _failure(error, self._path) from error
        finally:
            del cursor  # the traceback of an error would keep it alive, and with it the lock
        raise StopIteration

    def release(self) -> None:
        """Let go of the database."""
        self._cursor = None


def _families(settings: TablesSettings) -> Families:
    """Make the options of the column families; they hold the cache and the write buffers that all stores share."""
    cache = Cache(settings.block_cache_bytes)
    buffers = WriteBufferManager.new_write_buffer_manager_with_cache(settings.write_buffer_bytes, False, cache)
    return {name: _options(settings, cache, buffers) for name in (VALUES, FACTS)}


def _options(settings: TablesSettings, cache: Cache, buffers: WriteBufferManager) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(cache)
    blocks.set_cache_index_and_filter_blocks(True)  # else they are outside of the memory bound
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    blocks.set_bloom_filter(BLOOM_BITS, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    # A damaged log then loses values and facts to the same point, and logs are removed as soon as their values are in files.
    options.set_atomic_flush(True)
    options.set_write_buffer_manager(buffers)
    options.set_write_buffer_size(max(settings.write_buffer_bytes // BUFFERS, ARENA_BYTES))
    options.set_max_write_buffer_number(BUFFERS)
    options.set_arena_block_size(ARENA_BYTES)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options


def _destroy(path: Path) -> None:
    try:
        Rdict.destroy(str(path), Options(raw_mode=True))
    except Exception as error:
        raise _failure(error, path) from error


def _failure(error: Exception, path: Path) -> StoreError:
    """Make the error of ours for one of rocksdict, which has a text and no type."""
    text = str(error)
    if isinstance(error, DbClosedError):
        return StoreError(f"store {path} is closed")
    if "lock hold by current process" in text:
        return StoreLockedError(f"store {path} is open in this process already: close it first")
    if "While lock file" in text:
        return StoreLockedError(
            f"store {path} is open in another process: wait for it to end, or give each its own data directory"
        )
    if text.startswith(("Corruption", MISSING)):
        return StoreCorruptError(f"store {path} is damaged: wipe it and replay the changelog ({text})")
    if "No space left" in text:
        return StoreError(f"store {path} cannot be written, the disk is full: free space and restart ({text})")
    if "Too many open files" in text:
        return StoreError(f"store {path} needs more open files than the process may have: raise `ulimit -n` ({text})")
    return StoreError(f"store {path} failed: {text}")
