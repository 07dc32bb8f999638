"""All tables of an app as one participant of the engine: declared, recovered, checkpointed and given up together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from stream_core.engine.participants import Change, Interval, OnLost, Reading, SendNow, Shard, ShardChanges
from stream_core.engine.snapshot import TablePartitionSnapshot
from stream_core.engine.work import Work
from stream_core.errors import ConfigurationError, RecordRefusedError, StoreCorruptError, StoreError, StoreLockedError
from stream_core.ports import Reader, Store, Stores
from stream_core.primitives import TP, TopicSpec
from stream_core.runs import Run
from stream_core.streams.effects import Effects
from stream_core.together import together
from stream_tables.follower import COMPACTION_LAG
from stream_tables.following import Following
from stream_tables.partition import State, TablePartition
from stream_tables.recovery import TOMBSTONES, Owner, recover
from stream_tables.stores import close_all, open_when_free
from stream_tables.table import Table

__all__ = ["CHANGELOG", "Tables"]

logger = logging.getLogger(__name__)

CHANGELOG = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": str(int(COMPACTION_LAG * 1000)),
    "delete.retention.ms": str(int(TOMBSTONES * 1000)),
}
"""The configuration of a changelog where nobody says something else."""

SPARE = 86_400_000
"""Milliseconds for which a changelog keeps windows longer than they can be read: so long may what is to be recovered stand still."""

ATTEMPTS = 3
"""How often one partition is emptied and replayed in a row, before the disk is to blame."""


class Tables:
    """The tables of one app.

    Args:
        stores: the store driver.
        spare: opens stores that only this worker uses, when another process keeps the lock of one.
        reader: makes the reader of changelogs.
        prepare: awaited before the first store is opened, when there is a table; again when it failed.
        lock_timeout: seconds to wait for a store that another process still holds.
        replication: replication factor of changelogs.
        check_mutations: let an event fail that changed a value in place and did not assign it.
        run: of the engine that they take part in; one of their own when left out.
    """

    def __init__(
        self,
        stores: Stores,
        reader: Callable[[], Reader],
        *,
        spare: Stores | None = None,
        prepare: Callable[[], Awaitable[None]] | None = None,
        lock_timeout: float = 10.0,
        replication: int = 1,
        check_mutations: bool = False,
        run: Run | None = None,
    ) -> None:
        self._run = Run() if run is None else run
        self._stores = stores
        self._spare = spare
        self._make_reader = reader
        self._prepare = prepare
        self._lock_timeout = lock_timeout
        self._replication = replication
        self._check_mutations = check_mutations
        self._max_record_size: int | None = None
        self._tables: dict[str, Table[Any, Any]] = {}
        self._of_tables: dict[str, tuple[Stores, Stores | None]] = {}
        self._wanted: Collection[Shard] = ()
        self._opened: set[str] = set()
        self._counts: dict[str, int] = {}
        self._parts: dict[TP, TablePartition[Any]] = {}
        self._cut: dict[TP, TablePartition[Any]] = {}
        self._following: Following | None = None
        self._on_lost: OnLost | None = None

    def add(self, table: Table[Any, Any], stores: Stores | None = None, spare: Stores | None = None) -> None:
        """Take a table in, before the start.

        Args:
            table: the table.
            stores: the driver of its stores; that of all tables when left out.
            spare: as for all tables, with that driver.

        Raises:
            ConfigurationError: there is one of that name.
        """
        table.check_windows()
        if table.name in self._tables:
            raise ConfigurationError(
                f"there are two tables named {table.name!r}: they would share a changelog; rename one"
            )
        self._tables[table.name] = table
        self._of_tables[table.name] = (self._stores, self._spare) if stores is None else (stores, spare)
        table.join(self._run)

    def __iter__(self) -> Iterator[Table[Any, Any]]:
        return iter(self._tables.values())

    # -- participant

    @property
    def topics(self) -> Collection[str]:
        """The changelogs."""
        return [table.changelog for table in self._tables.values()]

    def attend(self, on_lost: OnLost) -> None:
        """Call ``on_lost`` when the files of a partition turn out to be damaged."""
        self._on_lost = on_lost

    def _lost(self, reason: str, error: BaseException) -> None:
        if self._on_lost is not None:
            self._on_lost(reason, error)

    def specs(self, sources: Mapping[str, int]) -> Sequence[TopicSpec]:
        """Describe the changelog topics; a table has as many partitions as its sources. Raises ConfigurationError."""
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
        return TopicSpec(
            table.changelog,
            count,
            table.replicas or self._replication,
            CHANGELOG | _retention(table) | table.changelog_config,
        )

    async def start(self, max_record_size: int | None = None) -> None:
        """Connect the reader of changelogs, when there is a table.

        Args:
            max_record_size: bytes of the largest record that the producers take; ``None`` for no limit.
        """
        self._max_record_size = max_record_size
        if self._tables:
            if self._prepare is not None:
                await self._prepare()
            self._following = Following(self._make_reader, clock=self._run.clock.monotonic)
            await self._following.start()

    async def stop(self) -> None:
        """Follow no changelog any more, and close all stores, whatever fails meanwhile."""
        try:
            if self._following is not None:
                await self._following.stop()
        except Exception:
            logger.exception("the reader of changelogs could not be stopped")
        await self.close()

    async def close(self) -> None:
        """Close all stores, in whichever event loop: they outlive the one of the engine."""
        await self.keep(())
        for table in self._tables.values():
            table.leave(self._run)
        drivers: dict[int, tuple[str, Stores]] = {}
        for name, (stores, spare) in [("all tables", (self._stores, self._spare)), *self._of_tables.items()]:
            drivers.setdefault(id(stores), (f"the stores of {name}", stores))
            if spare is not None:
                drivers.setdefault(id(spare), (f"the stores of {name} that are this worker's alone", spare))
        await close_all({what: driver.close for what, driver in drivers.values()})

    async def open(
        self,
        shard: Shard,
        committed: Mapping[Reading, int],
        generation: int = 0,
        *,
        ids: Mapping[str, str] | None = None,
        send: SendNow | None = None,
        exactly_once: bool = False,
        unread: bool = False,
    ) -> None:
        """Recover the partition of every table that this shard has.

        Raises:
            StoreError: a store cannot be opened or written, or its disk damages whatever is written.
            TransportError: a changelog cannot be read or written; it can be tried again.
        """
        mine = [table for table in self._tables.values() if self._counts[table.name] == shard.partitions]
        owner = Owner(committed, generation, ids or {}, send, exactly_once, unread)
        self._opened.update(table.name for table in mine)
        await together(self._open(table, shard.partition, owner) for table in mine)
        for table in mine:
            if table.name in self._opened and self._whole(table):
                self._opened.discard(table.name)
                await table.recovered()

    @property
    def has_work(self) -> bool:
        """Whether windows of a table close or expire."""
        return any(table.has_work for table in self._tables.values())

    def running(self, shard: Shard, work: Work) -> None:
        """Let windows close."""
        for table in self._tables.values():
            part = self._parts.get(table.changelog_tp(shard.partition))
            if self._counts[table.name] == shard.partitions and part is not None:
                table.run(part, work)

    def _whole(self, table: Table[Any, Any]) -> bool:
        """Tell whether all partitions of a table that this worker is to hold are recovered."""
        mine = [shard.partition for shard in self._wanted if shard.partitions == self._counts[table.name]]
        parts = [self._parts.get(table.changelog_tp(partition)) for partition in mine]
        return all(part is not None and part.state is State.RUNNING for part in parts)

    async def _open(self, table: Table[Any, Any], partition: int, owner: Owner) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            part = await self._opening(table, partition)
            opening = part.opening = object()
            try:
                assert self._following is not None
                await recover(self._following, part, owner, partial(_check, part, opening))
            except StoreCorruptError as error:
                if attempt == ATTEMPTS:
                    raise StoreError(
                        f"{part.changelog} was emptied and replayed {ATTEMPTS} times, and is damaged again ({error}): check the disk"
                    ) from error
                logger.error("%s is emptied and replayed: %s", part.changelog, error)
                if part.state is not State.LOST:  # somebody else may have met the damage first
                    part.enter(State.LOST)
            else:
                table.attach(self._run, partition, part)
                return

    async def _opening(self, table: Table[Any, Any], partition: int) -> TablePartition[Any]:
        """Give the partition with a store that is open and may be trusted, in the state OPENING."""
        tp = table.changelog_tp(partition)
        part = self._parts.get(tp)
        if part is not None and part.state is State.LOST:
            # Reads find nothing while it is replayed, as in any partition that is not here yet.
            table.detach(self._run, partition)
            try:
                part.store.wipe()
            except StoreLockedError as error:
                logger.warning("%s", error)
                await self._give_up([tp])
                part = None
        elif part is not None and part.state is State.BEHIND:
            table.detach(self._run, partition)
            await self._give_up([tp])  # a store that failed to write takes no more writes until it is opened anew
            part = None
        if part is None:
            store = await self._store(table, partition)
            part = table.make_part(
                tp,
                self._counts[table.name],
                store,
                self._lost,
                clock=self._run.clock,
                max_record_size=self._max_record_size,
                check_mutations=self._check_mutations,
                applying=table.applying,
            )
            part.tombstones = table.tombstones
            self._parts[tp] = part
        part.enter(State.OPENING)
        part.overlay.clear()
        return part

    async def _store(self, table: Table[Any, Any], partition: int) -> Store:
        """Open a store; a predecessor's lock is waited for, damaged files are removed."""
        stores, spare = self._of_tables[table.name]
        opened = partial(open_when_free, stores, table.name, partition, timeout=self._lock_timeout, spare=spare)
        for _ in range(ATTEMPTS - 1):
            try:
                return await opened()
            except StoreCorruptError as error:
                logger.error("%s; its files are removed and it is replayed", error)
                stores.destroy(table.name, partition)
        return await opened()

    async def keep(self, shards: Collection[Shard]) -> None:
        """Close the partitions of all other shards, side by side; what cannot be closed is reported."""
        self._wanted = shards
        moved = [tp for tp, part in self._parts.items() if Shard(part.partitions, tp.partition) not in shards]
        by_changelog = {table.changelog: table for table in self._tables.values()}
        for tp in moved:
            by_changelog[tp.topic].detach(self._run, tp.partition)
        await self._give_up(moved)

    async def _give_up(self, tps: Collection[TP]) -> None:
        """Close partitions. Files that are damaged are removed: the next start may find the damage late, and end of it each time."""
        closings: dict[str, Callable[[], object]] = {}
        for tp in tps:
            part = self._parts.pop(tp)
            damaged = part.state is State.LOST
            part.enter(State.CLOSED)
            closings[f"the store of {tp}"] = partial(_discard, part.store) if damaged else part.store.close
        await close_all(closings)

    @property
    def pending(self) -> int:
        """Bytes of the changes since the last cut, roughly."""
        return sum(part.overlay.size for part in self._parts.values())

    @property
    def under_way(self) -> int:
        """Bytes of the changes that a checkpoint under way has cut, roughly."""
        return sum(part.overlay.frozen_size for part in self._parts.values())

    def cut(self, unfinished: Sequence[Effects]) -> None:
        """Freeze the overlays; partitions that are recovered while the checkpoint runs belong to the next one.

        Raises:
            StoreError: the changes of the checkpoint before are not stored in one of them. None is frozen then.
        """
        for part in self._parts.values():
            part.overlay.check()
        self._cut = dict(self._parts)
        for part in self._cut.values():
            part.overlay.cut(unfinished)

    def changes(self, intervals: Mapping[Reading, Interval]) -> Iterator[ShardChanges]:
        """Make the changelog records of all tables."""
        for part in self._cut.values():
            changes = part.changes(intervals)  # also of one without changes: it takes note of the intervals
            if part.overlay.frozen:
                yield changes

    async def committed(self, ends: Mapping[TP, int]) -> None:
        """Write the frozen overlays to their stores: all that can be written, whatever fails in between.

        Raises:
            StoreError: some could not be written. What they lack is in their changelogs, and their positions stay where they were.
        """
        failed: Exception | None = None
        for tp, part in self._cut.items():
            try:
                await part.commit(ends.get(tp))
            except Exception as error:
                logger.error("table partition %s is behind its changelog: %s", tp, error)
                failed = failed or error
        if failed is not None:
            raise failed

    def aborted(self) -> None:
        """Drop all overlays."""
        for part in self._parts.values():
            part.overlay.clear()

    @property
    def recovered_records(self) -> int:
        """Changelog records that recoveries have read."""
        return self._following.records if self._following is not None else 0

    def snapshot(self) -> Sequence[TablePartitionSnapshot]:
        """Tell how each partition is that is open here."""
        followers = self._following.followers() if self._following is not None else {}
        names = {table.changelog: table.name for table in self._tables.values()}
        return [part.snapshot(names[tp.topic], followers.get(tp)) for tp, part in sorted(self._parts.copy().items())]

    def refuse(self, change: Change, error: RecordRefusedError) -> bool:
        """Let events that make this change again fail with ``error``; nothing when its partition was given up meanwhile.

        Returns whether that helps; see :meth:`stream_core.engine.participants.Participant.refuse`.
        """
        part = self._parts.get(TP(change.topic, change.partition))
        return part is not None and part.refuse(change, error)


def _retention(table: Table[Any, Any]) -> dict[str, str]:
    """Say how long a changelog keeps windows that expire, and values that age. Its records have the time at which they are written."""
    layout = table.layout
    if layout is None or layout.keeps is None:
        return {}
    return {"cleanup.policy": "compact,delete", "retention.ms": str(layout.span + layout.keeps + SPARE)}


def _check(part: TablePartition[Any], opening: object) -> None:
    """Make sure that a partition that is being opened is still wanted and whole.

    Raises:
        StoreCorruptError: somebody who read it has met damage meanwhile.
        CancelledError: it was given up, or is opened once more: this opening is about to be cancelled.
    """
    if part.state is State.CLOSED or part.opening is not opening:
        raise asyncio.CancelledError
    if part.state is State.LOST:
        raise StoreCorruptError(f"the store of {part.changelog} turned out to be damaged while it was replayed")


def _discard(store: Store) -> None:
    """Empty a store and close it."""
    try:
        store.wipe()
    finally:
        store.close()
