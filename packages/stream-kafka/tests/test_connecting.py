"""Connections to several brokers at once: none waits for another, and none is made, or used, when it is too late."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.errors as kafka
import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.conn import CloseReason
from aiokafka.protocol.admin import ApiVersionRequest_v0
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5
from aiokafka.protocol.produce import ProduceRequest_v7

from stream_core.errors import AuthenticationError, ConfigurationError, DeadlineError, FencedError, ProduceError
from stream_kafka.connecting.client import Client, Pace
from stream_kafka.errors import translate
from stream_kafka.producing.producer import KafkaProducer
from stream_kafka.protocol import OffsetFetch
from stream_kafka.settings import KafkaSettings

from .frames import MUTE, Cluster, Node


def _settings(cluster: Cluster, **options: Any) -> KafkaSettings:
    defaults = {"request_timeout": 10.0, "rebalance_timeout": 5.0, "retry_backoff": 0.01}
    return KafkaSettings(servers=(cluster.address,), **defaults | options)


@asynccontextmanager
async def _connected(cluster: Cluster, **options: Any) -> AsyncIterator[Client]:
    client = Client(_settings(cluster, **options))
    await client.connect()
    try:
        yield client
    finally:
        await client.disconnect()


@asynccontextmanager
async def _sending(cluster: Cluster, *topics: str, **options: Any) -> AsyncIterator[KafkaProducer]:
    fence = options.pop("fence", None)
    producer = KafkaProducer(_settings(cluster, **options), fence=fence)
    await producer.start()
    try:
        for topic in topics:
            await producer.partitions(topic)
        yield producer
    finally:
        await producer.stop()


def _hold(node: Node) -> asyncio.Event:
    """Let a node answer the first request of its connections only when the event is set."""
    answer, go = node.answers[ApiVersionRequest_v0], asyncio.Event()

    async def held(request: Any) -> Any:
        await go.wait()
        return answer(request)

    node.answers[ApiVersionRequest_v0] = held
    return go


# -- connecting


async def test_a_mute_broker_holds_up_no_other() -> None:
    """While one broker swallows what is sent to it, a connection to another is made; those who want the first share one attempt."""
    async with Cluster(2) as cluster, _connected(cluster) as client:
        mute = cluster.nodes[2]
        mute.answers[ApiVersionRequest_v0] = lambda _: MUTE
        waiting = [asyncio.create_task(client.ready(2)) for _ in range(3)]
        other = asyncio.create_task(client.ready(2, group=ConnectionGroup.COORDINATION))
        await mute.until(lambda: mute.connections == 2)

        async with asyncio.timeout(5):
            assert await client.ready(1)
            assert await client.ready(1, group=ConnectionGroup.COORDINATION)

        assert not any(task.done() for task in (*waiting, other))
        assert mute.connections == 2
        client.shut()
        assert await asyncio.gather(*waiting, other) == [False] * 4


async def test_a_client_that_is_shut_sends_nothing_more() -> None:
    """Not through the connections that it has either; what was sent is answered."""
    async with Cluster() as cluster, _connected(cluster) as client:
        node = cluster.nodes[1]
        told, go = node.answers[MetadataRequest_v5], asyncio.Event()

        async def answer(request: Any) -> Any:
            await go.wait()
            return told(request)

        node.answers[MetadataRequest_v5] = answer
        asked = asyncio.create_task(client.send(1, MetadataRequest([])))
        before = len(node.of(MetadataRequest_v5))
        await node.until(lambda: len(node.of(MetadataRequest_v5)) > before)
        client.shut()
        with pytest.raises(kafka.NodeNotReadyError):
            await client.send(1, MetadataRequest([]))
        go.set()
        assert (await asked).brokers


async def test_who_gives_up_waiting_does_not_end_the_attempt() -> None:
    """The connection is made for the others, and kept."""
    async with Cluster(2) as cluster, _connected(cluster) as client:
        slow = cluster.nodes[2]
        go = _hold(slow)
        impatient, patient = asyncio.create_task(client.ready(2)), asyncio.create_task(client.ready(2))
        await slow.until(lambda: slow.connections == 1)
        impatient.cancel()
        await asyncio.wait((impatient,))
        go.set()

        assert await patient
        assert await client.ready(2)
        assert slow.connections == 1


async def test_connecting_is_short_beside_the_session() -> None:
    """Whatever the request timeout, and the reason says that the broker does not answer, in each request that needed it."""
    assert KafkaSettings().connect_timeout == 10.0
    assert KafkaSettings(session_timeout=9.0).connect_timeout == 3.0
    assert KafkaSettings(request_timeout=5.0, rebalance_timeout=4.0).connect_timeout == 5.0
    async with Cluster(2) as cluster, _connected(cluster, session_timeout=0.6, heartbeat_interval=0.1) as client:
        cluster.nodes[2].answers[ApiVersionRequest_v0] = lambda _: MUTE
        async with asyncio.timeout(5):
            with pytest.raises(
                kafka.NodeNotReadyError, match=rf"node 2: 127.0.0.1:{cluster.nodes[2].port} does not answer"
            ):
                await client.send(2, MetadataRequest([]))


@pytest.mark.parametrize("answer", [b"\xff" * 30, (0, [(3, 21011, -6363)]), b""], ids=["noise", "versions", "nothing"])
async def test_a_connection_that_answers_nonsense_is_none(answer: Any) -> None:
    """It is no error of the program, and the next one is tried; the task that keeps the metadata fresh lives."""
    async with Cluster() as cluster, _connected(cluster) as client:
        node = cluster.nodes[1]
        sense = node.answers[ApiVersionRequest_v0]
        node.answers[ApiVersionRequest_v0] = lambda _: answer
        with pytest.raises(kafka.NodeNotReadyError):
            await client.send(1, MetadataRequest([]))
        client.check()
        node.answers[ApiVersionRequest_v0] = sense
        assert (await client.send(1, MetadataRequest([]))).brokers


@pytest.mark.parametrize(
    "nonsense", [b"\xff" * 60, (0, [(1, None, -5, None)], None, 1, [(0, None, False, None)])], ids=["noise", "values"]
)
async def test_metadata_that_makes_no_sense_is_asked_for_again(nonsense: Any) -> None:
    """The task that keeps it fresh does not die of it."""
    async with Cluster() as cluster, _connected(cluster) as client:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        answers = [nonsense, nonsense]
        sense = node.answers[MetadataRequest_v5]
        node.answers[MetadataRequest_v5] = lambda request: answers.pop() if answers else sense(request)

        assert await client.partition_count("t") == 1
        client.check()


async def test_brokers_that_moved_are_found_at_the_addresses_of_the_settings() -> None:
    """None of those that were known answers any more; the client does not wait for them for ever, nor takes topics for gone."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        port, cluster.nodes[1].port = node.port, 1  # the broker says that it is elsewhere, where nobody listens
        client = Client(KafkaSettings(servers=(f"127.0.0.1:{port}",), retry_backoff=0.01))
        await client.connect()
        try:
            known: list[set[int] | None] = []
            client.cluster.add_listener(lambda layout: known.append(layout.partitions_for_topic("t")))
            client.set_topics(["t"])
            assert not await client.ready(1)
            node.port = port
            assert await client.partition_count("t") == 1
            async with asyncio.timeout(20):
                while not await client.ready(1):
                    await client.force_metadata_update()
            assert known == [{0}] * len(known)
        finally:
            await client.disconnect()


