"""Two agents on one topic, of which one pauses at each deposit."""

from __future__ import annotations

import asyncio

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo_fast = app.topic("echo-fast", key_type=str)
echo_slow = app.topic("echo-slow", key_type=str)
fast = app.Table("fast", default=int, key_type=str, value_type=int)
slow = app.Table("slow", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count_fast(stream):
    async for event in stream.events():
        fast[event.value.account] += event.value.amount
        await echo_fast.send(
            key=event.key, value={"partition": event.message.partition, "offset": event.message.offset}
        )


@app.agent(deposits)
async def count_slow(stream):
    async for event in stream.events():
        await asyncio.sleep(0.003)
        slow[event.value.account] += event.value.amount
        await echo_slow.send(
            key=event.key, value={"partition": event.message.partition, "offset": event.message.offset}
        )


if __name__ == "__main__":
    app.main()
