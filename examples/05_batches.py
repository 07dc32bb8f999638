"""Batches: take several events at once where work is cheaper in bulk, such as rows of a database.

    python examples/05_batches.py

It prints:

    inserted 4 rows
    inserted 4 rows
    inserted 2 rows
    the table has 10 rows
"""

import asyncio
import sqlite3

import stream_app as faust

app = faust.App("batches", broker="memory://", topic_partitions=1)
numbers = app.topic("numbers", value_type=int)
database = sqlite3.connect(":memory:")
database.execute("CREATE TABLE numbers (number INTEGER)")
done = asyncio.Event()


@app.agent(numbers)
async def insert(stream: faust.Stream[int]) -> None:
    """Insert up to four rows in one transaction. What is left after half a second is inserted as it is."""
    async for batch in stream.take(4, within=0.5):
        with database:
            database.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in batch])
        print(f"inserted {len(batch)} rows")
        if 9 in batch:
            done.set()


async def main() -> None:
    """Send ten numbers."""
    await app.start()
    for number in range(10):
        await numbers.send(number)
    await asyncio.wait_for(done.wait(), timeout=30)
    (rows,) = database.execute("SELECT count(*) FROM numbers").fetchone()
    print(f"the table has {rows} rows")
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
