"""Eight actors on one stream, each event for a random time: they finish in any order."""

from __future__ import annotations

import asyncio
import random

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)


@app.agent(deposits, concurrency=8)
async def answer(stream):
    async for event in stream.events():
        await asyncio.sleep(random.expovariate(100))
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})


if __name__ == "__main__":
    app.main()
