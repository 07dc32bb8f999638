"""Options of RocksDB stores: how they are written, what they do to the files, and who shares memory."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from stream_core.errors import ConfigurationError, MissingPackageError
from stream_tables.driver import open_stores
from stream_tables.files import BUFFERS
from stream_tables.options import COMPRESSIONS, RocksDBOptions, size
from stream_tables.rocksdb import FILTER, FILTERED, SIZES, RocksDBStore, RocksDBStores

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "number"),
    [("1024", 1024), (5, 5), ("64M", 64 * MIB), ("64 MiB", 64 * MIB), ("1.5gb", 1536 * MIB), ("8k", 8192), ("7B", 7)],
)
def test_sizes(text: object, number: int) -> None:
    """A number of bytes is a number, or text with a unit."""
    assert size(text) == number


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, RocksDBOptions()),
        (
            {"cache": "1G", "bloom": "0", "wal": "no", "compression": "zstd"},
            RocksDBOptions(cache=1024 * MIB, bloom=0, wal=False, compression="zstd"),
        ),
        ({"write_buffer": "256M"}, RocksDBOptions(cache=512 * MIB, write_buffer=256 * MIB)),
        ({"cache": "32M"}, RocksDBOptions(cache=32 * MIB, write_buffer=16 * MIB)),
        (
            {
                "block_cache_size": 256 * MIB,
                "write_buffer_size": 32 * MIB,
                "bloom_filter_size": 3,
                "max_open_files": 500,
                "use_rocksdict": False,
            },
            RocksDBOptions(cache=256 * MIB, write_buffer=32 * MIB, bloom=3, open_files=500, driver="python-rocksdb"),
        ),
    ],
)
def test_options_are_read(options: dict[str, Any], expected: RocksDBOptions) -> None:
    """They are texts of a URL, or what a program has, by our names or Faust's; who says one size need not say the other."""
    assert RocksDBOptions.of(options) == expected


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"cach": 1}, "rocksdb:// has no option 'cach'; did you mean cache?"),
        ({"write_bufer_size": 1}, "did you mean write_buffer_size?"),
        ({"xyz": 1}, "has no option 'xyz'; it has bloom, cache, compression, driver, open_files, wal, write_buffer"),
        ({"cache": "much"}, "cache='much' is no cache: write a number of bytes, such as 64M"),
        ({"cache": True}, "write a number of bytes"),
        ({"bloom": "ten"}, "bloom='ten' is no bloom: write a whole number"),
        ({"bloom": True}, "write a whole number"),
        ({"bloom": 65}, "give 0 to 64 bits"),
        ({"wal": "maybe"}, "write true or false"),
        ({"compression": "lz5"}, "did you mean lz4"),
        ({"compression": "gzip9"}, "write one of|did you mean"),
        ({"driver": "rocksdic"}, "did you mean rocksdict"),
        ({"driver": "python-rocksdb", "compression": "zstd"}, "not in the library"),
        ({"open_files": 3}, "give at least 20"),
        ({"write_buffer": 0}, "write_buffer is 0: give a positive number"),
        ({"cache": -1}, "cache is -1: give a positive number"),
        ({7: 1}, "has no option 7; it has bloom"),
        ({"cache": MIB, "write_buffer": MIB}, "must be more than write_buffer"),
        ({"cache": MIB, "block_cache_size": MIB}, "cache is said twice"),
        ({"ttl": 60}, "there is no ttl here: values that the store drops"),
        ({"read_only": True}, "a table is written by its recovery"),
    ],
)
def test_what_is_no_option(options: dict[Any, Any], says: str) -> None:
    """It is refused with the nearest name, or with what to write."""
    with pytest.raises(ConfigurationError, match=says):
        RocksDBOptions.of(options)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_compressions(tmp_path: Path, compression: str) -> None:
    """Each of them is in the library, and what it has written is read by a driver with another one."""
    stores = open_stores(tmp_path, compression=compression)
    stores.open("t", 0).write({b"%04d" % number: bytes(1000) for number in range(1000)})
    stores.close()
    plain = open_stores(tmp_path, compression="none")
    assert len(list(plain.open("t", 0).range())) == 1000
    files = sum(path.stat().st_size for path in tmp_path.glob("t-0.db/*.sst"))
    assert (files > 1_000_000) is (compression == "none")
    plain.close()


