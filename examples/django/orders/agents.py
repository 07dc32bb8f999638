"""Writes the orders that come in on a topic to the database."""

import logging

import stream_app as faust
from faustapp.app import app
from faustapp.database import in_database
from orders.models import Order

logger = logging.getLogger(__name__)


class PlacedOrder(faust.Record):
    """An order on the topic."""

    number: str
    item: str
    amount: int


placed = app.topic("shop-orders", key_type=str, value_type=PlacedOrder)


@in_database
def keep(order):
    """Write an order. An event may come twice, after a worker was killed: the second time changes nothing."""
    return Order.objects.update_or_create(number=order.number, defaults={"item": order.item, "amount": order.amount})


@app.agent(placed)
async def keep_orders(orders):
    """Keep each order in the database."""
    async for order in orders:
        await keep(order)
        logger.info("kept order %s", order.number)
