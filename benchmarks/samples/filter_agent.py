"""An agent that sends on what passes a filter: decode, test, encode, produce."""

from __future__ import annotations

import sys

import stream_app as faust
from benchmarks.samples.meter import Meter, arguments

options = arguments()
meter = Meter(options)
app = faust.App(options.id, broker=options.broker, datadir=options.datadir)


class Transfer(faust.Record, include_metadata=False):
    """A record of the topic."""

    account: str
    amount: float
    ts: float


transfers = app.topic(options.topic, key_type=str, value_type=Transfer)
large = app.topic(options.out, key_type=str, value_type=Transfer)


@app.agent(transfers)
async def select(stream: faust.Stream[Transfer]) -> None:
    """Send on what is larger than ten."""
    seen = passed = 0
    async for transfer in stream:
        if transfer.amount > 10:
            passed += 1
            await large.send(transfer, key=transfer.account)
        seen += 1
        if seen >= meter.mark:
            meter.tick(seen, passed=passed)


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--loglevel=WARNING"]
    app.main()
