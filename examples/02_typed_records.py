"""Typed records: values are objects with checked fields, and JSON on the topic.

    python examples/02_typed_records.py

It prints:

    2026-03-01: 3 x 12.50 EUR to Utrecht
    on the topic: b'{"product":"lamp","count":3,"price":"12.50","address":{"city":"Utrecht","country":"NL"},"placed":"2026-03-01"}'
"""

import asyncio
from datetime import date
from decimal import Decimal

import stream_app as faust


class Address(faust.Record, include_metadata=False):
    """Where an order goes."""

    city: str
    country: str = "NL"


class Order(faust.Record, include_metadata=False):  # with metadata the JSON would also name the class, as Faust's does
    """What was ordered."""

    product: str
    count: int
    price: Decimal
    address: Address
    placed: date


app = faust.App("typed", broker="memory://")
orders = app.topic("orders", value_type=Order)
printed = asyncio.Event()


@app.agent(orders)
async def show(stream: faust.Stream[Order]) -> None:
    """Print the order, and the bytes it came as."""
    async for event in stream.events():
        order = event.value
        print(f"{order.placed}: {order.count} x {order.price} EUR to {order.address.city}")
        print("on the topic:", event.message.value)
        printed.set()


async def main() -> None:
    """Send one order."""
    await app.start()
    await orders.send(Order("lamp", 3, Decimal("12.50"), Address("Utrecht"), date(2026, 3, 1)))
    await asyncio.wait_for(printed.wait(), timeout=30)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
