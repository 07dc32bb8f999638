"""Waiting for the lock of a store, and writing it in chunks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from threading import Event

import pytest

from stream_core.errors import StoreError, StoreLockedError
from stream_core.memory import MemoryStores
from stream_tables.options import RocksDBOptions
from stream_tables.rocksdb import RocksDBStores
from stream_tables.stores import CHUNK, close_all, open_when_free, write_chunked

pytestmark = pytest.mark.looptime  # the clock jumps to the next timer: waiting takes no time


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[RocksDBStores]:
    """A driver in a directory of the test."""
    stores = RocksDBStores(tmp_path / "tables", RocksDBOptions())
    yield stores
    stores.close()


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[RocksDBStores]:
    """A driver for the copies of this worker alone."""
    directory = tmp_path / "instances" / "0" / "tables"
    spare = RocksDBStores(directory, RocksDBOptions())
    yield spare
    spare.close()


async def test_a_free_store_opens_at_once(stores: RocksDBStores) -> None:
    """Without another holder nothing is waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()

    store = await open_when_free(stores, "t", 0, timeout=10)

    assert store.get(b"a") is None
    assert loop.time() == began


async def test_the_lock_is_waited_for(stores: RocksDBStores) -> None:
    """A store that is given up within the time is opened with what its holder wrote."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    held = stores.open("t", 0)
    held.write({b"a": b"1"})
    loop.call_later(5, held.close)

    store = await open_when_free(stores, "t", 0, timeout=10)

    assert store.get(b"a") == b"1"
    assert 5 <= loop.time() - began <= 6


async def test_waiting_for_the_lock_ends(stores: RocksDBStores) -> None:
    """A store that stays locked is reported when the time is over."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    stores.open("t", 0)

    with pytest.raises(StoreLockedError, match=r"t-0\.db"):
        await open_when_free(stores, "t", 0, timeout=10)

    assert loop.time() - began == pytest.approx(10)


async def test_a_store_that_stays_locked_is_replaced_by_a_copy(stores: RocksDBStores, spare: RocksDBStores) -> None:
    """With a spare driver the worker goes on with a store of its own, and finds it again next time."""
    held = stores.open("t", 0)
    held.write({b"a": b"theirs"})
    first = await open_when_free(stores, "t", 0, timeout=10, spare=spare)
    assert first.get(b"a") is None
    first.write({b"a": b"ours"})
    first.close()

    again = await open_when_free(stores, "t", 0, timeout=10, spare=spare)

    assert again.get(b"a") == b"ours"


async def test_the_copy_is_removed_when_the_store_is_free(
    stores: RocksDBStores, spare: RocksDBStores, tmp_path: Path
) -> None:
    """An older copy is of no use once the real store could be opened."""
    spare.open("t", 0).close()
    assert list((tmp_path / "instances/0/tables").iterdir())

    await open_when_free(stores, "t", 0, timeout=10, spare=spare)

    assert not list((tmp_path / "instances/0/tables").iterdir())


async def test_a_damaged_copy_is_replaced(stores: RocksDBStores, spare: RocksDBStores, tmp_path: Path) -> None:
    """A copy that cannot be opened starts anew; the locked store is left alone."""
    stores.open("t", 0)
    spare.open("t", 0).close()
    (tmp_path / "instances/0/tables/t-0.db/CURRENT").write_text("garbage")

    store = await open_when_free(stores, "t", 0, timeout=1, spare=spare)

    assert list(store.range()) == []


class StuckStores(MemoryStores):
    """A driver whose files cannot be removed."""

    def destroy(self, table: str, partition: int) -> None:
        """Fail."""
        raise StoreError("permission denied")


async def test_a_copy_that_cannot_be_removed(stores: RocksDBStores, caplog: pytest.LogCaptureFixture) -> None:
    """The store that could be opened is handed over all the same: else it would stay locked by nobody."""
    store = await open_when_free(stores, "t", 0, timeout=10, spare=StuckStores())

    store.write({b"a": b"1"})
    assert "an older copy of table t, partition 0 stays on the disk: permission denied" in caplog.text


async def test_one_that_does_not_close_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Stores are closed side by side: one that fails and one that hangs are named, and the others are closed."""
    closed: list[str] = []
    gate = Event()

    def fails() -> None:
        raise StoreError("permission denied")

    closings = {
        "one": partial(closed.append, "one"),
        "two": fails,
        "three": gate.wait,
        "four": partial(closed.append, "four"),
    }
    await close_all(closings, timeout=0.05)

    assert sorted(closed) == ["four", "one"]
    assert "closing two failed" in caplog.text
    assert "three is not closed after 0.05 s; it is left alone" in caplog.text
    gate.set()


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
async def test_chunks_write_everything(stores: RocksDBStores, count: int) -> None:
    """Any number of changes arrives whole, with the facts."""
    store = stores.open("t", 0)
    changes: dict[bytes, bytes | None] = {b"%05d" % number: b"v" for number in range(count)}

    await write_chunked(store, changes, {"position": b"7"})

    assert dict(store.range()) == changes
    assert store.fact("position") == b"7"


async def test_other_tasks_run_between_chunks_and_facts_come_last(stores: RocksDBStores) -> None:
    """Each chunk leaves the loop a turn; the position moves only with the last one, so a crash replays the others."""
    store = stores.open("t", 0)
    store.write({}, {"position": b"1"})
    changes = {b"%05d" % number: b"v" for number in range(2 * CHUNK + 1)}
    seen = []

    async with asyncio.TaskGroup() as group:
        writing = group.create_task(write_chunked(store, changes, {"position": b"2"}))
        while not writing.done():
            await asyncio.sleep(0)
            seen.append((sum(1 for _ in store.range()), store.fact("position")))

    assert seen[:3] == [(CHUNK, b"1"), (2 * CHUNK, b"1"), (2 * CHUNK + 1, b"2")]
