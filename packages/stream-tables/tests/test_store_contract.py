"""The RocksDB stores against the contract of the store port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from stream_core.ports import Stores
from stream_core.testing.contracts import store
from stream_tables.rocksdb import RocksDBStores
from stream_tables.settings import TablesSettings


@pytest.mark.parametrize("check", store.CHECKS, ids=lambda check: check.__name__)
async def test_rocksdb_stores_keep_the_contract(check: Callable[[Stores], Awaitable[None]], tmp_path: Path) -> None:
    """Whatever the port promises, a store on disk does."""
    await check(RocksDBStores(tmp_path / "tables", TablesSettings()))
