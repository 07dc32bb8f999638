"""The command: ``python -m benchmarks [--rows ...]``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rich.console import Console

from benchmarks.harness import Options, SampleError, run
from benchmarks.report import save, table
from benchmarks.rows import ROWS
from stream_kafka.broker.warmup import warm_up

QUICK = Options(records=20_000, keys=5_000, rounds=1, warm_up=False)


def main() -> int:
    """Measure and print; the exit code is 0 when all programs ran, whatever they measured."""
    names = [row.name for row in ROWS]
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--rounds", type=int, help=f"rounds that count, after a warm-up (default {defaults.rounds})")
    parser.add_argument("--records", type=int, help=f"events of a throughput sample (default {defaults.records:,})")
    parser.add_argument("--keys", type=int, help=f"keys of the table that is recovered (default {defaults.keys:,})")
    parser.add_argument("--seconds", type=float, help=f"longest time of one sample (default {defaults.seconds:g})")
    parser.add_argument("--broker", help="URL of a broker that runs; without it one is started, on a core of its own")
    parser.add_argument(
        "--quick", action="store_true", help="a few records and one round: shows that it works, measures nothing"
    )
    arguments = parser.parse_args()
    given = {name: getattr(arguments, name) for name in ("rounds", "records", "keys", "seconds")}
    options = replace(
        QUICK if arguments.quick else defaults, **{name: value for name, value in given.items() if value is not None}
    )
    console, errors = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)
    try:
        if arguments.broker is None:
            warm_up(errors.print)
        results = run([row for row in ROWS if row.name in arguments.rows], options, arguments.broker, errors.print)
    except SampleError as error:
        errors.print(str(error), style="red", markup=False)
        return 1
    console.print(table(results))
    if not arguments.quick:
        console.print(f"everything measured is in {save(results, options)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
