"""Work that no record brings: what a participant does in a shard beside the events, as closing the windows of a table.

::

    opened ──▶ Participant.running(shard, work)      a drop, a revocation, a stop
                  └ work.spawn(closer(), …)              │
                       └ async with work.unit(…)  ───────┴▶ an open unit finishes, or comes to nothing;
                                                            the task is cancelled at its next await

A unit of work is an event in all but its record: tables, sends, cuts and drops treat it as one. What differs is who brings it again after a
drop. A record comes again by itself; a unit does not, so that a task finds out from its state what is to be done, whenever it begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from stream_core.background import Background
from stream_core.engine.idle import Idleness, Rest
from stream_core.errors import WorkerError, is_trouble
from stream_core.primitives import listed
from stream_core.runs import Run
from stream_core.stacks import waiting_in
from stream_core.streams.effects import Effects, Emit
from stream_core.streams.sessions import PartitionSession
from stream_core.streams.units import UNITS

__all__ = ["OpenUnit", "Work", "Works"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class OpenUnit:
    """A unit of work that is open.

    Attributes:
        effects: of whoever does it.
        atom: what it is about.
        task: in which it is done.
        since: when it began, in the seconds of the clock that only grow.
    """

    effects: Effects
    atom: object
    task: asyncio.Task[Any] | None
    since: float

    def where(self) -> str:
        """Tell the line at which it waits."""
        return "" if self.task is None else waiting_in(self.task.get_coro())


class Work:
    """What is done in one shard that no record brings, from its opening until it is given up, or opened again.

    Args:
        works: of the engine.
        sessions: gives the sessions of the shard now.
    """

    def __init__(self, works: Works, sessions: Callable[[], Sequence[PartitionSession]]) -> None:
        self._works = works
        self._sessions = sessions
        self._session: PartitionSession | None = None
        self._effects: dict[str, Effects] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: list[OpenUnit] = []
        self._ending = False
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def spawn(self, body: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine for as long as the shard runs here.

        It is cancelled when the shard is given up or opened again; at a revocation once its open unit of work has finished. When it raises,
        the worker cannot go on, unless a broker or a disk is to blame: then the shard is opened again. When it returns, it is done.

        Args:
            body: the coroutine.
            name: says whose work it is, for messages.
        """
        task = asyncio.create_task(body, name=name, context=self._works.run.context())
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, name))

    @asynccontextmanager
    async def unit(self, name: str, atom: object) -> AsyncIterator[None]:
        """Do what the block does as one unit of work: finished at its end, taken back when it raises.

        It begins when there is room for its changes. One whose shard is being given up does not begin: whoever asks for it is
        cancelled. A checkpoint has all of a unit or nothing of it, and the next worker sees it when it was committed, and only then.

        What a broker or a disk is to blame for (:data:`~stream_core.errors.TROUBLE`) does not come out of the block: the interval is
        dropped, the shard opened again, and the task cancelled. So whatever does come out is a failure of the code in it.

        Args:
            name: who does it, such as ``windows of counts``. One name has one unit open at a time.
            atom: what it is about, such as a window, for messages.

        Raises:
            IllegalStateError: a unit of this name is open.
        """
        works = self._works
        await works.room()
        session = self._session
        if session is None or not session.open:  # behind a log that was cut off, a partition goes on in another one
            session = self._session = next((one for one in self._sessions() if one.open), None)
        if session is None or self._ending:
            await self._over  # until it is cancelled
            raise asyncio.CancelledError
        effects = self._effects.get(name)
        if effects is None:
            effects = self._effects[name] = Effects(name, UNITS, works.emit)
        unit = OpenUnit(effects, atom, asyncio.current_task(), works.run.clock.monotonic())
        trouble = False
        try:
            with effects.unit(session, atom, works.on_conflict):
                self._open.append(unit)
                yield
            session.unit_count.worked = True
        except Exception as error:
            if not is_trouble(error):
                raise
            trouble = True
            works.on_conflict(f"{name} failed: {error}", error)
        finally:
            self._open = [one for one in self._open if one is not unit]
            works.on_progress()
            if self._ending and not self._open:
                self._cancel()
        if trouble:
            await self._over  # the drop of the interval comes at once, and ends this task

    def idle(self) -> Rest | None:
        """Tell for how long the inputs of the shard have had nothing new.

        Returns:
            two looks at the broker, the first and the last one at which every input was read to its end, all of its events were
            finished, and nothing had come since. While the broker does not answer it stays what it was, and begins anew when that
            lasts. ``None`` when there is something to do, and before the first look.
        """
        return self._works.idleness.of(self._sessions())

    async def progress(self, seen: int, seconds: float) -> int:
        """Wait until events, or another unit of work, have finished in this worker, for so many seconds at most.

        Args:
            seen: what the call before has returned, 0 at first: what has finished since then is not waited for.
            seconds: of the clock of the engine.

        Returns:
            what to give to the next call.
        """
        works, clock = self._works, self._works.run.clock
        if works.finished == seen:
            with suppress(TimeoutError):
                async with clock.timeout_at(clock.monotonic() + seconds):
                    await works.finishes()
        return works.finished

    # -- the engine

    @property
    def open(self) -> Collection[OpenUnit]:
        """The units that are open."""
        return self._open

    def suspend(self) -> None:
        """Begin no more units; cancel the tasks as soon as none is open."""
        self._ending = True
        if not self._open:
            self._cancel()

    def close(self) -> set[asyncio.Task[None]]:
        """Cancel the tasks: the shard is given up. Returns those that have not ended yet."""
        self._ending = True
        self._cancel()
        return self._tasks

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._over.cancel()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        where = listed([session.tp for session in self._sessions()])
        if task.cancelled():
            if not self._ending:
                self._works.background.fail(
                    WorkerError(
                        f"{name} was cancelled while {where} runs here: code in it cancelled its own task (raise an error to let it fail), "
                        "or the event loop was ended and the app not stopped before"
                    )
                )
        elif (error := task.exception()) is not None:
            if self._ending:  # what a cancellation made of it says nothing
                logger.warning("%s ended with an error while its partition was given up: %r", name, error)
            elif is_trouble(error):
                self._works.on_conflict(f"{name} failed: {error}", error)
            else:
                self._works.background.fail(error, f"{name} ({where})")


