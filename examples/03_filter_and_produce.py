"""Filter and produce: one agent sends what matters to a second topic, where another agent reads it.

    python examples/03_filter_and_produce.py

It prints:

    alert from cellar: 31 degrees
    alert from roof: 44 degrees
"""

import asyncio

import stream_app as faust


class Reading(faust.Record):
    """What a sensor measured."""

    sensor: str
    degrees: int


READINGS = [Reading("cellar", 12), Reading("cellar", 31), Reading("attic", 20), Reading("roof", 44)]

app = faust.App("sensors", broker="memory://", topic_partitions=1)  # one partition: all events have an order
readings = app.topic("readings", key_type=str, value_type=Reading)
alerts = app.topic("alerts", key_type=str, value_type=Reading)
done = asyncio.Event()


@app.agent(readings)
async def watch(stream: faust.Stream[Reading]) -> None:
    """Send on what is too hot."""
    async for reading in stream.filter(lambda reading: reading.degrees > 30):
        await alerts.send(reading, key=reading.sensor)


@app.agent(alerts)
async def alert(stream: faust.Stream[Reading]) -> None:
    """Print what was sent on."""
    async for sensor, reading in stream.items():
        print(f"alert from {sensor}: {reading.degrees} degrees")
        if sensor == "roof":
            done.set()


async def main() -> None:
    """Send some readings; their key is the sensor."""
    await app.start()
    for reading in READINGS:
        await readings.send(reading, key=reading.sensor)
    await asyncio.wait_for(done.wait(), timeout=30)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
