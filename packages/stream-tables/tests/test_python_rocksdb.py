"""Stores by python-rocksdb: the contract, locks, crashes and damage.

It runs where the library is installed; ``tests/drivers/run.py`` has an environment that has it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import pytest

from stream_core.errors import StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import Stores
from stream_core.testing.contracts import store
from stream_tables.driver import open_stores
from stream_tables.options import PYTHON_ROCKSDB, RocksDBOptions

pytest.importorskip(
    "rocksdb",
    reason="faust-streaming-rocksdb is not installed here: tests/drivers/run.py runs this in an environment that has it",
)

WRITER = """
import sys
from pathlib import Path
from stream_tables.driver import open_stores
stores = open_stores(Path(sys.argv[1]), driver="python-rocksdb", write_buffer=256 << 10)
store = stores.open("t", 0)
for position in range(1_000_000):
    store.write({b"%d" % key: b"%08d" % position * 8 for key in range(50)}, {"position": b"%08d" % position})
    if position % 50 == 0:
        print(position, flush=True)
"""


def make(directory: Path, **options: Any) -> Any:
    """A driver with small buffers, so that files are written early."""
    return open_stores(directory, **{"driver": PYTHON_ROCKSDB, "write_buffer": 256 << 10, **options})


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Any]:
    """A driver in a directory of the test."""
    made = make(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
async def test_the_contract(check: Callable[[Stores], Awaitable[None]], tmp_path: Path) -> None:
    """Whatever the port promises, a store by this library does."""
    await check(open_stores(tmp_path / "tables", driver=PYTHON_ROCKSDB))


@pytest.mark.parametrize("check", store.FAULT_CHECKS, ids=lambda check: check.__name__)
async def test_the_contract_on_a_full_disk(
    check: Callable[[Stores, store.NoWrites], Awaitable[None]], tmp_path: Path, no_large_files: store.NoWrites
) -> None:
    """Whatever the port promises of a disk that fails, a store by this library does."""
    await check(open_stores(tmp_path / "tables", driver=PYTHON_ROCKSDB), no_large_files)


@pytest.mark.parametrize(
    "options",
    [
        {"wal": False},
        {"bloom": 0},
        {"open_files": 100},
        *({"compression": name} for name in ("none", "snappy", "lz4hc")),
    ],
    ids=str,
)
def test_options(tmp_path: Path, options: dict[str, Any]) -> None:
    """With each of them a store keeps what is written, over a close."""
    for _ in range(2):
        made = make(tmp_path, **options)
        opened = made.open("t", 0)
        position = int(opened.fact("position") or 0)
        assert len(list(opened.range())) == position
        opened.write(
            {b"%03d" % (position + number): bytes(500) for number in range(100)}, {"position": b"%d" % (position + 100)}
        )
        made.close()


def test_another_process_has_the_lock_until_it_dies(stores: Any, tmp_path: Path) -> None:
    """Two processes never have one store; ``kill -9`` frees it, and values and position are those of one batch."""
    for until in ("50", "400"):
        command = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            while process.stdout.readline().strip() != until:
                assert process.poll() is None
            with pytest.raises(StoreLockedError, match=r"t-0\.db is open in another process: wait"):
                stores.open("t", 0)
            with pytest.raises(StoreLockedError, match=r"t-0\.db is open in another process"):
                stores.destroy("t", 0)
            process.kill()
            process.wait(10)
        opened = stores.open("t", 0)
        position = opened.fact("position")
        assert int(position) >= int(until)
        assert dict(opened.range()) == {b"%d" % key: position * 8 for key in range(50)}
        opened.close()


def test_another_driver_of_the_process_has_the_lock(stores: Any, tmp_path: Path) -> None:
    """What one has open is neither opened nor removed by another one."""
    opened = stores.open("t", 0)
    other = make(tmp_path)
    with pytest.raises(StoreLockedError, match="in this process already"):
        other.open("t", 0)
    with pytest.raises(StoreLockedError, match="in this process already"):
        other.destroy("t", 0)
    opened.close()
    other.destroy("t", 0)
    assert list(other.open("t", 0).range()) == []
    other.close()


def damage(stores: Any, directory: Path) -> Path:
    """Write a store with several table blocks, close it, and overwrite some bytes in the middle of its largest file."""
    opened = stores.open("t", 0)
    opened.write({b"%05d" % number: bytes(range(100)) for number in range(5_000)}, {"position": b"1"})
    opened.close()
    stores.open("t", 0).close()  # what is in logs is written to files when a store is opened
    file = max(directory.glob("t-0.db/*.sst"), key=lambda path: path.stat().st_size)
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size // 2)
        stream.write(b"\xff" * 64)
    return file


def test_a_damaged_block_is_found(stores: Any, tmp_path: Path) -> None:
    """Reads, iterations and deletions of a range that meet it raise; errors that are kept do not keep the lock; a wipe mends it."""
    damage(stores, tmp_path)
    opened = stores.open("t", 0)
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe") as by_get:
        sum(opened.get(b"%05d" % number) is None for number in range(5_000))
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged") as by_range:
        list(opened.range())
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged") as by_write:
        opened.write({b"a": b"1"}, {"position": b"2"}, deleted=[(b"", None)])
    opened.close()
    opened = stores.open("t", 0)
    assert opened.fact("position") == b"1"
    opened.wipe()
    opened.write({b"a": b"1"})
    assert list(opened.range()) == [(b"a", b"1")]
    assert by_get.value and by_range.value and by_write.value  # noqa: PT018 - alive until here


@pytest.mark.parametrize("what", ["table file gone", "manifest gone", "CURRENT overwritten"])
def test_a_store_that_cannot_be_opened_is_destroyed(stores: Any, tmp_path: Path, what: str) -> None:
    """Damage that is seen at the opening has its own error, and destroying the store is the way out."""
    file = damage(stores, tmp_path)
    if what == "table file gone":
        file.unlink()
    elif what == "manifest gone":
        next(tmp_path.glob("t-0.db/MANIFEST*")).unlink()
    else:
        (tmp_path / "t-0.db/CURRENT").write_text("garbage")
    with pytest.raises(StoreCorruptError, match=r"t-0\.db is damaged: wipe it and replay"):
        stores.open("t", 0)
    stores.destroy("t", 0)
    assert list(stores.open("t", 0).range()) == []


def test_a_log_that_is_gone_is_damage(stores: Any, tmp_path: Path) -> None:
    """RocksDB opens without the values of a log that is lost, and with the position of a later one: that is seen."""
    opened = stores.open("t", 0)
    for number in range(20):
        opened.write({b"%d" % number: b"v"}, {"position": b"%d" % number})
    opened._db.write(_without(opened, 7))
    opened.close()
    with pytest.raises(StoreCorruptError, match="batches 1 are missing, from 7 on"):
        stores.open("t", 0)


def _without(opened: Any, number: int) -> Any:
    """A batch that deletes the mark of another one."""
    import rocksdb  # noqa: PLC0415 - not everywhere

    batch = rocksdb.WriteBatch()
    batch.delete((opened._facts, b"\0batch-%d" % number))
    return batch


def test_threads_that_read_while_a_store_is_closed(stores: Any) -> None:
    """The library would end the process: they are told that it is closed."""
    opened = stores.open("t", 0)
    opened.write({b"%05d" % number: bytes(100) for number in range(5_000)})
    begun = Event()

    def read_on() -> None:
        while True:
            for key, _ in opened.range():
                opened.get(key)
                begun.set()

    def read() -> None:
        with pytest.raises(StoreError, match="closed"):
            read_on()

    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(read) for _ in range(2)]
        assert begun.wait(30)
        opened.close()
        for one in reading:
            one.result(30)


def test_the_cache_is_shared(tmp_path: Path) -> None:
    """Drivers that name the same size have one cache."""
    options = RocksDBOptions(driver=PYTHON_ROCKSDB)
    one, two = make(tmp_path / "a", cache=options.cache), make(tmp_path / "b", cache=options.cache, bloom=0)
    assert one._cache is two._cache
    assert make(tmp_path / "c", cache=options.cache * 2)._cache is not one._cache


if TYPE_CHECKING:
    from stream_tables.python_rocksdb import PythonRocksDBStores

    _: type[Stores] = PythonRocksDBStores
