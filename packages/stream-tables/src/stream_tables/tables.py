"""All tables of an app as one participant of the engine: declared, recovered, checkpointed and given up together."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from stream_core.cursor import Cursor
from stream_core.errors import ConfigurationError, RecordRefusedError, StoreCorruptError, StoreError
from stream_core.participants import Change, Interval, Reading, Shard
from stream_core.ports import Reader, Store, Stores
from stream_core.records import TP, TopicSpec
from stream_core.tasks import together
from stream_tables.partition import Facts, TablePartition
from stream_tables.recovery import COMPACTION_LAG, Recovery, Replay
from stream_tables.stores import open_when_free
from stream_tables.table import Table

__all__ = ["Tables"]

logger = logging.getLogger(__name__)

TOMBSTONES = 7 * 86400.0
"""Seconds for which a changelog keeps deletions (``delete.retention.ms``)."""


class Tables:
    """The tables of one app.

    Args:
        stores: the store driver.
        spare: opens stores that only this worker uses, when another process keeps the lock of one.
        reader: makes the reader of changelogs.
        lock_timeout: seconds to wait for a store that another process still holds.
        replication: replication factor of changelogs.
    """

    def __init__(
        self,
        stores: Stores,
        reader: Callable[[], Reader],
        *,
        spare: Stores | None = None,
        lock_timeout: float = 10.0,
        replication: int = 1,
    ) -> None:
        self._stores = stores
        self._spare = spare
        self._make_reader = reader
        self._lock_timeout = lock_timeout
        self._replication = replication
        self._tables: dict[str, Table[Any, Any]] = {}
        self._counts: dict[str, int] = {}
        self._parts: dict[TP, TablePartition] = {}
        self._cut: dict[TP, TablePartition] = {}
        self._recovery: Recovery | None = None

    def add(self, table: Table[Any, Any]) -> None:
        """Take a table in, before the start.

        Raises:
            ConfigurationError: there is one of that name.
        """
        if table.name in self._tables:
            raise ConfigurationError(
                f"there are two tables named {table.name!r}: they would share a changelog; rename one"
            )
        self._tables[table.name] = table

    def __iter__(self) -> Iterator[Table[Any, Any]]:
        return iter(self._tables.values())

    # -- participant

    def specs(self, sources: Mapping[str, int]) -> Sequence[TopicSpec]:
        """The changelog topics; a table has as many partitions as its sources."""
        return [self._spec(table, sources) for table in self._tables.values()]

    def _spec(self, table: Table[Any, Any], sources: Mapping[str, int]) -> TopicSpec:
        counts = set(sources.values())
        if table.partitions is None and len(counts) > 1:
            listed = ", ".join(f"{name} has {count}" for name, count in sorted(sources.items()))
            raise ConfigurationError(
                f"table {table.name}: the source topics have different partition counts ({listed}); "
                "say which with partitions= of the topic whose events change it"
            )
        count = table.partitions or next(iter(counts), 1)
        self._counts[table.name] = count
        config = {
            "cleanup.policy": "compact",
            "min.compaction.lag.ms": str(int(COMPACTION_LAG * 1000)),
            "delete.retention.ms": str(int(TOMBSTONES * 1000)),
        }
        return TopicSpec(table.changelog, count, self._replication, config)

    async def start(self) -> None:
        """Connect the reader of changelogs, when there is a table."""
        if self._tables:
            self._recovery = Recovery(self._make_reader())
            await self._recovery.start()

    async def stop(self) -> None:
        """Close all stores."""
        if self._recovery is not None:
            await self._recovery.stop()
        await self.keep(())
        self._stores.close()
        if self._spare is not None:
            self._spare.close()

    async def open(self, shard: Shard, committed: Mapping[Reading, int], generation: int = 0) -> None:
        """Recover the partition of every table that this shard has."""
        mine = [table for table in self._tables.values() if self._counts[table.name] == shard.partitions]
        await together(self._open(table, shard.partition, committed, generation) for table in mine)

    async def _open(
        self, table: Table[Any, Any], partition: int, committed: Mapping[Reading, int], generation: int
    ) -> None:
        assert self._recovery is not None
        tp = table.changelog_tp(partition)
        part = self._parts.get(tp)
        if part is None:
            store = await self._store(table.name, partition)
            part = self._parts[tp] = TablePartition(table.name, tp, self._counts[table.name], table.schema, store)
        part.overlay.clear()
        part.epoch = int(part.store.fact(Facts.EPOCH) or 0)
        begin, end = await self._recovery.bounds(tp)
        replay = Replay(part, self._position(part, begin, end), end, committed)
        started = time.monotonic()
        await self._recovery.run(replay)
        # Above all epochs in the log, and two owners that met the same ones still differ by their generations.
        part.epoch += generation
        if end > replay.start:
            count, seconds = end - replay.start, time.monotonic() - started
            logger.info("recovered %s: %d changelog offsets in %.1f s", tp, count, seconds)
        table.attach(partition, part)

    def _position(self, part: TablePartition, begin: int, end: int) -> int:
        """Where the store is in its changelog; wipes it when it cannot be continued."""
        fact = part.store.fact(Facts.POSITION)
        if fact is None:
            return begin
        position, written = int(fact), int(part.store.fact(Facts.WRITTEN_AT) or 0)
        why = None
        if position > end:
            why = f"it is at offset {position} and the changelog ends at {end}: the topic was recreated or truncated"
        elif position < begin:
            why = f"it is at offset {position} and the changelog begins at {begin}"
        elif position < end and time.time() - written > TOMBSTONES / 2:
            why = "it was not written for so long that deletions may be gone from the changelog"
        if why is None:
            return position
        logger.warning("the store of %s is wiped and replayed: %s", part.changelog, why)
        part.store.wipe()
        part.epoch = 0
        return begin

    async def _store(self, table: str, partition: int) -> Store:
        """Open a store; a predecessor's lock is waited for, damaged files are removed."""
        while True:
            try:
                return await open_when_free(
                    self._stores, table, partition, timeout=self._lock_timeout, spare=self._spare
                )
            except StoreCorruptError as error:
                logger.error("%s; its files are removed and it is replayed", error)
                self._stores.destroy(table, partition)

    async def keep(self, shards: Collection[Shard]) -> None:
        """Close the partitions of all other shards."""
        for table in self._tables.values():
            count = self._counts.get(table.name, 0)
            for partition in range(count):
                tp = table.changelog_tp(partition)
                if tp in self._parts and Shard(count, partition) not in shards:
                    table.detach(partition)
                    await asyncio.to_thread(
                        self._parts.pop(tp).store.close
                    )  # flushes: the event loop goes on meanwhile

    @property
    def pending(self) -> int:
        """Bytes of uncommitted changes, roughly."""
        return sum(part.overlay.size for part in self._parts.values())

    def cut(self, unfinished: Sequence[Cursor]) -> None:
        """Freeze the overlays; partitions that are recovered while the checkpoint runs belong to the next one."""
        self._cut = dict(self._parts)
        for part in self._cut.values():
            part.overlay.cut(unfinished)

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterator[Change]:
        """The changelog records of all tables."""
        for part in self._cut.values():
            yield from part.changes(intervals)

    async def committed(self, ends: Mapping[TP, int]) -> None:
        """Write the frozen overlays to their stores."""
        for tp, part in self._cut.items():
            try:
                await part.commit(ends.get(tp))
            except StoreError:
                if self._parts.get(tp) is part:
                    raise  # else it was given up meanwhile: its next owner takes the values from the changelog

    def refuse(self, change: Change, error: RecordRefusedError) -> None:
        """Let the event that makes this change again fail."""

    def aborted(self) -> None:
        """Drop all overlays."""
        for part in self._parts.values():
            part.overlay.clear()
