"""The RocksDB stores against the contract of the store port."""

from __future__ import annotations

import resource
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stream_core.ports import Stores
from stream_core.testing.contracts import store
from stream_tables.rocksdb import RocksDBStores
from stream_tables.options import RocksDBOptions


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
async def test_rocksdb_stores_keep_the_contract(check: Callable[[Stores], Awaitable[None]], tmp_path: Path) -> None:
    """Whatever the port promises, a store on disk does."""
    await check(RocksDBStores(tmp_path / "tables", RocksDBOptions()))


@contextmanager
def no_large_files(table: str, partition: int) -> Iterator[None]:
    """Let every file of this process end at 64 KiB, which RocksDB takes for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("check", store.FAULT_CHECKS, ids=lambda check: check.__name__)
async def test_rocksdb_stores_keep_the_contract_on_a_full_disk(
    check: Callable[[Stores, store.NoWrites], Awaitable[None]], tmp_path: Path
) -> None:
    """Whatever the port promises of a disk that fails, a store on disk does."""
    await check(RocksDBStores(tmp_path / "tables", RocksDBOptions()), no_large_files)