async def test_refusals_that_lie_far_apart_do_not_last() -> None:
    """Brokers refuse for a moment, too; only refusals that follow each other for a whole request timeout end a worker."""
    async with Cluster() as cluster:
        client = Client(_settings(cluster, request_timeout=10.0))
        now = time.monotonic()
        client._refused = now - 30, now - 20
        client._not_connected(2, AuthenticationError("no"))
        client.check()

        client._refused = now - 30, now - 5
        client._not_connected(2, AuthenticationError("no"))
        with pytest.raises(AuthenticationError, match="since 10 s: no"):
            client.check()


async def test_a_broker_that_is_too_old_is_a_matter_of_configuration() -> None:
    """Waiting for it would be for ever."""
    async with Cluster() as cluster, _connected(cluster) as client:
        node = cluster.nodes[1]
        told = node.answers[ApiVersionRequest_v0]
        await client.send(1, MetadataRequest([]))
        next(iter(client._conns.values())).close()
        node.answers[ApiVersionRequest_v0] = lambda request: (0, [*told(request)[1], (9, 0, 5)])
        with pytest.raises(kafka.IncompatibleBrokerVersion, match=r"OffsetFetch.*Kafka 2\.5") as caught:
            await client.send(1, OffsetFetch("g", []))
        assert isinstance(translate(caught.value, "reading offsets"), ConfigurationError)


async def test_a_quota_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """The client library passes over the time for which a broker holds back an answer."""
    async with Cluster() as cluster, _connected(cluster) as client:
        node = cluster.nodes[1]
        told = node.answers[MetadataRequest_v5]
        node.answers[MetadataRequest_v5] = lambda request: (1234, *told(request)[1:])
        await client.send(1, MetadataRequest([]))
        assert (
            "Node 1 holds this client back by a quota: its answer to MetadataRequest waited for 1234 ms" in caplog.text
        )


