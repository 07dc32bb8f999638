"""What the checks of a broker's clients work with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Protocol, Self, TypeVar
from uuid import uuid4

from stream_core.counters import TopicTraffic
from stream_core.ports import NOBODY, Admin, Consumer, Groups, Producer, Reader, Transport
from stream_core.primitives import TP, Host, TopicSpec
from stream_core.testing.contracts.observe import GroupMember, Received, Revoked, do_nothing

__all__ = ["BrokerHarness", "Upkeep", "many", "send"]


class _Client(Protocol):
    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Upkeep(Protocol):
    """What no port does: the work of those who run a cluster, and of the broker when it cleans up."""

    async def add_partitions(self, topic: str, partitions: int) -> None:
        """Let a topic have ``partitions`` partitions, more than it has."""

    async def clean(self, topic: str) -> None:
        """Compact a topic and apply its retention; where a broker cannot be told to, give it a moment to do so."""


C = TypeVar("C", bound=_Client)


class BrokerHarness:
    """Makes clients, topics and names that no other check uses, and takes all of it away at the end.

    Args:
        transport: the implementation to check.
        deadline: seconds within which anything that must happen has happened.
        quiet: seconds of silence that count as "nothing comes".
        max_request_size: bytes of the largest record that the producers take.
        upkeep: for the checks that need it; they fail without.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        deadline: float = 20.0,
        quiet: float = 0.5,
        max_request_size: int = 1 << 20,
        upkeep: Upkeep | None = None,
    ) -> None:
        self.transport = transport
        self.deadline = deadline
        self.quiet = quiet
        self.max_request_size = max_request_size
        self._upkeep = upkeep
        self._stack = AsyncExitStack()
        self._admin: Admin | None = None
        self._topics: list[str] = []

    async def __aenter__(self) -> Self:
        self._admin = await self.admin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        async with self._stack:
            if self._admin is not None and self._topics:
                await self._admin.delete(self._topics)

    @property
    def upkeep(self) -> Upkeep:
        """What the check needs beside the ports."""
        assert self._upkeep is not None, "this check needs BrokerHarness(transport, upkeep=...)"
        return self._upkeep

    def name(self, what: str) -> str:
        """Make a name that is not in use."""
        return f"{what}-{uuid4().hex[:12]}"

    async def topic(self, partitions: int = 1, config: Mapping[str, str] | None = None) -> str:
        """Create a topic."""
        assert self._admin is not None, "the harness is an async context manager: enter it first"
        name = self.name("topic")
        self._topics.append(name)
        await self._admin.create([TopicSpec(name, partitions, config=config or {})])
        return name

    async def admin(self) -> Admin:
        """Start an admin client."""
        return await self._started(self.transport.admin())

    async def groups(self) -> Groups:
        """Start a client that looks at groups from outside."""
        return await self._started(self.transport.groups())

    async def producer(
        self,
        *topics: str,
        transactional_id: str | None = None,
        fence: Callable[[], bool] | None = None,
        sent: TopicTraffic | None = None,
    ) -> Producer:
        """Start a producer that knows the partitions of ``topics``."""
        producer = await self._started(
            self.transport.producer(transactional_id=transactional_id, fence=fence, sent=sent)
        )
        for topic in topics:
            await producer.partitions(topic)
        return producer

    async def reader(self, positions: Mapping[TP, int], *, read_committed: bool = False) -> Reader:
        """Start a reader of these partitions."""
        reader = await self._started(self.transport.reader(read_committed=read_committed))
        await reader.assign(positions)
        return reader

    async def member(
        self,
        group: str,
        *topics: str,
        read_committed: bool = False,
        on_revoked: Callable[[Revoked], Awaitable[None]] = do_nothing,
        host: Host = NOBODY,
    ) -> GroupMember:
        """Start a member of ``group`` that subscribes to ``topics`` and tells ``host`` of itself; it has no assignment yet."""
        consumer = await self._started(self.transport.consumer(group, read_committed=read_committed))
        member = GroupMember(consumer, on_revoked, host)
        member.subscribe(*topics)
        return member

    async def alone(self, group: str, *topics: str, read_committed: bool = False) -> GroupMember:
        """Start a member that has been assigned all partitions."""
        member = await self.member(group, *topics, read_committed=read_committed)
        await self.drive([member], lambda: bool(member.partitions), "one member is assigned everything")
        return member

    async def drive(self, members: list[GroupMember], condition: Callable[[], bool], what: str) -> None:
        """Poll all members until ``condition`` holds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.deadline
        while not condition():
            history = [member.events for member in members]
            assert loop.time() < end, f"not within {self.deadline:g} s: {what}; the members saw {history}"
            await asyncio.gather(*(member.poll(0.1) for member in members))

    async def receive(self, client: Reader | Consumer, until: Callable[[Received], bool]) -> Received:
        """Poll until what has come is what was awaited."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.deadline
        received = Received()
        while not until(received):
            assert loop.time() < end, f"not received within {self.deadline:g} s; came: {received}"
            received.add(await client.poll(0.2))
        return received

    async def silence(self, client: Reader | Consumer) -> Received:
        """Poll for the time that counts as silence; returns what came."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.quiet
        received = Received()
        while (rest := end - loop.time()) > 0:
            received.add(await client.poll(rest))
        return received

    async def stop(self, client: _Client) -> None:
        """Stop a client before the end; it must not take longer than the deadline."""
        async with asyncio.timeout(self.deadline):
            await client.stop()

    async def _started(self, client: C) -> C:
        """Start a client, and stop it at the end."""
        async with asyncio.timeout(self.deadline):
            await client.start()
        self._stack.push_async_callback(client.stop)
        return client


async def send(producer: Producer, tp: TP, *values: str) -> None:
    """Send text values to one partition and wait until they are acknowledged."""
    for value in values:
        producer.send(tp.topic, tp.partition, None, value.encode())
    await producer.flush()


async def many(producer: Producer, tp: TP) -> None:
    """Send a record to one partition as if there were many."""
    producer.send_many(*tp, [(None, b"one of many")])
