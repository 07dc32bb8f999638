"""Ask and reply: an agent answers questions, with records, and many at a time.

    python examples/12_ask_and_reply.py

It prints:

    3 + 4 = 7
    squares: [0, 1, 4, 9, 16]
    not answered: it has failed

On a real Kafka whoever asks may be another program: it imports this module and awaits app.start_client().
"""

import asyncio
from collections.abc import AsyncIterator

import stream_app as faust
from stream_core.errors import RequestFailedError


class Sum(faust.Record):
    """A question."""

    left: int
    right: int


class Result(faust.Record):
    """An answer."""

    total: int


app = faust.App("calculator", broker="memory://", topic_partitions=2)


@app.agent(value_type=Sum)
async def add(stream: faust.Stream[Sum]) -> AsyncIterator[Result]:
    """Answer with what it yields."""
    async for question in stream:
        yield Result(total=question.left + question.right)


@app.agent(value_type=int, on_failure="skip")
async def square(stream: faust.Stream[int]) -> AsyncIterator[int]:
    """Answer, but not about what is below zero."""
    async for number in stream:
        if number < 0:
            raise ValueError("below zero")
        yield number**2


async def main() -> None:
    """Ask one thing, then several at once, then something that fails."""
    await app.start()
    result = await add.ask(Sum(left=3, right=4))
    print(f"3 + 4 = {result.total}")
    print("squares:", await square.join(range(5)))
    try:
        await square.ask(-1)
    except RequestFailedError:
        print("not answered: it has failed")
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
