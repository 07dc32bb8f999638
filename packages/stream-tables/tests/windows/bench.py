"""A table with windows on which a test opens events at instants of its choice."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stream_core.engine.participants import Interval, Reading
from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_core.primitives import TP, StoredRecord
from stream_core.runs import Run
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Session, set_effects
from stream_core.testing.clock import ManualClock
from stream_core.values.schemas import Schema
from stream_tables.partition import State
from stream_tables.table import Table
from stream_tables.windows.kinds import Window
from stream_tables.windows.late import LateArg
from stream_tables.windows.partition import WindowedPartition

SOURCE = TP("source", 0)


class WindowBench:
    """A table with windows of which this worker holds one partition.

    Args:
        window: the kind of windows.
        stores: where they are.
        late: what happens to late events.
        now: seconds that the clock shows.
        schema: of the table.
        options: of the table.
    """

    def __init__(
        self,
        window: Window,
        stores: Stores | None = None,
        *,
        late: LateArg = None,
        now: float = 1000.0,
        schema: Schema | None = None,
        **options: Any,
    ) -> None:
        self.window, self.late, self.options = window, late, {"default": int, **options}
        self.schema = schema or Schema.for_table(str, int)
        self.clock = ManualClock(now)
        self.stores = MemoryStores() if stores is None else stores
        self.logged: dict[bytes, bytes | None] = {}
        self.cursor = Cursor("agent[0]", "agent", lambda held: None)
        self.session = Session(SOURCE, Schema(), 1)
        set_effects(self.cursor)
        self._run = Run()
        self._open()

    def _open(self) -> None:
        self.table: Table[Any, Any] = Table("table", schema=self.schema, changelog="changelog", **self.options)
        self.windows = self.table.using_window(self.window, late=self.late)
        self.table.join(self._run)
        part = self.table.make_part(TP("changelog", 0), 1, self.stores.open("table", 0), clock=self.clock)
        assert isinstance(part, WindowedPartition)
        self.part = part
        part.enter(State.REPLAYING)
        part.ready()
        part.enter(State.RUNNING)
        self.table.attach(self._run, 0, part)

    @contextmanager
    def event(self, at: float, cursor: Cursor | None = None) -> Iterator[Any]:
        """An event at an instant in seconds, which finishes at the end unless it fails."""
        cursor = cursor or self.cursor
        cursor.session, cursor.record = self.session, StoredRecord(0, round(at * 1000), b"its key", b"")
        set_effects(cursor)
        try:
            yield self.windows
            cursor.finish()
        except BaseException:
            cursor.rollback()
            raise
        finally:
            cursor.record = None

    def add(self, key: str, at: float, amount: int = 1) -> None:
        """Let an event add to a key."""
        with self.event(at) as windows:
            windows[key] += amount

    def checkpoint(self) -> None:
        """Commit everything that is finished, and write it to the changelog."""
        self.part.overlay.cut([])
        changes = list(self.part.changes({Reading(SOURCE, "agent"): Interval(0, 1)}))
        self.logged |= {change.key: change.value for change in changes}
        asyncio.run(self.part.commit(len(changes) + (self.part.end or 0)))

    def restart(self) -> None:
        """Let another worker begin with what this one has committed."""
        self.part.store.close()
        self._run.end()
        self._run = Run()
        self._open()

    def all(self) -> dict[tuple[str, float], int]:
        """All windows that can be read, by key and start."""
        found = self.window.everything(self.part, None)
        return {(self.schema.decode_key(key), span.start): value for key, span, value in found}
