"""Sinks: what an agent yields goes on to a topic, to another agent, to a channel and to a function.

    python examples/13_sinks.py

It prints:

    function: 20
    function: 40
    agent: 20
    agent: 40
    channel: 20
    channel: 40
    topic: 20
    topic: 40
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator

import stream_app as faust

app = faust.App("sinks", broker="memory://", topic_partitions=1)
prices = app.topic("prices", value_type=int)
doubled = app.topic("doubled", value_type=int)
local = app.channel(value_type=int)
seen: defaultdict[str, list[int]] = defaultdict(list)
done = asyncio.Event()


def note(where: str, price: int) -> None:
    """Remember what came where."""
    seen[where].append(price)
    if sum(map(len, seen.values())) == 8:
        done.set()


@app.agent(doubled)
async def read_topic(stream: faust.Stream[int]) -> None:
    """Read the topic that is a sink."""
    async for price in stream:
        note("topic", price)


@app.agent(local)
async def read_channel(stream: faust.Stream[int]) -> None:
    """Read the channel that is a sink."""
    async for price in stream:
        note("channel", price)


@app.agent(value_type=int)
async def other(stream: faust.Stream[int]) -> None:
    """Be a sink."""
    async for price in stream:
        note("agent", price)


@app.agent(prices, sink=[doubled, local, other, lambda price: note("function", price)])
async def double(stream: faust.Stream[int]) -> AsyncIterator[int]:
    """Yield what goes to the sinks."""
    async for price in stream:
        yield 2 * price


async def main() -> None:
    """Send two prices, and print what came where."""
    await app.start()
    for price in 10, 20:
        await prices.send(price)
    await asyncio.wait_for(done.wait(), timeout=30)
    for where in "function", "agent", "channel", "topic":
        for price in seen[where]:
            print(f"{where}: {price}")
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
