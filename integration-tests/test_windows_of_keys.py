"""Sessions and sliding windows on Kafka and RocksDB: each is told of once, with all of its events, when workers are killed."""

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
pages = app.topic(f"{app.id}-pages", key_type=str, value_type=int)
out = app.topic(f"{app.id}-out", key_type=str, partitions=1)

async def left(key, numbers):
    user, (first, last) = key
    await out.send(key=user, value=["visit", first, last, numbers])
    print(f"CLOSED {user} {first:.0f}", flush=True)

async def passed(key, count):
    user, (_, at) = key
    await out.send(key=user, value=["recent", at, at, count])

visits = app.Table("visits", key_type=str, value_type=list[int], default=list, on_window_close=left).session(
    5.0, expires=60.0, grace=5.0
)
recent = app.Table("recent", key_type=str, value_type=int, default=int, on_window_close=passed).sliding(
    10.0, 0, 60.0, grace=5.0
)

@app.agent(pages)
async def follow(stream):
    async for user, number in stream.items():
        visits[user] += [number]
        recent[user] += 1

if __name__ == "__main__":
    app.main()
"""

PARTITIONS, USERS, VISITS, LONG = 2, 6, 60, 4
"""Each user visits so often, each time with events in so many seconds, one a second; visits lie ten seconds apart."""

Told = tuple[str, str, float, float, str]
"""Kind, user, first and last instant, and the value as text."""


async def test_sessions_and_sliding_windows_close_once_although_a_worker_is_killed(
    bootstrap: str, tmp_path: Path
) -> None:
    """Killed twice while windows close, with its disk and without: each window of each user is told of once, with all of its events."""
    name = f"visits-{uuid.uuid4().hex[:8]}"
    begin = int(time.time()) // 10 * 10 - 7200
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


async def feed(bootstrap: str, name: str, begin: int) -> Counter[Told]:
    """Produce visits from ``begin`` on, and one event that ends them in each partition; returns what is to be told."""
    async with administration(bootstrap) as admin:
        await admin.create_topics([NewTopic(f"{name}-pages", PARTITIONS, 1)])
    expected = Counter[Told]()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=20)
    await producer.start()
    for visit in range(VISITS):
        first = begin + visit * 10
        for second in range(LONG):
            for user in map(str, range(USERS)):
                at, number = first + second, visit * LONG + second
                await producer.send(
                    f"{name}-pages",
                    json.dumps(number).encode(),
                    key=user.encode(),
                    partition=int(user) % PARTITIONS,
                    timestamp_ms=at * 1000,
                )
                expected["recent", user, at, at, str(second + 1 + max(0, (LONG - second) if visit else 0))] += 1
        numbers = list(range(visit * LONG, visit * LONG + LONG))
        for user in map(str, range(USERS)):
            expected["visit", user, first, first + LONG - 1, str(numbers)] += 1
    for partition in range(PARTITIONS):
        end = (begin + VISITS * 10 + 60) * 1000
        await producer.send(f"{name}-pages", b"0", key=b"end", partition=partition, timestamp_ms=end)
    await producer.stop()
    return expected


async def told(bootstrap: str, name: str, windows: int) -> Counter[Told]:
    """What was sent of windows that closed, as soon as there are so many; one that is told of twice is counted twice."""
    consumer = AIOKafkaConsumer(
        f"{name}-out", bootstrap_servers=bootstrap, auto_offset_reset="earliest", isolation_level="read_committed"
    )
    found = Counter[Told]()
    await consumer.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while len(found) < windows:
                record = await consumer.getone()
                kind, first, last, value = json.loads(record.value)
                if (user := record.key.decode()) != "end":
                    found[kind, user, first, last, str(value)] += 1
    finally:
        await consumer.stop()
    return found