@pytest.mark.parametrize("reason", CloseReason)
async def test_lost_connections_are_counted_whatever_the_reason(reason: CloseReason) -> None:
    """But for those that had nothing on their way: a delayed answer of the others could decide the next transaction."""
    async with Cluster() as cluster, _connected(cluster) as client:
        assert await client.ready(1)
        client._conns[1, ConnectionGroup.DEFAULT].close(reason=reason)
        assert client.connections_lost == (reason not in (CloseReason.SHUTDOWN, CloseReason.IDLE_DROP))


# -- the pace


def test_the_same_question_is_asked_less_and_less() -> None:
    """At once the first time, then after pauses that double up to the longest; at once again after a while, and for another question."""
    now = 0.0
    pace = Pace(0.1, 1.0, lambda: now)

    pauses = []
    for _ in range(7):
        pauses.append(round(pace.pause("a"), 3))
        now += pauses[-1]
    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    now += 0.25
    assert round(pace.pause("a"), 3) == 0.75
    assert pace.pause("b") == 0.0
    now += 2.5
    assert pace.pause("b") == 0.0


async def test_a_partition_without_a_leader_is_no_storm() -> None:
    """Its records wait, and the question for its leader is asked with growing pauses; others are sent at once, and it is too in the end."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders |= {"led": [1], "lost": [1]}
        async with _sending(cluster, "led", "lost", retry_backoff=0.05) as producer:
            cluster.leaders["lost"] = [-1]
            await producer._started().force_metadata_update()
            waits = producer.send("lost", 0, None, b"waits")
            begun = asyncio.get_running_loop().time()
            before = len(node.of(MetadataRequest_v5))
            await node.until(lambda: len(node.of(MetadataRequest_v5)) >= before + 4)
            assert asyncio.get_running_loop().time() - begun > 0.2
            async with asyncio.timeout(5):
                await producer.send("led", 0, None, b"goes")
            cluster.leaders["lost"] = [1]
            await waits


# -- producers


@pytest.mark.parametrize("topics", [("a", "b"), ("b", "a")], ids="".join)
async def test_a_stopped_producer_writes_nothing_more(topics: tuple[str, str]) -> None:
    """Neither what waited for a connection when it was stopped nor what is asked for later; no connection is left behind.

    The order of the topics is that in which the client's tasks ended, or did not.
    """
    async with Cluster(3) as cluster:
        silent, late = cluster.nodes[2], cluster.nodes[3]
        cluster.leaders |= {"a": [2], "b": [3]}
        silent.answers[ProduceRequest_v7] = lambda _: MUTE
        producer = KafkaProducer(_settings(cluster))
        await producer.start()
        for topic in topics:
            await producer.partitions(topic)
        for connection in list(producer._started()._conns.values()):
            connection.close()
        await late.until(lambda: late.connected == 0)
        go, connections = _hold(late), late.connections
        sends = [producer.send(topic, 0, None, b"x") for topic in topics]
        await late.until(lambda: late.connections > connections)
        await silent.until(lambda: bool(silent.of(ProduceRequest_v7)))

        tasks = {*producer._sender._requests, producer._sender.sender_task}
        await producer.stop()
        _, left = await asyncio.wait(tasks, timeout=10)
        assert not left
        assert all(task.cancelled() for task in tasks)
        for send in sends:
            with pytest.raises(ProduceError, match="stopped before the record was acknowledged"):
                await send
        go.set()
        await late.until(lambda: late.connected == 0)
        assert not late.of(ProduceRequest_v7)


async def test_the_fence_is_asked_with_the_connection_made() -> None:
    """Also when the first attempt to connect fails: what is over by the time of the second is not sent."""
    over = False
    async with Cluster(2) as cluster:
        leader = cluster.nodes[2]
        cluster.leaders["t"] = [2]
        async with _sending(cluster, "t", fence=lambda: over) as producer:
            leader.refuse = True
            sent = producer.send("t", 0, None, b"late")
            await leader.until(lambda: leader.connections >= 1)
            go = _hold(leader)
            leader.refuse = False
            await leader.until(lambda: bool(leader.of(ApiVersionRequest_v0)))
            over = True
            go.set()
            with pytest.raises(FencedError, match=r"topic t, partition 0.*the lease of the group is over"):
                await sent
            assert not leader.of(ProduceRequest_v7)


async def test_one_batch_of_a_partition_is_in_flight_and_is_sent_again_before_the_next() -> None:
    """The order of a partition rests on it: nothing overtakes a batch that has to be sent again."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        go = asyncio.Event()
        codes = [19, 0, 0, 0]  # NOT_ENOUGH_REPLICAS once

        async def answer(request: Any) -> Any:
            await go.wait()
            return ([("t", [(0, codes.pop(0), 0, -1, 0)])], 0)

        node.answers[ProduceRequest_v7] = answer
        async with _sending(cluster, "t") as producer:
            sends = []
            for number in range(3):
                sends.append(producer.send("t", 0, None, b"%d" % number))
                producer._seal_all()
            await node.until(lambda: len(node.of(ProduceRequest_v7)) == 1)
            assert producer._lanes["t"][0].in_flight == 3
            go.set()
            await asyncio.gather(*sends)

        batches = [request.topics[0][1][0][1] for request in node.of(ProduceRequest_v7)]
        values = [next(value for value in (b"0", b"1", b"2") if batch[:-1].endswith(value)) for batch in batches]
        assert values == [b"0", b"0", b"1", b"2"]
        sequences = [int.from_bytes(batch[53:57], "big") for batch in batches]
        assert sequences == [0, 0, 1, 2]


