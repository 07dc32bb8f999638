"""Programs of the guides as real processes on Kafka: leaders, several apps in a worker, clients, signals, topics of several names."""

from __future__ import annotations

import asyncio
import signal
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import NewTopic

import stream_app as faust
from operators import administration
from processes import Worker, run, until

LEADING = """
import os
import stream_app as faust

app = faust.App(os.environ["APP_NAME"], web_enabled=False, topic_partitions=2)

@app.agent(app.topic(f"{app.id}-numbers", value_type=int))
async def numbers(stream):
    async for number in stream:
        print(f"NUMBER {number}", flush=True)

@app.timer(0.2, on_leader=True)
async def beat(app):
    print(f"LEADER of {app.id}", flush=True)

if __name__ == "__main__":
    app.main()
"""

TWO_APPS = """
import os
import stream_app as faust

apps = [faust.App(f"{os.environ['APP_NAME']}-{which}", web_enabled=False) for which in ("one", "two")]

def define(app, other):
    @app.agent(app.topic(app.id, value_type=int, partitions=1), name="count")
    async def count(stream):
        async for number in stream:
            print(f"{app.id} got {number}", flush=True)
            if number < 3:
                await app.send(other.id, value=number + 1)

define(*apps)
define(*reversed(apps))

@apps[0].task
async def begin():
    await apps[0].send(apps[0].id, value=1)

if __name__ == "__main__":
    raise SystemExit(faust.Worker(*apps).execute_from_commandline())
"""

HANGING = """
import asyncio, os
import stream_app as faust

app = faust.App(os.environ["APP_NAME"], web_enabled=False)
numbers = app.topic(app.id, value_type=int, partitions=1)

@app.agent(numbers)
async def hang(stream):
    async for number in stream:
        print(f"NUMBER {number}", flush=True)
        await asyncio.Event().wait()

@app.task
async def begin():
    await numbers.send(1)

if __name__ == "__main__":
    app.main()
"""


@pytest.fixture
def name() -> str:
    """An app that no other test has."""
    return f"app-{uuid.uuid4().hex[:8]}"


@asynccontextmanager
async def started(directory: Path, text: str, name: str, bootstrap: str, *arguments: str) -> AsyncIterator[Worker]:
    """A process of a program, which is ready."""
    program = directory / "program.py"
    program.write_text(text)
    environ = {"APP_NAME": name, "BROKER_URL": f"kafka://{bootstrap}", "APP_DATADIR": str(directory / "data")}
    async with run(program, *arguments, environ=environ) as worker:
        yield worker


async def test_timers_of_the_leader(bootstrap: str, name: str, tmp_path: Path) -> None:
    """One of two workers leads; when it is terminated the other does."""
    both = ("worker", "-l", "info")
    async with started(tmp_path, LEADING, name, bootstrap, *both) as one:
        await one.said("LEADER")
        async with started(tmp_path, LEADING, name, bootstrap, *both) as two:
            await two.said("is ready")
            first, second = (one, two) if await leads(one, two) else (two, one)
            assert await first.terminate() == 0, first.log
            await second.said("LEADER")
            assert await second.terminate() == 0, second.log


