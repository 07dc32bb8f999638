"""A channel: a timer hands objects to an agent of the same process, and no broker sees them.

python examples/channel.py worker -l info
"""

import stream_app as faust

app = faust.App("channel-example")


class MyModel(faust.Record):
    x: int


channel = app.channel(value_type=MyModel)


@app.agent(channel)
async def process(stream):
    async for event in stream:
        print(f"Received: {event!r}")


@app.timer(1.0)
async def populate():
    await channel.send(MyModel(303))


if __name__ == "__main__":
    app.main()
