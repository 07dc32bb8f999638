"""A short form of the chaos rows, with a fixed seed: ``just chaos`` runs them all, for longer and with other seeds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue

import pytest

from chaos.report import Outcome
from chaos.rows import ROWS, Row
from chaos.run import Case, run
from stream_kafka.broker.server import Broker

SEED = 7
"""With it the short ``mixed`` row has a kill, a stop and a termination."""

LANES = 2
"""Rows that run at a time, each with a broker that it may kill: most of their time they wait for timeouts."""

QUICK = [row for row in ROWS if row.quick]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, Future[Outcome]]]:
    """The outcomes of the rows that were asked for, by name, as they come."""
    chosen = {item.callspec.id for item in request.session.items if item.path == request.path}  # type: ignore[attr-defined]
    directory = tmp_path_factory.mktemp("chaos")
    free: SimpleQueue[Broker] = SimpleQueue()

    def play(row: Row) -> Outcome:
        mine = free.get()
        try:
            case = Case(row, row.guarantees[0], row.workers[0], row.quick, SEED)
            return asyncio.run(run(case, mine, directory, lambda text: None))
        finally:
            free.put(mine)

    with ExitStack() as stack, ThreadPoolExecutor(LANES) as lanes:
        for one in (broker, *(stack.enter_context(Broker(0)) for _ in range(LANES - 1))):
            free.put(one)
        yield {row.name: lanes.submit(play, row) for row in QUICK if row.name in chosen}
        lanes.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", [row.name for row in QUICK])
def test_row(name: str, outcomes: Mapping[str, Future[Outcome]]) -> None:
    """What the row says holds under its first guarantee and number of workers."""
    outcome = outcomes[name].result()
    assert outcome.passed, "\n".join([*outcome.tally.problems, outcome.tails])
