"""The bank in lists: up to twenty deposits at a time, of one partition."""

from __future__ import annotations

import asyncio

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count(stream):
    async for events in stream.take_events(20, within=0.2, by_partition=True):
        for event in events:
            await asyncio.sleep(0.005)  # so that checkpoints and kills come in the middle of lists
            totals[event.value.account] += event.value.amount
            await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})


if __name__ == "__main__":
    app.main()
