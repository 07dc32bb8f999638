"""The page for those who come from Faust is true of the names that are not there, and of tables."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

import stream_app as faust
from stream_app.absent import ABSENT
from stream_core.memory import MemoryCluster

PAGE = (Path(__file__).parents[2] / "docs" / "coming-from-faust.md").read_text()


def test_what_is_not_there_is_not_there() -> None:
    """Each name in the first column of the last table is absent: when it exists, its row goes."""
    _, _, table = PAGE.partition("## Not there")
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(names) >= 5
    assert [name for name in names if name not in ABSENT] == []


async def test_a_changelog_of_faust_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Faust has written to the changelog of a table is in the table: keys and values are JSON in both, without our headers."""
    monkeypatch.setenv("APP_WEB_ENABLED", "false")
    writer = faust.App("writer", broker="memory://moving")
    changelog = writer.topic("bank-totals-changelog", key_type=bytes, value_type=bytes, partitions=1, compacting=True)
    async with writer:
        await (await changelog.send(key=b'"alice"', value=b"5"))

    app = faust.App("bank", broker="memory://moving", topic_partitions=1)
    deposits = app.topic("deposits", key_type=str, value_type=int)
    totals = app.Table("totals", default=int, key_type=str, value_type=int)
    counted = asyncio.get_running_loop().create_future()

    @app.agent(deposits)
    async def count(stream: faust.Stream[Any]) -> None:
        async for account, amount in stream.items():
            totals[account] += amount
            counted.set_result(totals[account])

    async with app:
        await deposits.send(key="alice", value=3)
        assert await asyncio.wait_for(counted, 30) == 8
    MemoryCluster.discard("moving")
