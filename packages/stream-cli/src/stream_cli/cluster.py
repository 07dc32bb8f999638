"""The broker of an app, looked at from outside: what is on it, where its ends are, what the group of the app has committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from stream_cli.clients import deadline, unavailable
from stream_cli.context import Invocation
from stream_cli.locate import Application
from stream_cli.names import suggest
from stream_core.errors import UnknownTopicError
from stream_core.event_loops import loop_factory
from stream_core.ports import Admin, Groups, Reader, Transport
from stream_core.primitives import TP, Offset
from stream_core.sending.several import TopicPattern
from stream_core.streams.channel import Channel
from stream_core.streams.metadata import CommitMetadata, Identity

__all__ = ["Cluster", "Lag", "connected", "run", "sources"]

T = TypeVar("T")


@dataclass(frozen=True)
class Lag:
    """How far the group of an app is in one partition.

    Attributes:
        tp: the partition.
        committed: the offset that is committed; ``None`` when there is none.
        start: the first offset that the partition holds.
        end: the offset after its last record.
    """

    tp: TP
    committed: Offset | None
    start: int
    end: int

    @property
    def lag(self) -> int:
        """Records that are not finished; offsets that hold none, such as the ends of transactions, count too."""
        position = self.start if self.committed is None else max(self.committed.offset, self.start)
        return max(0, self.end - position)


@dataclass(frozen=True)
class Cluster:
    """The clients of a broker, for one command.

    Attributes:
        app: whose broker it is.
        transport: makes more of them.
        admin: describes topics.
        groups: looks at groups.
        reader: reads partitions; committed records only.
        timeout: seconds to wait for an answer.
    """

    app: Application
    transport: Transport
    admin: Admin
    groups: Groups
    reader: Reader
    timeout: float

    def answering(self) -> AbstractAsyncContextManager[None]:
        """Bound a block of code that asks the broker something by the timeout. It raises DeadlineError when that is over."""
        return deadline(
            self.timeout,
            f"the broker has not answered all of it within {self.timeout:g} s; give it more with --timeout",
        )

    async def partitions(self, topics: Collection[str]) -> list[TP]:
        """Return the partitions of those topics that exist."""
        found = await self.admin.describe(topics, config=False)
        return [TP(name, number) for name, info in sorted(found.items()) for number in range(info.partitions)]

    async def require(self, topic: str) -> list[TP]:
        """Return the partitions of a topic. Raises UnknownTopicError, with the nearest name, when it does not exist."""
        if found := await self.partitions([topic]):
            return found
        hint = (
            suggest(topic, {*await self.admin.topics(), *self.app.topics})
            or "`stream topics --all` lists what there is"
        )
        raise UnknownTopicError(f"topic {topic} is not on the broker; {hint}")

    async def bounds(self, tps: Collection[TP]) -> tuple[dict[TP, int], dict[TP, int]]:
        """Return the first offsets of partitions, and the offsets after their last decided records."""
        if not tps:
            return {}, {}
        return await self.reader.start_offsets(tps), await self.reader.end_offsets(tps, committed=True)

    async def lags(self, topics: Collection[str] = ()) -> list[Lag]:
        """Return how far the group of the app is: in the topics that it reads, and all others of which it has an offset.

        An offset of a topic that was deleted counts for none that was made since, as for a worker.

        Raises:
            UnknownTopicError: one of them does not exist, or the app has nothing to do with it.
        """
        committed = await self.groups.offsets(self.app.id)
        read = sources(self.app, await self.admin.topics()).keys() | {tp.topic for tp in committed}
        for topic in topics:
            await self.require(topic)
            if topic not in read:
                raise UnknownTopicError(
                    f"the app reads no topic {topic}, and has no offset of it; `stream lag` lists those that it has"
                )
        tps = await self.partitions([topic for topic in read if not topics or topic in topics])
        starts, ends = await self.bounds(tps)
        here = await self.admin.describe({tp.topic for tp in tps}, config=False)
        cluster = await self.admin.cluster_id()

        def counting(tp: TP) -> Offset | None:
            offset = committed.get(tp)
            made_since = (
                offset is not None
                and tp.topic in here
                and Identity(cluster, here[tp.topic].id).replaces(CommitMetadata.decode(offset.metadata).identity)
            )
            return None if made_since else offset

        return [Lag(tp, counting(tp), starts[tp], ends[tp]) for tp in tps]


def sources(app: Application, names: Iterable[str]) -> Mapping[str, list[str]]:
    """Return the topics that agents of ``app`` read, with the names of these agents.

    Args:
        app: the app.
        names: the topics that exist, among which patterns look.
    """
    found: dict[str, list[str]] = {}
    known = list(names)
    for name, agent in app.agents.items():
        if isinstance(agent.topic, Channel):
            continue
        if isinstance(agent.topic, TopicPattern):
            agent.topic.find(known)
        for part in agent.topic.parts:
            found.setdefault(part.name, []).append(name)
    return found


@asynccontextmanager
async def connected(app: Application, timeout: float) -> AsyncIterator[Cluster]:
    """Have clients of the broker of ``app`` in a block of code.

    Raises:
        BrokerUnavailableError: no broker answered in time.
    """
    transport = app.make_transport()
    admin, groups, reader = transport.admin(), transport.groups(), transport.reader(read_committed=True)
    async with AsyncExitStack() as stack:
        try:
            async with asyncio.timeout(timeout):
                for client in (admin, groups, reader):
                    await client.start()
                    stack.push_async_callback(client.stop)
        except TimeoutError as error:
            raise unavailable(timeout) from error
        yield Cluster(app, transport, admin, groups, reader, timeout)


def run(
    invocation: Invocation,
    app: Application,
    timeout: float,
    ask: Callable[[Cluster], Awaitable[T]],
    *,
    endless: bool = False,
) -> T:
    """Ask the broker of ``app`` something, and return the answer.

    Args:
        invocation: of the command.
        app: the app.
        timeout: seconds to wait for the broker, and for the answer.
        ask: asks.
        endless: the answer may take longer: ``ask`` bounds what it waits for by :meth:`Cluster.answering`.

    Raises:
        BrokerUnavailableError: no broker answered in time.
        DeadlineError: there was no answer in time.
    """

    async def whole() -> T:
        async with connected(app, timeout) as cluster, nullcontext() if endless else cluster.answering():
            return await ask(cluster)

    with asyncio.Runner(loop_factory=loop_factory(invocation.loop)) as runner:
        return runner.run(whole())
