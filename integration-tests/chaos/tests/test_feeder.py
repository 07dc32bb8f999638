"""The feeder knows what it has sent."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from chaos.errors import RowError
from chaos.feeder import Feeder
from chaos.ledger import Ledger


@pytest.fixture
def feeder() -> Feeder:
    """A feeder that is not connected."""
    return Feeder("nowhere:9092", "deposits", Ledger(refuses=False), random.Random(0))


async def test_drain_does_not_wait_for_what_comes_later(feeder: Feeder) -> None:
    """Under a load something is always on its way: only what was sent before must be acknowledged."""
    loop = asyncio.get_running_loop()
    before: asyncio.Future[Any] = loop.create_future()
    later: asyncio.Future[Any] = loop.create_future()
    feeder._pending.add(before)
    draining = asyncio.create_task(feeder.drain())
    await asyncio.sleep(0)
    feeder._pending.add(later)
    assert not draining.done()

    before.set_result(None)
    await draining

    assert not later.done()


async def test_drain_says_how_many_are_missing(feeder: Feeder) -> None:
    """What is never acknowledged is an error of the row, not a wait for ever."""
    feeder._pending.add(asyncio.get_running_loop().create_future())
    with pytest.raises(RowError, match=r"not within 0 s: 1 deposits are acknowledged"):
        await feeder.drain(0)
