"""Where the answer to a request is: which worker owns the partition of the key that it asks for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, StreamError
from stream_core.partitioner import partition_for
from stream_core.primitives import TP, Host
from stream_core.sending.topic import AnyTopic
from stream_core.streams.sessions import PartitionSession
from stream_tables.table import Table

__all__ = ["MOVING", "Destination", "Router", "key_of"]

MOVING = 5.0
"""Seconds that a request waits for partitions that are on the move, or for tables that are recovered."""

LOOK = 0.05
"""Seconds between two looks at who owns a partition; they ask nobody."""

Partitioner = Callable[..., int]


@dataclass(frozen=True)
class Destination:
    """Who is to answer a request.

    Attributes:
        tp: the partition that it is about.
        host: the worker that owns it; ``None`` for this one, which has recovered the tables of it.
    """

    tp: TP
    host: Host | None


class Router:
    """Finds the workers that own keys.

    Args:
        engine: of this worker.
        partitioner: that of the producers, if the program has its own.
    """

    def __init__(self, engine: Engine, partitioner: Partitioner | None = None) -> None:
        self._engine = engine
        self._partitioner = partitioner

    def partition_of_topic(self, topic: AnyTopic, key: Any) -> TP:
        """Give the partition of a topic that records with this key are in.

        Raises:
            ConfigurationError: this app reads no such topic.
            EncodeError: the key cannot be encoded.
        """
        return TP(topic.name, self._partition(topic, key, self._count(topic.name)))

    def partition_of_table(self, table: Table[Any, Any], key: Any, topic: AnyTopic | None = None) -> TP:
        """Give the partition of the topic whose events change this key of a table.

        The key is encoded as the topic does: its bytes may be others than those of the key of the table.

        Args:
            table: the table.
            key: the key.
            topic: the topic; that which fits when left out.

        Raises:
            ConfigurationError: the topics that could be it have the key in different partitions, or there is none.
        """
        if topic is not None:
            return self.partition_of_topic(topic, key)
        sources = self.sources(table)
        found: dict[int, TP] = {}
        for source in sources:
            try:
                partition = self._partition(source, key, self._count(source.name))
            except StreamError:
                continue  # it has keys of another type, so that its events do not have this one
            found.setdefault(partition, TP(source.name, partition))
        if len(found) == 1:
            return next(iter(found.values()))
        listed = ", ".join(source.name for source in sources) or "none"
        raise ConfigurationError(
            f"table {table.name}: which partition {key!r} is in cannot be said, since the topics of the app ({listed}) do not agree on it: "
            "name the topic whose events change the table, @app.table_route(..., topic=...)"
        )

    def sources(self, table: Table[Any, Any]) -> list[AnyTopic]:
        """Give the topics whose events may change a table, by their names."""
        topology = self._engine.topology
        sources = [topology.topics[name] for name in sorted(topology.inputs)]
        if table.partitions is None:
            return sources
        return [source for source in sources if self._count(source.name) == table.partitions]

    async def find(self, tp: TP, table: Table[Any, Any] | None, *, patience: float = MOVING) -> Destination | None:
        """Find who owns a partition; waits while partitions are on the move.

        Args:
            tp: the partition.
            table: a table whose partition must be recovered where it is this worker.
            patience: seconds to wait.

        Returns:
            the destination; ``None`` when nobody owns the partition, or has recovered it, after that time.
        """
        clock = self._engine.run.clock.monotonic
        end = clock() + patience
        while (found := self._look(tp, table)) is None and clock() < end:  # noqa: ASYNC110 - what a client knows of its group wakes nobody
            await asyncio.sleep(LOOK)
        return found

    def _look(self, tp: TP, table: Table[Any, Any] | None) -> Destination | None:
        owners = self._engine.clients.consumer.owners()
        host = owners.hosts.get(tp)
        if not owners.settled or host is None:
            return None
        if host.instance != self._engine.host.instance:
            return Destination(tp, host)
        session: PartitionSession | None = self._engine.ownership.sessions.get(tp)
        here = session is not None and session.running and (table is None or tp.partition in table.parts)
        return Destination(tp, None) if here else None

    def _count(self, topic: str) -> int:
        count = self._engine.ownership.sources.counts.get(topic)
        if not count or topic not in self._engine.topology.sources:
            raise ConfigurationError(
                f"topic {topic} is read by no agent of this app, so that none of its workers owns a part"
            )
        return count

    def _partition(self, topic: AnyTopic, key: Any, count: int) -> int:
        data = topic.schema.encode_key(key)
        if self._partitioner is not None:
            return self._partitioner(data, range(count), range(count))
        return partition_for(data or b"", count)


def key_of(text: str, type_: Any) -> Any:
    """Make a key of the text that a request has.

    Raises:
        ValueError: it is no such key.
    """
    if type_ in (None, Any, str):
        return text
    if type_ is bytes:
        return text.encode()
    return msgspec.convert(text, type_, strict=False)
