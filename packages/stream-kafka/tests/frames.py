"""Brokers made by hand: servers on the loopback that speak Kafka's frames and answer what a test says.

They exist because some answers cannot be had from a real broker: one that is mute at a certain moment, one that has no leader, one
that sends nonsense. A request that no test has said anything about is answered as by an empty broker.
"""

from __future__ import annotations

import asyncio
import inspect
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from io import BytesIO
from typing import Any, Self

from aiokafka.protocol.admin import ApiVersionRequest_v0, DescribeConfigsRequest_v1
from aiokafka.protocol.api import RequestHeader_v1, RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest_v3
from aiokafka.protocol.coordination import FindCoordinatorRequest_v1
from aiokafka.protocol.fetch import FetchRequest_v4
from aiokafka.protocol.metadata import MetadataRequest_v5
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.protocol.transaction import InitProducerIdRequest_v0

from stream_kafka.protocol import DescribeLogDirs

__all__ = ["LOG_DIRS", "MUTE", "Cluster", "Node"]

LOG_DIRS: type[RequestStruct] = type(DescribeLogDirs(()).prepare({DescribeLogDirs.API_KEY: (1, 1)}))
"""The request for the sizes of partitions, as it is sent."""

MUTE = object()
"""The answer of a broker that gives none."""

REQUESTS: dict[int, type[RequestStruct]] = {
    made.API_KEY: made
    for made in (
        ApiVersionRequest_v0,
        DescribeConfigsRequest_v1,
        FetchRequest_v4,
        FindCoordinatorRequest_v1,
        InitProducerIdRequest_v0,
        LOG_DIRS,
        MetadataRequest_v5,
        OffsetCommitRequest_v3,
        ProduceRequest_v7,
    )
}
"""The requests that these brokers know, each in one version."""

Answer = Callable[[Any], Any | Awaitable[Any]]


class Node:
    """One broker.

    Args:
        cluster: what it belongs to.
        number: by which others know it.

    Attributes:
        id: that number.
        port: where it listens.
        answers: by request class, what makes the answer of a request: the fields of the answer in order, bytes of a whole frame
            behind its length, or :data:`MUTE`. It may be a coroutine function; the connection breaks when it raises ConnectionError.
        asked: the requests that have come, in order.
        connections: how many connections have come.
        refuse: closes new connections at once while it is true.
    """

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.id = number
        self.port = 0
        self.answers: dict[type[RequestStruct], Answer] = {
            ApiVersionRequest_v0: lambda _: (
                0,
                [(key, made.API_VERSION, made.API_VERSION) for key, made in REQUESTS.items()],
            ),
            DescribeConfigsRequest_v1: lambda _: (0, []),
            FindCoordinatorRequest_v1: lambda _: (0, 0, "", self.id, "127.0.0.1", self.port),
            InitProducerIdRequest_v0: lambda _: (0, 0, 7, 0),
            MetadataRequest_v5: lambda request: cluster.layout(request.topics),
            ProduceRequest_v7: lambda request: (
                [(t, [(p, 0, 0, -1, 0) for p, _ in ps]) for t, ps in request.topics],
                0,
            ),
        }
        self.asked: list[Any] = []
        self.connections = 0
        self.refuse = False
        self.changed = asyncio.Condition()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    def of(self, kind: type[RequestStruct]) -> list[Any]:
        """The requests of one kind that have come."""
        return [request for request in self.asked if isinstance(request, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something has come; looks again at each request and connection, and when one of them ends."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._writers)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        await self._tell()
        with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            while not self.refuse:
                (length,) = struct.unpack(">i", await reader.readexactly(4))
                frame = BytesIO(await reader.readexactly(length))
                key, _, correlation, _ = RequestHeader_v1.SCHEMA.decode(frame)
                kind = REQUESTS[key]
                request = kind(*kind.SCHEMA.decode(frame))
                self.asked.append(request)
                await self._tell()
                made = self.answers.get(kind, lambda _: MUTE)(request)
                answer = await made if inspect.isawaitable(made) else made
                if answer is not MUTE:
                    body = answer if isinstance(answer, bytes) else kind.RESPONSE_TYPE.SCHEMA.encode(answer)
                    frame_out = struct.pack(">i", correlation) + body
                    writer.write(struct.pack(">i", len(frame_out)) + frame_out)
                    await writer.drain()
        self._writers.discard(writer)
        writer.transport.abort()
        await self._tell()


class Cluster:
    """Some brokers, and which topics have which leaders.

    Args:
        nodes: how many brokers.

    Attributes:
        nodes: by number, from 1 on.
        leaders: by topic, the leader of each partition; -1 for none.
    """

    def __init__(self, nodes: int = 1) -> None:
        self.nodes = {number: Node(self, number) for number in range(1, nodes + 1)}
        self.leaders: dict[str, list[int]] = {}

    async def __aenter__(self) -> Self:
        for node in self.nodes.values():
            await node.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes.values():
            await node.stop()

    @property
    def address(self) -> str:
        """Of the first broker."""
        return f"127.0.0.1:{self.nodes[1].port}"

    def layout(self, topics: list[str] | None) -> tuple[Any, ...]:
        """The answer to a request for metadata."""
        brokers = [(node.id, "127.0.0.1", node.port, None) for node in self.nodes.values()]
        described = []
        for topic in self.leaders if topics is None else topics:
            leaders = self.leaders.get(topic)
            partitions = [
                (5 if leader < 0 else 0, index, leader, [1], [1], []) for index, leader in enumerate(leaders or ())
            ]
            described.append((3 if leaders is None else 0, topic, False, partitions))
        return (0, brokers, "cluster", 1, described)
