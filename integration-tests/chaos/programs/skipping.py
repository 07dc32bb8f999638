"""The bank with an agent that skips what it cannot handle: a negative amount, after it has already written and sent."""

from __future__ import annotations

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits, on_failure="skip")
async def count(stream):
    async for event in stream.events():
        totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})
        if event.value.amount < 0:
            raise ValueError(f"a deposit of {event.value.amount}")


if __name__ == "__main__":
    app.main()
