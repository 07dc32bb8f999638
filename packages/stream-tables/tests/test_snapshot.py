"""What tables say of themselves in the snapshot of a worker: changes that are not stored, positions, and recovery on its way."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from random import Random

import pytest

from stream_core.engine.participants import Shard
from stream_core.engine.snapshot import Recovery
from stream_core.memory.log import Entry
from stream_core.primitives import TP
from stream_tables.tables import Tables

from .bank import CHANGELOG, Bank
from .test_recovery import Workshop

pytestmark = pytest.mark.looptime


@pytest.mark.parametrize("exactly_once", [False, True], ids=["at_least_once", "exactly_once"])
async def test_a_worker_tells_of_its_table(exactly_once: bool) -> None:
    """Every partition that it has runs; what is changed is told until it is stored; a successor has read the changelog."""
    async with Bank(exactly_once=exactly_once) as bank:
        worker = await bank.start()
        bank.deposit(Random(1), 50)
        await bank.done()
        tables = [one for one in worker.engine.snapshot().tables if one.table == "totals"]

        assert [(one.table, one.partition, one.state) for one in tables] == [
            ("totals", partition, "running") for partition in range(bank.partitions)
        ]
        assert all(one.changelog == CHANGELOG for one in tables)
        if not exactly_once:
            ends = [bank.cluster.log(TP(CHANGELOG, one.partition)).end for one in tables]
            assert [one.position for one in tables] == ends
        await bank.stop(worker)
        assert worker.engine.snapshot().tables == ()

        successor = await bank.start()
        assert successor.engine.snapshot().recovered_records > 0
        assert all((one.recovered, one.to_recover) == (0, 0) for one in successor.engine.snapshot().tables)


async def test_a_recovery_tells_how_far_it_is() -> None:
    """While a changelog is replayed its progress only grows, up to what there is to do."""
    shop = Workshop(partitions=1)
    now = int(time.time() * 1000)
    entries = [Entry(now, json.dumps(f"key {number}").encode(), b"1") for number in range(25_000)]
    shop.cluster.append(TP("changelog", 0), entries)
    tables = await shop.start()
    seen = await _progress(tables, shop)
    await tables.stop()

    states = [state for state, _, _ in seen]
    assert states[0] == "replaying"
    assert {total for state, _, total in seen if state == "replaying"} == {25_000}
    passed = [done for state, done, _ in seen if state == "replaying"]
    assert passed == sorted(passed)
    assert any(0 < done < 25_000 for done in passed)


@dataclass
class Progress:
    """How far a follower is."""

    began: float
    start: int
    position: int
    target: int | None


async def test_a_recovery_tells_how_long_it_takes() -> None:
    """The rate is that since it began, and what is left follows from it; sums over partitions say the same of a worker."""
    shop = Workshop(partitions=1)
    tables = await shop.start()
    await tables.open(Shard(1, 0), {})
    part = shop.table.parts[0]
    began = part.clock.monotonic() - 10.0

    one = part.snapshot("t", Progress(began, 100, 600, 2_100))
    assert (one.recovered, one.to_recover) == (500, 2_000)
    assert (one.recovery_rate, one.recovery_left) == (pytest.approx(50.0), pytest.approx(30.0))
    fresh = part.snapshot("t", Progress(part.clock.monotonic(), 0, 0, 1_000))
    assert (fresh.recovery_rate, fresh.recovery_left) == (0.0, None)
    endless = part.snapshot("t", Progress(began, 0, 600, None))
    assert (endless.to_recover, endless.recovery_rate, endless.recovery_left) == (0, 0.0, None)
    whole = Recovery.of([one, fresh, endless])
    assert whole == Recovery(2, 500, 3_000, pytest.approx(50.0), pytest.approx(50.0))
    assert Recovery.of([endless]) is None
    await tables.stop()


async def test_a_store_tells_how_large_it_is() -> None:
    """Keys and bytes of a partition are those of its store; of one that is closed they are unknown."""
    shop = Workshop(partitions=1)
    entries = [Entry(0, json.dumps(f"key {number}").encode(), b"1") for number in range(5_000)]
    shop.cluster.append(TP("changelog", 0), entries)
    tables = await shop.start()
    await tables.open(Shard(1, 0), {})
    part = shop.table.parts[0]
    (running,) = tables.snapshot()
    assert running.stored_keys == 5_000
    assert running.stored_bytes == sum(len(one.key or b"") + len(one.value or b"") for one in entries)
    part.store.close()
    (closed,) = tables.snapshot()
    assert (closed.stored_keys, closed.stored_bytes) == (None, None)
    await tables.stop()


async def _progress(tables: Tables, shop: Workshop) -> list[tuple[str, int, int]]:
    """Open the only shard, and look at each turn of the event loop."""
    seen: list[tuple[str, int, int]] = []
    opening = asyncio.ensure_future(tables.open(Shard(shop.partitions, 0), {}))
    while not opening.done():
        seen += [(one.state, one.recovered, one.to_recover) for one in tables.snapshot() if one.state != "opening"]
        await asyncio.sleep(0)
    await opening
    return [one for one in seen if one[2]]
