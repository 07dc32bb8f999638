"""The command: ``python -m benchmarks [--rows ...]``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from rich.console import Console

from benchmarks.harness import Options, run
from benchmarks.launch import SampleError, can_compile_java
from benchmarks.report import save, table
from benchmarks.rows import ROWS
from stream_kafka.broker.warmup import warm_up

QUICK = Options(records=20_000, keys=5_000, rounds=1, warm_up=False, seconds=3.0)

OURS = [row.name for row in ROWS if row.base is None or not (row.base.packages or row.base.java)]
"""The rows without other frameworks."""


def main() -> int:
    """Measure and print; the exit code is 0 when all programs ran, whatever they measured."""
    names = [row.name for row in ROWS]
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    parser.add_argument("--peers", action="store_true", help="only the rows that compare with other frameworks")
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
    chosen = arguments.rows or (names if not arguments.quick else OURS)
    if arguments.peers:
        chosen = [name for name in names if name not in OURS]
    rows = [row for row in ROWS if row.name in chosen]
    console, errors = Console(width=None if sys.stdout.isatty() else 160), Console(stderr=True)
    try:
        if any(row.java for row in rows) and not can_compile_java():
            errors.print("there is no Java compiler (javac) here: Kafka Streams is left out")
            rows = [row for row in rows if not row.java]
        if arguments.broker is None:
            warm_up(errors.print)
        results = run(rows, options, arguments.broker, errors.print)
    except SampleError as error:
        errors.print(str(error), style="red", markup=False)
        return 1
    console.print(table(results))
    if not arguments.quick:
        console.print(f"everything measured is in {save(results, options)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
