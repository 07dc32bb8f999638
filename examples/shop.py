"""A shop with something to look at: run it, and open http://localhost:6066 in a browser.

    stream -A examples.shop worker

Orders come by themselves, some fail, and large ones are reported. It needs no broker; with ``BROKER_URL`` it runs on a real Kafka, and a
second worker, in another terminal, shares the work.
"""

import random

import stream_app as faust


class Order(faust.Record):
    """What somebody has bought."""

    account: str
    amount: int


app = faust.App("shop", broker="memory://", store="memory://")
orders = app.topic("orders", key_type=str, value_type=Order, partitions=8)
large_orders = app.topic("large-orders", key_type=str, value_type=Order, partitions=8)
totals = app.Table("totals", default=int, key_type=str, value_type=int)
large_totals = app.Table("large-totals", default=int, key_type=str, value_type=int)


@app.agent(orders, on_failure="dead_letter")
async def count(stream):
    async for order in stream:
        if order.amount < 0:
            raise ValueError(f"nobody buys for {order.amount}")
        totals[order.account] += order.amount
        if order.amount > 80:
            await large_orders.send(key=order.account, value=order)


@app.agent(large_orders)
async def report(stream):
    async for order in stream:
        large_totals[order.account] += order.amount


@app.timer(0.1)
async def buy():
    for _ in range(random.randrange(5, 25)):
        account = random.choice(["ann", "bob", "cleo", "dan", "eve"])
        await orders.send(key=account, value=Order(account=account, amount=random.randrange(100)))


@app.timer(20)
async def buy_badly():
    await orders.send(key="eve", value=Order(account="eve", amount=-1))


if __name__ == "__main__":
    app.main()
