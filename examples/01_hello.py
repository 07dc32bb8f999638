"""Hello: an agent prints what comes in on a topic.

    python examples/01_hello.py

It prints:

    hello, world
"""

import asyncio

import stream_app as faust

app = faust.App("hello", broker="memory://")
names = app.topic("names", value_type=str)
greeted = asyncio.Event()


@app.agent(names)
async def greet(stream: faust.Stream[str]) -> None:
    """Greet each name."""
    async for name in stream:
        print(f"hello, {name}")
        greeted.set()


async def main() -> None:
    """Start the app, send a name, and stop when it was greeted."""
    await app.start()
    await names.send("world")
    await asyncio.wait_for(greeted.wait(), timeout=30)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
