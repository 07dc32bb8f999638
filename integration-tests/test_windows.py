"""A table with windows on Kafka and RocksDB: counts and what closes are right when its worker is killed, under exactly-once."""

from __future__ import annotations

import asyncio
import json
import signal
import time
import uuid
from collections import Counter
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

from operators import administration
from processes import PATIENCE, run

PROGRAM = """
import os
import stream_app as faust

app = faust.App(
    os.environ["APP_NAME"],
    web_enabled=False,
    store="rocksdb://",
    processing_guarantee="exactly_once",
    broker_commit_interval=0.2,
)
words = app.topic(f"{app.id}-words", value_type=str)
out = app.topic(f"{app.id}-out", key_type=str, partitions=1)

async def closed(key, count):
    word, (start, _) = key
    await out.send(key=word, value=[start, count])
    print(f"CLOSED {word} {start:.0f}", flush=True)

counts = app.Table("counts", key_type=str, value_type=int, default=int, on_window_close=closed).tumbling(
    10.0, expires=60.0, grace=5.0
)

@app.agent(words)
async def count(stream):
    async for word in stream:
        counts[word] += 1

if __name__ == "__main__":
    app.main()
"""

EVENTS, PER_SECOND, PARTITIONS = 6_000, 10, 2


async def test_windows_close_once_although_a_worker_is_killed(bootstrap: str, tmp_path: Path) -> None:
    """Killed twice while windows close, with its disk and without: each window of each key is told of once, with all of its events."""
    name = f"windows-{uuid.uuid4().hex[:8]}"
    begin = int(time.time()) // 10 * 10 - 3600
    expected = await feed(bootstrap, name, begin)
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    for which in ("data", "data", "empty"):
        environ = {"APP_NAME": name, "BROKER_URL": f"kafka://{bootstrap}", "APP_DATADIR": str(tmp_path / which)}
        async with run(program, "worker", "-l", "info", environ=environ) as worker:
            await worker.said("CLOSED")
            if which == "data":
                await worker.said("CLOSED")
                worker.signal(signal.SIGKILL)
            else:
                assert await told(bootstrap, name, len(expected)) == expected
                assert await worker.terminate() == 0, worker.log


async def feed(bootstrap: str, name: str, begin: int) -> Counter[tuple[str, int]]:
    """Produce words from ``begin`` on, ten a second, and one that ends it in each partition; returns the counts of what is to close."""
    async with administration(bootstrap) as admin:
        await admin.create_topics([NewTopic(f"{name}-words", PARTITIONS, 1)])
    counts = Counter[tuple[str, int]]()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    await producer.start()
    for number in range(EVENTS):
        at, word, partition = begin + number // PER_SECOND, f"word-{number % 6}", number % PARTITIONS
        await producer.send(f"{name}-words", json.dumps(word).encode(), partition=partition, timestamp_ms=at * 1000)
        counts[word, at // 10 * 10] += 1
    for partition in range(PARTITIONS):
        end = (begin + EVENTS // PER_SECOND + 60) * 1000
        await producer.send(f"{name}-words", b'"end"', partition=partition, timestamp_ms=end)
    await producer.stop()
    return counts


async def told(bootstrap: str, name: str, windows: int) -> Counter[tuple[str, int]]:
    """What was sent of windows that closed, as soon as there are so many: a window that is told of twice has twice its count."""
    consumer = AIOKafkaConsumer(
        f"{name}-out", bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    found = Counter[tuple[str, int]]()
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while len(found) < windows:
                record = await consumer.getone()
                start, count = json.loads(record.value)
                found[record.key.decode(), int(start)] += count
    finally:
        await consumer.stop()
    return found