async def test_a_leader_that_is_killed_is_replaced(
    bootstrap: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After ``kill -9`` the group gives its seat away when the session is over, and the other worker ticks with its next interval."""
    monkeypatch.setenv("BROKER_SESSION_TIMEOUT", "6")
    monkeypatch.setenv("BROKER_HEARTBEAT_INTERVAL", "1")
    async with (
        started(tmp_path, LEADING, name, bootstrap, "worker", "-l", "info") as one,
        started(tmp_path, LEADING, name, bootstrap, "worker", "-l", "info") as two,
    ):
        first, second = (one, two) if await leads(one, two) else (two, one)
        first.signal(signal.SIGKILL)
        await second.said("LEADER")
        assert await second.terminate() == 0, second.log


async def leads(one: Worker, two: Worker) -> bool:
    """Whether the first of two workers is the leader: who says so first, after both are in the group."""
    says = {asyncio.create_task(worker.said("LEADER")): worker for worker in (one, two)}
    done, late = await asyncio.wait(says, return_when=asyncio.FIRST_COMPLETED)
    for task in late:
        task.cancel()
    await asyncio.wait(late)  # else it would still read what the worker says
    return says[done.pop()] is one


async def test_several_apps_in_one_worker(bootstrap: str, name: str, tmp_path: Path) -> None:
    """Two apps of one process send to each other, each in a group of its own, and end together."""
    async with started(tmp_path, TWO_APPS, name, bootstrap) as worker:
        for which, number in (("one", 1), ("two", 2), ("one", 3)):
            await worker.said(f"{name}-{which} got {number}")
        assert await worker.terminate() == 0, worker.log


async def test_a_second_signal_ends_at_once(bootstrap: str, name: str, tmp_path: Path) -> None:
    """An agent that hangs holds the first signal up, and not the second; the exit code says that it was no clean end."""
    async with started(tmp_path, HANGING, name, bootstrap, "worker", "-l", "info") as worker:
        await worker.said("NUMBER 1")
        worker.signal(signal.SIGUSR1)
        await worker.said(r"these tasks run")
        await worker.said(r"program\.py:\d+ hang")
        worker.signal(signal.SIGTERM)
        await worker.said("a second signal ends at once")
        while worker.process.returncode is None:  # those of the first second count as one with the first
            worker.signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
        assert await worker.exit() == 1
        assert "ending now" in worker.log


async def test_an_agent_of_several_topics(bootstrap: str, name: str) -> None:
    """Events of both come, and both positions are committed; headers, timestamps and compression survive the broker."""
    app = faust.App(
        name,
        broker=f"kafka://{bootstrap}",
        web_enabled=False,
        topic_partitions=1,
        broker_commit_interval=0.1,
        producer_compression_type="zstd",
    )
    east, west = (app.topic(f"{name}-{side}", key_type=str, value_type=int) for side in ("east", "west"))
    seen: list[tuple[str, str, int, float, dict[str, bytes]]] = []

    @app.agent(app.topic(f"{name}-east", f"{name}-west", key_type=str, value_type=int))
    async def note(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.key, event.value, event.message.timestamp, event.headers))

    now = int(time.time())
    await app.start()
    try:
        for number in range(200):
            topic = (east, west)[number % 2]
            await topic.send(number, key="k", timestamp=now + number / 8, headers={"n": b"%d" % number})
        await until(lambda: len(seen) == 200)
        offsets = app.engine.ownership.sessions
        await until(lambda: all(session.committed == 100 for session in offsets.values()))
    finally:
        await app.stop()
    assert sorted(seen, key=lambda one: one[2]) == [
        (f"{name}-{('east', 'west')[n % 2]}", "k", n, now + n / 8, {"n": b"%d" % n}) for n in range(200)
    ]


async def test_topics_that_appear_later(bootstrap: str, name: str) -> None:
    """A pattern finds topics that exist and topics that are made while the app runs."""
    app = faust.App(name, broker=f"kafka://{bootstrap}", web_enabled=False, topic_discovery_interval=0.5)
    seen: list[tuple[str, bytes]] = []

    @app.agent(app.topic(pattern=f"{name}-order-.*", value_type=bytes))
    async def note(stream: faust.Stream[bytes]) -> None:
        async for event in stream.events():
            seen.append((event.message.topic, event.value))

    topics = [f"{name}-{kind}" for kind in ("order-1", "other-1", "order-2")]
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await create(bootstrap, topics[:2])
        await app.start()
        try:
            await producer.send(topics[0], b"one")
            await producer.send(topics[1], b"other")
            await until(lambda: seen == [(topics[0], b"one")])
            await create(bootstrap, topics[2:])
            await producer.send(topics[2], b"two")
            await until(lambda: (topics[2], b"two") in seen)
        finally:
            await app.stop()
    assert seen == [(topics[0], b"one"), (topics[2], b"two")]


async def create(bootstrap: str, topics: list[str]) -> None:
    """Make topics of two partitions."""
    async with administration(bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 2, 1) for topic in topics])


async def test_threads_and_clients_send(bootstrap: str, name: str) -> None:
    """A client-only app sends from its loop and from threads; what it sent is on the topic, each once."""
    app = faust.App(name, broker=f"kafka://{bootstrap}", web_enabled=False, topic_partitions=1)
    numbers = app.topic(name, value_type=int)
    await app.start_client()
    try:
        await (await numbers.send(0))
        results = await asyncio.gather(*(asyncio.to_thread(send, numbers, n) for n in range(1, 50)))
    finally:
        await app.stop()
    assert sorted(found.offset for found in results) == list(range(1, 50))
    consumer = AIOKafkaConsumer(name, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        values = [int((await asyncio.wait_for(consumer.getone(), 30)).value) for _ in range(50)]
    finally:
        await consumer.stop()
    assert sorted(values) == list(range(50))


def send(topic: faust.Topic[Any, int], number: int) -> faust.RecordMetadata:
    """Send from a thread that has no event loop."""
    return topic.send_soon(number).result(30)
