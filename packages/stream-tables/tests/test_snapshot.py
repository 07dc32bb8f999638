"""What tables say of themselves in the snapshot of a worker: changes that are not stored, positions, and recovery on its way."""

from __future__ import annotations

import asyncio
import json
import time
from random import Random

import pytest

from stream_core.engine.participants import Shard
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
        tables = worker.engine.snapshot().tables

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


async def _progress(tables: Tables, shop: Workshop) -> list[tuple[str, int, int]]:
    """Open the only shard, and look at each turn of the event loop."""
    seen: list[tuple[str, int, int]] = []
    opening = asyncio.ensure_future(tables.open(Shard(shop.partitions, 0), {}))
    while not opening.done():
        seen += [(one.state, one.recovered, one.to_recover) for one in tables.snapshot() if one.state != "opening"]
        await asyncio.sleep(0)
    await opening
    return [one for one in seen if one[2]]
