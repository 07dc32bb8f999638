"""How a test gives a table contents: as events would have set them, in the partition where events look for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stream_core.engine.engine import Engine
from stream_core.errors import ConfigurationError, EncodeError
from stream_core.partitioner import partition_for
from stream_core.sending.topic import AnyTopic
from stream_core.streams.effects import Effects
from stream_core.streams.sessions import PartitionSession
from stream_tables.table import Table
from stream_tables.windows.table import WindowedTable

__all__ = ["check_table", "fill"]


def check_table(table: Any) -> None:
    """Raise ConfigurationError for what is not a table, or one with windows."""
    if isinstance(table, WindowedTable):
        raise ConfigurationError(
            f"table {table.name} has windows: let events fill them, and read them at a time, as in "
            f'driver.run(lambda: {table.name}["key"].now())'
        )
    if not isinstance(table, Table):
        raise ConfigurationError(f"{table!r} is not a table: give what app.Table() has returned")


async def fill(
    table: Table[Any, Any],
    items: Mapping[Any, Any],
    engines: Sequence[Engine],
    *,
    like: AnyTopic | None,
    partition: int | None,
    partitioner: Any,
) -> None:
    """Set values of a table, each in a unit of work of its own.

    Args:
        table: the table.
        items: values by key.
        engines: of all workers.
        like: the topic whose events look for the keys; all topics that are read must agree when it is left out.
        partition: the partition of all keys, instead.
        partitioner: that of the producers, if the program has its own.
    """

    def choose(topic: AnyTopic, key: Any, count: int, engine: Engine) -> int | None:
        """Choose the partition of a topic's events with this key; ``None`` where it can have no such key, or another count."""
        if not count or engine.ownership.sources.counts.get(topic.name, count) != count:
            return None
        try:
            raw = topic.schema.encode_key(key)
        except EncodeError:
            return None
        if raw is None or partitioner is None:
            return None if raw is None else partition_for(raw, count)
        chosen: int = partitioner(raw, range(count), range(count))
        return chosen

    def place(key: Any) -> tuple[Engine, PartitionSession]:
        """Find the engine and the session whose events find the key in the table."""
        for engine in engines:
            with engine.run.entered():
                parts = table.parts
            count = next((part.partitions for part in parts.values()), 0)
            number = partition
            if number is None:
                sources = [like] if like is not None else [engine.topology.topics[s] for s in engine.topology.inputs]
                chosen = {p for topic in sources if (p := choose(topic, key, count, engine)) is not None}
                if len(chosen) > 1:
                    raise ConfigurationError(
                        f"table {table.name}: topics have the key {key!r} in different partitions: say like= which topic's events look "
                        "for it, or partition="
                    )
                number = next(iter(chosen), None)
            for session in engine.ownership.sessions.values():
                if session.partition == number and session.partitions == count and number in parts and session.open:
                    return engine, session
        raise ConfigurationError(
            f"table {table.name}: no worker has the partition of {key!r}: say like= which topic's events look for it, or partition="
        )

    for key, value in items.items():
        engine, session = place(key)
        with engine.run.entered():
            effects = Effects("the test driver", "the test driver", engine.outbox.held.emit)
            with effects.unit(session, f"{table.name}[{key!r}]", lambda reason, error: None):
                table[key] = value
