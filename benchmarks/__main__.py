"""The command: ``python -m benchmarks [--rows ...]``."""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace

from rich.console import Console

from benchmarks.bench import Options
from benchmarks.harness import run
from benchmarks.launch import SampleError
from benchmarks.report import save, show
from benchmarks.rows import ROWS
from stream_kafka.broker.warmup import warm_up

QUICK = Options(records=20_000, keys=5_000, rounds=1, warm_up=False, seconds=2.0)
WIDTH = 180
"""Of what is printed to a file or pipe."""


def main() -> int:
    """Measure and print; the exit code is 0 when all programs ran and what came out of them was right, however fast."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # with the broker that we started
    given = {name: getattr(arguments, name) for name in ("rounds", "records", "keys", "seconds")}
    options = replace(
        QUICK if arguments.quick else Options(), **{name: value for name, value in given.items() if value is not None}
    )
    chosen = [row for row in ROWS if row.name in arguments.rows] if arguments.rows else list(ROWS)
    if arguments.peers or arguments.ours:
        chosen = [row for row in chosen if row.peer is arguments.peers]
    console, errors = Console(width=None if sys.stdout.isatty() else WIDTH), Console(stderr=True, soft_wrap=True)

    def say(line: str) -> None:
        errors.print(line, markup=False, highlight=False)

    try:
        if arguments.broker is None:
            warm_up(say)
        results = run(chosen, options, arguments.broker, say)
    except SampleError as error:
        say(str(error))
        return 1
    show(results, console)
    if not arguments.quick:
        console.print(
            "everything measured is in {}, the tables are in {}".format(*save(results, options)), markup=False
        )
    return 1 if any(result.failure for result in results) else 0


def _arguments() -> argparse.Namespace:
    names, defaults = [row.name for row in ROWS], Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--peers", action="store_true", help="only the rows that compare with other frameworks")
    which.add_argument("--ours", action="store_true", help="only the rows without other frameworks")
    parser.add_argument("--rounds", type=int, help=f"rounds that count, after a warm-up (default {defaults.rounds})")
    parser.add_argument("--records", type=int, help=f"events of a throughput sample (default {defaults.records:,})")
    parser.add_argument("--keys", type=int, help=f"keys of the table that is recovered (default {defaults.keys:,})")
    parser.add_argument("--seconds", type=float, help=f"longest time of one sample (default {defaults.seconds:g})")
    parser.add_argument("--broker", help="URL of a broker that runs; without it one is started, on a core of its own")
    parser.add_argument(
        "--quick", action="store_true", help="a few records and one round: shows that it works, measures nothing"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
