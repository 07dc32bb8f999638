"""The bank with windows: what each account was paid in a second is told when the second is over, and added up in a table of its own."""

from __future__ import annotations

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
echo = app.topic("echo", key_type=str)
closed = app.topic("bank-closed", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
told = app.Table("told", default=int, key_type=str, value_type=int)


async def close(window, amount):
    account, (start, _) = window
    await closed.send(key=account, value={"account": account, "start": start, "amount": amount})
    told[account] += amount


seconds = app.Table("seconds", default=int, key_type=str, value_type=int, on_window_close=close).tumbling(
    1.0, expires=30.0, grace=0.0
)


@app.agent(deposits)
async def count(stream):
    async for event in stream.events():
        await echo.send(key=event.key, value={"partition": event.message.partition, "offset": event.message.offset})
        totals[event.value.account] += event.value.amount
        seconds[event.value.account] += event.value.amount


if __name__ == "__main__":
    app.main()
