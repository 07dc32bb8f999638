"""Engines on an in-process cluster: what the tests of streams, agents, checkpoints and the engine work with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self
from uuid import uuid4

from stream_core.agents.agent import Agent, AgentBody
from stream_core.engine.engine import Engine
from stream_core.engine.participants import Participant
from stream_core.memory import MemoryCluster, MemoryTransport
from stream_core.memory.log import Entry
from stream_core.primitives import TP, Offset, StoredRecord, TopicSpec
from stream_core.runs import Run
from stream_core.sending.topic import Topic
from stream_core.settings import EngineSettings
from stream_core.streams.channel import Channel
from stream_core.streams.metadata import without_identity
from stream_core.values.schemas import Schema

GROUP = "app"


class Lab:
    """A cluster of its own, with whatever engines a test starts on it."""

    def __init__(self) -> None:
        self.transport = MemoryTransport(uuid4().hex)
        self.cluster = self.transport.cluster
        self.engines: list[Engine] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for engine in list(self.engines):
            await self.stop(engine)
        MemoryCluster.discard(self.cluster.name)

    def topic(self, name: str, partitions: int = 1, **options: Any) -> Topic[Any, Any]:
        """A topic that exists, of JSON values."""
        self.cluster.create(TopicSpec(name, partitions))
        return Topic(name, schema=options.pop("schema", Schema(key_type=str)), **options)

    def put(self, topic: Topic[Any, Any], values: Iterable[Any], partition: int = 0) -> None:
        """Produce values, encoded as JSON; bytes as they are."""
        data = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
        self.cluster.append(TP(topic.name, partition), [Entry(0, None, value) for value in data])

    def values(self, topic: Topic[Any, Any], partition: int = 0, *, committed: bool = True) -> list[Any]:
        """The values that readers of committed records see; all of them unless ``committed``."""
        log = self.cluster.log(TP(topic.name, partition))
        return [json.loads(record.value or b"null") for record in log.read(0, 1_000_000, committed=committed).records]

    def records(self, topic: str, partition: int = 0) -> Sequence[StoredRecord]:
        """What a partition holds."""
        return self.cluster.log(TP(topic, partition)).read(0, 1_000_000, committed=True).records

    def committed(self, topic: Topic[Any, Any], partition: int = 0) -> Offset | None:
        """The committed offset of the group, without the topic that it names: each test has another one."""
        tp = TP(topic.name, partition)
        found = self.cluster.group(GROUP).offsets.fetch([tp])[tp]
        return found and Offset(found.offset, without_identity(found.metadata))

    def agent(self, body: AgentBody, topic: Topic[Any, Any] | Channel[Any, Any], **options: Any) -> Agent:
        """An agent, named as its body unless a name is given."""
        return Agent(body, name=options.pop("name", body.__name__), topic=topic, **options)

    def engine(
        self,
        agents: Sequence[Agent],
        topics: Sequence[Topic[Any, Any]] = (),
        participants: Sequence[Participant] = (),
        *,
        client_only: bool = False,
        on_member: Callable[[str], None] = lambda member: None,
        run: Run | None = None,
        **settings: Any,
    ) -> Engine:
        """An engine that is not started."""
        settings = {"commit_interval": 0.1, **settings}
        read = [agent.topic for agent in agents if isinstance(agent.topic, Topic)]
        known = {part.name: part for topic in (*topics, *read) for part in topic.parts}
        return Engine(
            self.transport,
            EngineSettings(GROUP, **settings),
            topics=list(known.values()),
            agents=agents,
            participants=participants,
            client_only=client_only,
            on_member=on_member,
            run=run,
        )

    async def start(
        self,
        agents: Sequence[Agent],
        topics: Sequence[Topic[Any, Any]] = (),
        participants: Sequence[Participant] = (),
        **settings: Any,
    ) -> Engine:
        """Start an engine; it is stopped at the end of the test."""
        engine = self.engine(agents, topics, participants, **settings)
        self.engines.append(engine)
        async with asyncio.timeout(60):
            await engine.start()
        return engine

    async def stop(self, engine: Engine) -> None:
        """Stop an engine."""
        self.engines.remove(engine)
        async with asyncio.timeout(60):
            await engine.stop()

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
        """Wait until ``condition`` holds; fails when it does not in time, or when an engine failed."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    for engine in self.engines:
                        if engine.failure.done():
                            raise engine.failure.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"not within {timeout:g} s: {what}") from None

    async def failed(self, engine: Engine) -> BaseException:
        """The error with which an engine gives up."""
        async with asyncio.timeout(60):
            return await asyncio.shield(engine.failure)  # type: ignore[no-any-return]

    async def caught_up(self, *topics: Topic[Any, Any]) -> None:
        """Wait until everything on the topics is committed."""
        tps = [(topic, tp) for topic in topics for tp in self._tps(topic)]

        def done() -> bool:
            return all(self.committed(topic, tp.partition) == Offset(self.cluster.log(tp).end) for topic, tp in tps)

        await self.until(done, f"everything on {', '.join(map(str, topics))} is committed")

    def _tps(self, topic: Topic[Any, Any]) -> list[TP]:
        return [TP(topic.name, partition) for partition in range(self.cluster.topic(topic.name).partitions)]
