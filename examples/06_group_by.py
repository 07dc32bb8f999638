"""Group by: events come by one key and are counted by another.

    python examples/06_group_by.py

It prints:

    cake 19
    coffee 7
    tea 9
"""

import asyncio

import stream_app as faust


class Order(faust.Record):
    """What an account bought."""

    account: str
    item: str
    amount: int


ORDERS = [Order("alice", "tea", 4), Order("bob", "coffee", 7), Order("carol", "tea", 5), Order("alice", "cake", 19)]

app = faust.App("sales", broker="memory://")
orders = app.topic("orders", key_type=str, value_type=Order)
sold: faust.Table[str, int] = app.Table("sold", default=int, key_type=str, value_type=int)
done = asyncio.Event()


@app.agent(orders)
async def count(stream: faust.Stream[Order]) -> None:
    """Add up what was sold of each item. All orders of an item go through one partition, so one worker counts them."""
    counted = 0
    async for order in stream.group_by(Order.item):
        sold[order.item] += order.amount
        counted += 1
        if counted == len(ORDERS):
            done.set()


async def main() -> None:
    """Send the orders by account."""
    await app.start()
    for order in ORDERS:
        await orders.send(order, key=order.account)
    await asyncio.wait_for(done.wait(), timeout=30)
    for item, amount in sorted(sold.items()):
        print(item, amount)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