WRITER = """
import os, sys
from pathlib import Path
from stream_tables.driver import open_stores
store = open_stores(Path(sys.argv[1]), wal=False, write_buffer=1 << 20).open("t", 0)
for number in range(2_000):
    store.write({b"%05d" % number: os.urandom(1000)}, {"position": b"%d" % number})
os._exit(1)
"""


def test_without_a_log_values_and_position_fit(tmp_path: Path) -> None:
    """A worker that is killed loses what was in no file: its values and its position alike. Closing loses nothing."""
    subprocess.run([sys.executable, "-c", WRITER, str(tmp_path)], check=False)
    stores = open_stores(tmp_path, wal=False)
    store = stores.open("t", 0)
    position = int(store.fact("position") or -1)
    assert 0 < position < 1_999
    assert [int(key) for key, _ in store.range()] == list(range(position + 1))
    assert sum(path.stat().st_size for path in tmp_path.glob("t-0.db/*.log")) == 0
    store.write({b"last": b"1"}, {"position": b"5000"})
    stores.close()
    again = open_stores(tmp_path).open("t", 0)
    assert (again.get(b"last"), again.fact("position")) == (b"1", b"5000")
    again.close()


def test_memory_is_shared_by_its_sizes(tmp_path: Path) -> None:
    """All drivers of the process that name the same sizes have one cache and one bound of write buffers, whatever else they say."""
    options = RocksDBOptions.of({"cache": "48M"})
    one, two = (
        RocksDBStores(tmp_path / "a", options),
        RocksDBStores(tmp_path / "b", RocksDBOptions.of({"cache": "48M", "bloom": 0})),
    )
    other = RocksDBStores(tmp_path / "c", RocksDBOptions.of({"cache": "49M"}))
    assert one._families._memory is two._families._memory
    assert other._families._memory is not one._families._memory
    for stores in one, two:
        for partition in range(3):
            store = stores.open("t", partition)
            for part in range(0, 4_000, 100):
                store.write({b"%04d" % number: bytes(2000) for number in range(part, part + 100)})
    usage = one._families._memory.buffers.get_usage()
    assert 0 < usage <= options.write_buffer * 1.2
    for stores in one, two, other:
        stores.close()


@pytest.mark.parametrize("bloom", [0, 10])
def test_some_write_buffers_have_filters(tmp_path: Path, bloom: int) -> None:
    """They take of the memory that all stores share: only so many have one, and who is closed gives it to the next."""
    options = RocksDBOptions.of({"cache": f"{50 + bloom}M", "bloom": bloom})
    stores = RocksDBStores(tmp_path, options)
    filter_size = int(options.write_buffer / BUFFERS * FILTER)
    held: dict[int, RocksDBStore] = {}

    def write(partition: int) -> bool:
        """Tell whether the buffer of a store has a filter beside its first change."""
        store = held[partition] = stores.open("t", partition)
        store.write({b"key": b"value"})
        assert (store.get(b"key"), store.get(b"no key")) == (b"value", None)
        assert store.size().bytes < filter_size  # it is nothing that is stored
        return (store._values.property_int_value(SIZES[-1]) or 0) >= filter_size

    assert [write(partition) for partition in range(FILTERED + 2)] == [bloom > 0] * FILTERED + [False] * 2
    held[0].close()
    held[1].wipe()
    assert write(FILTERED + 2) is (bloom > 0)
    assert not write(FILTERED + 3)
    stores.close()


@pytest.mark.skipif(find_spec("rocksdb") is not None, reason="the library of python-rocksdb is installed here")
def test_a_library_that_is_not_installed(tmp_path: Path) -> None:
    """The error says which one, and how to get it."""
    with pytest.raises(MissingPackageError, match=r"cannot be loaded .*pip install 'stream-tables\[python-rocksdb\]'"):
        open_stores(tmp_path, driver="python-rocksdb")


def test_open_stores_is_rocksdict(tmp_path: Path) -> None:
    """It is what there is where nobody names a library."""
    stores = open_stores(tmp_path)
    assert isinstance(stores.open("t", 0), RocksDBStore)
    stores.close()
