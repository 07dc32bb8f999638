"""The bank behind a repartitioning: deposits go through a topic of their own, by account, before they are counted."""

from __future__ import annotations

import stream_app as faust


class Deposit(faust.Record):
    account: str
    amount: int


class Placed(faust.Record):
    account: str
    amount: int
    partition: int
    offset: int


app = faust.App("bank", store="rocksdb://")
deposits = app.topic("deposits", key_type=str, value_type=Deposit)
between = app.topic("bank-regrouped", key_type=str, value_type=Placed)
echo = app.topic("echo", key_type=str)
totals = app.Table("totals", default=int, key_type=str, value_type=int)


@app.agent(deposits)
async def count(stream):
    def place(deposit):
        message = stream.current_event.message
        return Placed(deposit.account, deposit.amount, message.partition, message.offset)

    async for event in stream.add_processor(place).group_by(Placed.account, topic=between).events():
        placed = event.value
        totals[placed.account] += placed.amount
        await echo.send(key=event.key, value={"partition": placed.partition, "offset": placed.offset})


if __name__ == "__main__":
    app.main()
