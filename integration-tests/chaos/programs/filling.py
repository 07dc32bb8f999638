"""The bank on stores whose disk can be full."""

from __future__ import annotations

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="full_stores.FullStores://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        totals[event.value.account] += event.value.amount
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})


if __name__ == "__main__":
    app.main()
