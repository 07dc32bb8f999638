"""A table with windows on which a test opens events at instants of its choice, and whose changelog it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from stream_core.engine.idle import Rest
from stream_core.engine.participants import Interval, Reading
from stream_core.memory import MemoryStores
from stream_core.ports import Stores
from stream_core.primitives import TP, Batch, StoredRecord
from stream_core.runs import Run
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects, Session, set_effects
from stream_core.testing.clock import ManualClock
from stream_core.values.schemas import Schema
from stream_tables.follower import Follower
from stream_tables.partition import State
from stream_tables.table import Table
from stream_tables.windows.closing import Closer
from stream_tables.windows.kinds import Window
from stream_tables.windows.late import LateArg
from stream_tables.windows.partition import WindowedPartition

SOURCE = TP("source", 0)

UNITS = "units"


class Works:
    """Units of work on the session of a bench: what an engine does for a shard.

    Attributes:
        rest: for how long the inputs are idle; ``None`` for not at all.
        names: of the units that have begun.
    """

    def __init__(self, bench: WindowBench) -> None:
        self._bench = bench
        self._effects = Effects("windows", UNITS, lambda held: None)
        self.rest: Rest | None = None
        self.names: list[object] = []

    @asynccontextmanager
    async def unit(self, name: str, atom: object) -> AsyncIterator[None]:
        """Open a unit, and finish it."""
        self.names.append(atom)
        with self._effects.unit(self._bench.session, atom, lambda reason, error: None):
            yield

    def idle(self) -> Rest | None:
        """Tell it."""
        return self.rest


class WindowBench:
    """A table with windows of which this worker holds one partition.

    Args:
        window: the kind of windows.
        stores: where they are.
        late: what happens to late events.
        now: seconds that the clock shows.
        schema: of the table.
        check_mutations: find values that an event changes in place and does not assign.
        options: of the table.

    Attributes:
        log: the records of the changelog, in order.
        cuts: the offset behind each checkpoint, and what the table had then.
    """

    def __init__(
        self,
        window: Window,
        stores: Stores | None = None,
        *,
        late: LateArg = None,
        now: float = 1000.0,
        schema: Schema | None = None,
        check_mutations: bool = False,
        **options: Any,
    ) -> None:
        self.window, self.late, self.options = window, late, {"default": int, **options}
        self._of_parts: dict[str, Any] = {"check_mutations": check_mutations}
        self.schema = schema or Schema.for_table(str, int)
        self.clock = ManualClock(now)
        self.stores: Stores = MemoryStores() if stores is None else stores
        self.log: list[StoredRecord] = []
        self.cuts: list[tuple[int, dict[tuple[str, float], Any], int]] = []
        self.cursor = Cursor("agent[0]", "agent", lambda held: None)
        self.session = Session(SOURCE, Schema(), 1)
        self.work = Works(self)
        set_effects(self.cursor)
        self._run = Run()
        self._open("table")

    def _open(self, name: str) -> None:
        self.table: Table[Any, Any] = Table("table", schema=self.schema, changelog="changelog", **self.options)
        self.windows = self.table.using_window(self.window, late=self.late)
        self.table.join(self._run)
        self.part = self._part(name)
        self.part.ready()
        self.part.enter(State.RUNNING)
        self.table.attach(self._run, 0, self.part)

    def _part(self, name: str) -> WindowedPartition[Any]:
        part = self.table.make_part(
            TP("changelog", 0), 1, self.stores.open(name, 0), clock=self.clock, **self._of_parts
        )
        assert isinstance(part, WindowedPartition)
        part.enter(State.REPLAYING)
        return part

    @property
    def logged(self) -> dict[bytes, bytes | None]:
        """What the changelog says, by key."""
        return {record.key or b"": record.value for record in self.log}

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

    def add(self, key: str, at: float, amount: Any = 1) -> None:
        """Let an event add to a key."""
        with self.event(at) as windows:
            windows[key] += amount

    def checkpoint(self, *unfinished: Cursor) -> None:
        """Commit everything that is finished, and write it to the changelog."""
        self.part.overlay.cut(unfinished)
        number = len(self.cuts)
        intervals = {Reading(SOURCE, name): Interval(number, number + 1) for name in ("agent", UNITS)}
        shard = self.part.changes(intervals)
        for key, value in shard.records:
            self.log.append(StoredRecord(len(self.log), 0, key, value, shard.headers))
        asyncio.run(self.part.commit(len(self.log)))
        self.cuts.append((len(self.log), self.all(), self.part.time(None)))

    def drop(self) -> None:
        """Drop everything since the last checkpoint."""
        self.part.overlay.clear()

    def restart(self) -> None:
        """Let another worker begin with what this one has committed."""
        self.part.store.close()
        self._run.end()
        self._run = Run()
        self._open("table")

    def rebuild(self, end: int, name: str, committed: int | None = None) -> tuple[dict[tuple[str, float], Any], int]:
        """Give what an empty store has, and its time, when the changelog was followed up to an offset.

        Args:
            end: the offset.
            name: of the store.
            committed: how many of the checkpoints were committed; all when left out.
        """
        part = self._part(name)
        position = len(self.cuts) if committed is None else committed

        async def follow() -> None:
            follower = Follower(part, 0, end, {Reading(SOURCE, reader): position for reader in ("agent", UNITS, "")})
            await follower.apply(Batch(TP("changelog", 0), self.log[:end], end))
            follower.finish()

        asyncio.run(follow())
        part.ready()
        part.enter(State.RUNNING)
        found = self.all(part), part.time(None)
        part.store.close()
        self.stores.destroy(name, 0)
        return found

    def all(self, part: WindowedPartition[Any] | None = None) -> dict[tuple[str, float], Any]:
        """All windows that can be read, by key and start."""
        found = self.window.everything(part or self.part, None)
        return {(self.schema.decode_key(key), span.start): value for key, span, value in found}

    def close(self, on_close: Callable[..., Any]) -> None:
        """Tell of windows that close, once."""
        closer = Closer("table", self.part, self.window, self.windows._keys, on_close, self.work)
        asyncio.run(closer._close())
        set_effects(self.cursor)
