"""The same work in faust-streaming, with its defaults; runs in an environment that has it instead of ours."""

# mypy: ignore-errors

from __future__ import annotations

import sys

import faust
from benchmarks.samples.meter import Meter, arguments

options = arguments()
meter = Meter(options)
app = faust.App(
    options.id,
    broker=options.broker,
    datadir=options.datadir,
    web_enabled=False,
    worker_redirect_stdouts=False,
    **({"store": "rocksdb://"} if options.windows else {}),
)


class Transfer(faust.Record, serializer="json", include_metadata=False):
    """A record of the topic."""

    account: str
    amount: float
    ts: float


transfers = app.topic(options.topic, key_type=str, value_type=Transfer)
large = app.topic(options.out, key_type=str, value_type=Transfer)
table = app.Table("counts", default=int, key_type=str, value_type=int, partitions=4) if options.windows else None
counts = {
    None: lambda: None,
    "tumbling": lambda: table.tumbling(10.0, expires=60.0),
    "hopping": lambda: table.hopping(60.0, 10.0, expires=60.0),
}[options.windows]()


@app.agent(transfers)
async def work(stream):
    """Count what passes, send it on, or count all in windows."""
    seen = passed = 0
    async for transfer in stream:
        if counts is not None:
            counts[transfer.account] += 1
        if transfer.amount > 10:
            passed += 1
            if options.out:
                await large.send(key=transfer.account, value=transfer)
        seen += 1
        if seen >= meter.mark:
            meter.tick(seen, passed=passed)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "--loglevel=ERROR", "--without-web"]
    app.main()
