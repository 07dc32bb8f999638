"""Sends outside of events on Kafka: through the death of a broker, a topic that grows, and a stop without a broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.admin import NewPartitions

import stream_app as faust
from operators import administration
from processes import until
from stream_core.primitives import TP
from stream_kafka import KafkaTransport
from stream_kafka.broker import Broker

both = pytest.mark.parametrize("guarantee", ["at_least_once", "exactly_once"])


def make(bootstrap: str, name: str, **options: Any) -> faust.App:
    """An app without a disk."""
    options = {"topic_partitions": 1, **options}
    return faust.App(name, broker=f"kafka://{bootstrap}", store="memory://", web_enabled=False, **options)


async def values(bootstrap: str, name: str) -> list[int]:
    """The values that a topic has, partition by partition; those of a transaction whose end is not written yet are waited for."""
    reader = KafkaTransport(f"kafka://{bootstrap}").reader(read_committed=True)
    await reader.start()
    whole = KafkaTransport(f"kafka://{bootstrap}").reader(read_committed=False)
    await whole.start()
    admin = KafkaTransport(f"kafka://{bootstrap}").admin()
    await admin.start()
    tps = [TP(name, number) for number in range((await admin.describe([name]))[name].partitions)]
    await admin.stop()
    ends = await whole.end_offsets(tps)
    await whole.stop()
    await reader.assign(dict.fromkeys(tps, 0))
    found: dict[TP, list[int]] = {tp: [] for tp in tps}
    positions = dict.fromkeys(tps, 0)
    async with asyncio.timeout(30):
        while any(positions[tp] < ends[tp] for tp in tps):
            for batch in await reader.poll(1.0):
                found[batch.tp] += [int(record.value or b"-1") for record in batch.records]
                positions[batch.tp] = batch.next_offset
    await reader.stop()
    return [value for tp in tps for value in found[tp]]


async def test_a_program_that_sends_and_stops_loses_nothing(bootstrap: str, topic: Callable[..., str]) -> None:
    """It waits for no acknowledgement; the stop does."""
    app = make(bootstrap, topic("app"))
    out = app.topic(topic("out"), value_type=int)
    await app.start_client()
    for number in range(20_000):
        await out.send(number)
    await app.stop()
    assert await values(bootstrap, out.name) == list(range(20_000))


@both
async def test_topics_that_nobody_has_described_before(
    bootstrap: str, topic: Callable[..., str], guarantee: str
) -> None:
    """An event, a task and a client send to names of topics that do not exist: they are made, and nothing fails or waits long."""
    app = make(bootstrap, topic("app"), processing_guarantee=guarantee)
    source = app.topic(topic("source"), value_type=int)
    sent, forwarded, outside = topic("sent"), topic("forwarded"), topic("outside")
    failures: list[BaseException] = []
    finished: list[int] = []

    async def fails(agent: Any, error: BaseException) -> None:
        failures.append(error)

    @app.agent(source, on_error=fails)
    async def copy(stream: faust.Stream[int]) -> None:
        async for event in stream.events():
            await event.send(sent, value=event.value + 1)
            await event.forward(forwarded)
            finished.append(event.value)

    async with app:
        await app.send(outside, value=0)
        for number in range(3):
            await source.send(value=number)
        await until(lambda: len(finished) == 3)
    assert failures == []
    assert await values(bootstrap, sent) == [1, 2, 3]
    assert await values(bootstrap, forwarded) == [0, 1, 2]
    assert await values(bootstrap, outside) == [0]

    client = make(bootstrap, topic("client"))
    async with asyncio.timeout(60):
        await client.start_client()
        await client.send(other := topic("other"), value=7)
        await client.stop()
    assert await values(bootstrap, other) == [7]


@both
async def test_the_broker_dies_while_a_timer_sends(
    broker: Broker, bootstrap: str, topic: Callable[..., str], guarantee: str
) -> None:
    """Everything is there at last, in order, and the worker lives."""
    app = make(
        bootstrap,
        topic("app"),
        processing_guarantee=guarantee,
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_rebalance_timeout=8.0,
        broker_request_timeout=10.0,
    )
    source, out = app.topic(topic("source"), value_type=int), app.topic(topic("out"), value_type=int)
    sent: list[int] = []

    @app.agent(source)
    async def ignore(stream: faust.Stream[int]) -> None:
        async for _ in stream:
            pass

    @app.timer(0.2)
    async def tick() -> None:
        await out.send(len(sent))
        sent.append(len(sent))

    await app.start()
    try:
        await until(lambda: len(sent) > 5)
        await asyncio.to_thread(broker.kill)
        await asyncio.sleep(8)  # beyond the lease
        await asyncio.to_thread(broker.start)
        before = len(sent)
        await until(lambda: len(sent) > before + 5)
        assert not app.engine.failure.done()
    finally:
        if not broker.is_running:
            await asyncio.to_thread(broker.start)
        await app.stop()
    assert list(dict.fromkeys(await values(bootstrap, out.name))) == sent


@both
async def test_partitions_that_are_added_are_sent_to(bootstrap: str, topic: Callable[..., str], guarantee: str) -> None:
    """By events and outside of them, once the metadata are old."""
    app = make(bootstrap, topic("app"), processing_guarantee=guarantee, producer_metadata_max_age_ms=500)
    source, out = app.topic(topic("source"), value_type=int), app.topic(topic("out"), value_type=int, partitions=1)
    inside: set[int] = set()
    outside: set[int] = set()

    @app.agent(source)
    async def forward(stream: faust.Stream[int]) -> None:
        async for number in stream:
            inside.add((await (await out.send(number, key=b"inside %d" % number))).partition)

    await app.start()
    await (await out.send(-1))
    await (await source.send(-1))
    async with administration(bootstrap) as admin:
        await admin.create_partitions({out.name: NewPartitions(3)})
    number = 0
    async with asyncio.timeout(60):
        while not inside == outside == {0, 1, 2}:
            number += 1
            outside.add((await (await out.send(number, key=b"outside %d" % number))).partition)
            await source.send(number)
            await asyncio.sleep(0.02)
    await app.stop()


@both
async def test_a_stop_without_a_broker_ends(
    broker: Broker, bootstrap: str, topic: Callable[..., str], guarantee: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Within 25 s, with a transaction open and a record on its way, and it says what is left."""
    app = make(bootstrap, topic("app"), processing_guarantee=guarantee)
    source, out = app.topic(topic("source"), value_type=int), app.topic(topic("out"), value_type=int)

    @app.agent(source)
    async def forward(stream: faust.Stream[int]) -> None:
        async for number in stream:
            await (await out.send(number))
            await asyncio.Event().wait()

    await app.start()
    await (await source.send(1))
    await (await out.send(2))
    broker.pause()
    try:
        await out.send(3)
        async with asyncio.timeout(28):
            await app.stop()
    finally:
        broker.resume()
    assert "1 records that were sent outside of events are not acknowledged" in caplog.text
