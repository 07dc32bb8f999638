"""The bank with an agent that waits in the middle of each event, so that there is always one open."""

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
    async for event in stream.events():
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})
        totals[event.value.account] += event.value.amount
        await asyncio.sleep(0.003)


if __name__ == "__main__":
    app.main()
