"""The bank with an agent that waits for ever on a negative amount, unless ``CHAOS_ACCEPT`` is set."""

from __future__ import annotations

import asyncio
import os

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://", stream_processing_timeout=2.0)
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
accept = "CHAOS_ACCEPT" in os.environ


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})
        if event.value.amount < 0 and not accept:
            await asyncio.Event().wait()


if __name__ == "__main__":
    app.main()
