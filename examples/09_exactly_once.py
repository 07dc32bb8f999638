"""Exactly once: what a failed attempt has sent and counted does not count.

    python examples/09_exactly_once.py 2> errors.log

It prints:

    attempt at 1
    attempt at 2
    attempt at 2
    attempt at 3
    receipts: [1, 2, 3]
    balance: 6

The agent fails once in the middle of the second payment, behind its effects, and the same event comes again. With "at_least_once" the
receipt of 2 would be there twice. (The table is right under both.)
"""

import asyncio

import stream_app as faust

app = faust.App("payments", broker="memory://", topic_partitions=1, processing_guarantee="exactly_once")
payments = app.topic("payments", key_type=str, value_type=int)
receipts = app.topic("receipts", key_type=str, value_type=int)
balances: faust.Table[str, int] = app.Table("balances", default=int, key_type=str, value_type=int)
failed = False
received: list[int] = []
done = asyncio.Event()


@app.agent(payments)
async def pay(stream: faust.Stream[int]) -> None:
    """Count a payment and send a receipt."""
    global failed
    async for account, amount in stream.items():
        print("attempt at", amount)
        balances[account] += amount
        await receipts.send(amount, key=account)
        if amount == 2 and not failed:
            failed = True
            raise RuntimeError("the disk of the printer is full")


@app.agent(receipts)
async def receive(stream: faust.Stream[int]) -> None:
    """Note the receipts; they are visible when their transaction is committed."""
    async for amount in stream:
        received.append(amount)
        if amount == 3:
            done.set()


async def main() -> None:
    """Make three payments."""
    await app.start()
    for amount in 1, 2, 3:
        await payments.send(amount, key="alice")
    await asyncio.wait_for(done.wait(), timeout=30)
    print("receipts:", received)
    print("balance:", balances["alice"])
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
