"""The command line of the harness."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from chaos.audit import AT_LEAST_ONCE, EXACTLY_ONCE
from chaos.report import Outcome, table
from chaos.rows import ROWS
from chaos.run import Case, cases, run
from stream_kafka.broker import KAFKA_VERSION, VERSIONS, Broker

console = Console(width=None if sys.stdout.isatty() else 150)


def _list() -> None:
    shown = Table("row", "guarantees", "workers", "what must hold")
    for row in ROWS:
        shown.add_row(row.name, ", ".join(row.guarantees), ", ".join(map(str, row.workers)), row.summary)
    console.print(shown)


async def _run(chosen: list[Case], broker: Broker, logs: Path) -> list[Outcome]:
    outcomes = []
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    for number, case in enumerate(chosen, 1):
        with Progress(*columns, console=console, transient=True) as progress:
            outcome = await run(case, broker, logs, _speaker(progress, f"{number}/{len(chosen)} {case.name}"))
        outcomes.append(outcome)
        verdict = "[green]passed[/]" if outcome.passed else "[bold red]FAILED[/]"
        where = f"{number}/{len(chosen)} {case.name} seed {case.seed}"
        console.print(f"{where}: {verdict} {outcome.tally.note} ({outcome.seconds:.0f} s)")
        _explain(outcome)
        if outcome.passed:
            shutil.rmtree(outcome.directory)
    return outcomes


def _speaker(progress: Progress, name: str) -> Callable[[str], None]:
    shown = progress.add_task(name)

    def say(text: str) -> None:
        progress.update(shown, description=f"{name}: {text}")

    return say


def _explain(outcome: Outcome) -> None:
    for problem in outcome.tally.problems:
        console.print(f"  {problem}", style="red", markup=False)
    if outcome.tails:
        console.print(outcome.tails, markup=False, highlight=False)
        console.print(f"  seed {outcome.seed}, logs kept in {outcome.directory}", markup=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--row", "names", multiple=True, type=click.Choice([row.name for row in ROWS]), help="Only this row; repeatable."
)
@click.option("--times", default=1, show_default=True, help="Number of rounds; each has the next seed.")
@click.option("--seconds", default=60.0, show_default=True, help="How long faults go on in each case.")
@click.option("--seed", default=None, type=int, help="Seed of the first round. [default: from the clock]")
@click.option("--workers", default=None, type=click.IntRange(1, 8), help="Workers instead of each row's own number.")
@click.option(
    "--guarantee", default=None, type=click.Choice([EXACTLY_ONCE, AT_LEAST_ONCE]), help="Only under this one."
)
@click.option("--only", default="", help="Of the row sweep: only these faults, such as producer.send#17:ProduceError.")
@click.option("--pairs", default=0, help="Of the row sweep: this many pairs of faults instead of single ones.")
@click.option(
    "--logs",
    default=None,
    type=click.Path(path_type=Path),
    help="Where logs of failed cases stay. [default: a new temporary one]",
)
@click.option(
    "--kafka-version",
    default=KAFKA_VERSION,
    show_default=True,
    type=click.Choice(VERSIONS),
    help="The Kafka that is run.",
)
@click.option("--list", "listed", is_flag=True, help="Show the rows and end.")
def main(
    names: tuple[str, ...],
    times: int,
    seconds: float,
    seed: int | None,
    workers: int | None,
    guarantee: str | None,
    only: str,
    pairs: int,
    logs: Path | None,
    kafka_version: str,
    listed: bool,
) -> None:
    """Kill, stop and cut off workers and the broker under load, then compare every record. Exits with 1 when a row failed."""
    if listed:
        _list()
        return
    seed = int(time.time()) % 1_000_000 if seed is None else seed
    logs = (logs or Path(tempfile.mkdtemp(prefix="stream-chaos-"))).resolve()
    rounds = cases(
        names, seconds=seconds, seed=seed, workers=workers, times=times, guarantee=guarantee, only=only, pairs=pairs
    )
    chosen = list(rounds)
    console.print(f"{len(chosen)} cases, Kafka {kafka_version}, seed {seed}, logs in {logs}")
    broker = Broker(0, logs / "broker", version=kafka_version)  # the first case that needs it starts it
    try:
        outcomes = asyncio.run(_run(chosen, broker, logs))
    finally:
        broker.stop()
    console.print(table(outcomes))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)
    shutil.rmtree(logs)


if __name__ == "__main__":
    main()
