"""Stores on RocksDB by rocksdict: one database per table partition, one memory bound for all.

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
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from threading import Lock
from typing import Final
from weakref import WeakSet, WeakValueDictionary

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
    WriteOptions,
)

from stream_core.errors import StoreError
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

__all__ = ["RocksDBStore", "RocksDBStores"]

logger = logging.getLogger(__name__)

COMPRESSION: Final = {
    "none": DBCompressionType.none,
    "snappy": DBCompressionType.snappy,
    "lz4": DBCompressionType.lz4,
    "lz4hc": DBCompressionType.lz4hc,
    "zstd": DBCompressionType.zstd,
}

FILTER: Final = 0.02
"""Part of a write buffer that its Bloom filter takes. A key that is not in the buffer, as most of a large table are,
is found missing by it in half of the time that a search takes."""
FILTERED: Final = 16
"""So many stores that share memory have such filters: those of hundreds would leave no room for changes, and these take a
twelfth of it, beside those of buffers that are being flushed."""

SIZES = "rocksdb.estimate-num-keys", "rocksdb.total-sst-files-size", "rocksdb.cur-size-active-mem-table"


class _Memory:
    """One cache with the write buffers charged to it: the bound of all stores that share it.

    Args:
        cache: bytes of it.
        write_buffer: bytes of changes that are in no file yet.
    """

    def __init__(self, cache: int, write_buffer: int) -> None:
        self.cache = Cache(cache)
        self.buffers = WriteBufferManager.new_write_buffer_manager_with_cache(write_buffer, False, self.cache)
        self._filtered: WeakSet[RocksDBStore] = WeakSet()
        self._lock = Lock()

    def may_filter(self, store: RocksDBStore) -> bool:
        """Tell whether the write buffer of a store may have a Bloom filter, which is charged to the bound: FILTERED stores have one."""
        with self._lock:
            if len(self._filtered) < FILTERED:
                self._filtered.add(store)
            return store in self._filtered

    def forget(self, store: RocksDBStore) -> None:
        """Let another store have the filter of this one, which is closed."""
        with self._lock:
            self._filtered.discard(store)


_memories: WeakValueDictionary[tuple[int, int], _Memory] = WeakValueDictionary()
_memories_lock = Lock()  # apps may run in threads of their own


def _shared_memory(options: RocksDBOptions) -> _Memory:
    """Give the memory that everybody in this process shares who names these sizes; it is freed with the last of them."""
    sizes = options.cache, options.write_buffer
    with _memories_lock:
        memory = _memories.get(sizes)
        if memory is None:
            memory = _memories[sizes] = _Memory(*sizes)
        return memory


class _Families:
    """The options of the column families, and the memory that they use."""

    def __init__(self, options: RocksDBOptions) -> None:
        self._memory = memory = _shared_memory(options)
        self._bloom, self._filter = options.bloom > 0, int(_buffer(options) * FILTER)
        self._plain = {name: _options(options, memory) for name in (VALUES, FACTS)}
        filtered = _options(options, memory)
        filtered.set_memtable_prefix_bloom_ratio(FILTER)
        filtered.set_memtable_whole_key_filtering(True)
        self._filtered = {**self._plain, VALUES: filtered}
        self.write_options = WriteOptions()
        if not options.wal:
            self.write_options.disable_wal = True  # type: ignore[assignment,method-assign]  # the stubs take it for a method

    def of(self, store: RocksDBStore) -> tuple[dict[str, Options], int]:
        """Give the options of a store that is opened, and how many bytes of its write buffer are a filter."""
        if self._bloom and self._memory.may_filter(store):
            return self._filtered, self._filter
        return self._plain, 0

    def forget(self, store: RocksDBStore) -> None:
        """Let another store have what this one, which is closed, has taken."""
        self._memory.forget(store)


class RocksDBStores(Files["RocksDBStore"]):
    """Opens the stores of a worker; see :class:`.files.Files`.

    Raises:
        StoreError: the directory cannot be created.
    """

    def __init__(self, directory: Path, options: RocksDBOptions) -> None:
        super().__init__(directory, lambda path: RocksDBStore(path, self._families), _destroy)
        self._families = _Families(options)


class RocksDBStore:
    """The values of one table partition in a RocksDB database; made by :meth:`RocksDBStores.open`.

    The methods raise StoreCorruptError when a block is damaged (:meth:`wipe`, and replay the changelog), and StoreError
    when the store is closed, the disk is full, or anything else fails.
    """

    _values: Rdict
    _facts: Rdict
    _facts_handle: ColumnFamily | None
    _batches: int
    _filter: int

    def __init__(self, path: Path, families: _Families) -> None:
        self._path = path
        self._families = families
        self._handing_out = Lock()
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
        it time until RocksDB has compacted it away: begin after it where that is known.
        """
        options = ReadOptions()
        if end is not None:  # else RocksDB looks for a next key, over all that was deleted after the range
            options.set_iterate_upper_bound(end)
        try:
            items = _Items(self._values.iter(options), begin, options, self._path)
        except Exception as error:
            raise _failure(error, self._path) from error
        with self._handing_out:
            self._items.add(items)
            if self._facts_handle is None:
                # Another thread has closed the store meanwhile, and looks for iterations no more.
                items.release()
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
            self._values.write(batch, self._families.write_options)
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

    def size(self) -> StoreSize:
        """Tell about how many keys it has, and how many bytes its values take in files and in memory; no file is read.

        RocksDB takes each change that is in memory for a key, and each deletion for one key less.
        """
        try:
            keys, files, memory = (self._values.property_int_value(name) for name in SIZES)
        except Exception as error:
            raise _failure(error, self._path) from error
        return StoreSize(keys or 0, (files or 0) + max(0, (memory or 0) - self._filter))

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
        with self._handing_out:
            self._facts_handle = None
            iterations = list(self._items)
        for items in iterations:
            items.release()
        for family in (self._values, self._facts):  # closing flushes: never facts that are ahead of their values
            try:
                family.close()
            except DbClosedError:
                pass
            except Exception as error:
                logger.warning(
                    "%s; closed all the same, the next open reads it from the log", _failure(error, self._path)
                )
        self._families.forget(self)

    def _open(self) -> None:
        try:
            by_name, self._filter = self._families.of(self)
            self._path.mkdir(mode=0o700, exist_ok=True)
            self._values = Rdict(str(self._path), by_name[VALUES], column_families=by_name)
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
        """Give the number of the last batch, once all before it are found."""
        try:
            last = int(self._facts.get(BATCHES) or 0)
            found = self._facts.get([BATCH % (number % COUNTED) for number in numbers(last)]) or ()
        except Exception as error:
            raise _failure(error, self._path) from error
        check_batches(self._path, last, found)
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