class Works:
    """The work of all shards of one engine.

    Args:
        run: whose handles the tasks find.
        background: is told what the worker cannot survive.
        idleness: knows which partitions are idle.
        emit: takes the sends of units that finished.
        on_conflict: asks for the interval to be dropped.
        on_progress: called when a unit has ended.

    Attributes:
        room: waits until a unit may make more changes; set by whoever builds the engine.
        finished: grows whenever events or units have finished.
    """

    def __init__(
        self,
        run: Run,
        background: Background,
        idleness: Idleness,
        *,
        emit: Emit,
        on_conflict: Callable[[str, BaseException | None], None],
        on_progress: Callable[[], None],
    ) -> None:
        self.run = run
        self.background = background
        self.idleness = idleness
        self.emit = emit
        self.on_conflict = on_conflict
        self.on_progress = on_progress
        self.room: Callable[[], Awaitable[None]] = _always
        self._works: list[Work] = []
        self._leaving: set[asyncio.Task[None]] = set()
        self._finishes: asyncio.Future[None] | None = None
        self.finished = 0

    def progressed(self) -> None:
        """Wake who waits for events to finish: some have."""
        self.finished += 1
        if self._finishes is not None:
            waiting, self._finishes = self._finishes, None
            waiting.set_result(None)

    async def finishes(self) -> None:
        """Wait until events or units have finished; several may wait."""
        if self._finishes is None:
            self._finishes = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._finishes)

    def begin(self, sessions: Callable[[], Sequence[PartitionSession]]) -> Work:
        """Begin the work of a shard that runs from now on."""
        work = Work(self, sessions)
        self._works.append(work)
        return work

    @property
    def open(self) -> list[OpenUnit]:
        """The units that are open."""
        return [unit for work in self._works for unit in work.open]

    def suspend(self) -> None:
        """Let no more units begin: all shards are about to be given up."""
        for work in self._works:
            work.suspend()

    def close(self) -> None:
        """End all work: what is open comes to nothing."""
        works, self._works = self._works, []
        self._leaving = {task for task in self._leaving if not task.done()}.union(*(work.close() for work in works))

    async def stop(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until all tasks have ended."""
        self.close()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=timeout)


async def _always() -> None:
    """Wait for nothing: there is room."""
