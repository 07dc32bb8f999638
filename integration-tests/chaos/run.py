"""Runs rows one after the other against one broker."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from chaos.report import Outcome
from chaos.rows import ROWS, Row
from chaos.scene import Setup
from stream_kafka.broker.server import Broker

__all__ = ["Case", "cases", "run"]


@dataclass(frozen=True, slots=True)
class Case:
    """A row with all its parameters."""

    row: Row
    guarantee: str
    workers: int
    seconds: float
    seed: int
    only: str = ""
    pairs: int = 0

    @property
    def name(self) -> str:
        """A name that tells it from the other cases of its row."""
        return f"{self.row.name}-{self.guarantee}-{self.workers}"


def cases(
    names: Sequence[str] = (),
    *,
    seconds: float,
    seed: int,
    workers: int | None = None,
    times: int = 1,
    guarantee: str | None = None,
    only: str = "",
    pairs: int = 0,
) -> Iterator[Case]:
    """The cases of a run, whole rounds after each other.

    Args:
        names: of the rows; none means all.
        seconds: how long faults go on in each case.
        seed: of the first round; each further round has the next one.
        workers: number of workers instead of each row's own (rows of one worker keep theirs).
        times: number of rounds.
        guarantee: only this one; none means each row's own.
        only: the faults of the only run of a sweep.
        pairs: how many pairs of faults a sweep draws.
    """
    for number in range(times):
        for row in (row for row in ROWS if not names or row.name in names):
            counts: Iterable[int] = row.workers if workers is None or row.workers == (1,) else (workers,)
            for count in counts:
                for chosen in row.guarantees:
                    if guarantee in (None, chosen):
                        yield Case(row, chosen, count, seconds, seed + number, only, pairs)


async def run(case: Case, broker: Broker, directory: Path, say: Callable[[str], None]) -> Outcome:
    """Run one case; whatever goes wrong is in the outcome.

    Args:
        case: what to run.
        broker: the broker; it is started when it does not run.
        directory: where the case makes a directory of its own.
        say: shows what is going on.
    """
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # the stock client says each failed attempt, dozens a second
    place = directory / f"{case.name}-{case.seed}"
    place.mkdir(parents=True)
    setup = Setup(
        broker, place, case.guarantee, case.seed, case.workers, case.seconds, only=case.only, pairs=case.pairs, say=say
    )
    began = time.monotonic()
    try:
        if case.row.broker:
            await asyncio.to_thread(broker.start)  # the case before may have failed without it
        await case.row.play(setup)
    except Exception as error:  # the harness reports every failure as a verdict, its own too
        setup.tally.problems += _reasons(error)
    if setup.tally.problems and case.row.broker:
        _keep_topics(broker, place)
    tails = "" if not setup.tally.problems else "\n".join(_tail(log) for log in sorted(place.glob("*.log")))
    seconds = time.monotonic() - began
    return Outcome(case.row.name, case.guarantee, case.workers, case.seed, seconds, setup.tally, place, tails)


def _keep_topics(broker: Broker, place: Path) -> None:
    # The next case deletes the topics, and the markers of transactions tell more than any log.
    ignored = shutil.ignore_patterns("*-delete", "__cluster_metadata*", "*.index", "*.timeindex", "*.swap")
    with suppress(OSError):  # the broker goes on working on them
        shutil.copytree(broker.data_dir / "topics", place / "topics", ignore=ignored)


def _reasons(error: BaseException) -> list[str]:
    if isinstance(error, BaseExceptionGroup):
        return [reason for part in error.exceptions for reason in _reasons(part)]
    return [f"{type(error).__name__}: {error}"]


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join([f"=== {log.name}", *log.read_text(errors="replace").splitlines()[-lines:]])
