"""Concurrency: many events at once, where an agent waits for something else most of the time.

    python examples/08_concurrency.py

It prints:

    looked up 20 addresses, 5 at a time
"""

import asyncio

import stream_app as faust

app = faust.App("lookups", broker="memory://")
addresses = app.topic("addresses", value_type=str)
done = asyncio.Event()
running = most = finished = 0


async def look_up(address: str) -> None:
    """Stands for a request to another service."""
    global running, most
    running += 1
    most = max(most, running)
    await asyncio.sleep(0.01)
    running -= 1


@app.agent(addresses, concurrency=5)
async def check(stream: faust.Stream[str]) -> None:
    """Run five times over one stream. Events finish in any order; the committed position waits for the oldest that is open."""
    global finished
    async for address in stream:
        await look_up(address)
        finished += 1
        if finished == 20:
            done.set()


async def main() -> None:
    """Send twenty addresses."""
    await app.start()
    for number in range(20):
        await addresses.send(f"10.0.0.{number}")
    await asyncio.wait_for(done.wait(), timeout=30)
    print(f"looked up {finished} addresses, {most} at a time")
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
