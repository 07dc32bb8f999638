"""An agent that counts by key in windows, in a table like that of the other count."""

from __future__ import annotations

import sys

import stream_app as faust
from benchmarks.samples.meter import Meter, arguments

options = arguments()
meter = Meter(options)
app = faust.App(
    options.id,
    broker=options.broker,
    datadir=options.datadir,
    store="rocksdb://",
    processing_guarantee=options.guarantee,
)


class Transfer(faust.Record):
    """A record of the topic."""

    account: str
    amount: float
    ts: float


transfers = app.topic(options.topic, value_type=Transfer)
table = app.Table("counts", default=int, key_type=str, value_type=int)
counts = {
    "tumbling": lambda: table.tumbling(10.0, expires=60.0),
    "hopping": lambda: table.hopping(60.0, 10.0, expires=60.0),  # an event counts in six
    "session": lambda: table.session(10.0, expires=60.0),
}[options.windows]()


@app.agent(transfers)
async def count(stream: faust.Stream[Transfer]) -> None:
    """Count the transfers of each account."""
    seen = 0
    async for transfer in stream:
        counts[transfer.account] += 1
        seen += 1
        if seen >= meter.mark:
            meter.tick(seen, last_count=counts[transfer.account].value())


if __name__ == "__main__":
    sys.argv[1:] = ["--quiet", "worker", "--loglevel=WARNING"]
    app.main()