async def test_after_a_failed_batch_nothing_of_a_broken_producer_is_sent() -> None:
    """Not even to other partitions, nor the next batch of a partition whose first one failed, which the broker would take."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        go = asyncio.Event()

        async def answer(request: Any) -> Any:
            await go.wait()
            return ([("t", [(0, 10, -1, -1, 0)])], 0)  # MESSAGE_TOO_LARGE

        node.answers[ProduceRequest_v7] = answer
        async with _sending(cluster, "t") as producer:
            first = producer.send("t", 0, None, b"refused")
            producer._seal_all()
            second = producer.send("t", 0, None, b"next")
            producer._seal_all()
            await node.until(lambda: len(node.of(ProduceRequest_v7)) == 1)
            go.set()
            for sent in first, second:
                with pytest.raises(ProduceError):
                    await sent
            assert len(node.of(ProduceRequest_v7)) == 1
            assert producer.backlog == 0


@pytest.mark.looptime
@pytest.mark.parametrize("wait", ["flush", "room"])
async def test_the_deadline_of_a_wait_is_for_silence(wait: str) -> None:
    """Acknowledgements that trickle in for longer than a request timeout are none; when they stay away for that long, it is one.

    Batches that are sent meanwhile are no sign of life of those that are waited for.
    """
    producer = KafkaProducer(KafkaSettings(request_timeout=10.0, rebalance_timeout=5.0, backlog=1))
    loop = asyncio.get_running_loop()

    def outstanding(seconds: float) -> asyncio.Future[None]:
        made: asyncio.Future[None] = loop.create_future()
        producer._outstanding.add(made)
        producer._release(-1)
        loop.call_later(seconds, done, made)
        return made

    def done(made: asyncio.Future[None]) -> None:
        producer._outstanding.discard(made)
        producer._release(1)
        made.set_result(None)

    for number in range(8):
        outstanding(4.0 + 9.0 * number)
    begun = loop.time()
    await getattr(producer, wait)()
    assert loop.time() - begun == pytest.approx(4.0 + 9.0 * 7, abs=10.0 / 8)

    stuck = outstanding(1000.0)
    begun = loop.time()
    waiting = asyncio.create_task(getattr(producer, wait)())
    if wait == "flush":
        for number in range(60):
            await asyncio.sleep(0.2)
            if not waiting.done():
                outstanding(0.1 * number)
    with pytest.raises(DeadlineError, match=r"bytes wait, and none was acknowledged for 10 s; is the broker reachable"):
        await waiting
    assert loop.time() - begun <= 10.0 * 9 / 8 + 1.0
    assert not stuck.done()


async def test_a_producer_whose_stop_is_cancelled_leaves_nobody_waiting() -> None:
    """What was sent fails, and its connections are closed, also when whoever stops it is out of patience."""
    async with Cluster() as cluster:
        node = cluster.nodes[1]
        cluster.leaders["t"] = [1]
        node.answers[ProduceRequest_v7] = lambda _: MUTE
        async with _sending(cluster, "t") as producer:
            sent = producer.send("t", 0, None, b"v")
            await node.until(lambda: bool(node.of(ProduceRequest_v7)))
            client = producer._client
            assert client is not None
            closing = asyncio.Event()

            async def endless() -> None:
                closing.set()
                await asyncio.Event().wait()

            client.close = endless
            stopping = asyncio.create_task(producer.stop())
            await closing.wait()
            stopping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stopping
            with pytest.raises(ProduceError, match="stopped before"):
                async with asyncio.timeout(5):
                    await sent
            await node.until(lambda: node.connected == 0)
            assert client._sync_task.cancelling() or client._sync_task.done()
