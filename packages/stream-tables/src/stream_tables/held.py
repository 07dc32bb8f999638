"""What workers hold of a table, the partition that an open event reads and changes, and who is told what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from threading import get_ident
from typing import Any, Generic, TypeVar

from stream_core.clocks import SYSTEM, Clock
from stream_core.errors import StoreError, WorkerError
from stream_core.primitives import TP
from stream_core.runs import PerRun, Run
from stream_core.sensors import Sensors
from stream_core.streams.cursor import Cursor
from stream_core.streams.effects import Effects, Session, active_effects, current_effects
from stream_tables.errors import PartitionsMismatchError, TableError, TableKeyError
from stream_tables.partition import TablePartition

__all__ = ["Held"]

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
R = TypeVar("R", bound=Callable[[], Any])
W = TypeVar("W", bound=Callable[..., Any])

CALLBACK = 60.0
"""Seconds that a function of a user may take: a partition, and with it the rebalance, waits for it."""


class Held(Generic[K, V]):
    """The partitions of a table that workers hold, and the functions that are called for it.

    Args:
        name: of the table.
        partitions: how many it has; ``None`` when that is not said.
        changelog: name of its changelog topic.
        default: makes the value of a missing key; ``None``: it is a KeyError.
    """

    sensors: Sensors | None = None
    """Who is told of each access, where a sensor wants to hear of it.

    :meta private:
    """

    on_window_close: Callable[..., Any] | None = None

    def __init__(
        self, name: str, *, partitions: int | None, changelog: str, default: Callable[[], V] | None = None
    ) -> None:
        self.name = name
        self.partitions = partitions
        self.changelog = changelog
        self.default = default
        self.recover_callbacks: list[Callable[[], Any]] = []
        self._held = PerRun[dict[int, TablePartition[V]]]()
        self._routes: dict[bytes, int] = {}
        self._session: Session | None = None
        self._here: TablePartition[V] | None = None

    # -- who is told

    def on_recover(self, callback: R) -> R:
        """Call a function when a rebalance is over and all partitions of this worker are recovered; a decorator.

        Args:
            callback: a function of nothing, sync or async. What it raises ends the worker.
        """
        self.recover_callbacks.append(callback)
        return callback

    async def recovered(self) -> None:
        """Call what waits for the recovery. Raises WorkerError when it raises.

        :meta private:
        """
        for callback in self.recover_callbacks:
            await self.called(callback, f"on_recover of table {self.name}")

    def tell_closed(self, callback: W) -> W:
        """Call a function for each window that closes, with its key and value; a decorator.

        It is called after the end of the window and its grace, once for each key and window, in the order of ends. What it sends and
        what it changes in tables counts as a whole, as in an event; a failure of it ends the worker.

        Args:
            callback: called with ``(key, (start, end))`` and the value; sync or async.
        """
        self.on_window_close = callback
        return callback

    async def called(self, callback: Callable[[], Any], what: str) -> None:
        """Call a function of a user, sync or async. Raises WorkerError when it raises, or does not return in time.

        :meta private:
        """
        budget = asyncio.timeout(CALLBACK)
        try:
            if isawaitable(result := callback()):
                async with budget:
                    await result
        except Exception as error:
            if isinstance(error, TimeoutError) and budget.expired():
                raise WorkerError(
                    f"{what} has not returned within {CALLBACK:g} s, and the partition waits for it: bound what it waits for, or let a "
                    "task do it"
                ) from error
            raise WorkerError(f"{what} failed: {type(error).__name__}: {error}") from error

    # -- partitions, for the manager of tables

    def join(self, run: Run) -> None:
        """Hold partitions in the worker of ``run`` until that ends; it has none yet.

        :meta private:
        """
        self._held.bind(run, {})
        self._forget()

    def leave(self, run: Run) -> None:
        """Hold nothing in the worker of ``run`` any more.

        :meta private:
        """
        self._held.unbind(run)
        self._forget()

    def attach(self, run: Run, partition: int, part: TablePartition[V]) -> None:
        """Take in a partition that the worker of ``run`` has recovered.

        :meta private:
        """
        if (held := self._held.of(run)) is not None:
            self._held.bind(run, {**held, partition: part})  # a new one: other threads may iterate over the one before
        self._forget()

    def detach(self, run: Run, partition: int) -> None:
        """Let go of a partition that the worker of ``run`` gives up.

        :meta private:
        """
        if (held := self._held.of(run)) is not None:
            self._held.bind(run, {number: part for number, part in held.items() if number != partition})
        self._forget()

    def _forget(self) -> None:
        self._routes.clear()
        self._session = self._here = None

    @property
    def parts(self) -> dict[int, TablePartition[V]]:
        """The partitions that the worker of this task holds; those of the only one that runs, outside of workers.

        Raises:
            ConfigurationError: several workers hold some, and this task belongs to none of them.

        :meta private:
        """
        held = self._held.only
        if held is None:
            held = self._held.find(f"table {self.name} cannot be used") if self._held else {}
        return held

    def changelog_tp(self, partition: int) -> TP:
        """Give the changelog partition of a table partition.

        :meta private:
        """
        return TP(self.changelog, partition)

    @property
    def clock(self) -> Clock:
        """The clock of the worker that this task belongs to; that of this machine outside of workers.

        :meta private:
        """
        return next((part.clock for part in self.parts.values()), SYSTEM)

    def missing(self, key: object) -> TableKeyError:
        """Make the KeyError of this key; what it says is put together when somebody reads it.

        :meta private:
        """
        error, effects = TableKeyError(key), active_effects()
        if effects is None or (session := effects.session) is None:
            count = next((part.partitions for part in self.parts.values()), self.partitions or 0)
            error.missed = self.name, tuple(self.parts), count, None, None
        else:
            record = effects.record if isinstance(effects, Cursor) else None
            error.missed = self.name, (), session.partitions, session, record
        return error

    def part(self, effects: Effects) -> TablePartition[V]:
        """Give the partition that an open event reads and changes. Raises TableError when there is none.

        :meta private:
        """
        session = effects.session
        held = self._held.only
        if held is None:  # there are several workers in this process, or none
            held = self.parts
        part = None if session is None else held.get(session.partition)
        if any(other is not session for other, _ in effects.others):
            raise TableError(
                f"table {self.name}: the list of {effects.name} has events of several partitions, and a table has a state for each; "
                "use take(..., by_partition=True)"
            )
        if session is not None and session.partition < 0:
            raise TableError(
                f"table {self.name}: the event comes from {session.tp.topic}, which exists in memory only and has no partitions: "
                "use tables in agents that read topics"
            )
        if part is None and session is not None and self.partitions not in (None, session.partitions):
            raise self._mismatch(session, self.partitions)
        if part is None or session is None:
            where = "" if session is None else f" (event of {session.tp})"
            raise TableError(
                f"table {self.name}: this worker does not hold the partition of the event{where}; "
                "declare the table before the app starts, with partitions= of its source topic"
            )
        if part.partitions != session.partitions:
            raise self._mismatch(session, part.partitions)
        if get_ident() == part.overlay.thread:  # one look at both is whole there only
            self._session, self._here = session, part
        return part

    def look(self, part: TablePartition[V], read: Callable[[], D], nothing: D) -> D:
        """Read a partition from outside of events; one that was given up meanwhile is not held here any more, and has nothing.

        :meta private:
        """
        try:
            return read()
        except StoreError:
            if self.parts.get(part.changelog.partition) is part:
                raise
            return nothing

    def _mismatch(self, session: Session, count: int | None) -> PartitionsMismatchError:
        return PartitionsMismatchError(
            f"table {self.name} has {count} partitions, and topic {session.tp.topic} has {session.partitions}: "
            "repartition the stream, or declare the table with partitions= of its source"
        )

    def writer(self) -> Effects:
        """Give the open unit of work, which may change tables. Raises TableError when there is none.

        :meta private:
        """
        effects = current_effects()
        if effects is None or effects.atom is None:
            raise TableError(
                f"table {self.name} cannot be changed outside of an event: change it in the loop over a stream, "
                "in the task of the agent itself"
            )
        return effects
