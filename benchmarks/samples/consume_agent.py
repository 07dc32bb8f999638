"""An agent that reads typed records: the work of the baseline, in the idiom of Stream."""

from __future__ import annotations

import sys

import stream_app as faust
from benchmarks.samples.meter import Meter, arguments

options = arguments()
meter = Meter(options)
app = faust.App(options.id, broker=options.broker, datadir=options.datadir)


class Transfer(faust.Record):
    """A record of the topic."""

    account: str
    amount: float
    ts: float


transfers = app.topic(options.topic, value_type=Transfer)


@app.agent(transfers)
async def consume(stream: faust.Stream[Transfer]) -> None:
    """Count what passes."""
    seen = passed = 0
    async for transfer in stream:
        if transfer.amount > 10:
            passed += 1
        seen += 1
        if seen >= meter.mark:
            meter.tick(seen, passed=passed)


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--loglevel=WARNING"]
    app.main()
