"""The outcome of rows as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from chaos.audit import Tally

__all__ = ["Outcome", "table"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case.

    Attributes:
        name: of the row.
        guarantee: the processing guarantee.
        workers: number of workers.
        seed: of the case; the same seed plans the same faults.
        seconds: wall time.
        tally: what was found.
        directory: where its logs and data are.
        tails: the last lines of each log of a case that failed.
    """

    name: str
    guarantee: str
    workers: int
    seed: int
    seconds: float
    tally: Tally
    directory: Path
    tails: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.tally.problems


def table(outcomes: Sequence[Outcome]) -> Table:
    """One line per outcome."""
    shown = Table("row", "guarantee", box=box.SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("workers", "faults", "input", "missing", "repeated", "wrong keys", "seconds"):
        shown.add_column(heading, justify="right")
    shown.add_column("verdict")
    shown.add_column("seed", justify="right")
    for outcome in outcomes:
        tally = outcome.tally
        numbers = (outcome.workers, tally.faults, tally.fed, tally.missing, tally.duplicates, tally.wrong)
        verdict = Text("passed" if outcome.passed else "FAILED", style="green" if outcome.passed else "bold red")
        verdict.append(f" {tally.note}", style="dim")
        cells = [str(number) for number in numbers]
        shown.add_row(outcome.name, outcome.guarantee, *cells, f"{outcome.seconds:.1f}", verdict, str(outcome.seed))
    return shown
