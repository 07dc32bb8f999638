"""Models: several types of event in one topic, a type of one's own, and a check when records are made.

    python examples/10_several_types.py

It prints:

    alice: opened
    alice: 20.00 EUR in
    alice: 12.50 EUR out
    alice: 7.50 EUR left
    refused: Deposited: money in must be above zero
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import stream_app as faust
from stream_core.errors import ValidationError


class Money:
    """An amount with its currency: ``12.50 EUR`` in JSON."""

    def __init__(self, amount: Decimal, currency: str) -> None:
        self.amount = amount
        self.currency = currency

    @classmethod
    def parse(cls, text: str) -> Money:
        """From text as :meth:`__json__` writes it."""
        amount, currency = text.split()
        return cls(Decimal(amount), currency)

    def __json__(self) -> str:
        return f"{self.amount} {self.currency}"

    __str__ = __json__


class AccountEvent(faust.Record, abstract=True, coercions={Money: Money.parse}):
    """Whatever happens to an account. On the topic each event says which subclass it is of."""

    account: str


class Opened(AccountEvent):
    """An account is there."""


class Deposited(AccountEvent):
    """Money came in."""

    money: Money

    def __post_init__(self) -> None:
        """Check a record when it is made and when it is read."""
        if self.money.amount <= 0:
            raise ValueError("money in must be above zero")


class Withdrawn(AccountEvent):
    """Money went out."""

    money: Money


app = faust.App("accounts", broker="memory://", topic_partitions=1)
events = app.topic("account-events", key_type=str, value_type=AccountEvent)
done = asyncio.Event()


@app.agent(events)
async def book(stream: faust.Stream[AccountEvent]) -> None:
    """Tell the types of events apart."""
    left = Decimal(0)
    async for event in stream:
        match event:
            case Opened(account):
                print(f"{account}: opened")
            case Deposited(account, money):
                left += money.amount
                print(f"{account}: {money} in")
            case Withdrawn(account, money):
                left -= money.amount
                print(f"{account}: {money} out")
                print(f"{account}: {left} {money.currency} left")
                done.set()


async def main() -> None:
    """Send one event of each type."""
    await app.start()
    for event in (
        Opened("alice"),
        Deposited("alice", Money(Decimal("20.00"), "EUR")),
        Withdrawn("alice", Money(Decimal("12.50"), "EUR")),
    ):
        await events.send(event, key=event.account)
    await asyncio.wait_for(done.wait(), timeout=30)
    try:
        Deposited.loads(b'{"account": "alice", "money": "0 EUR"}')
    except ValidationError as error:
        print(f"refused: {error}")
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
