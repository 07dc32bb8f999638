"""An agent that writes values of 2,000 characters to a table, and reads what was there before: RocksDB and a changelog."""

from __future__ import annotations

import argparse
import random
import string
import sys
from pathlib import Path

import stream_app as faust
from benchmarks.samples.meter import Meter, arguments

__all__ = ["FACTOR", "SIZE"]

SIZE = 2_000
"""Characters of a value."""

FACTOR = 7919
"""Spreads the numbers of events over the keys; a prime that no number of keys has in it."""

parser = argparse.ArgumentParser(add_help=False)
parser.add_argument("--keys", type=int, required=True, help="keys of the table")
parser.add_argument("--store", required=True, help="URL of the store")
more, sys.argv[1:] = parser.parse_known_args()
options = arguments()
meter = Meter(options)
app = faust.App(options.id, broker=options.broker, datadir=options.datadir, store=more.store, web_enabled=False)
TEXT = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=1 << 20))


class Item(faust.Record):
    """A value of the table."""

    times: int = 0
    text: str = ""


numbers = app.topic(options.topic, value_type=int)
items: faust.Table[int, Item] = app.Table("items", key_type=int, value_type=Item)


@app.agent(numbers)
async def fill(stream: faust.Stream[int]) -> None:
    """Write one value for each event."""
    seen = again = 0
    async for number in stream:
        key = number * FACTOR % more.keys
        before = items.get(key)
        at = number * 1009 % (len(TEXT) - SIZE)
        items[key] = Item(1 if before is None else before.times + 1, TEXT[at : at + SIZE])
        again += before is not None
        seen += 1
        if seen >= meter.mark:
            tables = app.engine.snapshot().tables
            stored = sum(one.stored_bytes or 0 for one in tables), sum(one.stored_keys or 0 for one in tables)
            meter.tick(seen, again=again, stored_bytes=stored[0], stored_keys=stored[1], peak_mb=_peak())


def _peak() -> float:
    """The most memory that this process has had, in MiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--loglevel=WARNING"]
    app.main()
