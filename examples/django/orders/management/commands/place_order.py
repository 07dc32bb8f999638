"""``python manage.py place_order 17 tea 3``: sends an order to the workers."""

import asyncio

from django.core.management.base import BaseCommand, CommandError

import stream_app as faust
from faustapp.app import app
from orders.agents import PlacedOrder, placed


class Command(BaseCommand):
    """Place an order."""

    help = "Sends an order to the workers, which write it to the database."

    def add_arguments(self, parser):
        """Take what an order consists of."""
        parser.add_argument("number")
        parser.add_argument("item")
        parser.add_argument("amount", type=int)

    def handle(self, *, number, item, amount, **options):
        """Send it, and say where it is."""
        try:
            metadata = asyncio.run(place(PlacedOrder(number=number, item=item, amount=amount)))
        except faust.StreamError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"order {number} is on {metadata.topic}, partition {metadata.partition}, offset {metadata.offset}"
        )


async def place(order):
    """Send an order, and wait until the broker has it."""
    await app.start_client(fail_fast=True)  # somebody waits for the command
    try:
        return await (await placed.send(order, key=order.number))
    finally:
        await app.stop()
