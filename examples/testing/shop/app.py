"""The shop: it counts what customers buy, sends large orders on, and reports once a minute."""

from __future__ import annotations

from collections.abc import AsyncIterator

import stream_app as faust

app = faust.App("shop", broker="kafka://localhost:9092", store="rocksdb://", topic_partitions=4)


class Order(faust.Record):
    """Somebody buys something."""

    customer: str
    product: str
    amount: int


class Report(faust.Record):
    """How many orders there were in a minute."""

    orders: int


orders = app.topic("orders", key_type=str, value_type=Order)
large = app.topic("large-orders", key_type=str, value_type=Order)
reports = app.topic("reports", value_type=Report)
shipments = app.topic("shipments", key_type=str, value_type=list[str])
spent: faust.Table[str, int] = app.Table("spent", key_type=str, value_type=int, default=int)
seen = 0


@app.agent(orders, on_failure="dead_letter")
async def count(stream: faust.Stream[Order]) -> AsyncIterator[int]:
    """Count what each customer spends; orders come by their number, and are counted by customer."""
    global seen
    async for order in stream.group_by(Order.customer):
        if order.amount <= 0:
            raise ValueError(f"{order.amount} is no amount")
        spent[order.customer] += order.amount
        seen += 1
        if order.amount >= 1000:
            await large.send(order, key=order.customer)
        yield spent[order.customer]


@app.agent(orders)
async def ship(stream: faust.Stream[Order]) -> None:
    """Ship what was ordered, up to ten products at a time, and within half a minute."""
    async for batch in stream.take(10, within=30, by_partition=True):
        await shipments.send([order.product for order in batch])


@app.timer(60)
async def report() -> None:
    """Say how many orders there were."""
    global seen
    seen, number = 0, seen
    await reports.send(Report(orders=number))
