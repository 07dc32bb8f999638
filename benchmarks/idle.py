"""What a worker holds that has nothing to do: ``python -m benchmarks.idle``.

One agent and one table with four partitions, on a real Kafka: the table in memory or in RocksDB, and its web server asked by nobody
or once. The figures are the resident memory a while behind the start, and the CPU time from the start of the process until the worker
has its partitions.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from pathlib import Path
from statistics import median

from benchmarks.harness import broker_of
from benchmarks.launch import Launcher, SampleError, report_of
from benchmarks.rows import Sample

CASES = [(store, asked) for store in ("memory://", "rocksdb://") for asked in (0, 1)]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count, of all cases by turns (default 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="seconds between the start and the look (default 2)")
    parser.add_argument("--broker", help="URL of a broker that runs; without it one is started, on a core of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stream-idle-") as directory, broker_of(options.broker) as url:
        return measure(options, url, Path(directory))


def measure(options: argparse.Namespace, url: str, directory: Path) -> int:
    """Run each case in each round, behind one round that compiles the modules."""
    launcher, sample = Launcher(directory, print), Sample("idle")
    reports: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in CASES}
    for number in range(options.rounds + 1):
        for store, asked in CASES:
            name = f"idle-{uuid.uuid4().hex[:8]}"
            given = {"broker": url, "topic": name, "records": 1, "seconds": options.seconds, "id": name}
            own = {"datadir": directory / name, "store": store, "asked": asked}
            try:
                report = report_of(sample, launcher.start(sample, {**given, **own}), options.seconds + 90)
            except SampleError as error:
                print(error, file=sys.stderr)
                return 1
            if number:
                reports[store, asked].append(report)
    for (store, asked), several in reports.items():
        memory, cpu = ([one[name] for one in several] for name in ("rss_mb", "start_cpu"))
        print(
            f"{store}, {'asked once' if asked else 'asked by nobody'}: {min(memory):.1f} / {median(memory):.1f} / {max(memory):.1f} MB, "
            f"start {min(cpu):.2f} / {median(cpu):.2f} / {max(cpu):.2f} s of CPU time"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
