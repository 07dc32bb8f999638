"""A short form of the chaos rows, with a fixed seed: ``just chaos`` runs them all, for longer and with other seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.rows import ROWS, Row
from chaos.run import Case, run
from stream_kafka.broker.server import Broker

SEED = 7
"""With it the short ``mixed`` row has a kill, a stop and a termination."""


@pytest.mark.parametrize("row", [row for row in ROWS if row.quick], ids=lambda row: row.name)
async def test_row(row: Row, broker: Broker, tmp_path: Path) -> None:
    """What the row says holds under its first guarantee and number of workers."""
    outcome = await run(Case(row, row.guarantees[0], row.workers[0], row.quick, SEED), broker, tmp_path, print)
    assert outcome.passed, "\n".join([*outcome.tally.problems, outcome.tails])
