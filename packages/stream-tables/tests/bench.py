"""A table on which a test opens, finishes and fails events by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_core.primitives import TP, StoredRecord
from stream_core.runs import Run
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session, set_effects
from stream_core.values.schemas import Schema
from stream_tables.partition import TablePartition
from stream_tables.table import Table


class Bench:
    """A table with partitions here, and events on them.

    Args:
        schema: of the table.
        partitions: how many this worker holds; the table has as many.
        limits: options of its partitions.
        stores: where they are.
        options: of the table.
    """

    def __init__(
        self,
        schema: Schema | None = None,
        partitions: int = 2,
        *,
        limits: dict[str, Any] | None = None,
        stores: Stores | None = None,
        **options: Any,
    ) -> None:
        self.schema = schema or Schema.for_table(str, int)
        self.table: Table[Any, Any] = Table("table", schema=self.schema, changelog="changelog", **options)
        self.run = Run()
        self.table.join(self.run)
        self.stores: Stores = MemoryStores() if stores is None else stores
        self._limits = limits or {}
        self.parts = [self._part(partition, partitions) for partition in range(partitions)]
        self.cursor = Cursor("agent[0]", "agent", lambda held: None)
        self._count = partitions

    def _part(self, partition: int, partitions: int) -> TablePartition:
        tp = self.table.changelog_tp(partition)
        store = self.stores.open("table", partition)
        part = TablePartition("table", tp, partitions, self.schema, store, **self._limits)
        self.table.attach(self.run, partition, part)
        return part

    @contextmanager
    def event(self, partition: int = 0, *, topic: str = "source", partitions: int = 0) -> Iterator[Table[Any, Any]]:
        """An event of a partition, which finishes at the end unless it fails."""
        self.cursor.session = Session(TP(topic, partition), Schema(), partitions or self._count)
        self.cursor.record = StoredRecord(0, 0, b"its key", b"")
        try:
            yield self.table
            self.cursor.finish()
        except BaseException:
            self.cursor.rollback()
            raise
        finally:
            self.cursor.record = None

    def checkpoint(self) -> None:
        """Commit everything that is finished."""
        for part in self.parts:
            part.overlay.cut([])
            asyncio.run(part.commit(1))

    def restart(self) -> None:
        """Let another worker begin with what this one has committed."""
        for part in self.parts:
            part.store.close()
        self.run.end()
        self.run = Run()
        self.table = Table("table", schema=self.schema, changelog="changelog", default=self.table.default)
        self.table.join(self.run)
        self.parts = [self._part(partition, self._count) for partition in range(self._count)]


def used(bench: Bench) -> Bench:
    """A bench whose actor runs the test."""
    set_effects(bench.cursor)
    return bench
