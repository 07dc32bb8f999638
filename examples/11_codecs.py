"""Codecs: compressed values, and a topic whose headers say how its values are written.

    python examples/11_codecs.py

It prints:

    1000 measurements in fewer bytes than JSON needs: True
    roof: mean 20.5
    cellar (an old message): mean 12.0
"""

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import stream_app as faust
from stream_core.primitives import RawRecord
from stream_core.values.codecs import Codec, register


class Gzip(Codec):
    """Compresses what the codec before it has written."""

    def _dumps(self, obj: bytes) -> bytes:
        return gzip.compress(obj)

    def _loads(self, data: bytes) -> bytes:
        return gzip.decompress(data)


register("gzip", Gzip())


class Series(faust.Record):
    """What one sensor has measured."""

    sensor: str
    degrees: list[float]


class WithOldMessages(faust.Schema):
    """Old messages are lines of text, and have a header that says so."""

    def loads_value(self, message: RawRecord, loads: Callable[[bytes], Any]) -> Any:
        """Read old messages here, and leave the new ones to the serializer."""
        if dict(message.headers).get("format") == b"text" and message.value:
            sensor, *degrees = message.value.decode().split()
            return Series(f"{sensor} (an old message)", [float(word) for word in degrees])
        return loads(message.value or b"")

    def dumps_value(self, value: Any, headers: list[tuple[str, bytes]], dumps: Callable[[Any], Any]) -> bytes | None:
        """Send bytes as they are, to have an old message in this example."""
        return value if isinstance(value, bytes) else dumps(value)


app = faust.App("weather", broker="memory://", topic_partitions=1)
measured = app.topic("measured", schema=WithOldMessages(value_type=Series, value_serializer="json|gzip"))
done = asyncio.Event()


@app.agent(measured)
async def average(stream: faust.Stream[Series]) -> None:
    """Get records, however they were written."""
    async for event in stream.events():
        series = event.value
        if len(series.degrees) == 1000:
            fewer = len(event.message.value or b"") < len(series.dumps())
            print(f"1000 measurements in fewer bytes than JSON needs: {fewer}")
        print(f"{series.sensor}: mean {sum(series.degrees) / len(series.degrees)}")
        if event.headers:
            done.set()


async def main() -> None:
    """Send a new message and an old one."""
    await app.start()
    await measured.send(Series("roof", [20.0, 21.0] * 500))
    await measured.send(b"cellar 11.0 13.0", headers={"format": b"text"})
    await asyncio.wait_for(done.wait(), timeout=30)
    await app.stop()


if __name__ == "__main__":
    asyncio.run(main())
