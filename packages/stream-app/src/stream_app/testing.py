"""Unit tests of agents: one agent of an app, run by the real engine on a broker in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from copy import copy
from inspect import isasyncgenfunction
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from stream_app.running.defined import Defined, Part
from stream_app.running.wiring import Wiring
from stream_app.settings import Settings
from stream_core.agents.agent import Agent, AgentBody
from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError
from stream_core.memory import MemoryCluster
from stream_core.primitives import TP, HeadersArg, StoredRecord, header_pairs
from stream_core.streams.channel import Channel
from stream_core.streams.events import Event, current_event
from stream_core.streams.stream import Stream

__all__ = ["AgentTest"]

PATIENCE = 10.0
"""Seconds that the agent may take for one event."""


class AgentTest:
    """An agent under test; an asynchronous context manager. Attributes of the agent are its own, too.

    Tables of the app are there, and empty. Sinks work, and so does what the body sends: to topics of the in-process broker.

    Args:
        agent: the agent.
        app: where it is defined; it must not run.

    Attributes:
        results: by offset what the body yielded for the event last, or the value of the event where it yields nothing.
    """

    def __init__(self, agent: Agent, app: Defined) -> None:
        self._agent = agent
        self._app = app
        self._name = f"test-{uuid4()}"
        self._wiring: Wiring | None = None
        self._thrown: BaseException | None = None
        self.results: dict[int, Any] = {}
        self.sent_offset = -1
        self.processed_offset = -1

    async def __aenter__(self) -> Self:
        agent = self._agent
        clone = copy(agent)
        clone.body = self._recording(agent.body)
        app = self._app
        part = Part(
            conf=self._settings(app.conf),
            topics=app.topics,
            topic_named=app.topic_named,
            agents={agent.name: clone},
            tables=app.tables,
            engines=app.engines,
            sensors=app.sensors,
        )
        self._wiring = Wiring(part, fail_fast=True)
        try:
            await self._wiring.start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        wiring, self._wiring = self._wiring, None
        if wiring is not None:
            await wiring.stop()
        MemoryCluster.discard(self._name)

    async def put(
        self,
        value: Any = None,
        *,
        key: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersArg | None = None,
        reply_to: Any = None,
        correlation_id: str | None = None,
        wait: bool = True,
    ) -> Event[Any]:
        """Send an event to the agent.

        Args:
            value: the value.
            key: the key.
            partition: the partition.
            timestamp: seconds since the epoch; ``None`` for now.
            headers: names and bytes.
            reply_to: where the answer goes; see :meth:`Agent.send <stream_core.agents.agent.Agent.send>`.
            correlation_id: id that the answer repeats.
            wait: return when the agent has finished the event, and what it has sent through ``group_by`` and ``through``.

        Raises:
            Exception: what the agent raised, when its failure policy is ``crash``.
            TimeoutError: it has not finished the event in time.
        """
        with self._opened.run.entered():  # other agents may be under test beside this one
            sent = await self._agent.send(
                key=key,
                value=value,
                partition=partition,
                timestamp=timestamp,
                headers=headers,
                reply_to=reply_to,
                correlation_id=correlation_id,
            )
            where = await sent
            self.sent_offset = where.offset
            event = self._event(where.topic, where.partition, where.offset, value, key, headers)
            if wait:
                await self._finished(TP(where.topic, where.partition), where.offset)
                if not isasyncgenfunction(self._agent.body):
                    self.results.setdefault(where.offset, value)
            return event

    async def throw(self, error: BaseException) -> None:
        """Let the body fail with ``error`` at the event that is put next."""
        self._thrown = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    # -- parts

    def _settings(self, conf: Settings) -> Settings:
        return Settings(
            conf.name,
            environ={},
            broker=f"memory://{self._name}",
            store="memory://",
            version=conf.version,
            web_enabled=False,
            topic_partitions=1,
            broker_commit_interval=0.05,
            agent_max_restarts=0,
        )

    def _recording(self, body: AgentBody) -> AgentBody:
        def interrupted() -> None:
            thrown, self._thrown = self._thrown, None
            if thrown is not None:
                raise thrown

        def prepared(stream: Stream[Any]) -> Stream[Any]:
            def look(value: Any) -> Any:
                interrupted()
                return value

            return stream.add_processor(look)

        async def generator(stream: Stream[Any]) -> AsyncIterator[Any]:
            result: Any = body(prepared(stream))
            async for value in result:
                event = current_event()
                if event is not None:
                    self.results[event.message.offset] = value
                yield value

        async def coroutine(stream: Stream[Any]) -> None:
            result: Any = body(prepared(stream))
            await result

        return generator if isasyncgenfunction(body) else coroutine

    async def _finished(self, tp: TP, offset: int) -> None:
        engine = self._opened.engine
        assert engine is not None
        try:
            async with asyncio.timeout(PATIENCE):
                while self._position(engine, tp) <= offset or self._in_pipes(engine):
                    if engine.failure.done():
                        failure = engine.failure.result()
                        raise failure.__cause__ or failure
                    await asyncio.sleep(0)
        except TimeoutError:
            raise TimeoutError(
                f"agent {self._agent.name} has not finished the event within {PATIENCE:g} s: an event is finished when the "
                "body asks for the next one"
            ) from None
        self.processed_offset = max(self.processed_offset, offset)

    def _in_pipes(self, engine: Engine) -> bool:
        """Tell whether something is on its way between the halves of the agent, or worked on behind a pipe."""
        between, cluster = engine.topology.between, MemoryCluster.named(self._name)
        if not between:
            return False
        readers = [one for one in engine.topology.subscriptions if between.intersection(one.topics)]
        sessions = [(tp, one) for tp, one in engine.ownership.sessions.items() if tp.topic in between]
        return (
            engine.interval.backlog > 0
            or any(session.fetch_position < cluster.log(tp).end for tp, session in sessions)
            or any(reader.waiting for reader in readers)
            or any(actor.busy for actor in engine.topology.actors)
        )

    def _position(self, engine: Engine, tp: TP) -> int:
        if isinstance(self._agent.topic, Channel):
            return self._agent.topic.position(self._agent.name)
        session = engine.ownership.sessions.get(tp)
        feed = None if session is None else session.feeds.get(self._agent.name)
        return -1 if feed is None else feed.position

    def _event(self, topic: str, partition: int, offset: int, value: Any, key: Any, headers: Any) -> Event[Any]:
        source = self._agent.topic
        pairs = header_pairs(headers)
        if isinstance(source, Channel):
            raw, schema = (key, value), source.schema
        else:
            raw, schema = (source.schema.encode_key(key), source.schema.encode_value(value)), source.schema
        return Event(schema, TP(topic, partition), StoredRecord(offset, 0, *raw, pairs), value)

    @property
    def _opened(self) -> Wiring:
        if self._wiring is None:
            raise ConfigurationError("the test context is not open: async with agent.test_context() as ...")
        return self._wiring
