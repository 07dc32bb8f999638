"""A table that is larger than memory, against one that is not: ``python -m benchmarks.large_table``.

Both write values of 2,000 characters, each event to another key: 2 GiB of keys, each of them once, and a quarter of them again; and
128 MiB of keys again and again, more than may be changed before a checkpoint has stored them, so that both write as much. The process may
never have more than 512 MiB, and its rate must be at least a third of that of the small table. A broker is started unless one is
named; all of it needs 12 GB of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import uuid
from pathlib import Path

from benchmarks.feed import PARTITIONS, SLICE, make
from benchmarks.harness import broker_of
from benchmarks.launch import Launcher, SampleError, report_of
from benchmarks.rows import Sample
from stream_kafka import KafkaTransport
from stream_kafka.broker.warmup import warm_up

SMALL = 128
"""MiB of values in the small table."""

LEAST = 1 / 3
"""Of the rate of the small table."""


async def feed(url: str, topic: str, records: int) -> None:
    """Make a topic with the numbers of the events, each in the partition of its key."""
    await make(url, topic)
    producer = KafkaTransport(url).producer()
    await producer.start()
    try:
        await producer.partitions(topic)
        for number in range(records):
            producer.send(topic, number % PARTITIONS, None, b"%d" % number)
            if number % SLICE == 0:
                await producer.room()
                await asyncio.sleep(0)
        await producer.flush()
    finally:
        await producer.stop()


def main() -> int:
    """Measure and print; the exit code is 1 when a bound is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_table", description=__doc__)
    parser.add_argument("--mib", type=int, default=2048, help="MiB of values in the large table (default 2048)")
    parser.add_argument("--limit", type=int, default=512, help="MiB that the process may have (default 512)")
    parser.add_argument("--store", default="rocksdb://", help="URL of the store (default rocksdb://)")
    parser.add_argument("--rounds", type=int, default=1, help="rounds of small and large, by turns (default 1)")
    parser.add_argument("--broker", help="URL of a broker that runs; without it one is started, on a core of its own")
    parser.add_argument("--directory", type=Path, help="where stores and broker are; a temporary one when left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="stream-large-", dir=options.directory) as directory:
        if options.broker is None:
            warm_up(print)
        with broker_of(options.broker, Path(directory) / "kafka") as url:
            return measure(options, url, Path(directory))


def measure(options: argparse.Namespace, url: str, directory: Path) -> int:
    """Run both programs in turn."""
    keys, few = (mib * (1 << 20) // 2_000 // PARTITIONS * PARTITIONS for mib in (options.mib, SMALL))
    topic, failed = f"numbers-{uuid.uuid4().hex[:8]}", False
    asyncio.run(feed(url, topic, keys * 5 // 4))
    launcher, sample = Launcher(directory, print), Sample("fill_table")
    for number in range(options.rounds):
        rates, by_cpu = {}, {}
        for name, count in ("small", few), ("large", keys):
            process = launcher.start(
                sample,
                {
                    "broker": url,
                    "topic": topic,
                    "records": keys * 5 // 4,
                    "seconds": 1_000,
                    "id": f"large-{uuid.uuid4().hex[:8]}",
                    "datadir": directory / f"{name}-{number}",
                    "keys": count,
                    "store": options.store,
                },
            )
            try:
                report = report_of(sample, process, 1_200)
            except SampleError as error:
                print(error, file=sys.stderr)
                return 1
            rates[name], by_cpu[name] = report["events_per_second"], 1 / report["cpu_per_million"]
            shown = {
                key: report[key]
                for key in (
                    "events",
                    "seconds",
                    "events_per_second",
                    "cpu_per_million",
                    "again",
                    "stored_keys",
                    "stored_bytes",
                    "peak_mb",
                )
            }
            print(name, json.dumps(shown), flush=True)
            if report["peak_mb"] > options.limit:
                print(f"{name}: {report['peak_mb']:.0f} MiB are more than {options.limit}", flush=True)
                failed = True
        ratio = rates["large"] / rates["small"]
        print(f"large / small: {ratio:.2f}, by CPU time {by_cpu['large'] / by_cpu['small']:.2f}", flush=True)
        failed |= ratio < LEAST
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
