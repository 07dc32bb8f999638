"""The RocksDB stores against the contract of the store port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stream_core.ports import Stores
from stream_core.testing.contracts import store
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
async def test_rocksdb_stores_keep_the_contract(check: Callable[[Stores], Awaitable[None]], tmp_path: Path) -> None:
    """Whatever the port promises, a store on disk does."""
    await check(RocksDBStores(tmp_path / "tables", RocksDBOptions()))


@pytest.mark.parametrize("check", store.FAULT_CHECKS, ids=lambda check: check.__name__)
async def test_rocksdb_stores_keep_the_contract_on_a_full_disk(
    check: Callable[[Stores, store.NoWrites], Awaitable[None]], tmp_path: Path, no_large_files: store.NoWrites
) -> None:
    """Whatever the port promises of a disk that fails, a store on disk does."""
    await check(RocksDBStores(tmp_path / "tables", RocksDBOptions()), no_large_files)