def _options(given: RocksDBOptions, memory: _Memory) -> Options:
    blocks = BlockBasedOptions()
    blocks.set_block_cache(memory.cache)
    blocks.set_cache_index_and_filter_blocks(True)  # else they are outside of the memory bound
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(True)
    if given.bloom:
        blocks.set_bloom_filter(given.bloom, False)
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(blocks)
    options.create_if_missing(True)
    options.create_missing_column_families(True)
    # A damaged log then loses values and facts to the same point, and logs are removed as soon as their values are in files. Without a
    # log it is what keeps facts from being ahead of values.
    options.set_atomic_flush(True)
    options.set_write_buffer_manager(memory.buffers)
    options.set_write_buffer_size(_buffer(given))
    options.set_max_write_buffer_number(BUFFERS)
    options.set_arena_block_size(ARENA_BYTES)
    options.set_compression_type(COMPRESSION[given.compression]())
    options.set_max_open_files(given.open_files)
    options.set_keep_log_file_num(2)
    options.set_stats_dump_period_sec(0)
    return options


def _buffer(given: RocksDBOptions) -> int:
    """Give the bytes of one write buffer."""
    return max(given.write_buffer // BUFFERS, ARENA_BYTES)


def _destroy(path: Path) -> None:
    try:
        Rdict.destroy(str(path), Options(raw_mode=True))
    except Exception as error:
        raise _failure(error, path) from error


def _failure(error: Exception, path: Path) -> StoreError:
    """Make the error of ours for one of rocksdict, which has a text and no type."""
    if isinstance(error, DbClosedError):
        return StoreError(f"store {path} is closed")
    return failure(error, path)
