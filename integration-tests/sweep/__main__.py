"""The command line of the sweep: it runs cases, and prints a command that runs it again for each that failed."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import time
from collections.abc import Iterator

import click

from sweep.cases import Case, pairs, part, singles
from sweep.faults import parse
from sweep.run import GUARANTEES, Outcome, play

HASH_SEED = "0"
"""Sets of texts have the same order in each run, and so have the calls."""


def _cases(counts: dict[str, int], only: str, drawn: int, seed: int, everything: bool) -> Iterator[Case]:
    if only:
        yield parse(only)
    elif drawn:
        yield from pairs(counts, seed, drawn)
    elif everything:
        yield from singles(counts)
    else:
        yield from part(counts, seed)


def _say(outcome: Outcome) -> None:
    print(
        json.dumps({"reproducer": outcome.reproducer, "problems": outcome.problems, "exits": outcome.exits}), flush=True
    )


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--guarantee", type=click.Choice(GUARANTEES), multiple=True, help="Only under this one.")
@click.option("--only", default="", help="Only these faults, in one run, such as producer.send#17:ProduceError.")
@click.option("--pairs", "drawn", default=0, help="This many pairs of faults instead of single ones.")
@click.option("--seed", default=0, show_default=True, help="Which pairs, and which part of the single ones.")
@click.option("--part", "partly", is_flag=True, help="The part of the single faults that `just test` runs.")
@click.option("--verbose", is_flag=True, help="Show the log of the workers.")
def main(guarantee: tuple[str, ...], only: str, drawn: int, seed: int, partly: bool, verbose: bool) -> None:
    """Run the scenario once for each fault. Prints one line of JSON for each case that failed, and exits with 1 then."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.execve(
            sys.executable, [sys.executable, "-m", "sweep", *sys.argv[1:]], {**os.environ, "PYTHONHASHSEED": HASH_SEED}
        )
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s %(levelname)s %(message)s")
    else:
        logging.disable(logging.CRITICAL)
    began, ran, failed = time.monotonic(), 0, 0
    for chosen in guarantee or GUARANTEES:
        whole = play((), chosen)
        if whole.problems:
            _say(whole)
            sys.exit(1)
        gc.collect()
        gc.freeze()  # each case looks for what nobody awaited, and need not look at the libraries
        for case in _cases(whole.counts, only, drawn, seed, everything=not partly):
            outcome = play(case, chosen)
            ran += 1
            if outcome.problems:
                failed += 1
                _say(outcome)
    print(f"{ran} runs, {failed} failed, {time.monotonic() - began:.0f} s", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
