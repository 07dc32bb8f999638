"""Failures: what cannot be decoded and what an agent fails at is skipped, because this program says so; the log names its place.

    python examples/07_failures.py 2> failures.log

It prints:

    10 / 5 = 2
    10 / 2 = 5

Without the two policies the first bad event would come again a few times, and then the worker would exit.
"""

import asyncio

import stream_app as faust

app = faust.App("failures", broker="memory://", topic_partitions=1)
divisors = app.topic("divisors", value_type=int, on_decode_error="skip")
done = asyncio.Event()


@app.agent(divisors, on_failure="skip")
async def divide(stream: faust.Stream[int]) -> None:
    """Divide; zero cannot be divided by."""
    async for divisor in stream:
        print(f"10 / {divisor} = {10 // divisor}")
        if divisor == 2:
            done.set()


async def main() -> None:
    """Send what can be divided by, what cannot, and what is no number at all."""
    await app.start()
    for value in 5, 0, "no number", 2:
        await divisors.send(value)
    await asyncio.wait_for(done.wait(), timeout=30)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
