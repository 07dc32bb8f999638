"""Count in a table: state that survives the worker.

    python examples/04_table_count.py

It prints:

    apple 3
    pear 1
    plum 2

On a broker and with a store on disk the counts go on from where the last run ended, also after `kill -9`:

    BROKER_URL=kafka://localhost:9092 APP_STORE=rocksdb:// python examples/04_table_count.py
"""

import asyncio

import stream_app as faust

FRUITS = ["apple", "plum", "apple", "pear", "plum", "apple"]

app = faust.App("fruits", broker="memory://")
fruits = app.topic("fruits", key_type=str, value_type=str)
counts: faust.Table[str, int] = app.Table("counts", default=int, key_type=str, value_type=int)
done = asyncio.Event()


@app.agent(fruits)
async def count(stream: faust.Stream[str]) -> None:
    """Count each fruit. The key of the event chose its partition, so each fruit is counted in one place."""
    counted = 0
    async for fruit in stream:
        counts[fruit] += 1
        counted += 1
        if counted == len(FRUITS):
            done.set()


async def main() -> None:
    """Send the fruits, each by its name as the key, and read the table from outside."""
    await app.start()
    for fruit in FRUITS:
        await fruits.send(fruit, key=fruit)
    await asyncio.wait_for(done.wait(), timeout=30)
    for fruit, number in sorted(counts.items()):
        print(fruit, number)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
