"""One reader for all the changelog partitions that followers apply.

What fails for one partition (its store, its log) ends its follower alone. What fails for all (the reader) is tried again, with another
reader when the old one may be of no more use: a client whose tasks have died raises for ever.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from stream_core.errors import AuthenticationError, OffsetOutOfRangeError, TransportError
from stream_core.ports import Reader
from stream_core.primitives import TP
from stream_tables.follower import Follower

__all__ = ["Following"]

logger = logging.getLogger(__name__)

REPORT = 5.0
"""Seconds between two messages about a recovery that goes on."""

POLL = 0.1
"""Seconds that a poll waits for records; a follower that begins meanwhile waits for its end."""

RETRY = 1.0
"""Seconds after an error of the reader."""

SUSPICIOUS = 3
"""Errors of the broker in a row from which on the reader itself is replaced."""

PATIENCE = 5
"""Errors in a row that are not the broker's, after which the followers fail with the last one."""


class Following:
    """Runs followers with one reader.

    While followers with a target run, the others rest: somebody waits for a table partition. Those that follow without end take half of
    the time of the event loop at most.

    Args:
        make_reader: makes a reader of changelogs, without a group, that leaves aborted records out.
        clock: seconds since any moment.

    Attributes:
        records: how many were read so far, for all followers.
    """

    def __init__(self, make_reader: Callable[[], Reader], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._make_reader = make_reader
        self._clock = clock
        self._reader = make_reader()
        self._followers: dict[TP, Follower] = {}
        self._reading: dict[TP, tuple[Follower, asyncio.Future[None]]] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._said = 0.0
        self.records = 0

    def followers(self) -> dict[TP, Follower]:
        """Give the followers that run now, by changelog partition."""
        return self._followers.copy()

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailableError."""
        await self._reader.start()

    async def stop(self) -> None:
        """End all followers with a TransportError, and close the reader."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=5.0)
        await self._reader.stop()

    async def bounds(self, tp: TP) -> tuple[int, int]:
        """Ask for the first offset that a changelog partition holds, and for the end after everything in it.

        Records of undecided transactions lie before that end. Raises TransportError.
        """
        end = (await self._reader.end_offsets([tp]))[tp]
        return (await self._reader.start_offsets([tp]))[tp], end

    async def run(self, follower: Follower) -> None:
        """Follow until the target is reached, or without end; cancellation leaves the store at a consistent position.

        A changelog that does not hold the position any more is followed from its beginning, into an emptied store.

        Raises:
            StoreError: the store failed.
            TransportError: the changelog cannot be read; it can be tried again.
        """
        if follower.reached:
            return
        if not self._followers:
            self._said = self._clock()
        tp = follower.part.changelog
        self._followers[tp] = follower
        self._changed.set()
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._loop(), name="changelogs")
            self._task.add_done_callback(self._ended)
        try:
            await follower.done
        finally:
            if self._followers.get(tp) is follower:
                del self._followers[tp]
            self._changed.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Fail the followers: the task that reads has ended. The next one that runs starts another task."""
        error = None if task.cancelled() else task.exception()
        self._fail(TransportError(f"the task that reads changelogs has ended: {error or 'it was cancelled'}"))

    async def _loop(self) -> None:
        failures = 0
        while True:
            try:
                if not self._due():  # nothing would come: the next follower must not wait for the end of a poll
                    await self._changed.wait()
                if self._changed.is_set():
                    self._changed.clear()
                    due = self._due()
                    self._reading = {tp: (follower, follower.done) for tp, follower in due.items()}
                    positions = {tp: follower.position for tp, follower in due.items()}
                    ends = {tp: follower.target for tp, follower in due.items() if follower.target is not None}
                    await self._reader.assign(positions, ends)
                if self._due():
                    await self._step()
                failures = 0
            except Exception as error:
                failures += 1
                self._changed.set()  # assign again: where the reader is now is unknown
                broken = not isinstance(error, TransportError)
                if isinstance(error, AuthenticationError) or (broken and failures >= PATIENCE):
                    self._fail(error)
                    failures = 0
                logger.warning("recovery waits: %s", error, exc_info=error if broken else None)
                await asyncio.sleep(RETRY)
                if broken or failures >= SUSPICIOUS:
                    await self._replace_reader()

    def _due(self) -> dict[TP, Follower]:
        """Give the followers that have not ended: those with a target, or all when there is none of these."""
        running = {tp: follower for tp, follower in self._followers.items() if not follower.done.done()}
        return {tp: follower for tp, follower in running.items() if follower.target is not None} or running

    async def _replace_reader(self) -> None:
        fresh, old = self._make_reader(), self._reader
        try:
            await fresh.start()
        except BaseException as error:
            await fresh.stop()
            if not isinstance(error, TransportError):
                raise
            logger.warning("recovery waits: %s", error)
            return
        self._reader = fresh
        await old.stop()

    async def _step(self) -> None:
        try:
            batches = await self._reader.poll(POLL)
        except OffsetOutOfRangeError as error:
            await self._out_of_range(error)
            return
        began = self._clock()
        for batch in batches:
            follower, done = self._reading.get(batch.tp, (None, None))
            if follower is None or done is not follower.done or done.done():
                continue  # ended, or begun again meanwhile: then it is assigned again first
            self.records += len(batch.records)
            try:
                await follower.apply(batch)
            except Exception as error:
                follower.fail(error)
                continue
            if follower.reached and not done.done():
                done.set_result(None)
        self._report()
        if batches and all(follower.target is None for follower in self._due().values()):
            # The event loop belongs to events for as long. A follower that begins meanwhile does not wait.
            with suppress(TimeoutError):
                async with asyncio.timeout(self._clock() - began):
                    await self._changed.wait()

    async def _out_of_range(self, error: OffsetOutOfRangeError) -> None:
        follower = self._followers.get(error.tp)
        # One that is done has what it needs, and its owner may work on the store already.
        if follower is None or follower.done.done():
            return
        start, end = await self.bounds(error.tp)
        if follower.done.done():
            return
        logger.warning("%s; its store is wiped and replayed from offset %d", error, start)
        try:
            follower.restart(start, None if follower.target is None else end)
        except Exception as failure:
            follower.fail(failure)
        self._changed.set()

    def _fail(self, error: Exception) -> None:
        for follower in self._followers.values():
            follower.fail(error)
        self._followers.clear()

    def _report(self) -> None:
        now = self._clock()
        if now - self._said < REPORT:
            return
        self._said = now
        running = [(follower, target) for follower in self._due().values() if (target := follower.target) is not None]
        passed = sum(follower.position - follower.start for follower, _ in running)
        whole = sum(target - follower.start for follower, target in running)
        if not whole:
            return
        rate = sum(
            (follower.position - follower.start) / max(follower.part.clock.monotonic() - follower.began, 1e-3)
            for follower, _ in running
        )
        logger.info(
            "recovering %d table partitions: %d of %d changelog offsets (%d%%), %d a second, %s left",
            len(running),
            passed,
            whole,
            100 * passed // whole,
            rate,
            f"{(whole - passed) / rate:.0f} s" if rate else "unknown time",
        )
        for follower, target in running:
            logger.debug("recovering %s: offset %d of %d", follower.part.changelog, follower.position, target)
